//! `config.json` as Hugging Face writes it. Missing keys take transformers' defaults; a key that would change the numbers in a way
//! that the engine does not compute is refused by name.
mod llama;
mod object;
mod opt;
mod quantization;

use crate::{Family, ModelConfig, ModelError};
use object::{Object, unsupported};
pub(crate) use quantization::Quantization;
use serde_json::Value;

/// The largest `config.json` or `generation_config.json` that is read.
pub(crate) const MAX_CONFIG_BYTES: usize = 1 << 20;

/// A parsed config, with what the user should know about how it was read.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub config: ModelConfig,
    pub notes: Vec<String>,
    /// How some matrices are quantised.
    pub quantization: Option<Quantization>,
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
    refuse_foreign_code(&map)?;
    let quantization = quantization::read(&map)?;
    let mut config = match family {
        Family::Llama | Family::Mistral | Family::Qwen2 => llama::read(&map, family, &mut notes)?,
        Family::Opt => opt::read(&map)?,
    };
    let (default_bos, default_eos) = match family {
        Family::Llama | Family::Mistral => (Some(1), Some(2)),
        Family::Opt => (Some(2), Some(2)),
        Family::Qwen2 => (None, None),
    };
    let vocab = config.vocab;
    config.eos = map.ids("eos_token_id", default_eos, vocab, &mut notes)?;
    if let Some(generation) = &generation {
        let more = generation.ids("eos_token_id", None, vocab, &mut notes)?;
        config.eos.extend(more);
    }
    config.eos.sort_unstable();
    config.eos.dedup();
    let bos = map.ids("bos_token_id", default_bos, vocab, &mut notes)?;
    config.bos = bos.first().copied();
    config.check()?;
    Ok(Parsed {
        config,
        notes,
        quantization,
    })
}

fn family(map: &Object) -> Result<Family, ModelError> {
    let family = match map.text("model_type")? {
        None => {
            return Err(ModelError::ConfigMissing {
                key: "model_type".to_owned(),
            });
        }
        Some("llama") => Family::Llama,
        Some("mistral") => Family::Mistral,
        Some("qwen2") => Family::Qwen2,
        Some("opt") => Family::Opt,
        Some(other) => {
            let supported = "`llama`, `mistral`, `qwen2`, `opt`";
            return Err(unsupported("model_type", other, supported));
        }
    };
    let architecture = architecture(family);
    match map.raw("architectures") {
        None => Ok(family),
        Some(Value::Array(names)) if names.iter().all(|name| name == architecture) => Ok(family),
        Some(other) => Err(unsupported(
            "architectures",
            other.clone(),
            &format!("[\"{architecture}\"]"),
        )),
    }
}

fn architecture(family: Family) -> &'static str {
    match family {
        Family::Llama => "LlamaForCausalLM",
        Family::Mistral => "MistralForCausalLM",
        Family::Qwen2 => "Qwen2ForCausalLM",
        Family::Opt => "OPTForCausalLM",
    }
}

fn refuse_foreign_code(map: &Object) -> Result<(), ModelError> {
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
    Ok(())
}

/// A config as transformers reads it.
#[cfg(feature = "native")]
pub(crate) fn to_json(config: &ModelConfig, dtype: crate::Dtype) -> Result<String, ModelError> {
    let json = match config.family {
        Family::Llama | Family::Mistral | Family::Qwen2 => llama::to_json(config, dtype)?,
        Family::Opt => opt::to_json(config, dtype)?,
    };
    serde_json::to_string_pretty(&json).map_err(|source| ModelError::Json {
        file: "`config.json`",
        source,
    })
}

#[cfg(feature = "native")]
fn torch_dtype(dtype: crate::Dtype) -> &'static str {
    match dtype {
        crate::Dtype::F16 => "float16",
        crate::Dtype::BF16 => "bfloat16",
        _ => "float32",
    }
}

#[cfg(test)]
#[path = "config_json_tests.rs"]
mod tests;
