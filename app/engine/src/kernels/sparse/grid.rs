//! How many workgroups the longest list needs. Kernel: `shaders/kernels/sparse_grid.wgsl`.

use super::super::{Grid, ParamBytes};
use super::Mask;
use crate::gpu::PipelineKey;
use assay_shaders::Defines;
use bytemuck::{Pod, Zeroable};

/// Bytes of the arguments: workgroups in x, y and z, then the longest list's length. The buffer needs INDIRECT among its usages.
pub const BYTES: u64 = 16;

/// The kernel's uniform, padded to the common size.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Tiles of rows.
    pub tiles: u32,
    /// Segments of neurons.
    pub segments: u32,
    /// Entries that a workgroup of the dispatch takes.
    pub per_group: u32,
    /// Zeros.
    pub unused: [u32; 4],
}

/// The pipeline. Bindings: 1 starts, 2 args.
pub fn key() -> PipelineKey {
    PipelineKey {
        kernel: "sparse_grid",
        defines: Defines::new(),
    }
}

/// Parameters and workgroups, for a dispatch whose workgroups take `per_group` entries ([`super::rows::per_group`]).
pub fn dispatch(mask: Mask, per_group: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        tiles: mask.tiles(),
        segments: mask.segments(),
        per_group,
        unused: [0; 4],
    };
    (bytemuck::cast(params), [1, 1, 1])
}

/// The twin: starts [tiles, segments + 1] to the arguments.
pub fn cpu(mask: Mask, starts: &[u32], per_group: u32) -> [u32; 4] {
    let last = mask.segments() as usize;
    let counts = starts.chunks_exact(last + 1).map(|s| s[last]);
    let most = counts.max().unwrap_or(0);
    [most.div_ceil(per_group), mask.tiles(), 1, most]
}
