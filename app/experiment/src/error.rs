//! What can go wrong in an experiment. None of it is a result.

use assay_engine::EngineError;
use assay_model::ModelError;
use assay_prove::ProveError;
use assay_trace::{BuildError, ForgeError, TraceError};

/// An experiment that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ExperimentError {
    /// A device failed, or the user stopped the work.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A model could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A prover failed.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// A trace could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A trace that was kept does not parse.
    #[error("a kept trace is damaged: {0}")]
    Trace(#[from] TraceError),
    /// A trace's claims could not be changed.
    #[error(transparent)]
    Forge(#[from] ForgeError),
    /// The configuration cannot be used.
    #[error("the configuration: {0}")]
    Config(String),
    /// This model's arithmetic is not known here.
    #[error(
        "{what} needs rotary positions, RMSNorm and a gated MLP (Llama and its like), and this model is {family}"
    )]
    Family {
        /// What was asked for.
        what: &'static str,
        /// The model's family.
        family: &'static str,
    },
    /// Too little was measured to say anything.
    #[error("too few measurements of {0}")]
    TooFew(&'static str),
}
