//! Masks by threshold. Kernel: `shaders/kernels/sparse_threshold.wgsl`.

use super::super::{Grid, ParamBytes, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, silu};
use bytemuck::{Pod, Zeroable};

/// What is compared with the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Measure {
    /// `|v| >= t`: a value's own size (TEAL, for any input of a product).
    Magnitude,
    /// `|silu(v)| >= t`: v is the gate's value before its activation (CATS).
    Silu,
    /// `max(v, 0) >= t` and `> 0`: v is a neuron's value before ReLU; t = 0 gives what ReLU leaves.
    Relu,
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
    /// The threshold, not negative.
    pub t: f32,
    /// First row of v.
    pub v_row: u32,
    /// Zeros.
    pub unused: [u32; 2],
}

/// The pipeline. Bindings: 1 v, 2 bits.
pub fn key(measure: Measure, numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "sparse_threshold",
        defines: strict(numerics)
            .flag("SILU", measure == Measure::Silu)
            .flag("RELU", measure == Measure::Relu),
    }
}

/// Parameters and workgroups for rows `v_row .. v_row + rows` of v.
pub fn dispatch(rows: u32, n: u32, t: f32, v_row: u32) -> (ParamBytes, Grid) {
    let words = n.div_ceil(32);
    let params = Params {
        zero: 0,
        rows,
        n,
        words,
        t,
        v_row,
        unused: [0; 2],
    };
    (bytemuck::cast(params), [words.div_ceil(64), rows, 1])
}

/// The twin: v [rows, n] to bits [rows, words].
pub fn cpu(measure: Measure, v: &[f32], n: usize, t: f32, bits: &mut [u32]) {
    let is_large = |v: f32| match measure {
        Measure::Magnitude => v.abs() >= t,
        Measure::Silu => silu(v).abs() >= t,
        Measure::Relu => v > 0.0 && v >= t,
    };
    for (v, bits) in v.chunks_exact(n).zip(bits.chunks_exact_mut(n.div_ceil(32))) {
        for (v, word) in v.chunks(32).zip(bits) {
            *word = v
                .iter()
                .enumerate()
                .fold(0, |word, (i, v)| word | u32::from(is_large(*v)) << i);
        }
    }
}
