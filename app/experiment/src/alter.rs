//! What a dishonest prover runs in place of the model that it claims: weights rounded, moved, or left out.
//!
//! Values are rounded as the format would and decoded again, so that any device can run them; a real deployment would pack them.
//! Rounding is to the nearest, without calibration data (GPTQ and AWQ do better by the model, and so lie nearer to it).

use assay_engine::CacheFormat;
use assay_model::rounded::{Format, fp8, symmetric};
use assay_model::{LayerRole, Model, ModelError, Role, TensorRef};
use serde::{Deserialize, Serialize};

/// What is done to the weights. Matrices only, the embedding included where nothing else is said; norms and biases stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// [`Format::Int8`].
    Int8,
    /// [`Format::Int4`].
    Int4,
    /// [`Format::Fp8`].
    Fp8,
    /// Every weight times 1 + 0.01 u with u uniform in (-1, 1): as far as a light fine-tune moves them. No training took place.
    FineTune,
    /// The layers from this one on add nothing to the residual stream.
    ExitBefore(usize),
    /// This layer adds nothing.
    Skip(usize),
}

impl Weights {
    /// A copy of `model` that this was done to, in f32.
    ///
    /// # Errors
    /// A tensor that cannot be read.
    pub fn of(self, model: &Model) -> Result<Model, ModelError> {
        let mut tensor_index = 0;
        model.altered(|role, tensor, values| {
            tensor_index += 1;
            self.change(role, tensor, values, tensor_index);
        })
    }

    fn change(self, role: Role, tensor: &TensorRef, values: &mut [f32], index: u32) {
        let is_matrix = tensor.shape.len() == 2;
        match self {
            Self::Int8 => Format::Int8.round(role, tensor, values),
            Self::Int4 => Format::Int4.round(role, tensor, values),
            Self::Fp8 => Format::Fp8.round(role, tensor, values),
            Self::FineTune if is_matrix => {
                for (v, i) in values.iter_mut().zip(0u32..) {
                    let u = assay_engine::philox::uniform(0x17E5, index, i);
                    *v *= 1.0 + 0.01 * (2.0 * u - 1.0) as f32;
                }
            }
            Self::FineTune => {}
            Self::Skip(layer) => silence(role, values, layer..=layer),
            Self::ExitBefore(layer) => silence(role, values, layer..=usize::MAX),
        }
    }
}

/// Zeroes what these layers add to the residual stream.
fn silence(role: Role, values: &mut [f32], layers: std::ops::RangeInclusive<usize>) {
    use LayerRole as R;
    if let Role::Layer(layer, R::O | R::OBias | R::Down | R::DownBias) = role
        && layers.contains(&layer)
    {
        values.fill(0.0);
    }
}

/// Rounds one head's keys or values as a cheaper cache would hold them: apart from the engine's kernel, and ties go elsewhere.
pub(crate) fn round_head(format: CacheFormat, head: &mut [f32]) {
    match format {
        CacheFormat::Exact => {}
        CacheFormat::Int8 => symmetric(head, 127.0),
        CacheFormat::Int4 => symmetric(head, 7.0),
        CacheFormat::Fp8 => head.iter_mut().for_each(|v| *v = fp8(*v)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_moves_weights_as_far_as_the_format_says() {
        let model = Model::demo().unwrap();
        let distance = |kind: Weights| {
            let other = kind.of(&model).unwrap();
            let (mut error, mut norm) = (0.0, 0.0);
            for (a, b) in model.tensors().into_iter().zip(other.tensors()) {
                let (a, b) = (model.read_f32(a).unwrap(), other.read_f32(b).unwrap());
                for (a, b) in a.iter().zip(&b) {
                    error += f64::from(a - b).powi(2);
                    norm += f64::from(*a).powi(2);
                }
            }
            (error / norm).sqrt()
        };
        let [int8, int4, fp8, tuned] = [
            Weights::Int8,
            Weights::Int4,
            Weights::Fp8,
            Weights::FineTune,
        ]
        .map(distance);
        // A step of s leaves s / sqrt 12. int8: rows of about 200 normals reach 3 deviations, so 3 / 127 / sqrt 12. int4: 128 normals
        // span about 5.4, so 5.4 / 15 / sqrt 12. e4m3: steps of a 16th to an 8th of a number. Tables and norms, which stay as they
        // are, are in the denominator.
        assert!((0.004..0.008).contains(&int8), "{int8}");
        assert!((0.05..0.11).contains(&int4), "{int4}");
        assert!((0.015..0.03).contains(&fp8), "{fp8}");
        assert!((0.005..0.0058).contains(&tuned), "0.01 / sqrt 3: {tuned}");
    }
}
