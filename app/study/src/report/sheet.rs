//! Reports as sheets, for the window and the page.

use assay_sheet::{Across, Axis, Block, Cell, Chart, Mark, Series, Sheet, Style, Table};

use super::{LayerReport, PredictorReport};
use crate::drift::{Drift, Moments, SeedVerdict, StateDrift};
use crate::metrics::{Compared, Estimate, Quality};

/// Of predictors, and of the drift of the hidden states that they look at, where that was measured.
pub(super) fn predictor(report: &PredictorReport, drift: Option<&Drift>) -> Sheet {
    let who = super::plot::subject(report);
    let mut sheet = Sheet::new(&who, &report.summary.statement)
        .fact("model root", report.root.to_string())
        .fact("text", report.text.clone())
        .fact("dataset", report.dataset.to_string())
        .fact("predictor", super::plot::described(report))
        .section(
            "What predictors find",
            vec![
                Block::Text(
                    "Recall alone is won by predicting everything. So each figure stands beside what costs nothing: the static list \
                     (the most frequent ones of the training split, the same for every token), random choices, and everything."
                        .to_owned(),
                ),
                Block::Chart(recall(report)),
                Block::Table(quality(report)),
                Block::Table(seed(report)),
            ],
        );
    if let Some(drift) = drift {
        sheet = sheet.section("Drift of hidden states", drift_blocks(drift, report));
    }
    sheet
}

fn recall(report: &PredictorReport) -> Chart {
    let of = |figure: &dyn Fn(&LayerReport) -> Option<Estimate>, name: &str| {
        let points: Vec<_> = report
            .layers
            .iter()
            .filter_map(|layer| Some((f64::from(layer.layer), figure(layer)?)))
            .collect();
        // A band for all or for none.
        let band: Option<Vec<_>> = points
            .iter()
            .map(|(_, e)| Some([e.low?, e.high?]))
            .collect();
        Series {
            name: name.to_owned(),
            style: Style::Line,
            points: points.iter().map(|(x, e)| [*x, e.mean]).collect(),
            band: band.unwrap_or_default(),
        }
    };
    let random = |layer: &LayerReport| {
        let mean = layer.mean(|one| &one.at_true_count, |c| &c.random, |q| q.recall);
        Estimate::of(&[mean?])
    };
    Chart {
        title: "Recall by layer, keeping as many as are truly active in each token".to_owned(),
        x: Axis::linear("layer"),
        y: Axis::linear("recall"),
        series: vec![
            of(&|layer| layer.recall_at_true_count, "predictor"),
            of(&|layer| layer.static_recall_at_true_count, "static list"),
            of(&random, "random"),
        ],
        marks: Vec::new(),
    }
}

fn quality(report: &PredictorReport) -> Table {
    let zero = |layer: &LayerReport, figure: fn(&Quality) -> Option<f64>| {
        Cell::from(layer.mean(|one| &one.at_zero, |c: &Compared| &c.predictor, figure))
    };
    let everything = |layer: &LayerReport| {
        let f1: Option<Vec<f64>> = layer.trainings.iter().map(|t| t.everything.f1).collect();
        Cell::from(f1.and_then(|f1| Some(Estimate::of(&f1)?.mean)))
    };
    let mean = |of: Option<Estimate>| Cell::from(of.map(|e| e.mean));
    let rows = report.layers.iter().map(|layer| {
        vec![
            Cell::from(f64::from(layer.layer)),
            zero(layer, |q| Some(q.true_active)),
            zero(layer, |q| Some(q.true_fraction)),
            zero(layer, |q| Some(q.predicted_active)),
            zero(layer, |q| Some(q.predicted_fraction)),
            zero(layer, |q| q.recall),
            zero(layer, |q| q.precision),
            zero(layer, |q| q.f1),
            everything(layer),
            mean(layer.recall_at_true_count),
            mean(layer.static_recall_at_true_count),
            Cell::from(layer.finding.words()),
        ]
    });
    let columns = [
        "layer",
        "active",
        "of all",
        "predicted",
        "of all",
        "recall",
        "precision",
        "F1",
        "F1 of everything",
        "recall at true count",
        "static list there",
        "finding",
    ];
    Table {
        caption: "Held-out documents. `active` and `predicted` are counts of a token, with scores of at least 0 kept; means over trainings"
            .to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

fn seed(report: &PredictorReport) -> Table {
    let rule = &report.seed_rule;
    let said = rule
        .hypothesis_verified
        .map_or("not defined", |yes| match yes {
            true => "below 0.90, so by the seed's rule predictors fail",
            false => "at least 0.90, so by the seed's rule predictors hold",
        });
    Table {
        caption: "The seed's rule, as the seed's: recall at score >= 0 without a budget".to_owned(),
        columns: [
            "average recall",
            "least",
            "largest",
            "kept for it",
            "verdict",
        ]
        .map(str::to_owned)
        .to_vec(),
        rows: vec![vec![
            Cell::from(rule.average_recall),
            Cell::from(rule.min_recall),
            Cell::from(rule.max_recall),
            Cell::from(rule.kept_fraction),
            Cell::from(said),
        ]],
    }
}

fn drift_blocks(drift: &Drift, report: &PredictorReport) -> Vec<Block> {
    let series = |name: &str, of: &dyn Fn(&StateDrift) -> Option<Moments>| Series {
        name: name.to_owned(),
        style: Style::Line,
        points: drift
            .states
            .iter()
            .filter_map(|state| Some([f64::from(state.state), of(state)?.mean]))
            .collect(),
        band: Vec::new(),
    };
    let chart = Chart {
        title: "Cosine of a token's hidden states".to_owned(),
        x: Axis::linear("state"),
        y: Axis::linear("cosine"),
        series: vec![
            series("with the state before", &|s| s.cosine_to_previous),
            series("with state 0", &|s| Some(s.cosine_to_first)),
        ],
        marks: [
            ("the seed's cut, consecutive", 0.90),
            ("the seed's cut, to state 0", 0.70),
        ]
        .map(|(label, at)| Mark {
            label: label.to_owned(),
            axis: Across::Y,
            at,
        })
        .to_vec(),
    };
    let rows = drift.states.iter().map(|state| {
        let mean = |of: Option<Moments>| Cell::from(of.map(|m| m.mean));
        vec![
            Cell::from(f64::from(state.state)),
            mean(state.cosine_to_previous),
            mean(Some(state.cosine_to_first)),
            mean(state.distance_to_previous),
            mean(Some(state.distance_to_first)),
            mean(Some(state.norm)),
        ]
    });
    let columns = [
        "state",
        "cosine to previous",
        "cosine to 0",
        "L2 to previous",
        "L2 to 0",
        "norm",
    ];
    let table = Table {
        caption: format!("Means over {} tokens", drift.tokens),
        columns: columns.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    };
    let mut blocks = vec![Block::Chart(chart), Block::Table(table)];
    if let Some(verdict) = SeedVerdict::of(&report.family, drift) {
        blocks.push(Block::Text(format!(
            "The seed concludes that predictors must fail where the last state's cosine with state 0 is below 0.70 or the mean consecutive \
             one below 0.90. By that rule: {}. The rule looks at no predictor, and almost every trained model is below its first cut.",
            match verdict.hypothesis_verified {
                true => "they must fail",
                false => "they need not fail",
            }
        )));
    }
    blocks
}
