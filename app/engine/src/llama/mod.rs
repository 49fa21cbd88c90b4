//! The forward pass of a Llama-shaped model, on a GPU ([`GpuLlama`]) and by the CPU twins ([`CpuLlama`]).
//!
//! For every layer, in the paper's order:
//! ```text
//! x = rmsnorm(h);  q, k, v = x Wq, x Wk, x Wv;  rope(q, k);  cache k, v
//! h = h + attention(q, cache) Wo
//! x = rmsnorm(h);  h = h + (silu(x Wgate) * (x Wup)) Wdown
//! ```
//! and for logits `rmsnorm(h) Wlm`. Both backends run the same kernels in the same canonical order.

mod cpu;
mod gpu;
mod record;
mod upload;

pub use cpu::CpuLlama;
pub(crate) use cpu::matrix_shape;
pub use gpu::GpuLlama;

use crate::EngineError;
use crate::kernels::attention::MAX_HEAD_DIM;
use assay_model::{LayerRole, Model, ModelConfig, Role, TensorRef};

/// The rotation table as (cos, sin) pairs, [positions, head_dim / 2].
pub(crate) fn rope_table(config: &ModelConfig, positions: usize) -> Vec<[f32; 2]> {
    let (cos, sin) = config.cos_sin_tables(0..positions);
    cos.into_iter().zip(sin).map(|(c, s)| [c, s]).collect()
}

/// The tensor of `role`, or an error that names it.
pub(crate) fn need(model: &Model, role: Role) -> Result<&TensorRef, EngineError> {
    model
        .tensor(role)
        .ok_or_else(|| EngineError::Unsupported(format!("a model without {role:?}")))
}

/// A layer's tensor and its optional bias.
pub(crate) fn linear(
    model: &Model,
    layer: usize,
    weight: LayerRole,
    bias: LayerRole,
) -> Result<(&TensorRef, Option<&TensorRef>), EngineError> {
    Ok((
        need(model, Role::Layer(layer, weight))?,
        model.tensor(Role::Layer(layer, bias)),
    ))
}

/// What the kernels cannot run, refused before anything is uploaded.
pub(crate) fn check_shapes(config: &ModelConfig) -> Result<(), EngineError> {
    if config.head_dim > MAX_HEAD_DIM {
        let need = config.head_dim as u64;
        return Err(EngineError::LimitTooSmall {
            what: "head_dim".to_owned(),
            need,
            have: MAX_HEAD_DIM as u64,
        });
    }
    Ok(())
}
