//! What a verifier asks a prover to run.

use assay_trace::limits::MAX_TOKENS;
use assay_trace::{Decimal, Digest, Sampler};
use serde::{Deserialize, Serialize};

use crate::Limits;

/// The body of POST [`RUNS`](crate::routes::RUNS).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunRequest {
    /// Prompt ids, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate, at least one. Fewer only where the model ends, or its context does.
    pub max_tokens: u32,
    /// How tokens are chosen, as in a manifest.
    pub sampler: Sampler,
    /// Go on after an end-of-sequence id.
    pub ignore_eos: bool,
    /// 32 random bytes of the verifier's.
    pub nonce: Digest,
}

/// Why a request is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Nothing to run.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// Nothing to generate.
    #[error("at least one token must be asked for")]
    NoTokens,
    /// Too much of something.
    #[error("{what}: got {got}, this prover takes at most {max}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How much.
        got: u64,
        /// The limit.
        max: u64,
    },
    /// An id that the model does not have.
    #[error("prompt id {id} is beyond the vocabulary of {vocab}")]
    PromptId {
        /// The id.
        id: u32,
        /// Vocabulary entries.
        vocab: u32,
    },
    /// A sampler's number outside its range.
    #[error("`{name}` of the sampler is out of range")]
    Sampler {
        /// Which.
        name: &'static str,
    },
}

impl RunRequest {
    /// Most bytes of its JSON for prompts up to `max_prompt` tokens: an id takes ten digits and a comma at most.
    pub fn max_bytes(max_prompt: u32) -> usize {
        (max_prompt.min(MAX_TOKENS) as usize) * 11 + (4 << 10)
    }

    /// Refuses what cannot be run within `limits`, by a model with `vocab` entries.
    ///
    /// # Errors
    /// A [`RequestError`].
    pub fn check(&self, limits: &Limits, vocab: u32) -> Result<(), RequestError> {
        if self.prompt.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        if self.max_tokens == 0 {
            return Err(RequestError::NoTokens);
        }
        let prompt = self.prompt.len() as u64;
        let tokens = u64::from(self.max_tokens);
        for (what, got, max) in [
            ("prompt tokens", prompt, limits.max_prompt),
            ("tokens to generate", tokens, limits.max_tokens),
            ("tokens in all", prompt + tokens, MAX_TOKENS),
        ] {
            let max = u64::from(max);
            if got > max {
                return Err(RequestError::TooMany { what, got, max });
            }
        }
        if let Some(&id) = self.prompt.iter().find(|id| **id >= vocab) {
            return Err(RequestError::PromptId { id, vocab });
        }
        match self.sampler {
            Sampler::Gumbel { temperature, .. } if temperature == Decimal::ZERO => {
                Err(RequestError::Sampler {
                    name: "temperature",
                })
            }
            Sampler::Gumbel { top_p, .. } if top_p == Decimal::ZERO || top_p > Decimal::ONE => {
                Err(RequestError::Sampler { name: "top_p" })
            }
            _ => Ok(()),
        }
    }
}
