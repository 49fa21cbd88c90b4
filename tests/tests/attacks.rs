//! Honest traces are accepted across implementations; every attack is rejected for its own reason.
//!
//! The attacker knows the format, holds the honest model, and re-seals what it edits, so that no digest
//! gives it away unless the test is about digests.

use std::sync::OnceLock;

use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Numerics};
use assay_model::Model;
use assay_prove::Request;
use assay_tests::cheats::{self, Cheat};
use assay_tests::prover::{self, SAMPLED, forced, prove_as, prove_with, request};
use assay_tests::{adapters, prover::root};
use assay_trace::{Decimal, Digest, EditableTrace, Manifest, Sampler, Trace, reroot};
use assay_verify::{Options, Report, Verdict};

const PROMPT: &str = "First Citizen:\nBefore we proceed any further,";

fn model() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| Model::demo().expect("the demo model"))
}

fn devices() -> &'static (Device, Device) {
    static PAIR: OnceLock<(Device, Device)> = OnceLock::new();
    PAIR.get_or_init(adapters::pair)
}

/// One honest, sampled trace with a nonce: what most attacks start from.
fn honest() -> &'static [u8] {
    static TRACE: OnceLock<Vec<u8>> = OnceLock::new();
    TRACE.get_or_init(|| {
        let request = Request {
            nonce: Some([7; 32]),
            ..request(PROMPT, 40, SAMPLED)
        };
        prove_as(&devices().0, model(), root(model()), &request)
    })
}

fn judge(trace: &[u8]) -> Report {
    prover::verify(&devices().1, model(), trace, &Options::default())
}

fn assert_rejected(trace: &[u8], code: &str) {
    let report = judge(trace);
    assert_eq!(
        report.verdict,
        Verdict::Reject,
        "{code}: {}",
        report.summary
    );
    assert!(
        report.failed_codes().contains(&code),
        "wanted {code}, got {:?}",
        report.failed_codes()
    );
}

fn forge(edit: impl FnOnce(&mut EditableTrace)) -> Vec<u8> {
    reroot(honest(), edit).expect("it re-seals")
}

// Honest.

#[test]
fn honest_traces_are_accepted_between_all_devices() {
    let devices = adapters::devices();
    for (prover_name, prover) in &devices {
        for sampler in [SamplerSpec::Greedy, SAMPLED] {
            let trace = prove_as(
                prover,
                model(),
                root(model()),
                &request(PROMPT, 32, sampler),
            );
            for (verifier_name, verifier) in &devices {
                let report = prover::verify(verifier, model(), &trace, &Options::default());
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

#[test]
fn strict_traces_are_bit_equal_between_all_devices() {
    let devices = adapters::devices();
    let options = Options {
        numerics: Numerics::Strict,
        ..Options::default()
    };
    let request = request(PROMPT, 16, SAMPLED);
    let mut roots: Vec<Digest> = Vec::new();
    for (_, prover) in &devices {
        let trace = prove_with(prover, model(), root(model()), &request, Numerics::Strict);
        roots.push(Trace::parse(&trace).expect("it parses").manifest().root);
        for (_, verifier) in &devices {
            let report = prover::verify(verifier, model(), &trace, &options);
            assert_eq!(report.verdict, Verdict::Accept, "{}", report.summary);
            assert_eq!(report.coverage.exact_fraction, 1.0);
        }
    }
    assert!(
        roots.windows(2).all(|w| w[0] == w[1]),
        "one root on every device: {roots:?}"
    );
}

#[test]
fn a_nonce_makes_it_fresh() {
    let options = Options {
        nonce: Some([7; 32]),
        ..Options::default()
    };
    let report = prover::verify(&devices().1, model(), honest(), &options);
    assert_eq!(report.verdict, Verdict::Accept, "{}", report.summary);
}

// Tokens.

#[test]
fn one_token_swapped_under_honest_states() {
    // Without a cut every token is inside the support, and the last one steers nothing after it.
    let sampler = SamplerSpec::Gumbel {
        seed: 11,
        temperature: 0.8,
        top_k: 0,
        top_p: 1.0,
    };
    let request = request(PROMPT, 40, sampler);
    let honest = prove_as(&devices().0, model(), root(model()), &request);
    let mut output = Trace::parse(&honest).expect("it parses").output().to_vec();
    let last = output.len() - 1;
    output[last] = (output[last] + 1) % 2048;
    let trace = forced(&devices().0, model(), &request, &output);
    let report = judge(&trace);
    assert_eq!(report.verdict, Verdict::Reject);
    // States and commitment are honest: only the token gives it away.
    assert_eq!(
        report.failed_codes(),
        ["token-margin"],
        "{}",
        report.summary
    );
}

#[test]
fn one_token_swapped_in_the_file() {
    assert_rejected(
        &forge(|t| t.tokens[30] = (t.tokens[30] + 1) % 2048),
        "state-embedding",
    );
}

#[test]
fn a_token_outside_the_support() {
    let sampler = SamplerSpec::Gumbel {
        seed: 11,
        temperature: 0.8,
        top_k: 5,
        top_p: 1.0,
    };
    let honest = prove_as(
        &devices().0,
        model(),
        root(model()),
        &request(PROMPT, 20, sampler),
    );
    let mut output = Trace::parse(&honest).expect("it parses").output().to_vec();
    // `<|end_of_text|>` never occurs in the demo model's training text: it is in no top 5.
    output[10] = 1;
    let request = Request {
        ignore_eos: true,
        ..request(PROMPT, 20, sampler)
    };
    assert_rejected(
        &forced(&devices().0, model(), &request, &output),
        "token-support",
    );
}

fn claiming(sampler: Sampler) -> Vec<u8> {
    forge(|t| t.manifest.sampler = sampler)
}

fn gumbel(seed: u64, temperature: &str) -> Sampler {
    let decimal = |text: &str| text.parse::<Decimal>().expect("a decimal");
    Sampler::Gumbel {
        seed,
        temperature: decimal(temperature),
        top_k: 0,
        top_p: decimal("0.95"),
    }
}

#[test]
fn another_seed() {
    assert_rejected(&claiming(gumbel(12, "0.8")), "sampler-seed");
}

#[test]
fn another_temperature() {
    assert_rejected(&claiming(gumbel(11, "0.3")), "sampler-temperature");
}

#[test]
fn sampled_tokens_claimed_greedy() {
    let report = judge(&claiming(Sampler::Greedy));
    assert_eq!(report.verdict, Verdict::Reject);
    assert!(
        report
            .failed_codes()
            .iter()
            .any(|c| c.starts_with("token-")),
        "{:?}",
        report.failed_codes()
    );
}

#[test]
fn another_sampler_than_asked_for() {
    let asked = SamplerSpec::Gumbel {
        seed: 11,
        temperature: 0.8,
        top_k: 40,
        top_p: 0.95,
    };
    let options = Options {
        expect_sampler: Some(asked),
        ..Options::default()
    };
    let report = prover::verify(&devices().1, model(), honest(), &options);
    assert_eq!(report.failed_codes(), ["sampler-mismatch"]);
}

// The prompt.

#[test]
fn another_prompt_than_the_states_have() {
    assert_rejected(&forge(|t| t.tokens[3] = 99), "state-embedding");
}

#[test]
fn another_prompt_than_asked_for() {
    let options = Options {
        expect_prompt: Some(vec![0, 1, 2]),
        ..Options::default()
    };
    let report = prover::verify(&devices().1, model(), honest(), &options);
    assert_eq!(report.failed_codes(), ["prompt-mismatch"]);
}

// The weights. The prover claims the honest root every time.

fn cheat(cheat: Cheat, code: &str) {
    let weights = cheats::demo(cheat);
    let trace = prove_as(
        &devices().0,
        &weights,
        root(model()),
        &request(PROMPT, 24, SAMPLED),
    );
    assert_rejected(&trace, code);
}

#[test]
fn the_unaltered_copy_is_no_cheat() {
    let weights = cheats::demo(Cheat::None);
    assert_eq!(root(&weights), root(model()));
}

#[test]
fn int8_weights() {
    cheat(Cheat::Int8, "state-precision");
}

#[test]
fn int4_weights() {
    cheat(Cheat::Int4, "state-precision");
}

#[test]
fn fp8_weights() {
    cheat(Cheat::Fp8, "state-precision");
}

#[test]
fn a_light_fine_tune() {
    cheat(Cheat::FineTune, "state-precision");
}

#[test]
fn another_model_under_the_claimed_root() {
    cheat(Cheat::Other, "state-mismatch");
}

#[test]
fn another_model_under_its_own_root() {
    let weights = cheats::demo(Cheat::FineTune);
    let trace = prove_as(
        &devices().0,
        &weights,
        root(&weights),
        &request(PROMPT, 8, SAMPLED),
    );
    let report = judge(&trace);
    assert_eq!(report.failed_codes(), ["model-root"], "{}", report.summary);
}

#[test]
fn a_skipped_layer() {
    for layer in [0, 4, 7] {
        cheat(Cheat::SkipLayer(layer), "layer-repeat");
    }
}

// Hidden states.

fn states(trace: &mut EditableTrace, edit: impl Fn(&mut Vec<f32>)) {
    for (_, rows) in trace.states.iter_mut().filter(|(layer, _)| **layer > 0) {
        edit(rows);
    }
}

#[test]
fn zeroed_states() {
    assert_rejected(
        &forge(|t| states(t, |rows| rows.fill(0.0))),
        "state-degenerate",
    );
}

#[test]
fn shuffled_states() {
    let hidden = model().config().hidden;
    assert_rejected(
        &forge(|t| states(t, |rows| rows.rotate_left(5 * hidden))),
        "state-order",
    );
}

#[test]
fn sign_flipped_states() {
    assert_rejected(
        &forge(|t| states(t, |rows| rows.iter_mut().for_each(|v| *v = -*v))),
        "state-sign",
    );
}

#[test]
fn states_from_another_run() {
    let request = Request {
        ignore_eos: true,
        ..request(
            "KING RICHARD III:\nNow is the winter of our discontent",
            60,
            SAMPLED,
        )
    };
    let other = prove_as(&devices().0, model(), root(model()), &request);
    let other = Trace::parse(&other).expect("it parses");
    let last = other.states(8).expect("the last layer is opened");
    let trace = forge(|t| {
        let rows = t.states.get_mut(&8).expect("opened");
        let n = rows.len().min(last.len());
        rows[..n].copy_from_slice(&last[..n]);
    });
    assert_rejected(&trace, "state-mismatch");
}

#[test]
fn one_row_corrupted() {
    let hidden = model().config().hidden;
    let trace = forge(|t| {
        if let Some(rows) = t.states.get_mut(&8) {
            rows[17 * hidden + 3] *= 1.5;
        }
    });
    let report = judge(&trace);
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    assert!(
        report
            .failed_codes()
            .iter()
            .any(|c| c.starts_with("state-")),
        "{:?}",
        report.failed_codes()
    );
}

#[test]
fn states_that_are_not_numbers() {
    for bad in [f32::NAN, f32::INFINITY] {
        assert_rejected(&forge(|t| states(t, |rows| rows[9] = bad)), "structure");
    }
}

#[test]
fn nothing_opened_is_no_pass() {
    assert_rejected(&forge(|t| t.states.clear()), "nothing-checked");
}

// Freshness and claims.

#[test]
fn a_replayed_nonce() {
    let options = Options {
        nonce: Some([8; 32]),
        ..Options::default()
    };
    let report = prover::verify(&devices().1, model(), honest(), &options);
    assert_eq!(report.failed_codes(), ["nonce"]);
}

#[test]
fn every_claim_of_the_manifest_changed_and_resealed() {
    type Edit = fn(&mut Manifest);
    let edits: &[(&str, Edit)] = &[
        ("model-root", |m| m.model.root = Digest([1; 32])),
        ("model-shape", |m| m.model.parameters += 1),
        ("model-shape", |m| m.model.family = "mistral".to_owned()),
        ("model-shape", |m| m.model.dtype = "f32".to_owned()),
        ("tokenizer", |m| m.tokenizer = Some(Digest([2; 32]))),
        ("stop-reason", |m| {
            m.output.stop = assay_trace::StopReason::Eos;
        }),
    ];
    for (code, edit) in edits {
        assert_rejected(&forge(|t| edit(&mut t.manifest)), code);
    }
    // Claims that change what is to be compared, not whether it holds: never accepted on their word.
    let undecided: &[Edit] = &[
        |m| m.numerics.compute = assay_trace::Compute::Bf16,
        |m| m.numerics.class = assay_trace::NumericsClass::Exact,
    ];
    for edit in undecided {
        assert_ne!(
            judge(&forge(|t| edit(&mut t.manifest))).verdict,
            Verdict::Accept
        );
    }
}

// Bytes.

#[test]
fn a_thousand_random_bytes() {
    let mut state = 0x1234_5678_9abc_def1_u64;
    for _ in 0..1000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let mut trace = honest().to_vec();
        let at = (state % trace.len() as u64) as usize;
        trace[at] ^= 1 + (state >> 40) as u8 % 255;
        let report = judge(&trace);
        assert_eq!(report.verdict, Verdict::Reject, "byte {at}");
        let codes = report.failed_codes();
        let known = [
            "structure",
            "commitment",
            "prompt-digest",
            "state-digest",
            "merkle-root",
        ];
        assert!(
            codes.iter().all(|c| known.contains(c)),
            "byte {at}: {codes:?}"
        );
    }
}

#[test]
fn cut_short() {
    for keep in [0, 7, 8, 100, honest().len() / 2, honest().len() - 1] {
        assert_rejected(&honest()[..keep], "structure");
    }
}
