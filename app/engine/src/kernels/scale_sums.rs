//! Integer sums to numbers. Kernel: `shaders/kernels/scale_sums.wgsl`.

use super::matmul::Epilogue;
use super::{Grid, ParamBytes, elementwise, for_each, strict};
use crate::gpu::PipelineKey;
use crate::numerics::Numerics;

/// The pipeline.
pub fn key(epilogue: Epilogue, numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "scale_sums",
        defines: strict(numerics)
            .flag("BIAS", epilogue.bias)
            .flag("RESIDUAL", epilogue.residual),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, width: u32) -> (ParamBytes, Grid) {
    elementwise::dispatch(rows, width, 0)
}

/// The twin: `y[r, c] = f32(z[r, c]) * (s[r] * w[c]) (+ bias[c]) (+ residual[r, c])`.
pub fn cpu(
    z: &[i64],
    s: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    y: &mut [f32],
) {
    let width = w.len();
    let rows: Vec<&mut [f32]> = y.chunks_exact_mut(width).collect();
    for_each(rows, |r, y| {
        let span = r * width..(r + 1) * width;
        for (c, (y, z)) in y.iter_mut().zip(&z[span.clone()]).enumerate() {
            // Rust rounds a conversion to nearest, ties to even.
            let mut total = *z as f32 * (s[r] * w[c]);
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
