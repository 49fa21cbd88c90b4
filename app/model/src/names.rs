//! Which tensors a config asks for: their Hugging Face names, shapes and order.
use crate::{Family, LayerRole, ModelConfig, Norm, Role};

/// The output projection's name, in every family.
pub(crate) const LM_HEAD: &str = "lm_head.weight";

/// A tensor that must be there.
pub(crate) struct Wanted {
    pub role: Role,
    pub name: String,
    pub shape: Vec<usize>,
}

/// Every layer role of a Llama, Mistral or Qwen2 with its name within the layer, in forward order.
pub(crate) const LLAMA_LAYER: [(LayerRole, &str); 16] = [
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

/// The same of an OPT. The layer's `final_layer_norm` stands before its MLP; its name is that of the norm after the last layer too.
const OPT_LAYER: [(LayerRole, &str); 16] = [
    (LayerRole::AttnNorm, "self_attn_layer_norm.weight"),
    (LayerRole::AttnNormBias, "self_attn_layer_norm.bias"),
    (LayerRole::Q, "self_attn.q_proj.weight"),
    (LayerRole::K, "self_attn.k_proj.weight"),
    (LayerRole::V, "self_attn.v_proj.weight"),
    (LayerRole::O, "self_attn.out_proj.weight"),
    (LayerRole::QBias, "self_attn.q_proj.bias"),
    (LayerRole::KBias, "self_attn.k_proj.bias"),
    (LayerRole::VBias, "self_attn.v_proj.bias"),
    (LayerRole::OBias, "self_attn.out_proj.bias"),
    (LayerRole::MlpNorm, "final_layer_norm.weight"),
    (LayerRole::MlpNormBias, "final_layer_norm.bias"),
    (LayerRole::Up, "fc1.weight"),
    (LayerRole::Down, "fc2.weight"),
    (LayerRole::UpBias, "fc1.bias"),
    (LayerRole::DownBias, "fc2.bias"),
];

/// What OPT's names begin with: as transformers writes them, and as the published 6.7B, 13B and 30B have them.
const OPT_PREFIXES: [&str; 2] = ["model.decoder.", "decoder."];

/// How a checkpoint calls its tensors.
#[derive(Clone, Copy)]
pub(crate) struct Names {
    /// What all names but the output projection's begin with.
    prefix: &'static str,
    /// The last norm, without `.weight`.
    final_norm: &'static str,
    layer: &'static [(LayerRole, &'static str)],
}

impl Names {
    /// As transformers writes them.
    pub fn of(family: Family) -> Self {
        match family {
            Family::Llama | Family::Mistral | Family::Qwen2 => Self {
                prefix: "model.",
                final_norm: "norm",
                layer: &LLAMA_LAYER,
            },
            Family::Opt => Self {
                prefix: OPT_PREFIXES[0],
                final_norm: "final_layer_norm",
                layer: &OPT_LAYER,
            },
        }
    }

    /// As a checkpoint with these tensors has them.
    pub fn in_checkpoint<'a>(family: Family, stored: impl Iterator<Item = &'a String>) -> Self {
        let usual = Self::of(family);
        let [with_model, without] = OPT_PREFIXES;
        let (mut usual_seen, mut short_seen) = (false, false);
        for name in stored {
            usual_seen |= name.starts_with(with_model);
            short_seen |= name.starts_with(without);
        }
        match family {
            Family::Opt if short_seen && !usual_seen => Self {
                prefix: without,
                ..usual
            },
            _ => usual,
        }
    }

    pub fn embedding(&self) -> String {
        format!("{}embed_tokens.weight", self.prefix)
    }

    pub fn final_norm(&self) -> String {
        format!("{}{}.weight", self.prefix, self.final_norm)
    }

    /// The full name of a layer's tensor.
    pub fn in_layer(&self, layer: usize, suffix: &str) -> String {
        format!("{}layers.{layer}.{suffix}", self.prefix)
    }
}

/// The shape of a layer's tensor, or `None` if the model has none such.
pub(crate) fn layer_shape(config: &ModelConfig, role: LayerRole) -> Option<Vec<usize>> {
    use LayerRole::*;
    let (hidden, intermediate) = (config.hidden, config.intermediate);
    let (q_dim, kv_dim) = (config.q_dim(), config.kv_dim());
    match role {
        AttnNormBias | MlpNormBias if config.family.norm() == Norm::Rms => return None,
        Gate | GateBias if !config.family.mlp().has_gate() => return None,
        QBias | KBias | VBias | OBias if !config.attention_bias => return None,
        OBias if config.family == Family::Qwen2 => return None,
        GateBias | UpBias | DownBias if !config.mlp_bias => return None,
        _ => {}
    }
    Some(match role {
        AttnNorm | AttnNormBias | MlpNorm | MlpNormBias | OBias | DownBias => vec![hidden],
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

/// All tensors but the embedding and the output projection, in forward order.
pub(crate) fn wanted_but_embeddings(config: &ModelConfig, names: &Names) -> Vec<Wanted> {
    let mut wanted = Vec::with_capacity(config.layers * names.layer.len() + 3);
    if config.rope.is_none() {
        wanted.push(Wanted {
            role: Role::Positions,
            name: format!("{}embed_positions.weight", names.prefix),
            shape: vec![config.context + ModelConfig::POSITION_OFFSET, config.hidden],
        });
    }
    for layer in 0..config.layers {
        for (role, suffix) in names.layer {
            if let Some(shape) = layer_shape(config, *role) {
                wanted.push(Wanted {
                    role: Role::Layer(layer, *role),
                    name: names.in_layer(layer, suffix),
                    shape,
                });
            }
        }
    }
    let mut last_norm = |role, name| {
        wanted.push(Wanted {
            role,
            name,
            shape: vec![config.hidden],
        });
    };
    last_norm(Role::FinalNorm, names.final_norm());
    if config.family.norm() == Norm::Layer {
        let bias = format!("{}{}.bias", names.prefix, names.final_norm);
        last_norm(Role::FinalNormBias, bias);
    }
    wanted
}

/// Why a tensor of this name contradicts the config, if it does: a bias that the config denies, or a layer that it does not count.
/// Running without such a tensor would compute another model than the one that was stored.
pub(crate) fn contradiction(
    config: &ModelConfig,
    names: &Names,
    name: &str,
) -> Option<&'static str> {
    let is_opt = config.family == Family::Opt;
    let Some(within) = name.strip_prefix(names.prefix) else {
        let is_decoder = OPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        return (is_opt && is_decoder).then_some("its other tensors begin with `model.decoder.`");
    };
    if is_opt
        && ["project_in.", "project_out."]
            .iter()
            .any(|part| within.starts_with(part))
    {
        return Some("`word_embed_proj_dim` is that of `hidden_size`");
    }
    let (layer, suffix) = within.strip_prefix("layers.")?.split_once('.')?;
    let (role, _) = names.layer.iter().find(|(_, known)| *known == suffix)?;
    let counted = layer
        .parse()
        .is_ok_and(|layer: usize| layer < config.layers);
    if layer_shape(config, *role).is_none() {
        return Some(match suffix.starts_with("self_attn") {
            _ if is_opt => "`enable_bias` is false",
            true if config.family == Family::Qwen2 => "`qwen2` has biases of q, k and v only",
            true => "`attention_bias` is false",
            false => "`mlp_bias` is false",
        });
    }
    (!counted).then_some("`num_hidden_layers` is smaller")
}

/// Whether a tensor is a buffer that old checkpoints store although it follows from the config.
pub(crate) fn is_derived_buffer(name: &str) -> bool {
    name.ends_with("rotary_emb.inv_freq")
}
