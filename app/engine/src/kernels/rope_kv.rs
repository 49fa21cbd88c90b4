//! Rotary embedding and the KV write. Kernel: `shaders/kernels/rope_kv.wgsl`.

use super::{Grid, ParamBytes, rounded, strict};
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
    /// Zeros.
    pub unused: [u32; 2],
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

/// Parameters and workgroups.
pub fn dispatch(rows: u32, heads: u32, kv_heads: u32, half: u32, pos0: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        heads,
        kv_heads,
        half,
        pos0,
        unused: [0; 2],
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
    let d = 2 * half;
    for (row, x) in x.chunks_exact_mut(heads * d).enumerate() {
        let angles = &table[(pos0 + row) * half..(pos0 + row + 1) * half];
        for head in x.chunks_exact_mut(d) {
            for (i, [cos, sin]) in angles.iter().enumerate() {
                let (ia, ib) = match layout {
                    RopeLayout::RotateHalf => (i, i + half),
                    RopeLayout::Interleaved => (2 * i, 2 * i + 1),
                };
                let (a, b) = (head[ia], head[ib]);
                let of = |x| rounding.of(x);
                head[ia] = of(of(a * cos) - of(b * sin));
                head[ib] = of(of(b * cos) + of(a * sin));
            }
        }
    }
}
