//! `config.json` as Hugging Face writes it, in the classic spelling (`rope_theta`, `rope_scaling`) and in that of transformers 5
//! (`rope_parameters`). Missing keys take transformers' defaults; a key that would change the numbers in a way that the engine does
//! not compute is refused by name.
use crate::{Family, ModelConfig, ModelError, Rope, RopeLayout, RopeScaling};
use serde_json::{Map, Value};

/// The largest `config.json` or `generation_config.json` that is read.
pub(crate) const MAX_CONFIG_BYTES: usize = 1 << 20;

/// A parsed config, with what the user should know about how it was read.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub config: ModelConfig,
    pub notes: Vec<String>,
}

/// Reads `config.json` and, for its end-of-sequence ids, `generation_config.json`.
pub(crate) fn parse(
    config_json: &[u8],
    generation_json: Option<&[u8]>,
) -> Result<Parsed, ModelError> {
    let map = Object::parse("`config.json`", config_json)?;
    let generation = generation_json
        .map(|bytes| Object::parse("`generation_config.json`", bytes))
        .transpose()?;
    let mut notes = Vec::new();
    let family = family(&map)?;
    refuse_what_changes_numbers(&map, family)?;

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
    let vocab = map.required_size("vocab_size")?;
    let default_context = if family == Family::Mistral {
        4096 * 32
    } else {
        2048
    };
    let trained_context = map
        .size("max_position_embeddings")?
        .unwrap_or(default_context);
    let context = within_window(&map, family, trained_context, &mut notes)?;

    let mut eos = map.ids("eos_token_id", Some(2), vocab, &mut notes)?;
    if let Some(generation) = &generation {
        eos.extend(generation.ids("eos_token_id", None, vocab, &mut notes)?);
    }
    eos.sort_unstable();
    eos.dedup();

    let config = ModelConfig {
        family,
        hidden,
        intermediate: map.required_size("intermediate_size")?,
        layers: map.required_size("num_hidden_layers")?,
        heads,
        kv_heads,
        head_dim,
        vocab,
        context,
        rms_eps: map.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
        rope: rope(&map)?,
        tied_embeddings: map.flag("tie_word_embeddings")?.unwrap_or(false),
        attention_bias: map.flag("attention_bias")?.unwrap_or(false),
        mlp_bias: map.flag("mlp_bias")?.unwrap_or(false),
        eos,
        bos: map
            .ids("bos_token_id", Some(1), vocab, &mut notes)?
            .first()
            .copied(),
    };
    config.check()?;
    Ok(Parsed { config, notes })
}

fn family(map: &Object) -> Result<Family, ModelError> {
    let (family, architecture) = match map.text("model_type")? {
        None => {
            return Err(ModelError::ConfigMissing {
                key: "model_type".to_owned(),
            });
        }
        Some("llama") => (Family::Llama, "LlamaForCausalLM"),
        Some("mistral") => (Family::Mistral, "MistralForCausalLM"),
        Some(other) => return Err(unsupported("model_type", other, "`llama`, `mistral`")),
    };
    match map.raw("architectures") {
        None => {}
        Some(Value::Array(names)) if names.iter().all(|name| name == architecture) => {}
        Some(other) => {
            return Err(unsupported(
                "architectures",
                other.clone(),
                &format!("[\"{architecture}\"]"),
            ));
        }
    }
    if let Some(Value::Object(auto_map)) = map.raw("auto_map")
        && let Some(code) = auto_map
            .get("AutoModelForCausalLM")
            .or(auto_map.get("AutoModel"))
    {
        return Err(unsupported(
            "auto_map",
            code.clone(),
            "models without code of their own",
        ));
    }
    Ok(family)
}

fn refuse_what_changes_numbers(map: &Object, family: Family) -> Result<(), ModelError> {
    if let Some(act) = map.text("hidden_act")?
        && act != "silu"
    {
        return Err(unsupported("hidden_act", act, "`silu`"));
    }
    if let Some(quantization) = map.raw("quantization_config") {
        let method = quantization.get("quant_method").unwrap_or(quantization);
        return Err(unsupported(
            "quantization_config",
            method.clone(),
            "weights in F32, F16 or BF16",
        ));
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
    Ok(())
}

/// Mistral attends to the last `sliding_window` positions. Within the first window that is the same as attending to all, so the
/// context is cut there. transformers' default window is 4096.
fn within_window(
    map: &Object,
    family: Family,
    context: usize,
    notes: &mut Vec<String>,
) -> Result<usize, ModelError> {
    let window = match (family, map.contains("sliding_window")) {
        (Family::Llama, _) => None,
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
    if let Some(key) = object.map.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        let got = object.map.get(key).cloned().unwrap_or_default();
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
pub(crate) fn to_json(config: &ModelConfig, dtype: crate::Dtype) -> Result<String, ModelError> {
    let scaling = match config.rope.scaling {
        RopeScaling::None => Value::Null,
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
    if config.rope.layout != RopeLayout::RotateHalf {
        return Err(unsupported(
            "rope layout",
            config.rope.layout.as_str(),
            "`rotate_half` in a Hugging Face checkpoint",
        ));
    }
    let architecture = match config.family {
        Family::Llama => "LlamaForCausalLM",
        Family::Mistral => "MistralForCausalLM",
    };
    // Through the shortest decimal of the f32, so that 1e-5 is written as such and not as the f64 beside it.
    let rms_eps: f64 = config
        .rms_eps
        .to_string()
        .parse()
        .unwrap_or(config.rms_eps.into());
    let json = serde_json::json!({
        "architectures": [architecture],
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
        "rope_theta": config.rope.theta,
        "rope_scaling": scaling,
        "hidden_act": "silu",
        "tie_word_embeddings": config.tied_embeddings,
        "attention_bias": config.attention_bias,
        "mlp_bias": config.mlp_bias,
        "bos_token_id": config.bos,
        "eos_token_id": config.eos,
        "torch_dtype": torch_dtype(dtype),
    });
    serde_json::to_string_pretty(&json).map_err(|source| ModelError::Json {
        file: "`config.json`",
        source,
    })
}

#[cfg(feature = "native")]
fn torch_dtype(dtype: crate::Dtype) -> &'static str {
    match dtype {
        crate::Dtype::F32 => "float32",
        crate::Dtype::F16 => "float16",
        crate::Dtype::BF16 => "bfloat16",
    }
}

/// A JSON object whose keys are read by type; `null` counts as absent, as it does in Python's `config.key or default`.
struct Object {
    map: Map<String, Value>,
}

impl Object {
    fn parse(file: &'static str, bytes: &[u8]) -> Result<Self, ModelError> {
        if bytes.len() > MAX_CONFIG_BYTES {
            let path = file.trim_matches('`').into();
            return Err(ModelError::FileTooLarge {
                got: bytes.len() as u64,
                most: MAX_CONFIG_BYTES as u64,
                path,
            });
        }
        let map =
            serde_json::from_slice(bytes).map_err(|source| ModelError::Json { file, source })?;
        Ok(Self { map })
    }

    fn contains(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    fn raw(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        want: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.raw(key) else {
            return Ok(None);
        };
        read(value)
            .map(Some)
            .ok_or_else(|| ModelError::ConfigValue {
                key: key.to_owned(),
                got: shortened(value),
                want: want.to_owned(),
            })
    }

    fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.typed(key, "a whole number", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })
    }

    fn required_size(&self, key: &str) -> Result<usize, ModelError> {
        self.size(key)?.ok_or_else(|| ModelError::ConfigMissing {
            key: key.to_owned(),
        })
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.typed(key, "a number", Value::as_f64)
    }

    fn required_number(&self, key: &str) -> Result<f64, ModelError> {
        self.number(key)?.ok_or_else(|| ModelError::ConfigMissing {
            key: key.to_owned(),
        })
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.typed(key, "a string", Value::as_str)
    }

    fn object(&self, key: &str) -> Result<Option<Self>, ModelError> {
        let map = self.typed(key, "an object", Value::as_object)?;
        Ok(map.map(|map| Self { map: map.clone() }))
    }

    /// One id or a list of them. An id that the model cannot emit is left out with a note; `default` stands for an absent key
    /// (not for `null`), if the model can emit it.
    fn ids(
        &self,
        key: &str,
        default: Option<u32>,
        vocab: usize,
        notes: &mut Vec<String>,
    ) -> Result<Vec<u32>, ModelError> {
        if !self.contains(key) {
            return Ok(default
                .into_iter()
                .filter(|id| (*id as usize) < vocab)
                .collect());
        }
        let list = |value: &Value| match value {
            Value::Array(items) => items
                .iter()
                .map(Value::as_i64)
                .collect::<Option<Vec<i64>>>(),
            one => one.as_i64().map(|id| vec![id]),
        };
        let mut ids = Vec::new();
        for id in self
            .typed(key, "an id or a list of ids", list)?
            .unwrap_or_default()
        {
            match u32::try_from(id) {
                Ok(id) if (id as usize) < vocab => ids.push(id),
                _ => notes.push(format!(
                    "`{key}` {id} is outside the vocabulary of {vocab} and was left out"
                )),
            }
        }
        Ok(ids)
    }
}

/// A value as an error shows it: never longer than a line.
fn shortened(value: &Value) -> String {
    const MOST_CHARS: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn unsupported(key: &str, got: impl Into<Value>, supported: &str) -> ModelError {
    ModelError::Unsupported {
        key: key.to_owned(),
        got: shortened(&got.into()),
        supported: supported.to_owned(),
    }
}

fn conflict(
    first: &str,
    first_value: impl ToString,
    second: &str,
    second_value: impl ToString,
) -> ModelError {
    ModelError::ConfigConflict {
        first: first.to_owned(),
        first_value: first_value.to_string(),
        second: second.to_owned(),
        second_value: second_value.to_string(),
    }
}

#[cfg(test)]
#[path = "config_json_tests.rs"]
mod tests;
