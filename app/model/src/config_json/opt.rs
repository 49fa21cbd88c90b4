//! OPT's config. Every key has a default in transformers, and the published configs leave some out.
use super::object::{Object, unsupported};
use crate::{Family, ModelConfig, ModelError};

/// The epsilon of PyTorch's LayerNorm. transformers' OPT takes it as it is, and its config has no key for another.
const NORM_EPS: f32 = 1e-5;

/// Everything but the special ids.
pub(super) fn read(map: &Object) -> Result<ModelConfig, ModelError> {
    let size = |key, default| map.size(key).map(|size| size.unwrap_or(default));
    let hidden = size("hidden_size", 768)?;
    let heads = size("num_attention_heads", 12)?;
    if heads == 0 || !hidden.is_multiple_of(heads) {
        return Err(ModelError::HeadDimUnknown { hidden, heads });
    }
    let head_dim = hidden / heads;
    refuse_what_changes_numbers(map)?;
    // transformers does not read the last two here, so a config that has them is not what it seems.
    for (key, want) in [
        ("word_embed_proj_dim", hidden),
        ("num_key_value_heads", heads),
        ("head_dim", head_dim),
    ] {
        if let Some(got) = map.size(key)?
            && got != want
        {
            let supported = format!("{want}, which follows from the other sizes");
            return Err(unsupported(key, got, &supported));
        }
    }
    let bias = map.flag("enable_bias")?.unwrap_or(true);
    Ok(ModelConfig {
        family: Family::Opt,
        hidden,
        intermediate: size("ffn_dim", 3072)?,
        layers: size("num_hidden_layers", 12)?,
        heads,
        kv_heads: heads,
        head_dim,
        vocab: size("vocab_size", 50_272)?,
        context: size("max_position_embeddings", 2048)?,
        norm_eps: NORM_EPS,
        rope: None,
        tied_embeddings: map.flag("tie_word_embeddings")?.unwrap_or(true),
        attention_bias: bias,
        mlp_bias: bias,
        eos: Vec::new(),
        bos: None,
    })
}

fn refuse_what_changes_numbers(map: &Object) -> Result<(), ModelError> {
    if let Some(act) = map.text("activation_function")?
        && act != "relu"
    {
        return Err(unsupported("activation_function", act, "`relu`"));
    }
    for (key, want) in [
        // False in the 350M: its norms come after attention and MLP.
        ("do_layer_norm_before", true),
        // True in checkpoints of a time when the last norm was forgotten.
        ("_remove_final_layer_norm", false),
        ("layer_norm_elementwise_affine", true),
    ] {
        if let Some(got) = map.flag(key)?
            && got != want
        {
            return Err(unsupported(key, got, &want.to_string()));
        }
    }
    Ok(())
}

/// A config as transformers reads it.
#[cfg(feature = "native")]
pub(super) fn to_json(
    config: &ModelConfig,
    dtype: crate::Dtype,
) -> Result<serde_json::Value, ModelError> {
    if config.norm_eps != NORM_EPS {
        return Err(unsupported(
            "layer_norm_eps",
            config.norm_eps,
            "1e-5, because a config has no key for it",
        ));
    }
    Ok(serde_json::json!({
        "architectures": [super::architecture(config.family)],
        "model_type": config.family.as_str(),
        "hidden_size": config.hidden,
        "word_embed_proj_dim": config.hidden,
        "ffn_dim": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.context,
        "activation_function": "relu",
        "do_layer_norm_before": true,
        "layer_norm_elementwise_affine": true,
        "_remove_final_layer_norm": false,
        "enable_bias": config.attention_bias,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "layerdrop": 0.0,
        "tie_word_embeddings": config.tied_embeddings,
        "bos_token_id": config.bos,
        "eos_token_id": config.eos,
        "torch_dtype": super::torch_dtype(dtype),
    }))
}

#[cfg(test)]
#[path = "opt_tests.rs"]
mod tests;
