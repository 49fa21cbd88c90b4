//! llama.cpp's rounding of what quantised products take: how near its own logits come, and the same bits on every device.

use assay_engine::{ActivationType, Device, Numerics};
use assay_model::Model;
use assay_tests::adapters;
use assay_tests::data::{Tensors, shared};
use assay_tests::logits::{distance, logits};
use assay_tests::prover::{SAMPLED, prove_rounding, request, root, verify};
use assay_verify::{Options, Verdict};

/// Its logits, to the last bits of f32, for as long as no value lies so near a tie that those bits decide; from there on another rounding
/// of one number is as far off as the rounding itself (docs/formats.md). So what is asked for is the beginning, where floats are a
/// thousand times further off.
#[test]
fn logits_are_llama_cpps_until_the_first_tie() {
    for (case, on_devices) in [
        ("demo-llama-q8_0", false),
        ("demo-llama-q4_0", true),
        ("demo-llama-q4_k_m", true),
        ("demo-llama-q6_k", false),
        ("rand256-q6_k", false),
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
        let (float_rows, rows) = (by_row(&float), by_row(&rounded));
        let exact = rows.iter().take_while(|off| **off < 1e-6).count();
        let mut sorted = rows.clone();
        sorted.sort_by(f64::total_cmp);
        println!(
            "{case}: float {:.1e}, rounded {:.1e}, float to rounded {:.1e}; the first {exact} positions within 1e-6 (float there: at least {:.1e}), median {:.1e}",
            distance(&float, &theirs),
            distance(&rounded, &theirs),
            distance(&float, &rounded),
            float_rows[..exact]
                .iter()
                .copied()
                .fold(f64::INFINITY, f64::min),
            sorted[rows.len() / 2]
        );
        assert!(exact >= 2, "{case}: {rows:?}");
        let nearest = float_rows[..exact]
            .iter()
            .copied()
            .fold(f64::INFINITY, f64::min);
        assert!(nearest > 1e-4, "{case}: {nearest:e}");
        let devices = adapters::devices().into_iter().filter(|_| on_devices);
        for (name, device) in devices {
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
