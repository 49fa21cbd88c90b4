//! Which synthetic checkpoints can be made: the shapes of published models, tiny ones, and any other.
use crate::names::{self, LM_HEAD, Names, Wanted};
use crate::{
    Dtype, Family, ModelConfig, ModelError, Role, Rope, RopeLayout, RopeScaling, config_json,
};

/// What to make: a name and a config.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// For people.
    pub name: String,
    /// The shape proper.
    pub config: ModelConfig,
}

impl Shape {
    /// The names that [`Shape::named`] knows.
    pub const NAMES: [&str; 8] = [
        "llama-3.2-1b",
        "llama-3.2-3b",
        "llama-3.1-8b",
        "opt-125m",
        "opt-1.3b",
        "opt-6.7b",
        "tiny",
        "tiny-opt",
    ];

    /// The shape of a published model, or `tiny` and `tiny-opt`: two layers for tests.
    pub fn named(name: &str) -> Option<Self> {
        let config = llama(name).or_else(|| opt(name))?;
        Some(Self {
            name: name.to_owned(),
            config,
        })
    }

    /// Any other shape that a Hugging Face checkpoint can have.
    pub fn custom(name: &str, config: ModelConfig) -> Result<Self, ModelError> {
        config.check()?;
        config_json::to_json(&config, Dtype::F32)?;
        Ok(Self {
            name: name.to_owned(),
            config,
        })
    }

    pub(super) fn tensors(&self) -> Vec<Wanted> {
        let config = &self.config;
        let names = Names::of(config.family);
        let matrix = |role, name| Wanted {
            role,
            name,
            shape: vec![config.vocab, config.hidden],
        };
        let mut tensors = vec![matrix(Role::Embedding, names.embedding())];
        tensors.extend(names::wanted_but_embeddings(config, &names));
        if !config.tied_embeddings {
            tensors.push(matrix(Role::LmHead, LM_HEAD.to_owned()));
        }
        tensors
    }
}

fn llama(name: &str) -> Option<ModelConfig> {
    let llama3 = |factor| {
        Some(Rope {
            theta: 500_000.0,
            scaling: RopeScaling::Llama3 {
                factor,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192,
            },
            layout: RopeLayout::RotateHalf,
        })
    };
    let one_b = ModelConfig {
        family: Family::Llama,
        hidden: 2048,
        intermediate: 8192,
        layers: 16,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocab: 128_256,
        context: 131_072,
        norm_eps: 1e-5,
        rope: llama3(32.0),
        tied_embeddings: true,
        attention_bias: false,
        mlp_bias: false,
        eos: vec![128_001, 128_008, 128_009],
        bos: Some(128_000),
    };
    Some(match name {
        "llama-3.2-1b" => one_b,
        "llama-3.2-3b" => ModelConfig {
            hidden: 3072,
            layers: 28,
            heads: 24,
            head_dim: 128,
            ..one_b
        },
        "llama-3.1-8b" => ModelConfig {
            hidden: 4096,
            intermediate: 14_336,
            layers: 32,
            head_dim: 128,
            rope: llama3(8.0),
            tied_embeddings: false,
            ..one_b
        },
        "tiny" => ModelConfig {
            hidden: 64,
            intermediate: 96,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            vocab: 128,
            context: 256,
            eos: vec![2],
            bos: Some(1),
            ..one_b
        },
        _ => return None,
    })
}

/// Sizes of arXiv:2205.01068, table 1; its vocabulary has 50272 rows with padding.
fn opt(name: &str) -> Option<ModelConfig> {
    let small = ModelConfig {
        family: Family::Opt,
        hidden: 768,
        intermediate: 3072,
        layers: 12,
        heads: 12,
        kv_heads: 12,
        head_dim: 64,
        vocab: 50_272,
        context: 2048,
        norm_eps: 1e-5,
        rope: None,
        tied_embeddings: true,
        attention_bias: true,
        mlp_bias: true,
        eos: vec![2],
        bos: Some(2),
    };
    Some(match name {
        "opt-125m" => small,
        "opt-1.3b" => ModelConfig {
            hidden: 2048,
            intermediate: 8192,
            layers: 24,
            heads: 32,
            kv_heads: 32,
            ..small
        },
        "opt-6.7b" => ModelConfig {
            hidden: 4096,
            intermediate: 16_384,
            layers: 32,
            heads: 32,
            kv_heads: 32,
            head_dim: 128,
            ..small
        },
        "tiny-opt" => ModelConfig {
            hidden: 64,
            intermediate: 96,
            layers: 2,
            heads: 4,
            kv_heads: 4,
            head_dim: 16,
            vocab: 128,
            context: 256,
            ..small
        },
        _ => return None,
    })
}
