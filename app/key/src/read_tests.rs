//! Canonical headers of absurd keys: only from inside can one be written without the key.

use super::*;
use crate::KeyOptions;
use crate::facts::Stored;
use crate::header::canonical;
use crate::part::MATRICES;
use assay_model::ModelConfig;
use assay_model::synth::Shape;

fn facts(config: ModelConfig) -> Facts {
    let layers: Vec<u32> = (0..config.layers as u32).collect();
    let stored = vec![Stored::Bf16; layers.len() * MATRICES.len() + 1];
    let options = KeyOptions {
        projections: 64,
        rows: 64,
        sketch: 16,
        activations: None,
        layers: None,
    };
    Facts::new(&options, config, "bf16", layers, stored)
}

fn most() -> ModelConfig {
    ModelConfig {
        hidden: 1 << 16,
        intermediate: 1 << 18,
        layers: 1 << 10,
        heads: 1 << 10,
        kv_heads: 1 << 10,
        head_dim: 1 << 10,
        vocab: 1 << 21,
        attention_bias: true,
        mlp_bias: true,
        ..Shape::named("tiny").unwrap().config
    }
}

/// 4 MB of header for more than any disk holds, and nothing behind it: refused by its length.
#[test]
fn the_largest_header_promises_what_is_not_there() {
    let facts = facts(most());
    facts.check().unwrap();
    let layout = Layout::new(&facts);
    assert_eq!(layout.tensors.len(), Layout::count(&facts));
    let header = canonical(&facts, &layout);
    assert!(header.len() as u64 <= MAX_HEADER_BYTES, "{}", header.len());
    assert!(
        header.len() as u64 > MAX_HEADER_BYTES / 2,
        "the cap is tight"
    );
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(&header);
    for data in [0, 32, 1000] {
        bytes.resize(8 + header.len() + data, 0);
        let err = VerifierKey::parse(bytes.clone()).unwrap_err();
        let KeyError::DataLength { got, want } = err else {
            panic!("{err}");
        };
        assert_eq!((got, want), (data as u64, layout.data_bytes));
    }
    assert!(layout.data_bytes > 1 << 36);
}

/// The count is that of the list, whatever the model has.
#[test]
fn tensors_are_counted_before_they_are_named() {
    for (attention_bias, mlp_bias) in [(false, false), (true, false), (false, true), (true, true)] {
        let facts = facts(ModelConfig {
            layers: 3,
            attention_bias,
            mlp_bias,
            ..most()
        });
        assert_eq!(Layout::new(&facts).tensors.len(), Layout::count(&facts));
    }
}

/// No test can hold such a file, so this asks the function that `parse` asks first.
#[test]
fn file_too_large() {
    assert!(header::check_file_bytes(header::MAX_FILE_BYTES).is_ok());
    let err = header::check_file_bytes(header::MAX_FILE_BYTES + 1).unwrap_err();
    assert_eq!(err.code(), "too-large");
}

/// Floats in a config come back as they went.
#[test]
fn facts_survive_their_text() {
    for (norm_eps, theta) in [
        (1e-5, 500_000.0),
        (f32::MIN_POSITIVE, 1.000_000_1),
        (0.1 + 0.2, 1e9 / 3.0),
    ] {
        let mut config = most();
        config.norm_eps = norm_eps;
        config.rope.as_mut().expect("rotary positions").theta = theta;
        let facts = facts(config);
        let again = Facts::parse(&facts.canonical_json()).unwrap();
        assert_eq!(again, facts);
        assert_eq!(again.canonical_json(), facts.canonical_json());
    }
}
