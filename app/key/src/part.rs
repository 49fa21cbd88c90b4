//! The matrices that a key knows, in one order: layers ascending, q k v o gate up down in each, the head last.

use std::fmt;

use assay_model::{Family, LayerRole, ModelConfig, Role};

use crate::KeyError;

/// The matrices of a layer, in the order in which a key has them. The index is the role's number in the word stream.
pub(crate) const MATRICES: [LayerRole; 7] = LayerRole::LINEARS;

/// A weight matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Part {
    /// One of a layer's; only `Q`, `K`, `V`, `O`, `Gate`, `Up` and `Down` are matrices.
    Layer(u32, LayerRole),
    /// The output projection, which in a tied model is the embedding.
    Head,
}

impl Part {
    /// Layer and role as the word stream numbers them; `None` for a role that is no matrix.
    pub(crate) fn numbers(self) -> Option<(u32, u32)> {
        match self {
            Self::Layer(layer, role) => {
                let index = MATRICES.iter().position(|matrix| *matrix == role)?;
                Some((layer, index as u32))
            }
            Self::Head => Some((u32::MAX, MATRICES.len() as u32)),
        }
    }

    /// `(n, k)`, outputs and inputs; `None` if the config has no such matrix.
    pub(crate) fn shape(self, config: &ModelConfig) -> Option<(usize, usize)> {
        use LayerRole::{Down, Gate, K, O, Q, Up, V};
        let (hidden, intermediate) = (config.hidden, config.intermediate);
        match self {
            Self::Layer(layer, _) if layer as usize >= config.layers => None,
            Self::Layer(_, Q) => Some((config.q_dim(), hidden)),
            Self::Layer(_, K | V) => Some((config.kv_dim(), hidden)),
            Self::Layer(_, O) => Some((hidden, config.q_dim())),
            Self::Layer(_, Gate | Up) => Some((intermediate, hidden)),
            Self::Layer(_, Down) => Some((hidden, intermediate)),
            Self::Layer(..) => None,
            Self::Head => Some((config.vocab, hidden)),
        }
    }

    /// The role of its tensor in a checkpoint.
    pub fn role(self) -> Role {
        match self {
            Self::Layer(layer, role) => Role::Layer(layer as usize, role),
            Self::Head => Role::LmHead,
        }
    }
}

impl fmt::Display for Part {
    /// `layer 3 gate`, `head`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(layer, role) => write!(f, "layer {layer} {}", word(*role)),
            Self::Head => f.write_str("head"),
        }
    }
}

/// The role's word, in messages and in names of tensors.
pub(crate) fn word(role: LayerRole) -> &'static str {
    match role {
        LayerRole::AttnNorm => "attn_norm",
        LayerRole::AttnNormBias => "attn_norm_bias",
        LayerRole::Q => "q",
        LayerRole::K => "k",
        LayerRole::V => "v",
        LayerRole::O => "o",
        LayerRole::QBias => "q_bias",
        LayerRole::KBias => "k_bias",
        LayerRole::VBias => "v_bias",
        LayerRole::OBias => "o_bias",
        LayerRole::MlpNorm => "mlp_norm",
        LayerRole::MlpNormBias => "mlp_norm_bias",
        LayerRole::Gate => "gate",
        LayerRole::Up => "up",
        LayerRole::Down => "down",
        LayerRole::GateBias => "gate_bias",
        LayerRole::UpBias => "up_bias",
        LayerRole::DownBias => "down_bias",
    }
}

/// Whether this model's matrices of that role have biases.
pub(crate) fn has_bias(config: &ModelConfig, matrix: LayerRole) -> bool {
    match matrix {
        LayerRole::O if config.family == Family::Qwen2 => false,
        LayerRole::Q | LayerRole::K | LayerRole::V | LayerRole::O => config.attention_bias,
        LayerRole::Gate | LayerRole::Up | LayerRole::Down => config.mlp_bias,
        _ => false,
    }
}

/// Refuses a model whose arithmetic audits do not know.
pub(crate) fn check_family(config: &ModelConfig) -> Result<(), KeyError> {
    match config.can_be_audited() {
        true => Ok(()),
        false => Err(KeyError::Family {
            family: config.family.as_str(),
        }),
    }
}
