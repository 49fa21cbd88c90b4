//! The trace file: what a prover writes, what a verifier reads as an attacker's bytes.
//!
//! `trace.bin` is one safetensors file that has exactly one valid byte form. The prover builds it with
//! [`TraceBuilder`]; the verifier reads it with [`Trace::parse`] (structure) and then
//! [`Trace::check_commitment`] (hashes). [`EditableTrace`] forges traces for attack tests.
//! The specification is [`format`](mod@format), the same text as `docs/trace-format.md`.
//!
//! What a success of both does not prove: that any hidden state, digest or token came out of a model.
//! They only say that the file is well formed and that everything in it is bound by its root.
//!
//! This crate opens no file, has no clock and needs no GPU: bytes in, bytes out.

mod body;
mod builder;
pub mod challenge;
mod check;
mod commit;
mod decimal;
mod digest;
mod dtype;
mod error;
mod forge;
mod header;
mod layout;
pub mod limits;
mod linear;
mod manifest;
pub mod merkle;
mod plan;
mod read;
mod record;
mod rows;
mod sealed;
mod sparse;
mod validate;
mod values;
mod write;

#[doc = include_str!("../../../docs/trace-format.md")]
pub mod format {}

pub use builder::{TraceBuilder, TraceSpec};
pub use commit::{Leaf, prompt_digest};
pub use decimal::{Decimal, DecimalError};
pub use digest::{Digest, DigestError};
pub use dtype::{NO_SUM, StateDtype};
pub use error::{BuildError, CommitmentError, ForgeError, TraceError};
pub use forge::{EditableTrace, reroot};
pub use linear::{Challenge, Linear, LinearsClaim, ProductClaim};
pub use manifest::{
    ActivationsClaim, Compute, Manifest, ModelClaim, NumericsClaim, NumericsClass, OutputClaim,
    PromptClaim, Sampler, StopReason,
};
pub use plan::{Keep, LinearsSpec, RecordPlan};
pub use read::Trace;
pub use record::{PositionInput, PositionRecord};
pub use sealed::{Opening, SealedTrace};
pub use sparse::{MaskClaim, MaskName, SparseClaim, SparseRule};
pub use write::FinishedTrace;
