//! Sparse MLPs: what is skipped changes nothing but what the mask says, on every device; and a trace of one says so.

use std::sync::{Arc, OnceLock};

use assay_engine::sparsity::{Bits, LayerMasks, LowRank, SparseModel};
use assay_engine::{Device, Engine, EngineError, Numerics, Outputs, Quiet, Want};
use assay_model::Model;
use assay_prove::{Request, prove};
use assay_tests::prover::{self, SAMPLED, request, root};
use assay_tests::{adapters, data::demo_opt, random};
use assay_trace::{Digest, EditableTrace, MaskName, Trace, reroot};
use assay_verify::{Options, Report, Verdict};

const PROMPT: &str = "First Citizen:\nBefore we proceed any further,";

fn demo() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::demo().expect("the demo model"))
}

/// Odd shapes: several segments of 256 neurons and a ragged one, biases, and rows that no vector load fits.
fn models() -> Vec<(&'static str, Model)> {
    let llama = serde_json::json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128, "rope_theta": 10000.0, "vocab_size": 61, "num_hidden_layers": 2,
        "hidden_size": 38, "intermediate_size": 700, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 10,
        "tie_word_embeddings": true, "torch_dtype": "bfloat16"
    });
    let mut biased = llama.clone();
    for (key, value) in [
        ("mlp_bias", serde_json::json!(true)),
        ("hidden_size", serde_json::json!(40)),
        ("intermediate_size", serde_json::json!(301)),
    ] {
        biased[key] = value;
    }
    let opt = serde_json::json!({
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "activation_function": "relu", "max_position_embeddings": 128,
        "vocab_size": 61, "num_hidden_layers": 2, "hidden_size": 36, "ffn_dim": 530, "num_attention_heads": 3,
        "word_embed_proj_dim": 36, "torch_dtype": "bfloat16"
    });
    vec![
        ("llama", random::model(&llama, 1)),
        ("llama with biases", random::model(&biased, 2)),
        ("opt", random::model(&opt, 3)),
    ]
}

/// A seeded stream of numbers below `n`.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }

    fn bits(&mut self, rows: usize, width: usize, percent: u64) -> Bits {
        let mut bits = Bits::zeros(rows, width);
        for row in 0..rows {
            for i in 0..width {
                if self.below(100) < percent {
                    bits.set(row, i);
                }
            }
        }
        bits
    }
}

/// A run: everything that a sparse engine can hand back.
#[derive(Debug, Default, PartialEq)]
struct Ran {
    states: Vec<Vec<u32>>,
    logits: Vec<u32>,
    masks: Vec<LayerMasks>,
}

/// Loads a model, strict unless the engine's results go into a trace.
fn loaded(
    device: &Device,
    model: &Model,
    capacity: usize,
    numerics: Numerics,
    sparse: Option<Arc<SparseModel>>,
) -> Result<Engine, EngineError> {
    let mut quiet = Quiet;
    pollster::block_on(Engine::load_with(
        device, model, capacity, numerics, sparse, &mut quiet,
    ))
}

fn bits_of(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

fn run(
    device: &Device,
    model: &Model,
    sparse: Option<SparseModel>,
    ids: &[u32],
    masks: Option<&[LayerMasks]>,
    chunks: &[usize],
) -> Ran {
    let scores = sparse.is_some();
    run_for(device, model, sparse, ids, masks, chunks, scores)
}

/// The same; without `scores`, what the rule decides by need not be computed where masks are given.
fn run_for(
    device: &Device,
    model: &Model,
    sparse: Option<SparseModel>,
    ids: &[u32],
    masks: Option<&[LayerMasks]>,
    chunks: &[usize],
    scores: bool,
) -> Ran {
    let want = Want {
        logits_from: Some(0),
        masks: sparse.is_some(),
        scores,
        ..Want::all_states(model.config())
    };
    let sparse = sparse.map(Arc::new);
    let engine = loaded(device, model, ids.len(), Numerics::Strict, sparse);
    let mut engine = engine.expect("the model loads");
    let mut ran = Ran::default();
    let mut add = |outputs: Outputs| {
        ran.states.resize(outputs.states.len(), Vec::new());
        for (all, states) in ran.states.iter_mut().zip(&outputs.states) {
            all.extend(bits_of(states));
        }
        ran.logits.extend(bits_of(&outputs.logits));
        ran.masks.extend(outputs.masks);
    };
    let mut at = 0;
    for size in chunks {
        let own: Option<Vec<LayerMasks>> = masks.map(|masks| {
            let slice = |m: &LayerMasks| LayerMasks {
                input: m.input.as_ref().map(|b| b.slice(at..at + size)),
                neurons: m.neurons.slice(at..at + size),
            };
            masks.iter().map(slice).collect()
        });
        let chunk = &ids[at..at + size];
        let mut quiet = Quiet;
        let outputs = engine.run_masked(chunk, own.as_deref(), &want, &mut quiet);
        add(pollster::block_on(outputs).expect("it runs"));
        at += size;
    }
    ran
}

fn decimals(values: &[&str]) -> Vec<assay_trace::Decimal> {
    values
        .iter()
        .map(|v| v.parse().expect("a decimal"))
        .collect()
}

fn predictors(model: &Model, seed: u64) -> Vec<LowRank> {
    let (config, mut seeded) = (model.config(), Seeded(seed));
    let rank = 7;
    let mut floats = |n: usize| -> Vec<f32> {
        let one = |_| seeded.below(2001) as f32 / 1000.0 - 1.0;
        (0..n).map(one).collect()
    };
    (0..config.layers)
        .map(|_| LowRank {
            rank,
            down: floats(rank * config.hidden),
            up: floats(rank * config.intermediate),
        })
        .collect()
}

/// Every rule, with numbers that leave some neurons and not all.
fn rules(model: &Model) -> Vec<SparseModel> {
    let config = model.config();
    let each = |value: &str| decimals(&vec![value; config.layers]);
    let mut seeded = Seeded(11);
    let one = |_| seeded.bits(1, config.intermediate, 30);
    vec![
        SparseModel::top_k(config.intermediate as u32 / 5),
        SparseModel::cats(each("0.2")),
        SparseModel::teal(each("0.5"), each("0.1")),
        SparseModel::predicted(
            Digest::ZERO,
            predictors(model, 5),
            config.intermediate as u32 / 3,
        ),
        SparseModel::given(Digest::ZERO, (0..config.layers).map(one).collect()),
    ]
}

/// The CPU computes everything and sets to zero what is not active; the kernels skip. All bits must agree, masks too.
#[test]
fn every_rule_has_the_bits_of_masked_dense_mlps_on_every_device() {
    let ids: Vec<u32> = (0..23u32).map(|i| (i * i + 5 * i) % 61).collect();
    for (name, model) in models() {
        for sparse in rules(&model) {
            let kind = sparse.rule().kind();
            let want = run(
                &Device::Cpu,
                &model,
                Some(sparse.clone()),
                &ids,
                None,
                &[23],
            );
            let active: usize = want
                .masks
                .iter()
                .map(|m| (0..23).map(|r| m.neurons.count(r)).sum::<usize>())
                .sum();
            let all = 23 * model.config().layers * model.config().intermediate;
            assert!(
                active > 0 && active < all,
                "{name}, {kind}: {active} of {all}"
            );
            for (device_name, device) in adapters::devices() {
                let got = run(&device, &model, Some(sparse.clone()), &ids, None, &[23]);
                assert!(got == want, "{name}, {kind} on {device_name}");
                // One by one, and as somebody else's masks.
                let ones = run(&device, &model, Some(sparse.clone()), &ids, None, &[1; 23]);
                assert!(
                    ones.states
                        .iter()
                        .map(Vec::len)
                        .eq(want.states.iter().map(Vec::len))
                );
                assert!(
                    ones.logits == want.logits,
                    "{name}, {kind} on {device_name}: decoding"
                );
                let given = run(
                    &device,
                    &model,
                    Some(sparse.clone()),
                    &ids,
                    Some(&want.masks),
                    &[9, 14],
                );
                assert!(
                    given.states == want.states,
                    "{name}, {kind} on {device_name}: given"
                );
                // And where nobody asks what the rule would have said, so that only what is active is computed.
                let mut chunks = vec![9];
                chunks.resize(15, 1);
                let known = run_for(
                    &device,
                    &model,
                    Some(sparse.clone()),
                    &ids,
                    Some(&want.masks),
                    &chunks,
                    false,
                );
                assert!(
                    known.logits == want.logits,
                    "{name}, {kind} on {device_name}: known"
                );
            }
        }
    }
}

/// Masks of 0, 1, 5, 50, 95 and 100 %, another for each row; one neuron, and none.
#[test]
fn any_density_is_right() {
    let ids: Vec<u32> = (0..17u32).map(|i| (7 * i + 3) % 61).collect();
    for (name, model) in models() {
        let config = model.config();
        let nothing = vec![Bits::zeros(1, config.intermediate); config.layers];
        let sparse = SparseModel::given(Digest::ZERO, nothing);
        let mut seeded = Seeded(77);
        for percent in [0, 1, 5, 50, 95, 100] {
            let one = |_| LayerMasks {
                input: None,
                neurons: seeded.bits(17, config.intermediate, percent),
            };
            let mut masks: Vec<LayerMasks> = (0..config.layers).map(one).collect();
            if percent == 0 {
                // A single active neuron, the last one, in one row only.
                masks[0].neurons.set(3, config.intermediate - 1);
            }
            let want = run(
                &Device::Cpu,
                &model,
                Some(sparse.clone()),
                &ids,
                Some(&masks),
                &[17],
            );
            let dense =
                (percent == 100).then(|| run(&Device::Cpu, &model, None, &ids, None, &[17]));
            for (device_name, device) in adapters::devices() {
                let got = run(
                    &device,
                    &model,
                    Some(sparse.clone()),
                    &ids,
                    Some(&masks),
                    &[17],
                );
                assert!(got == want, "{name} at {percent} % on {device_name}");
                if let Some(dense) = &dense {
                    assert!(
                        got.logits == dense.logits,
                        "{name}: all neurons on {device_name}"
                    );
                }
            }
        }
    }
}

/// What ReLU makes zero can be skipped without changing a bit.
#[test]
fn skipping_what_relu_leaves_is_the_dense_model() {
    let ids: Vec<u32> = (0..17u32).map(|i| (7 * i + 3) % 61).collect();
    let (_, model) = models().remove(2);
    let relu = SparseModel::cats(decimals(&vec!["0"; model.config().layers]));
    for (name, device) in adapters::devices() {
        let dense = run(&device, &model, None, &ids, None, &[17]);
        let sparse = run(&device, &model, Some(relu.clone()), &ids, None, &[17]);
        assert!(sparse.states == dense.states, "{name}: states");
        assert!(sparse.logits == dense.logits, "{name}: logits");
        let active: usize = (0..17).map(|r| sparse.masks[0].neurons.count(r)).sum();
        assert!(
            active < 17 * model.config().intermediate * 3 / 4,
            "{active}"
        );
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let model = demo();
    let config = model.config();
    let load = |sparse: SparseModel| {
        let sparse = Some(Arc::new(sparse));
        loaded(&Device::Cpu, model, 8, Numerics::Strict, sparse).err()
    };
    let wrong = [
        SparseModel::top_k(config.intermediate as u32 + 1),
        SparseModel::cats(decimals(&["0.1"])),
        SparseModel::teal(decimals(&["0.1"]), decimals(&["0.1"])),
        SparseModel::predicted(Digest::ZERO, Vec::new(), 1),
        SparseModel::given(Digest::ZERO, vec![Bits::zeros(1, 3); config.layers]),
    ];
    for sparse in wrong {
        let kind = sparse.rule().kind();
        assert!(
            matches!(load(sparse), Some(EngineError::Sparsity(_))),
            "{kind}"
        );
    }
}

// Traces.

fn proved(device: &Device, model: &Model, sparse: &Arc<SparseModel>, request: &Request) -> Vec<u8> {
    let capacity = request.capacity(model.config());
    let sparse = Some(Arc::clone(sparse));
    let engine = loaded(device, model, capacity, Numerics::Fast, sparse);
    let (mut engine, mut quiet) = (engine.expect("the model loads"), Quiet);
    let proved = prove(&mut engine, model, root(model), request, &mut quiet);
    let proved = pollster::block_on(proved).expect("it proves");
    proved.trace.to_bytes()
}

fn verified(
    device: &Device,
    model: &Model,
    sparse: Option<&Arc<SparseModel>>,
    trace: &[u8],
) -> Report {
    let options = Options {
        sparse: sparse.cloned(),
        ..Options::default()
    };
    prover::verify(device, model, trace, &options)
}

fn demo_rules() -> Vec<Arc<SparseModel>> {
    let config = demo().config();
    let each = |value: &str| decimals(&vec![value; config.layers]);
    [
        SparseModel::top_k(config.intermediate as u32 / 2),
        SparseModel::cats(each("0.1")),
        SparseModel::teal(each("0.3"), each("0.05")),
        SparseModel::predicted(
            Digest::ZERO,
            predictors(demo(), 9),
            config.intermediate as u32 / 2,
        ),
    ]
    .map(Arc::new)
    .into()
}

#[test]
fn sparse_traces_are_accepted_between_all_devices() {
    for sparse in demo_rules() {
        let kind = sparse.rule().kind();
        for (prover_name, device) in adapters::devices() {
            let trace = proved(&device, demo(), &sparse, &request(PROMPT, 16, SAMPLED));
            for (verifier_name, verifier) in adapters::devices() {
                let report = verified(&verifier, demo(), Some(&sparse), &trace);
                let masks = report.statistics.masks.clone().expect("a mask report");
                assert_eq!(
                    report.verdict,
                    Verdict::Accept,
                    "{kind}, {prover_name} -> {verifier_name}: {} {:?} {masks:?}",
                    report.summary,
                    report.failed_codes()
                );
                assert!(masks.active_fraction > 0.0 && masks.active_fraction < 1.0);
                println!(
                    "{kind}, {prover_name} -> {verifier_name}: {} of {} bits differ, worst {:.1e} of {:.1e}",
                    masks.flipped, masks.bits, masks.worst_margin, masks.worst_limit
                );
            }
        }
    }
}

fn rejected(report: &Report, codes: &[&str]) {
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    let got = report.failed_codes();
    assert!(
        codes.iter().any(|code| got.contains(code)),
        "wanted one of {codes:?}, got {got:?}"
    );
}

#[test]
fn sparse_provers_are_caught() {
    let (first, second) = adapters::pair();
    let half = demo().config().intermediate as u32 / 2;
    let sparse = Arc::new(SparseModel::top_k(half));
    let trace = proved(&first, demo(), &sparse, &request(PROMPT, 16, SAMPLED));

    // Nobody asked for it.
    rejected(&verified(&second, demo(), None, &trace), &["sparsity"]);
    // Another number than was asked for, or another rule.
    let other = Arc::new(SparseModel::top_k(half + 1));
    rejected(
        &verified(&second, demo(), Some(&other), &trace),
        &["sparsity"],
    );
    let cats = demo_rules().remove(1);
    rejected(
        &verified(&second, demo(), Some(&cats), &trace),
        &["sparsity"],
    );
    // It claims to be dense, and everything is sealed anew.
    let dense = reroot(&trace, EditableTrace::remove_masks).expect("it re-seals");
    assert!(Trace::parse(&dense).expect("a trace").sparse().is_none());
    rejected(
        &verified(&second, demo(), None, &dense),
        &["state-mismatch", "state-precision"],
    );
    // A dense run that claims to be sparse is not what was asked for either.
    let honest = prover::prove_as(&first, demo(), root(demo()), &request(PROMPT, 8, SAMPLED));
    rejected(
        &verified(&second, demo(), Some(&sparse), &honest),
        &["sparsity"],
    );
}

/// Masks that a prover chose: the states may be honest over them, and yet the rule does not give them.
#[test]
fn masks_that_the_rule_does_not_give_are_refused() {
    let (first, second) = adapters::pair();
    let config = demo().config();
    let half = config.intermediate as u32 / 2;
    let sparse = Arc::new(SparseModel::top_k(half));
    let trace = proved(&first, demo(), &sparse, &request(PROMPT, 8, SAMPLED));
    let parsed = Trace::parse(&trace).expect("a trace");
    let masks = parsed.layer_masks(2, MaskName::Neurons).expect("masks");
    let bits = Bits::from_bytes(config.intermediate, &masks).expect("bits");
    let find = |active: bool| (0..config.intermediate).find(|i| bits.get(5, *i) == active);
    let (on, off) = (
        find(true).expect("one") as u32,
        find(false).expect("one") as u32,
    );

    let flip = |neurons: &[(u32, bool)]| {
        let edit = |trace: &mut EditableTrace| {
            for (neuron, active) in neurons {
                trace
                    .set_mask_bit(5, 2, MaskName::Neurons, *neuron, *active)
                    .expect("there is such a bit");
            }
        };
        reroot(&trace, edit).expect("it re-seals")
    };
    // One neuron more, one less: the count is wrong. One for another: the count is right, and the states are not of this mask.
    rejected(
        &verified(&second, demo(), Some(&sparse), &flip(&[(off, true)])),
        &["mask-count"],
    );
    rejected(
        &verified(&second, demo(), Some(&sparse), &flip(&[(on, false)])),
        &["mask-count"],
    );
    let swapped = flip(&[(on, false), (off, true)]);
    rejected(
        &verified(&second, demo(), Some(&sparse), &swapped),
        &["mask-rule"],
    );

    // A prover that runs honestly over masks of its own: fewer neurons than the rule gives, and says the rule.
    let mut seeded = Seeded(3);
    let one = |_| {
        let mut bits = Bits::zeros(1, config.intermediate);
        while bits.count(0) < half as usize {
            bits.set(0, seeded.below(config.intermediate as u64) as usize);
        }
        bits
    };
    let own = SparseModel::given(Digest::ZERO, (0..config.layers).map(one).collect());
    let trace = proved(&first, demo(), &Arc::new(own), &request(PROMPT, 8, SAMPLED));
    let claim = sparse.claim(config);
    let lying = reroot(&trace, |trace| trace.manifest.sparse = Some(claim)).expect("it re-seals");
    rejected(
        &verified(&second, demo(), Some(&sparse), &lying),
        &["mask-rule"],
    );
}

/// OPT is a family like the others: proved, verified, sparse.
#[test]
fn opt_traces_are_accepted_between_all_devices() {
    let model = Model::open(&demo_opt()).expect("demo-opt loads");
    let prompt = model
        .tokenizer()
        .expect("a tokenizer")
        .encode("ROMEO:\n")
        .expect("it encodes");
    let request = Request {
        prompt,
        ..request(PROMPT, 24, SAMPLED)
    };
    let relu = Arc::new(SparseModel::cats(decimals(&vec![
        "0";
        model.config().layers
    ])));
    for (prover_name, device) in adapters::devices() {
        let dense = prover::prove_as(&device, &model, root(&model), &request);
        let sparse = proved(&device, &model, &relu, &request);
        for (verifier_name, verifier) in adapters::devices() {
            for (trace, rule) in [(&dense, None), (&sparse, Some(&relu))] {
                let report = verified(&verifier, &model, rule, trace);
                assert_eq!(
                    report.verdict,
                    Verdict::Accept,
                    "{prover_name} -> {verifier_name}: {} {:?}",
                    report.summary,
                    report.failed_codes()
                );
            }
        }
    }
}
