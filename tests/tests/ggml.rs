//! llama.cpp's rounding of what quantised products take: how near its own logits come, and the same bits on every device.

use assay_engine::{ActivationType, Device, Engine, EngineError, Numerics, Quiet, Want};
use assay_model::Model;
use assay_tests::adapters;
use assay_tests::data::{Tensors, shared};
use assay_tests::prover::{SAMPLED, prove_rounding, request, root, verify};
use assay_verify::{Options, Verdict};

fn logits(device: &Device, model: &Model, ids: &[u32], activations: ActivationType) -> Vec<f32> {
    let mut quiet = Quiet;
    let strict = Numerics::Strict;
    let engine = Engine::load_rounding(
        device,
        model,
        ids.len(),
        strict,
        activations,
        None,
        &mut quiet,
    );
    let mut engine = pollster::block_on(engine).expect("the model loads");
    let want = Want {
        logits_from: Some(0),
        ..Want::default()
    };
    let mut logits = Vec::new();
    let sink = |outputs: assay_engine::Outputs| -> Result<(), EngineError> {
        logits.extend_from_slice(&outputs.logits);
        Ok(())
    };
    let run = engine.prefill(ids, &want, &mut quiet, sink);
    pollster::block_on(run).expect("the model runs");
    logits
}

/// Relative L2 distance.
fn distance(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let square = |x: f64| x * x;
    let pairs = got.iter().zip(want);
    let off: f64 = pairs
        .map(|(g, w)| square(f64::from(*g) - f64::from(*w)))
        .sum();
    let norm: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
    (off / norm).sqrt()
}

#[test]
fn logits_of_llama_cpp() {
    for case in [
        "demo-llama-q8_0",
        "demo-llama-q4_0",
        "demo-llama-q4_k_m",
        "demo-llama-q6_k",
        "rand256-q6_k",
    ] {
        let Some(folder) = shared(&format!("gguf-reference/{case}")) else {
            return;
        };
        let model = Model::open(&folder.join("model.gguf")).expect("it opens");
        let reference = Tensors::open(&folder.join("reference.safetensors"));
        let ids = reference.ids("seq0.ids");
        let theirs = reference.f32("seq0.llamacpp_logits").1;
        let vocab = model.config().vocab;
        let by_row = |got: &[f32]| -> Vec<f64> {
            let rows = got.chunks(vocab).zip(theirs.chunks(vocab));
            rows.map(|(got, want)| distance(got, want)).collect()
        };
        let float = logits(&Device::Cpu, &model, &ids, ActivationType::Float);
        let rounded = logits(&Device::Cpu, &model, &ids, ActivationType::Ggml);
        let (all_float, all_rounded) = (distance(&float, &theirs), distance(&rounded, &theirs));
        let rows = by_row(&rounded);
        let mut sorted = rows.clone();
        sorted.sort_by(f64::total_cmp);
        println!(
            "{case}: float {all_float:.1e}, rounded {all_rounded:.1e}; by position: first {:.1e}, least {:.1e}, median {:.1e}, largest {:.1e}; float to rounded {:.1e}",
            rows[0],
            sorted[0],
            sorted[rows.len() / 2],
            sorted[rows.len() - 1],
            distance(&float, &rounded)
        );
        println!(
            "  {:?}",
            rows.iter().map(|x| format!("{x:.0e}")).collect::<Vec<_>>()
        );
        for (name, device) in adapters::devices() {
            let got = logits(&device, &model, &ids, ActivationType::Ggml);
            assert!(got == rounded, "{case}: {name} has other bits");
        }
    }
}

/// The statement is part of the trace: with it a strict trace is accepted on every device, without it refused.
#[test]
fn traces_state_it_and_verifiers_follow_it() {
    let Some(folder) = shared("gguf-reference/demo-llama-q4_k_m") else {
        return;
    };
    let model = Model::open(&folder.join("model.gguf")).expect("it opens");
    let ggml = Options {
        activations: ActivationType::Ggml,
        ..Options::default()
    };
    let request = request("ROMEO:", 8, SAMPLED);
    for (name, device) in adapters::devices() {
        let trace = prove_rounding(
            &device,
            &model,
            root(&model),
            &request,
            Numerics::Strict,
            ActivationType::Ggml,
        );
        for (verifier, verify_on) in adapters::devices() {
            let report = verify(&verify_on, &model, &trace, &ggml);
            assert_eq!(
                report.verdict,
                Verdict::Accept,
                "{name} -> {verifier}: {}",
                report.summary
            );
        }
        let report = verify(&Device::Cpu, &model, &trace, &Options::default());
        assert_eq!(report.failed_codes(), ["activations"], "{name}");
    }
}
