//! Activations as texels, for products that take them from a texture. Kernel: `shaders/kernels/rows_to_texels.wgsl`.

use super::{Grid, ParamBytes, elementwise};
use crate::gpu::{PipelineKey, TEXEL_BYTES};
use assay_shaders::Defines;

/// Texels of a row of `k` columns: as many as products load, which take eight columns at a time.
pub fn texels(k: usize) -> usize {
    2 * k.div_ceil(8)
}

/// Bytes of them.
pub fn row_bytes(k: usize) -> usize {
    texels(k) * TEXEL_BYTES
}

/// Whether a copy command can do the same to rows of `k` columns, without a load from a buffer: where they are as aligned as it wants them,
/// no zeros belong behind a row.
pub fn is_copy(k: usize) -> bool {
    (4 * k).is_multiple_of(wgpu::COPY_BYTES_PER_ROW_ALIGNMENT as usize)
}

/// The pipeline for rows of `k` columns.
pub fn key(k: usize) -> PipelineKey {
    PipelineKey {
        kernel: "rows_to_texels",
        defines: Defines::new().flag("VEC", k.is_multiple_of(4)),
    }
}

/// Parameters and workgroups for `rows` rows of `k` columns.
pub fn dispatch(rows: u32, k: u32) -> (ParamBytes, Grid) {
    let (params, _) = elementwise::dispatch(rows, k, 0);
    let texels = texels(k as usize) as u32;
    (params, [texels.div_ceil(64), rows, 1])
}

/// The twin: the texture's rows, one after another.
pub fn cpu(x: &[f32], k: usize) -> Vec<f32> {
    let mut rows = Vec::with_capacity(x.len() / k.max(1) * texels(k) * 4);
    for row in x.chunks_exact(k) {
        rows.extend_from_slice(row);
        rows.resize(rows.len() + texels(k) * 4 - k, 0.0);
    }
    rows
}
