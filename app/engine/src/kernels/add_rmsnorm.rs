//! A residual and the norm behind it. Kernel: `shaders/kernels/add_rmsnorm.wgsl`.
//!
//! It stands where a sum is a step of its own: in recordings, in audits, and where a product is slower for adding its residual
//! ([`Variants::sums_in_norm`](crate::gpu::Variants::sums_in_norm)).

use super::{Grid, ParamBytes, add, rmsnorm, rounded, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, Rounding};

/// The pipeline; `in_place` if what is added lies where the norm goes.
pub fn key(in_place: bool, numerics: Numerics, rounding: Rounding) -> PipelineKey {
    PipelineKey {
        kernel: "add_rmsnorm",
        defines: rounded(strict(numerics), rounding).flag("IN_PLACE", in_place),
    }
}

/// Parameters and workgroups: those of a norm of all rows.
pub fn dispatch(rows: u32, n: u32, eps: f32) -> (ParamBytes, Grid) {
    rmsnorm::dispatch(rows, n, 0, eps)
}

/// The twin, over rows of `weight.len()` columns: the two kernels' twins, one after the other.
pub fn cpu(
    a: &[f32],
    b: &[f32],
    weight: &[f32],
    eps: f32,
    rounding: Rounding,
    sum: &mut [f32],
    y: &mut [f32],
) {
    add::cpu(a, b, weight.len(), rounding, sum);
    rmsnorm::cpu(sum, weight, eps, rounding, y);
}
