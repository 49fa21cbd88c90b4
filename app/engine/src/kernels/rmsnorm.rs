//! Root-mean-square norm. Kernel: `shaders/kernels/rmsnorm.wgsl`.

use super::{Grid, ParamBytes, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, rsqrt};
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
pub fn key(numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "rmsnorm",
        defines: strict(numerics),
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
pub fn cpu(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    let n = weight.len();
    let inv_n = 1.0 / n as f32;
    for (x, y) in x.chunks_exact(n).zip(y.chunks_exact_mut(n)) {
        let mut lanes = [0.0_f32; 64];
        for chunk in x.chunks(64) {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *lane += v * v;
            }
        }
        let mut stride = 32;
        while stride > 0 {
            for i in 0..stride {
                lanes[i] += lanes[i + stride];
            }
            stride /= 2;
        }
        let scale = rsqrt(lanes[0] * inv_n + eps);
        for ((y, x), w) in y.iter_mut().zip(x).zip(weight) {
            *y = (x * scale) * w;
        }
    }
}
