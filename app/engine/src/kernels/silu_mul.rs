//! The gated MLP's product. Kernel: `shaders/kernels/silu_mul.wgsl`.

use super::{Grid, ParamBytes, elementwise, for_each, rounded, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, Rounding, silu};

/// The pipeline.
pub fn key(numerics: Numerics, rounding: Rounding) -> PipelineKey {
    PipelineKey {
        kernel: "silu_mul",
        defines: rounded(strict(numerics), rounding),
    }
}

/// Parameters and workgroups.
pub fn dispatch(rows: u32, width: u32) -> (ParamBytes, Grid) {
    elementwise::dispatch(rows, width, 0)
}

/// Elements that one task takes.
const TASK: usize = 4096;

/// The twin: `y[i] = round(round(silu(gate[i])) * up[i])`.
pub fn cpu(gate: &[f32], up: &[f32], rounding: Rounding, y: &mut [f32]) {
    let tasks: Vec<&mut [f32]> = y.chunks_mut(TASK).collect();
    for_each(tasks, |task, y| {
        let (gate, up) = (&gate[task * TASK..], &up[task * TASK..]);
        y.iter_mut().zip(gate).for_each(|(y, g)| *y = silu(*g));
        rounding.all(y);
        y.iter_mut().zip(up).for_each(|(y, u)| *y *= u);
        rounding.all(y);
    });
}
