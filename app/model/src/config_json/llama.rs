//! Llama's, Mistral's and Qwen2's config, in the classic spelling (`rope_theta`, `rope_scaling`) and in that of transformers 5
//! (`rope_parameters`).
use super::object::{Object, conflict, unsupported};
use crate::{Family, ModelConfig, ModelError, Rope, RopeLayout, RopeScaling};

/// Everything but the special ids.
pub(super) fn read(
    map: &Object,
    family: Family,
    notes: &mut Vec<String>,
) -> Result<ModelConfig, ModelError> {
    refuse_what_changes_numbers(map, family)?;
    let hidden = map.required_size("hidden_size")?;
    let heads = map.required_size("num_attention_heads")?;
    let kv_heads = match (family, map.raw("num_key_value_heads")) {
        (Family::Mistral, None) => 8,
        _ => map.size("num_key_value_heads")?.unwrap_or(heads),
    };
    let head_dim = match map.size("head_dim")? {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(ModelError::HeadDimUnknown { hidden, heads }),
    };
    let default_context = match family {
        Family::Mistral => 4096 * 32,
        Family::Qwen2 => 32_768,
        Family::Llama | Family::Opt => 2048,
    };
    let trained_context = map
        .size("max_position_embeddings")?
        .unwrap_or(default_context);
    Ok(ModelConfig {
        family,
        hidden,
        intermediate: map.required_size("intermediate_size")?,
        layers: map.required_size("num_hidden_layers")?,
        heads,
        kv_heads,
        head_dim,
        vocab: map.required_size("vocab_size")?,
        context: within_window(map, family, trained_context, notes)?,
        norm_eps: map.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rope: Some(rope(map)?),
        tied_embeddings: map.flag("tie_word_embeddings")?.unwrap_or(false),
        attention_bias: match family {
            Family::Qwen2 => true,
            _ => map.flag("attention_bias")?.unwrap_or(false),
        },
        mlp_bias: map.flag("mlp_bias")?.unwrap_or(false),
        eos: Vec::new(),
        bos: None,
    })
}

fn refuse_what_changes_numbers(map: &Object, family: Family) -> Result<(), ModelError> {
    if let Some(act) = map.text("hidden_act")?
        && act != "silu"
    {
        return Err(unsupported("hidden_act", act, "`silu`"));
    }
    if let Some(share) = map.number("partial_rotary_factor")?
        && share != 1.0
    {
        return Err(unsupported("partial_rotary_factor", share, "1"));
    }
    // transformers' Mistral has no biases whatever its config says, so a config that asks for them is not what it seems.
    for key in ["attention_bias", "mlp_bias"] {
        if family == Family::Mistral && map.flag(key)? == Some(true) {
            return Err(unsupported(key, true, "false for `mistral`"));
        }
    }
    if family == Family::Qwen2 {
        // transformers' Qwen2 has biases of q, k and v, and no others, whatever its config says.
        for (key, want) in [("attention_bias", true), ("mlp_bias", false)] {
            if let Some(got) = map.flag(key)?
                && got != want
            {
                return Err(unsupported(key, got, &format!("{want} for `qwen2`")));
            }
        }
        if map.flag("use_mrope")? == Some(true) {
            return Err(unsupported("use_mrope", true, "false"));
        }
    }
    Ok(())
}

/// Mistral, and a Qwen2 if it says so, attends to the last `sliding_window` positions. Within the first window that is the same as attending to all, so the
/// context is cut there. transformers' default window is 4096.
fn within_window(
    map: &Object,
    family: Family,
    context: usize,
    notes: &mut Vec<String>,
) -> Result<usize, ModelError> {
    let window = match (family, map.contains("sliding_window")) {
        (Family::Llama | Family::Opt, _) => None,
        // Only some layers have the window, and only if it is switched on.
        (Family::Qwen2, _) if slides(map)? => map.size("sliding_window")?.or(Some(4096)),
        (Family::Qwen2, _) => None,
        (Family::Mistral, true) => map.size("sliding_window")?,
        (Family::Mistral, false) => Some(4096),
    };
    match window {
        Some(window) if window < context => {
            notes.push(format!("context cut from {context} to the sliding window of {window} positions, within which results are equal"));
            Ok(window)
        }
        _ => Ok(context),
    }
}

/// Whether a Qwen2 has layers with a window, in the classic spelling or by transformers 5's list.
fn slides(map: &Object) -> Result<bool, ModelError> {
    let listed = map.raw("layer_types").and_then(|types| types.as_array());
    let any = |types: &Vec<serde_json::Value>| types.iter().any(|kind| kind != "full_attention");
    Ok(map.flag("use_sliding_window")?.unwrap_or(false) || listed.is_some_and(any))
}

fn rope(map: &Object) -> Result<Rope, ModelError> {
    let classic = map.object("rope_scaling")?;
    let current = map.object("rope_parameters")?;
    let top_theta = map.number("rope_theta")?;
    let mut theta = top_theta;
    let mut scaling = None;
    for (section, object) in [("rope_scaling", classic), ("rope_parameters", current)] {
        let Some(object) = object else { continue };
        let (inner_theta, inner_scaling) = rope_section(section, &object)?;
        if let (Some(first), Some(second)) = (theta, inner_theta)
            && first != second
        {
            return Err(conflict(
                "rope_theta",
                first,
                &format!("{section}.rope_theta"),
                second,
            ));
        }
        if let Some(first) = scaling
            && first != inner_scaling
        {
            return Err(conflict(
                "rope_scaling",
                format!("{first:?}"),
                "rope_parameters",
                format!("{inner_scaling:?}"),
            ));
        }
        theta = theta.or(inner_theta);
        scaling = Some(inner_scaling);
    }
    Ok(Rope {
        theta: theta.unwrap_or(10_000.0),
        scaling: scaling.unwrap_or(RopeScaling::None),
        layout: RopeLayout::RotateHalf,
    })
}

fn rope_section(section: &str, object: &Object) -> Result<(Option<f64>, RopeScaling), ModelError> {
    const KNOWN: [&str; 8] = [
        "rope_type",
        "type",
        "rope_theta",
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
        "partial_rotary_factor",
    ];
    let kind = match (object.text("rope_type")?, object.text("type")?) {
        (Some(first), Some(second)) if first != second => {
            return Err(conflict("rope_type", first, "type", second));
        }
        (first, second) => first.or(second).unwrap_or("default"),
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: object.required_number("factor")?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: object.required_number("factor")?,
            low_freq_factor: object.required_number("low_freq_factor")?,
            high_freq_factor: object.required_number("high_freq_factor")?,
            original_context: object.required_size("original_max_position_embeddings")?,
        },
        other => {
            return Err(unsupported(
                &format!("{section}.rope_type"),
                other,
                "`default`, `linear`, `llama3`",
            ));
        }
    };
    if let Some(key) = object.keys().find(|key| !KNOWN.contains(key)) {
        let got = object.raw(key).cloned().unwrap_or_default();
        return Err(unsupported(
            &format!("{section}.{key}"),
            got,
            &KNOWN.join(", "),
        ));
    }
    if let Some(share) = object.number("partial_rotary_factor")?
        && share != 1.0
    {
        return Err(unsupported(
            &format!("{section}.partial_rotary_factor"),
            share,
            "1",
        ));
    }
    Ok((object.number("rope_theta")?, scaling))
}

/// A config as transformers reads it, in the classic spelling.
#[cfg(feature = "native")]
pub(super) fn to_json(
    config: &ModelConfig,
    dtype: crate::Dtype,
) -> Result<serde_json::Value, ModelError> {
    let Some(rope) = &config.rope else {
        return Err(unsupported(
            "rope",
            serde_json::Value::Null,
            "rotary positions",
        ));
    };
    let scaling = match rope.scaling {
        RopeScaling::None => serde_json::Value::Null,
        RopeScaling::Linear { factor } => {
            serde_json::json!({ "rope_type": "linear", "factor": factor })
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_context,
        } => serde_json::json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context,
        }),
    };
    if rope.layout != RopeLayout::RotateHalf {
        return Err(unsupported(
            "rope layout",
            rope.layout.as_str(),
            "`rotate_half` in a Hugging Face checkpoint",
        ));
    }
    // Through the shortest decimal of the f32, so that 1e-5 is written as such and not as the f64 beside it.
    let rms_eps: f64 = config
        .norm_eps
        .to_string()
        .parse()
        .unwrap_or(config.norm_eps.into());
    Ok(serde_json::json!({
        "architectures": [super::architecture(config.family)],
        "model_type": config.family.as_str(),
        "hidden_size": config.hidden,
        "intermediate_size": config.intermediate,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "vocab_size": config.vocab,
        "max_position_embeddings": config.context,
        "sliding_window": null,
        "rms_norm_eps": rms_eps,
        "rope_theta": rope.theta,
        "rope_scaling": scaling,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied_embeddings,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "bos_token_id": config.bos,
        "eos_token_id": config.eos,
        "torch_dtype": super::torch_dtype(dtype),
    }))
}
