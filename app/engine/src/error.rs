//! What can go wrong between a checkpoint and its logits.

use assay_model::ModelError;
use assay_shaders::ShaderError;

/// An engine failure. None of these is ever a verdict.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No adapter, or none whose name holds the text asked for.
    #[error("no adapter matches `{wanted}`; found: {found}")]
    NoAdapter {
        /// What was asked for (`default` if nothing was).
        wanted: String,
        /// Names of the adapters that exist, or `none`.
        found: String,
    },
    /// The adapter refused to make a device.
    #[error("adapter `{adapter}` gave no device: {reason}")]
    NoDevice {
        /// Adapter name.
        adapter: String,
        /// The driver's words.
        reason: String,
    },
    /// A limit of the adapter is too small for this model or request.
    #[error("{what} needs {need}, the adapter allows {have}")]
    LimitTooSmall {
        /// What needs it.
        what: String,
        /// Needed, in the limit's unit.
        need: u64,
        /// Allowed, in the limit's unit.
        have: u64,
    },
    /// An allocation failed.
    #[error("the adapter is out of memory: {what} needs {bytes} bytes")]
    OutOfMemory {
        /// What was being allocated.
        what: String,
        /// Its size.
        bytes: u64,
    },
    /// The device was lost: driver reset, unplugged, killed by a watchdog.
    #[error("the device was lost: {0}")]
    DeviceLost(String),
    /// The driver or wgpu reported an error. Results after it are not used.
    #[error("the device reported an error: {0}")]
    Device(String),
    /// A kernel's text is faulty.
    #[error(transparent)]
    Shader(#[from] ShaderError),
    /// The checkpoint could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A rule for active neurons, or masks, that do not fit the model or the chunk.
    #[error("sparse MLP: {0}")]
    Sparsity(String),
    /// More positions than the model or the plan has room for.
    #[error("{got} positions do not fit: {what} has room for {limit}")]
    TooLong {
        /// What is full.
        what: &'static str,
        /// Positions asked for.
        got: usize,
        /// Positions there are.
        limit: usize,
    },
    /// A token id that the vocabulary does not have.
    #[error("token id {id} is beyond the vocabulary of {vocab}")]
    TokenId {
        /// The id.
        id: u32,
        /// Vocabulary size.
        vocab: usize,
    },
    /// This model has a feature that the engine does not run.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// A kernel's known answer did not come out on this adapter.
    #[error(
        "self-test of kernel `{kernel}` failed on this adapter: error {error:e}, limit {limit:e}"
    )]
    SelfTest {
        /// Kernel name.
        kernel: &'static str,
        /// Relative L2 error against the CPU twin.
        error: f64,
        /// The limit.
        limit: f64,
    },
    /// A non-finite number came out of the forward pass.
    #[error(
        "the forward pass produced a non-finite number (in fixed point: maybe a sum of 2^15 or more) at position {position}"
    )]
    NonFinite {
        /// Position.
        position: usize,
    },
    /// The caller asked to stop.
    #[error("cancelled")]
    Cancelled,
}
