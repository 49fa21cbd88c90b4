//! Predictors of sparse MLPs: what is active, whether that can be told from the hidden state, and what telling it is worth.
//!
//! DejaVu trains a small predictor a layer that names the neurons and heads a token needs. The seeds of this project claim that
//! such predictors fail on Llama because hidden states drift. This crate measures it, whichever way it comes out:
//!
//! | module | subject |
//! |---|---|
//! | `dataset` | a folder of hidden states and activations, written in chunks, read through mapped files (docs/sparse-data.md) |
//! | `labels` | which activations count as active |
//! | `predictor` | the predictor and its file; traces commit to the file's digest |
//! | `train` | weighted cross-entropy and AdamW, seeded, on the CPU |
//! | `metrics` | held-out quality beside cheap references, at equal budgets |
//! | `drift` | cosine and distance of hidden states along the layers |
//! | `report` | JSON, CSV and plots |
//!
//! Nothing here runs a model: whoever does hands rows to [`dataset::Writer`] and hidden states to [`drift::Meter`].
//! Files are hostile until they are checked, sizes first; no number in them decides an allocation unchecked.

pub mod dataset;
pub mod drift;
mod error;
mod files;
pub mod labels;
pub mod metrics;
#[cfg(test)]
mod planted;
pub mod predictor;
mod random;
pub mod report;
mod stored;
pub mod train;

pub use error::StudyError;
pub use stored::Stored;
