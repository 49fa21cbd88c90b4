//! The prover: runs the model normally, commits to every position as it goes, and seals the trace.
//!
//! Verification never calls this crate: a verifier that shared code with the prover would share its
//! mistakes. What the two have in common is the specification: the sampler, the trace format, the kernels'
//! canonical order.

mod generate;
mod request;

pub use generate::{Proved, Sealed, Timings, claim, generate, prove, prove_as, seal};
pub use request::{Open, ProveError, Request};

/// What this program calls itself in a trace.
pub const PRODUCER: &str = concat!("assay ", env!("CARGO_PKG_VERSION"));
