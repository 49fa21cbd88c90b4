//! What can go wrong in an experiment. None of it is a result.

use assay_engine::EngineError;
use assay_model::ModelError;
use assay_prove::ProveError;
use assay_trace::{BuildError, CommitmentError, Digest, TraceError};

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
    /// A trace that was handed over does not commit to what is in it.
    #[error(transparent)]
    Commitment(#[from] CommitmentError),
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
    /// There is nothing to turn a prompt into tokens.
    #[error("this checkpoint has no tokenizer")]
    NoTokenizer,
    /// A prompt and its answer have no room.
    #[error("prompt {trial} and {tokens} tokens do not fit the model's context of {context}")]
    TooLong {
        /// The trial.
        trial: usize,
        /// Tokens to generate.
        tokens: usize,
        /// The model's context.
        context: usize,
    },
    /// An experiment wants quantised weights, and there are none.
    #[error("no quantised model")]
    NoQuantised,
    /// What should be the quantised model is another one.
    #[error("{quantised} is no form of {full}: the sizes differ")]
    OtherSizes {
        /// Its name.
        quantised: String,
        /// The full model's.
        full: String,
    },
    /// A prover on another machine ran for another model.
    #[error("the prover claims other weights than this verifier has: {claimed} and {own}")]
    OtherWeights {
        /// What it claims.
        claimed: Digest,
        /// What is here.
        own: Digest,
    },
    /// A thread ended without a word.
    #[error("a verifier's thread ended early")]
    Thread,
    /// Trials could not be kept or found.
    #[error(transparent)]
    Store(Box<dyn std::error::Error + Send + Sync>),
    /// Too little was measured to say anything.
    #[error("too few measurements of {0}")]
    TooFew(&'static str),
}
