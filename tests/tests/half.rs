//! Provers in half precision, verified by replay: their distance is counted in what rounding makes of the verifier's own run.

use assay_engine::sampler::SamplerSpec;
use assay_engine::{CacheFormat, Device, Engine, Numerics, Quiet, Rounding};
use assay_experiment::alter::Weights;
use assay_experiment::plain::{Alter, Plain};
use assay_model::Model;
use assay_prove::Request;
use assay_tests::cheats::{self, Cheat};
use assay_tests::{adapters, data, prover};
use assay_verify::report::Verdict;
use assay_verify::{Options, Report};

fn request(model: &Model, n_prompt: u32, sampler: SamplerSpec) -> Request {
    let vocab = model.config().vocab as u32;
    Request {
        prompt: (0..n_prompt).map(|i| (i * 41 + 17) % vocab).collect(),
        max_tokens: 32,
        sampler,
        ignore_eos: true,
        nonce: None,
        opened: None,
        audit: None,
    }
}

fn alter(rounding: Rounding) -> Alter {
    Alter {
        rounding,
        ..Alter::default()
    }
}

/// The demo model by the plain pass, which shares no kernel with the verifier.
fn plain_trace(model: &Model, ran: &Plain, alter: Alter) -> Vec<u8> {
    let request = request(model, 48, prover::SAMPLED);
    prover::prove_plain(ran, model, prover::root(model), &request, alter)
}

fn verified(device: &Device, model: &Model, trace: &[u8]) -> Report {
    prover::verify(device, model, trace, &Options::default())
}

#[test]
fn honest_provers_are_accepted_on_every_device() {
    let folder = tempfile::tempdir().expect("a folder");
    for (rounding, model) in [
        (Rounding::Bf16, Model::demo().expect("the demo model")),
        (Rounding::F16, data::demo_in_f16(folder.path())),
    ] {
        let plain = Plain::load(&model).expect("it loads");
        let ways = [
            alter(rounding),
            Alter {
                is_fused: true,
                splits: 3,
                ..alter(rounding)
            },
        ];
        for way in ways {
            let trace = plain_trace(&model, &plain, way);
            for (name, device) in adapters::devices() {
                let report = verified(&device, &model, &trace);
                let verdict = report.verdict;
                assert_eq!(
                    verdict,
                    Verdict::Accept,
                    "{rounding:?} on {name}: {}",
                    report.summary
                );
                // Nothing was equal to the last bit, so it was the distances that passed.
                assert!(
                    report.coverage.exact_fraction < 0.5,
                    "{rounding:?} on {name}"
                );
            }
        }
    }
}

#[test]
fn cheats_are_rejected_each_by_its_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let models = [
        (Rounding::Bf16, Model::demo().expect("the demo model")),
        (Rounding::F16, data::demo_in_f16(folder.path())),
    ];
    let altered = |i: usize, weights: Weights| weights.of(&models[i].1).expect("a copy");
    let other = cheats::demo(Cheat::Other);
    for (cheat, i, ran, cache, code) in [
        (
            "fp8",
            0,
            altered(0, Weights::Fp8),
            CacheFormat::Exact,
            "state-drift",
        ),
        (
            "int4",
            0,
            altered(0, Weights::Int4),
            CacheFormat::Exact,
            "state-precision",
        ),
        (
            "skip",
            0,
            altered(0, Weights::Skip(3)),
            CacheFormat::Exact,
            "layer-repeat",
        ),
        ("other", 0, other, CacheFormat::Exact, "state-embedding"),
        (
            "int8",
            1,
            altered(1, Weights::Int8),
            CacheFormat::Exact,
            "state-drift",
        ),
        (
            "fine-tune",
            1,
            altered(1, Weights::FineTune),
            CacheFormat::Exact,
            "state-drift",
        ),
        (
            "int8 KV",
            1,
            altered(1, Weights::Skip(99)),
            CacheFormat::Int8,
            "state-drift",
        ),
    ] {
        let (rounding, model) = &models[i];
        let plain = Plain::load(&ran).expect("it loads");
        let way = Alter {
            cache,
            ..alter(*rounding)
        };
        let trace = plain_trace(model, &plain, way);
        for (name, device) in adapters::devices() {
            let report = verified(&device, model, &trace);
            let (summary, test) = (&report.summary, &report.statistics.sequential);
            assert_eq!(
                report.verdict,
                Verdict::Reject,
                "{cheat} on {name}: {summary} {test:?}"
            );
            let codes = report.failed_codes();
            assert!(
                codes.contains(&code),
                "{cheat} on {name}: {codes:?}, {test:?}"
            );
        }
    }
}

/// What honest rounding hides is accepted, and the report says so: a test that this stays known.
#[test]
fn what_bf16_hides_is_named() {
    let model = Model::demo().expect("the demo model");
    let int8 = Weights::Int8.of(&model).expect("a copy");
    let ran = [
        ("int8:", &int8, CacheFormat::Exact),
        ("int8 KV:", &model, CacheFormat::Int8),
    ];
    for (name, ran, cache) in ran {
        let plain = Plain::load(ran).expect("it loads");
        let hidden = Alter {
            cache,
            ..alter(Rounding::Bf16)
        };
        let report = verified(&Device::Cpu, &model, &plain_trace(&model, &plain, hidden));
        assert_eq!(report.verdict, Verdict::Accept, "{}", report.summary);
        let left = &report.coverage.not_covered;
        assert!(left.iter().any(|line| line.starts_with(name)), "{left:?}");
    }
}

/// torch's own numbers (tests/golden/transformers): verified without the key that they were made for.
#[test]
fn golden_traces_of_transformers_are_accepted_by_replay() {
    let model = Model::demo().expect("the demo model");
    for name in ["demo-bf16-greedy-offline.bin", "demo-bf16-sampled-all.bin"] {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/transformers");
        let trace = std::fs::read(path.join(name)).expect("it is in the checkout");
        for (device_name, device) in adapters::devices() {
            let report = verified(&device, &model, &trace);
            let verdict = report.verdict;
            assert_eq!(
                verdict,
                Verdict::Accept,
                "{name} on {device_name}: {}",
                report.summary
            );
        }
    }
}

/// The emulation is strict, so it is one function everywhere: a prover that emulates is exactly as far away as the verifier's own run.
#[test]
fn the_emulation_is_the_same_on_every_device() {
    let model = Model::demo().expect("the demo model");
    let request = request(&model, 30, SamplerSpec::Greedy);
    let root = prover::root(&model);
    let mut traces = Vec::new();
    for (_, device) in adapters::devices() {
        let mut quiet = Quiet;
        let loaded = Engine::load(&device, &model, 62, Numerics::Fast, &mut quiet);
        let mut engine = pollster::block_on(loaded).expect("it loads");
        pollster::block_on(engine.keep(Rounding::Bf16)).expect("it emulates");
        let proved = assay_prove::prove(&mut engine, &model, root, &request, &mut quiet);
        let proved = pollster::block_on(proved).expect("it proves");
        traces.push(proved.trace.to_bytes());
    }
    let parsed = |bytes: &[u8]| {
        let trace = assay_trace::Trace::parse(bytes).expect("it parses");
        let digests: Vec<_> = (0..trace.positions())
            .flat_map(|p| (0..=8).map(move |l| (l, p)))
            .map(|(l, p)| trace.state_digest(l, p))
            .collect();
        (trace.tokens().to_vec(), digests)
    };
    for trace in &traces {
        assert!(parsed(trace) == parsed(&traces[0]));
        let report = verified(&Device::Cpu, &model, trace);
        assert_eq!(report.verdict, Verdict::Accept, "{}", report.summary);
    }
}

/// f32 is nearer than any rounding: a claim of bf16 that is better than it says is accepted, one of f32 that is worse is not.
#[test]
fn a_claim_is_judged_as_what_it_claims() {
    let model = Model::demo().expect("the demo model");
    let plain = Plain::load(&model).expect("it loads");
    let of = |rounding, compute| {
        let trace = plain_trace(&model, &plain, alter(rounding));
        assay_trace::reroot(&trace, |trace| trace.manifest.numerics.compute = compute)
            .expect("it re-seals")
    };
    let worse = of(Rounding::Bf16, assay_trace::Compute::F32);
    let report = verified(&Device::Cpu, &model, &worse);
    // bf16 states with f32 arithmetic are covered by no profile, or rejected by one: never accepted.
    assert_ne!(report.verdict, Verdict::Accept, "{}", report.summary);
}
