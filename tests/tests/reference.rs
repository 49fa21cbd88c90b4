//! The engine against Hugging Face transformers and against float64 continuations of trained models.

use assay_engine::forward::final_norm;
use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Engine, EngineError, Gpu, GpuOptions, Numerics, Quiet, Want};
use assay_model::Model;
use assay_prove::{Request, generate};
use assay_tests::data::{Tensors, shared};
use assay_tests::{adapters, plain, random};

/// The reference itself agrees with float64 to 2e-6, and a wrong RMS epsilon moves logits by 1.5e-4.
const LIMIT: f64 = 2e-5;

fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "shapes agree");
    let squares = |f: &dyn Fn(usize) -> f64| (0..want.len()).map(|i| f(i).powi(2)).sum::<f64>();
    let difference = squares(&|i| f64::from(got[i]) - f64::from(want[i]));
    (difference / squares(&|i| f64::from(want[i]))).sqrt()
}

/// Hidden states of all layers (the last one after the final norm, as transformers has it) and logits.
fn forward(
    device: &Device,
    model: &Model,
    ids: &[u32],
    numerics: Numerics,
) -> (Vec<Vec<f32>>, Vec<f32>) {
    let mut engine =
        pollster::block_on(Engine::load(device, model, ids.len(), numerics, &mut Quiet))
            .expect("the model loads");
    let want = Want {
        logits_from: Some(0),
        ..Want::all_states(model.config())
    };
    let mut states = vec![Vec::new(); model.config().layers + 1];
    let mut logits = Vec::new();
    let mut quiet = Quiet;
    let run = engine.prefill(
        ids,
        &want,
        &mut quiet,
        |outputs| -> Result<(), EngineError> {
            for (all, chunk) in states.iter_mut().zip(&outputs.states) {
                all.extend_from_slice(chunk);
            }
            logits.extend_from_slice(&outputs.logits);
            Ok(())
        },
    );
    pollster::block_on(run).expect("the model runs");
    let last = states.last_mut().expect("there are states");
    *last = final_norm(model, last).expect("there is a final norm");
    (states, logits)
}

fn check_case(name: &str, device_name: &str, device: &Device) {
    let Some(folder) = shared(&format!("hf-reference/{name}")) else {
        return;
    };
    let model = Model::open(&folder).expect("the case loads");
    let reference = Tensors::open(&folder.join("reference.safetensors"));
    let ids = reference.ids("input_ids");
    let (states, logits) = forward(device, &model, &ids, Numerics::Fast);
    let (shape, want) = reference.f32("hidden_states");
    let layer = shape[1] * shape[2];
    for (l, got) in states.iter().enumerate() {
        let error = distance(got, &want[l * layer..(l + 1) * layer]);
        assert!(
            error <= LIMIT,
            "{name} on {device_name}: layer {l} is {error:e} off"
        );
    }
    let error = distance(&logits, &reference.f32("logits").1);
    assert!(
        error <= LIMIT,
        "{name} on {device_name}: logits are {error:e} off"
    );
    println!("{name} on {device_name}: logits {error:.2e}");

    let want = reference.ids("greedy_ids");
    let got = greedy(device, &model, &ids[..16], want.len());
    assert_eq!(got, want, "{name} on {device_name}: greedy ids");
}

fn greedy(device: &Device, model: &Model, prompt: &[u32], count: usize) -> Vec<u32> {
    let request = Request {
        prompt: prompt.to_vec(),
        max_tokens: count,
        sampler: SamplerSpec::Greedy,
        ignore_eos: true,
        nonce: None,
        opened: None,
        audit: None,
    };
    let capacity = request.capacity(model.config());
    let mut engine = pollster::block_on(Engine::load(
        device,
        model,
        capacity,
        Numerics::Fast,
        &mut Quiet,
    ))
    .expect("loads");
    pollster::block_on(generate(&mut engine, model, &request, &mut Quiet))
        .expect("generates")
        .0
}

fn on_every_device(name: &str) {
    for (device_name, device) in adapters::devices() {
        check_case(name, &device_name, &device);
    }
}

#[test]
fn llama_mha_f32() {
    on_every_device("llama-mha-f32");
}

#[test]
fn llama3_gqa_bf16() {
    on_every_device("llama3-gqa-bf16");
}

#[test]
fn llama_odd_shapes_f16_sharded() {
    on_every_device("llama-odd-shapes-f16");
}

#[test]
fn qwen2_bias_bf16() {
    on_every_device("qwen2-bias-bf16");
}

#[test]
fn llama_gptq_and_awq_int4() {
    on_every_device("llama-gptq-int4");
    on_every_device("llama-awq-int4");
}

#[test]
fn mistral_bf16() {
    on_every_device("mistral-bf16");
}

#[test]
fn opt_f32() {
    on_every_device("opt-f32");
}

/// The trained models continue their prompts as float64 does.
#[test]
fn trained_models_continue_greedily() {
    let Some(path) = shared("expected/greedy.json") else {
        return;
    };
    let expected: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).expect("reads")).expect("parses");
    for (key, file) in [
        ("stories260K", "stories260K/stories260K.bin"),
        ("TinyStories-656K", "tinystories-656k"),
    ] {
        let Some(path) = shared(file) else { continue };
        let model = Model::open(&path).expect("the model loads");
        let cases = find_cases(&expected, key);
        assert!(!cases.is_empty(), "{key} has cases");
        for (device_name, device) in adapters::devices() {
            for (prompt, want) in &cases {
                let got = greedy(&device, &model, prompt, want.len());
                assert_eq!(&got, want, "{key} on {device_name}");
            }
        }
    }
}

/// (prompt ids, continuation) pairs of one model.
fn find_cases(expected: &serde_json::Value, key: &str) -> Vec<(Vec<u32>, Vec<u32>)> {
    let ids = |v: &serde_json::Value| -> Vec<u32> {
        v.as_array()
            .expect("ids")
            .iter()
            .map(|i| i.as_u64().expect("an id") as u32)
            .collect()
    };
    let cases = expected[key].as_array().expect("cases");
    cases
        .iter()
        .map(|c| (ids(&c["prompt_ids"]), ids(&c["greedy_ids"])))
        .collect()
}

/// Splitting a matrix over bindings, chunking the prompt and decoding token by token change nothing:
/// under strict numerics not one bit, on any device.
#[test]
fn shards_chunks_and_decoding_give_the_same_bits() {
    let model = Model::demo().expect("the demo model");
    let ids: Vec<u32> = (0..150u32).map(|i| (i * 37 + 11) % 2048).collect();
    let whole = forward(&Device::Cpu, &model, &ids, Numerics::Strict);
    for adapter in adapters::all() {
        let options = GpuOptions {
            adapter: Some(adapter.name.clone()),
            max_binding: Some(400_000),
            // So short that the prompt is cut into many chunks, layers into many submits, and logits into many blocks.
            submit: Some(std::time::Duration::from_micros(200)),
            ..GpuOptions::default()
        };
        let gpu = pollster::block_on(Gpu::open(&options)).expect("opens");
        let device = Device::Gpu(std::sync::Arc::new(gpu));
        let split = forward(&device, &model, &ids, Numerics::Strict);
        assert!(
            whole == split,
            "sharded {} differs from the CPU twins",
            adapter.name
        );

        let mut engine = pollster::block_on(Engine::load(
            &device,
            &model,
            ids.len(),
            Numerics::Strict,
            &mut Quiet,
        ))
        .expect("loads");
        let want = Want {
            states: vec![8],
            logits_from: Some(0),
            ..Want::default()
        };
        let mut logits = Vec::new();
        for id in &ids[..70] {
            logits.extend(
                pollster::block_on(engine.run(&[*id], &want, &mut Quiet))
                    .expect("runs")
                    .logits,
            );
        }
        assert!(
            logits[..] == whole.1[..logits.len()],
            "decoding on {} differs from prefill",
            adapter.name
        );
    }
}

/// Options and shapes that no reference file has, against float64: biases, linear and llama3 scaling, odd
/// head sizes, wide heads, one head, tied and untied.
#[test]
fn options_without_a_reference_file_agree_with_float64() {
    let base = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512, "rope_theta": 10000.0, "vocab_size": 97, "num_hidden_layers": 3,
        "hidden_size": 36, "intermediate_size": 50, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 10,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    });
    let llama3 = serde_json::json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64});
    let cases = [
        serde_json::json!({}),
        serde_json::json!({"attention_bias": true}),
        serde_json::json!({"mlp_bias": true, "attention_bias": true, "tie_word_embeddings": true}),
        serde_json::json!({"rope_scaling": {"rope_type": "linear", "factor": 2.5}}),
        serde_json::json!({"rope_scaling": llama3, "rope_theta": 500000.0, "head_dim": 32}),
        serde_json::json!({"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 160, "hidden_size": 45}),
        serde_json::json!({"num_attention_heads": 6, "num_key_value_heads": 6, "head_dim": 2, "intermediate_size": 301}),
        serde_json::json!({"rms_norm_eps": 1e-2, "hidden_size": 300, "intermediate_size": 700}),
    ];
    let opt = serde_json::json!({
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "activation_function": "relu", "max_position_embeddings": 100,
        "vocab_size": 97, "num_hidden_layers": 3, "hidden_size": 36, "ffn_dim": 50, "num_attention_heads": 3,
        "word_embed_proj_dim": 36, "tie_word_embeddings": true, "torch_dtype": "bfloat16"
    });
    let of_opt = [
        serde_json::json!({}),
        serde_json::json!({"tie_word_embeddings": false, "ffn_dim": 701}),
        serde_json::json!({"enable_bias": false, "hidden_size": 300, "word_embed_proj_dim": 300, "num_attention_heads": 6}),
    ];
    let ids: Vec<u32> = (0..90u32).map(|i| (i * i + 3 * i) % 97).collect();
    let llamas = cases.into_iter().map(|case| (&base, case));
    let opts = of_opt.into_iter().map(|case| (&opt, case));
    for (seed, (base, case)) in (1u64..).zip(llamas.chain(opts)) {
        let mut config = base.clone();
        for (key, value) in case.as_object().expect("an object") {
            config[key] = value.clone();
        }
        let model = random::model(&config, seed);
        let (want_states, want_logits) = plain::forward(&model, &ids);
        for (name, device) in adapters::devices() {
            let (states, logits) = forward(&device, &model, &ids, Numerics::Fast);
            let to_f32 = |v: &[f64]| v.iter().map(|x| *x as f32).collect::<Vec<_>>();
            // The oracle's last state is before the final norm, the engine's helper gives it after.
            for l in 0..model.config().layers {
                let error = distance(&states[l], &to_f32(&want_states[l]));
                assert!(
                    error <= LIMIT,
                    "case {seed} on {name}: layer {l} is {error:e} off: {case}"
                );
            }
            let error = distance(&logits, &to_f32(&want_logits));
            assert!(
                error <= LIMIT,
                "case {seed} on {name}: logits are {error:e} off: {case}"
            );
        }
    }
}

/// The oracle itself agrees with transformers.
#[test]
fn the_float64_oracle_agrees_with_transformers() {
    for name in [
        "llama-mha-f32",
        "llama3-gqa-bf16",
        "llama-odd-shapes-f16",
        "mistral-bf16",
        "opt-f32",
    ] {
        let Some(folder) = shared(&format!("hf-reference/{name}")) else {
            continue;
        };
        let model = Model::open(&folder).expect("the case loads");
        let reference = Tensors::open(&folder.join("reference.safetensors"));
        let (_, logits) = plain::forward(&model, &reference.ids("input_ids"));
        let logits: Vec<f32> = logits.iter().map(|v| *v as f32).collect();
        let error = distance(&logits, &reference.f32("logits").1);
        assert!(error <= 4e-6, "{name}: {error:e}");
    }
}
