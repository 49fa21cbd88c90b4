//! wgpu: adapters, the device, pipelines.

mod adapter;
mod device;
mod pace;
mod pipelines;

pub use adapter::{AdapterInfo, AttentionKernel, MatmulKernel, Variants, list_adapters};
pub use device::{Gpu, GpuOptions};
pub use pipelines::{Kernel, PipelineKey};
