//! The hashes do not hold together: one variant a check.

use crate::{Challenge, Digest};

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
    /// An opened layer's linear outputs are not those that were committed to.
    #[error("linear outputs of layer {layer} at position {position} hash to {got}, want {want}")]
    LinearDigest {
        /// The layer.
        layer: u32,
        /// Position.
        position: usize,
        /// Digest of the rows in the file.
        got: Digest,
        /// The one in `digests.linears`.
        want: Digest,
    },
    /// An open row of logits is not the one that was committed to.
    #[error("logits of output token {output} hash to {got}, want {want}")]
    LogitsDigest {
        /// Index of the output token.
        output: u32,
        /// Digest of the row in the file.
        got: Digest,
        /// The one in `digests.logits`.
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
    /// What is open is not what the manifest says that it is.
    #[error("open {list} are not those that the challenge `{challenge}` calls for")]
    Challenge {
        /// The manifest's word.
        challenge: Challenge,
        /// `layers` or `logits`.
        list: &'static str,
    },
}

impl CommitmentError {
    /// The reason in a report.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Commitment { .. } => "commitment",
            Self::PromptDigest { .. } => "prompt-digest",
            Self::StateDigest { .. } => "state-digest",
            Self::LinearDigest { .. } => "linear-digest",
            Self::LogitsDigest { .. } => "logits-digest",
            Self::Root { .. } => "merkle-root",
            Self::Challenge { .. } => "challenge",
        }
    }
}
