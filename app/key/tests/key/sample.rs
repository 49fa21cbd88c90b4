//! Small models of odd shapes, and keys for them.

use assay_key::{KeyMaker, KeyOptions, Part, Seed, VerifierKey};
use assay_model::synth::{self, Shape};
use assay_model::{Dtype, LayerRole, Model, ModelConfig};
use assay_trace::Digest;
use tempfile::TempDir;

/// The matrices of a layer.
pub const ROLES: [LayerRole; 7] = [
    LayerRole::Q,
    LayerRole::K,
    LayerRole::V,
    LayerRole::O,
    LayerRole::Gate,
    LayerRole::Up,
    LayerRole::Down,
];

/// A model in a folder that goes when it does.
pub struct Sample {
    pub model: Model,
    pub dir: TempDir,
}

pub fn sample(config: &ModelConfig, dtype: Dtype) -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model");
    let shape = Shape::custom("sample", config.clone()).unwrap();
    synth::write(&shape, dtype, 11, &path).unwrap();
    let model = Model::open(&path).unwrap();
    Sample { model, dir }
}

fn base() -> ModelConfig {
    Shape::named("tiny").unwrap().config
}

/// No size is a multiple of anything; every matrix has another shape; more columns than one thread's, with biases.
pub fn odd() -> ModelConfig {
    ModelConfig {
        hidden: 37,
        intermediate: 301,
        layers: 3,
        heads: 6,
        kv_heads: 2,
        head_dim: 14,
        vocab: 131,
        attention_bias: true,
        mlp_bias: true,
        tied_embeddings: false,
        ..base()
    }
}

/// Few rows, fewer than a key would keep, and a tied head.
pub fn thin() -> ModelConfig {
    ModelConfig {
        hidden: 5,
        intermediate: 3,
        layers: 1,
        heads: 1,
        kv_heads: 1,
        head_dim: 2,
        vocab: 7,
        tied_embeddings: true,
        ..base()
    }
}

pub fn options() -> KeyOptions {
    KeyOptions {
        projections: 9,
        rows: 5,
        sketch: 3,
        activations: None,
        layers: None,
    }
}

pub fn root() -> Digest {
    Digest::of(b"model")
}

pub fn make(model: &Model, seed: u8, options: &KeyOptions) -> VerifierKey {
    let seed = Seed::from_bytes([seed; 32]);
    let mut maker = KeyMaker::new(model, root(), seed, options).unwrap();
    while !maker.step().unwrap() {}
    maker.finish().unwrap()
}

/// The smallest key.
pub fn small() -> VerifierKey {
    let options = KeyOptions {
        projections: 8,
        rows: 1,
        sketch: 1,
        activations: None,
        layers: None,
    };
    make(&sample(&thin(), Dtype::BF16).model, 1, &options)
}

/// All parts of a key.
pub fn parts(key: &VerifierKey) -> Vec<Part> {
    let of_layer = |layer: &u32| ROLES.map(|role| Part::Layer(*layer, role));
    key.layers()
        .iter()
        .flat_map(of_layer)
        .chain([Part::Head])
        .collect()
}

/// Seals changed bytes again, as an attacker would.
pub fn reseal(mut bytes: Vec<u8>) -> Vec<u8> {
    let covered = bytes.len() - 32;
    let checksum = Digest::of(&bytes[..covered]);
    bytes[covered..].copy_from_slice(&checksum.0);
    bytes
}

/// The header's text, without its padding, and the data.
pub fn split(bytes: &[u8]) -> (String, Vec<u8>) {
    let len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let text = str::from_utf8(&bytes[8..8 + len]).unwrap();
    (text.trim_end().to_owned(), bytes[8 + len..].to_vec())
}

/// A file with another header's text.
pub fn join(text: &str, data: &[u8]) -> Vec<u8> {
    let mut header = text.as_bytes().to_vec();
    header.resize(header.len().next_multiple_of(8), b' ');
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    bytes
}
