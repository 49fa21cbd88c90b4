//! The gated MLP's product. Kernel: `shaders/kernels/silu_mul.wgsl`.

use super::{Grid, ParamBytes, elementwise, rounded, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, Rounding, silu};

/// The pipeline.
pub fn key(numerics: Numerics, rounding: Rounding) -> PipelineKey {
    PipelineKey {
        kernel: "silu_mul",
        defines: rounded(strict(numerics), rounding),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, width: u32) -> (ParamBytes, Grid) {
    elementwise::dispatch(rows, width, 0)
}

/// The twin: `y[i] = round(round(silu(gate[i])) * up[i])`.
pub fn cpu(gate: &[f32], up: &[f32], rounding: Rounding, y: &mut [f32]) {
    for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
        *y = rounding.of(rounding.of(silu(*g)) * u);
    }
}
