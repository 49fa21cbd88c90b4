//! The forward pass, on a GPU ([`GpuForward`]) and by the CPU twins ([`CpuForward`]).
//!
//! For every layer of a Llama, in the paper's order:
//! ```text
//! x = rmsnorm(h);  q, k, v = x Wq, x Wk, x Wv;  rope(q, k);  cache k, v
//! h = h + attention(q, cache) Wo
//! x = rmsnorm(h);  h = h + (silu(x Wgate) * (x Wup)) Wdown
//! ```
//! and for logits `rmsnorm(h) Wlm`. OPT adds a learned position to each embedding and rotates nothing, its norms remove the mean
//! and have biases, and its MLP is `relu(x Wup) Wdown`. Both backends run the same kernels in the same canonical order.

mod cpu;
mod cpu_sparse;
mod gpu;
mod layer_twin;
mod planner;
mod plans;
mod record;
mod sparse;
mod upload;
mod weights;

pub use cpu::CpuForward;
pub use cpu::final_norm;
pub(crate) use cpu::matrix_shape;
pub use gpu::GpuForward;
pub use layer_twin::{LayerRun, LayerTwin, logits_by_twin};
pub(crate) use weights::lies_in_texels;

use crate::kernels::attention::{self, MAX_HEAD_DIM};
use crate::{EngineError, Gpu};
use assay_model::{LayerRole, Model, ModelConfig, Role, Rope, TensorRef};

/// The rotation table as (cos, sin) pairs, [positions, head_dim / 2].
pub(crate) fn rope_table(rope: &Rope, head_dim: usize, positions: usize) -> Vec<[f32; 2]> {
    let (cos, sin) = rope.cos_sin_tables(head_dim, 0..positions);
    cos.into_iter().zip(sin).map(|(c, s)| [c, s]).collect()
}

/// The tensor of `role`, or an error that names it.
pub(crate) fn need(model: &Model, role: Role) -> Result<&TensorRef, EngineError> {
    model
        .tensor(role)
        .ok_or_else(|| EngineError::Unsupported(format!("a model without {role:?}")))
}

/// A layer's matrix and its optional bias.
pub(crate) fn linear(
    model: &Model,
    layer: usize,
    matrix: LayerRole,
) -> Result<(&TensorRef, Option<&TensorRef>), EngineError> {
    let bias = matrix.bias();
    Ok((
        need(model, Role::Layer(layer, matrix))?,
        bias.and_then(|bias| model.layer(layer, bias)),
    ))
}

/// Refuses a context at which attention's loops outlast what the driver lets an invocation do.
pub(crate) fn check_loops(
    gpu: &Gpu,
    config: &ModelConfig,
    capacity: usize,
) -> Result<(), EngineError> {
    let d = config.head_dim;
    let kernel = attention::choose(gpu.info.variants.attention, d);
    let need = attention::iterations(kernel, capacity as u64, d);
    let have = gpu.info.max_loop_iterations;
    if need > have {
        let what = format!("attention over {capacity} positions (loop iterations)");
        return Err(EngineError::LimitTooSmall { what, need, have });
    }
    Ok(())
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
