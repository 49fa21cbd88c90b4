//! Everything that can be wrong, one variant per cause. Text from a hostile file appears only through [`shown`].

use crate::{Decimal, Digest};

/// The file is not a well-formed trace. Nothing in it was believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    /// Not even a header length.
    #[error("file is too short for a header length: got {got} bytes, want at least 8")]
    TooShort {
        /// File length.
        got: u64,
    },
    /// Above [`MAX_FILE_BYTES`](crate::limits::MAX_FILE_BYTES).
    #[error("file is too large: got {got} bytes, want at most {max}")]
    FileTooLarge {
        /// File length.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// Above [`MAX_HEADER_BYTES`](crate::limits::MAX_HEADER_BYTES).
    #[error("header is too large: got {got} bytes, want at most {max}")]
    HeaderTooLarge {
        /// Declared header length.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// The header would end after the file does.
    #[error("header does not fit the file: got {got} bytes, file has {have} after the length")]
    HeaderPastEnd {
        /// Declared header length.
        got: u64,
        /// Bytes that follow the length field.
        have: u64,
    },
    /// The header is not UTF-8.
    #[error("header is not UTF-8 at byte {offset}")]
    HeaderUtf8 {
        /// First bad byte of the header.
        offset: usize,
    },
    /// The header is not the JSON object that safetensors prescribes.
    #[error("header is not a safetensors header: {reason}")]
    HeaderJson {
        /// What the JSON reader said, escaped.
        reason: String,
    },
    /// The header says the right things in other bytes than the canonical ones.
    #[error("header is not canonical from byte {offset}")]
    HeaderNotCanonical {
        /// First byte of the header that differs.
        offset: usize,
    },
    /// The manifest's JSON does not have exactly the prescribed fields and types.
    #[error("manifest does not decode: {reason}")]
    ManifestJson {
        /// What the JSON reader said, escaped.
        reason: String,
    },
    /// The manifest says the right things in other bytes than the canonical ones.
    #[error("manifest is not canonical from byte {offset}")]
    ManifestNotCanonical {
        /// First byte of the manifest that differs.
        offset: usize,
    },
    /// Another format.
    #[error("format is `{got}`, want `assay-trace`")]
    Format {
        /// The manifest's format, escaped.
        got: String,
    },
    /// Another version.
    #[error("version is {got}, want {want}")]
    Version {
        /// The manifest's version.
        got: u32,
        /// The version that this crate reads.
        want: u32,
    },
    /// Other streams than version 1 has.
    #[error("streams are `{got}`, want `logits,states`")]
    Streams {
        /// The manifest's streams, joined and escaped.
        got: String,
    },
    /// A free text holds something other than printable ASCII.
    #[error("`{field}` is not printable ASCII at byte {offset}")]
    Text {
        /// Manifest field.
        field: &'static str,
        /// First bad byte.
        offset: usize,
    },
    /// A short word is empty, too long, or has other characters than `a-z0-9_-`.
    #[error("`{field}` is `{got}`, want 1 to 16 of a-z, 0-9, _ and -")]
    Word {
        /// Manifest field.
        field: &'static str,
        /// Its value, escaped.
        got: String,
    },
    /// A number (or a length) is outside its limits.
    #[error("`{field}` is out of range: got {got}, want {min} to {max}")]
    Range {
        /// Manifest field.
        field: &'static str,
        /// Its value.
        got: u64,
        /// Smallest legal value.
        min: u64,
        /// Largest legal value.
        max: u64,
    },
    /// A list is not strictly ascending.
    #[error("`{field}` is not strictly ascending at index {index}")]
    NotAscending {
        /// Manifest field.
        field: &'static str,
        /// Index of the first element that is not above its predecessor.
        index: usize,
    },
    /// A sampler that samples has no temperature.
    #[error("temperature is {got}, want above 0")]
    Temperature {
        /// The manifest's temperature.
        got: Decimal,
    },
    /// top-p is not a probability mass that leaves something.
    #[error("top_p is {got}, want above 0 and at most 1")]
    TopP {
        /// The manifest's top-p.
        got: Decimal,
    },
    /// A tensor that the manifest calls for is absent.
    #[error("tensor `{name}` is missing")]
    MissingTensor {
        /// Its name.
        name: String,
    },
    /// A tensor that the manifest does not call for is present.
    #[error("tensor `{name}` does not belong here")]
    ExtraTensor {
        /// Its name, escaped.
        name: String,
    },
    /// A name appears twice.
    #[error("tensor `{name}` appears twice")]
    DuplicateTensor {
        /// Its name.
        name: String,
    },
    /// A tensor has the wrong element type.
    #[error("tensor `{name}` has dtype `{got}`, want `{want}`")]
    TensorDtype {
        /// Its name.
        name: String,
        /// The header's word, escaped.
        got: String,
        /// The right one.
        want: &'static str,
    },
    /// A tensor has the wrong shape.
    #[error("tensor `{name}` has {got_rank} dimensions or a wrong one, want {want:?}")]
    TensorShape {
        /// Its name.
        name: String,
        /// Number of dimensions in the header.
        got_rank: usize,
        /// The right shape.
        want: Vec<u64>,
    },
    /// A tensor does not begin where its predecessor ends, or has the wrong length.
    #[error("tensor `{name}` lies at bytes {got:?}, want {want:?}")]
    TensorOffsets {
        /// Its name.
        name: String,
        /// The header's first byte and end.
        got: [u64; 2],
        /// The right ones.
        want: [u64; 2],
    },
    /// The file ends before, or goes on after, its last tensor.
    #[error("tensor data is {got} bytes, want {want}")]
    DataLength {
        /// Bytes after the header.
        got: u64,
        /// Bytes that the manifest calls for.
        want: u64,
    },
    /// A token id that the vocabulary does not have.
    #[error("token {index} is {got}, want below {vocab}")]
    TokenRange {
        /// Index in `tokens`.
        index: usize,
        /// The id.
        got: u32,
        /// Vocabulary entries.
        vocab: u32,
    },
    /// A hidden state holds an infinity or a NaN.
    #[error("hidden state {layer} is not finite at position {position}, channel {channel}")]
    NonFinite {
        /// Index of the hidden state.
        layer: u32,
        /// Position.
        position: usize,
        /// Channel.
        channel: usize,
    },
}

impl TraceError {
    /// The reason in a report.
    pub fn code(&self) -> &'static str {
        "structure"
    }
}

/// The file is well formed, but its hashes do not hold together. Checked in the order of the variants.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitmentError {
    /// The commitment is not that of the manifest.
    #[error("manifest hashes to {got}, want the commitment {want}")]
    Commitment {
        /// Digest of the manifest.
        got: Digest,
        /// The file's commitment.
        want: Digest,
    },
    /// The prompt's tokens are not those of the manifest.
    #[error("prompt hashes to {got}, want {want}")]
    PromptDigest {
        /// Digest of the prompt's ids in the file.
        got: Digest,
        /// The manifest's.
        want: Digest,
    },
    /// An opened hidden state is not the one that was committed to.
    #[error("hidden state {layer} at position {position} hashes to {got}, want {want}")]
    StateDigest {
        /// Index of the hidden state.
        layer: u32,
        /// Position.
        position: usize,
        /// Digest of the row in the file.
        got: Digest,
        /// The one in `digests.states`.
        want: Digest,
    },
    /// Tokens and digests do not lead to the manifest's root.
    #[error("positions have the Merkle root {got}, want {want}")]
    Root {
        /// Root over the file's leaves.
        got: Digest,
        /// The manifest's.
        want: Digest,
    },
}

impl CommitmentError {
    /// The reason in a report.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Commitment { .. } => "commitment",
            Self::PromptDigest { .. } => "prompt-digest",
            Self::StateDigest { .. } => "state-digest",
            Self::Root { .. } => "merkle-root",
        }
    }
}

/// A prover handed the builder something that no valid trace could hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The finished file would be rejected by every reader.
    #[error(transparent)]
    Structure(#[from] TraceError),
    /// A pushed token contradicts the prompt.
    #[error("position {position} has token {got}, but the prompt has {want}")]
    PromptToken {
        /// Position.
        position: usize,
        /// The pushed token.
        got: u32,
        /// The prompt's.
        want: u32,
    },
    /// A position has too few or too many hidden states.
    #[error("position {position} has {got} hidden states, want {want}")]
    StateCount {
        /// Position.
        position: usize,
        /// Rows given.
        got: usize,
        /// layers + 1.
        want: usize,
    },
    /// A hidden state has the wrong width.
    #[error("hidden state {layer} at position {position} has {got} channels, want {want}")]
    StateWidth {
        /// Index of the hidden state.
        layer: usize,
        /// Position.
        position: usize,
        /// Channels given.
        got: usize,
        /// Width of the residual stream.
        want: usize,
    },
    /// A hidden state is, or became by rounding to the state dtype, infinite or NaN.
    #[error("hidden state {layer} is not finite at position {position}, channel {channel}")]
    NonFiniteState {
        /// Index of the hidden state.
        layer: usize,
        /// Position.
        position: usize,
        /// Channel.
        channel: usize,
    },
    /// A position whose next token was generated came without logits.
    #[error("position {position} needs logits: its next token is an output")]
    MissingLogits {
        /// Position.
        position: usize,
    },
    /// A position inside the prompt came with logits.
    #[error("position {position} must not have logits: its next token is part of the prompt")]
    UnexpectedLogits {
        /// Position.
        position: usize,
    },
    /// The logits have the wrong length.
    #[error("logits at position {position} have {got} entries, want {want}")]
    LogitsWidth {
        /// Position.
        position: usize,
        /// Entries given.
        got: usize,
        /// Vocabulary entries.
        want: usize,
    },
    /// A logit is infinite or NaN.
    #[error("logits are not finite at position {position}, token {token}")]
    NonFiniteLogits {
        /// Position.
        position: usize,
        /// Token id.
        token: usize,
    },
    /// A record was computed for another state dtype or other opened layers than the builder's.
    #[error(
        "record of position {position} was computed for another state dtype or other opened layers"
    )]
    RecordMismatch {
        /// Position.
        position: usize,
    },
    /// `finish` came before the prompt was complete.
    #[error("only {got} positions were pushed, want at least the prompt's {want}")]
    Unfinished {
        /// Positions pushed.
        got: usize,
        /// Prompt tokens.
        want: usize,
    },
}

/// An edited trace whose arrays do not fit its manifest, or bytes that were no trace to begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForgeError {
    /// The starting point is not a trace.
    #[error(transparent)]
    Structure(#[from] TraceError),
    /// An array has not the length that the manifest's counts call for.
    #[error("`{array}` has {got} entries, want {want}")]
    Length {
        /// Which array.
        array: &'static str,
        /// Its length.
        got: usize,
        /// The length called for.
        want: usize,
    },
}

/// Longest excerpt of hostile text in a message, in characters.
const MAX_SHOWN: usize = 120;

/// `text` escaped and cut, so that a message can carry it to a terminal or a page.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .take(MAX_SHOWN)
        .flat_map(|c| c.escape_default())
        .collect()
}
