//! Keys and values into the cache without a rotation. Kernel: `shaders/kernels/kv_write.wgsl`.

use super::{Grid, ParamBytes, elementwise};
use crate::gpu::PipelineKey;
use assay_shaders::Defines;

/// The pipeline.
pub fn key() -> PipelineKey {
    PipelineKey {
        kernel: "kv_write",
        defines: Defines::new(),
    }
}

/// Parameters and workgroups for `rows` tokens of `width` channels, the first at position `pos0`.
pub fn dispatch(rows: u32, width: u32, pos0: u32) -> (ParamBytes, Grid) {
    elementwise::dispatch(rows, width, pos0)
}

/// The twin, for keys or for values: rows of `width` channels to where they stand in `cache`.
pub fn cpu(rows: &[f32], width: usize, pos0: usize, cache: &mut [f32]) {
    cache[pos0 * width..][..rows.len()].copy_from_slice(rows);
}
