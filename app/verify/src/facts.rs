//! What a verifier knows of the model without looking at a weight: the same whether it holds the weights or a key.

use assay_model::{Model, ModelConfig};
use assay_trace::Digest;

/// Facts about the verifier's model.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    /// Shape and arithmetic.
    pub config: ModelConfig,
    /// Stored type of the weights.
    pub dtype: String,
    /// Weights.
    pub parameters: u64,
    /// Digest of the tokenizer's file.
    pub tokenizer: Option<Digest>,
}

impl Facts {
    /// Those of a model at hand.
    pub fn of_model(model: &Model) -> Self {
        Self {
            config: model.config().clone(),
            dtype: model.dtype().to_owned(),
            parameters: model.parameters(),
            tokenizer: model.tokenizer().map(assay_model::Tokenizer::digest),
        }
    }

    /// Those that a key keeps.
    pub fn of_key(key: &assay_key::VerifierKey) -> Self {
        Self {
            config: key.config().clone(),
            dtype: key.model_dtype().to_owned(),
            parameters: key.parameters(),
            tokenizer: key.tokenizer(),
        }
    }
}
