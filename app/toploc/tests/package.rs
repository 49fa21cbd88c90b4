//! Proofs that the package itself made (toploc 0.1.6, on the demo model), where they are on this machine.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::path::{Path, PathBuf};

use assay_toploc::{Activations, BATCH, Proof, TOP, Thresholds, compare};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

fn folder() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3)?;
    let folder = root.join("shared/data/toploc");
    if folder.exists() {
        return Some(folder);
    }
    println!("skipped: ../shared/data/toploc is not on this machine");
    None
}

struct Case {
    proofs: Vec<String>,
    top: Vec<Vec<usize>>,
    prompt_rows: usize,
    results: Value,
}

struct Package {
    cases: Vec<Case>,
    json: Value,
    tensors: Vec<u8>,
}

fn strings(value: &Value) -> Vec<String> {
    serde_json::from_value(value.clone()).unwrap()
}

impl Package {
    fn open() -> Option<Self> {
        let folder = folder()?;
        let text = std::fs::read_to_string(folder.join("demo-llama-toploc.json")).unwrap();
        let json: Value = serde_json::from_str(&text).unwrap();
        let case = |case: &Value| Case {
            proofs: strings(&case["proofs_base64"]),
            top: serde_json::from_value(case["topk_indices"].clone()).unwrap(),
            prompt_rows: case["prompt_ids"].as_array().unwrap().len(),
            results: case["results"].clone(),
        };
        Some(Self {
            cases: json["cases"].as_array().unwrap().iter().map(case).collect(),
            json,
            tensors: std::fs::read(folder.join("demo-llama-toploc.safetensors")).unwrap(),
        })
    }

    fn activations(&self, case: usize, name: &str) -> Activations {
        let tensors = SafeTensors::deserialize(&self.tensors).unwrap();
        let tensor = tensors.tensor(&format!("case{case}.{name}")).unwrap();
        assert_eq!(tensor.dtype(), Dtype::BF16);
        let bits = tensor
            .data()
            .as_chunks()
            .0
            .iter()
            .map(|b| u16::from_le_bytes(*b));
        let (width, prompt) = (tensor.shape()[1], self.cases[case].prompt_rows);
        Activations::from_bits(bits.collect(), width, prompt, BATCH).unwrap()
    }
}

#[test]
fn every_proof_is_rebuilt_byte_for_byte() {
    let Some(package) = Package::open() else {
        return;
    };
    let mut rebuilt = 0;
    for (index, case) in package.cases.iter().enumerate() {
        let activations = package.activations(index, "activations");
        let chunks = activations.chunks();
        assert_eq!(chunks.len(), case.proofs.len());
        for ((chunk, text), top) in chunks.iter().zip(&case.proofs).zip(&case.top) {
            let points: Vec<(usize, u16)> = top.iter().map(|i| (*i, chunk[*i])).collect();
            assert_eq!(&Proof::of(&points).unwrap().to_base64(), text);
            let read = Proof::from_base64(text, TOP).unwrap();
            assert_eq!(read.to_base64(), *text);
            assert_eq!(read.to_bytes().len(), 258);
            rebuilt += 1;
        }
    }
    assert_eq!(rebuilt, 12);
}

#[test]
fn the_smaller_modulus_is_found_and_followed() {
    let Some(package) = Package::open() else {
        return;
    };
    let case = &package.json["synthetic_modulus"];
    let list = |key: &str| serde_json::from_value::<Vec<usize>>(case[key].clone()).unwrap();
    let points: Vec<(usize, u16)> = list("indices")
        .into_iter()
        .zip(list("value_bits").into_iter().map(|bits| bits as u16))
        .collect();
    let text = case["proofs_base64"][0].as_str().unwrap();
    let proof = Proof::of(&points).unwrap();
    assert_eq!((proof.modulus(), proof.to_base64().as_str()), (65495, text));
    // What the package's Python gets wrong: indices are reduced by the modulus before the polynomial is evaluated.
    assert!(
        points
            .iter()
            .all(|(index, bits)| proof.value(*index) == *bits)
    );
}

/// Counts may differ from the package's by what ties are settled in the proof's favour, never beyond.
#[test]
fn conditions_compare_as_the_package_says() {
    let Some(package) = Package::open() else {
        return;
    };
    let conditions = [
        ("recorded_activations", "activations"),
        ("bf16_prefill", "bf16_prefill"),
        (
            "float32_prefill_cast_to_bf16",
            "float32_prefill_cast_to_bf16",
        ),
        ("int8_weights_bf16_prefill", "int8_weights_bf16_prefill"),
        ("int4_weights_bf16_prefill", "int4_weights_bf16_prefill"),
        (
            "different_prompt_bf16_prefill",
            "different_prompt_bf16_prefill",
        ),
    ];
    for (condition, tensor) in conditions {
        let (mut exponents, mut signs, mut admitted, mut chunks) = (Vec::new(), 0, 0, 0);
        for (index, case) in package.cases.iter().enumerate() {
            let activations = package.activations(index, tensor);
            let theirs = case.results[condition].as_array().unwrap();
            let pairs = activations
                .chunks()
                .into_iter()
                .zip(&case.proofs)
                .zip(theirs);
            for ((chunk, text), theirs) in pairs {
                let proof = Proof::from_base64(text, TOP).unwrap();
                let ours = compare(&proof, chunk, TOP).unwrap();
                let want = theirs["exp_mismatches"].as_u64().unwrap() as usize;
                let slack = ours.tied_places.min(ours.tied - ours.tied_places);
                assert!(
                    ours.exponent_mismatches <= want && want <= ours.exponent_mismatches + slack,
                    "{condition}, case {index}: {ours:?}, theirs {want}"
                );
                if slack == 0 {
                    let mean = theirs["mant_err_mean"].as_f64().unwrap();
                    assert!(
                        (ours.mantissa_mean - mean).abs() < 1e-9,
                        "{condition}: {ours:?} {mean}"
                    );
                }
                exponents.push(ours.exponent_mismatches);
                signs += ours.sign_mismatches;
                admitted += usize::from(Thresholds::PUBLISHED.admit_signed(&ours));
                chunks += 1;
            }
        }
        println!(
            "{condition}: exponents {exponents:?}, signs {signs}, {admitted} of {chunks} admitted"
        );
        match condition {
            "recorded_activations" => assert!(exponents.iter().all(|n| *n == 0) && signs == 0),
            "different_prompt_bf16_prefill" => assert!(admitted < chunks),
            _ => assert_eq!(admitted, chunks, "{condition}"),
        }
    }
}
