//! Sums of squares by row. Kernel: `shaders/kernels/row_energy.wgsl`.

use super::{Grid, ParamBytes, for_each, lane_energy, strict};
use crate::gpu::PipelineKey;
use crate::numerics::Numerics;
use bytemuck::{Pod, Zeroable};

/// The kernel's uniform, padded to the common size.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub n: u32,
    /// Zeros.
    pub unused: [u32; 5],
}

/// The pipeline.
pub fn key(numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "row_energy",
        defines: strict(numerics),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, n: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        n,
        unused: [0; 5],
    };
    (bytemuck::cast(params), [rows, 1, 1])
}

/// The twin, over rows of `n` columns.
pub fn cpu(x: &[f32], n: usize, y: &mut [f32]) {
    let energies: Vec<&mut f32> = y.iter_mut().collect();
    for_each(energies, |row, y| {
        *y = lane_energy(&x[row * n..(row + 1) * n]);
    });
}
