//! Tables. Numbers and fixed words only, so nothing has to be quoted.

use std::fmt::Write;

use super::PredictorReport;
use crate::drift::{Drift, SeedVerdict};
use crate::metrics::{Finding, LayerMetrics, Quality};

fn cell(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.6}"))
}

pub(super) fn predictor(report: &PredictorReport) -> String {
    let mut out = String::from(
        "Layer,Recall,True Sparsity,Classifier Sparsity,precision,f1,accuracy,true_fraction,predicted_fraction,\
         static_recall,static_f1,random_recall,random_f1,everything_f1,\
         recall_at_true_count,recall_at_true_count_low,recall_at_true_count_high,static_recall_at_true_count,\
         random_recall_at_true_count,lift_over_static,lift_low,lift_high,finding,distance,trainings\n",
    );
    for layer in &report.layers {
        let zero = |figure: fn(&Quality) -> Option<f64>| {
            cell(layer.mean(|one| &one.at_zero, |compared| &compared.predictor, figure))
        };
        let zero_static = |figure: fn(&Quality) -> Option<f64>| {
            cell(layer.mean(
                |one| &one.at_zero,
                |compared| &compared.most_frequent,
                figure,
            ))
        };
        let zero_random = |figure: fn(&Quality) -> Option<f64>| {
            cell(layer.mean(|one| &one.at_zero, |compared| &compared.random, figure))
        };
        let everything: Vec<f64> = layer
            .trainings
            .iter()
            .filter_map(|one| one.everything.f1)
            .collect();
        let everything = (!everything.is_empty())
            .then(|| everything.iter().sum::<f64>() / everything.len() as f64);
        let random = layer.mean(
            |one: &LayerMetrics| &one.at_true_count,
            |compared| &compared.random,
            |quality| quality.recall,
        );
        let at_count = layer.recall_at_true_count;
        // With one training there is no interval over seeds; the one over documents stands in its place.
        let (low, high) = match (layer.lift_over_static, layer.trainings.as_slice()) {
            (_, [one]) => (one.lift.low, one.lift.high),
            (Some(lift), _) => (lift.low, lift.high),
            (None, _) => (None, None),
        };
        let finding = match layer.finding {
            Finding::BetterThanStatic => "better-than-static",
            Finding::NoBetterThanStatic => "no-better-than-static",
            Finding::Undecided => "undecided",
        };
        let cells = [
            layer.layer.to_string(),
            zero(|q| q.recall),
            zero(|q| Some(q.true_active)),
            zero(|q| Some(q.predicted_active)),
            zero(|q| q.precision),
            zero(|q| q.f1),
            zero(|q| q.accuracy),
            zero(|q| Some(q.true_fraction)),
            zero(|q| Some(q.predicted_fraction)),
            zero_static(|q| q.recall),
            zero_static(|q| q.f1),
            zero_random(|q| q.recall),
            zero_random(|q| q.f1),
            cell(everything),
            cell(at_count.map(|e| e.mean)),
            cell(at_count.and_then(|e| e.low)),
            cell(at_count.and_then(|e| e.high)),
            cell(layer.static_recall_at_true_count.map(|e| e.mean)),
            cell(random),
            cell(layer.lift_over_static.map(|e| e.mean)),
            cell(low),
            cell(high),
            finding.to_owned(),
            layer.distance.to_string(),
            layer.trainings.len().to_string(),
        ];
        out += &cells.join(",");
        out.push('\n');
    }
    out
}

pub(super) fn drift(drift: &Drift) -> String {
    let mut out = String::from(
        "state,cosine_to_previous,cosine_to_previous_sd,cosine_to_first,cosine_to_first_sd,distance_to_previous,distance_to_first,\
         norm,tokens,undefined,seed_word_previous,seed_word_first\n",
    );
    for state in &drift.states {
        let previous = state.cosine_to_previous;
        let words = (
            previous.map_or("", |m| SeedVerdict::consecutive_word(m.mean)),
            SeedVerdict::first_word(state.cosine_to_first.mean),
        );
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "{},{},{},{},{},{},{},{},{},{},{},{}",
            state.state,
            cell(previous.map(|m| m.mean)),
            cell(previous.map(|m| m.sd)),
            cell(Some(state.cosine_to_first.mean)),
            cell(Some(state.cosine_to_first.sd)),
            cell(state.distance_to_previous.map(|m| m.mean)),
            cell(Some(state.distance_to_first.mean)),
            cell(Some(state.norm.mean)),
            state.cosine_to_first.n,
            state.undefined,
            words.0,
            words.1,
        );
    }
    out
}
