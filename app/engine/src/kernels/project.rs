//! Secret projections of a stored matrix. Kernel: `shaders/kernels/project_weights.wgsl`.

use super::matmul::{SEGMENT, Stored};
use super::{Grid, ParamBytes, for_each, stored, strict};
use crate::gpu::PipelineKey;
use crate::numerics::Numerics;
use assay_model::Dtype;
use bytemuck::{Pod, Zeroable};

/// Projections that one invocation makes: each keeps four running sums twice, and every weight is decoded once for all.
pub const PER_INVOCATION: u32 = 8;
/// Columns of w that one task of the twin owns.
const TASK_COLUMNS: usize = 64;

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows of w in this shard.
    pub rows: u32,
    /// Columns of w.
    pub k: u32,
    /// Elements between rows of r.
    pub n: u32,
    /// First column of r.
    pub o0: u32,
    /// Rows of r and v.
    pub projections: u32,
    /// Zeros.
    pub unused: [u32; 2],
}

/// The pipeline for weights of `dtype` with `k` columns; `first` for the matrix's first rows.
pub fn key(dtype: Dtype, k: usize, first: bool, numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "project_weights",
        defines: stored(strict(numerics), dtype, k)
            .flag("VEC", k.is_multiple_of(4))
            .flag("FIRST", first)
            .with("PROJECTIONS", PER_INVOCATION.into()),
    }
}

/// Parameters and workgroups for rows `o0 .. o0 + rows` of a matrix [n, k].
pub fn dispatch(rows: u32, k: u32, n: u32, o0: u32, projections: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        k,
        n,
        o0,
        projections,
        unused: [0; 2],
    };
    let grid = [
        k.div_ceil(4).div_ceil(64),
        projections.div_ceil(PER_INVOCATION),
        1,
    ];
    (bytemuck::cast(params), grid)
}

/// The twin: `v[j, c] = sum_o r[j, o] w[o, c]`; r is [projections, n], v is [projections, k].
pub fn cpu(r: &[f32], w: Stored<'_>, v: &mut [f32]) {
    let Stored { dtype, bytes, n, k } = w;
    let projections = r.len() / n;
    let mut columns = vec![0.0_f32; k * projections];
    let tasks: Vec<&mut [f32]> = columns.chunks_mut(TASK_COLUMNS * projections).collect();
    for_each(tasks, |task, out| {
        let (c0, width) = (task * TASK_COLUMNS, out.len() / projections);
        let mut row = Vec::with_capacity(k);
        let mut sums = vec![0.0_f32; out.len()];
        for o0 in (0..n).step_by(SEGMENT) {
            sums.fill(0.0);
            for o in o0..n.min(o0 + SEGMENT) {
                row.clear();
                match dtype.element_bytes() {
                    Some(size) => {
                        let at = (o * k + c0) * size;
                        dtype.decode(&bytes[at..at + width * size], &mut row);
                    }
                    // Quants of some columns are found by decoding all.
                    None => {
                        dtype.decode_row(bytes, o, k, &mut row);
                        row.drain(..c0);
                    }
                }
                for (j, sums) in sums.chunks_exact_mut(width).enumerate() {
                    let f = r[j * n + o];
                    for (sum, w) in sums.iter_mut().zip(&row) {
                        *sum += f * w;
                    }
                }
            }
            for (out, sum) in out.iter_mut().zip(&sums) {
                *out = if o0 == 0 { *sum } else { *out + sum };
            }
        }
    });
    for (task, sums) in columns.chunks(TASK_COLUMNS * projections).enumerate() {
        let (c0, width) = (task * TASK_COLUMNS, sums.len() / projections);
        for (j, sums) in sums.chunks_exact(width).enumerate() {
            v[j * k + c0..][..width].copy_from_slice(sums);
        }
    }
}
