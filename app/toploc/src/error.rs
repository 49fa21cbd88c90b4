//! What can be wrong with proofs and activations.

/// One variant a cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum ToplocError {
    #[error("proof has {got} bytes, want 2 and then 2 for each of {want} coefficients")]
    Length { got: usize, want: usize },
    #[error("modulus of the proof: got {got}, want {least} to {most}")]
    Modulus { got: u16, least: u16, most: u16 },
    #[error(
        "modulus of the proof: got {got}, but a chunk of {elements} elements never needs another than {want}"
    )]
    NeedlessModulus {
        got: u16,
        elements: usize,
        want: u16,
    },
    #[error("coefficient {index} of the proof is not below {prime}: got {got}")]
    Coefficient { index: usize, got: u16, prime: u16 },
    #[error("proof is not base64: {0}")]
    Base64(String),
    #[error("not a list of proofs: {0}")]
    Json(String),
    #[error("list of proofs is too large: got {got} bytes, want at most {most}")]
    TooLarge { got: u64, most: u64 },
    #[error(
        "format of the list of proofs: got {got:?} version {version}, want \"assay-toploc\" version 1"
    )]
    Format { got: String, version: u32 },
    #[error("{name} is out of range: got {got}, want {want}")]
    Range {
        name: &'static str,
        got: usize,
        want: &'static str,
    },
    #[error("number of proofs: got {got}, the rows make {want} chunks")]
    Count { got: usize, want: usize },
    #[error("no proof: there is nothing to check")]
    Nothing,
    #[error("{values} activations are no rows of {width}")]
    Shape { values: usize, width: usize },
    #[error("activation {index} is not finite")]
    NonFinite { index: usize },
    #[error("no modulus keeps the {points} indices apart")]
    NoModulus { points: usize },
    #[error("two points have one index: {index}")]
    SamePoint { index: usize },
}
