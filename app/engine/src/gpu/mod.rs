//! wgpu: adapters, the device, pipelines.

mod adapter;
mod device;
mod pace;
mod pipelines;
mod texels;
mod tuned;

pub use adapter::{AdapterInfo, AttentionKernel, Fused, MatmulKernel, Variants, list_adapters};
pub use device::{Gpu, GpuOptions, HEADLESS_SUBMIT};
pub use pace::budget;
pub use pipelines::{Kernel, PipelineKey};
pub use texels::{Bound, Memory, TEXEL_BYTES, Texels};
pub use tuned::{Candidates, Choice, Tuning};

/// Floats as they were read back.
pub(crate) fn floats(data: &[u8]) -> impl Iterator<Item = f32> + '_ {
    data.chunks_exact(4)
        .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}
