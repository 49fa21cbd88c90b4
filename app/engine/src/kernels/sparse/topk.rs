//! Masks of the k largest entries. Kernel: `shaders/kernels/sparse_topk.wgsl`.

use super::super::{Grid, ParamBytes};
use crate::gpu::PipelineKey;
use assay_shaders::Defines;
use bytemuck::{Pod, Zeroable};

/// What is large.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// The largest `|v|`.
    Magnitude,
    /// The largest v: scores of a predictor.
    Signed,
}

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows.
    pub rows: u32,
    /// Columns of v.
    pub n: u32,
    /// Words of a row of bits.
    pub words: u32,
    /// Entries to select in each row.
    pub k: u32,
    /// First row of v.
    pub v_row: u32,
    /// Zeros.
    pub unused: [u32; 2],
}

/// The pipeline. Bindings: 1 v, 2 bits.
pub fn key(measure: Measure) -> PipelineKey {
    PipelineKey {
        kernel: "sparse_topk",
        defines: Defines::new().flag("SIGNED", measure == Measure::Signed),
    }
}

/// Parameters and workgroups for rows `v_row .. v_row + rows` of v.
pub fn dispatch(rows: u32, n: u32, k: u32, v_row: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        n,
        words: n.div_ceil(32),
        k,
        v_row,
        unused: [0; 2],
    };
    (bytemuck::cast(params), [rows, 1, 1])
}

/// The twin: v [rows, n] without NaN to bits [rows, words].
pub fn cpu(measure: Measure, v: &[f32], n: usize, k: usize, bits: &mut [u32]) {
    for (v, bits) in v.chunks_exact(n).zip(bits.chunks_exact_mut(n.div_ceil(32))) {
        let size = |j: u32| match measure {
            Measure::Magnitude => v[j as usize].abs(),
            Measure::Signed => v[j as usize],
        };
        let mut order: Vec<u32> = (0..n as u32).collect();
        // Stable, so ties go to the lower index; zeros of either sign are equal.
        order.sort_by(|a, b| {
            let by_size = size(*b).partial_cmp(&size(*a));
            by_size.unwrap_or(std::cmp::Ordering::Equal)
        });
        bits.fill(0);
        for j in order.into_iter().take(k) {
            bits[j as usize / 32] |= 1 << (j % 32);
        }
    }
}
