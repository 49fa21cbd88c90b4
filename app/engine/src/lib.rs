//! The engine: Llama inference in WGSL on any adapter, with a CPU twin of every kernel.
//!
//! [`Engine`] is what callers use: load a [`assay_model::Model`], then run chunks of tokens against a KV
//! cache and take the hidden states and logits that are wanted. It knows no file, window or clock beyond
//! timing; everything asynchronous is `async`, so that a browser can await what a thread blocks on.

mod activations;
pub mod audit;
mod engine;
mod error;
pub mod forward;
pub mod gpu;
pub mod kernels;
mod kv_cache;
pub mod numerics;
pub mod philox;
mod plan;
pub mod profile;
pub mod sampler;
pub mod selftest;
pub mod sparsity;
pub mod tune;

pub use activations::ActivationType;
pub use engine::{
    Chunk, Device, Engine, MasksOf, Monitor, Outputs, Phase, Quiet, Want, linear_widths,
};
pub use error::EngineError;
pub use gpu::{AdapterInfo, Gpu, GpuOptions, list_adapters};
pub use numerics::{CacheFormat, Numerics, Rounding};
