//! Quantised checkpoints: the engine against float64 references of their dequantised weights, the same bits on every device, and what a
//! verifier says about a copy with fewer bits.

use assay_engine::{Device, Engine, EngineError, Numerics, Quiet, Want};
use assay_key::{KeyMaker, KeyOptions, Seed};
use assay_model::quantize::{Target, write_folder, write_gguf};
use assay_model::{Dtype, LayerRole, Model, Tokenizer};
use assay_tests::adapters;
use assay_tests::data::{Tensors, shared};
use assay_tests::prover::{self, SAMPLED, prove_as, prove_with, request, root};
use assay_verify::audit::audit;
use assay_verify::{Options, Verdict};

/// Relative L2 distance of logits that f32 sums may leave, as in `reference.rs`.
const LIMIT: f64 = 2e-5;

fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let squares = |f: &dyn Fn(usize) -> f64| (0..want.len()).map(|i| f(i).powi(2)).sum::<f64>();
    let difference = squares(&|i| f64::from(got[i]) - f64::from(want[i]));
    (difference / squares(&|i| f64::from(want[i]))).sqrt()
}

fn logits(device: &Device, model: &Model, ids: &[u32], numerics: Numerics) -> Vec<f32> {
    let mut quiet = Quiet;
    let engine = Engine::load(device, model, ids.len(), numerics, &mut quiet);
    let mut engine = pollster::block_on(engine).expect("the model loads");
    let want = Want {
        logits_from: Some(0),
        ..Want::default()
    };
    let mut logits = Vec::new();
    let run = engine.prefill(
        ids,
        &want,
        &mut quiet,
        |outputs| -> Result<(), EngineError> {
            logits.extend_from_slice(&outputs.logits);
            Ok(())
        },
    );
    pollster::block_on(run).expect("the model runs");
    logits
}

fn most_likely(rows: &[f32], vocab: usize) -> Vec<usize> {
    let top = |row: &[f32]| (0..vocab).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    rows.chunks(vocab).filter_map(top).collect()
}

/// llama.cpp rounds activations to 8 bits in quantised products, so its own logits lie further off: printed, and not compared.
#[test]
fn logits_of_quantised_gguf_files_equal_their_float64_references() {
    for case in [
        "demo-llama-q8_0",
        "demo-llama-q4_0",
        "demo-llama-q4_k_m",
        "rand256-q6_k",
    ] {
        let Some(folder) = shared(&format!("gguf-reference/{case}")) else {
            return;
        };
        let model = Model::open(&folder.join("model.gguf")).expect("it opens");
        let reference = Tensors::open(&folder.join("reference.safetensors"));
        let ids = reference.ids("seq0.ids");
        let want = reference.f32("seq0.numpy_logits").1;
        let llama_cpp = reference.f32("seq0.llamacpp_logits").1;
        let vocab = model.config().vocab;
        let mut strict: Option<Vec<f32>> = None;
        for (name, device) in adapters::devices() {
            let got = logits(&device, &model, &ids, Numerics::Strict);
            let error = distance(&got, &want);
            let to_llama_cpp = distance(&got, &llama_cpp);
            println!("{case} on {name}: {error:.2e}, to llama.cpp {to_llama_cpp:.2e}");
            assert!(error < LIMIT, "{case} on {name}: {error:e}");
            assert_eq!(
                most_likely(&got, vocab),
                most_likely(&want, vocab),
                "{case} on {name}"
            );
            match &strict {
                None => strict = Some(got),
                Some(first) => assert!(*first == got, "{case}: {name} has other bits"),
            }
        }
    }
}

/// A copy is its own model: honest runs of it are accepted with it, and rejected against the original, whatever they claim.
#[test]
fn copies_are_accepted_as_themselves_and_rejected_as_the_original() {
    let original = Model::demo().expect("the demo model");
    let folder = tempfile::tempdir().expect("a folder");
    let devices = adapters::devices();
    let group = Target::usual_group(&original).expect("a group");
    let targets = [
        Target::Int8,
        Target::Int4Gptq { group },
        Target::Q8_0,
        Target::Q4_0,
    ];
    for (i, target) in targets.into_iter().enumerate() {
        let path = folder.path().join(format!("{i}.gguf"));
        match target {
            Target::Q8_0 | Target::Q4_0 => {
                let mut file = std::fs::File::create_new(&path).expect("a file");
                let (_, tokenizer) = Model::demo_files()[0];
                write_gguf(
                    &original,
                    target,
                    Some(tokenizer),
                    &mut file,
                    &mut |_, _| {},
                )
                .expect("it is written");
            }
            _ => {
                write_folder(&original, target, &path, &[], &mut |_, _| {}).expect("it is written");
            }
        }
        let copy = Model::open(&path).expect("it opens");
        let request = request("ROMEO:\nI know not what", 24, SAMPLED);
        let (prover_name, prove_on) = &devices[i % devices.len()];
        let honest = prove_as(prove_on, &copy, root(&copy), &request);
        for (verifier_name, verify_on) in &devices {
            let report = prover::verify(verify_on, &copy, &honest, &Options::default());
            let codes = report.failed_codes();
            assert_eq!(
                report.verdict,
                Verdict::Accept,
                "{target:?} {prover_name} -> {verifier_name}: {} {codes:?}",
                report.summary
            );
        }
        let (_, verify_on) = &devices[(i + 1) % devices.len()];
        let report = prover::verify(verify_on, &original, &honest, &Options::default());
        println!(
            "{target:?} against the original: {:?}",
            report.failed_codes()
        );
        assert_eq!(
            report.verdict,
            Verdict::Reject,
            "{target:?}: {}",
            report.summary
        );
        assert!(!report.failed_codes().is_empty());
        // The lie: the copy runs, the original is claimed.
        let lie = prove_as(prove_on, &copy, root(&original), &request);
        let tokenizer = original.tokenizer().map(Tokenizer::digest);
        let lie = assay_trace::reroot(&lie, |trace| {
            trace.manifest.model.dtype = original.dtype().to_owned();
            trace.manifest.tokenizer = tokenizer;
        })
        .expect("it re-seals");
        let report = prover::verify(verify_on, &original, &lie, &Options::default());
        println!(
            "{target:?} claimed as the original: {:?}",
            report.failed_codes()
        );
        assert_eq!(
            report.verdict,
            Verdict::Reject,
            "{target:?}: {}",
            report.summary
        );
        let of_states = report
            .failed_codes()
            .into_iter()
            .any(|code| code.starts_with("state-"));
        assert!(of_states, "{:?}", report.failed_codes());
    }
}

/// Keys hold projections of the decoded weights, so products of floats with quantised weights are audited as any others: honest runs
/// pass, and the original's weights, which are within a percent of the copy's, do not.
#[test]
fn keys_of_copies_accept_them_and_reject_the_original() {
    let original = Model::demo().expect("the demo model");
    let folder = tempfile::tempdir().expect("a folder");
    let (gguf, int8) = (folder.path().join("q4_0.gguf"), folder.path().join("int8"));
    let mut file = std::fs::File::create_new(&gguf).expect("a file");
    let (_, tokenizer) = Model::demo_files()[0];
    let quiet = &mut |_: u64, _: u64| {};
    write_gguf(&original, Target::Q4_0, Some(tokenizer), &mut file, quiet).expect("it is written");
    write_folder(&original, Target::Int8, &int8, &[], quiet).expect("it is written");
    for path in [&gguf, &int8] {
        let copy = Model::open(path).expect("it opens");
        let seed = Seed::from_os().expect("randomness");
        let options = KeyOptions::default();
        let mut maker = KeyMaker::new(&copy, root(&copy), seed, &options).expect("a maker");
        while !maker.step().expect("a step") {}
        let key = maker.finish().expect("a key");
        let request = assay_prove::Request {
            audit: Some(assay_prove::Open::All),
            ..request("ROMEO:", 8, SAMPLED)
        };
        let audited = |device: &Device, trace: &[u8]| {
            let (options, mut quiet) = (Options::default(), Quiet);
            let report = audit(trace, &key, device, &options, &mut quiet);
            pollster::block_on(report)
                .expect("the verifier works")
                .report
        };
        let (_, prover) = &adapters::devices()[0];
        let honest = prove_as(prover, &copy, root(&copy), &request);
        for (name, device) in adapters::devices() {
            let report = audited(&device, &honest);
            let verdict = report.verdict;
            assert_eq!(
                verdict,
                Verdict::Accept,
                "{path:?} on {name}: {}",
                report.summary
            );
        }
        let lie = prove_as(prover, &original, root(&copy), &request);
        let manifest = assay_trace::Trace::parse(&honest)
            .expect("it parses")
            .manifest()
            .clone();
        let lie = assay_trace::reroot(&lie, |trace| {
            trace.manifest.model = manifest.model.clone();
            trace.manifest.tokenizer = manifest.tokenizer;
        })
        .expect("it re-seals");
        let report = audited(&Device::Cpu, &lie);
        assert_eq!(
            report.verdict,
            Verdict::Reject,
            "{path:?}: {}",
            report.summary
        );
        let codes = report.failed_codes();
        // A GGUF file's embedding is rounded too, so that check fails besides.
        let is_linear = codes.iter().any(|code| code.starts_with("linear-"));
        assert!(is_linear, "{path:?}: {codes:?}");
    }
}

/// Strict runs have the same bits on every device, decode steps included, for types that no GGUF case has.
#[test]
fn strict_traces_of_four_and_eight_bits_are_equal_everywhere() {
    for case in [
        "hf-reference/llama-gptq-int4",
        "hf-reference/llama-awq-int4",
        "stories260K/stories260K-q8.bin",
    ] {
        let Some(path) = shared(case) else {
            return;
        };
        let model = Model::open(&path).expect("it opens");
        let request = assay_prove::Request {
            prompt: (1..20).collect(),
            ..request("", 8, SAMPLED)
        };
        let digests = |device: &Device| {
            let trace = prove_with(device, &model, root(&model), &request, Numerics::Strict);
            let trace = assay_trace::Trace::parse(&trace).expect("it parses");
            (trace.tokens().to_vec(), trace.manifest().root)
        };
        let devices = adapters::devices();
        let (first_name, first) = &devices[0];
        let want = digests(first);
        for (name, device) in &devices[1..] {
            assert!(
                digests(device) == want,
                "{case}: {name} differs from {first_name}"
            );
        }
    }
}

#[test]
fn act_order_runs_as_its_plain_order_does() {
    let Some(path) = shared("hf-reference/llama-gptq-int4") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    // The same weights: groups renamed, so that g_idx is none that counts up, and zeros and scales moved with them.
    let bytes = std::fs::read(path.join("model.safetensors")).expect("it reads");
    let swapped = swap_groups(&bytes);
    std::fs::write(folder.path().join("model.safetensors"), swapped).expect("it is written");
    std::fs::copy(path.join("config.json"), folder.path().join("config.json"))
        .expect("it is copied");
    let (plain, ordered) = (
        Model::open(&path).expect("opens"),
        Model::open(folder.path()).expect("opens"),
    );
    let dtype = ordered.layer(0, LayerRole::Down).expect("down").dtype;
    assert!(matches!(dtype, Dtype::Int4Ordered { .. }), "{dtype:?}");
    assert_ne!(root(&plain), root(&ordered));
    let ids: Vec<u32> = (1..40).collect();
    for (name, device) in adapters::devices() {
        let [a, b] = [&plain, &ordered].map(|model| logits(&device, model, &ids, Numerics::Strict));
        assert!(a == b, "{name}");
    }
}

/// Exchanges the first two groups of every quantised matrix.
fn swap_groups(file: &[u8]) -> Vec<u8> {
    let mut out = file.to_vec();
    let (header, metadata) = safetensors::SafeTensors::read_metadata(file).expect("it parses");
    for (name, info) in metadata.tensors() {
        let (begin, end) = info.data_offsets;
        let bytes = &mut out[8 + header + begin..8 + header + end];
        if name.ends_with(".g_idx") {
            for word in bytes.chunks_exact_mut(4) {
                if word[0] < 2 {
                    word[0] ^= 1;
                }
            }
        } else if name.ends_with(".scales") || name.ends_with(".qzeros") {
            let row = bytes.len() / info.shape[0];
            let (first, rest) = bytes.split_at_mut(row);
            first.swap_with_slice(&mut rest[..row]);
        }
    }
    out
}
