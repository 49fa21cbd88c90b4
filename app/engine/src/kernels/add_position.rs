//! Learned positions. Kernel: `shaders/kernels/add_position.wgsl`.

use super::{Grid, ParamBytes, elementwise, stored, strict};
use crate::gpu::PipelineKey;
use crate::numerics::Numerics;
use assay_model::Dtype;

/// The pipeline for tables of `dtype` with `hidden` columns.
pub fn key(dtype: Dtype, hidden: usize, numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "add_position",
        defines: stored(strict(numerics), dtype, hidden),
    }
}

/// Parameters and workgroups for `rows` tokens, the first of which reads the table's row `first`.
pub fn dispatch(rows: u32, hidden: u32, first: u32) -> (ParamBytes, Grid) {
    elementwise::dispatch(rows, hidden, first)
}

/// The twin: `y[r, :] += table[first + r, :]`, for rows inside the table; others are left alone.
pub fn cpu(dtype: Dtype, table: &[u8], hidden: usize, first: usize, y: &mut [f32]) {
    let mut row = Vec::with_capacity(hidden);
    for (i, y) in y.chunks_exact_mut(hidden).enumerate() {
        row.clear();
        dtype.decode_row(table, first + i, hidden, &mut row);
        for (y, p) in y.iter_mut().zip(&row) {
            *y += p;
        }
    }
}
