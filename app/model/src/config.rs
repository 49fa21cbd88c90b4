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
    /// Qwen2 and Qwen2.5: a Llama with biases of q, k and v.
    Qwen2,
    /// OPT (arXiv:2205.01068) with its norms before attention and MLP: all sizes but 350M.
    Opt,
}

/// How a row is normalised before attention, the MLP and the output projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Norm {
    /// RMSNorm (arXiv:1910.07467): `x / sqrt(mean(x^2) + eps) * weight`.
    Rms,
    /// LayerNorm (arXiv:1607.06450): `(x - mean) / sqrt(var + eps) * weight + bias`, with the variance over all components.
    Layer,
}

/// What an MLP does between its matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mlp {
    /// `silu(gate) * up` (SwiGLU, arXiv:2002.05202).
    Gated,
    /// `max(up, 0)`.
    Relu,
}

impl Mlp {
    /// Whether there is a gate projection beside the one up.
    pub fn has_gate(self) -> bool {
        match self {
            Self::Gated => true,
            Self::Relu => false,
        }
    }
}

impl Family {
    /// The name, as in `model_type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Opt => "opt",
        }
    }

    /// Which norm its layers have, the last one included.
    pub fn norm(self) -> Norm {
        match self {
            Self::Llama | Self::Mistral | Self::Qwen2 => Norm::Rms,
            Self::Opt => Norm::Layer,
        }
    }

    /// Which MLP its layers have.
    pub fn mlp(self) -> Mlp {
        match self {
            Self::Llama | Self::Mistral | Self::Qwen2 => Mlp::Gated,
            Self::Opt => Mlp::Relu,
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
    /// Width of the MLP.
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
    /// Added to the mean square in RMSNorm, to the variance in LayerNorm; transformers rounds it to f32 too. Key files call it
    /// `rms_eps`.
    #[serde(rename = "rms_eps")]
    pub norm_eps: f32,
    /// Rotary positions; `None` where positions are learned ([`Role::Positions`](crate::Role::Positions)).
    pub rope: Option<Rope>,
    /// Whether the output projection is the embedding.
    pub tied_embeddings: bool,
    /// Whether q, k, v and o have biases; in a Qwen2, where they always do, q, k and v.
    pub attention_bias: bool,
    /// Whether gate (where there is one), up and down have biases.
    pub mlp_bias: bool,
    /// Ids that end a generation: sorted, each once.
    pub eos: Vec<u32>,
    /// Id that begins a text.
    pub bos: Option<u32>,
}

impl ModelConfig {
    /// Learned positions: position t reads row t + 2 of the table, so that rows 0 and 1 are never read. OPT's table came with a
    /// padding row from fairseq.
    pub const POSITION_OFFSET: usize = 2;

    /// Rows of the query projection: `heads * head_dim`.
    pub fn q_dim(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Query heads that read one key head.
    pub fn share(&self) -> usize {
        self.heads / self.kv_heads.max(1)
    }

    /// Rows of the key and of the value projection: `kv_heads * head_dim`.
    pub fn kv_dim(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Whether audits and verifier keys know this arithmetic: rotary positions, RMSNorm and a gated MLP.
    pub fn can_be_audited(&self) -> bool {
        self.rope.is_some() && self.family.norm() == Norm::Rms && self.family.mlp().has_gate()
    }

    /// [`Rope::cos_sin_tables`] for this model's heads; `None` for a model without rotary positions.
    pub fn cos_sin_tables(
        &self,
        positions: std::ops::Range<usize>,
    ) -> Option<(Vec<f32>, Vec<f32>)> {
        let rope = self.rope.as_ref()?;
        Some(rope.cos_sin_tables(self.head_dim, positions))
    }

    /// Refuses sizes that are zero, absurd or do not fit together, numbers that are not finite, and what the family does not have
    /// (rotary positions in an OPT, say). It does not say that such a model exists.
    pub fn check(&self) -> Result<(), ModelError> {
        let (intermediate, eps) = match self.family {
            Family::Llama | Family::Mistral | Family::Qwen2 => {
                ("intermediate_size", "rms_norm_eps")
            }
            Family::Opt => ("ffn_dim", "layer_norm_eps"),
        };
        let sizes = [
            ("hidden_size", self.hidden, most::HIDDEN),
            (intermediate, self.intermediate, most::INTERMEDIATE),
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
            eps,
            self.norm_eps.into(),
            |eps| eps > 0.0 && eps < 1.0,
            "a number between 0 and 1",
        )?;
        self.check_family()?;
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

    fn check_family(&self) -> Result<(), ModelError> {
        let family = self.family.as_str();
        let refuse = |key: &str, got: String, want: String| {
            let key = key.to_owned();
            Err(ModelError::ConfigValue { key, got, want })
        };
        match (self.family, &self.rope) {
            (Family::Qwen2, _) if !self.attention_bias || self.mlp_bias => {
                let got = format!("{} and {}", self.attention_bias, self.mlp_bias);
                let want = "true and false, as `qwen2` has".to_owned();
                return refuse("attention_bias and mlp_bias", got, want);
            }
            (Family::Llama | Family::Mistral | Family::Qwen2, Some(rope)) => return rope.check(),
            (Family::Llama | Family::Mistral | Family::Qwen2, None) => {
                let want = format!("rotary positions, as `{family}` has");
                return refuse("rope", "none".to_owned(), want);
            }
            (Family::Opt, Some(_)) => {
                let want = format!("none, because `{family}` has learned positions");
                return refuse("rope", "rotary positions".to_owned(), want);
            }
            (Family::Opt, None) => {}
        }
        if self.kv_heads != self.heads {
            let want = format!("{}, one a query head", self.heads);
            return refuse("num_key_value_heads", self.kv_heads.to_string(), want);
        }
        if self.q_dim() != self.hidden {
            let want = format!("`hidden_size` / {}", self.heads);
            return refuse("head_dim", self.head_dim.to_string(), want);
        }
        if self.attention_bias != self.mlp_bias {
            let want = "one value for all linear layers".to_owned();
            return refuse("enable_bias", "both".to_owned(), want);
        }
        Ok(())
    }

    /// The config as the model root binds it: keys sorted, no spaces, floats as the hex of their bits. It holds everything that
    /// the numbers depend on, and neither the context's length nor the special ids.
    ///
    /// Families with rotary positions have `rms_eps` and `rope`; OPT has `norm_eps` and `position_offset` in their place, and the
    /// length of its table of positions is bound with the table.
    pub fn canonical_json(&self) -> String {
        let sizes = format!(
            concat!(
                r#""attention_bias":{},"family":"{}","head_dim":{},"heads":{},"hidden":{},"intermediate":{},"kv_heads":{},"#,
                r#""layers":{},"mlp_bias":{}"#
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
        );
        let eps = format!("{:08x}", self.norm_eps.to_bits());
        let numbers = match &self.rope {
            Some(rope) => format!(r#""rms_eps":"{eps}","rope":{}"#, rope.canonical_json()),
            None => format!(
                r#""norm_eps":"{eps}","position_offset":{}"#,
                Self::POSITION_OFFSET
            ),
        };
        format!(
            r#"{{{sizes},{numbers},"tied_embeddings":{},"vocab":{}}}"#,
            self.tied_embeddings, self.vocab,
        )
    }
}

impl Rope {
    fn canonical_json(&self) -> String {
        let f64_hex = |value: f64| format!("{:016x}", value.to_bits());
        let scaling = match self.scaling {
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
            r#"{{"layout":"{}","scaling":{scaling},"theta":"{}"}}"#,
            self.layout.as_str(),
            f64_hex(self.theta),
        )
    }

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
