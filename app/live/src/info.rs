//! What a prover says of itself before it is asked for anything.

use assay_trace::limits::{MAX_HIDDEN, MAX_LAYERS};
use assay_trace::limits::{MAX_TEXT_BYTES, MAX_TOKENS, MAX_VOCAB, MAX_WORD_BYTES};
use assay_trace::{Manifest, ModelClaim, SparseClaim};
use serde::{Deserialize, Serialize};

use crate::{ExchangeError, PROTOCOL};

/// The answer to GET [`INFO`](crate::routes::INFO).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Info {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Its program: printable ASCII, at most 256 bytes.
    pub producer: String,
    /// Its device, in its own words: printable ASCII, at most 256 bytes.
    pub adapter: String,
    /// The model that it says it runs. Receipts must repeat it.
    pub model: ModelClaim,
    /// The rule by which it says that it skips neurons; absent where it computes all. Receipts must repeat it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sparse: Option<SparseClaim>,
    /// What it takes.
    pub limits: Limits,
}

/// What a prover takes, and what it promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most prompt tokens.
    pub max_prompt: u32,
    /// Most tokens to generate.
    pub max_tokens: u32,
    /// Seconds for which a finished run can be opened.
    pub retention_s: u32,
}

impl Info {
    /// Most bytes of its JSON. Two thresholds a layer, of at most 19 bytes each, are most of it.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Reads and checks it.
    ///
    /// # Errors
    /// [`ExchangeError::Protocol`] for anything but what this version of the exchange says.
    pub fn parse(json: &[u8]) -> Result<Self, ExchangeError> {
        let info: Self = crate::json::read(json)
            .map_err(|err| ExchangeError::protocol("what the prover says of itself", &err))?;
        info.check()?;
        Ok(info)
    }

    fn check(&self) -> Result<(), ExchangeError> {
        let fault = |what: &str| Err(ExchangeError::Protocol(format!("the prover's {what}")));
        if self.protocol != PROTOCOL {
            return fault(&format!(
                "protocol is version {}, this is version {PROTOCOL}",
                self.protocol
            ));
        }
        for (name, text) in [("producer", &self.producer), ("adapter", &self.adapter)] {
            if text.len() > MAX_TEXT_BYTES || Manifest::printable(text) != *text {
                return fault(&format!("`{name}` is too long or not printable"));
            }
        }
        let model = &self.model;
        for (name, word) in [("dtype", &model.dtype), ("family", &model.family)] {
            let plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
            if word.is_empty() || word.len() > MAX_WORD_BYTES || !word.bytes().all(plain) {
                return fault(&format!("`model.{name}` is no word"));
            }
        }
        for (name, got, max) in [
            ("model.hidden", model.hidden, MAX_HIDDEN),
            ("model.layers", model.layers, MAX_LAYERS),
            ("model.vocab", model.vocab, MAX_VOCAB),
            ("limits.max_prompt", self.limits.max_prompt, MAX_TOKENS),
            ("limits.max_tokens", self.limits.max_tokens, MAX_TOKENS),
        ] {
            if got == 0 || got > max {
                return fault(&format!("`{name}` is {got}, want 1 to {max}"));
            }
        }
        match self.sparse.as_ref().map(|claim| claim.check(model.layers)) {
            Some(Err(err)) => fault(&format!("rule for sparse MLPs: {err}")),
            _ => Ok(()),
        }
    }
}
