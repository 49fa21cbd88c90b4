//! Quantised copies of float checkpoints, by rounding to nearest: for experiments with what quantisation does to a verdict. No data is
//! used to choose scales, so a copy is a little worse than what GPTQ, AWQ or llama.cpp's importance matrices make at the same size.
//!
//! | target | file | what becomes quantised |
//! |---|---|---|
//! | [`Target::Int8`] | folder, compressed-tensors' `int-quantized` | the matrices of layers: `weight` i8, `weight_scale` f32 `[rows, 1]` |
//! | [`Target::Int4Gptq`] | folder, GPTQ's v1 tensors, symmetric, no act-order | the matrices of layers |
//! | [`Target::Q8_0`] | `.gguf` | every matrix |
//! | [`Target::Q4_0`] | `.gguf` | the matrices of layers; embedding and output projection as Q8_0 |
//!
//! Everything is read and written row by row, but for one matrix of 4-bit words, which GPTQ stores across rows.
mod folder;
mod gguf;
mod round;
mod vocabulary;

pub use folder::write_folder;
pub use gguf::write_gguf;

use crate::{Model, ModelError, RopeLayout, TensorRef};

/// Rows that are decoded at a time.
const ROWS: usize = 64;

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// 8 bits, a scale a row.
    Int8,
    /// 4 bits in GPTQ's tensors, a scale for each `group` columns.
    Int4Gptq {
        /// A multiple of 8 that divides every row.
        group: usize,
    },
    /// ggml's Q8_0.
    Q8_0,
    /// ggml's Q4_0.
    Q4_0,
}

impl Target {
    /// The largest of the usual groups that divides every row of the model's layers, for [`Target::Int4Gptq`].
    pub fn usual_group(model: &Model) -> Option<usize> {
        let config = model.config();
        let rows = [config.hidden, config.q_dim(), config.intermediate];
        let usual = [128, 64, 32, 16, 8];
        usual
            .into_iter()
            .find(|group| rows.iter().all(|row| row.is_multiple_of(*group)))
    }
}

/// What is copied must be floats, in the order that Hugging Face has.
fn check(model: &Model) -> Result<(), ModelError> {
    let unsupported = |key: &str, got: &str, supported: &str| {
        Err(ModelError::Unsupported {
            key: key.to_owned(),
            got: got.to_owned(),
            supported: supported.to_owned(),
        })
    };
    if let Some(tensor) = model.tensors().into_iter().find(|t| !t.dtype.is_float()) {
        let got = tensor.dtype.as_str();
        return unsupported("stored type of the original", got, "`f32`, `f16`, `bf16`");
    }
    match model.config().rope.map(|rope| rope.layout) {
        Some(RopeLayout::RotateHalf) => Ok(()),
        Some(RopeLayout::Interleaved) => unsupported(
            "rope layout of the original",
            RopeLayout::Interleaved.as_str(),
            "`rotate_half`, as a Hugging Face checkpoint has",
        ),
        None => unsupported("rope of the original", "none", "rotary positions"),
    }
}

/// Every row of a matrix as f32, a few at a time.
fn each_row(
    model: &Model,
    tensor: &TensorRef,
    mut row: impl FnMut(usize, &[f32]) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let (n, k) = (tensor.rows(), tensor.cols());
    for first in (0..n).step_by(ROWS) {
        let values = model.read_rows_f32(tensor, first..n.min(first + ROWS))?;
        for (i, values) in values.chunks_exact(k.max(1)).enumerate() {
            row(first + i, finite(tensor, first + i, values)?)?;
        }
    }
    model.release(tensor);
    Ok(())
}

fn finite<'a>(tensor: &TensorRef, row: usize, values: &'a [f32]) -> Result<&'a [f32], ModelError> {
    // A scale beyond f16 would be an infinity.
    match values.iter().all(|v| v.abs() <= 65_504.0) {
        true => Ok(values),
        false => Err(ModelError::CannotQuantise {
            name: tensor.name.clone(),
            row,
        }),
    }
}

#[cfg(all(test, feature = "demo"))]
mod tests;
