//! Products of integers: the same sums on every device, audits without a tolerance, attacks by one unit, and the null test.

use std::sync::OnceLock;

use assay_engine::{ActivationType, Device, Numerics, Quiet};
use assay_key::{KeyMaker, KeyOptions, Seed, VerifierKey};
use assay_model::Model;
use assay_model::quantize::{Target, write_folder};
use assay_prove::{Open, Request};
use assay_tests::prover::{self, SAMPLED, prove_rounding, root};
use assay_tests::{adapters, null};
use assay_trace::{
    ActivationsClaim, EditableTrace, Linear, NumericsClass, StateDtype, Trace, reroot,
};
use assay_verify::audit::audit;
use assay_verify::exact::P;
use assay_verify::{Options, Outcome, Report, Verdict};

const PROMPT: &str = "First Citizen:\nBefore we proceed";
const INT8: ActivationType = ActivationType::Int8;

/// The demo model with 8-bit weights, one scale a row.
fn model() -> &'static Model {
    static MODEL: OnceLock<(tempfile::TempDir, Model)> = OnceLock::new();
    let made = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("int8");
        let demo = Model::demo().expect("the demo model");
        write_folder(&demo, Target::Int8, &path, &[], &mut |_, _| {}).expect("it is written");
        let model = Model::open(&path).expect("it opens");
        (folder, model)
    });
    &made.1
}

/// The same model with the signs of one matrix's integers turned.
fn other_model() -> &'static Model {
    static MODEL: OnceLock<(tempfile::TempDir, Model)> = OnceLock::new();
    let made = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("other");
        let demo = Model::demo().expect("the demo model");
        write_folder(&demo, Target::Int8, &path, &[], &mut |_, _| {}).expect("it is written");
        let file = path.join("model.safetensors");
        let mut bytes = std::fs::read(&file).expect("it reads");
        let (header, metadata) =
            safetensors::SafeTensors::read_metadata(&bytes).expect("it parses");
        let name = "model.layers.2.mlp.up_proj.weight";
        let (begin, end) = metadata.info(name).expect("the matrix").data_offsets;
        for byte in &mut bytes[8 + header + begin..8 + header + end] {
            *byte = byte.wrapping_neg();
        }
        std::fs::write(&file, bytes).expect("it writes");
        (folder, Model::open(&path).expect("it opens"))
    });
    &made.1
}

fn request(open: Option<Open>) -> Request {
    Request {
        audit: open,
        ignore_eos: true,
        ..prover::request(PROMPT, 10, SAMPLED)
    }
}

fn proved(device: &Device, model: &Model, open: Option<Open>) -> Vec<u8> {
    prove_rounding(
        device,
        model,
        root(model),
        &request(open),
        Numerics::Strict,
        INT8,
    )
}

/// An honest trace with everything open.
fn honest() -> &'static [u8] {
    static TRACE: OnceLock<Vec<u8>> = OnceLock::new();
    TRACE.get_or_init(|| proved(&Device::Cpu, model(), Some(Open::All)))
}

fn make_key(model: &Model) -> VerifierKey {
    let options = KeyOptions {
        activations: Some(ActivationsClaim::Int8),
        ..KeyOptions::default()
    };
    let seed = Seed::from_os().expect("randomness");
    let mut maker = KeyMaker::new(model, root(model), seed, &options).expect("a maker");
    while !maker.step().expect("a step") {}
    maker.finish().expect("a key")
}

/// A key of this run's own: nothing below may depend on which.
fn key() -> &'static VerifierKey {
    static KEY: OnceLock<VerifierKey> = OnceLock::new();
    KEY.get_or_init(|| make_key(model()))
}

fn asked(activations: ActivationType) -> Options {
    Options {
        activations,
        ..Options::default()
    }
}

fn judged_with(key: &VerifierKey, device: &Device, trace: &[u8], options: &Options) -> Report {
    let report = pollster::block_on(audit(trace, key, device, options, &mut Quiet))
        .expect("the verifier works")
        .report;
    documented(&report);
    report
}

fn documented(report: &Report) {
    let schema = include_str!("../../docs/report.schema.json");
    let schema = serde_json::from_str(schema).expect("it parses");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let json = serde_json::from_str(&report.to_json().expect("it has a form")).expect("it parses");
    let faults: Vec<_> = validator
        .iter_errors(&json)
        .map(|err| format!("{}: {err}", err.instance_path))
        .collect();
    assert!(faults.is_empty(), "{faults:#?}");
    let documented = include_str!("../../docs/checks.md");
    for check in &report.checks {
        let code = format!("`{}`", check.code);
        assert!(documented.contains(&code), "undocumented code {code}");
    }
}

fn judged(trace: &[u8]) -> Report {
    judged_with(key(), &Device::Cpu, trace, &asked(INT8))
}

fn forged(change: impl FnOnce(&mut EditableTrace)) -> Vec<u8> {
    reroot(honest(), change).expect("it seals")
}

/// Rejected with this code first, at this state's layer and position, where they are given.
#[track_caller]
fn rejected(trace: &[u8], code: &str, place: Option<(u32, usize)>) {
    let report = judged(trace);
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    let failed = report.checks.iter().find(|c| c.outcome == Outcome::Fail);
    let failed = failed.expect("a failed check");
    assert_eq!(failed.code, code, "{}", failed.detail);
    if let Some((layer, position)) = place {
        let found = failed.place.as_ref().expect("a place");
        assert_eq!((found.layer, found.position), (Some(layer), Some(position)));
    }
}

fn outcome(report: &Report, id: &str) -> String {
    let check = report.checks.iter().find(|check| check.id == id);
    let check = check.expect("a check");
    format!("{:?} {}", check.outcome, check.code)
}

/// Decoded one by one and verified as one prefill, on each pair of devices: equal bits, sums included.
#[test]
fn sums_and_states_are_the_same_on_every_device_and_in_every_batch() {
    let mut roots = Vec::new();
    for (name, device) in adapters::devices() {
        for open in [None, Some(Open::All)] {
            let trace = proved(&device, model(), open);
            let parsed = Trace::parse(&trace).expect("it parses");
            let manifest = parsed.manifest();
            assert_eq!(manifest.numerics.class, NumericsClass::Exact);
            assert_eq!(manifest.numerics.activations, Some(ActivationsClaim::Int8));
            let has_sums = manifest.linears.is_some();
            roots.push((has_sums, manifest.root, parsed.tokens().to_vec()));
            for (verifier, verify_on) in adapters::devices() {
                let report = prover::verify(&verify_on, model(), &trace, &asked(INT8));
                documented(&report);
                let verdict = (report.verdict, outcome(&report, "strict"));
                let accepted = (Verdict::Accept, "Pass ok".to_owned());
                assert_eq!(
                    verdict, accepted,
                    "{name} -> {verifier}: {}",
                    report.summary
                );
            }
        }
    }
    for kind in [false, true] {
        let mut same = roots.iter().filter(|(has_sums, ..)| *has_sums == kind);
        let first = same.next().expect("a root");
        assert!(same.all(|other| other == first));
    }
}

/// Fast arithmetic around the same integers is near, and its states are not the same bits; nobody measured how near honest ones are.
#[test]
fn fast_numerics_are_inconclusive() {
    let Some((name, device)) = adapters::devices().into_iter().find(|(n, _)| n != "cpu") else {
        return;
    };
    let request = request(Some(Open::All));
    let trace = prove_rounding(
        &device,
        model(),
        root(model()),
        &request,
        Numerics::Fast,
        INT8,
    );
    let report = judged(&trace);
    let verdict = (report.verdict, outcome(&report, "profile"));
    let want = (Verdict::Inconclusive, "Inconclusive no-profile".to_owned());
    assert_eq!(verdict, want, "{name}");
}

/// What was bought is what is checked.
#[test]
fn a_statement_that_was_not_asked_for_is_refused() {
    let trace = proved(&Device::Cpu, model(), None);
    let float = prover::prove_with(
        &Device::Cpu,
        model(),
        root(model()),
        &request(None),
        Numerics::Strict,
    );
    for (trace, asked_for) in [
        (&trace, ActivationType::Float),
        (&trace, ActivationType::Ggml),
        (&float, INT8),
    ] {
        let report = prover::verify(&Device::Cpu, model(), trace, &asked(asked_for));
        assert_eq!(report.verdict, Verdict::Reject);
        assert_eq!(report.failed_codes(), ["activations"]);
    }
    // Integers run, floats stated.
    let lie = reroot(&trace, |t| {
        t.manifest.numerics.activations = None;
        t.manifest.numerics.class = NumericsClass::Strict;
    })
    .expect("it seals");
    let report = prover::verify(&Device::Cpu, model(), &lie, &Options::default());
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    assert!(report.failed_codes().contains(&"strict-state"));
    let audited = judged_with(key(), &Device::Cpu, honest(), &Options::default());
    assert_eq!(audited.failed_codes(), ["activations"]);
    // And a key for something else than was asked for says nothing at all.
    let float_open = prover::prove_with(
        &Device::Cpu,
        model(),
        root(model()),
        &request(Some(Open::All)),
        Numerics::Strict,
    );
    let report = judged_with(key(), &Device::Cpu, &float_open, &Options::default());
    let verdict = (report.verdict, outcome(&report, "linear-layers"));
    assert_eq!(
        verdict,
        (
            Verdict::Inconclusive,
            "Inconclusive key-activations".to_owned()
        )
    );
}

#[test]
fn honest_sums_are_accepted_exactly_on_every_device() {
    for (name, device) in adapters::devices() {
        let report = judged_with(key(), &device, honest(), &asked(INT8));
        assert_eq!(
            report.verdict,
            Verdict::Accept,
            "{name}: {}",
            report.summary
        );
        let audit = report.audit.expect("an audit");
        let rows = |name: &str| {
            audit
                .streams
                .iter()
                .find(|s| s.name == name)
                .map(|s| (s.how, s.rows))
        };
        let positions = Trace::parse(honest()).expect("it parses").positions();
        for stream in ["Q", "K", "V", "O", "gate", "up", "down"] {
            assert_eq!(rows(stream), Some(("exact", 8 * positions)), "{stream}");
        }
        assert_eq!(rows("logits"), Some(("projected", 10)));
        let tier = &audit.tiers[0];
        assert_eq!((tier.tier, tier.failed), ("exact", 0));
        assert_eq!(
            (tier.tests, tier.false_reject),
            (56 * positions as u64, 0.0)
        );
        let chance = tier.false_accept[0].chance.expect("a chance");
        assert_eq!(chance, (56 * positions) as f64 / P as f64);
        // What floats are tested by has tests of the logits alone.
        assert!(audit.tiers[1..].iter().all(|tier| tier.tests <= 40));
    }
}

/// Part of the layers, drawn from the root.
#[test]
fn a_drawn_opening_is_accepted_exactly() {
    let draw = Open::Draw {
        layers: 2,
        logits: 0,
    };
    let trace = proved(&Device::Cpu, model(), Some(draw));
    let report = judged(&trace);
    assert_eq!(outcome(&report, "linear-layers"), "Pass ok");
    assert_eq!(outcome(&report, "layer-transition"), "Pass ok");
    let audit = report.audit.expect("an audit");
    let tiers: Vec<_> = audit.tiers.iter().map(|tier| tier.tier).collect();
    assert_eq!(tiers, ["exact"]);
}

#[test]
fn one_unit_of_one_sum_is_found_wherever_it_is() {
    let positions = Trace::parse(honest()).expect("it parses").positions();
    for (i, linear) in Linear::ALL.into_iter().enumerate() {
        let (layer, position) = (i as u32, (5 * i + 1) % positions);
        for step in [-1, 1] {
            let trace = forged(|t| {
                let z = t.sums.get_mut(&(layer, linear)).expect("open");
                let width = z.len() / positions;
                z[position * width + (7 * i) % width] += step;
            });
            rejected(&trace, "exact-product", Some((layer, position)));
        }
    }
}

#[test]
fn sums_out_of_range_are_refused_by_their_own_code() {
    for value in [i32::MIN, i32::MAX, 192 * 128 * 128 + 1] {
        let trace = forged(|t| t.sums.get_mut(&(3, Linear::Gate)).expect("open")[5] = value);
        rejected(&trace, "exact-range", Some((3, 0)));
    }
}

#[test]
fn scaled_sums_a_matrix_of_another_model_and_tampered_inputs_are_found() {
    for factor in [2, 0, -1] {
        let trace = forged(|t| {
            let z = t.sums.get_mut(&(4, Linear::Down)).expect("open");
            z.iter_mut().for_each(|z| *z *= factor);
        });
        rejected(&trace, "exact-product", Some((4, 0)));
    }
    // The same tokens and inputs up to that product: only the matrix is another one's.
    let other = proved(&Device::Cpu, other_model(), Some(Open::All));
    let other = EditableTrace::from_trace(&Trace::parse(&other).expect("it parses"));
    let trace = forged(|t| {
        let at = (2, Linear::Up);
        let len = t.sums[&at].len();
        let foreign = &other.sums[&at];
        assert_eq!(foreign.len(), len);
        t.sums.insert(at, foreign.clone());
    });
    rejected(&trace, "exact-product", Some((2, 0)));
    // A whole run of it, claimed as ours.
    let trace = reroot(&proved(&Device::Cpu, other_model(), Some(Open::All)), |t| {
        t.manifest.model.root = root(model());
    })
    .expect("it seals");
    rejected(&trace, "exact-product", Some((2, 0)));
    // The input of layer 5, by a hundredth of one channel: its own rounding makes other integers of it, or none of them changes and
    // then the layer before does not lead there.
    let hidden = model().config().hidden;
    let trace = forged(|t| t.states.get_mut(&5).expect("open")[3 * hidden + 1] *= 1.01);
    let report = judged(&trace);
    assert_eq!(report.verdict, Verdict::Reject);
    let known = ["exact-product", "layer-transition"];
    assert!(
        report
            .failed_codes()
            .iter()
            .all(|code| known.contains(code))
    );
    // By one bit of the last state, which nothing multiplies: it does not follow.
    let trace = forged(|t| {
        let last = t.states.get_mut(&8).expect("open");
        last[hidden + 2] = f32::from_bits(last[hidden + 2].to_bits() ^ 1);
    });
    rejected(&trace, "layer-transition", Some((8, 1)));
}

/// Sums and states that no model has, in a file that is well formed.
#[test]
fn hostile_values_have_a_verdict() {
    let hidden = model().config().hidden;
    for value in [f32::MAX, -f32::MAX, 1e-40, 3e6] {
        let trace = forged(|t| t.states.get_mut(&2).expect("open")[hidden..].fill(value));
        assert_eq!(judged(&trace).verdict, Verdict::Reject, "{value}");
    }
    // Too narrow to hold the bits that are promised.
    let narrow = forged(|t| t.manifest.state_dtype = StateDtype::Bf16);
    assert_ne!(judged(&narrow).verdict, Verdict::Accept);
    // All sums in range, none of them right.
    let trace = forged(|t| t.sums.values_mut().for_each(|z| z.fill(1)));
    rejected(&trace, "exact-product", Some((0, 0)));
}

/// Another key each time: none of these may pass with any.
#[test]
fn null_openings_are_never_accepted() {
    let other = proved(&Device::Cpu, other_model(), Some(Open::All));
    for kind in null::KINDS {
        let trace = null::forged(honest(), &other, kind);
        for _ in 0..3 {
            let key = make_key(model());
            let report = judged_with(&key, &Device::Cpu, &trace, &asked(INT8));
            assert_eq!(
                report.verdict,
                Verdict::Reject,
                "{kind}: {}",
                report.summary
            );
            assert_eq!(
                outcome(&report, "linear-layers"),
                "Fail exact-product",
                "{kind}"
            );
        }
    }
}

#[test]
fn models_without_such_integers_are_refused_by_name() {
    let demo = Model::demo().expect("the demo model");
    let error = INT8.check(&demo).expect_err("floats");
    assert!(error.to_string().contains("stored as bf16"), "{error}");
    assert!(ActivationType::Ggml.check(model()).is_err());
    let options = KeyOptions {
        activations: Some(ActivationsClaim::Int8),
        ..KeyOptions::default()
    };
    let seed = Seed::from_os().expect("randomness");
    let error = KeyMaker::new(&demo, root(&demo), seed, &options).expect_err("floats");
    assert_eq!(error.code(), "stored-type");
}
