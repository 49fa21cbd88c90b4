//! Random checkpoints of any shape, in memory.

use assay_model::Model;
use assay_model::quantize::{Target, write_folder, write_gguf};
use std::sync::Arc;

/// A random checkpoint in Hugging Face layout from a config and a seed, weights in bf16.
pub fn model(config: &serde_json::Value, seed: u64) -> Model {
    stored_as(config, seed, safetensors::Dtype::BF16)
}

/// The same with weights of another stored type: `F32`, `F16` or `BF16`.
pub fn stored_as(config: &serde_json::Value, seed: u64, dtype: safetensors::Dtype) -> Model {
    let tensors = match config["model_type"].as_str() {
        Some("opt") => of_opt(config),
        _ => of_llama(config),
    };
    filled(config, tensors, seed, dtype)
}

/// A quantised copy of [`model`], in memory.
///
/// # Errors
/// Of a shape that the type's blocks or groups do not fit, or a family that it has no checkpoints of.
pub fn quantised(
    config: &serde_json::Value,
    seed: u64,
    target: Target,
) -> Result<Model, assay_model::ModelError> {
    let original = model(config, seed);
    let mut quiet = |_, _| {};
    if matches!(target, Target::Q8_0 | Target::Q4_0) {
        let mut file = Vec::new();
        write_gguf(&original, target, None, &mut file, &mut quiet)?;
        return Model::from_gguf(Arc::new(file));
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("copy");
    write_folder(&original, target, &path, &[], &mut quiet)?;
    let read = |name: &str| std::fs::read(path.join(name)).expect("it was written");
    let weights: Arc<Vec<u8>> = Arc::new(read("model.safetensors"));
    Model::from_memory(&read("config.json"), None, vec![weights], None)
}

type Shapes = Vec<(String, Vec<usize>)>;

fn of_llama(config: &serde_json::Value) -> Shapes {
    let get = |key: &str| config[key].as_u64().map(|v| v as usize);
    let (h, i, layers) = (
        get("hidden_size").unwrap(),
        get("intermediate_size").unwrap(),
        get("num_hidden_layers").unwrap(),
    );
    let (heads, kv) = (
        get("num_attention_heads").unwrap(),
        get("num_key_value_heads").unwrap(),
    );
    let (d, vocab) = (get("head_dim").unwrap(), get("vocab_size").unwrap());
    let flag = |key: &str| config[key].as_bool().unwrap_or(false);
    let mut tensors: Shapes = vec![
        ("model.embed_tokens.weight".into(), vec![vocab, h]),
        ("model.norm.weight".into(), vec![h]),
    ];
    if !flag("tie_word_embeddings") {
        tensors.push(("lm_head.weight".into(), vec![vocab, h]));
    }
    for l in 0..layers {
        let name = |part: &str| format!("model.layers.{l}.{part}");
        let mut linear = |part: &str, n: usize, k: usize, bias: bool| {
            tensors.push((name(&format!("{part}.weight")), vec![n, k]));
            if bias {
                tensors.push((name(&format!("{part}.bias")), vec![n]));
            }
        };
        for (part, n, k) in [
            ("q_proj", heads * d, h),
            ("k_proj", kv * d, h),
            ("v_proj", kv * d, h),
            ("o_proj", h, heads * d),
        ] {
            linear(&format!("self_attn.{part}"), n, k, flag("attention_bias"));
        }
        for (part, n, k) in [("gate_proj", i, h), ("up_proj", i, h), ("down_proj", h, i)] {
            linear(&format!("mlp.{part}"), n, k, flag("mlp_bias"));
        }
        tensors.push((name("input_layernorm.weight"), vec![h]));
        tensors.push((name("post_attention_layernorm.weight"), vec![h]));
    }
    tensors
}

fn of_opt(config: &serde_json::Value) -> Shapes {
    let get = |key: &str| config[key].as_u64().expect("a size") as usize;
    let (h, f, vocab) = (get("hidden_size"), get("ffn_dim"), get("vocab_size"));
    let positions = get("max_position_embeddings") + 2;
    let biased = config["enable_bias"].as_bool().unwrap_or(true);
    let name = |part: &str| format!("model.decoder.{part}");
    let mut tensors = vec![
        (name("embed_tokens.weight"), vec![vocab, h]),
        (name("embed_positions.weight"), vec![positions, h]),
        (name("final_layer_norm.weight"), vec![h]),
        (name("final_layer_norm.bias"), vec![h]),
    ];
    if config["tie_word_embeddings"].as_bool() == Some(false) {
        tensors.push(("lm_head.weight".to_owned(), vec![vocab, h]));
    }
    for l in 0..get("num_hidden_layers") {
        let name = |part: &str| format!("model.decoder.layers.{l}.{part}");
        for (part, n, k) in [
            ("self_attn.q_proj", h, h),
            ("self_attn.k_proj", h, h),
            ("self_attn.v_proj", h, h),
            ("self_attn.out_proj", h, h),
            ("fc1", f, h),
            ("fc2", h, f),
        ] {
            tensors.push((name(&format!("{part}.weight")), vec![n, k]));
            if biased {
                tensors.push((name(&format!("{part}.bias")), vec![n]));
            }
        }
        for norm in ["self_attn_layer_norm", "final_layer_norm"] {
            tensors.push((name(&format!("{norm}.weight")), vec![h]));
            tensors.push((name(&format!("{norm}.bias")), vec![h]));
        }
    }
    tensors
}

fn filled(
    config: &serde_json::Value,
    tensors: Shapes,
    seed: u64,
    dtype: safetensors::Dtype,
) -> Model {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape)| {
            let scale = if shape.len() == 2 {
                (3.0 / shape[1] as f32).sqrt()
            } else {
                0.3
            };
            let is_scale = name.contains("norm") && name.ends_with("weight");
            let centre = if is_scale { 1.0 } else { 0.0 };
            let bytes = (0..shape.iter().product::<usize>())
                .flat_map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let v = (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
                    encoded(dtype, centre + scale * v)
                })
                .collect();
            (name, shape, bytes)
        })
        .collect();
    let views: Vec<(&str, safetensors::tensor::TensorView<'_>)> = data
        .iter()
        .map(|(name, shape, bytes)| {
            let view = safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes);
            (name.as_str(), view.expect("the view fits"))
        })
        .collect();
    let file = safetensors::serialize(views, None).expect("it serialises");
    let config = serde_json::to_vec(config).expect("it serialises");
    Model::from_memory(&config, None, vec![Arc::new(file)], None).expect("the random model loads")
}

fn encoded(dtype: safetensors::Dtype, value: f32) -> Vec<u8> {
    match dtype {
        safetensors::Dtype::F32 => value.to_le_bytes().to_vec(),
        safetensors::Dtype::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
        safetensors::Dtype::BF16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
        other => panic!("no writer for {other:?}"),
    }
}
