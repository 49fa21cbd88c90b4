//! Everything that can be wrong with a key or its making, one variant a cause. Text from a hostile file appears only through [`shown`].

use assay_model::ModelError;

use crate::Part;

/// Why a key was not made, not read or not decrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(
    missing_docs,
    reason = "the message of each variant is its documentation"
)]
pub enum KeyError {
    // Making
    #[error("cannot make a key with `{what}` {got}, want {want}")]
    Options {
        what: &'static str,
        got: String,
        want: String,
    },
    #[error("no random numbers from this system: {source}")]
    Randomness { source: getrandom::Error },
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(
        "verifier keys know models with rotary positions, RMSNorm and gated MLPs, and not {family}"
    )]
    Family { family: &'static str },
    #[error("products of integers need weights stored as {want}, and not as {got}")]
    Integers {
        got: &'static str,
        want: &'static str,
    },
    #[error("there are no verifier keys for products whose inputs are rounded as `{got}`")]
    Activations { got: &'static str },
    #[error("the model has no {what}")]
    Lacks { what: String },
    #[error("not all weights of {what} are finite numbers, or their sums overflow")]
    NotFinite { what: String },
    #[error("{got} is not the next part, want {want}", want = want.map_or_else(|| "none, all are done".to_owned(), |part| part.to_string()))]
    PartOrder { got: Part, want: Option<Part> },
    #[error("projection of {part} has {got} numbers, want {want}")]
    ProjectionLength { part: Part, got: usize, want: usize },
    #[error(
        "projection of {part} that was computed elsewhere is wrong: off by {off:.1e} of the matrix's norm, want at most {most:.1e}"
    )]
    ProjectionWrong { part: Part, off: f64, most: f64 },
    #[error("key is not finished: got {done} bytes of weights, want {total}")]
    Unfinished { done: u64, total: u64 },
    #[error("not enough memory for {bytes} bytes")]
    Memory { bytes: u64 },
    #[error("this is a fault of the program: {what}")]
    Internal { what: &'static str },

    // Reading
    #[error("not a verifier key")]
    NotAKey,
    #[error("the key is encrypted: it needs its passphrase")]
    Encrypted,
    #[error("the key is not encrypted: it needs no passphrase")]
    NotEncrypted,
    #[error("file is too large for a key: got {got} bytes, want at most {most}")]
    FileTooLarge { got: u64, most: u64 },
    #[error("header is too large: got {got} bytes, want at most {most}")]
    HeaderTooLarge { got: u64, most: u64 },
    #[error("header does not fit the file: got {got} bytes, file has {have} after the length")]
    HeaderPastEnd { got: u64, have: u64 },
    #[error("header is not UTF-8 at byte {offset}")]
    HeaderUtf8 { offset: usize },
    #[error("header is not a safetensors header: {reason}")]
    HeaderJson { reason: String },
    #[error("header is not canonical from byte {offset}")]
    HeaderNotCanonical { offset: usize },
    #[error("header has {got} tensors, want {want}")]
    Tensors { got: usize, want: usize },
    #[error("format is `{got}`, want `assay-verifier-key-SECRET`")]
    Format { got: String },
    #[error("key has version {got}, this program reads {want}")]
    Version { got: u64, want: u32 },
    #[error("metadata of the key: {reason}")]
    Facts { reason: String },
    #[error("config in the key: {source}")]
    Config { source: Box<ModelError> },
    #[error("data has {got} bytes, want {want}")]
    DataLength { got: u64, want: u64 },
    #[error("the key is damaged: its checksum does not fit")]
    Checksum,
    #[error("`{what}` has a value that it must not have, at element {index}")]
    Value { what: String, index: usize },

    // Encryption
    #[error("the passphrase is empty")]
    PassphraseEmpty,
    #[error("encrypted key is too short: got {got} bytes, want at least {want}")]
    SealedTooShort { got: usize, want: usize },
    #[error("encrypted key asks for `{what}` {got}, want {least} to {most}")]
    SealedParameter {
        what: &'static str,
        got: u32,
        least: u32,
        most: u32,
    },
    #[error("wrong passphrase (or the first bytes of the file are damaged)")]
    Passphrase,
    #[error("the passphrase is right, but the encrypted key is damaged")]
    SealedDamaged,
}

impl KeyError {
    /// A stable word for programs: same cause, same word, whatever the numbers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Options { .. } => "options",
            Self::Randomness { .. } => "randomness",
            Self::Model(_) => "model",
            Self::Family { .. } => "family",
            Self::Integers { .. } | Self::Activations { .. } => "stored-type",
            Self::Lacks { .. } => "tensor-missing",
            Self::NotFinite { .. } => "not-finite",
            Self::PartOrder { .. } => "part-order",
            Self::ProjectionLength { .. } => "projection-length",
            Self::ProjectionWrong { .. } => "projection-wrong",
            Self::Unfinished { .. } => "unfinished",
            Self::Memory { .. } => "memory",
            Self::Internal { .. } => "internal",
            Self::NotAKey => "not-a-key",
            Self::Encrypted => "encrypted",
            Self::NotEncrypted => "not-encrypted",
            Self::FileTooLarge { .. } | Self::HeaderTooLarge { .. } => "too-large",
            Self::HeaderPastEnd { .. } | Self::DataLength { .. } | Self::SealedTooShort { .. } => {
                "length"
            }
            Self::HeaderUtf8 { .. }
            | Self::HeaderJson { .. }
            | Self::HeaderNotCanonical { .. }
            | Self::Tensors { .. } => "header",
            Self::Format { .. } => "format",
            Self::Version { .. } => "version",
            Self::Facts { .. } => "metadata",
            Self::Config { .. } => "config",
            Self::Checksum | Self::SealedDamaged => "damaged",
            Self::Value { .. } => "value",
            Self::PassphraseEmpty => "passphrase-empty",
            Self::SealedParameter { .. } => "encryption",
            Self::Passphrase => "passphrase",
        }
    }

    pub(crate) fn config(source: ModelError) -> Self {
        Self::Config {
            source: Box::new(source),
        }
    }
}

/// Longest excerpt of hostile text in a message, in characters.
const MAX_SHOWN: usize = 120;

/// `text` escaped and cut, so that a message can carry it to a terminal or a page.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .take(MAX_SHOWN)
        .flat_map(char::escape_default)
        .collect()
}
