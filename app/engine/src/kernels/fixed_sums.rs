//! Sums in fixed point to numbers. Kernel: `shaders/kernels/fixed_sums.wgsl`.

use super::matmul::Epilogue;
use super::{Grid, ParamBytes, elementwise, for_each, strict};
use crate::gpu::PipelineKey;
use crate::numerics::Numerics;
use assay_trace::NO_SUM;

/// 2^-48.
const UNIT: f32 = 1.0 / (1u64 << 48) as f32;

/// The pipeline.
pub fn key(epilogue: Epilogue, numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "fixed_sums",
        defines: strict(numerics)
            .flag("BIAS", epilogue.bias)
            .flag("RESIDUAL", epilogue.residual),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, width: u32) -> (ParamBytes, Grid) {
    elementwise::dispatch(rows, width, 0)
}

/// The twin, over rows of `width`: `y[r, c] = f32(z[r, c] 2^-48) (+ bias[c]) (+ residual[r, c])`; NaN where there is no sum.
pub fn cpu(z: &[i64], width: usize, bias: Option<&[f32]>, residual: Option<&[f32]>, y: &mut [f32]) {
    let rows: Vec<&mut [f32]> = y.chunks_exact_mut(width).collect();
    for_each(rows, |r, y| {
        let span = r * width..(r + 1) * width;
        for (c, (y, z)) in y.iter_mut().zip(&z[span.clone()]).enumerate() {
            // Rust rounds a conversion to nearest, ties to even; a power of two then changes no bit.
            let mut total = match *z {
                NO_SUM => f32::NAN,
                z => z as f32 * UNIT,
            };
            if let Some(bias) = bias {
                total += bias[c];
            }
            if let Some(residual) = residual {
                total += residual[span.start + c];
            }
            *y = total;
        }
    });
}
