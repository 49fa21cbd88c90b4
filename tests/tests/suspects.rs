//! Suspects: whether hidden states lean towards a model that the verifier names, where their distance says nothing.

use std::sync::Arc;

use assay_engine::{CacheFormat, Device, Rounding};
use assay_experiment::alter::Weights;
use assay_experiment::plain::{Alter, Plain};
use assay_model::{Model, rounded::Format};
use assay_prove::Request;
use assay_tests::cheats::{self, Cheat};
use assay_tests::{adapters, prover};
use assay_verify::report::{Outcome, Verdict};
use assay_verify::suspects::{Finding, Ran};
use assay_verify::{Options, Report, Suspect, VerifyError};

fn request(model: &Model) -> Request {
    let vocab = model.config().vocab as u32;
    Request {
        prompt: (0..40).map(|i| (i * 41 + 17) % vocab).collect(),
        max_tokens: 24,
        sampler: prover::SAMPLED,
        ignore_eos: true,
        nonce: None,
        opened: None,
        audit: None,
    }
}

/// A trace that claims `model`, by whoever ran `ran`.
fn trace(model: &Model, ran: &Model, rounding: Rounding) -> Vec<u8> {
    let plain = Plain::load(ran).expect("it loads");
    let alter = Alter {
        rounding,
        ..Alter::default()
    };
    prover::prove_plain(&plain, model, prover::root(model), &request(model), alter)
}

fn suspect(name: &str, model: Model) -> Suspect {
    Suspect {
        name: name.to_owned(),
        ran: Ran::Model(Arc::new(model)),
    }
}

fn formats(model: &Model) -> Vec<Suspect> {
    let of = |format: Format| suspect(format.name(), model.rounded(format).expect("a copy"));
    Format::ALL.into_iter().map(of).collect()
}

fn verified(device: &Device, model: &Model, trace: &[u8], suspects: &[Suspect]) -> Report {
    let options = Options {
        suspects: suspects.to_vec(),
        ..Options::default()
    };
    prover::verify(device, model, trace, &options)
}

fn found(report: &Report) -> (Outcome, &'static str) {
    let check = report.checks.iter().find(|check| check.id == "suspects");
    let check = check.expect("every report lists it");
    (check.outcome, check.code)
}

#[test]
fn eight_bits_in_bf16_are_accepted_unless_they_are_suspected() {
    let model = Model::demo().expect("the demo model");
    let suspects = formats(&model);
    let honest = trace(&model, &model, Rounding::Bf16);
    for format in [Format::Int8, Format::Q8_0] {
        let ran = model.rounded(format).expect("a copy");
        let cheat = trace(&model, &ran, Rounding::Bf16);
        for (name, device) in adapters::devices() {
            let report = verified(&device, &model, &cheat, &[]);
            assert_eq!(
                report.verdict,
                Verdict::Accept,
                "{name}: {}",
                report.summary
            );
            assert_eq!(found(&report), (Outcome::Skipped, "skipped"));
            let report = verified(&device, &model, &cheat, &suspects);
            assert_eq!(
                report.verdict,
                Verdict::Reject,
                "{name}: {}",
                report.summary
            );
            assert_eq!(found(&report).1, "suspect-match", "{name}");
            for lean in &report.statistics.suspects {
                let is_it = lean.name == format.name();
                assert_eq!(lean.lean > 0.5, is_it, "{name}: {lean:?}");
            }
        }
    }
    for (name, device) in adapters::devices() {
        let report = verified(&device, &model, &honest, &suspects);
        assert_eq!(
            report.verdict,
            Verdict::Accept,
            "{name}: {}",
            report.summary
        );
        assert_eq!(found(&report), (Outcome::Pass, "ok"));
        assert_eq!(report.statistics.suspects.len(), suspects.len());
    }
}

#[test]
fn another_fine_tune_is_found_by_its_checkpoint() {
    let model = Model::demo().expect("the demo model");
    let tuned = Weights::FineTune.of(&model).expect("a copy");
    let cheat = trace(&model, &tuned, Rounding::Bf16);
    let honest = trace(&model, &model, Rounding::Bf16);
    let suspects = [suspect("the other one", tuned)];
    let (_, device) = &adapters::devices()[0];
    let [cheat, honest] = [cheat, honest].map(|t| verified(device, &model, &t, &suspects));
    assert_eq!(found(&cheat), (Outcome::Fail, "suspect-match"));
    assert_eq!(honest.verdict, Verdict::Accept, "{}", honest.summary);
    assert_eq!(found(&honest), (Outcome::Pass, "ok"));
}

#[test]
fn a_cheaper_cache_is_found_by_its_format() {
    let model = Model::demo().expect("the demo model");
    let plain = Plain::load(&model).expect("it loads");
    let root = prover::root(&model);
    let suspects: Vec<Suspect> = CacheFormat::ALL
        .into_iter()
        .map(|format| Suspect {
            name: format.name().to_owned(),
            ran: Ran::Cache(format),
        })
        .collect();
    for (cache, is) in [
        (CacheFormat::Exact, None),
        (CacheFormat::Int8, Some("int8")),
        (CacheFormat::Fp8, Some("fp8")),
        (CacheFormat::Int4, Some("int4")),
    ] {
        let alter = Alter {
            rounding: Rounding::Bf16,
            cache,
            ..Alter::default()
        };
        // An 8-bit cache is nearly as far from the claimed one as honest rounding: it takes some length to tell.
        let long = Request {
            prompt: (0..200).map(|i| (i * 41 + 17) % 2048).collect(),
            opened: Some((0..=8).collect()),
            ..request(&model)
        };
        let trace = prover::prove_plain(&plain, &model, root, &long, alter);
        for (name, device) in adapters::devices() {
            let report = verified(&device, &model, &trace, &suspects);
            let leans = &report.statistics.suspects;
            for lean in leans {
                let is_it = Some(lean.name.as_str()) == is;
                // Beside a coarse cache's rounding, that of a fine one drowns: it cannot be told, but must not be named.
                let finding = lean.finding();
                match is_it {
                    true => assert!(
                        matches!(finding, Finding::Match | Finding::Leaning),
                        "{name}: {lean:?}"
                    ),
                    false => assert_ne!(finding, Finding::Match, "{name}, {cache:?}: {lean:?}"),
                }
            }
            let (outcome, code) = found(&report);
            match is {
                // What 8 bits round depends on what bf16 has rounded before: they lean, but not all the way.
                Some(_) => assert!(
                    outcome == Outcome::Fail && ["suspect-match", "suspect-lean"].contains(&code),
                    "{name}, {cache:?}: {code} {leans:?}"
                ),
                None => assert_eq!((outcome, code), (Outcome::Pass, "ok"), "{name}: {leans:?}"),
            }
        }
    }
}

#[test]
fn in_f32_it_names_what_distances_reject() {
    let model = Model::demo().expect("the demo model");
    let suspects = formats(&model);
    let (_, device) = &adapters::devices()[0];
    for format in Format::ALL {
        let ran = model.rounded(format).expect("a copy");
        let report = verified(
            device,
            &model,
            &trace(&model, &ran, Rounding::Keep),
            &suspects,
        );
        let codes = report.failed_codes();
        assert!(codes.contains(&"suspect-match"), "{format:?}: {codes:?}");
        assert!(codes.len() > 1, "{format:?}: {codes:?}");
        let named = &report.statistics.suspects;
        let lean = named.iter().find(|lean| lean.name == format.name());
        let lean = lean.expect("it was suspected");
        assert!((lean.lean - 1.0).abs() < 0.05, "{format:?}: {lean:?}");
    }
}

#[test]
fn a_suspect_that_says_nothing_is_no_pass() {
    let model = Model::demo().expect("the demo model");
    let honest = trace(&model, &model, Rounding::Bf16);
    let (_, device) = &adapters::devices()[0];
    // The claimed model itself: both hypotheses say the same.
    let report = verified(
        device,
        &model,
        &honest,
        &[suspect("itself", Model::demo().expect("the demo model"))],
    );
    assert_eq!(report.verdict, Verdict::Inconclusive, "{}", report.summary);
    assert_eq!(found(&report), (Outcome::Inconclusive, "suspect-same"));
    // Too few positions to know the spread between them.
    let plain = Plain::load(&model).expect("it loads");
    let short = Request {
        prompt: vec![5],
        max_tokens: 2,
        ..request(&model)
    };
    let alter = Alter {
        rounding: Rounding::Bf16,
        ..Alter::default()
    };
    let short = prover::prove_plain(&plain, &model, prover::root(&model), &short, alter);
    let report = verified(device, &model, &short, &formats(&model));
    assert_eq!(report.verdict, Verdict::Inconclusive, "{}", report.summary);
    assert_eq!(found(&report), (Outcome::Inconclusive, "suspect-unclear"));
}

#[test]
fn a_suspect_of_other_sizes_is_the_verifiers_mistake() {
    let model = Model::demo().expect("the demo model");
    let honest = trace(&model, &model, Rounding::Bf16);
    let copy = Model::open(&cheats::demo_folder()).expect("it opens");
    let shape = assay_model::synth::Shape::named("tiny").expect("a shape");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tiny");
    assay_model::synth::write(&shape, assay_model::Dtype::BF16, 1, &path).expect("it is written");
    let tiny = Model::open(&path).expect("it opens");
    let (_, device) = &adapters::devices()[0];
    let verify = |suspect: Suspect| {
        let options = Options {
            suspects: vec![suspect],
            ..Options::default()
        };
        let mut quiet = assay_engine::Quiet;
        pollster::block_on(assay_verify::verify(
            &honest, &model, device, &options, &mut quiet,
        ))
    };
    let err = verify(suspect("tiny", tiny)).expect_err("it has other sizes");
    assert!(matches!(err, VerifyError::Engine(_)), "{err}");
    assert!(err.to_string().contains("`tiny`"), "{err}");
    // Another copy of the same model is fit.
    assert!(verify(suspect("a copy", copy)).is_ok());
    let other = verify(suspect("other", cheats::demo(Cheat::Other)));
    assert_eq!(other.expect("it is fit").verdict, Verdict::Accept);
}
