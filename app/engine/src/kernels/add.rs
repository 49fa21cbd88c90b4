//! A sum of two rows, or of rows and one bias. Kernel: `shaders/kernels/add.wgsl`.

use super::{Grid, ParamBytes, elementwise, for_each, rounded, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, Rounding};

/// What is added to each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Addend {
    /// A row for each row: a residual.
    Rows,
    /// The same row for all: a bias.
    Bias,
}

/// The pipeline.
pub fn key(addend: Addend, numerics: Numerics, rounding: Rounding) -> PipelineKey {
    PipelineKey {
        kernel: "add",
        defines: rounded(strict(numerics), rounding).flag("BIAS", addend == Addend::Bias),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, width: u32) -> (ParamBytes, Grid) {
    elementwise::dispatch(rows, width, 0)
}

/// The twin: `y[r, c] = round(a[r, c] + b[r, c])`, or `b[c]` where b is one row of `width`.
pub fn cpu(a: &[f32], b: &[f32], width: usize, rounding: Rounding, y: &mut [f32]) {
    let one_row = b.len() == width;
    let rows: Vec<&mut [f32]> = y.chunks_exact_mut(width).collect();
    for_each(rows, |r, y| {
        let b = if one_row {
            b
        } else {
            &b[r * width..(r + 1) * width]
        };
        for ((y, a), b) in y.iter_mut().zip(&a[r * width..]).zip(b) {
            *y = a + b;
        }
        rounding.all(y);
    });
}
