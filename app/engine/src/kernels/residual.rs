//! Freivalds residuals, by row and by projection. Kernel: `shaders/kernels/freivalds_residual.wgsl`.

use super::{Grid, ParamBytes, strict};
use crate::gpu::PipelineKey;
use crate::numerics::Numerics;
use bytemuck::{Pod, Zeroable};

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows.
    pub rows: u32,
    /// Projections.
    pub projections: u32,
    /// Elements between rows of xv.
    pub stride: u32,
    /// First column of xv.
    pub first: u32,
    /// Zeros.
    pub unused: [u32; 3],
}

/// The pipeline.
pub fn key(numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "freivalds_residual",
        defines: strict(numerics),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, projections: u32, stride: u32, first: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        projections,
        stride,
        first,
        unused: [0; 3],
    };
    (
        bytemuck::cast(params),
        [rows.max(projections).div_ceil(64), 1, 1],
    )
}

/// The twin: rows' energies, rows' largest magnitudes, projections' energies, one after another in `out`.
pub fn cpu(
    yr: &[f32],
    xv: &[f32],
    projections: usize,
    stride: usize,
    first: usize,
    out: &mut [f32],
) {
    let rows = yr.len() / projections;
    out.fill(0.0);
    let (by_row, rest) = out.split_at_mut(rows);
    let (tops, by_projection) = rest.split_at_mut(rows);
    for (r, yr) in yr.chunks_exact(projections).enumerate() {
        let xv = &xv[r * stride + first..][..projections];
        for (j, (y, x)) in yr.iter().zip(xv).enumerate() {
            let e = y - x;
            by_row[r] += e * e;
            tops[r] = tops[r].max(e.abs());
            by_projection[j] += e * e;
        }
    }
}
