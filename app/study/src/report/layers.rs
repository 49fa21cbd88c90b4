//! Figures by layer and over the layers.

use serde::{Deserialize, Serialize};

use crate::StudyError;
use crate::metrics::{Compared, Estimate, Finding, LayerMetrics, Quality};
use crate::predictor::PredictorFacts;

/// One layer, over all trainings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerReport {
    /// The layer.
    pub layer: u32,
    /// Layers between the state that was looked at and this one.
    pub distance: u32,
    /// The predictor at the true count: recall (which is precision and F1 too, as both counts are equal).
    pub recall_at_true_count: Option<Estimate>,
    /// The static list's recall at the same budget.
    pub static_recall_at_true_count: Option<Estimate>,
    /// Their difference, the figure that matters.
    pub lift_over_static: Option<Estimate>,
    /// The predictor's recall at `score >= 0`.
    pub recall: Option<Estimate>,
    /// Its F1 there.
    pub f1: Option<Estimate>,
    /// What all trainings agree on; `Undecided` where they do not.
    pub finding: Finding,
    /// Everything, one entry a training.
    pub trainings: Vec<LayerMetrics>,
}

impl LayerReport {
    pub(super) fn all(facts: &[&PredictorFacts]) -> Result<Vec<Self>, StudyError> {
        let first = facts
            .first()
            .ok_or(StudyError::Empty { what: "trainings" })?;
        first
            .layers
            .iter()
            .map(|entry| {
                let layer = entry.layer;
                let trainings = facts
                    .iter()
                    .map(|facts| Ok(facts.layer(layer)?.held_out.clone()))
                    .collect::<Result<Vec<_>, StudyError>>()?;
                let distance = first.query.distance(first.target, layer).unwrap_or(0);
                Ok(Self::of(layer, distance, trainings))
            })
            .collect()
    }

    fn of(layer: u32, distance: u32, trainings: Vec<LayerMetrics>) -> Self {
        let estimate = |figure: &dyn Fn(&LayerMetrics) -> Option<f64>| {
            let values: Option<Vec<f64>> = trainings.iter().map(figure).collect();
            Estimate::of(&values?)
        };
        let all = |finding| trainings.iter().all(|one| one.lift.finding == finding);
        let finding = if all(Finding::BetterThanStatic) {
            Finding::BetterThanStatic
        } else if all(Finding::NoBetterThanStatic) {
            Finding::NoBetterThanStatic
        } else {
            Finding::Undecided
        };
        Self {
            layer,
            distance,
            recall_at_true_count: estimate(&|one| one.at_true_count.predictor.recall),
            static_recall_at_true_count: estimate(&|one| one.at_true_count.most_frequent.recall),
            lift_over_static: estimate(&|one| one.lift.difference),
            recall: estimate(&|one| one.at_zero.predictor.recall),
            f1: estimate(&|one| one.at_zero.predictor.f1),
            finding,
            trainings,
        }
    }

    /// The mean over trainings of one figure of one predictor; `None` where a training lacks it.
    pub(super) fn mean(
        &self,
        compared: impl Fn(&LayerMetrics) -> &Compared,
        whose: impl Fn(&Compared) -> &Quality,
        figure: impl Fn(&Quality) -> Option<f64>,
    ) -> Option<f64> {
        let values: Option<Vec<f64>> = self
            .trainings
            .iter()
            .map(|one| figure(whose(compared(one))))
            .collect();
        Some(Estimate::of(&values?)?.mean)
    }
}

/// Over the layers of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Layers whose predictor is better than the static list.
    pub better: u32,
    /// Layers where it is no better.
    pub no_better: u32,
    /// Layers where that is not known.
    pub undecided: u32,
    /// Mean over layers of recall at the true count.
    pub recall_at_true_count: Option<f64>,
    /// The same of the static list.
    pub static_recall_at_true_count: Option<f64>,
    /// What was found, in words.
    pub statement: String,
}

impl Summary {
    pub(super) fn of(layers: &[LayerReport], remark: Option<&str>) -> Self {
        let count = |finding| layers.iter().filter(|l| l.finding == finding).count() as u32;
        let better = count(Finding::BetterThanStatic);
        let no_better = count(Finding::NoBetterThanStatic);
        let undecided = count(Finding::Undecided);
        let mean = |figure: &dyn Fn(&LayerReport) -> Option<Estimate>| {
            let values: Vec<f64> = layers.iter().filter_map(figure).map(|e| e.mean).collect();
            Estimate::of(&values).map(|estimate| estimate.mean)
        };
        let recall = mean(&|layer| layer.recall_at_true_count);
        let fixed = mean(&|layer| layer.static_recall_at_true_count);
        let mut statement = format!(
            "At equal budgets the predictor finds more of what is active than a static list of the most frequent in {better} of {} \
             layers, and no more in {no_better}.",
            layers.len()
        );
        if undecided > 0 {
            statement +=
                &format!(" In {undecided}, documents are too few to tell or trainings disagree.");
        }
        if let Some((recall, fixed)) = recall.zip(fixed) {
            statement += &format!(
                " Recall at the true count is {recall:.3} on average; the static list's is {fixed:.3}."
            );
        }
        if better == 0 && undecided == 0 {
            statement += " So nothing here shows that the predictor knows more than which ones are often active.";
        }
        if let Some(remark) = remark {
            statement += " ";
            statement += remark;
        }
        Self {
            better,
            no_better,
            undecided,
            recall_at_true_count: recall,
            static_recall_at_true_count: fixed,
            statement,
        }
    }
}

/// The seed's aggregate: average, least and largest recall at `score >= 0` over the layers, and its cut at 0.90. Recall without
/// a budget is won by predicting everything, so this stands beside the summary and never in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeedRule {
    /// Average recall.
    pub average_recall: Option<f64>,
    /// Least recall of a layer.
    pub min_recall: Option<f64>,
    /// Largest recall of a layer.
    pub max_recall: Option<f64>,
    /// The seed's verdict: whether the average is below 0.90. `None` without recalls.
    pub hypothesis_verified: Option<bool>,
    /// Average fraction that the predictor keeps for it: 1.0 would mean that it predicts everything.
    pub kept_fraction: Option<f64>,
}

impl SeedRule {
    pub(super) fn of(layers: &[LayerReport]) -> Self {
        let recalls: Vec<f64> = layers
            .iter()
            .filter_map(|layer| layer.recall)
            .map(|estimate| estimate.mean)
            .collect();
        let kept: Vec<f64> = layers
            .iter()
            .filter_map(|layer| {
                layer.mean(
                    |one| &one.at_zero,
                    |compared| &compared.predictor,
                    |quality| Some(quality.predicted_fraction),
                )
            })
            .collect();
        let average = Estimate::of(&recalls).map(|estimate| estimate.mean);
        Self {
            average_recall: average,
            min_recall: recalls.iter().copied().reduce(f64::min),
            max_recall: recalls.iter().copied().reduce(f64::max),
            hypothesis_verified: average.map(|average| average < 0.90),
            kept_fraction: Estimate::of(&kept).map(|estimate| estimate.mean),
        }
    }
}
