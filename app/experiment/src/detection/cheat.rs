//! What dishonest provers do, and what provers do that have no model at all.

use assay_engine::CacheFormat;
use assay_engine::sampler::SamplerSpec;
use serde::{Deserialize, Serialize};

use crate::alter::Weights;

/// One kind of prover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cheat {
    /// None.
    Honest,
    /// Other weights, for tokens and hidden states.
    Weights(Weights),
    /// Other weights write the tokens; then the claimed model runs over them and makes the hidden states (a "pre-fill attack").
    Laundered(Weights),
    /// A rounded KV cache.
    Kv(CacheFormat),
    /// This share of the MLP's neurons, in percent, by size of the activation.
    SparseMlp(u8),
    /// A text before the prompt that nobody asked for; its positions are left out of the trace.
    SystemPrompt,
    /// Another temperature, in percent of the claimed one.
    Temperature(u8),
    /// Another top-p, in percent.
    TopP(u8),
    /// Another seed.
    Seed,
    /// Honest tokens, and hidden states out of nothing.
    Forged(Forgery),
}

/// Hidden states (all but the embedding) that no model made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forgery {
    /// Zeros.
    Zero,
    /// Uniform noise of the row's own size.
    Random,
    /// Rows of other positions.
    Shuffled,
    /// Every sign flipped.
    SignFlipped,
}

impl Cheat {
    /// All that the table has, for a model with so many layers.
    pub fn all(layers: usize) -> Vec<Self> {
        use Weights as W;
        let half = W::ExitBefore((layers / 2).max(1));
        let late = W::ExitBefore((layers * 3 / 4).max(1));
        vec![
            Self::Weights(W::Int8),
            Self::Weights(W::Int4),
            Self::Weights(W::Fp8),
            Self::Kv(CacheFormat::Int8),
            Self::Kv(CacheFormat::Fp8),
            Self::Kv(CacheFormat::Int4),
            Self::Weights(W::FineTune),
            Self::Weights(W::Skip(layers / 2)),
            Self::Weights(late),
            Self::SparseMlp(50),
            Self::SystemPrompt,
            Self::Temperature(90),
            Self::TopP(90),
            Self::Seed,
            Self::Laundered(W::Int8),
            Self::Laundered(W::Int4),
            Self::Laundered(half),
            Self::Forged(Forgery::Zero),
            Self::Forged(Forgery::Random),
            Self::Forged(Forgery::Shuffled),
            Self::Forged(Forgery::SignFlipped),
        ]
    }

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Honest => "honest".to_owned(),
            Self::Weights(weights) => of(weights),
            Self::Laundered(Weights::ExitBefore(n)) => {
                format!("smaller model ({n} layers) writes, full model proves")
            }
            Self::Laundered(weights) => format!("{} writes, full model proves", of(weights)),
            Self::Kv(format) => format!("{} KV cache", format.name()),
            Self::SparseMlp(keep) => format!("sparse MLP, {keep} % of neurons"),
            Self::SystemPrompt => "hidden system prompt".to_owned(),
            Self::Temperature(percent) => {
                format!("temperature x {:.2}", f64::from(percent) / 100.0)
            }
            Self::TopP(percent) => format!("top-p {:.2} instead", f64::from(percent) / 100.0),
            Self::Seed => "another seed".to_owned(),
            Self::Forged(Forgery::Zero) => "null: zeros".to_owned(),
            Self::Forged(Forgery::Random) => "null: noise".to_owned(),
            Self::Forged(Forgery::Shuffled) => "null: shuffled rows".to_owned(),
            Self::Forged(Forgery::SignFlipped) => "null: flipped signs".to_owned(),
        }
    }

    /// Whether it is a forgery without a run behind it.
    pub fn is_null(self) -> bool {
        matches!(self, Self::Forged(_))
    }

    /// What really samples, where `claimed` is what the trace says.
    pub(crate) fn sampler(self, claimed: SamplerSpec) -> SamplerSpec {
        let SamplerSpec::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        } = claimed
        else {
            return claimed;
        };
        let (seed, temperature, top_p) = match self {
            Self::Temperature(percent) => (seed, temperature * f64::from(percent) / 100.0, top_p),
            Self::TopP(percent) => (seed, temperature, f64::from(percent) / 100.0),
            Self::Seed => (seed ^ 0x5EED, temperature, top_p),
            _ => (seed, temperature, top_p),
        };
        SamplerSpec::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        }
    }
}

fn of(weights: Weights) -> String {
    match weights {
        Weights::Int8 => "int8".to_owned(),
        Weights::Int4 => "int4".to_owned(),
        Weights::Fp8 => "fp8 (e4m3)".to_owned(),
        Weights::FineTune => "other fine-tune (1 %)".to_owned(),
        Weights::Skip(layer) => format!("layer {layer} skipped"),
        Weights::ExitBefore(layer) => format!("early exit after {layer} layers"),
    }
}
