//! Causal grouped-query attention. Kernels: `attention_row`, `attention_subgroup` and `attention_group`; one twin.

use super::lanes::{LANES, add_rows, advance, pack};
use super::{Grid, ParamBytes, for_each, rounded, strict};
use crate::gpu::{AttentionKernel, PipelineKey};
use crate::numerics::{Numerics, Rounding, exp, recip};
use bytemuck::{Pod, Zeroable};
use std::ops::Range;

/// Positions in a chunk of the canonical order. The kernels' `CHUNK`; a test compares the two.
pub const CHUNK: usize = 64;
/// The finite stand-in for minus infinity. The kernels' `LOWEST`.
pub const LOWEST: f32 = -3.0e38;
/// Largest head_dim: `attention_group` keeps a head in registers and workgroup memory.
pub const MAX_HEAD_DIM: usize = 256;
/// Largest head_dim of `attention_row` and `attention_subgroup`, which unroll a head.
pub const MAX_ROW_HEAD_DIM: usize = 128;

/// Positions in one iteration of `attention_subgroup`. On llvmpipe two queries a lane are 1.5 times as fast as one at 1024 positions and compile
/// in 0.9 s in place of 0.35; four positions are no faster (`bench_attention`, 2026-11-28).
const STEP: usize = 2;

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
    /// `attention_subgroup`: 2^fold positions lie in a row of texels ([`kv_write::fold`](super::kv_write::fold)).
    pub fold: u32,
    /// Zero.
    pub unused: u32,
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
        AttentionKernel::Subgroup => PipelineKey {
            kernel: "attention_subgroup",
            defines: defines
                .flag("TEXELS", true)
                .with("EIGHTHS", (head_dim / 8) as i64)
                .with("BLOCKS", (head_dim / 32) as i64)
                .with("STEP", STEP as i64),
        },
        AttentionKernel::Group => PipelineKey {
            kernel: "attention_group",
            defines: defines.with("LANE_COLUMNS", head_dim.div_ceil(64) as i64),
        },
    }
}

/// The kernel for heads of `head_dim` where the adapter prefers `preferred`.
pub fn choose(preferred: AttentionKernel, head_dim: usize) -> AttentionKernel {
    use AttentionKernel::{Group, Row, Subgroup};
    match preferred {
        _ if head_dim > MAX_ROW_HEAD_DIM => Group,
        Subgroup if !head_dim.is_multiple_of(8) => Row,
        _ => preferred,
    }
}

/// Loop iterations that one invocation makes over `positions`: what a driver may limit.
pub fn iterations(kernel: AttentionKernel, positions: u64, head_dim: usize) -> u64 {
    let chunks = positions.div_ceil(CHUNK as u64);
    match kernel {
        AttentionKernel::Row => 2 * positions + chunks,
        AttentionKernel::Subgroup => chunks * (1 + 2 * CHUNK.div_ceil(STEP) as u64),
        AttentionKernel::Group => {
            let columns = head_dim.div_ceil(64) as u64;
            chunks * (1 + head_dim as u64) + (2 + columns) * positions + columns
        }
    }
}

/// Parameters and workgroups; 2^`fold` positions lie in a row of texels, where keys and values are textures.
pub fn dispatch(
    kernel: AttentionKernel,
    rows: u32,
    heads: u32,
    kv_heads: u32,
    pos0: u32,
    head_dim: usize,
    fold: u32,
) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        heads,
        kv_heads,
        pos0,
        scale: scale(head_dim),
        fold,
        unused: 0,
    };
    let grid = match kernel {
        AttentionKernel::Row => [(rows * heads).div_ceil(64), 1, 1],
        AttentionKernel::Subgroup => {
            let queries = rows * (heads / kv_heads);
            [queries.div_ceil(8), kv_heads, 1]
        }
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

/// Queries of a head that one task takes: they share its keys, laid out for the task.
const TASK_ROWS: usize = 16;

/// The twin: q and y are [rows, heads * d], the caches [capacity, kv_heads * d].
pub fn cpu(
    q: &[f32],
    k_cache: &[f32],
    v_cache: &[f32],
    shape: Shape,
    rounding: Rounding,
    y: &mut [f32],
) {
    // The heads that share keys, row by row: by block of rows and key head, a task.
    let width = shape.heads / shape.kv_heads * shape.head_dim;
    let rows = y.len() / (shape.kv_heads * width);
    let mut tasks: Vec<Vec<&mut [f32]>> = Vec::new();
    tasks.resize_with(rows.div_ceil(TASK_ROWS) * shape.kv_heads, Vec::new);
    for (i, y) in y.chunks_exact_mut(width).enumerate() {
        let (row, head) = (i / shape.kv_heads, i % shape.kv_heads);
        tasks[row / TASK_ROWS * shape.kv_heads + head].push(y);
    }
    for_each(tasks, |task, mut y| {
        let (block, kv_head) = (task / shape.kv_heads, task % shape.kv_heads);
        let first = block * TASK_ROWS;
        let q = |i: usize| &q[((first + i) * shape.kv_heads + kv_head) * width..][..width];
        let cache = Cache {
            k: k_cache,
            v: v_cache,
            stride: shape.kv_heads * shape.head_dim,
            base: kv_head * shape.head_dim,
            d: shape.head_dim,
        };
        attend(q, &cache, shape.pos0 + first, &mut y);
        y.iter_mut().for_each(|y| rounding.all(y));
    });
}

/// One head of the caches.
struct Cache<'a> {
    k: &'a [f32],
    v: &'a [f32],
    stride: usize,
    base: usize,
    d: usize,
}

impl<'a> Cache<'a> {
    fn row(&self, of: &'a [f32], position: usize) -> &'a [f32] {
        &of[position * self.stride + self.base..][..self.d]
    }

    /// Keys of up to [`CHUNK`] positions, [`LANES`] of them side by side.
    fn pack(&self, positions: Range<usize>, packed: &mut [[f32; LANES]]) {
        let blocks = packed.chunks_exact_mut(self.d);
        for (first, packed) in positions.clone().step_by(LANES).zip(blocks) {
            let rows = first..positions.end.min(first + LANES);
            pack(rows.map(|j| self.row(self.k, j)), packed);
        }
    }
}

/// What a query has seen so far, beside its weighted sum of values.
#[derive(Clone, Copy)]
struct Softmax {
    top: f32,
    sum: f32,
}

/// The query heads of one key head: `q(i)` and `y[i]` are row i's, at position `pos0 + i`.
fn attend<'a>(
    q: impl Fn(usize) -> &'a [f32],
    cache: &Cache<'_>,
    pos0: usize,
    y: &mut [&mut [f32]],
) {
    let d = cache.d;
    let heads = y.first().map_or(0, |y| y.len() / d);
    let nothing = Softmax {
        top: LOWEST,
        sum: 0.0,
    };
    let mut seen = vec![nothing; y.len() * heads];
    y.iter_mut().for_each(|y| y.fill(0.0));
    let mut packed = vec![[0.0; LANES]; CHUNK / LANES * d];
    let end = pos0 + y.len();
    for j0 in (0..end).step_by(CHUNK) {
        cache.pack(j0..end.min(j0 + CHUNK), &mut packed);
        for (row, y) in y.iter_mut().enumerate() {
            let visible = (pos0 + row + 1).saturating_sub(j0).min(CHUNK);
            if visible == 0 {
                continue;
            }
            let queries = q(row).chunks_exact(d).zip(y.chunks_exact_mut(d));
            for ((q, y), seen) in queries.zip(&mut seen[row * heads..]) {
                see(q, &packed, cache, j0..j0 + visible, seen, y);
            }
        }
    }
    let rows = y.iter_mut().flat_map(|y| y.chunks_exact_mut(d));
    for (y, seen) in rows.zip(seen) {
        let r = recip(seen.sum);
        y.iter_mut().for_each(|y| *y *= r);
    }
}

/// One query and one chunk of positions.
fn see(
    q: &[f32],
    packed: &[[f32; LANES]],
    cache: &Cache<'_>,
    positions: Range<usize>,
    seen: &mut Softmax,
    out: &mut [f32],
) {
    let scale = scale(cache.d);
    let mut p = [0.0; CHUNK];
    let p = &mut p[..positions.len()];
    for (p, packed) in p.chunks_mut(LANES).zip(packed.chunks_exact(cache.d)) {
        let mut sums = [0.0; LANES];
        advance(packed, q, &mut sums);
        p.iter_mut().zip(sums).for_each(|(p, s)| *p = s * scale);
    }
    let mut top = LOWEST;
    for p in p.iter() {
        // Not `max`, which takes time to say what becomes of NaN.
        if *p > top {
            top = *p;
        }
    }
    p.iter_mut().for_each(|p| *p = exp(*p - top));
    let sum = p.iter().fold(0.0, |sum, p| sum + p);
    let mut weighted = [0.0; MAX_HEAD_DIM];
    let weighted = &mut weighted[..cache.d];
    add_rows(p, |j| cache.row(cache.v, positions.start + j), weighted);

    let new_top = seen.top.max(top);
    let keep = exp(seen.top - new_top);
    let take = exp(top - new_top);
    seen.sum = seen.sum * keep + sum * take;
    seen.top = new_top;
    for (out, o) in out.iter_mut().zip(weighted) {
        *out = *out * keep + *o * take;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::Seeded;

    /// One query and head, a number at a time.
    fn plain(
        q: &[f32],
        k: &[f32],
        v: &[f32],
        shape: Shape,
        head: usize,
        visible: usize,
    ) -> Vec<f32> {
        let d = shape.head_dim;
        let at = |j: usize| (j * shape.kv_heads + head / (shape.heads / shape.kv_heads)) * d;
        let (mut top, mut sum, mut out) = (LOWEST, 0.0, vec![0.0; d]);
        for j0 in (0..visible).step_by(CHUNK) {
            let chunk = j0..visible.min(j0 + CHUNK);
            let dot = |j| (0..d).fold(0.0, |s, i| s + q[i] * k[at(j) + i]) * scale(d);
            let scores: Vec<f32> = chunk.clone().map(dot).collect();
            let chunk_top = scores.iter().copied().fold(LOWEST, f32::max);
            let (mut chunk_sum, mut weighted) = (0.0, vec![0.0; d]);
            for (j, s) in chunk.zip(scores) {
                let p = exp(s - chunk_top);
                chunk_sum += p;
                let values = &v[at(j)..][..d];
                weighted
                    .iter_mut()
                    .zip(values)
                    .for_each(|(o, v)| *o += p * v);
            }
            let new_top = top.max(chunk_top);
            let (keep, take) = (exp(top - new_top), exp(chunk_top - new_top));
            sum = sum * keep + chunk_sum * take;
            for (out, o) in out.iter_mut().zip(weighted) {
                *out = *out * keep + o * take;
            }
            top = new_top;
        }
        let r = recip(sum);
        out.iter().map(|o| o * r).collect()
    }

    #[test]
    fn bits_are_those_of_a_plain_loop() {
        for (heads, kv_heads, head_dim) in [(1, 1, 1), (3, 3, 5), (6, 2, 24), (4, 1, 128)] {
            for (pos0, rows) in [(0, 1), (0, 70), (47, 17), (63, 1), (64, 2), (130, 33)] {
                let mut seeded = Seeded((heads * 1000 + pos0) as u64);
                let shape = Shape {
                    heads,
                    kv_heads,
                    head_dim,
                    pos0,
                };
                let cache = (pos0 + rows + 3) * kv_heads * head_dim;
                let q = seeded.floats(rows * heads * head_dim);
                let (k, v) = (seeded.floats(cache), seeded.floats(cache));
                let mut y = vec![f32::NAN; q.len()];
                cpu(&q, &k, &v, shape, Rounding::Bf16, &mut y);
                let queries = q.chunks_exact(head_dim).enumerate();
                let want = queries
                    .flat_map(|(i, q)| plain(q, &k, &v, shape, i % heads, pos0 + i / heads + 1));
                let want = want.map(|y| Rounding::Bf16.of(y).to_bits());
                let got = y.iter().map(|y| y.to_bits());
                assert!(got.eq(want), "{shape:?}, {rows} rows");
            }
        }
    }
}
