//! Traces of llama2-rs: the seed program whose claim is that every logit has the very bits that its own loop computes.
//!
//! A trace lists, for each step, the token that went in and SHA-256 of all logits that came out; a Merkle tree binds the list. This crate
//! reads both forms that the program has written, writes the newer, and replays a trace with the program's own arithmetic: plain
//! sequential `f32`, the platform's `exp`. docs/llama2-rs.md has the format, what compares and what does not.
//!
//! | file | subject |
//! |---|---|
//! | `hash` | logits, leaves, nodes |
//! | `tree` | roots and proofs, as the program computes and stores them |
//! | `read`, `write` | the file, as an attacker's bytes and as ours |
//! | `proof` | one step alone, to be held against a root from elsewhere |
//! | `claim` | one digest over all that the program's root leaves unbound |
//! | `forward`, `sampler`, `rng` | the program's arithmetic |
//! | `replay` | a run, step by step |
//! | `synth` | a small checkpoint with seeded weights |
//! | `check` | a trace against a replay: what agrees, and the first place where it does not |
//!
//! No GPU is below this crate, and it opens no file.

pub mod check;
mod claim;
mod error;
mod forward;
mod hash;
pub mod limits;
mod proof;
mod read;
mod replay;
mod rng;
mod sampler;
pub mod synth;
mod tree;
mod write;

pub use claim::Claim;
pub use error::{ProofError, ReadError, ReplayError};
pub use forward::Transformer;
pub use hash::{logits_hash, node_hash};
pub use proof::StepProof;
pub use read::{Entry, Metadata, Revision, Trace, looks_like};
pub use replay::{BOS, Run, Step, prompt_ids, text_after};
pub use sampler::{Choice, Sampler, SamplerSpec};
pub use tree::{Proof, path_length, proof, root};
