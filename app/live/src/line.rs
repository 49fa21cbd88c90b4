//! What a prover answers to a run: a line of JSON for each token, then one that ends it.

use serde::{Deserialize, Serialize};

use crate::{Fault, RunId};

/// A line. An empty line says only that the prover is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Line {
    /// The next token.
    Token(u32),
    /// The run has ended, and this is what the prover commits to. The last line.
    Receipt(Box<ReceiptLine>),
    /// The run has no end. The last line.
    Error(Fault),
}

/// A receipt, and how to have the run opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiptLine {
    /// Names the run in [`OPENING`](crate::routes::OPENING).
    pub id: RunId,
    /// The receipt: a manifest's canonical text, see [`Manifest::receipt`](assay_trace::Manifest::receipt).
    pub manifest: String,
    /// Prompt, then output.
    pub tokens: Vec<u32>,
    /// Seconds from now for which the run can be opened.
    pub expires_s: u32,
}

impl Line {
    /// Most bytes of a line of a run with so many tokens in all: a receipt's manifest opens nothing, so it is short. Two thresholds a
    /// layer, of at most 21 bytes each as JSON in JSON, are most of it.
    pub fn max_bytes(tokens: usize) -> usize {
        (64 << 10) + tokens.saturating_mul(11)
    }

    /// The line with its line break.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Cannot fail: all keys are strings, and no value has a fallible serializer.
        let mut bytes = serde_json::to_vec(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}
