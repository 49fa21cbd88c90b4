//! The gated MLP's product. Kernel: `shaders/kernels/silu_mul.wgsl`.

use super::{Grid, ParamBytes, rounded, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, Rounding, silu};
use bytemuck::{Pod, Zeroable};

/// The kernel's uniform, padded to the common size.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub width: u32,
    /// Zeros.
    pub unused: [u32; 5],
}

/// The pipeline.
pub fn key(numerics: Numerics, rounding: Rounding) -> PipelineKey {
    PipelineKey {
        kernel: "silu_mul",
        defines: rounded(strict(numerics), rounding),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, width: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        width,
        unused: [0; 5],
    };
    (bytemuck::cast(params), [width.div_ceil(64), rows, 1])
}

/// The twin: `y[i] = round(round(silu(gate[i])) * up[i])`.
pub fn cpu(gate: &[f32], up: &[f32], rounding: Rounding, y: &mut [f32]) {
    for ((y, g), u) in y.iter_mut().zip(gate).zip(up) {
        *y = rounding.of(rounding.of(silu(*g)) * u);
    }
}
