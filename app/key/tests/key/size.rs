//! How large keys are.

use assay_key::KeyOptions;
use assay_model::synth::Shape;
use assay_model::{Dtype, ModelConfig};

fn config(name: &str) -> ModelConfig {
    Shape::named(name).unwrap().config
}

/// The sums by hand, header aside.
fn data_bytes(config: &ModelConfig, k: usize, q: usize, s: usize, element: usize) -> u64 {
    let inputs = 6 * config.hidden + config.intermediate - config.hidden + config.q_dim();
    let per_column = (k + 1) * 4 + q * element;
    let layers = config.layers * (inputs * per_column + 2 * config.hidden * 4);
    let head = config.hidden * per_column + config.hidden * 4;
    let matrices = 7 * config.layers + 1;
    (layers + head + config.vocab * s * 4 + matrices * 9 + 64) as u64
}

#[test]
fn a_key_of_llama_8b_is_below_100_megabytes() {
    let config = config("llama-3.1-8b");
    let bytes = KeyOptions::default()
        .file_bytes(&config, Dtype::BF16)
        .unwrap();
    let data = data_bytes(&config, 16, 4, 4, 2);
    assert!((data..data + 150_000).contains(&bytes), "{bytes} {data}");
    assert!(bytes < 100_000_000, "{bytes}");
    println!("llama-3.1-8b bf16: {bytes} bytes");
}

#[test]
fn the_smaller_ones() {
    for (name, most) in [("llama-3.2-1b", 28_000_000), ("llama-3.2-3b", 62_000_000)] {
        let bytes = KeyOptions::default()
            .file_bytes(&config(name), Dtype::BF16)
            .unwrap();
        println!("{name} bf16: {bytes} bytes");
        assert!(bytes < most, "{name}: {bytes}");
    }
    let few = KeyOptions {
        layers: Some(vec![0, 15, 31]),
        ..KeyOptions::default()
    };
    let bytes = few
        .file_bytes(&config("llama-3.1-8b"), Dtype::BF16)
        .unwrap();
    assert!(bytes < 12_000_000, "{bytes}");
}

#[test]
fn a_key_beyond_the_cap_is_refused_before_it_is_made() {
    let config = ModelConfig {
        layers: 1024,
        hidden: 65_536,
        ..config("llama-3.1-8b")
    };
    let err = KeyOptions::default()
        .file_bytes(&config, Dtype::BF16)
        .unwrap_err();
    assert_eq!(err.code(), "too-large");
}
