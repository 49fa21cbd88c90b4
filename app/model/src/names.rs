//! Which tensors a config asks for: their Hugging Face names, shapes and order.
use crate::{LayerRole, ModelConfig, Role};

/// The embedding's name.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The output projection's name.
pub(crate) const LM_HEAD: &str = "lm_head.weight";
/// The last norm's name.
pub(crate) const FINAL_NORM: &str = "model.norm.weight";

/// A tensor that must be there.
pub(crate) struct Wanted {
    pub role: Role,
    pub name: String,
    pub shape: Vec<usize>,
}

/// Every layer role with its name within the layer, in forward order.
pub(crate) const LAYER_ROLES: [(LayerRole, &str); 16] = [
    (LayerRole::AttnNorm, "input_layernorm.weight"),
    (LayerRole::Q, "self_attn.q_proj.weight"),
    (LayerRole::K, "self_attn.k_proj.weight"),
    (LayerRole::V, "self_attn.v_proj.weight"),
    (LayerRole::O, "self_attn.o_proj.weight"),
    (LayerRole::QBias, "self_attn.q_proj.bias"),
    (LayerRole::KBias, "self_attn.k_proj.bias"),
    (LayerRole::VBias, "self_attn.v_proj.bias"),
    (LayerRole::OBias, "self_attn.o_proj.bias"),
    (LayerRole::MlpNorm, "post_attention_layernorm.weight"),
    (LayerRole::Gate, "mlp.gate_proj.weight"),
    (LayerRole::Up, "mlp.up_proj.weight"),
    (LayerRole::Down, "mlp.down_proj.weight"),
    (LayerRole::GateBias, "mlp.gate_proj.bias"),
    (LayerRole::UpBias, "mlp.up_proj.bias"),
    (LayerRole::DownBias, "mlp.down_proj.bias"),
];

/// The shape of a layer's tensor, or `None` if the model has none such.
pub(crate) fn layer_shape(config: &ModelConfig, role: LayerRole) -> Option<Vec<usize>> {
    use LayerRole::*;
    let (hidden, intermediate) = (config.hidden, config.intermediate);
    let (q_dim, kv_dim) = (config.q_dim(), config.kv_dim());
    match role {
        QBias | KBias | VBias | OBias if !config.attention_bias => return None,
        GateBias | UpBias | DownBias if !config.mlp_bias => return None,
        _ => {}
    }
    Some(match role {
        AttnNorm | MlpNorm | OBias | DownBias => vec![hidden],
        Q => vec![q_dim, hidden],
        K | V => vec![kv_dim, hidden],
        O => vec![hidden, q_dim],
        QBias => vec![q_dim],
        KBias | VBias => vec![kv_dim],
        Gate | Up => vec![intermediate, hidden],
        Down => vec![hidden, intermediate],
        GateBias | UpBias => vec![intermediate],
    })
}

/// The full name of a layer's tensor.
pub(crate) fn layer_name(layer: usize, suffix: &str) -> String {
    format!("model.layers.{layer}.{suffix}")
}

/// All tensors but the embedding and the output projection, in forward order.
pub(crate) fn wanted_but_embeddings(config: &ModelConfig) -> Vec<Wanted> {
    let mut wanted = Vec::with_capacity(config.layers * LAYER_ROLES.len() + 1);
    for layer in 0..config.layers {
        for (role, suffix) in LAYER_ROLES {
            if let Some(shape) = layer_shape(config, role) {
                wanted.push(Wanted {
                    role: Role::Layer(layer, role),
                    name: layer_name(layer, suffix),
                    shape,
                });
            }
        }
    }
    wanted.push(Wanted {
        role: Role::FinalNorm,
        name: FINAL_NORM.to_owned(),
        shape: vec![config.hidden],
    });
    wanted
}

/// Why a tensor of this name contradicts the config, if it does: a bias that the config denies, or a layer that it does not count.
/// Running without such a tensor would compute another model than the one that was stored.
pub(crate) fn contradiction(config: &ModelConfig, name: &str) -> Option<&'static str> {
    let (layer, suffix) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (role, _) = LAYER_ROLES
        .into_iter()
        .find(|(_, known)| *known == suffix)?;
    let counted = layer
        .parse()
        .is_ok_and(|layer: usize| layer < config.layers);
    if layer_shape(config, role).is_none() {
        let attention = suffix.starts_with("self_attn");
        return Some(if attention {
            "`attention_bias` is false"
        } else {
            "`mlp_bias` is false"
        });
    }
    (!counted).then_some("`num_hidden_layers` is smaller")
}

/// Whether a tensor is a buffer that old checkpoints store although it follows from the config.
pub(crate) fn is_derived_buffer(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}
