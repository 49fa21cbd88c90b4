//! The predictor: Linear(d to r) then Linear(r to h), no bias and nothing between (FMInference/DejaVu), a pair a layer.
//!
//! Without biases a score scales with its input: `score >= 0` and "the k largest scores" do not change when a row of x is multiplied
//! by a positive number. So a predictor may be trained on rows of unit RMS and applied to the raw residual stream.

mod facts;
mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

pub use crate::labels::Target;
pub use facts::{InputScale, PredictorFacts, PredictorLayer};
pub use file::Wanted;

use crate::StudyError;
use crate::dataset::Stream;
use crate::train::products::times_transposed;

/// Which hidden state a predictor looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Query {
    /// The target's own input: `mlp_x` or `att_x` of the same layer.
    SameLayer,
    /// `att_x` of the layer before, for either target: upstream's query for attention, known a layer ahead. Layer 0 has none.
    PreviousLayer,
    /// The target's input of one fixed layer, for that layer and all after it: what the drift study asks.
    CrossLayer {
        /// The layer whose input is looked at.
        from: u32,
    },
}

impl Query {
    /// The matrix that holds x for `layer`; `None` where there is no such state yet.
    pub fn source(self, target: Target, layer: u32) -> Option<(Stream, u32)> {
        let own = match target {
            Target::Mlp => Stream::MlpX,
            Target::Att => Stream::AttX,
        };
        match self {
            Self::SameLayer => Some((own, layer)),
            Self::PreviousLayer => Some((Stream::AttX, layer.checked_sub(1)?)),
            Self::CrossLayer { from } => (from <= layer).then_some((own, from)),
        }
    }

    /// Layers between the state that is looked at and the one that is predicted; `None` where there is no such state.
    pub fn distance(self, target: Target, layer: u32) -> Option<u32> {
        self.source(target, layer).map(|(_, from)| layer - from)
    }

    /// A short name such as `cross-layer-0`, for reports and file names.
    pub fn name(self) -> String {
        match self {
            Self::SameLayer => "same-layer".to_owned(),
            Self::PreviousLayer => "previous-layer".to_owned(),
            Self::CrossLayer { from } => format!("cross-layer-{from}"),
        }
    }
}

/// The two matrices of a layer, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// `[rank, hidden]`.
    pub down: Vec<f32>,
    /// `[outputs, rank]`.
    pub up: Vec<f32>,
}

/// Predictors of all layers of one target and one query.
#[derive(Debug, Clone, PartialEq)]
pub struct Predictor {
    facts: PredictorFacts,
    weights: BTreeMap<u32, Weights>,
}

impl Predictor {
    /// Puts facts and weights together, rounding the weights to the stored type that the facts name.
    ///
    /// # Errors
    /// Facts out of their limits; weights of other layers, of other lengths, or not finite once stored.
    pub fn new(
        facts: PredictorFacts,
        mut weights: BTreeMap<u32, Weights>,
    ) -> Result<Self, StudyError> {
        facts.check()?;
        for layer in weights.keys() {
            facts.layer(*layer)?;
        }
        for entry in &facts.layers {
            let layer = entry.layer;
            let pair = weights
                .get_mut(&layer)
                .ok_or(StudyError::NoPredictorLayer { layer })?;
            for (what, values, want) in [
                ("down", &mut pair.down, facts.down_len()),
                ("up", &mut pair.up, facts.up_len()),
            ] {
                if values.len() != want {
                    return Err(StudyError::Length {
                        what,
                        got: values.len(),
                        want,
                    });
                }
                for (index, value) in values.iter_mut().enumerate() {
                    let stored = facts.dtype.round(*value);
                    if !stored.is_finite() {
                        return Err(StudyError::Number {
                            what: facts::tensor_name(layer, what),
                            index,
                            got: *value,
                        });
                    }
                    *value = stored;
                }
            }
        }
        Ok(Self { facts, weights })
    }

    /// What it predicts, and how it was made.
    pub fn facts(&self) -> &PredictorFacts {
        &self.facts
    }

    /// A layer's matrices, as f32 with the stored type's values.
    ///
    /// # Errors
    /// No such layer.
    pub fn weights(&self, layer: u32) -> Result<&Weights, StudyError> {
        self.weights
            .get(&layer)
            .ok_or(StudyError::NoPredictorLayer { layer })
    }

    /// Scores `[rows, outputs]` of x `[rows, hidden]`: the state that [`Query::source`] names, as it is in the residual stream.
    /// An entry is predicted active where its score is at least 0 (sigmoid at least 0.5).
    ///
    /// # Errors
    /// No such layer; x of another length.
    pub fn scores(&self, layer: u32, x: &[f32], rows: usize) -> Result<Vec<f32>, StudyError> {
        let weights = self.weights(layer)?;
        scores(
            weights,
            x,
            rows,
            self.facts.hidden as usize,
            self.facts.rank as usize,
            self.facts.outputs as usize,
        )
    }
}

/// `up (down x)` for each row.
pub(crate) fn scores(
    weights: &Weights,
    x: &[f32],
    rows: usize,
    hidden: usize,
    rank: usize,
    outputs: usize,
) -> Result<Vec<f32>, StudyError> {
    let x = matrix("x", x, rows, hidden)?;
    let down = matrix("down", &weights.down, rank, hidden)?;
    let up = matrix("up", &weights.up, outputs, rank)?;
    let middle = times_transposed(x, down);
    Ok(times_transposed(matrix("middle", &middle, rows, rank)?, up))
}

/// `values` as a matrix.
pub(crate) fn matrix<'a>(
    what: &'static str,
    values: &'a [f32],
    rows: usize,
    columns: usize,
) -> Result<ArrayView2<'a, f32>, StudyError> {
    ArrayView2::from_shape((rows, columns), values).map_err(|_| StudyError::Length {
        what,
        got: values.len(),
        want: rows.saturating_mul(columns),
    })
}
