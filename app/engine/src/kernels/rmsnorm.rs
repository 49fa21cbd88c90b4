//! Root-mean-square norm. Kernel: `shaders/kernels/rmsnorm.wgsl`.

use super::{Grid, ParamBytes, for_each, lane_energy, rounded, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, Rounding, rsqrt};
use bytemuck::{Pod, Zeroable};

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows to norm.
    pub rows: u32,
    /// Columns.
    pub n: u32,
    /// First row of x.
    pub x_row: u32,
    /// 1 / n.
    pub inv_n: f32,
    /// Added to the mean square.
    pub eps: f32,
    /// Zeros.
    pub unused: [u32; 2],
}

/// The pipeline.
pub fn key(numerics: Numerics, rounding: Rounding) -> PipelineKey {
    PipelineKey {
        kernel: "rmsnorm",
        defines: rounded(strict(numerics), rounding),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, n: u32, x_row: u32, eps: f32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        n,
        x_row,
        inv_n: 1.0 / n as f32,
        eps,
        unused: [0; 2],
    };
    (bytemuck::cast(params), [rows, 1, 1])
}

/// The twin, over rows of `weight.len()` columns.
pub fn cpu(x: &[f32], weight: &[f32], eps: f32, rounding: Rounding, y: &mut [f32]) {
    let n = weight.len();
    let inv_n = 1.0 / n as f32;
    let rows: Vec<&mut [f32]> = y.chunks_exact_mut(n).collect();
    for_each(rows, |row, y| {
        let x = &x[row * n..(row + 1) * n];
        let scale = rsqrt(lane_energy(x) * inv_n + eps);
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * scale);
        rounding.all(y);
        y.iter_mut().zip(weight).for_each(|(y, w)| *y *= w);
        rounding.all(y);
    });
}
