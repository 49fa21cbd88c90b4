//! What can be wrong: with a file, with a proof, with a replay.

use assay_model::ModelError;

/// The bytes are no trace of llama2-rs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum ReadError {
    #[error("file is too large: got {got} bytes, want at most {most}")]
    FileTooLarge { got: u64, most: u64 },
    #[error("file ends inside of {what}, at byte {at}")]
    Truncated { what: &'static str, at: usize },
    #[error("{what} is out of range at byte {at}: got {got}, want at most {most}")]
    TooMany {
        what: &'static str,
        at: usize,
        got: u64,
        most: u64,
    },
    #[error("{what} is not UTF-8, at byte {at}")]
    Utf8 { what: &'static str, at: usize },
    #[error("root's tag at byte {at}: got {got}, want 0 or 1")]
    Tag { at: usize, got: u8 },
    #[error("{got} bytes follow the trace's end at byte {at}")]
    Trailing { at: usize, got: usize },
    #[error("entries and leaves differ in number: got {entries} and {leaves}")]
    Counts { entries: usize, leaves: usize },
    #[error("a root without entries, or entries without a root")]
    RootPresence,
}

/// The bytes are no proof of a step.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum ProofError {
    #[error("proof is too large: got {got} bytes, want at most {most}")]
    TooLarge { got: usize, most: usize },
    #[error("not a proof: {0}")]
    Json(String),
    #[error("format of the proof: got {got:?}, want {want:?}")]
    Format { got: String, want: &'static str },
    #[error("version of the proof: got {got}, this program reads {want}")]
    Version { got: u32, want: u32 },
    #[error("number of steps is out of range: got {got}, want 1 to {most}")]
    Count { got: u64, most: u64 },
    #[error("step is out of range: got {got}, the trace has {count}")]
    Index { got: u64, count: u64 },
    #[error("not a proof of llama2-rs: {0}")]
    Bytes(&'static str),
}

/// A replay could not be made: nothing is judged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum ReplayError {
    #[error("llama2-rs runs no such model: {0}")]
    Model(&'static str),
    #[error(transparent)]
    Source(#[from] ModelError),
    #[error("the model has no tensor for {0}")]
    Missing(&'static str),
    #[error("token {token} is beyond the vocabulary of {vocab}")]
    Token { token: i64, vocab: usize },
    #[error("position {position} is beyond the context of {context}")]
    Position { position: usize, context: usize },
    #[error("logits at position {position} are not finite")]
    NonFinite { position: usize },
    #[error("{name} is out of range: got {got}")]
    Sampler { name: &'static str, got: f32 },
    #[error("seed 0 stands for the time of day in llama2-rs, so no run with it can be repeated")]
    SeedZero,
    #[error("cancelled")]
    Cancelled,
    #[error(
        "a run needs a prompt of 1 to {most} tokens and {most} steps at most: got {prompt} and {steps}"
    )]
    Length {
        prompt: usize,
        steps: usize,
        most: usize,
    },
}
