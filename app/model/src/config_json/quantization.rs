//! `quantization_config`: which of the known ways matrices are quantised in. Whatever is not known exactly is refused by name.
use super::object::{Object, unsupported};
use crate::ModelError;
use serde_json::Value;

/// A way of quantising the matrices of layers; which of them are is told by the tensors that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quantization {
    /// GPTQ's tensors with 4 bits, groups of `group` columns (0: of the whole row), zeros stored less `offset`.
    Gptq { group: usize, offset: u8 },
    /// AWQ's tensors for GEMM kernels with 4 bits.
    Awq { group: usize },
    /// compressed-tensors' `int-quantized` with 8 bits: `weight` i8 and `weight_scale`.
    Int8,
}

pub(super) fn read(map: &Object) -> Result<Option<Quantization>, ModelError> {
    let Some(config) = map.object("quantization_config")? else {
        return Ok(None);
    };
    const METHODS: &str = "`gptq`, `awq`, `compressed-tensors` (`int-quantized`, 8 bits)";
    let Some(method) = config.text("quant_method")? else {
        let whole = map.raw("quantization_config").cloned();
        return Err(unsupported("quantization_config", whole, METHODS));
    };
    match method {
        "gptq" => gptq(&config),
        "awq" => awq(&config),
        "compressed-tensors" => int8(&config),
        other => Err(refused("quant_method", other, METHODS)),
    }
    .map(Some)
}

fn refused(key: &str, got: impl Into<Value>, supported: &str) -> ModelError {
    unsupported(&format!("quantization_config.{key}"), got, supported)
}

fn four_bits(config: &Object) -> Result<usize, ModelError> {
    match config.size("bits")? {
        Some(4) => {}
        bits => return Err(refused("bits", bits, "4")),
    }
    if config.flag("lm_head")? == Some(true) {
        return Err(refused("lm_head", true, "false"));
    }
    match config.number("group_size")? {
        Some(-1.0) => Ok(0),
        Some(group) if (8.0..=65_536.0).contains(&group) && group % 8.0 == 0.0 => {
            Ok(group as usize)
        }
        group => Err(refused("group_size", group, "-1, or a multiple of 8")),
    }
}

fn gptq(config: &Object) -> Result<Quantization, ModelError> {
    let group = four_bits(config)?;
    let offset = match config.text("checkpoint_format")? {
        // Zeros are stored less one, as AutoGPTQ writes them.
        None | Some("gptq") => 1,
        Some("gptq_v2") => 0,
        Some(other) => return Err(refused("checkpoint_format", other, "`gptq`, `gptq_v2`")),
    };
    if config.flag("is_marlin_format")? == Some(true) {
        return Err(refused("is_marlin_format", true, "false"));
    }
    Ok(Quantization::Gptq { group, offset })
}

fn awq(config: &Object) -> Result<Quantization, ModelError> {
    let group = four_bits(config)?;
    let version = config.text("version")?.unwrap_or("gemm");
    if !version.eq_ignore_ascii_case("gemm") {
        return Err(refused("version", version, "`gemm`"));
    }
    if config.flag("zero_point")? == Some(false) {
        return Err(refused("zero_point", false, "true"));
    }
    Ok(Quantization::Awq { group })
}

fn int8(config: &Object) -> Result<Quantization, ModelError> {
    match config.text("format")? {
        Some("int-quantized") => {}
        other => return Err(refused("format", other, "`int-quantized`")),
    }
    for key in ["kv_cache_scheme", "sparsity_config"] {
        let harmless = |value: &Value| value.as_object().is_some_and(serde_json::Map::is_empty);
        if let Some(scheme) = config.raw(key)
            && !harmless(scheme)
        {
            return Err(refused(key, scheme.clone(), "none"));
        }
    }
    let Some(groups) = config.object("config_groups")? else {
        return Err(refused(
            "config_groups",
            Value::Null,
            "one group of weights",
        ));
    };
    let names: Vec<&str> = groups.keys().collect();
    for name in names {
        let Some(group) = groups.object(name)? else {
            continue;
        };
        for key in ["input_activations", "output_activations"] {
            if let Some(scheme) = group.raw(key) {
                return Err(refused(key, scheme.clone(), "none: activations are floats"));
            }
        }
        let Some(weights) = group.object("weights")? else {
            return Err(refused("weights", Value::Null, "8-bit integers"));
        };
        let is = (
            weights.size("num_bits")?,
            weights.text("type")?,
            weights.flag("symmetric")?,
            weights.flag("dynamic")?.unwrap_or(false),
        );
        if is != (Some(8), Some("int"), Some(true), false) {
            return Err(refused(
                "weights",
                format!("{is:?}"),
                "8 bits, `int`, symmetric, not dynamic",
            ));
        }
        match weights.text("strategy")? {
            Some("channel" | "group" | "tensor") => {}
            other => return Err(refused("strategy", other, "`channel`, `group`")),
        }
    }
    Ok(Quantization::Int8)
}
