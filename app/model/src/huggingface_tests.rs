use super::*;
use crate::LayerRole;
use serde_json::json;

const CONFIG: &str = r#"{"model_type":"llama","hidden_size":8,"intermediate_size":6,"num_hidden_layers":2,"num_attention_heads":2,
    "num_key_value_heads":1,"head_dim":2,"vocab_size":5}"#;

fn config(changes: serde_json::Value) -> String {
    let mut config: serde_json::Value = serde_json::from_str(CONFIG).unwrap();
    config
        .as_object_mut()
        .unwrap()
        .extend(changes.as_object().unwrap().clone());
    config.to_string()
}

/// The embedding of [`CONFIG`].
const EMBEDDING: &str = "model.embed_tokens.weight";

type Tensor = (String, &'static str, Vec<usize>);

/// Every tensor of an untied model of this config, as f32.
fn tensors(config: &str) -> Vec<Tensor> {
    let config = config_json::parse(config.as_bytes(), None).unwrap().config;
    let names = Names::of(config.family);
    let matrix = |name: &str| (name.to_owned(), "F32", vec![config.vocab, config.hidden]);
    let mut tensors = vec![matrix(&names.embedding()), matrix(LM_HEAD)];
    tensors.extend(
        names::wanted_but_embeddings(&config, &names)
            .into_iter()
            .map(|wanted| (wanted.name, "F32", wanted.shape)),
    );
    tensors
}

fn file(tensors: &[Tensor], fill: impl Fn(usize) -> u8) -> Arc<dyn ByteSource> {
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, dtype, shape) in tensors {
        let begin = end;
        end += shape.iter().product::<usize>() * if *dtype == "F32" { 4 } else { 2 };
        header.insert(
            name.clone(),
            json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}),
        );
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..end).map(fill));
    Arc::new(bytes)
}

fn open(config: &str, tensors: &[Tensor]) -> Result<Model, ModelError> {
    Model::from_memory(
        config.as_bytes(),
        None,
        vec![file(tensors, |at| at as u8)],
        None,
    )
}

fn without(tensors: &[Tensor], name: &str) -> Vec<Tensor> {
    tensors
        .iter()
        .filter(|tensor| tensor.0 != name)
        .cloned()
        .collect()
}

#[test]
fn an_untied_model_has_every_role() {
    let all = tensors(CONFIG);
    let model = open(CONFIG, &all).unwrap();
    assert_eq!(model.tensors().len(), all.len());
    assert_ne!(model.tensor(Role::Embedding), model.tensor(Role::LmHead));
    assert_eq!(model.layer(1, LayerRole::Q).unwrap().shape, [4, 8]);
    assert_eq!(model.layer(1, LayerRole::O).unwrap().shape, [8, 4]);
    assert_eq!(model.layer(0, LayerRole::V).unwrap().shape, [2, 8]);
    assert_eq!(model.layer(0, LayerRole::QBias), None);
    assert_eq!(model.layer(2, LayerRole::Q), None);
    assert_eq!(
        (model.dtype(), model.bytes()),
        ("f32", model.parameters() * 4)
    );
    let sorted: Vec<_> = model.tensors().iter().map(|tensor| &tensor.name).collect();
    assert!(sorted.is_sorted());
}

#[test]
fn reading_stays_inside_the_tensor() {
    let model = open(CONFIG, &tensors(CONFIG)).unwrap();
    let gate = model.layer(0, LayerRole::Gate).unwrap();
    assert_eq!((gate.rows(), gate.cols(), gate.row_bytes()), (6, 8, 32));
    let whole = model.read_f32(gate).unwrap();
    assert_eq!(whole.len(), 48);
    assert_eq!(model.read_rows_f32(gate, 2..4).unwrap(), whole[16..32]);
    assert!(model.read_rows_f32(gate, 6..6).unwrap().is_empty());
    assert_eq!(model.read(gate, 190, 2).unwrap().len(), 2);
    assert!(matches!(
        model.read(gate, 191, 2),
        Err(ModelError::RangeOutside { most: 192, .. })
    ));
    assert!(matches!(
        model.read(gate, u64::MAX, 2),
        Err(ModelError::RangeOutside { .. })
    ));
    assert!(matches!(
        model.read_rows_f32(gate, 2..7),
        Err(ModelError::RangeOutside { most: 6, .. })
    ));
    #[allow(clippy::reversed_empty_ranges, reason = "that is the test")]
    let reversed = model.read_rows_f32(gate, 3..2);
    assert!(matches!(reversed, Err(ModelError::RangeOutside { .. })));
    let mut foreign = gate.clone();
    foreign.parts[0].source = 9;
    assert!(matches!(
        model.read(&foreign, 0, 1),
        Err(ModelError::ForeignTensor { .. })
    ));
    model.release(gate);
}

#[test]
fn each_missing_tensor_is_named() {
    let all = tensors(CONFIG);
    for (name, _, _) in &all {
        let err = open(CONFIG, &without(&all, name)).unwrap_err();
        assert!(
            matches!(&err, ModelError::TensorMissing { name: named } if named == name),
            "{err}"
        );
    }
}

#[test]
fn each_wrong_shape_is_named_with_both_shapes() {
    let all = tensors(CONFIG);
    for changed in 0..all.len() {
        let mut all = all.clone();
        all[changed].2.reverse();
        all[changed].2[0] += 1;
        let (name, _, got) = all[changed].clone();
        let err = open(CONFIG, &all).unwrap_err();
        let ModelError::TensorShape {
            name: named,
            got: got_shape,
            ..
        } = &err
        else {
            panic!("{err}")
        };
        assert_eq!((named, got_shape.len()), (&name, got.len()));
    }
}

#[test]
fn types_that_are_not_float_are_refused_and_mixed_ones_reported() {
    let mut all = tensors(CONFIG);
    all[3].1 = "BF16";
    assert_eq!(open(CONFIG, &all).unwrap().dtype(), "mixed");
    all[3].1 = "I16";
    let err = open(CONFIG, &all).unwrap_err();
    assert!(
        matches!(&err, ModelError::TensorDtype { name, got, .. } if *name == all[3].0 && got == "I16"),
        "{err}"
    );
}

#[test]
fn biases_must_agree_with_the_config() {
    let biased = config(json!({"attention_bias": true, "mlp_bias": true}));
    let all = tensors(&biased);
    let model = open(&biased, &all).unwrap();
    assert_eq!(model.layer(1, LayerRole::QBias).unwrap().shape, [4]);
    assert_eq!(model.layer(1, LayerRole::DownBias).unwrap().shape, [8]);
    for (name, _, _) in all.iter().filter(|(name, _, _)| name.ends_with("bias")) {
        let err = open(&biased, &without(&all, name)).unwrap_err();
        assert!(
            matches!(&err, ModelError::TensorMissing { name: named } if named == name),
            "{err}"
        );
        let mut plain = tensors(CONFIG);
        plain.push(all.iter().find(|tensor| tensor.0 == *name).unwrap().clone());
        let err = open(CONFIG, &plain).unwrap_err();
        assert!(
            matches!(&err, ModelError::TensorUnexpected { name: named, .. } if named == name),
            "{err}"
        );
    }
}

#[test]
fn layers_that_the_config_does_not_count_are_refused() {
    let err = open(&config(json!({"num_hidden_layers": 1})), &tensors(CONFIG)).unwrap_err();
    assert!(
        matches!(&err, ModelError::TensorUnexpected { name, .. } if name.starts_with("model.layers.1.")),
        "{err}"
    );
}

#[test]
fn unknown_tensors_are_noted_and_derived_ones_are_not() {
    let mut all = tensors(CONFIG);
    all.push((
        "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(),
        "F32",
        vec![1],
    ));
    assert!(open(CONFIG, &all).unwrap().notes().is_empty());
    all.push(("value_head.weight".to_owned(), "I16", vec![3, 3, 3]));
    let model = open(CONFIG, &all).unwrap();
    assert_eq!(
        model.notes(),
        ["1 unknown tensors were ignored: `value_head.weight`"]
    );
}

#[test]
fn a_tied_matrix_may_have_either_name_or_both_if_equal() {
    let tied = config(json!({"tie_word_embeddings": true}));
    let all = tensors(&tied);
    for gone in [EMBEDDING, LM_HEAD] {
        let model = open(&tied, &without(&all, gone)).unwrap();
        assert_eq!(model.tensor(Role::Embedding), model.tensor(Role::LmHead));
        assert_ne!(model.tensor(Role::Embedding).unwrap().name, gone);
    }
    let neither = open(&tied, &without(&without(&all, EMBEDDING), LM_HEAD)).unwrap_err();
    assert!(matches!(neither, ModelError::TensorMissing { .. }));

    // The matrices come first in the file, 160 bytes each.
    let equal = Model::from_memory(
        tied.as_bytes(),
        None,
        vec![file(&all, |at| (at % 160) as u8)],
        None,
    )
    .unwrap();
    assert_eq!(equal.tensors().len(), all.len() - 1);
    assert_eq!(equal.notes().len(), 1);
    let one_off = |at: usize| if at == 170 { 0xff } else { (at % 160) as u8 };
    let err =
        Model::from_memory(tied.as_bytes(), None, vec![file(&all, one_off)], None).unwrap_err();
    assert!(
        matches!(err, ModelError::TiedDiffer { at: 10, .. }),
        "{err}"
    );
    let mut types = all;
    types[0].1 = "BF16";
    assert!(matches!(
        open(&tied, &types),
        Err(ModelError::TiedDiffer { at: 0, .. })
    ));
}

#[test]
fn shards_may_not_repeat_a_tensor() {
    let all = tensors(CONFIG);
    let (first, second) = all.split_at(4);
    let model = |a: &[Tensor], b: &[Tensor]| {
        Model::from_memory(
            CONFIG.as_bytes(),
            None,
            vec![file(a, |_| 1), file(b, |_| 2)],
            None,
        )
    };
    assert_eq!(model(first, second).unwrap().tensors().len(), all.len());
    let err = model(&all[..5], second).unwrap_err();
    assert!(
        matches!(&err, ModelError::TensorTwice { name, .. } if *name == all[4].0),
        "{err}"
    );
    let nothing = vec![file(&[], |_| 0); MAX_SHARDS + 1];
    let err = Model::from_memory(CONFIG.as_bytes(), None, nothing, None).unwrap_err();
    assert!(matches!(err, ModelError::TooManyShards { .. }));
}

#[path = "huggingface/opt_tests.rs"]
mod opt;

#[cfg(feature = "native")]
mod on_disk {
    use super::*;
    use std::path::Path;

    fn put(dir: &Path, name: &str, tensors: &[Tensor]) {
        let source = file(tensors, |at| at as u8);
        std::fs::write(
            dir.join(name),
            source.read(0, source.len() as usize).unwrap(),
        )
        .unwrap();
    }

    #[test]
    fn weight_maps_that_leave_the_folder_are_refused() {
        let outside = [
            "../x.safetensors",
            "/etc/x.safetensors",
            "a/b.safetensors",
            r"a\b.safetensors",
            "c:x.safetensors",
            "..",
            "",
            ".safetensors",
            "x.bin",
            "x.safetensors\0",
            "x\n.safetensors",
        ];
        for name in outside {
            let index = json!({"weight_map": {"t": name}}).to_string();
            let err = folder::parse_index(index.as_bytes()).unwrap_err();
            assert!(
                matches!(&err, ModelError::ShardPath { got } if got == name),
                "{err}"
            );
        }
        assert!(folder::parse_index(b"{}").is_err());
        assert_eq!(
            folder::parse_index(br#"{"weight_map":{"t":"x-1.safetensors"}}"#)
                .unwrap()
                .len(),
            1
        );
    }

    #[test]
    fn a_sharded_folder_opens_and_its_map_must_be_true() {
        let dir = tempfile::tempdir().unwrap();
        let all = tensors(CONFIG);
        let (first, second) = all.split_at(7);
        put(dir.path(), "a.safetensors", first);
        put(dir.path(), "b.safetensors", second);
        std::fs::write(dir.path().join("config.json"), CONFIG).unwrap();
        assert!(matches!(
            Model::open(dir.path()),
            Err(ModelError::IndexMissing { got: 2, .. })
        ));
        let mut map: serde_json::Map<_, _> = first
            .iter()
            .map(|tensor| (tensor.0.clone(), json!("a.safetensors")))
            .collect();
        map.extend(
            second
                .iter()
                .map(|tensor| (tensor.0.clone(), json!("b.safetensors"))),
        );
        let write = |map: &serde_json::Map<String, serde_json::Value>| {
            let index = json!({ "weight_map": map }).to_string();
            std::fs::write(dir.path().join("model.safetensors.index.json"), index).unwrap();
            Model::open(dir.path())
        };
        assert_eq!(write(&map).unwrap().tensors().len(), all.len());
        map.insert(all[0].0.clone(), json!("b.safetensors"));
        assert!(
            matches!(write(&map), Err(ModelError::ShardLacks { name, .. }) if name == all[0].0)
        );
        map.insert(all[0].0.clone(), json!("c.safetensors"));
        assert!(
            matches!(write(&map), Err(ModelError::Io { path, .. }) if path.ends_with("c.safetensors"))
        );
    }

    #[test]
    fn folders_and_files_that_hold_no_checkpoint_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            Model::open(dir.path()),
            Err(ModelError::NoCheckpoint { .. })
        ));
        assert!(matches!(
            Model::open(&dir.path().join("none")),
            Err(ModelError::Io { .. })
        ));
        std::fs::write(dir.path().join("config.json"), CONFIG).unwrap();
        std::fs::write(dir.path().join("pytorch_model.bin"), "pickle").unwrap();
        assert!(matches!(
            Model::open(dir.path()),
            Err(ModelError::UnsupportedFormat { .. })
        ));
        std::fs::write(dir.path().join("x.gguf"), "GGUF").unwrap();
        assert!(matches!(
            Model::open(&dir.path().join("x.gguf")),
            Err(ModelError::Truncated { got: 4, .. })
        ));
        std::fs::write(dir.path().join("model.safetensors"), "").unwrap();
        assert!(matches!(
            Model::open(dir.path()),
            Err(ModelError::Truncated { got: 0, .. })
        ));
        std::fs::write(dir.path().join("config.json"), vec![b' '; 2 << 20]).unwrap();
        assert!(matches!(
            Model::open(dir.path()),
            Err(ModelError::FileTooLarge { .. })
        ));
    }

    #[test]
    fn every_truncation_of_a_checkpoint_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), CONFIG).unwrap();
        put(dir.path(), "model.safetensors", &tensors(CONFIG));
        let path = dir.path().join("model.safetensors");
        let bytes = std::fs::read(&path).unwrap();
        assert!(Model::open(dir.path()).is_ok());
        for len in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            std::fs::write(&path, &bytes[..len]).unwrap();
            assert!(Model::open(dir.path()).is_err(), "{len}");
        }
    }
}
