//! Whole verifications of the demo model on the CPU twins: an honest trace, made here without the prover's code, and its forgeries.

use assay_engine::Quiet;
use assay_trace::{
    Compute, EditableTrace, Manifest, ModelClaim, NumericsClaim, NumericsClass, Sampler,
    StateDtype, StopReason, TraceBuilder, TraceSpec, reroot,
};

use super::*;
use crate::report::{CHECKS, Freshness, Verdict};
use crate::testing;

const PROMPT: [u32; 6] = [0, 40, 300, 17, 99, 512];
const OUTPUT: usize = 24;

fn gumbel(seed: u64, temperature: &str) -> Sampler {
    Sampler::Gumbel {
        seed,
        temperature: temperature.parse().unwrap(),
        top_k: 50,
        top_p: "0.95".parse().unwrap(),
    }
}

/// Runs `ran`, claims `claimed`: the same model for an honest trace. Tokens come from `run_sampler`.
fn prove(ran: &Model, claimed: &Model, run_sampler: Sampler, sampler: Sampler) -> Vec<u8> {
    let config = claimed.config();
    let spec = TraceSpec {
        linears: None,
        adapter: "the tests".into(),
        eos: config.eos.clone(),
        ignore_eos: true,
        model: ModelClaim {
            dtype: claimed.dtype().into(),
            family: config.family.as_str().into(),
            hidden: config.hidden as u32,
            layers: config.layers as u32,
            parameters: claimed.parameters(),
            root: claimed.root(&mut |_, _| {}).unwrap(),
            vocab: config.vocab as u32,
        },
        nonce: Some(Digest([7; 32])),
        numerics: NumericsClaim {
            activations: None,
            // Less than it keeps: what is tested here are the checks by distance.
            class: NumericsClass::Fast,
            compute: Compute::F32,
        },
        opened: Manifest::default_opened(config.layers as u32),
        producer: "the tests".into(),
        prompt: PROMPT.to_vec(),
        sampler,
        sparse: None,
        state_dtype: StateDtype::F32,
        tokenizer: claimed.tokenizer().map(assay_model::Tokenizer::digest),
    };
    let mut builder = TraceBuilder::new(spec).unwrap();
    let want = Want {
        logits_from: Some(PROMPT.len() - 1),
        ..Want::all_states(config)
    };
    let run_spec = claims::sampler_spec(&run_sampler);
    pollster::block_on(async {
        let mut engine = Engine::load(
            &Device::Cpu,
            ran,
            PROMPT.len() + OUTPUT,
            Numerics::Strict,
            &mut Quiet,
        )
        .await
        .unwrap();
        let mut fed = PROMPT.to_vec();
        let mut position = 0;
        for n in 0..OUTPUT {
            let outputs = engine.run(&fed, &want, &mut Quiet).await.unwrap();
            for (row, &token) in fed.iter().enumerate() {
                let rows: Vec<&[f32]> = outputs
                    .states
                    .iter()
                    .map(|s| &s[row * config.hidden..][..config.hidden])
                    .collect();
                let emits = position + 1 >= PROMPT.len();
                builder
                    .push(token, &rows, emits.then_some(&outputs.logits))
                    .unwrap();
                position += 1;
            }
            let next =
                assay_engine::sampler::sample(&run_spec, &outputs.logits, position as u32 - 1);
            fed = vec![next];
            if n + 1 == OUTPUT {
                return builder.finish(next, StopReason::Length).unwrap().to_bytes();
            }
        }
        unreachable!("the loop returns")
    })
}

fn honest(sampler: Sampler) -> (Model, Vec<u8>) {
    let model = Model::demo().unwrap();
    let bytes = prove(&model, &model, sampler, sampler);
    (model, bytes)
}

/// A made-up profile that covers the demo model: what counts here is the order and the names of the checks.
fn profiles() -> Profiles {
    Profiles(vec![testing::profile(1e-4, 1e-3)])
}

fn run(profiles: &Profiles, bytes: &[u8], model: &Model, options: &Options) -> Report {
    let report = pollster::block_on(verify_with(
        profiles,
        bytes,
        model,
        &Device::Cpu,
        options,
        &mut Quiet,
    ))
    .unwrap();
    let json: serde_json::Value = serde_json::from_str(&report.to_json().unwrap()).unwrap();
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> = validator
        .iter_errors(&json)
        .map(|err| format!("{}: {err}", err.instance_path))
        .collect();
    assert!(errors.is_empty(), "{errors:#?}");
    let codes = include_str!("../../../docs/checks.md");
    report.checks.iter().for_each(|check| {
        assert!(
            codes.contains(&format!("`{}`", check.code)),
            "undocumented code {}",
            check.code
        );
    });
    assert_eq!(
        report
            .checks
            .iter()
            .map(|check| check.id)
            .collect::<Vec<_>>(),
        CHECKS.map(|(id, _)| id)
    );
    report
}

fn codes(bytes: &[u8], model: &Model) -> Vec<&'static str> {
    let report = run(&profiles(), bytes, model, &Options::default());
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    report.failed_codes()
}

#[test]
fn honest_traces_are_accepted() {
    for sampler in [Sampler::Greedy, gumbel(5, "0.8")] {
        let (model, bytes) = honest(sampler);
        let options = Options {
            nonce: Some([7; 32]),
            expect_prompt: Some(PROMPT.to_vec()),
            expect_sampler: Some(claims::sampler_spec(&sampler)),
            numerics: Numerics::Strict,
            ..Options::default()
        };
        let report = run(&profiles(), &bytes, &model, &options);
        assert_eq!(report.verdict, Verdict::Accept, "{}", report.summary);
        assert_eq!(
            (report.coverage.freshness, report.coverage.tokens),
            (Freshness::Nonce, OUTPUT)
        );
        assert_eq!(report.coverage.positions, PROMPT.len() + OUTPUT - 1);
        assert!(
            report
                .statistics
                .accept_rate
                .unwrap()
                .repo_without_layer0
                .is_some()
        );
    }
}

#[test]
fn bit_equality_needs_no_profile_and_anything_less_does() {
    let (model, bytes) = honest(Sampler::Greedy);
    let none = Profiles::default();
    let report = run(&none, &bytes, &model, &Options::default());
    assert_eq!(
        (report.verdict, report.coverage.exact_fraction),
        (Verdict::Accept, 1.0),
        "{}",
        report.summary
    );
    let off = reroot(&bytes, |t| {
        t.states.values_mut().last().unwrap()[3] *= 1.0 + 1e-6;
    })
    .unwrap();
    let report = run(&none, &off, &model, &Options::default());
    assert_eq!(report.verdict, Verdict::Inconclusive, "{}", report.summary);
    assert!(report.checks.iter().any(|check| check.code == "no-profile"));
    assert_eq!(
        run(&profiles(), &off, &model, &Options::default()).verdict,
        Verdict::Accept
    );
}

#[test]
fn a_cheap_failure_ends_the_run() {
    let (model, bytes) = honest(Sampler::Greedy);
    let fails = |bytes: &[u8], options: &Options, id: &str, code: &str| {
        let report = run(&profiles(), bytes, &model, options);
        assert_eq!(
            (report.verdict, report.failed_codes()),
            (
                Verdict::Reject,
                vec![report.checks.iter().find(|c| c.id == id).unwrap().code]
            )
        );
        assert_eq!(report.failed_codes(), [code]);
        let after = report
            .checks
            .iter()
            .skip_while(|check| check.id != id)
            .skip(1);
        after.for_each(|check| assert_eq!(check.outcome, Outcome::Skipped, "{}", check.id));
        assert_eq!(report.timings.prefill_s, 0.0);
    };
    let asked = Options::default;
    fails(b"not a trace", &asked(), "structure", "structure");
    fails(&[], &asked(), "structure", "structure");
    fails(
        &bytes[..bytes.len() - 1],
        &asked(),
        "structure",
        "structure",
    );
    let mut flipped = bytes.clone();
    *flipped.last_mut().unwrap() ^= 1; // the last tensor holds tokens
    let report = run(&profiles(), &flipped, &model, &asked());
    assert_eq!(report.verdict, Verdict::Reject);
    fails(
        &bytes,
        &Options {
            nonce: Some([8; 32]),
            ..asked()
        },
        "nonce",
        "nonce",
    );
    fails(
        &bytes,
        &Options {
            expect_prompt: Some(vec![1, 2]),
            ..asked()
        },
        "prompt",
        "prompt-mismatch",
    );
    fails(
        &bytes,
        &Options {
            expect_compute: Some(Compute::F16),
            ..asked()
        },
        "precision",
        "precision-mismatch",
    );
    let other = SamplerSpec::Gumbel {
        seed: 1,
        temperature: 1.0,
        top_k: 0,
        top_p: 1.0,
    };
    fails(
        &bytes,
        &Options {
            expect_sampler: Some(other),
            ..asked()
        },
        "sampler",
        "sampler-mismatch",
    );
    let edit = |f: fn(&mut EditableTrace)| reroot(&bytes, f).unwrap();
    fails(
        &edit(|t| t.manifest.model.root = Digest::ZERO),
        &asked(),
        "model-root",
        "model-root",
    );
    fails(
        &edit(|t| t.manifest.tokenizer = Some(Digest::ZERO)),
        &asked(),
        "tokenizer",
        "tokenizer",
    );
    fails(
        &edit(|t| t.manifest.model.parameters += 1),
        &asked(),
        "model-shape",
        "model-shape",
    );
    fails(
        &edit(|t| t.manifest.nonce = None),
        &Options {
            nonce: Some([7; 32]),
            ..asked()
        },
        "nonce",
        "nonce",
    );
}

#[test]
fn forged_hidden_states_are_rejected_by_name() {
    let (model, bytes) = honest(Sampler::Greedy);
    let hidden = model.config().hidden;
    let edit = |f: &dyn Fn(&mut f32)| {
        reroot(&bytes, |t| {
            t.states.iter_mut().skip(1).flat_map(|(_, s)| s).for_each(f);
        })
        .unwrap()
    };
    assert_eq!(codes(&edit(&|x| *x = 0.0), &model)[0], "state-degenerate");
    assert_eq!(codes(&edit(&|x| *x = -*x), &model)[0], "state-sign");
    let rotated = reroot(&bytes, |t| {
        t.states
            .iter_mut()
            .skip(1)
            .for_each(|(_, s)| s.rotate_left(5 * hidden));
    })
    .unwrap();
    assert_eq!(codes(&rotated, &model)[0], "state-order");
    let embedding = reroot(&bytes, |t| t.states.get_mut(&0).unwrap()[0] += 1.0).unwrap();
    assert_eq!(codes(&embedding, &model), ["state-embedding"]);
    let one = reroot(&bytes, |t| {
        t.states.values_mut().last().unwrap()[hidden * 9] += 1.0;
    })
    .unwrap();
    assert_eq!(codes(&one, &model), ["state-mismatch"]);
}

#[test]
fn tokens_and_samplers_are_judged_though_states_are_honest() {
    let (model, bytes) = honest(Sampler::Greedy);
    // The last token enters no hidden state: only the logits can tell.
    let last = reroot(&bytes, |t| *t.tokens.last_mut().unwrap() ^= 1).unwrap();
    assert_eq!(codes(&last, &model), ["token-margin"]);
    let inner = reroot(&bytes, |t| t.tokens[PROMPT.len() + 3] ^= 1).unwrap();
    assert!(codes(&inner, &model).contains(&"token-margin"));
    assert!(codes(&inner, &model).contains(&"state-embedding"));
    let run_with = |ran, claimed| codes(&prove(&model, &model, ran, claimed), &model);
    assert_eq!(
        run_with(gumbel(6, "0.8"), gumbel(5, "0.8"))[0],
        "sampler-seed"
    );
    assert_eq!(
        run_with(gumbel(5, "1.5"), gumbel(5, "0.7"))[0],
        "sampler-temperature"
    );
    let stops = reroot(&bytes, |t| t.manifest.output.stop = StopReason::Eos).unwrap();
    assert_eq!(codes(&stops, &model), ["stop-reason"]);
}

#[test]
fn eight_bit_weights_are_named() {
    let model = Model::demo().unwrap();
    let rounded = demo_in_int8();
    let bytes = prove(&rounded, &model, Sampler::Greedy, Sampler::Greedy);
    let codes = codes(&bytes, &model);
    assert!(codes.contains(&"state-precision"), "{codes:?}");
}

/// The demo model with every matrix rounded to 8 bits a row, stored as bf16.
fn demo_in_int8() -> Model {
    let read = |name: &str| {
        std::fs::read(format!(
            "{}/../model/demo-llama/{name}",
            env!("CARGO_MANIFEST_DIR")
        ))
        .unwrap()
    };
    let mut file = read("model.safetensors");
    let start = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&file[8..start]).unwrap();
    for tensor in header.as_object().unwrap().values() {
        let Some([_, columns]) = tensor["shape"].as_array().map(Vec::as_slice) else {
            continue;
        };
        let at = |i: usize| start + tensor["data_offsets"][i].as_u64().unwrap() as usize;
        for row in file[at(0)..at(1)].chunks_exact_mut(2 * columns.as_u64().unwrap() as usize) {
            let values = StateDtype::Bf16.decode(row);
            let scale = values.iter().fold(0.0f32, |most, x| most.max(x.abs())) / 127.0;
            let rounded: Vec<f32> = values
                .iter()
                .map(|x| {
                    if scale > 0.0 {
                        (x / scale).round() * scale
                    } else {
                        0.0
                    }
                })
                .collect();
            row.copy_from_slice(&StateDtype::Bf16.encode(&rounded));
        }
    }
    let weights: &'static [u8] = Vec::leak(file);
    Model::from_memory(&read("config.json"), None, vec![Arc::new(weights)], None).unwrap()
}

#[test]
fn cancelling_is_no_verdict() {
    struct Stop(Phase);
    impl Monitor for Stop {
        fn progress(&mut self, phase: Phase, _done: u64, _total: u64) -> Result<(), EngineError> {
            if phase == self.0 {
                Err(EngineError::Cancelled)
            } else {
                Ok(())
            }
        }
    }
    let (model, bytes) = honest(Sampler::Greedy);
    for phase in [Phase::Hash, Phase::Prefill, Phase::Checks] {
        let result = pollster::block_on(verify(
            &bytes,
            &model,
            &Device::Cpu,
            &Options::default(),
            &mut Stop(phase),
        ));
        assert!(
            matches!(result, Err(VerifyError::Engine(EngineError::Cancelled))),
            "{phase:?}"
        );
    }
}

#[test]
fn a_profile_is_measured_and_then_used() {
    use crate::calibrate::{Case, Kind, Plan, measure};
    let model = Model::demo().unwrap();
    let rounded = demo_in_int8();
    let honest: Vec<Vec<u8>> = (0..3)
        .map(|seed| prove(&model, &model, gumbel(seed, "0.8"), gumbel(seed, "0.8")))
        .collect();
    let int8 = prove(&rounded, &model, Sampler::Greedy, Sampler::Greedy);
    let case = |trace, kind| Case {
        trace,
        model: &model,
        model_name: "demo-llama",
        verifier: &Device::Cpu,
        prover: Some(&Device::Cpu),
        kind,
    };
    let mut cases: Vec<Case<'_>> = honest
        .iter()
        .map(|trace| case(trace, Kind::Honest))
        .collect();
    cases.push(case(&int8, Kind::Cheat("int8".into())));
    let plan = Plan {
        hides: Vec::new(),
        id: "test".into(),
        date: "2026-01-01".into(),
        command: "cargo test".into(),
        headroom: 8.0,
        logit_headroom: 8.0,
        numerics: Numerics::Strict,
    };
    let profile = pollster::block_on(measure(&cases, &plan, &mut Quiet)).unwrap();
    assert_eq!(
        (
            profile.honest.traces,
            profile.honest.false_rejects,
            profile.honest.replay_mismatches
        ),
        (3, 0, 0)
    );
    for kind in ["zero", "random", "shuffled", "sign_flipped", "int8"] {
        assert_eq!(profile.null_forgery[kind].accepted, 0, "{kind}");
    }
    println!("nearest cheat: {:?}", profile.nearest_cheat);
    let profiles = Profiles(vec![profile]);
    assert_eq!(
        run(&profiles, &honest[0], &model, &Options::default()).verdict,
        Verdict::Accept
    );
    assert_eq!(
        run(&profiles, &int8, &model, &Options::default()).verdict,
        Verdict::Reject
    );
}

#[test]
fn a_reject_may_come_early_and_nothing_else() {
    let (model, bytes) = honest(gumbel(5, "0.8"));
    let options = Options {
        stop_early: true,
        ..Options::default()
    };
    let all = PROMPT.len() + OUTPUT - 1;
    let whole = run(&profiles(), &bytes, &model, &options);
    assert_eq!(whole.verdict, Verdict::Accept, "{}", whole.summary);
    assert_eq!(
        (whole.coverage.positions, whole.coverage.positions_total),
        (all, all)
    );
    // Rows from `from` on are another run's; `seen` positions is where the chunks end after that: 16, then the rest.
    for (from, seen) in [(3, 16), (20, all)] {
        let forged = reroot(&bytes, |t| {
            let hidden = model.config().hidden;
            let rows = t.states.values_mut().last().unwrap();
            rows[from * hidden..].iter_mut().for_each(|x| *x *= 1.01);
        })
        .unwrap();
        let early = run(&profiles(), &forged, &model, &options);
        let late = run(&profiles(), &forged, &model, &Options::default());
        assert_eq!(early.verdict, Verdict::Reject, "{}", early.summary);
        assert_eq!(
            (early.coverage.positions, late.coverage.positions),
            (seen, all)
        );
        let first = |report: &Report| {
            let failed = report.checks.iter().find(|c| c.outcome == Outcome::Fail);
            failed.map(|check| (check.id, check.place))
        };
        assert_eq!(first(&early), first(&late));
        let says = early.coverage.not_covered.iter();
        assert_eq!(
            says.filter(|s| s.contains("stopped at the first evidence"))
                .count(),
            usize::from(seen < all)
        );
    }
    // A token that nothing explains, under its own honest states.
    let swapped = reroot(&bytes, |t| {
        let at = PROMPT.len() + 2;
        t.tokens[at] = (t.tokens[at] + 1) % 2048;
    })
    .unwrap();
    let report = run(&profiles(), &swapped, &model, &options);
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    assert_eq!(report.coverage.positions, 16);
}
