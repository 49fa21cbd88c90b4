//! An OPT's tensors: their names in both spellings, and what contradicts the config.
use super::*;
use crate::Family;

const OPT: &str = r#"{"model_type":"opt","hidden_size":8,"ffn_dim":6,"num_hidden_layers":2,"num_attention_heads":2,
    "vocab_size":5,"max_position_embeddings":3,"tie_word_embeddings":false}"#;

fn opt(changes: serde_json::Value) -> String {
    let mut config: serde_json::Value = serde_json::from_str(OPT).unwrap();
    let changes = changes.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(changes);
    config.to_string()
}

fn has(all: &[Tensor], name: &str) -> bool {
    all.iter().any(|tensor| tensor.0 == name)
}

#[test]
fn an_opt_has_positions_norm_biases_and_no_gate() {
    use LayerRole::*;
    let all = tensors(OPT);
    // Embedding, head, positions, last norm, and 16 a layer.
    assert_eq!(all.len(), 5 + 2 * 16);
    let model = open(OPT, &all).unwrap();
    assert!(model.notes().is_empty(), "{:?}", model.notes());
    assert_eq!(model.config().family, Family::Opt);
    let shape = |role| model.tensor(role).unwrap().shape.clone();
    assert_eq!(shape(Role::Positions), [5, 8]);
    assert_eq!(shape(Role::FinalNormBias), [8]);
    let layer = |role| shape(Role::Layer(1, role));
    assert_eq!((layer(Up), layer(Down)), (vec![6, 8], vec![8, 6]));
    assert_eq!((layer(UpBias), layer(DownBias)), (vec![6], vec![8]));
    assert_eq!(
        (layer(AttnNormBias), layer(MlpNormBias)),
        (vec![8], vec![8])
    );
    for role in LayerRole::LINEARS {
        let (there, bias) = (model.layer(0, role), model.layer(0, role.bias().unwrap()));
        assert_eq!(
            (there.is_some(), bias.is_some()),
            (role != Gate, role != Gate)
        );
    }
    let name = |role| model.layer(0, role).unwrap().name.clone();
    assert_eq!(
        name(AttnNorm),
        "model.decoder.layers.0.self_attn_layer_norm.weight"
    );
    assert_eq!(
        name(MlpNormBias),
        "model.decoder.layers.0.final_layer_norm.bias"
    );
    assert_eq!(
        name(OBias),
        "model.decoder.layers.0.self_attn.out_proj.bias"
    );
    assert_eq!(
        (name(Up), name(DownBias)),
        (
            "model.decoder.layers.0.fc1.weight".to_owned(),
            "model.decoder.layers.0.fc2.bias".to_owned(),
        )
    );
    for (name, _, _) in &all {
        let err = open(OPT, &without(&all, name)).unwrap_err();
        let named = matches!(&err, ModelError::TensorMissing { name: named } if named == name);
        assert!(named, "{err}");
    }
}

#[test]
fn an_opt_must_agree_with_its_config() {
    let all = tensors(OPT);
    let plain = opt(json!({"enable_bias": false}));
    let few = tensors(&plain);
    // The norms keep their biases.
    assert_eq!(few.len(), 5 + 2 * 10);
    let model = open(&plain, &few).unwrap();
    assert!(model.layer(0, LayerRole::QBias).is_none());
    assert!(model.layer(0, LayerRole::AttnNormBias).is_some());
    for tensor in all.iter().filter(|tensor| !has(&few, &tensor.0)) {
        let err = open(&plain, &[&few[..], std::slice::from_ref(tensor)].concat()).unwrap_err();
        let ModelError::TensorUnexpected { name, why } = &err else {
            panic!("{err}")
        };
        assert!(*name == tensor.0 && why.contains("enable_bias"), "{err}");
    }
    let refused = |config: &str, name: &str| {
        let mut more = tensors(config);
        more.push((name.to_owned(), "F32", vec![8, 8]));
        let err = open(config, &more).unwrap_err();
        let named =
            matches!(&err, ModelError::TensorUnexpected { name: named, .. } if named == name);
        assert!(named, "{err}");
    };
    refused(OPT, "model.decoder.project_in.weight");
    refused(OPT, "model.decoder.layers.2.fc1.weight");
    refused(OPT, "decoder.embed_tokens.weight");
    // Another length of context is another table.
    let err = open(&opt(json!({"max_position_embeddings": 4})), &all).unwrap_err();
    let ModelError::TensorShape {
        name, got, want, ..
    } = &err
    else {
        panic!("{err}")
    };
    assert_eq!(name, "model.decoder.embed_positions.weight");
    assert_eq!(
        (got.as_slice(), want.as_slice()),
        ([5, 8].as_slice(), [6, 8].as_slice())
    );
}

#[test]
fn names_of_an_opt_may_lack_their_first_word() {
    let short = |mut all: Vec<Tensor>| {
        for tensor in &mut all {
            tensor.0 = tensor.0.trim_start_matches("model.").to_owned();
        }
        all
    };
    let all = short(tensors(OPT));
    let model = open(OPT, &all).unwrap();
    assert!(model.notes().is_empty(), "{:?}", model.notes());
    let positions = model.tensor(Role::Positions).unwrap();
    assert_eq!(positions.name, "decoder.embed_positions.weight");
    // The root binds names as they are stored, as it does everywhere.
    let root = |model: &Model| model.root(&mut |_, _| {}).unwrap();
    assert_ne!(root(&model), root(&open(OPT, &tensors(OPT)).unwrap()));
    let (missing, _, _) = &all[4];
    let err = open(OPT, &without(&all, missing)).unwrap_err();
    assert!(
        matches!(&err, ModelError::TensorMissing { name } if name == missing),
        "{err}"
    );

    // Published as safetensors, the 125M has its tied matrix under the head's name alone.
    let tied = opt(json!({"tie_word_embeddings": true}));
    for all in [tensors(&tied), short(tensors(&tied))] {
        let embedding = all[0].0.clone();
        let model = open(&tied, &without(&all, &embedding)).unwrap();
        assert_eq!(model.tensor(Role::Embedding).unwrap().name, LM_HEAD);
        assert_eq!(model.tensor(Role::Embedding), model.tensor(Role::LmHead));
        let model = open(&tied, &without(&all, LM_HEAD)).unwrap();
        assert_eq!(model.tensor(Role::LmHead).unwrap().name, embedding);
    }
}
