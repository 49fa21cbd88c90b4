use super::*;
use crate::synth::{self, Shape};
use crate::{ByteSource, Dtype};
use std::sync::Arc;

struct Files {
    config: String,
    weights: Vec<u8>,
}

/// The tiny shape, with an embedding of several chunks and a rest.
fn files() -> Files {
    let dir = tempfile::tempdir().unwrap();
    let mut shape = Shape::named("tiny").unwrap();
    shape.config.vocab = 10_001;
    synth::write(&shape, Dtype::F32, 7, &dir.path().join("m")).unwrap();
    let read = |name: &str| std::fs::read(dir.path().join("m").join(name)).unwrap();
    Files {
        config: String::from_utf8(read("config.json")).unwrap(),
        weights: read("model.safetensors"),
    }
}

impl Files {
    fn open(&self) -> Result<Model, ModelError> {
        Model::from_memory(
            self.config.as_bytes(),
            None,
            vec![Arc::new(self.weights.clone())],
            None,
        )
    }

    fn root(&self) -> Digest {
        self.open().unwrap().root(&mut |_, _| {}).unwrap()
    }
}

#[test]
fn root_is_deterministic_and_reports_every_byte() {
    let files = files();
    let model = files.open().unwrap();
    let mut heard = Vec::new();
    let root = model
        .root(&mut |done, total| heard.push((done, total)))
        .unwrap();
    assert_eq!(root, files.root());
    assert_eq!(heard.last(), Some(&(model.bytes(), model.bytes())));
    assert!(heard.is_sorted());
}

#[test]
fn steps_are_bounded_and_end_in_the_same_root() {
    let dir = tempfile::tempdir().unwrap();
    let mut shape = Shape::named("tiny").unwrap();
    // An embedding of two full batches, one chunk and a rest.
    shape.config.vocab = (2 * BATCH_CHUNKS + 1) * CHUNK_BYTES / 256 + 3;
    synth::write(&shape, Dtype::F32, 7, &dir.path().join("m")).unwrap();
    let model = Model::open(&dir.path().join("m")).unwrap();
    let mut hasher = model.root_hasher();
    assert_eq!((hasher.done(), hasher.total()), (0, model.bytes()));
    let (mut steps, mut all_done) = (0, false);
    while !all_done {
        let before = hasher.done();
        all_done = hasher.step().unwrap();
        steps += 1;
        let did = hasher.done() - before;
        assert!(did > 0 && did <= (BATCH_CHUNKS * CHUNK_BYTES) as u64);
        assert_eq!(all_done, hasher.done() == hasher.total());
    }
    assert_eq!(steps, model.tensors().len() + 2);
    assert!(hasher.step().unwrap() && hasher.done() == hasher.total());
    assert_eq!(
        hasher.finish().unwrap(),
        model.root(&mut |_, _| {}).unwrap()
    );
}

#[test]
fn a_root_of_which_one_step_is_missing_is_an_error() {
    let model = files().open().unwrap();
    assert!(matches!(
        model.root_hasher().finish(),
        Err(ModelError::RootUnfinished { done: 0, .. })
    ));
    let mut hasher = model.root_hasher();
    let last = model.tensors().last().unwrap().bytes;
    while hasher.total() - hasher.done() > last {
        assert!(!hasher.step().unwrap());
    }
    let want = model.bytes();
    let err = hasher.finish().unwrap_err();
    assert!(
        matches!(err, ModelError::RootUnfinished { done, total } if done == want - last && total == want),
        "{err}"
    );
}

/// The definition in the head of `root.rs`, transcribed with nothing but a hash function of leaves and nodes.
#[test]
fn root_follows_its_definition() {
    fn tree(leaves: &[Digest]) -> Digest {
        if let [leaf] = leaves {
            return *leaf;
        }
        let left = leaves.len().next_power_of_two() / 2;
        assay_trace::merkle::node_hash(tree(&leaves[..left]), tree(&leaves[left..]))
    }
    let files = files();
    let model = files.open().unwrap();
    let mut leaves = vec![leaf_hash(
        format!("assay/config/v1\0{}", model.config().canonical_json()).as_bytes(),
    )];
    let mut names: Vec<_> = model.tensors().into_iter().collect();
    names.sort_by_key(|tensor| tensor.name.clone());
    for tensor in names {
        let bytes = model.read(tensor, 0, tensor.bytes as usize).unwrap();
        let chunks: Vec<_> = bytes.chunks(1 << 20).map(leaf_hash).collect();
        let mut leaf = b"assay/tensor/v1\0".to_vec();
        leaf.extend((tensor.name.len() as u32).to_le_bytes());
        leaf.extend(tensor.name.as_bytes());
        leaf.push(0);
        leaf.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor
            .shape
            .iter()
            .for_each(|dim| leaf.extend((*dim as u64).to_le_bytes()));
        leaf.extend(tree(&chunks).0);
        leaves.push(leaf_hash(&leaf));
    }
    assert_eq!(tree(&leaves), files.root());
}

/// The config as it was bound before there were learned positions, and the root that prover and samples have of this model.
#[cfg(feature = "demo")]
#[test]
fn the_root_of_the_demo_stays() {
    let demo = Model::demo().unwrap();
    let config = concat!(
        r#"{"attention_bias":false,"family":"llama","head_dim":64,"heads":3,"hidden":192,"intermediate":512,"kv_heads":1,"#,
        r#""layers":8,"mlp_bias":false,"rms_eps":"3727c5ac","rope":{"layout":"rotate_half","scaling":null,"#,
        r#""theta":"40c3880000000000"},"tied_embeddings":true,"vocab":2048}"#
    );
    assert_eq!(demo.config_canonical_json(), config);
    let root = demo.root(&mut |_, _| {}).unwrap().to_string();
    assert_eq!(
        root,
        "cb524a4c0ec37c201e4ba410846431e789903fa024e3d64a7baf74180812212a"
    );
}

#[test]
fn canonical_scalings_stay() {
    let config = Shape::named("tiny").unwrap().config;
    let rope = |config: &crate::ModelConfig| {
        let json: serde_json::Value = serde_json::from_str(&config.canonical_json()).unwrap();
        json["rope"].to_string()
    };
    let llama3 = concat!(
        r#"{"layout":"rotate_half","scaling":{"factor":"4040000000000000","high_freq_factor":"4010000000000000","#,
        r#""low_freq_factor":"3ff0000000000000","original_context":8192,"type":"llama3"},"theta":"411e848000000000"}"#
    );
    assert_eq!(rope(&config), llama3);
    let linear = crate::Rope {
        scaling: crate::RopeScaling::Linear { factor: 2.0 },
        ..config.rope.unwrap()
    };
    let config = crate::ModelConfig {
        rope: Some(linear),
        ..config
    };
    let linear = r#"{"layout":"rotate_half","scaling":{"factor":"4000000000000000","type":"linear"},"theta":"411e848000000000"}"#;
    assert_eq!(rope(&config), linear);
}

/// Computed by a script that has the definition and a SHA-256 and nothing of this crate.
#[test]
fn the_root_of_a_synthetic_opt_stays() {
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::named("tiny-opt").unwrap();
    synth::write(&shape, Dtype::F32, 7, &dir.path().join("m")).unwrap();
    let model = Model::open(&dir.path().join("m")).unwrap();
    let config = concat!(
        r#"{"attention_bias":true,"family":"opt","head_dim":16,"heads":4,"hidden":64,"intermediate":96,"kv_heads":4,"#,
        r#""layers":2,"mlp_bias":true,"norm_eps":"3727c5ac","position_offset":2,"tied_embeddings":true,"vocab":128}"#
    );
    assert_eq!(model.config_canonical_json(), config);
    let root = model.root(&mut |_, _| {}).unwrap();
    assert_eq!(root.to_string(), OPT_ROOT);

    // What an OPT has and a Llama has not is bound too: one bit of each moves the root.
    let bytes = std::fs::read(dir.path().join("m/model.safetensors")).unwrap();
    let config = std::fs::read(dir.path().join("m/config.json")).unwrap();
    use crate::{LayerRole, Role};
    for role in [
        Role::Positions,
        Role::FinalNormBias,
        Role::Layer(1, LayerRole::AttnNormBias),
        Role::Layer(0, LayerRole::MlpNormBias),
        Role::Layer(1, LayerRole::DownBias),
    ] {
        let tensor = model.tensor(role).unwrap();
        let mut bytes = bytes.clone();
        bytes[(tensor.parts[0].offset + tensor.bytes) as usize - 1] ^= 1;
        let changed = Model::from_memory(&config, None, vec![Arc::new(bytes)], None).unwrap();
        assert_ne!(changed.root(&mut |_, _| {}).unwrap(), root, "{role:?}");
    }
}
const OPT_ROOT: &str = "a04319e34b00be7a4db7971a40de95d2eb9109444a017a6bf21971b505e909c2";

#[test]
fn every_number_of_an_opt_counts() {
    let base = Shape::named("tiny-opt").unwrap().config;
    let changes: [&dyn Fn(&mut crate::ModelConfig); 11] = [
        &|_| {},
        &|config| config.hidden += 2,
        &|config| config.intermediate += 1,
        &|config| config.layers += 1,
        &|config| config.heads *= 2,
        &|config| config.head_dim += 2,
        &|config| config.vocab += 1,
        &|config| config.norm_eps = f32::from_bits(config.norm_eps.to_bits() + 1),
        &|config| config.tied_embeddings = false,
        &|config| config.attention_bias = false,
        &|config| config.mlp_bias = false,
    ];
    let canonical = changes.map(|change| {
        let mut config = base.clone();
        change(&mut config);
        config.canonical_json()
    });
    let distinct: std::collections::BTreeSet<_> = canonical.iter().collect();
    assert_eq!(distinct.len(), canonical.len());
}

#[test]
fn every_byte_of_the_weights_counts() {
    let mut files = files();
    let root = files.root();
    let data_start = 8 + u64::from_le_bytes(files.weights[..8].try_into().unwrap()) as usize;
    let last = files.weights.len() - 1;
    let chunk_edges = [
        data_start,
        data_start + CHUNK_BYTES - 1,
        data_start + CHUNK_BYTES,
        last,
    ];
    for at in (data_start..last).step_by(300_007).chain(chunk_edges) {
        files.weights[at] ^= 1;
        assert_ne!(files.root(), root, "byte {at}");
        files.weights[at] ^= 1;
    }
    assert_eq!(files.root(), root);
}

#[test]
fn every_number_of_the_config_counts_and_special_ids_do_not() {
    let base = files().open().unwrap();
    let root_with = |change: &dyn Fn(&mut crate::ModelConfig)| {
        let mut config = base.config().clone();
        change(&mut config);
        // Only the first leaf depends on it.
        leaf_hash(config.canonical_json().as_bytes())
    };
    fn rope(config: &mut crate::ModelConfig) -> &mut crate::Rope {
        config.rope.as_mut().unwrap()
    }
    let original = root_with(&|_| {});
    let changes: [&dyn Fn(&mut crate::ModelConfig); 16] = [
        &|config| config.family = crate::Family::Mistral,
        &|config| config.hidden += 2,
        &|config| config.intermediate += 1,
        &|config| config.layers += 1,
        &|config| config.heads *= 2,
        &|config| config.kv_heads = 1,
        &|config| config.head_dim += 2,
        &|config| config.vocab += 1,
        &|config| config.norm_eps = f32::from_bits(config.norm_eps.to_bits() + 1),
        &|config| rope(config).theta = f64::from_bits(rope(config).theta.to_bits() + 1),
        &|config| rope(config).scaling = crate::RopeScaling::None,
        &|config| rope(config).scaling = crate::RopeScaling::Linear { factor: 2.0 },
        &|config| rope(config).layout = crate::RopeLayout::Interleaved,
        &|config| config.tied_embeddings = false,
        &|config| config.attention_bias = true,
        &|config| config.mlp_bias = true,
    ];
    let mut seen = vec![original];
    for change in changes {
        let changed = root_with(change);
        assert!(!seen.contains(&changed));
        seen.push(changed);
    }
    assert_eq!(root_with(&|config| config.eos = vec![5]), original);
    assert_eq!(root_with(&|config| config.context = 5), original);

    let mut eps = files();
    let mut json: serde_json::Value = serde_json::from_str(&eps.config).unwrap();
    json["rms_norm_eps"] = 1e-6.into();
    eps.config = json.to_string();
    assert_ne!(eps.root(), files().root());
}

#[test]
fn names_types_and_shapes_count() {
    // Both 4 bytes an element in all, same bytes: only the name differs.
    let mut files = files();
    let root = files.root();
    let header = |files: &mut Files, from: &[u8], to: &[u8]| {
        assert_eq!(from.len(), to.len());
        let at = files
            .weights
            .windows(from.len())
            .position(|window| window == from)
            .unwrap();
        files.weights[at..at + to.len()].copy_from_slice(to);
    };
    header(
        &mut files,
        b"\"model.embed_tokens.weight\"",
        b"\"lm_head.weight\"           ",
    );
    let renamed = files.open().unwrap();
    assert_eq!(
        renamed.tensor(crate::Role::Embedding).unwrap().name,
        "lm_head.weight"
    );
    assert_ne!(files.root(), root);

    // F16 and BF16 have the same size, so the type alone can be changed.
    let dir = tempfile::tempdir().unwrap();
    let shape = Shape::named("tiny").unwrap();
    synth::write(&shape, Dtype::F16, 7, &dir.path().join("m")).unwrap();
    let path = dir.path().join("m/model.safetensors");
    let half = Model::open(&dir.path().join("m"))
        .unwrap()
        .root(&mut |_, _| {})
        .unwrap();
    let text = std::fs::read(&path).unwrap();
    let at = text
        .windows(7)
        .position(|window| window == b"\"F16\",\"")
        .unwrap();
    let mut other = text;
    let swapped = [&other[..at], b"\"BF16\",\"", &other[at + 7..]].concat();
    other = swapped;
    let header_bytes = u64::from_le_bytes(other[..8].try_into().unwrap()) + 1;
    other[..8].copy_from_slice(&header_bytes.to_le_bytes());
    std::fs::write(&path, other).unwrap();
    let mixed = Model::open(&dir.path().join("m")).unwrap();
    assert_eq!(mixed.dtype(), "mixed");
    assert_ne!(mixed.root(&mut |_, _| {}).unwrap(), half);
}

#[test]
fn a_source_that_fails_fails_the_root() {
    struct Broken(Vec<u8>);
    impl ByteSource for Broken {
        fn len(&self) -> u64 {
            ByteSource::len(&self.0)
        }
        fn read(&self, offset: u64, len: usize) -> Result<std::borrow::Cow<'_, [u8]>, ModelError> {
            if offset > 100_000 {
                return Err(ModelError::ReadOutside {
                    begin: offset,
                    end: offset,
                    most: 0,
                });
            }
            // Copies, as a browser's source does.
            self.0
                .read(offset, len)
                .map(|bytes| bytes.into_owned().into())
        }
    }
    let Files { config, weights } = files();
    let model = Model::from_memory(
        config.as_bytes(),
        None,
        vec![Arc::new(Broken(weights))],
        None,
    )
    .unwrap();
    assert!(matches!(
        model.root(&mut |_, _| {}),
        Err(ModelError::ReadOutside { .. })
    ));
    let mut hasher = model.root_hasher();
    while hasher.step().is_ok() {}
    let done = hasher.done();
    assert!(done < hasher.total() && hasher.step().is_err() && hasher.done() == done);
}
