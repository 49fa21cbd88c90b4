use super::quality::Counts;
use super::*;
use crate::dataset::{Activation, Part, Stream};
use crate::labels::{Label, Labeller, Target};
use crate::planted::{Planted, apply, low_rank, plant};
use crate::predictor::{InputScale, Predictor, PredictorFacts, PredictorLayer, Query, Weights};
use crate::{Stored, StudyError};
use std::collections::BTreeMap;

#[test]
fn ratios_are_those_of_the_counts() {
    let counts = Counts {
        rows: 2,
        entries: 20,
        active: 6,
        predicted: 5,
        hits: 3,
    };
    let quality = counts.quality();
    assert_eq!(quality.recall, Some(0.5));
    assert_eq!(quality.precision, Some(0.6));
    assert_eq!(quality.f1, Some(6.0 / 11.0));
    // 3 hits, 2 false alarms, 3 missed, 12 silent and right.
    assert_eq!(quality.accuracy, Some(15.0 / 20.0));
    assert_eq!((quality.true_active, quality.predicted_active), (3.0, 2.5));
    assert_eq!(
        (quality.true_fraction, quality.predicted_fraction),
        (0.3, 0.25)
    );
    let none = Counts::default().quality();
    assert_eq!(
        (none.recall, none.precision, none.f1, none.accuracy),
        (None, None, None, None)
    );
}

#[test]
fn intervals_are_students() {
    // Values of a table: t(0.975, 4) = 2.776, t(0.975, 1) = 12.706.
    let estimate = Estimate::of(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
    assert_eq!(estimate.mean, 3.0);
    let sd = estimate.sd.unwrap();
    assert!((sd - 2.5f64.sqrt()).abs() < 1e-12);
    let half = 2.776_445 * sd / 5f64.sqrt();
    assert!((estimate.high.unwrap() - 3.0 - half).abs() < 1e-5);
    assert!((3.0 - estimate.low.unwrap() - half).abs() < 1e-5);
    let two = Estimate::of(&[0.0, 2.0]).unwrap();
    assert!((two.high.unwrap() - 1.0 - 12.706_2).abs() < 1e-3);
    let one = Estimate::of(&[0.7]).unwrap();
    assert_eq!((one.mean, one.sd, one.low, one.n), (0.7, None, None, 1));
    assert!(Estimate::of(&[]).is_none());
    assert!(Estimate::of(&[1.0, f64::NAN]).is_none());
}

/// A dataset, a predictor with fixed weights, and what it does, counted again row by row in the plainest way.
#[test]
fn figures_are_those_of_a_plain_count() {
    let folder = tempfile::tempdir().unwrap();
    let planted = Planted {
        activation: Activation::Relu,
        documents: 30,
        rows: 7,
        constant: 0.4,
        ..Planted::default()
    };
    let map = low_rank(48, 16, 5, 3);
    let dataset = plant(folder.path(), &planted, |_, x, y| {
        apply(&map, 16, x, y);
        y.iter_mut().for_each(|y| *y = (*y - 0.3).max(0.0));
    });
    // Not the truth, but near: other noise in the weights.
    let down = low_rank(6, 16, 6, 9);
    let mut up = low_rank(48, 6, 6, 10);
    up.iter_mut()
        .enumerate()
        .for_each(|(i, v)| *v += ((i % 5) as f32 - 2.0) / 4.0);
    let facts = dataset.facts();
    let empty = Counts::default().quality();
    let compared = Compared {
        predictor: empty,
        random: empty,
        most_frequent: empty,
    };
    let predictor_facts = PredictorFacts {
        dataset: dataset.digest(),
        dtype: Stored::F32,
        family: facts.family.clone(),
        format: PredictorFacts::FORMAT.to_owned(),
        hidden: 16,
        input_scale: InputScale::Raw,
        label: Label::Positive,
        layers: vec![PredictorLayer {
            epoch: 1,
            epochs: 1,
            held_out: LayerMetrics {
                at_true_count: compared.clone(),
                at_zero: compared,
                columns: 48,
                documents: 0,
                everything: empty,
                layer: 0,
                lift: Lift {
                    difference: None,
                    finding: Finding::Undecided,
                    high: None,
                    low: None,
                    ratio: None,
                },
                nothing: empty,
                rows: 0,
            },
            layer: 0,
            threshold: None,
        }],
        model_layers: 1,
        outputs: 48,
        query: Query::SameLayer,
        rank: 6,
        root: facts.root,
        seed: 0,
        target: Target::Mlp,
        version: PredictorFacts::VERSION,
    };
    let weights = BTreeMap::from([(0, Weights { down, up })]);
    let predictor = Predictor::new(predictor_facts.clone(), weights.clone()).unwrap();
    let got = evaluate(&dataset, &predictor, 0, 5).unwrap();

    let labeller = Labeller::fit(&dataset, Target::Mlp, &Label::Positive, 0).unwrap();
    let read = |part| {
        let rows = dataset.rows_of(part).unwrap();
        let (mut x, mut y, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        dataset
            .matrix(Stream::MlpX, 0)
            .unwrap()
            .gather(&rows, &mut x)
            .unwrap();
        dataset
            .matrix(Stream::MlpY, 0)
            .unwrap()
            .gather(&rows, &mut y)
            .unwrap();
        labeller.mark(&y, &mut marks).unwrap();
        (rows, x, marks)
    };
    let (_, _, train) = read(Part::Train);
    let mut ranking: Vec<(i64, usize)> = (0..48)
        .map(|j| {
            (
                -train.chunks(48).map(|row| i64::from(row[j])).sum::<i64>(),
                j,
            )
        })
        .collect();
    ranking.sort_unstable();
    let (rows, x, marks) = read(Part::Test);
    let scores = predictor.scores(0, &x, rows.len()).unwrap();
    let mut zero = [0u64; 4];
    let mut count = [0u64; 3];
    let mut documents: BTreeMap<u32, (f64, f64)> = BTreeMap::new();
    for ((row, scores), marks) in rows.iter().zip(scores.chunks(48)).zip(marks.chunks(48)) {
        let active = marks.iter().filter(|m| **m == 1).count();
        let kept: Vec<usize> = (0..48).filter(|&j| scores[j] >= 0.0).collect();
        let hits = |chosen: &[usize]| chosen.iter().filter(|&&j| marks[j] == 1).count() as u64;
        let fixed = |k: usize| -> Vec<usize> { ranking.iter().take(k).map(|r| r.1).collect() };
        let mut order: Vec<usize> = (0..48).collect();
        order.sort_by(|&a, &b| scores[b].partial_cmp(&scores[a]).unwrap());
        zero[0] += active as u64;
        zero[1] += kept.len() as u64;
        zero[2] += hits(&kept);
        zero[3] += hits(&fixed(kept.len()));
        let (own, most) = (hits(&order[..active]), hits(&fixed(active)));
        count[0] += own;
        count[1] += most;
        let entry = documents
            .entry(dataset.id(u64::from(*row)).unwrap().document)
            .or_default();
        entry.0 += own as f64 - most as f64;
        entry.1 += active as f64;
    }
    let share = |part: u64, of: u64| Some(part as f64 / of as f64);
    let entries = 48 * rows.len() as u64;
    assert_eq!(got.rows, rows.len() as u64);
    assert_eq!(got.at_zero.predictor.recall, share(zero[2], zero[0]));
    assert_eq!(got.at_zero.predictor.precision, share(zero[2], zero[1]));
    assert_eq!(
        got.at_zero.predictor.f1,
        share(2 * zero[2], zero[0] + zero[1])
    );
    let wrong = (zero[0] - zero[2]) + (zero[1] - zero[2]);
    assert_eq!(
        got.at_zero.predictor.accuracy,
        share(entries - wrong, entries)
    );
    assert_eq!(
        got.at_zero.predictor.true_active,
        zero[0] as f64 / rows.len() as f64
    );
    assert_eq!(
        got.at_zero.predictor.predicted_active,
        zero[1] as f64 / rows.len() as f64
    );
    assert_eq!(got.at_zero.most_frequent.recall, share(zero[3], zero[0]));
    assert_eq!(got.at_true_count.predictor.recall, share(count[0], zero[0]));
    assert_eq!(
        got.at_true_count.most_frequent.recall,
        share(count[1], zero[0])
    );
    assert_eq!(got.everything.recall, Some(1.0));
    assert_eq!(got.everything.precision, share(zero[0], entries));
    assert_eq!(got.nothing.recall, Some(0.0));
    assert_eq!(got.nothing.precision, None);
    assert_eq!(got.nothing.accuracy, share(entries - zero[0], entries));
    // Chance keeps as large a part of what is active as it keeps of all.
    let chance = got.at_zero.random.recall.unwrap();
    assert!(
        (chance - got.at_zero.random.predicted_fraction).abs() < 0.06,
        "{chance}"
    );
    // The interval by the formula of a ratio over clusters.
    let difference = (count[0] as f64 - count[1] as f64) / zero[0] as f64;
    assert!((got.lift.difference.unwrap() - difference).abs() < 1e-12);
    let n = documents.len() as f64;
    assert_eq!(n, 3.0);
    let squares: f64 = documents
        .values()
        .map(|(gain, active)| (gain - difference * active).powi(2))
        .sum();
    let half = 4.302_653 * (n / (n - 1.0) * squares).sqrt() / zero[0] as f64;
    assert!((got.lift.high.unwrap() - difference - half).abs() < 1e-6);
    assert!((difference - got.lift.low.unwrap() - half).abs() < 1e-6);

    // Another seed draws another random reference and changes nothing else.
    let other = evaluate(&dataset, &predictor, 0, 6).unwrap();
    assert_ne!(other.at_zero.random, got.at_zero.random);
    assert_eq!(other.at_zero.predictor, got.at_zero.predictor);
    let stranger = PredictorFacts {
        root: assay_trace::Digest::of(b"stranger"),
        ..predictor_facts
    };
    let stranger = Predictor::new(stranger, weights).unwrap();
    assert!(matches!(
        evaluate(&dataset, &stranger, 0, 0),
        Err(StudyError::OtherModel { .. })
    ));
}
