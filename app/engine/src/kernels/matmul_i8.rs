//! Products of 8-bit integers with 32-bit sums. Kernel: `shaders/kernels/matmul_i8.wgsl`.

use super::{Grid, ParamBytes, for_each, round8};
use crate::gpu::PipelineKey;
use assay_shaders::Defines;
use bytemuck::{Pod, Zeroable};

/// Columns that one invocation makes.
const TILE: u32 = 4;

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows of x and z.
    pub m: u32,
    /// Rows of w in this shard.
    pub n: u32,
    /// Words of a row of x.
    pub words: u32,
    /// Elements between rows of z.
    pub stride: u32,
    /// First column of z that this shard writes.
    pub n0: u32,
    /// Words between rows of w.
    pub w_row: u32,
    /// Words before a row's integers.
    pub w_first: u32,
}

/// The pipeline, with WGSL's packed dot product or without it, for one row or for any number.
pub fn key(packed_dot: bool, one_row: bool) -> PipelineKey {
    PipelineKey {
        kernel: "matmul_i8",
        defines: Defines::new()
            .flag("DOT4", packed_dot)
            .flag("ONE_ROW", one_row)
            .with("TILE", TILE.into()),
    }
}

/// A product [m, k] times a shard of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Whether the pipeline is the one for one row.
    pub one_row: bool,
    /// Rows of the shard.
    pub n: u32,
    /// Columns.
    pub k: u32,
    /// Rows of the whole matrix: elements between rows of z.
    pub stride: u32,
    /// The shard's first row.
    pub n0: u32,
    /// Words before each row's integers: 1 in row form, where the scale stands there.
    pub w_first: u32,
}

/// Parameters and workgroups.
pub fn dispatch(m: u32, shape: Shape) -> (ParamBytes, Grid) {
    let words = round8::words(shape.k as usize) as u32;
    let params = Params {
        zero: 0,
        m,
        n: shape.n,
        words,
        stride: shape.stride,
        n0: shape.n0,
        w_row: words + shape.w_first,
        w_first: shape.w_first,
    };
    let grid = match shape.one_row {
        true => [shape.n.div_ceil(64 * TILE), 1, 1],
        false => [shape.n.div_ceil(8 * TILE), m.div_ceil(8), 1],
    };
    (bytemuck::cast(params), grid)
}

/// Columns of z that one task of the twin makes.
const TASK_COLUMNS: usize = 64;

/// The twin: `z[r, c] = sum_k x[r, k] w[c, k]`; x is [m, k], and `w` gives the n rows of the matrix, at least k long.
pub fn cpu<'a>(x: &[i8], w: impl Fn(usize) -> &'a [i8] + Sync, n: usize, k: usize, z: &mut [i32]) {
    let mut tasks = Vec::new();
    for (x, z) in x.chunks_exact(k).zip(z.chunks_exact_mut(n)) {
        for (i, z) in z.chunks_mut(TASK_COLUMNS).enumerate() {
            tasks.push((x, i * TASK_COLUMNS, z));
        }
    }
    for_each(tasks, |_, (x, first, z)| {
        for (c, z) in z.iter_mut().enumerate() {
            let products = x.iter().zip(w(first + c));
            *z = products.map(|(x, w)| i32::from(*x) * i32::from(*w)).sum();
        }
    });
}
