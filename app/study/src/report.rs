//! What a study found: JSON, CSV and plots.

mod csv;
mod layers;
pub mod plot;
mod sheet;
#[cfg(test)]
mod tests;

use std::path::Path;

use assay_sheet::Sheet;
use assay_trace::Digest;
use serde::{Deserialize, Serialize};

pub use layers::{LayerReport, SeedRule, Summary};

use crate::dataset::DatasetFacts;
use crate::labels::Label;
use crate::predictor::{InputScale, Predictor, PredictorFacts, Query, Target};
use crate::{StudyError, files};

/// Quality of one predictor, or of several trainings of it from different seeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictorReport {
    /// [`PredictorReport::FORMAT`].
    pub format: String,
    /// [`PredictorReport::VERSION`].
    pub version: u32,
    /// The model's family.
    pub family: String,
    /// The model's root.
    pub root: Digest,
    /// Digest of the dataset's `dataset.json`.
    pub dataset: Digest,
    /// Name of its text.
    pub text: String,
    /// Neurons or heads.
    pub target: Target,
    /// The hidden state that was looked at.
    pub query: Query,
    /// What counted as active.
    pub label: Label,
    /// What a reader must know about the label; `None` where there is nothing.
    pub remark: Option<String>,
    /// Scale of the training's input.
    pub input_scale: InputScale,
    /// Width between the predictor's matrices.
    pub rank: u32,
    /// One seed a training.
    pub seeds: Vec<u64>,
    /// One entry a layer.
    pub layers: Vec<LayerReport>,
    /// Over the layers.
    pub summary: Summary,
    /// The seed's aggregate and its cut, as the seed's rule.
    pub seed_rule: SeedRule,
}

impl PredictorReport {
    /// The format's name.
    pub const FORMAT: &'static str = "assay-predictor-report";
    /// The format's version.
    pub const VERSION: u32 = 1;

    /// Of trainings that differ in nothing but their seed.
    ///
    /// # Errors
    /// No training; trainings that differ in more; another dataset.
    pub fn new(dataset: &DatasetFacts, trainings: &[&Predictor]) -> Result<Self, StudyError> {
        let facts: Vec<&PredictorFacts> = trainings.iter().map(|one| one.facts()).collect();
        let first = *facts
            .first()
            .ok_or(StudyError::Empty { what: "trainings" })?;
        for (index, other) in facts.iter().enumerate() {
            same(first, other)?;
            if facts.iter().take(index).any(|one| one.seed == other.seed) {
                return Err(StudyError::Mixed {
                    what: "seed (one occurs twice)",
                });
            }
        }
        if dataset.root != first.root {
            return Err(StudyError::OtherModel {
                got: first.root,
                want: dataset.root,
            });
        }
        let digest = Digest::of(dataset.to_json()?.as_bytes());
        if digest != first.dataset {
            return Err(StudyError::Mixed { what: "dataset" });
        }
        let layers = LayerReport::all(&facts)?;
        let remark = first.label.remark();
        Ok(Self {
            format: Self::FORMAT.to_owned(),
            version: Self::VERSION,
            family: first.family.clone(),
            root: first.root,
            dataset: first.dataset,
            text: dataset.text.name.clone(),
            target: first.target,
            query: first.query,
            label: first.label,
            remark: remark.map(str::to_owned),
            input_scale: first.input_scale,
            rank: first.rank,
            seeds: facts.iter().map(|facts| facts.seed).collect(),
            summary: Summary::of(&layers, remark),
            seed_rule: SeedRule::of(&layers),
            layers,
        })
    }

    /// Indented JSON.
    ///
    /// # Errors
    /// None in practice: every figure is finite or absent.
    pub fn to_json(&self) -> Result<String, StudyError> {
        to_json(self)
    }

    /// A table: the seed's columns `Layer,Recall,True Sparsity,Classifier Sparsity` first (counts, as there), then ours.
    pub fn to_csv(&self) -> String {
        csv::predictor(self)
    }

    /// All of it for the window and the page, with the drift of the states that the predictors look at, where that was measured.
    pub fn to_sheet(&self, drift: Option<&crate::drift::Drift>) -> Sheet {
        sheet::predictor(self, drift)
    }

    /// Recall and F1 by layer, as an SVG.
    ///
    /// # Errors
    /// No layer with figures.
    pub fn to_svg(&self) -> Result<String, StudyError> {
        plot::quality_by_layer(self)
    }

    /// Writes `report.json`, `layers.csv` and `layers.svg` into `folder`, replacing older ones.
    ///
    /// # Errors
    /// Those of the file system and of [`PredictorReport::to_svg`].
    pub fn write(&self, folder: &Path) -> Result<(), StudyError> {
        let (json, svg) = (self.to_json()?, self.to_svg()?);
        std::fs::create_dir_all(folder)
            .map_err(|err| StudyError::io("make folder", folder, err))?;
        files::replace_with(&folder.join("report.json"), json.as_bytes())?;
        files::replace_with(&folder.join("layers.csv"), self.to_csv().as_bytes())?;
        files::replace_with(&folder.join("layers.svg"), svg.as_bytes())
    }
}

/// Indented JSON with a line feed at its end, for this crate's other figures too (a drift, a list of metrics).
///
/// # Errors
/// A value that JSON cannot hold.
pub fn to_json<T: Serialize>(value: &T) -> Result<String, StudyError> {
    let mut text = serde_json::to_string_pretty(value).map_err(|source| StudyError::Json {
        file: "report",
        source,
    })?;
    text.push('\n');
    Ok(text)
}

/// A drift as a table: one line a state, with the seed's words.
pub fn drift_csv(drift: &crate::drift::Drift) -> String {
    csv::drift(drift)
}

/// Refuses trainings that differ in more than their seed and its consequences.
fn same(a: &PredictorFacts, b: &PredictorFacts) -> Result<(), StudyError> {
    let numbers = |facts: &PredictorFacts| -> Vec<u32> {
        facts.layers.iter().map(|entry| entry.layer).collect()
    };
    let checks = [
        ("root", a.root == b.root),
        ("dataset", a.dataset == b.dataset),
        ("target", a.target == b.target),
        ("query", a.query == b.query),
        ("label", a.label == b.label),
        ("rank", a.rank == b.rank),
        ("dtype", a.dtype == b.dtype),
        ("input_scale", a.input_scale == b.input_scale),
        ("layers", numbers(a) == numbers(b)),
    ];
    match checks.iter().find(|(_, equal)| !equal) {
        Some((what, _)) => Err(StudyError::Mixed { what }),
        None => Ok(()),
    }
}
