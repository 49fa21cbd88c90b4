use super::plot::{SparsityChart, SparsitySeries};
use super::*;
use crate::dataset::{Activation, Dataset};
use crate::drift::Meter;
use crate::metrics::Finding;
use crate::planted::{Planted, apply, low_rank, plant};
use crate::random::{Purpose, Random};
use crate::train::{TrainOptions, train};
use std::ops::ControlFlow;

/// Trainings from three seeds on what can be learned (layers 0 to 2) or on noise.
fn trained(dataset: &Dataset, query: Query, label: Label, layers: &[u32]) -> Vec<Predictor> {
    (0..3)
        .map(|seed| {
            let options = TrainOptions {
                batch: 64,
                learning_rate: 1e-2,
                epochs: 12,
                rank: 8,
                seed,
                ..TrainOptions::new(Target::Mlp, query, label)
            };
            let go_on = &mut |_: &_| ControlFlow::Continue(());
            train(dataset, layers, &options, go_on).unwrap().predictor
        })
        .collect()
}

fn learnable(folder: &Path, activation: Activation, layers: u32) -> Dataset {
    let planted = Planted {
        activation,
        documents: 40,
        rows: 30,
        layers,
        ..Planted::default()
    };
    let map = low_rank(48, 16, 4, 5);
    plant(folder, &planted, |_, x, y| {
        apply(&map, 16, x, y);
        y.iter_mut().for_each(|y| {
            *y = y.max(0.0)
                - if activation == Activation::Relu {
                    0.0
                } else {
                    0.2
                }
        });
    })
}

/// Where a person can look at them: ASSAY_STUDY_SHOTS names a folder.
fn keep(name: &str, svg: &str) {
    if let Some(folder) = std::env::var_os("ASSAY_STUDY_SHOTS") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(Path::new(&folder).join(name), svg).unwrap();
    }
}

fn is_svg(svg: &str) {
    assert!(
        svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"),
        "{svg:.80}"
    );
    assert!(svg.contains("<title>") && !svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn a_report_says_what_was_learned() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = learnable(folder.path(), Activation::Relu, 3);
    let runs = trained(
        &dataset,
        Query::CrossLayer { from: 0 },
        Label::Positive,
        &[0, 1, 2],
    );
    let runs: Vec<&Predictor> = runs.iter().collect();
    let report = PredictorReport::new(dataset.facts(), &runs).unwrap();
    assert_eq!(report.summary.better, 3);
    assert!(report.summary.statement.contains("in 3 of 3 layers"));
    assert_eq!(report.seeds, [0, 1, 2]);
    assert_eq!(report.layers[2].distance, 2);
    assert_eq!(report.remark, None);
    let layer = &report.layers[0];
    let recall = layer.recall_at_true_count.unwrap();
    let values: Vec<f64> = layer
        .trainings
        .iter()
        .map(|t| t.at_true_count.predictor.recall.unwrap())
        .collect();
    assert_eq!(recall.mean, values.iter().sum::<f64>() / 3.0);
    assert!(recall.low.unwrap() < recall.mean && recall.mean < recall.high.unwrap());
    let json = report.to_json().unwrap();
    assert_eq!(
        serde_json::from_str::<PredictorReport>(&json).unwrap(),
        report
    );
    let csv = report.to_csv();
    let mut lines = csv.lines();
    let head = lines.next().unwrap();
    assert!(head.starts_with("Layer,Recall,True Sparsity,Classifier Sparsity,"));
    let columns = head.split(',').count();
    for (line, layer) in lines.zip(&report.layers) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), columns);
        assert_eq!(cells[0], layer.layer.to_string());
        assert_eq!(cells[1], format!("{:.6}", layer.recall.unwrap().mean));
        // The seed's columns are counts of a token, not fractions.
        let active = layer.trainings[0].at_zero.predictor.true_active;
        assert!(active > 1.0);
        assert_eq!(cells[2], format!("{active:.6}"));
    }
    assert_eq!(csv.lines().count(), 4);
    let svg = report.to_svg().unwrap();
    is_svg(&svg);
    let by_distance = plot::recall_by_distance(&report).unwrap();
    is_svg(&by_distance);
    keep("planted-distance.svg", &by_distance);
    let out = folder.path().join("out");
    report.write(&out).unwrap();
    assert_eq!(
        std::fs::read_to_string(out.join("layers.csv")).unwrap(),
        csv
    );
    assert_eq!(
        std::fs::read_to_string(out.join("layers.svg")).unwrap(),
        svg
    );
    assert_eq!(
        std::fs::read_to_string(out.join("report.json")).unwrap(),
        json
    );
}

#[test]
fn a_report_says_when_nothing_was_learned() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(8, Purpose::Weights, 1);
    let planted = Planted {
        documents: 40,
        rows: 30,
        constant: 3.0,
        ..Planted::default()
    };
    let dataset = plant(folder.path(), &planted, |_, _, y| {
        for (j, y) in y.iter_mut().enumerate() {
            *y = random.symmetric(1.0) + j as f32 / 100.0;
        }
    });
    let runs = trained(&dataset, Query::SameLayer, Label::TopK { keep: 8 }, &[0]);
    let runs: Vec<&Predictor> = runs.iter().collect();
    let report = PredictorReport::new(dataset.facts(), &runs).unwrap();
    assert_eq!(report.layers[0].finding, Finding::NoBetterThanStatic);
    assert!(
        report.summary.statement.contains("no more in 1."),
        "{}",
        report.summary.statement
    );
    assert!(report.summary.statement.contains("nothing here shows"));
    assert!(report.to_csv().contains("no-better-than-static"));
}

#[test]
fn the_seeds_label_carries_its_remark_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = learnable(folder.path(), Activation::SiluGated, 1);
    let runs = trained(&dataset, Query::SameLayer, Label::Sign, &[0]);
    let report = PredictorReport::new(dataset.facts(), &[&runs[0]]).unwrap();
    let remark = Label::Sign.remark().unwrap();
    assert_eq!(report.remark.as_deref(), Some(remark));
    assert!(report.summary.statement.ends_with(remark));
    assert!(report.to_svg().unwrap().contains("the sign of SiLU(gate)"));
    assert_eq!(
        report.layers[0].recall.unwrap().sd,
        None,
        "one training has no spread"
    );
    let verdict = report.seed_rule.hypothesis_verified.unwrap();
    assert_eq!(verdict, report.seed_rule.average_recall.unwrap() < 0.9);
}

#[test]
fn trainings_must_belong_together() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = learnable(folder.path(), Activation::SiluGated, 1);
    let same = trained(&dataset, Query::SameLayer, Label::Sign, &[0]);
    let other = trained(&dataset, Query::SameLayer, Label::TopK { keep: 4 }, &[0]);
    let new = |runs: &[&Predictor]| PredictorReport::new(dataset.facts(), runs);
    assert!(new(&[&same[0], &same[1]]).is_ok());
    assert!(matches!(
        new(&[&same[0], &other[1]]),
        Err(StudyError::Mixed { what: "label" })
    ));
    assert!(matches!(
        new(&[&same[0], &same[0]]),
        Err(StudyError::Mixed { .. })
    ));
    assert!(matches!(new(&[]), Err(StudyError::Empty { .. })));
    let mut facts = dataset.facts().clone();
    facts.text.name = "another".to_owned();
    let foreign = PredictorReport::new(&facts, &[&same[0]]);
    assert!(matches!(
        foreign,
        Err(StudyError::Mixed { what: "dataset" })
    ));
}

#[test]
fn drift_is_drawn_and_tabled() {
    let mut meter = Meter::new(64, 28, 29).unwrap();
    let mut random = Random::new(3, Purpose::Weights, 5);
    for _ in 0..40 {
        let mut state: Vec<f32> = (0..64).map(|_| random.symmetric(1.0)).collect();
        let mut states = vec![state.clone()];
        for _ in 0..28 {
            state
                .iter_mut()
                .for_each(|v| *v = *v * 1.04 + random.symmetric(0.35));
            states.push(state.clone());
        }
        let lent: Vec<&[f32]> = states.iter().map(Vec::as_slice).collect();
        meter.add(&lent).unwrap();
    }
    let drift = meter.finish().unwrap();
    let svg = plot::drift(&drift, "planted walk: drift of hidden states").unwrap();
    is_svg(&svg);
    keep("planted-drift.svg", &svg);
    let csv = drift_csv(&drift);
    assert_eq!(csv.lines().count(), 30);
    assert!(csv.lines().nth(1).unwrap().starts_with("0,,,1.000000,"));
    assert!(
        to_json(&drift)
            .unwrap()
            .contains("\"includes_output\": true")
    );
}

#[test]
fn sparsity_charts_take_points_and_refuse_nonsense() {
    let series = |name: &str, slope: f64| SparsitySeries {
        name: name.to_owned(),
        points: (0..10)
            .map(|i| {
                (
                    f64::from(i) / 10.0,
                    9.0 + slope * (f64::from(i) / 10.0).powi(4),
                )
            })
            .collect(),
    };
    let chart = SparsityChart {
        title: "Planted <points> & \"text\"".to_owned(),
        quality: "perplexity, per token".to_owned(),
        series: vec![
            series("top-k by |y|", 4.0),
            series("predictor", 9.0),
            series("static", 22.0),
        ],
        dense: Some(9.0),
    };
    let svg = plot::quality_by_sparsity(&chart).unwrap();
    is_svg(&svg);
    keep("planted-sparsity.svg", &svg);
    assert!(!svg.contains("<points>"), "text is escaped");
    let refused = |change: &dyn Fn(&mut SparsityChart)| {
        let mut chart = chart.clone();
        change(&mut chart);
        plot::quality_by_sparsity(&chart).is_err()
    };
    assert!(refused(&|c| c.series.clear()));
    assert!(refused(&|c| c.series[0].points[0].0 = 1.5));
    assert!(refused(&|c| c.series[0].points[0].1 = f64::NAN));
    assert!(refused(&|c| c.dense = Some(f64::INFINITY)));
    assert!(refused(&|c| c.series = vec![c.series[0].clone(); 7]));
    // A single point has no extent.
    let one = SparsityChart {
        series: vec![SparsitySeries {
            name: "one".to_owned(),
            points: vec![(0.5, 3.0)],
        }],
        dense: None,
        ..chart
    };
    is_svg(&plot::quality_by_sparsity(&one).unwrap());
}

/// A report as a study of 28 layers would have it, from figures that are made up for the drawing alone.
#[test]
fn many_layers_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = learnable(folder.path(), Activation::Relu, 28);
    let layers: Vec<u32> = (0..28).collect();
    let runs = trained(&dataset, Query::SameLayer, Label::Positive, &layers[..1]);
    let runs: Vec<&Predictor> = runs.iter().collect();
    let mut report = PredictorReport::new(dataset.facts(), &runs).unwrap();
    let first = report.layers[0].clone();
    report.layers = layers
        .iter()
        .map(|&layer| {
            let mut entry = first.clone();
            entry.layer = layer;
            let fall = 1.0 - f64::from(layer) * 0.012;
            for one in &mut entry.trainings {
                for quality in [&mut one.at_true_count.predictor, &mut one.at_zero.predictor] {
                    quality.recall = quality.recall.map(|r| r * fall);
                    quality.f1 = quality.f1.map(|r| r * fall);
                }
            }
            for estimate in [&mut entry.recall_at_true_count, &mut entry.f1] {
                *estimate = estimate.map(|e| crate::metrics::Estimate {
                    mean: e.mean * fall,
                    low: e.low.map(|v| v * fall - 0.02),
                    high: e.high.map(|v| v * fall + 0.02),
                    ..e
                });
            }
            entry
        })
        .collect();
    let svg = report.to_svg().unwrap();
    is_svg(&svg);
    keep("planted-layers.svg", &svg);
}
