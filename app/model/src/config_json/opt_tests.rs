use crate::config_json::{Parsed, parse};
use crate::{Family, Mlp, ModelConfig, ModelError, Norm};
use proptest::prelude::*;
use serde_json::{Value, json};

fn base() -> Value {
    json!({
        "model_type": "opt", "architectures": ["OPTForCausalLM"], "hidden_size": 64, "ffn_dim": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 128, "max_position_embeddings": 32
    })
}

fn with(changes: &Value) -> Value {
    let mut config = base();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn read(config: &Value) -> Result<ModelConfig, ModelError> {
    parse(config.to_string().as_bytes(), None).map(|parsed| parsed.config)
}

fn refusal(changes: Value) -> ModelError {
    read(&with(&changes)).unwrap_err()
}

#[test]
fn missing_keys_take_the_defaults_of_transformers() {
    let config = read(&json!({"model_type": "opt"})).unwrap();
    let want = ModelConfig {
        family: Family::Opt,
        hidden: 768,
        intermediate: 3072,
        layers: 12,
        heads: 12,
        kv_heads: 12,
        head_dim: 64,
        vocab: 50_272,
        context: 2048,
        norm_eps: 1e-5,
        rope: None,
        tied_embeddings: true,
        attention_bias: true,
        mlp_bias: true,
        eos: vec![2],
        bos: Some(2),
    };
    assert_eq!(config, want);
    assert_eq!(
        (config.family.norm(), config.family.mlp()),
        (Norm::Layer, Mlp::Relu)
    );
    assert!(!config.family.mlp().has_gate() && config.cos_sin_tables(0..3).is_none());
    for null in [
        "hidden_size",
        "enable_bias",
        "word_embed_proj_dim",
        "tie_word_embeddings",
    ] {
        assert_eq!(
            read(&json!({"model_type": "opt", null: null})).unwrap(),
            want
        );
    }
}

#[test]
fn what_is_given_is_taken() {
    let changes = json!({
        "word_embed_proj_dim": 64, "enable_bias": false, "tie_word_embeddings": false, "activation_function": "relu",
        "do_layer_norm_before": true, "_remove_final_layer_norm": false, "layer_norm_elementwise_affine": true,
        "eos_token_id": [3, 5], "bos_token_id": 0, "pad_token_id": 1, "dropout": 0.1, "head_dim": 16, "num_key_value_heads": 4
    });
    let text = with(&changes).to_string();
    let generation = br#"{"eos_token_id": 4}"#;
    let Parsed { config, notes, .. } = parse(text.as_bytes(), Some(generation)).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    assert!(!config.tied_embeddings && !config.attention_bias && !config.mlp_bias);
    assert_eq!(
        (config.hidden, config.intermediate, config.layers),
        (64, 96, 2)
    );
    assert_eq!((config.heads, config.kv_heads, config.head_dim), (4, 4, 16));
    assert_eq!((config.vocab, config.context), (128, 32));
    assert_eq!((config.eos, config.bos), (vec![3, 4, 5], Some(0)));
}

#[test]
fn what_would_run_wrongly_is_refused_by_name() {
    let cases = [
        (
            json!({"activation_function": "gelu"}),
            "activation_function",
            "gelu",
        ),
        (
            json!({"do_layer_norm_before": false}),
            "do_layer_norm_before",
            "false",
        ),
        (
            json!({"word_embed_proj_dim": 32}),
            "word_embed_proj_dim",
            "32",
        ),
        (
            json!({"_remove_final_layer_norm": true}),
            "_remove_final_layer_norm",
            "true",
        ),
        (
            json!({"layer_norm_elementwise_affine": false}),
            "layer_norm_elementwise_affine",
            "false",
        ),
        (
            json!({"quantization_config": {"quant_method": "quanto"}}),
            "quantization_config.quant_method",
            "quanto",
        ),
        (
            json!({"auto_map": {"AutoModelForCausalLM": "mine.Model"}}),
            "auto_map",
            "mine.Model",
        ),
        (
            json!({"architectures": ["OPTForSequenceClassification"]}),
            "architectures",
            "OPTFor",
        ),
        (
            json!({"architectures": ["LlamaForCausalLM"]}),
            "architectures",
            "LlamaFor",
        ),
        (
            json!({"num_key_value_heads": 2}),
            "num_key_value_heads",
            "2",
        ),
        (json!({"head_dim": 32}), "head_dim", "32"),
    ];
    for (changes, want_key, want_got) in cases {
        let err = refusal(changes);
        let ModelError::Unsupported { key, got, .. } = &err else {
            panic!("{err}")
        };
        assert!(key == want_key && got.contains(want_got), "{err}");
    }
    for heads in [0, 3, 65] {
        let err = refusal(json!({ "num_attention_heads": heads }));
        assert!(
            matches!(err, ModelError::HeadDimUnknown { hidden: 64, .. }),
            "{err}"
        );
    }
    let odd = refusal(json!({"hidden_size": 60}));
    assert!(
        matches!(odd, ModelError::OddHeadDim { head_dim: 15 }),
        "{odd}"
    );
}

#[test]
fn values_of_the_wrong_type_or_size_are_named() {
    let types = [
        ("hidden_size", json!("64")),
        ("ffn_dim", json!(-1)),
        ("enable_bias", json!(1)),
        ("do_layer_norm_before", json!("true")),
        ("activation_function", json!(["relu"])),
        ("word_embed_proj_dim", json!(64.5)),
    ];
    for (want_key, value) in types {
        let err = refusal(json!({ want_key: value }));
        let named = matches!(&err, ModelError::ConfigValue { key, .. } if key == want_key);
        assert!(named, "{err}");
    }
    let sizes = [
        ("ffn_dim", crate::config::most::INTERMEDIATE),
        ("num_hidden_layers", crate::config::most::LAYERS),
        ("vocab_size", crate::config::most::VOCAB),
        ("max_position_embeddings", crate::config::most::CONTEXT),
    ];
    for (want_key, most) in sizes {
        for value in [0, most + 1] {
            let err = refusal(json!({ want_key: value }));
            let named = matches!(&err, ModelError::ConfigRange { key, .. } if *key == want_key);
            assert!(named, "{err}");
        }
    }
}

/// What no reader makes, but a config from elsewhere (a key file, say) may claim.
#[test]
fn a_config_that_its_family_cannot_have_is_refused() {
    let opt = read(&base()).unwrap();
    let llama = json!({
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "vocab_size": 128
    });
    let llama = read(&llama).unwrap();
    let mistral = ModelConfig {
        family: Family::Mistral,
        ..llama.clone()
    };
    for good in [&opt, &llama, &mistral] {
        good.check().unwrap();
    }
    let cases = [
        (
            ModelConfig {
                rope: None,
                ..llama.clone()
            },
            "rope",
        ),
        (
            ModelConfig {
                rope: None,
                ..mistral
            },
            "rope",
        ),
        (
            ModelConfig {
                rope: llama.rope,
                ..opt.clone()
            },
            "rope",
        ),
        (
            ModelConfig {
                kv_heads: 2,
                ..opt.clone()
            },
            "num_key_value_heads",
        ),
        (
            ModelConfig {
                head_dim: 8,
                ..opt.clone()
            },
            "head_dim",
        ),
        (
            ModelConfig {
                mlp_bias: false,
                ..opt.clone()
            },
            "enable_bias",
        ),
        (
            ModelConfig {
                norm_eps: f32::NAN,
                ..opt.clone()
            },
            "layer_norm_eps",
        ),
        (
            ModelConfig {
                norm_eps: 0.0,
                ..opt.clone()
            },
            "layer_norm_eps",
        ),
    ];
    for (config, want_key) in cases {
        let err = config.check().unwrap_err();
        let named = matches!(&err, ModelError::ConfigValue { key, .. } if key == want_key);
        assert!(named, "{err}");
    }
}

/// Key files hold configs as serde writes them.
#[test]
fn serde_keeps_the_names_that_key_files_have() {
    let opt = read(&base()).unwrap();
    let text = serde_json::to_string(&opt).unwrap();
    assert!(
        text.contains(r#""rms_eps":0.00001,"#) && text.contains(r#""rope":null"#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<ModelConfig>(&text).unwrap(), opt);
    let llama = json!({
        "family": "llama", "hidden": 64, "intermediate": 96, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 16,
        "vocab": 128, "context": 256, "rms_eps": 1e-5,
        "rope": {"theta": 500000.0, "scaling": {"type": "none"}, "layout": "rotate_half"},
        "tied_embeddings": true, "attention_bias": false, "mlp_bias": false, "eos": [2], "bos": 1
    });
    let read: ModelConfig = serde_json::from_value(llama.clone()).unwrap();
    read.check().unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap()["rope"], llama["rope"]);
    assert_eq!(serde_json::to_value(&read).unwrap()["family"], "llama");
}

#[cfg(feature = "native")]
#[test]
fn an_epsilon_that_a_config_cannot_say_is_not_written() {
    let config = ModelConfig {
        norm_eps: 1e-6,
        ..read(&base()).unwrap()
    };
    let err = crate::synth::Shape::custom("x", config).unwrap_err();
    let named = matches!(&err, ModelError::Unsupported { key, .. } if key == "layer_norm_eps");
    assert!(named, "{err}");
}

fn key() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "hidden_size",
        "ffn_dim",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "max_position_embeddings",
        "word_embed_proj_dim",
        "activation_function",
        "do_layer_norm_before",
        "_remove_final_layer_norm",
        "layer_norm_elementwise_affine",
        "enable_bias",
        "tie_word_embeddings",
        "eos_token_id",
        "bos_token_id",
        "rope_scaling",
    ])
    .prop_map(str::to_owned)
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0i64..200).prop_map(Value::from),
        prop::sample::select(vec![64, 128, 16, 4, 8]).prop_map(Value::from),
        prop::sample::select(vec!["relu", "gelu", ""]).prop_map(Value::from),
    ]
}

proptest! {
    #[test]
    fn no_config_panics(changes in prop::collection::hash_map(key(), value(), 0..6)) {
        if let Ok(config) = read(&with(&changes.into_iter().collect())) {
            config.check().unwrap();
            prop_assert!(config.rope.is_none() && config.q_dim() == config.hidden && config.kv_dim() == config.hidden);
            let canonical: Value = serde_json::from_str(&config.canonical_json()).unwrap();
            prop_assert_eq!(canonical.to_string(), config.canonical_json());
        }
    }
}
