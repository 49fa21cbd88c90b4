//! Rotary embedding and the KV write. Kernel: `shaders/kernels/rope_kv.wgsl`.

use super::{Grid, ParamBytes, for_each, rounded, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, Rounding};
use assay_model::RopeLayout;
use bytemuck::{Pod, Zeroable};

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Tokens in this chunk.
    pub rows: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// head_dim / 2.
    pub half: u32,
    /// Position of the chunk's first token.
    pub pos0: u32,
    /// Row of the caches that the first token's keys and values are written to.
    pub row0: u32,
    /// Zero.
    pub unused: u32,
}

/// The pipeline.
pub fn key(layout: RopeLayout, numerics: Numerics, rounding: Rounding) -> PipelineKey {
    let defines =
        rounded(strict(numerics), rounding).flag("INTERLEAVED", layout == RopeLayout::Interleaved);
    PipelineKey {
        kernel: "rope_kv",
        defines,
    }
}

/// The pipeline for q, k and v in one matrix, [rows, (heads + 2 kv_heads) * d], as one product leaves them.
pub fn stacked_key(layout: RopeLayout, numerics: Numerics, rounding: Rounding) -> PipelineKey {
    let mut key = key(layout, numerics, rounding);
    key.defines = key.defines.flag("STACKED", true);
    key
}

/// Parameters and workgroups for `rows` tokens from position `pos0` on, whose keys and values are written from row `row0` on.
pub fn dispatch(
    rows: u32,
    heads: u32,
    kv_heads: u32,
    half: u32,
    pos0: u32,
    row0: u32,
) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        heads,
        kv_heads,
        half,
        pos0,
        row0,
        unused: 0,
    };
    (
        bytemuck::cast(params),
        [((heads + 2 * kv_heads) * half).div_ceil(64), rows, 1],
    )
}

/// The twin of the rotation: every head of `rows` rows in place. `table` is [capacity, half] (cos, sin).
pub fn rotate_cpu(
    x: &mut [f32],
    heads: usize,
    table: &[[f32; 2]],
    half: usize,
    pos0: usize,
    layout: RopeLayout,
    rounding: Rounding,
) {
    let of = |x| rounding.of(x);
    let turn = |a: &mut f32, b: &mut f32, [cos, sin]: [f32; 2]| {
        (*a, *b) = (
            of(of(*a * cos) - of(*b * sin)),
            of(of(*b * cos) + of(*a * sin)),
        );
    };
    let rows: Vec<&mut [f32]> = x.chunks_exact_mut(heads * 2 * half).collect();
    for_each(rows, |row, x| {
        let angles = &table[(pos0 + row) * half..(pos0 + row + 1) * half];
        for head in x.chunks_exact_mut(2 * half) {
            match layout {
                RopeLayout::RotateHalf => {
                    let (first, second) = head.split_at_mut(half);
                    for ((a, b), angle) in first.iter_mut().zip(second).zip(angles) {
                        turn(a, b, *angle);
                    }
                }
                RopeLayout::Interleaved => {
                    for ([a, b], angle) in head.as_chunks_mut().0.iter_mut().zip(angles) {
                        turn(a, b, *angle);
                    }
                }
            }
        }
    });
}
