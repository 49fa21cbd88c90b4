//! Embedding lookup. Kernel: `shaders/kernels/embed.wgsl`.

use super::{Grid, ParamBytes, stored, strict};
use crate::gpu::PipelineKey;
use crate::numerics::Numerics;
use assay_model::Dtype;
use bytemuck::{Pod, Zeroable};

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Tokens in this chunk.
    pub rows: u32,
    /// Columns of the table.
    pub hidden: u32,
    /// Id of this shard's first row.
    pub first: u32,
    /// Rows in this shard.
    pub count: u32,
    /// Zeros.
    pub unused: [u32; 3],
}

/// The pipeline for tables of `dtype` with `hidden` columns, in buffers or `in_texels`.
pub fn key(dtype: Dtype, hidden: usize, in_texels: bool) -> PipelineKey {
    // Strict or not, a value is the same; the strict loader hides it from the compiler.
    let defines = stored(strict(Numerics::Strict), dtype, hidden);
    PipelineKey {
        kernel: "embed",
        defines: if in_texels {
            super::in_texels(defines, dtype)
        } else {
            defines
        },
    }
}

/// Parameters and workgroups for `rows` tokens.
pub fn dispatch(rows: u32, hidden: u32, first: u32, count: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        hidden,
        first,
        count,
        unused: [0; 3],
    };
    (bytemuck::cast(params), [hidden.div_ceil(64), rows, 1])
}

/// The twin: `y[r, :] = table[ids[r], :]`, for ids inside the table; others are left alone.
pub fn cpu(ids: &[u32], dtype: Dtype, table: &[u8], hidden: usize, y: &mut [f32]) {
    let mut row = Vec::with_capacity(hidden);
    for (id, out) in ids.iter().zip(y.chunks_exact_mut(hidden)) {
        row.clear();
        dtype.decode_row(table, *id as usize, hidden, &mut row);
        if row.len() == hidden {
            out.copy_from_slice(&row);
        }
    }
}
