//! What a model is: its shape and every number that its arithmetic depends on.
use crate::{ModelError, Rope};
use serde::{Deserialize, Serialize};

/// Ceilings on a config's sizes, several times beyond any dense model that this family has. They keep every later product of two
/// sizes far from overflow and every table of a hostile config small.
pub(crate) mod most {
    pub const HIDDEN: usize = 1 << 16;
    pub const INTERMEDIATE: usize = 1 << 18;
    pub const LAYERS: usize = 1 << 10;
    pub const HEADS: usize = 1 << 10;
    pub const HEAD_DIM: usize = 1 << 10;
    pub const VOCAB: usize = 1 << 21;
    /// Positions up to here are exact in f32, which rotary angles need.
    pub const CONTEXT: usize = 1 << 24;
}

/// The architectures that the engine runs; each name covers its fine-tunes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Llama 1 to 3.2, and what is built like it (SmolLM, TinyLlama, llama2.c).
    Llama,
    /// Mistral 7B, within its sliding window.
    Mistral,
}

impl Family {
    /// The name, as in `model_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
        }
    }
}

/// A model's shape. Made by the readers of this crate, which call [`ModelConfig::check`]; a config from anywhere else (a verifier
/// key, say) must be checked before its sizes are used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Architecture.
    pub family: Family,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the gated MLP.
    pub intermediate: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Components of one head; even. Not always `hidden / heads`.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Positions that the model can be run at.
    pub context: usize,
    /// Added to the mean square in RMSNorm; transformers rounds it to f32 too.
    pub rms_eps: f32,
    /// Rotary positions.
    pub rope: Rope,
    /// Whether the output projection is the embedding.
    pub tied_embeddings: bool,
    /// Whether q, k, v and o have biases.
    pub attention_bias: bool,
    /// Whether gate, up and down have biases.
    pub mlp_bias: bool,
    /// Ids that end a generation: sorted, each once.
    pub eos: Vec<u32>,
    /// Id that begins a text.
    pub bos: Option<u32>,
}

impl ModelConfig {
    /// Rows of the query projection: `heads * head_dim`.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Rows of the key and of the value projection: `kv_heads * head_dim`.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// [`Rope::cos_sin_tables`] for this model's heads.
    pub fn cos_sin_tables(&self, positions: std::ops::Range<usize>) -> (Vec<f32>, Vec<f32>) {
        self.rope.cos_sin_tables(self.head_dim, positions)
    }

    /// Refuses sizes that are zero, absurd or do not fit together, and numbers that are not finite. It does not say that such a
    /// model exists.
    pub fn check(&self) -> Result<(), ModelError> {
        let sizes = [
            ("hidden_size", self.hidden, most::HIDDEN),
            ("intermediate_size", self.intermediate, most::INTERMEDIATE),
            ("num_hidden_layers", self.layers, most::LAYERS),
            ("num_attention_heads", self.heads, most::HEADS),
            ("num_key_value_heads", self.kv_heads, most::HEADS),
            ("head_dim", self.head_dim, most::HEAD_DIM),
            ("vocab_size", self.vocab, most::VOCAB),
            ("max_position_embeddings", self.context, most::CONTEXT),
        ];
        for (key, got, most) in sizes {
            if got == 0 || got > most {
                return Err(ModelError::ConfigRange {
                    key,
                    got: got as u64,
                    least: 1,
                    most: most as u64,
                });
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return Err(ModelError::HeadGroups {
                heads: self.heads,
                kv_heads: self.kv_heads,
            });
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(ModelError::OddHeadDim {
                head_dim: self.head_dim,
            });
        }
        check_number(
            "rms_norm_eps",
            self.rms_eps.into(),
            |eps| eps > 0.0 && eps < 1.0,
            "a number between 0 and 1",
        )?;
        self.rope.check()?;
        let ids = self.eos.iter().chain(&self.bos);
        for id in ids {
            if *id as usize >= self.vocab {
                let want = format!("an id below {}", self.vocab);
                return Err(ModelError::ConfigValue {
                    key: "token id".to_owned(),
                    got: id.to_string(),
                    want,
                });
            }
        }
        Ok(())
    }

    /// The config as the model root binds it: keys sorted, no spaces, floats as the hex of their bits. It holds everything that
    /// the numbers depend on, and neither the context's length nor the special ids.
    pub fn canonical_json(&self) -> String {
        let f64_hex = |value: f64| format!("{:016x}", value.to_bits());
        let scaling = match self.rope.scaling {
            crate::RopeScaling::None => "null".to_owned(),
            crate::RopeScaling::Linear { factor } => {
                format!(r#"{{"factor":"{}","type":"linear"}}"#, f64_hex(factor))
            }
            crate::RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => format!(
                r#"{{"factor":"{}","high_freq_factor":"{}","low_freq_factor":"{}","original_context":{original_context},"type":"llama3"}}"#,
                f64_hex(factor),
                f64_hex(high_freq_factor),
                f64_hex(low_freq_factor),
            ),
        };
        format!(
            concat!(
                r#"{{"attention_bias":{},"family":"{}","head_dim":{},"heads":{},"hidden":{},"intermediate":{},"kv_heads":{},"#,
                r#""layers":{},"mlp_bias":{},"rms_eps":"{:08x}","rope":{{"layout":"{}","scaling":{},"theta":"{}"}},"#,
                r#""tied_embeddings":{},"vocab":{}}}"#
            ),
            self.attention_bias,
            self.family.as_str(),
            self.head_dim,
            self.heads,
            self.hidden,
            self.intermediate,
            self.kv_heads,
            self.layers,
            self.mlp_bias,
            self.rms_eps.to_bits(),
            self.rope.layout.as_str(),
            scaling,
            f64_hex(self.rope.theta),
            self.tied_embeddings,
            self.vocab,
        )
    }
}

impl Rope {
    fn check(&self) -> Result<(), ModelError> {
        use crate::RopeScaling::{Linear, Llama3, None};
        let at_least_one = |x: f64| (1.0..=1e9).contains(&x);
        let one = "a number from 1 to 1e9";
        check_number("rope_theta", self.theta, at_least_one, one)?;
        match self.scaling {
            None => Ok(()),
            Linear { factor } => check_number("factor", factor, at_least_one, one),
            Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                check_number("factor", factor, at_least_one, one)?;
                let low_fits = |low: f64| (1e-6..=1e6).contains(&low);
                check_number(
                    "low_freq_factor",
                    low_freq_factor,
                    low_fits,
                    "a number from 1e-6 to 1e6",
                )?;
                let high_fits = |high: f64| high as f32 > low_freq_factor as f32 && high <= 1e6;
                check_number(
                    "high_freq_factor",
                    high_freq_factor,
                    high_fits,
                    "a number above `low_freq_factor`",
                )?;
                let (key, got, most) = (
                    "original_max_position_embeddings",
                    original_context as u64,
                    most::CONTEXT as u64,
                );
                match got {
                    0 => Err(ModelError::ConfigRange {
                        key,
                        got,
                        least: 1,
                        most,
                    }),
                    _ if got > most => Err(ModelError::ConfigRange {
                        key,
                        got,
                        least: 1,
                        most,
                    }),
                    _ => Ok(()),
                }
            }
        }
    }
}

fn check_number(
    key: &str,
    got: f64,
    fits: impl Fn(f64) -> bool,
    want: &str,
) -> Result<(), ModelError> {
    if fits(got) {
        return Ok(());
    }
    Err(ModelError::ConfigValue {
        key: key.to_owned(),
        got: got.to_string(),
        want: want.to_owned(),
    })
}
