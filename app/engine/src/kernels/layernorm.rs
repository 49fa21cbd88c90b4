//! Layer norm with weight and bias. Kernel: `shaders/kernels/layernorm.wgsl`.

use super::{Grid, ParamBytes, lane_energy, lane_sum, rmsnorm, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, rsqrt};

/// The pipeline.
pub fn key(numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "layernorm",
        defines: strict(numerics),
    }
}

/// Parameters and workgroups: those of the other norm.
pub fn dispatch(rows: u32, n: u32, x_row: u32, eps: f32) -> (ParamBytes, Grid) {
    rmsnorm::dispatch(rows, n, x_row, eps)
}

/// The twin, over rows of `weight.len()` columns.
pub fn cpu(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
    let n = weight.len();
    let inv_n = 1.0 / n as f32;
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        let mean = lane_sum(x) * inv_n;
        for (y, x) in y.iter_mut().zip(x) {
            *y = x - mean;
        }
        let scale = rsqrt(lane_energy(y) * inv_n + eps);
        for ((y, w), b) in y.iter_mut().zip(weight).zip(bias) {
            *y = *y * scale * w + b;
        }
    }
}
