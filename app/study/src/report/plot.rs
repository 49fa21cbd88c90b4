//! Plots as SVG: one accent for what is measured, greys for what it is measured against, names at the lines' ends.

mod axis;
mod figure;

use axis::Axis;
use figure::{Figure, Line, Panel, Style};

use super::{LayerReport, PredictorReport};
use crate::StudyError;
use crate::drift::{Drift, Moments, StateDrift};
use crate::metrics::{Compared, Estimate, Quality};

/// Quality against sparsity: one point a measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct SparsityChart {
    /// The title.
    pub title: String,
    /// Name of the vertical axis, with its unit.
    pub quality: String,
    /// The curves; the first is drawn in the accent colour. At most 6.
    pub series: Vec<SparsitySeries>,
    /// Quality of the dense model, drawn as a line across.
    pub dense: Option<f64>,
}

/// One curve of a [`SparsityChart`].
#[derive(Debug, Clone, PartialEq)]
pub struct SparsitySeries {
    /// Its name.
    pub name: String,
    /// Sparsity, 0 to 1, and quality.
    pub points: Vec<(f64, f64)>,
}

/// Recall at the true count and F1 at `score >= 0`, by layer, against the references.
///
/// # Errors
/// No layer with figures.
pub fn quality_by_layer(report: &PredictorReport) -> Result<String, StudyError> {
    let layers = &report.layers;
    let at = |layer: &LayerReport| f64::from(layer.layer);
    let x = Axis::whole("layer", layers.iter().map(at));
    let recall = Panel {
        heading: "Recall, keeping as many as are truly active in each token".to_owned(),
        x: x.clone(),
        y: Axis::unit("recall"),
        lines: at_true_count(layers, at),
    };
    let zero = |name: &str, style, whose: fn(&Compared) -> &Quality| {
        let figure = |layer: &LayerReport| layer.mean(|one| &one.at_zero, whose, |q| q.f1);
        line(name, style, layers, at, figure)
    };
    let mut predictor = zero("predictor", Style::Accent, |c| &c.predictor);
    predictor.band = band(layers, at, |layer| layer.f1);
    let everything = line("everything", Style::Dotted, layers, at, |layer| {
        let values: Option<Vec<f64>> = layer.trainings.iter().map(|t| t.everything.f1).collect();
        Some(Estimate::of(&values?)?.mean)
    });
    let f1 = Panel {
        heading: "F1, keeping every score of at least 0".to_owned(),
        x,
        y: Axis::unit("F1"),
        lines: vec![
            predictor,
            zero("static, same count", Style::Solid, |c| &c.most_frequent),
            everything,
        ],
    };
    let mut notes = vec![
        "static: the most frequent ones of the training split, the same for every token. everything: predicts all, so its recall is 1 \
         by definition."
            .to_owned(),
    ];
    notes.extend(seed_note(report));
    notes.extend(report.remark.clone());
    Figure {
        title: format!("{}: what the predictor finds, by layer", subject(report)),
        subtitle: described(report),
        panels: vec![recall, f1],
        notes,
    }
    .draw()
}

/// Recall at the true count against the number of layers between what is looked at and what is predicted.
///
/// # Errors
/// No layer with figures.
pub fn recall_by_distance(report: &PredictorReport) -> Result<String, StudyError> {
    let mut layers = report.layers.clone();
    layers.sort_by_key(|layer| layer.distance);
    let at = |layer: &LayerReport| f64::from(layer.distance);
    let mut notes = vec![
        "Recall where each token keeps as many as are truly active. A predictor that drift defeats falls to the static line."
            .to_owned(),
    ];
    notes.extend(seed_note(report));
    notes.extend(report.remark.clone());
    Figure {
        title: format!("{}: recall by distance", subject(report)),
        subtitle: described(report),
        panels: vec![Panel {
            heading: "Recall, keeping as many as are truly active in each token".to_owned(),
            x: Axis::whole("distance in layers", layers.iter().map(at)),
            y: Axis::unit("recall"),
            lines: at_true_count(&layers, at),
        }],
        notes,
    }
    .draw()
}

/// Cosines and distances of hidden states, by state.
///
/// # Errors
/// No states.
pub fn drift(drift: &Drift, title: &str) -> Result<String, StudyError> {
    let states = &drift.states;
    let at = |state: &StateDrift| f64::from(state.state);
    let moments = |name: &str, style, figure: fn(&StateDrift) -> Option<Moments>| {
        let some = || {
            states
                .iter()
                .filter_map(move |state| Some((at(state), figure(state)?)))
        };
        Line {
            name: name.to_owned(),
            style,
            points: some().map(|(x, m)| (x, m.mean)).collect(),
            band: some()
                .map(|(x, m)| (x, m.mean - m.sd, m.mean + m.sd))
                .collect(),
        }
    };
    let cosines = vec![
        moments("with the one before", Style::Accent, |s| {
            s.cosine_to_previous
        }),
        moments("with state 0", Style::Solid, |s| Some(s.cosine_to_first)),
    ];
    let distances = vec![
        moments("to the one before", Style::Accent, |s| {
            s.distance_to_previous
        }),
        moments("to state 0", Style::Solid, |s| Some(s.distance_to_first)),
    ];
    let x = Axis::whole("state (what enters layer l)", states.iter().map(at));
    let end = if drift.includes_output {
        "The last state is what leaves the last layer, before the final norm."
    } else {
        "What leaves the last layer is not among the states."
    };
    Figure {
        title: title.to_owned(),
        subtitle: format!(
            "{} tokens, {} layers, hidden size {}; bands are one standard deviation over tokens",
            drift.tokens, drift.model_layers, drift.hidden
        ),
        panels: vec![
            Panel {
                heading: "Cosine of a token's hidden state".to_owned(),
                x: x.clone(),
                y: Axis::cosine("cosine", &cosines),
                lines: cosines,
            },
            Panel {
                heading: "Euclidean distance of a token's hidden state".to_owned(),
                x,
                y: Axis::from_zero("L2 distance, model units", &distances),
                lines: distances,
            },
        ],
        notes: vec![end.to_owned()],
    }
    .draw()
}

/// Quality against sparsity, from points that somebody measured.
///
/// # Errors
/// No points, too many curves, values that are not finite, sparsities outside 0 to 1.
pub fn quality_by_sparsity(chart: &SparsityChart) -> Result<String, StudyError> {
    let all = || chart.series.iter().flat_map(|series| &series.points);
    if all().next().is_none() {
        return Err(StudyError::Empty { what: "points" });
    }
    let fine =
        |&(sparsity, quality): &(f64, f64)| (0.0..=1.0).contains(&sparsity) && quality.is_finite();
    if chart.series.len() > 6 || !all().all(fine) || chart.dense.is_some_and(|d| !d.is_finite()) {
        return Err(StudyError::Plot {
            reason: "want at most 6 curves of finite points with sparsities of 0 to 1".to_owned(),
        });
    }
    let styles = [
        Style::Accent,
        Style::Solid,
        Style::Dashed,
        Style::Dotted,
        Style::Pale,
        Style::PaleDashed,
    ];
    let mut lines: Vec<Line> = chart
        .series
        .iter()
        .zip(styles)
        .map(|(series, style)| {
            let mut points: Vec<(f64, f64)> =
                series.points.iter().map(|&(s, q)| (100.0 * s, q)).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Line {
                name: series.name.clone(),
                style,
                points,
                band: Vec::new(),
            }
        })
        .collect();
    let x = Axis::around("sparsity, % of neurons skipped", &lines, |p| p.0);
    if let Some(dense) = chart.dense {
        lines.push(Line {
            name: "dense".to_owned(),
            style: Style::Level,
            points: vec![(x.low, dense), (x.high, dense)],
            band: Vec::new(),
        });
    }
    Figure {
        title: chart.title.clone(),
        subtitle: String::new(),
        panels: vec![Panel {
            heading: String::new(),
            y: Axis::around(&chart.quality, &lines, |p| p.1),
            x,
            lines,
        }],
        notes: Vec::new(),
    }
    .draw()
}

/// Predictor, static and random at the true count.
fn at_true_count(layers: &[LayerReport], at: impl Fn(&LayerReport) -> f64 + Copy) -> Vec<Line> {
    let figure = |name: &str, style, whose: fn(&Compared) -> &Quality| {
        let of = |layer: &LayerReport| layer.mean(|one| &one.at_true_count, whose, |q| q.recall);
        line(name, style, layers, at, of)
    };
    let mut predictor = figure("predictor", Style::Accent, |c| &c.predictor);
    predictor.band = band(layers, at, |layer| layer.recall_at_true_count);
    vec![
        predictor,
        figure("static", Style::Solid, |c| &c.most_frequent),
        figure("random", Style::PaleDashed, |c| &c.random),
    ]
}

fn line(
    name: &str,
    style: Style,
    layers: &[LayerReport],
    at: impl Fn(&LayerReport) -> f64,
    figure: impl Fn(&LayerReport) -> Option<f64>,
) -> Line {
    Line {
        name: name.to_owned(),
        style,
        points: layers
            .iter()
            .filter_map(|layer| Some((at(layer), figure(layer)?)))
            .collect(),
        band: Vec::new(),
    }
}

fn band(
    layers: &[LayerReport],
    at: impl Fn(&LayerReport) -> f64,
    figure: impl Fn(&LayerReport) -> Option<Estimate>,
) -> Vec<(f64, f64, f64)> {
    layers
        .iter()
        .filter_map(|layer| {
            let estimate = figure(layer)?;
            Some((at(layer), estimate.low?, estimate.high?))
        })
        .collect()
}

pub(super) fn subject(report: &PredictorReport) -> String {
    let target = match report.target {
        crate::labels::Target::Att => "attention heads",
        crate::labels::Target::Mlp => "MLP neurons",
    };
    format!("{} {target}", report.family)
}

pub(super) fn described(report: &PredictorReport) -> String {
    format!(
        "active: {}; looks at: {}; text: {}; rank {}",
        report.label.name(),
        report.query.name(),
        report.text,
        report.rank
    )
}

fn seed_note(report: &PredictorReport) -> Option<String> {
    (report.seeds.len() > 1).then(|| {
        format!(
            "Means of {} trainings from different seeds; the band is the 95 % interval of the mean.",
            report.seeds.len()
        )
    })
}
