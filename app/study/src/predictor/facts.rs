//! What a predictor file says about itself. Fields stand in the order in which their JSON keys sort: that order is the canonical form.

use assay_trace::Digest;
use serde::{Deserialize, Serialize};

use super::{Query, Target};
use crate::dataset::Activation;
use crate::error::shown;
use crate::labels::Label;
use crate::metrics::LayerMetrics;
use crate::{Stored, StudyError};

const PLACE: &str = "the predictor's metadata";

/// What the rows of x went through before training. Decisions on raw rows are the same: see the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputScale {
    /// As they are: upstream. A few tokens with states a thousand times as large then steer the training.
    Raw,
    /// Divided by their root mean square, so that every token weighs the same.
    RowRms,
}

/// One layer of a predictor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictorLayer {
    /// Which epoch's weights these are, from 1.
    pub epoch: u32,
    /// Epochs that were run.
    pub epochs: u32,
    /// Held-out quality.
    pub held_out: LayerMetrics,
    /// The layer.
    pub layer: u32,
    /// The label's threshold in this layer, where it has one.
    pub threshold: Option<f32>,
}

/// What a predictor predicts and how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PredictorFacts {
    /// Digest of the dataset's `dataset.json`.
    pub dataset: Digest,
    /// Stored type of the weights.
    pub dtype: Stored,
    /// The model's family, as in the dataset.
    pub family: String,
    /// [`PredictorFacts::FORMAT`].
    pub format: String,
    /// Width of the residual stream, 1 to 2^17.
    pub hidden: u32,
    /// Scale of the training's input.
    pub input_scale: InputScale,
    /// What counted as active.
    pub label: Label,
    /// The layers, strictly ascending, at least one.
    pub layers: Vec<PredictorLayer>,
    /// Layers of the model, 1 to 1024.
    pub model_layers: u32,
    /// Neurons or heads, 1 to 2^20.
    pub outputs: u32,
    /// The hidden state that is looked at.
    pub query: Query,
    /// Width between the two matrices, 1 to 2^16.
    pub rank: u32,
    /// The model's root.
    pub root: Digest,
    /// Seed of the training, at most 2^53 - 1.
    pub seed: u64,
    /// Neurons or heads.
    pub target: Target,
    /// [`PredictorFacts::VERSION`].
    pub version: u32,
}

impl PredictorFacts {
    /// The format's name.
    pub const FORMAT: &'static str = "assay-predictor";
    /// The format's version.
    pub const VERSION: u32 = 1;

    /// Checks every limit.
    ///
    /// # Errors
    /// The first field that breaks one.
    pub fn check(&self) -> Result<(), StudyError> {
        const FILE: &str = "predictor";
        if self.format != Self::FORMAT {
            return Err(StudyError::Format {
                file: FILE,
                got: shown(&self.format),
                want: Self::FORMAT,
            });
        }
        if self.version != Self::VERSION {
            return Err(StudyError::Version {
                file: FILE,
                got: self.version,
                want: Self::VERSION,
            });
        }
        let printable = self.family.bytes().all(|b| matches!(b, b' '..=b'~'));
        if !printable || !(1..=64).contains(&self.family.len()) {
            return Err(StudyError::value(
                PLACE,
                "family",
                shown(&self.family),
                "1 to 64 printable ASCII characters",
            ));
        }
        within("hidden", self.hidden.into(), 1 << 17)?;
        within("model_layers", self.model_layers.into(), 1 << 10)?;
        within("outputs", self.outputs.into(), 1 << 20)?;
        within("rank", self.rank.into(), 1 << 16)?;
        if self.seed >= 1 << 53 {
            return Err(StudyError::value(PLACE, "seed", self.seed, "below 2^53"));
        }
        // The activation is not known here: the label must fit one of them.
        let outputs = self.outputs as usize;
        self.label
            .check(self.target, Activation::Relu, outputs)
            .or_else(|_| {
                self.label
                    .check(self.target, Activation::SiluGated, outputs)
            })?;
        let mut thresholds = self.layers.iter().filter_map(|entry| entry.threshold);
        if let Some(bad) = thresholds.find(|t| !(*t >= 0.0 && t.is_finite())) {
            return Err(StudyError::value(PLACE, "threshold", bad, "at least 0"));
        }
        let ascending = self.layers.is_sorted_by(|a, b| a.layer < b.layer);
        let inside = self
            .layers
            .last()
            .is_some_and(|last| last.layer < self.model_layers);
        if !ascending || !inside {
            return Err(StudyError::value(
                PLACE,
                "layers",
                format!("{} layers", self.layers.len()),
                format!(
                    "strictly ascending below {}, at least one",
                    self.model_layers
                ),
            ));
        }
        for layer in self.layers.iter().map(|entry| entry.layer) {
            if self.query.source(self.target, layer).is_none() {
                return Err(StudyError::NoQuery {
                    layer,
                    query: self.query.name(),
                });
            }
        }
        Ok(())
    }

    /// The entry of a layer.
    ///
    /// # Errors
    /// No such layer.
    pub fn layer(&self, layer: u32) -> Result<&PredictorLayer, StudyError> {
        self.layers
            .iter()
            .find(|entry| entry.layer == layer)
            .ok_or(StudyError::NoPredictorLayer { layer })
    }

    /// A name for the file, such as `mlp-same-layer.safetensors`.
    pub fn file_name(&self) -> String {
        format!("{}-{}.safetensors", self.target.name(), self.query.name())
    }

    /// Values of `down`. At most 2^33: limits were checked.
    pub(super) fn down_len(&self) -> usize {
        self.rank as usize * self.hidden as usize
    }

    /// Values of `up`. At most 2^36.
    pub(super) fn up_len(&self) -> usize {
        self.outputs as usize * self.rank as usize
    }
}

/// The tensor `which` (`down` or `up`) of a layer.
pub(super) fn tensor_name(layer: u32, which: &str) -> String {
    format!("layers.{layer}.{which}")
}

fn within(key: &'static str, got: u64, most: u64) -> Result<(), StudyError> {
    if (1..=most).contains(&got) {
        Ok(())
    } else {
        Err(StudyError::value(PLACE, key, got, format!("1 to {most}")))
    }
}
