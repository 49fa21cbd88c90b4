//! Products of integers: the same sums on every device, audits without a tolerance, attacks by one unit, and the null test.

use assay_engine::{ActivationType, Device, Numerics};
use assay_key::{KeyMaker, KeyOptions, Seed};
use assay_model::Model;
use assay_prove::Open;
use assay_tests::exact::{
    BLOCKS, CASES, Case, INT8, asked, documented, judged_with, outcome, request,
};
use assay_tests::prover::{self, prove_rounding, root};
use assay_tests::{adapters, null};
use assay_trace::{EditableTrace, Linear, NumericsClass, StateDtype, Trace, reroot};
use assay_verify::exact::{P, P127};
use assay_verify::{Options, Verdict};

/// Decoded one by one and verified as one prefill, on each pair of devices: equal bits, sums included.
#[test]
fn sums_and_states_are_the_same_on_every_device_and_in_every_batch() {
    for case in CASES {
        same_on_every_device(case);
    }
}

fn same_on_every_device(case: &Case) {
    let mut roots = Vec::new();
    for (name, device) in adapters::devices() {
        for open in [None, Some(Open::All)] {
            let trace = case.proved(&device, case.model(), open);
            let parsed = Trace::parse(&trace).expect("it parses");
            let manifest = parsed.manifest();
            assert_eq!(manifest.numerics.class, NumericsClass::Exact);
            assert_eq!(manifest.numerics.activations, case.activations.claim());
            let has_sums = manifest.linears.is_some();
            roots.push((has_sums, manifest.root, parsed.tokens().to_vec()));
            for (verifier, verify_on) in adapters::devices() {
                let report =
                    prover::verify(&verify_on, case.model(), &trace, &asked(case.activations));
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
    for case in CASES {
        let trace = prove_rounding(
            &device,
            case.model(),
            root(case.model()),
            &request(Some(Open::All)),
            Numerics::Fast,
            case.activations,
        );
        let report = case.judged(&trace);
        let verdict = (report.verdict, outcome(&report, "profile"));
        let want = (Verdict::Inconclusive, "Inconclusive no-profile".to_owned());
        assert_eq!(verdict, want, "{name}");
    }
}

/// What was bought is what is checked.
#[test]
fn a_statement_that_was_not_asked_for_is_refused() {
    for case in CASES {
        refused_unless_asked_for(case);
    }
}

fn refused_unless_asked_for(case: &Case) {
    let trace = case.proved(&Device::Cpu, case.model(), None);
    let float = prover::prove_with(
        &Device::Cpu,
        case.model(),
        root(case.model()),
        &request(None),
        Numerics::Strict,
    );
    for (trace, asked_for) in [
        (&trace, ActivationType::Float),
        (&trace, ActivationType::Ggml),
        (&float, case.activations),
    ] {
        let report = prover::verify(&Device::Cpu, case.model(), trace, &asked(asked_for));
        assert_eq!(report.verdict, Verdict::Reject);
        assert_eq!(report.failed_codes(), ["activations"]);
    }
    // Integers run, floats stated.
    let lie = reroot(&trace, |t| {
        t.manifest.numerics.activations = None;
        t.manifest.numerics.class = NumericsClass::Strict;
    })
    .expect("it seals");
    let report = prover::verify(&Device::Cpu, case.model(), &lie, &Options::default());
    assert_eq!(report.verdict, Verdict::Reject, "{}", report.summary);
    assert!(report.failed_codes().contains(&"strict-state"));
    let audited = judged_with(case.key(), &Device::Cpu, case.honest(), &Options::default());
    assert_eq!(audited.failed_codes(), ["activations"]);
    // And a key for something else than was asked for says nothing at all.
    let float_open = prover::prove_with(
        &Device::Cpu,
        case.model(),
        root(case.model()),
        &request(Some(Open::All)),
        Numerics::Strict,
    );
    let report = judged_with(case.key(), &Device::Cpu, &float_open, &Options::default());
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
    for case in CASES {
        accepted_on_every_device(case);
    }
}

fn accepted_on_every_device(case: &Case) {
    let order = match case.activations {
        ActivationType::Int8 => P as f64,
        _ => P127 as f64,
    };
    for (name, device) in adapters::devices() {
        let report = judged_with(case.key(), &device, case.honest(), &asked(case.activations));
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
        let positions = Trace::parse(case.honest()).expect("it parses").positions();
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
        assert_eq!(chance, (56 * positions) as f64 / order);
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
    for case in CASES {
        let trace = case.proved(&Device::Cpu, case.model(), Some(draw.clone()));
        let report = case.judged(&trace);
        assert_eq!(outcome(&report, "linear-layers"), "Pass ok");
        assert_eq!(outcome(&report, "layer-transition"), "Pass ok");
        let audit = report.audit.expect("an audit");
        let tiers: Vec<_> = audit.tiers.iter().map(|tier| tier.tier).collect();
        assert_eq!(tiers, ["exact"]);
    }
}

#[test]
fn one_unit_of_one_sum_is_found_wherever_it_is() {
    let all = CASES.into_iter().flat_map(|case| {
        let linears = Linear::ALL.into_iter().enumerate();
        linears.map(move |(i, linear)| (case, i, linear))
    });
    for (case, i, linear) in all {
        let positions = Trace::parse(case.honest()).expect("it parses").positions();
        let (layer, position) = (i as u32, (5 * i + 1) % positions);
        for step in [-1, 1] {
            let trace = case.forged(|t| {
                let z = t.sums.get_mut(&(layer, linear)).expect("open");
                let width = z.len() / positions;
                z[position * width + (7 * i) % width] += step;
            });
            case.rejected(&trace, "exact-product", Some((layer, position)));
        }
    }
}

#[test]
fn sums_out_of_range_are_refused_by_their_own_code() {
    for value in [i32::MIN, i32::MAX, 192 * 128 * 128 + 1].map(i64::from) {
        let trace = INT8.forged(|t| t.sums.get_mut(&(3, Linear::Gate)).expect("open")[5] = value);
        INT8.rejected(&trace, "exact-range", Some((3, 0)));
    }
    // Of 64 bits every one is in range, and the last stands for none.
    for value in [-i64::MAX, i64::MAX, 1 << 62] {
        let trace = BLOCKS.forged(|t| t.sums.get_mut(&(3, Linear::Gate)).expect("open")[5] = value);
        BLOCKS.rejected(&trace, "exact-product", Some((3, 0)));
    }
    let trace = BLOCKS.forged(|t| t.sums.get_mut(&(3, Linear::Gate)).expect("open")[5] = i64::MIN);
    BLOCKS.rejected(&trace, "structure", None);
}

#[test]
fn scaled_sums_a_matrix_of_another_model_and_tampered_inputs_are_found() {
    for case in CASES {
        tampering_is_found(case);
    }
}

fn tampering_is_found(case: &Case) {
    for factor in [2, 0, -1] {
        let trace = case.forged(|t| {
            let z = t.sums.get_mut(&(4, Linear::Down)).expect("open");
            z.iter_mut().for_each(|z| *z *= factor);
        });
        case.rejected(&trace, "exact-product", Some((4, 0)));
    }
    // The same tokens and inputs up to that product: only the matrix is another one's.
    let other = case.proved(&Device::Cpu, case.other(), Some(Open::All));
    let other = EditableTrace::from_trace(&Trace::parse(&other).expect("it parses"));
    let trace = case.forged(|t| {
        let at = (2, Linear::Up);
        let len = t.sums[&at].len();
        let foreign = &other.sums[&at];
        assert_eq!(foreign.len(), len);
        t.sums.insert(at, foreign.clone());
    });
    case.rejected(&trace, "exact-product", Some((2, 0)));
    // A whole run of it, claimed as ours.
    let trace = reroot(
        &case.proved(&Device::Cpu, case.other(), Some(Open::All)),
        |t| {
            t.manifest.model.root = root(case.model());
        },
    )
    .expect("it seals");
    case.rejected(&trace, "exact-product", Some((2, 0)));
    // The input of layer 5, by a hundredth of one channel: its own rounding makes other integers of it, or none of them changes and
    // then the layer before does not lead there.
    let hidden = case.model().config().hidden;
    let trace = case.forged(|t| t.states.get_mut(&5).expect("open")[3 * hidden + 1] *= 1.01);
    let report = case.judged(&trace);
    assert_eq!(report.verdict, Verdict::Reject);
    let known = ["exact-product", "layer-transition"];
    assert!(
        report
            .failed_codes()
            .iter()
            .all(|code| known.contains(code))
    );
    // By one bit of the last state, which nothing multiplies: it does not follow.
    let trace = case.forged(|t| {
        let last = t.states.get_mut(&8).expect("open");
        last[hidden + 2] = f32::from_bits(last[hidden + 2].to_bits() ^ 1);
    });
    case.rejected(&trace, "layer-transition", Some((8, 1)));
}

/// Sums and states that no model has, in a file that is well formed.
#[test]
fn hostile_values_have_a_verdict() {
    for case in CASES {
        values_have_a_verdict(case);
    }
}

fn values_have_a_verdict(case: &Case) {
    let hidden = case.model().config().hidden;
    for value in [f32::MAX, -f32::MAX, 1e-40, 3e6] {
        let trace = case.forged(|t| t.states.get_mut(&2).expect("open")[hidden..].fill(value));
        assert_eq!(case.judged(&trace).verdict, Verdict::Reject, "{value}");
    }
    // Too narrow to hold the bits that are promised.
    let narrow = case.forged(|t| t.manifest.state_dtype = StateDtype::Bf16);
    assert_ne!(case.judged(&narrow).verdict, Verdict::Accept);
    // All sums in range, none of them right.
    let trace = case.forged(|t| t.sums.values_mut().for_each(|z| z.fill(1)));
    case.rejected(&trace, "exact-product", Some((0, 0)));
}

/// Another key each time: none of these may pass with any.
#[test]
fn null_openings_are_never_accepted() {
    for case in CASES {
        null_is_rejected(case);
    }
}

fn null_is_rejected(case: &Case) {
    let other = case.proved(&Device::Cpu, case.other(), Some(Open::All));
    for kind in null::KINDS {
        let trace = null::forged(case.honest(), &other, kind);
        for _ in 0..3 {
            let key = case.make_key();
            let report = judged_with(&key, &Device::Cpu, &trace, &asked(case.activations));
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
    for (case, model, stored) in [
        (&INT8, &demo, "stored as bf16"),
        (&BLOCKS, &demo, "stored as bf16"),
        (&INT8, BLOCKS.model(), "stored as q8_0"),
        (&BLOCKS, INT8.model(), "stored as int8"),
    ] {
        let error = case.activations.check(model).expect_err("other types");
        assert!(error.to_string().contains(stored), "{error}");
        let options = KeyOptions {
            activations: case.activations.claim(),
            ..KeyOptions::default()
        };
        let seed = Seed::from_os().expect("randomness");
        let error = KeyMaker::new(model, root(model), seed, &options).expect_err("other types");
        assert_eq!(error.code(), "stored-type");
    }
    assert!(ActivationType::Ggml.check(INT8.model()).is_err());
}
