//! Strict numerics: the same bits on every device, whatever the chunking; traces that promise them; and lies in those.

use std::sync::{Arc, OnceLock};

use assay_engine::forward::LayerTwin;
use assay_engine::sampler::SamplerSpec;
use assay_engine::sparsity::SparseModel;
use assay_engine::{
    ActivationType, Device, Engine, EngineError, Gpu, GpuOptions, Numerics, Outputs, Quiet, Want,
};
use assay_model::Model;
use assay_model::quantize::Target;
use assay_prove::{Open, Request, prove};
use assay_tests::bits::{Bits, forward};
use assay_tests::prover::{self, SAMPLED, prove_with, request, root};
use assay_tests::{adapters, random};
use assay_trace::{
    Digest, EditableTrace, Linear, MaskName, NumericsClass, StateDtype, Trace, reroot,
};
use assay_verify::{Check, Options, Outcome, Profiles, Report, Verdict, verify_with};
use safetensors::Dtype;
use serde_json::{Value, json};

/// Stored types that a random checkpoint can have. What is added here joins all of this file's comparisons.
const STORED: [(&str, Make); 7] = [
    ("f32", |config, seed| {
        Some(random::stored_as(config, seed, Dtype::F32))
    }),
    ("f16", |config, seed| {
        Some(random::stored_as(config, seed, Dtype::F16))
    }),
    ("bf16", |config, seed| {
        Some(random::stored_as(config, seed, Dtype::BF16))
    }),
    ("int8", |config, seed| {
        random::quantised(config, seed, Target::Int8).ok()
    }),
    ("int4", |config, seed| {
        random::quantised(config, seed, Target::Int4Gptq { group: 32 }).ok()
    }),
    ("q8_0", |config, seed| {
        random::quantised(config, seed, Target::Q8_0).ok()
    }),
    ("q4_0", |config, seed| {
        random::quantised(config, seed, Target::Q4_0).ok()
    }),
];

/// Nothing of a shape that a type's blocks do not fit; one of the families fits all.
type Make = fn(&Value, u64) -> Option<Model>;

/// Longest prompt.
const POSITIONS: usize = 512;

fn llama() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "max_position_embeddings": 512, "rope_theta": 10000.0, "vocab_size": 97, "num_hidden_layers": 2,
        "hidden_size": 48, "intermediate_size": 301, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 12,
        "tie_word_embeddings": false, "torch_dtype": "bfloat16"
    })
}

/// The family whose rows are blocks of 32 columns.
const WHOLE_BLOCKS: &str = "llama of whole blocks";

/// Families, each with what is its own: odd widths, biases, wide rows that cross a segment, scaled positions.
fn families() -> Vec<(&'static str, Value)> {
    let with = |edits: Value| {
        let mut config = llama();
        for (key, value) in edits.as_object().expect("an object") {
            config[key] = value.clone();
        }
        config
    };
    vec![
        ("llama", with(json!({}))),
        (
            "llama3, biases, odd widths",
            with(json!({
                "attention_bias": true, "mlp_bias": true, "hidden_size": 45, "head_dim": 32, "tie_word_embeddings": true,
                "rope_theta": 500000.0,
                "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 64}
            })),
        ),
        (
            "mistral",
            with(json!({
                "architectures": ["MistralForCausalLM"], "model_type": "mistral", "hidden_size": 260, "head_dim": 64,
                "num_key_value_heads": 1
            })),
        ),
        (
            WHOLE_BLOCKS,
            with(json!({
                "hidden_size": 64, "intermediate_size": 288, "head_dim": 16, "attention_bias": false
            })),
        ),
        (
            "opt",
            json!({
                "architectures": ["OPTForCausalLM"], "model_type": "opt", "activation_function": "relu",
                "max_position_embeddings": 512, "vocab_size": 97, "num_hidden_layers": 2, "hidden_size": 36, "ffn_dim": 150,
                "num_attention_heads": 3, "word_embed_proj_dim": 36, "tie_word_embeddings": true, "torch_dtype": "bfloat16"
            }),
        ),
    ]
}

/// An adapter through OpenGL, which is another compiler of shaders; `None`, with a printed line, where it lacks what kernels need.
fn over_opengl() -> Option<(String, Device)> {
    let all = pollster::block_on(assay_engine::list_adapters());
    let Some(info) = all.into_iter().find(|info| info.backend == "Gl") else {
        println!("skipped: no adapter through OpenGL");
        return None;
    };
    let name = format!("{} {}", info.name, info.backend);
    let options = GpuOptions {
        adapter: Some(name.clone()),
        ..GpuOptions::default()
    };
    match pollster::block_on(Gpu::open(&options)) {
        Ok(gpu) => Some((name, Device::Gpu(Arc::new(gpu)))),
        Err(err) => {
            println!("skipped: {name}: {err}");
            None
        }
    }
}

fn ids(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * i + 3 * i + 7) % 97).collect()
}

/// A device's bits against the twins', at prompts of 1 to 512 tokens: in one go, one by one, and in pieces of any size.
fn same_bits_on(name: &str, device: &Device, model: &Model, wanted: &Bits, thoroughly: bool) {
    let all = ids(POSITIONS);
    let check = |n: usize, sizes: Option<&[usize]>| {
        let got = forward(device, model, &all[..n], sizes).expect("it runs");
        assert!(
            got.begin(wanted) && got.logits.len() == n * 97,
            "{name}: {n} tokens by {sizes:?}"
        );
    };
    // Whole chunks, ragged ones and single tokens, which other kernels run.
    check(POSITIONS, Some(&[3, 64, 1, 127]));
    if thoroughly {
        check(POSITIONS, None);
        for n in [1, 2, 65] {
            check(n, None);
        }
        check(20, Some(&[1]));
    }
}

fn same_bits(family: usize) {
    let (family, config) = families().swap_remove(family);
    for (seed, (stored, make)) in (1..).zip(STORED) {
        let Some(model) = make(&config, seed) else {
            assert_ne!(family, WHOLE_BLOCKS, "{stored}");
            continue;
        };
        let wanted = forward(&Device::Cpu, &model, &ids(POSITIONS), None).expect("the twins run");
        for (name, device) in adapters::devices() {
            let name = format!("{family} in {stored} on {name}");
            same_bits_on(&name, &device, &model, &wanted, stored == "bf16");
        }
    }
}

/// All of it in one test: wgpu lets one thread at a time talk to OpenGL, and gives up on the others after some seconds.
#[test]
fn opengl_has_the_same_bits() {
    let Some((name, device)) = over_opengl() else {
        return;
    };
    for (family, config) in families() {
        let model = random::model(&config, 7);
        let wanted = forward(&Device::Cpu, &model, &ids(POSITIONS), None).expect("the twins run");
        let name = format!("{family} on {name}");
        same_bits_on(&name, &device, &model, &wanted, false);
    }
}

#[test]
fn llama_has_the_same_bits_everywhere() {
    same_bits(0);
}

#[test]
fn llama3_has_the_same_bits_everywhere() {
    same_bits(1);
}

#[test]
fn mistral_has_the_same_bits_everywhere() {
    same_bits(2);
}

#[test]
fn whole_blocks_have_the_same_bits_everywhere() {
    same_bits(3);
}

#[test]
fn opt_has_the_same_bits_everywhere() {
    same_bits(4);
}

/// A request for a model without a tokenizer.
fn asked(n_prompt: usize, max_tokens: usize, audit: Option<Open>) -> Request {
    Request {
        prompt: ids(n_prompt),
        max_tokens,
        sampler: SAMPLED,
        ignore_eos: true,
        nonce: None,
        opened: None,
        audit,
    }
}

/// One root for all devices, of every family, and verification of each by each other without a profile: nothing is left to a tolerance.
#[test]
fn every_family_has_one_root_and_needs_no_tolerance() {
    for (family, config) in families() {
        let model = random::model(&config, 9);
        let claimed = root(&model);
        let request = asked(33, 6, None);
        let mut first: Option<Vec<u8>> = None;
        for (name, device) in adapters::devices() {
            let trace = prove_with(&device, &model, claimed, &request, Numerics::Strict);
            let root = |bytes: &[u8]| Trace::parse(bytes).expect("it parses").manifest().root;
            let known = first.get_or_insert_with(|| trace.clone());
            assert_eq!(root(known), root(&trace), "{family} on {name}");
            let report = judged(&device, &model, known);
            assert_eq!(
                report.verdict,
                Verdict::Accept,
                "{family} on {name}: {}",
                report.summary
            );
        }
    }
}

/// By no profile at all: a tolerance would make it inconclusive.
fn judged(device: &Device, model: &Model, trace: &[u8]) -> Report {
    judged_as(device, model, trace, &Options::default())
}

fn judged_as(device: &Device, model: &Model, trace: &[u8], options: &Options) -> Report {
    let none = Profiles::default();
    let mut quiet = Quiet;
    let report = verify_with(&none, trace, model, device, options, &mut quiet);
    let report = pollster::block_on(report).expect("the verifier works");
    assert_eq!(report.numerics.comparison, "exact");
    assert_eq!(report.numerics.verifier, "strict");
    report
}

fn strict(report: &Report) -> &Check {
    report
        .checks
        .iter()
        .find(|check| check.id == "strict")
        .expect("it is listed")
}

fn demo() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::demo().expect("the demo model"))
}

const PROMPT: &str = "First Citizen:\nBefore we proceed any further,";

fn honest(audit: Option<Open>, sampler: SamplerSpec) -> Vec<u8> {
    let request = Request {
        audit,
        ..request(PROMPT, 16, sampler)
    };
    let (prover, _) = adapters::pair();
    prove_with(&prover, demo(), root(demo()), &request, Numerics::Strict)
}

fn plain() -> &'static [u8] {
    static TRACE: OnceLock<Vec<u8>> = OnceLock::new();
    TRACE.get_or_init(|| honest(None, SAMPLED))
}

/// With linear outputs committed, those of layers 2 and 5 open.
fn with_linears() -> &'static [u8] {
    static TRACE: OnceLock<Vec<u8>> = OnceLock::new();
    TRACE.get_or_init(|| honest(Some(Open::Layers(vec![2, 5])), SAMPLED))
}

#[test]
fn an_honest_strict_trace_is_equal_in_every_digest() {
    let (_, verifier) = adapters::pair();
    for trace in [plain(), with_linears()] {
        let report = judged(&verifier, demo(), trace);
        assert_eq!(report.verdict, Verdict::Accept, "{}", report.summary);
        let check = strict(&report);
        assert_eq!((check.outcome, check.measured), (Outcome::Pass, Some(0.0)));
        assert!(check.detail.contains("bit for bit"), "{}", check.detail);
        let json = report.to_json().expect("it has a JSON form");
        assert!(json.contains("\"comparison\": \"exact\""));
    }
    // What promises nothing is compared by distance, as ever.
    let fast = reroot(plain(), |t| t.manifest.numerics.class = NumericsClass::Fast).expect("seals");
    let report = prover::verify(&verifier, demo(), &fast, &Options::default());
    assert_eq!(strict(&report).outcome, Outcome::Skipped);
    assert_eq!(report.numerics.comparison, "tolerance");
    assert_eq!(report.verdict, Verdict::Accept, "{}", report.summary);
}

/// Verifies a forgery of `trace` and says code, step, layer and position of the first difference. It must be rejected.
fn found(
    trace: &[u8],
    edit: impl FnOnce(&mut EditableTrace),
) -> (&'static str, &'static str, Option<u32>, Option<usize>) {
    let (_, verifier) = adapters::pair();
    let forged = reroot(trace, edit).expect("it re-seals");
    let report = judged(&verifier, demo(), &forged);
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    let check = strict(&report);
    println!("{}", check.detail);
    let place = check.place.expect("it has a place");
    (
        check.code,
        place.step.expect("it has a step"),
        place.layer,
        place.position,
    )
}

fn rows() -> usize {
    demo().config().layers + 1
}

/// One bit, far below every tolerance.
fn nudge(value: &mut f32) {
    *value = f32::from_bits(value.to_bits() ^ 1);
}

#[test]
fn one_bit_in_a_state_is_found_and_named() {
    let hidden = demo().config().hidden;
    // Open, at the model's end; not open, inside; the embedding.
    let got = found(plain(), |t| {
        nudge(&mut t.states.get_mut(&8).expect("open")[9 * hidden + 3]);
    });
    assert_eq!(got, ("strict-state", "layer", Some(8), Some(9)));
    let got = found(plain(), |t| {
        t.state_digests[7 * rows() + 3] = Digest::of(b"?");
    });
    assert_eq!(got, ("strict-state", "layer", Some(3), Some(7)));
    let got = found(plain(), |t| {
        nudge(&mut t.states.get_mut(&0).expect("open")[5 * hidden]);
    });
    assert_eq!(got, ("strict-state", "embedding", Some(0), Some(5)));
    // The first of several, in the order of positions, then layers.
    let got = found(plain(), |t| {
        for at in [12 * rows() + 1, 4 * rows() + 6, 4 * rows() + 5] {
            t.state_digests[at] = Digest::of(b"?");
        }
    });
    assert_eq!(got, ("strict-state", "layer", Some(5), Some(4)));
    let got = found(plain(), |t| t.state_digests[rows() - 8] = Digest::of(b"?"));
    assert_eq!(got, ("strict-state", "layer", Some(1), Some(0)));
}

/// A prover that leaves something out of layer `layer` at the last position, and goes on from there: nothing after it is compared first.
#[test]
fn what_was_left_out_is_named() {
    let model = demo();
    let config = model.config();
    let trace = Trace::parse(plain()).expect("it parses");
    let (layer, last) = (4usize, trace.positions() - 1);
    let mut engine = pollster::block_on(Engine::load(
        &Device::Cpu,
        model,
        trace.positions(),
        Numerics::Strict,
        &mut Quiet,
    ))
    .expect("loads");
    let want = Want {
        states: vec![layer],
        ..Want::default()
    };
    let mut before = Vec::new();
    let fed = &trace.tokens()[..trace.positions()];
    let mut quiet = Quiet;
    let sink = |outputs: Outputs| -> Result<(), EngineError> {
        before.extend(outputs.states.into_iter().flatten());
        Ok(())
    };
    pollster::block_on(engine.prefill(fed, &want, &mut quiet, sink)).expect("runs");
    let mut twin =
        LayerTwin::load(model, layer, trace.positions(), ActivationType::Float).expect("loads");
    let run = twin.run_last(&before).expect("runs");
    let digest = |row: &[f32]| Digest::of(&StateDtype::F32.encode(row));
    let at = last * rows() + layer + 1;
    assert_eq!(
        digest(&run.after),
        trace.state_digest(layer as u32 + 1, last)
    );
    let unchanged = &before[last * config.hidden..];
    for (row, step) in [
        (unchanged, "layer"),
        (&run.mid, "mlp"),
        (&run.without_attention, "attention"),
    ] {
        let got = found(plain(), |t| t.state_digests[at] = digest(row));
        assert_eq!(
            got,
            ("strict-state", step, Some(layer as u32 + 1), Some(last))
        );
    }
}

#[test]
fn one_bit_in_a_product_is_named_by_the_product() {
    let trace = Trace::parse(with_linears()).expect("it parses");
    for linear in Linear::ALL {
        let got = found(with_linears(), |t| {
            let values = t.linears.get_mut(&(5, linear)).expect("open");
            let width = values.len() / trace.positions();
            nudge(&mut values[10 * width + 1]);
        });
        assert_eq!(got, ("strict-linear", linear.name(), Some(6), Some(10)));
    }
    // Not open: that it is a product of this layer is all that can be known.
    let layers = demo().config().layers;
    let got = found(with_linears(), |t| {
        t.linear_digests[6 * layers + 3] = Digest::of(b"?");
    });
    assert_eq!(got, ("strict-linear", "layer", Some(4), Some(6)));
    // All products equal, their sum not: open at layer 2, by digests alone at layer 3.
    let hidden = demo().config().hidden;
    let got = found(with_linears(), |t| {
        nudge(&mut t.states.get_mut(&3).expect("open")[6 * hidden]);
    });
    assert_eq!(got, ("strict-state", "residual", Some(3), Some(6)));
    let got = found(with_linears(), |t| {
        t.state_digests[6 * rows() + 4] = Digest::of(b"?");
    });
    assert_eq!(got, ("strict-state", "residual", Some(4), Some(6)));
}

#[test]
fn other_logits_and_other_tokens_are_named() {
    let last = Trace::parse(plain()).expect("it parses").positions() - 1;
    let got = found(plain(), |t| {
        *t.logits_digests.last_mut().expect("there are some") = Digest::of(b"?");
    });
    assert_eq!(got, ("strict-logits", "logits", None, Some(last)));
    // The last token enters no hidden state.
    let got = found(plain(), |t| {
        *t.tokens.last_mut().expect("there are some") ^= 1;
    });
    assert_eq!(got, ("strict-token", "token", None, Some(last)));
}

/// A fast run that claims to be strict: within every tolerance, but not what it says, unless its bits happen to be the same.
#[test]
fn a_fast_run_does_not_pass_for_a_strict_one() {
    for (name, device) in adapters::devices() {
        let request = request(PROMPT, 16, SAMPLED);
        let fast = prove_with(&device, demo(), root(demo()), &request, Numerics::Fast);
        let lie =
            reroot(&fast, |t| t.manifest.numerics.class = NumericsClass::Strict).expect("seals");
        let report = judged(&adapters::pair().1, demo(), &lie);
        let of = |bytes: &[u8]| Trace::parse(bytes).expect("it parses").manifest().root;
        let same = of(&fast) == of(plain());
        println!(
            "{name}: fast bits are the strict ones: {same}; {}",
            report.summary
        );
        assert_eq!(report.verdict == Verdict::Accept, same, "{name}");
    }
}

/// Masks are held to the rule without a tolerance, too: where every score has the prover's bits, a flipped one is no rounding.
#[test]
fn masks_of_a_strict_trace_are_the_rules_own() {
    let (prover, verifier) = adapters::pair();
    let model = demo();
    let sparse = Arc::new(SparseModel::top_k(model.config().intermediate as u32 / 4));
    let request = request(PROMPT, 8, SAMPLED);
    let capacity = request.capacity(model.config());
    let mut quiet = Quiet;
    let trace = pollster::block_on(async {
        let rule = Some(Arc::clone(&sparse));
        let mut engine =
            Engine::load_with(&prover, model, capacity, Numerics::Strict, rule, &mut Quiet).await?;
        let proved = prove(&mut engine, model, root(model), &request, &mut quiet).await;
        Ok::<_, EngineError>(proved.expect("it proves").trace.to_bytes())
    });
    let trace = trace.expect("the model loads");
    let options = Options {
        sparse: Some(sparse),
        ..Options::default()
    };
    let report = judged_as(&verifier, model, &trace, &options);
    assert_eq!(report.verdict, Verdict::Accept, "{}", report.summary);
    assert_eq!(strict(&report).outcome, Outcome::Pass);

    // One neuron for another, so that the count is right.
    let masks = Trace::parse(&trace).expect("it parses");
    let bits = masks
        .layer_masks(2, MaskName::Neurons)
        .expect("there are masks");
    let row = &bits[5 * bits.len() / masks.positions()..];
    let first = |active: bool| {
        let is = |i: &u32| (row[*i as usize / 8] >> (i % 8) & 1 == 1) == active;
        (0..model.config().intermediate as u32)
            .find(is)
            .expect("there is one")
    };
    let (on, off) = (first(true), first(false));
    let forged = reroot(&trace, |t| {
        for (neuron, active) in [(on, false), (off, true)] {
            t.set_mask_bit(5, 2, MaskName::Neurons, neuron, active)
                .expect("there is such a bit");
        }
    });
    let report = judged_as(&verifier, model, &forged.expect("seals"), &options);
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    let codes = report.failed_codes();
    for code in ["mask-rule", "strict-state"] {
        assert!(codes.contains(&code), "{code} is not in {codes:?}");
    }
    let place = strict(&report).place.expect("it has a place");
    assert_eq!((place.layer, place.position), (Some(3), Some(5)));
}
