//! Whatever kernels an adapter takes, strict numerics give the same bits; and whatever its speed, no dispatch takes longer than it may.

use std::sync::Arc;
use std::time::Duration;

use assay_engine::forward::GpuForward;
use assay_engine::gpu::{Candidates, Choice, Fused, HEADLESS_SUBMIT, Tuning, budget};
use assay_engine::selftest::Warming;
use assay_engine::{
    ActivationType, AdapterInfo, Device, Engine, Gpu, GpuOptions, Numerics, Quiet, Want,
};
use assay_model::{Dtype, Model, synth};
use assay_tests::bits::forward;
use assay_tests::{adapters, random};
use serde_json::json;

/// Everything that `assay tune` may choose here, each thing at least once; as few choices as that takes, since each device compiles anew.
fn choices(info: &AdapterInfo) -> Vec<Choice> {
    let candidates = Candidates::of(info);
    let fused = [(true, true), (false, false), (true, false), (false, true)];
    let fused = fused.map(|(qkv, gated)| Fused { qkv, gated });
    let most = candidates.matmul.len().max(candidates.single.len());
    (0..most.max(fused.len()))
        .map(|i| Choice {
            matmul: candidates.matmul[i % candidates.matmul.len()],
            single: candidates.single[i % candidates.single.len()],
            attention: candidates.attention[i % candidates.attention.len()],
            fused: fused[i % 4],
            fused_single: fused[i % 4],
            ..Choice::of(info)
        })
        .collect()
}

#[test]
fn whatever_is_chosen_has_the_same_bits() {
    // Rows that no vector load divides.
    have_the_same_bits(&random_llama(261, 301, false), |_| true);
}

/// Rows of whole texels: weights lie in textures where kernels read such, and the table is also the head.
#[test]
fn weights_in_textures_give_the_same_bits() {
    let with_texels = |choice: &Choice| choice.matmul.is_texels() || choice.single.is_texels();
    have_the_same_bits(&random_llama(264, 304, true), with_texels);
}

fn random_llama(hidden: usize, wide: usize, is_tied: bool) -> Model {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128, "rope_theta": 10000.0, "vocab_size": 97, "num_hidden_layers": 1, "attention_bias": true,
        "mlp_bias": true, "hidden_size": hidden, "intermediate_size": wide, "num_attention_heads": 4, "num_key_value_heads": 2,
        "head_dim": 12, "tie_word_embeddings": is_tied, "torch_dtype": "bfloat16"
    });
    random::model(&config, 3)
}

/// Runs `model` with every choice that `takes_part`.
fn have_the_same_bits(model: &Model, takes_part: impl Fn(&Choice) -> bool) {
    let ids: Vec<u32> = (0..70).map(|i| (i * i + 5) % 97).collect();
    let wanted = forward(&Device::Cpu, model, &ids, None).expect("the twins run");
    for info in adapters::all() {
        let choices = choices(info);
        assert!(choices.len() >= 4, "{}: {}", info.name, choices.len());
        for choice in choices.into_iter().filter(&takes_part) {
            let options = GpuOptions {
                adapter: Some(format!("{} {}", info.name, info.backend)),
                tunings: vec![Tuning::new(info, choice)],
                ..GpuOptions::default()
            };
            let gpu = pollster::block_on(Gpu::open(&options)).expect("it opens");
            assert_eq!(Choice::of(&gpu.info), choice, "{}", info.name);
            let device = Device::Gpu(Arc::new(gpu));
            for sizes in [None, Some(&[1][..])] {
                let n = if sizes.is_none() { 70 } else { 5 };
                let got = forward(&device, model, &ids[..n], sizes).expect("it runs");
                assert!(got.begin(&wanted), "{choice:?} on {}", info.name);
            }
        }
    }
}

/// Longest that one dispatch may take, with room above what a submit aims at.
const LONGEST: Duration = Duration::from_millis(500);

/// From the plan: its largest dispatch over the device's speed, over a prompt of 4096 tokens of Llama-3.2-1B's shape. One layer stands for
/// all, which are alike.
#[test]
fn no_dispatch_of_a_prefill_takes_longer_than_it_may() {
    let Some(info) = adapters::all().first() else {
        println!("skipped: this machine has no adapter");
        return;
    };
    let mut config = synth::Shape::named("llama-3.2-1b")
        .expect("the shape")
        .config;
    let (vocab, hidden, wide) = (
        config.vocab as u64,
        config.hidden as u64,
        config.intermediate as u64,
    );
    config.layers = 1;
    config.vocab = 256;
    config.bos = Some(0);
    config.eos = vec![1];
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("layer");
    let shape = synth::Shape::custom("layer", config).expect("the shape");
    synth::write(&shape, Dtype::BF16, 1, &path).expect("it is written");
    let model = Model::open(&path).expect("it opens");
    let options = GpuOptions {
        adapter: Some(format!("{} {}", info.name, info.backend)),
        ..GpuOptions::default()
    };
    let gpu = Arc::new(pollster::block_on(Gpu::open(&options)).expect("it opens"));
    let mut quiet = Quiet;
    let load = GpuForward::load(
        gpu,
        &model,
        4096,
        Numerics::Fast,
        None,
        ActivationType::Float,
        &mut quiet,
    );
    let plan = pollster::block_on(load).expect("it loads");

    // Gate and up share a dispatch, where that is no slower; logits come by shards of what WebGPU lets every device bind.
    let both = 1 + u64::from(info.variants.fused_single.gated);
    assert_eq!(plan.largest_dispatch(1, 0), both * wide * hidden);
    assert_eq!(plan.largest_of_logits(), 256 * hidden);
    let shard = ((128 << 20) / (2 * hidden)).min(vocab) * hidden;
    let one_row = plan.largest_dispatch(1, 4095).max(shard);
    // The slowest device that the promise holds for, and others up to a large GPU.
    let slowest = one_row as f64 / LONGEST.as_secs_f64();
    assert!((1e8..2e8).contains(&slowest), "{slowest:e}");
    for rate in [slowest, 5e8, 2e9, 1e10, 1e11, 1e13] {
        let budget = budget(rate, HEADLESS_SUBMIT.as_secs_f64());
        let (mut pos0, mut chunks) = (0, 0);
        while pos0 < 4096 {
            let rows = plan.chunk_within(budget, pos0).min(4096 - pos0);
            let largest = plan.largest_dispatch(rows, pos0);
            assert!(
                largest <= budget.max(one_row),
                "{rows} rows from {pos0} at {rate:e}"
            );
            assert!(
                largest as f64 / rate <= LONGEST.as_secs_f64(),
                "{rows} rows from {pos0} at {rate:e}"
            );
            pos0 += rows;
            chunks += 1;
        }
        // And it is not met by going one by one.
        assert!(rate < 2e9 || chunks <= 4096 / 8, "{chunks} at {rate:e}");
    }
}

/// The self-test that begins while weights are hashed compiles all that a model then uses.
#[test]
fn nothing_is_left_to_compile_after_warming() {
    let config = |rest: serde_json::Value| {
        let mut config = json!({
            "vocab_size": 97, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 128,
            "tie_word_embeddings": true, "torch_dtype": "bfloat16"
        });
        for (key, value) in rest.as_object().expect("an object") {
            config[key] = value.clone();
        }
        config
    };
    let llama = config(json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "hidden_size": 64, "intermediate_size": 96, "num_key_value_heads": 2, "head_dim": 16
    }));
    let opt = config(json!({
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "activation_function": "relu", "hidden_size": 36, "ffn_dim": 150,
        "word_embed_proj_dim": 36, "num_attention_heads": 3
    }));
    for info in adapters::all() {
        for config in [&llama, &opt] {
            let model = random::model(config, 5);
            let options = GpuOptions {
                adapter: Some(format!("{} {}", info.name, info.backend)),
                ..GpuOptions::default()
            };
            let gpu = Arc::new(pollster::block_on(Gpu::open(&options)).expect("it opens"));
            let device = Device::Gpu(Arc::clone(&gpu));
            let warming = Warming::begin(
                &device,
                Numerics::Strict,
                &model,
                ActivationType::Float,
                None,
            );
            let tested = pollster::block_on(warming.finish()).expect("threads are there");
            assert!(tested.expect("it passes").kernels.len() > 5);
            let compiled = gpu.compiled();
            let mut quiet = Quiet;
            let load = Engine::load(&device, &model, 64, Numerics::Strict, &mut quiet);
            let mut engine = pollster::block_on(load).expect("it loads");
            pollster::block_on(engine.run(&[1, 2, 3], &Want::default(), &mut Quiet))
                .expect("it runs");
            assert_eq!(
                gpu.compiled(),
                compiled,
                "{} on {}",
                config["model_type"],
                info.name
            );
        }
    }
}
