//! Products of 8-bit integers with 32-bit sums. Kernel: `shaders/kernels/matmul_i8.wgsl`.

use super::{Grid, ParamBytes};
use crate::gpu::PipelineKey;
use assay_shaders::Defines;
use bytemuck::{Pod, Zeroable};

/// Columns that one invocation makes.
const TILE: u32 = 4;

/// The kernel's uniform, padded to the common size.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows of x and z.
    pub m: u32,
    /// Rows of w, columns of z.
    pub n: u32,
    /// k / 4.
    pub words: u32,
    /// Zeros.
    pub unused: [u32; 4],
}

/// The pipeline, with WGSL's packed dot product or without it.
pub fn key(packed_dot: bool) -> PipelineKey {
    PipelineKey {
        kernel: "matmul_i8",
        defines: Defines::new()
            .flag("DOT4", packed_dot)
            .with("TILE", TILE.into()),
    }
}

/// Parameters and workgroups; `k` is a multiple of 4.
pub fn dispatch(m: u32, n: u32, k: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        m,
        n,
        words: k / 4,
        unused: [0; 4],
    };
    (
        bytemuck::cast(params),
        [n.div_ceil(8 * TILE), m.div_ceil(8), 1],
    )
}

/// The twin: `z[r, c] = sum_k x[r, k] w[c, k]`; x is [m, k], w is [n, k].
pub fn cpu(x: &[i8], w: &[i8], k: usize, z: &mut [i32]) {
    let n = w.len() / k;
    for (x, z) in x.chunks_exact(k).zip(z.chunks_exact_mut(n)) {
        for (w, z) in w.chunks_exact(k).zip(z) {
            *z = x
                .iter()
                .zip(w)
                .map(|(x, w)| i32::from(*x) * i32::from(*w))
                .sum();
        }
    }
}
