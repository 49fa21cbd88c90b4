//! The activation of an MLP without a gate. Kernel: `shaders/kernels/relu.wgsl`.

use super::{Grid, ParamBytes, elementwise};
use crate::gpu::PipelineKey;
use assay_shaders::Defines;

/// The pipeline.
pub fn key() -> PipelineKey {
    PipelineKey {
        kernel: "relu",
        defines: Defines::new(),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, width: u32) -> (ParamBytes, Grid) {
    elementwise::dispatch(rows, width, 0)
}

/// The twin: `y[i] = max(x[i], 0)`.
pub fn cpu(x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y = if *x > 0.0 { *x } else { 0.0 };
    }
}
