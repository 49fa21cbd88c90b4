//! Causal grouped-query attention. Kernels: `attention_row` and `attention_group`; one twin.

use super::{Grid, ParamBytes, for_each, rounded, strict};
use crate::gpu::{AttentionKernel, PipelineKey};
use crate::numerics::{Numerics, Rounding, exp, recip};
use bytemuck::{Pod, Zeroable};

/// Positions in a chunk of the canonical order. The kernels' `CHUNK`; a test compares the two.
pub const CHUNK: usize = 64;
/// The finite stand-in for minus infinity. The kernels' `LOWEST`.
pub const LOWEST: f32 = -3.0e38;
/// Largest head_dim: `attention_group` keeps a head in registers and workgroup memory.
pub const MAX_HEAD_DIM: usize = 256;
/// Largest head_dim of `attention_row`, which unrolls a head.
pub const MAX_ROW_HEAD_DIM: usize = 128;

/// The kernels' uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Queries in this chunk.
    pub rows: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Position of the chunk's first query.
    pub pos0: u32,
    /// 1 / sqrt(head_dim).
    pub scale: f32,
    /// Zeros.
    pub unused: [u32; 2],
}

/// The pipeline for heads of `head_dim`.
pub fn key(
    kernel: AttentionKernel,
    head_dim: usize,
    numerics: Numerics,
    rounding: Rounding,
) -> PipelineKey {
    let defines = rounded(strict(numerics), rounding).with("HEAD_DIM", head_dim as i64);
    match kernel {
        AttentionKernel::Row => PipelineKey {
            kernel: "attention_row",
            defines,
        },
        AttentionKernel::Group => PipelineKey {
            kernel: "attention_group",
            defines: defines.with("LANE_COLUMNS", head_dim.div_ceil(64) as i64),
        },
    }
}

/// The kernel for heads of `head_dim` where the adapter prefers `preferred`.
pub fn choose(preferred: AttentionKernel, head_dim: usize) -> AttentionKernel {
    if head_dim > MAX_ROW_HEAD_DIM {
        AttentionKernel::Group
    } else {
        preferred
    }
}

/// Loop iterations that one invocation makes over `positions`: what a driver may limit.
pub fn iterations(kernel: AttentionKernel, positions: u64, head_dim: usize) -> u64 {
    let chunks = positions.div_ceil(CHUNK as u64);
    match kernel {
        AttentionKernel::Row => 2 * positions + chunks,
        AttentionKernel::Group => {
            let columns = head_dim.div_ceil(64) as u64;
            chunks * (1 + head_dim as u64) + (2 + columns) * positions + columns
        }
    }
}

/// Parameters and workgroups.
pub fn dispatch(
    kernel: AttentionKernel,
    rows: u32,
    heads: u32,
    kv_heads: u32,
    pos0: u32,
    head_dim: usize,
) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        heads,
        kv_heads,
        pos0,
        scale: scale(head_dim),
        unused: [0; 2],
    };
    let grid = match kernel {
        AttentionKernel::Row => [(rows * heads).div_ceil(64), 1, 1],
        AttentionKernel::Group => [heads, rows, 1],
    };
    (bytemuck::cast(params), grid)
}

/// 1 / sqrt(head_dim), rounded once.
pub fn scale(head_dim: usize) -> f32 {
    (1.0 / (head_dim as f64).sqrt()) as f32
}

/// Shapes of a call of the twin.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Columns of a head.
    pub head_dim: usize,
    /// Position of the first query.
    pub pos0: usize,
}

/// The twin: q and y are [rows, heads * d], the caches [capacity, kv_heads * d].
pub fn cpu(
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    shape: Shape,
    rounding: Rounding,
    y: &mut [f32],
) {
    let width = shape.heads * shape.head_dim;
    let rows: Vec<&mut [f32]> = y.chunks_exact_mut(width).collect();
    for_each(rows, |row, y| {
        let q = &q[row * width..(row + 1) * width];
        for head in 0..shape.heads {
            let span = head * shape.head_dim..(head + 1) * shape.head_dim;
            one_head(
                &q[span.clone()],
                k_cache,
                v_cache,
                shape,
                head,
                shape.pos0 + row + 1,
                &mut y[span],
            );
        }
        for y in y {
            *y = rounding.of(*y);
        }
    });
}

fn one_head(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    shape: Shape,
    head: usize,
    visible: usize,
    y: &mut [f32],
) {
    let d = shape.head_dim;
    let stride = shape.kv_heads * d;
    let base = head / (shape.heads / shape.kv_heads) * d;
    let scale = scale(d);
    let mut out = vec![0.0_f32; d];
    let mut weighted = vec![0.0_f32; d];
    let mut p = [0.0_f32; CHUNK];
    let (mut top, mut sum) = (LOWEST, 0.0_f32);
    for j0 in (0..visible).step_by(CHUNK) {
        let count = CHUNK.min(visible - j0);
        let mut chunk_top = LOWEST;
        for (j, p) in p[..count].iter_mut().enumerate() {
            let at = (j0 + j) * stride + base;
            let mut s = 0.0_f32;
            for (q, k) in q.iter().zip(&k[at..at + d]) {
                s += q * k;
            }
            *p = s * scale;
            chunk_top = chunk_top.max(*p);
        }
        let mut chunk_sum = 0.0_f32;
        weighted.fill(0.0);
        for (j, p) in p[..count].iter_mut().enumerate() {
            *p = exp(*p - chunk_top);
            chunk_sum += *p;
            let at = (j0 + j) * stride + base;
            for (o, v) in weighted.iter_mut().zip(&v[at..at + d]) {
                *o += *p * v;
            }
        }
        let new_top = top.max(chunk_top);
        let keep = exp(top - new_top);
        let take = exp(chunk_top - new_top);
        sum = sum * keep + chunk_sum * take;
        for (out, o) in out.iter_mut().zip(&weighted) {
            *out = *out * keep + o * take;
        }
        top = new_top;
    }
    let r = recip(sum);
    for (y, o) in y.iter_mut().zip(&out) {
        *y = o * r;
    }
}
