use super::*;
use crate::RopeScaling;
use proptest::prelude::*;
use serde_json::json;

fn base() -> Value {
    json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 128
    })
}

/// The base config with some keys replaced; a key set to the string "absent" is removed.
fn with(changes: Value) -> Value {
    let mut config = base();
    for (key, value) in changes.as_object().unwrap() {
        if value == "absent" {
            config.as_object_mut().unwrap().remove(key);
        } else {
            config[key] = value.clone();
        }
    }
    config
}

fn read(config: &Value) -> Result<ModelConfig, ModelError> {
    parse(config.to_string().as_bytes(), None).map(|parsed| parsed.config)
}

fn refusal(changes: Value) -> ModelError {
    read(&with(changes)).unwrap_err()
}

#[test]
fn missing_keys_take_the_defaults_of_transformers() {
    let config = read(&base()).unwrap();
    assert_eq!(
        (config.kv_heads, config.head_dim, config.context),
        (4, 16, 2048)
    );
    let rope = config.rope.unwrap();
    assert_eq!((config.norm_eps, rope.theta), (1e-6, 10_000.0));
    assert_eq!(rope.scaling, RopeScaling::None);
    assert_eq!((config.eos, config.bos), (vec![2], Some(1)));
    assert!(!config.tied_embeddings && !config.attention_bias && !config.mlp_bias);

    let mistral = with(
        json!({"model_type": "mistral", "architectures": ["MistralForCausalLM"], "num_attention_heads": 16}),
    );
    let parsed = parse(mistral.to_string().as_bytes(), None).unwrap();
    assert_eq!((parsed.config.kv_heads, parsed.config.context), (8, 4096));
    assert!(
        parsed.notes[0].contains("sliding window of 4096"),
        "{:?}",
        parsed.notes
    );
}

#[test]
fn both_spellings_of_rope_agree() {
    let llama3 = json!({
        "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64
    });
    let mut current = llama3.clone();
    current["rope_theta"] = json!(500000);
    let classic = read(&with(
        json!({"rope_theta": 500000.0, "rope_scaling": llama3, "torch_dtype": "bfloat16"}),
    ))
    .unwrap();
    let current = read(&with(
        json!({"rope_parameters": current, "dtype": "bfloat16"}),
    ))
    .unwrap();
    assert_eq!(classic, current);
    assert_eq!(classic.rope.unwrap().theta, 500_000.0);
    let linear = read(&with(
        json!({"rope_scaling": {"type": "linear", "factor": 4}}),
    ))
    .unwrap();
    assert_eq!(
        linear.rope.unwrap().scaling,
        RopeScaling::Linear { factor: 4.0 }
    );
    let plain = read(&with(
        json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    ))
    .unwrap();
    let plain = plain.rope.unwrap();
    assert_eq!((plain.scaling, plain.theta), (RopeScaling::None, 1e6));
}

#[test]
fn what_would_run_wrongly_is_refused_by_name() {
    let mixtral = json!({"model_type": "mixtral"});
    let cases = [
        (mixtral, "model_type", "mixtral"),
        (json!({"model_type": "qwen3"}), "model_type", "qwen3"),
        (
            json!({"model_type": "opt"}),
            "architectures",
            "LlamaForCausalLM",
        ),
        (json!({"model_type": "gemma"}), "model_type", "gemma"),
        (json!({"model_type": "phi3"}), "model_type", "phi3"),
        (
            json!({"architectures": ["LlamaForSequenceClassification"]}),
            "architectures",
            "LlamaForSequenceClassification",
        ),
        (
            json!({"auto_map": {"AutoModelForCausalLM": "mine.Model"}}),
            "auto_map",
            "mine.Model",
        ),
        (json!({"hidden_act": "gelu"}), "hidden_act", "gelu"),
        (
            json!({"quantization_config": {"quant_method": "quanto"}}),
            "quantization_config.quant_method",
            "quanto",
        ),
        (
            json!({"quantization_config": {"load_in_4bit": true}}),
            "quantization_config",
            "load_in_4bit",
        ),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
            "0.5",
        ),
        (
            json!({"rope_parameters": {"partial_rotary_factor": 0.5}}),
            "rope_parameters.partial_rotary_factor",
            "0.5",
        ),
        (
            json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
            "rope_scaling.rope_type",
            "dynamic",
        ),
        (
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}),
            "rope_scaling.rope_type",
            "yarn",
        ),
        (
            json!({"rope_parameters": {"rope_type": "longrope"}}),
            "rope_parameters.rope_type",
            "longrope",
        ),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 2.0, "mscale": 3}}),
            "rope_scaling.mscale",
            "3",
        ),
        (
            json!({"rope_parameters": {"full_attention": {"rope_theta": 1}}}),
            "rope_parameters.full_attention",
            "rope_theta",
        ),
    ];
    for (changes, want_key, want_got) in cases {
        let err = refusal(changes);
        let ModelError::Unsupported { key, got, .. } = &err else {
            panic!("{err}")
        };
        assert_eq!(key, want_key);
        assert!(got.contains(want_got), "{err}");
    }
    let biased = json!({"model_type": "mistral", "architectures": ["MistralForCausalLM"], "attention_bias": true});
    assert!(
        matches!(refusal(biased), ModelError::Unsupported { key, .. } if key == "attention_bias")
    );
}

#[test]
fn missing_keys_that_have_no_default_are_named() {
    let required = [
        "model_type",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "vocab_size",
    ];
    for key in required {
        for gone in [json!("absent"), json!(null)] {
            let err = refusal(json!({ key: gone }));
            assert!(
                matches!(&err, ModelError::ConfigMissing { key: named } if named == key),
                "{err}"
            );
        }
    }
    for key in [
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ] {
        let mut scaling = json!({
            "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
            "original_max_position_embeddings": 64
        });
        scaling.as_object_mut().unwrap().remove(key);
        let err = refusal(json!({"rope_scaling": scaling}));
        assert!(
            matches!(&err, ModelError::ConfigMissing { key: named } if named == key),
            "{err}"
        );
    }
}

#[test]
fn values_of_the_wrong_type_are_named() {
    let cases = [
        ("hidden_size", json!(64.5)),
        ("hidden_size", json!(-64)),
        ("hidden_size", json!("64")),
        ("vocab_size", json!(1e300)),
        ("rms_norm_eps", json!("1e-5")),
        ("rope_theta", json!([10000])),
        ("tie_word_embeddings", json!(1)),
        ("rope_scaling", json!("linear")),
        ("eos_token_id", json!("2")),
        ("eos_token_id", json!([2, "3"])),
        ("hidden_act", json!(3)),
    ];
    for (want_key, value) in cases {
        let err = refusal(json!({ want_key: value }));
        assert!(
            matches!(&err, ModelError::ConfigValue { key, .. } if key == want_key),
            "{err}"
        );
    }
}

#[test]
fn sizes_out_of_range_are_named() {
    let sizes = [
        ("hidden_size", most::HIDDEN),
        ("intermediate_size", most::INTERMEDIATE),
        ("num_hidden_layers", most::LAYERS),
        ("num_key_value_heads", most::HEADS),
        ("head_dim", most::HEAD_DIM),
        ("vocab_size", most::VOCAB),
        ("max_position_embeddings", most::CONTEXT),
    ];
    for (want_key, most) in sizes {
        for value in [0, most + 1] {
            let err = refusal(json!({ "head_dim": 16, want_key: value }));
            assert!(
                matches!(&err, ModelError::ConfigRange { key, .. } if *key == want_key),
                "{err}"
            );
        }
    }
    use crate::config::most;
}

#[test]
fn sizes_that_do_not_fit_together_are_refused() {
    assert!(matches!(
        refusal(json!({"num_key_value_heads": 3})),
        ModelError::HeadGroups {
            heads: 4,
            kv_heads: 3
        }
    ));
    assert!(matches!(
        refusal(json!({"head_dim": 15})),
        ModelError::OddHeadDim { head_dim: 15 }
    ));
    assert!(matches!(
        refusal(json!({"hidden_size": 66})),
        ModelError::HeadDimUnknown {
            hidden: 66,
            heads: 4
        }
    ));
    assert!(matches!(
        refusal(json!({"num_attention_heads": 0})),
        ModelError::HeadDimUnknown { heads: 0, .. }
    ));
    assert_eq!(
        read(&with(json!({"hidden_size": 66, "head_dim": 8})))
            .unwrap()
            .q_dim(),
        32
    );
}

#[test]
fn numbers_out_of_range_are_named() {
    let llama3 = |low: f64, high: f64, original: u64| {
        json!({"rope_scaling": {
            "rope_type": "llama3", "factor": 8, "low_freq_factor": low, "high_freq_factor": high,
            "original_max_position_embeddings": original
        }})
    };
    let cases = [
        (json!({"rms_norm_eps": 0.0}), "rms_norm_eps"),
        (json!({"rms_norm_eps": 1e-60}), "rms_norm_eps"),
        (json!({"rms_norm_eps": 2}), "rms_norm_eps"),
        (json!({"rope_theta": 0}), "rope_theta"),
        (json!({"rope_theta": -5.0}), "rope_theta"),
        (json!({"rope_theta": 1e300}), "rope_theta"),
        (
            json!({"rope_scaling": {"type": "linear", "factor": 0}}),
            "factor",
        ),
        (llama3(0.0, 4.0, 64), "low_freq_factor"),
        (llama3(4.0, 4.0, 64), "high_freq_factor"),
    ];
    for (changes, want_key) in cases {
        let err = refusal(changes);
        assert!(
            matches!(&err, ModelError::ConfigValue { key, .. } if key == want_key),
            "{err}"
        );
    }
    assert!(matches!(
        refusal(llama3(1.0, 4.0, 0)),
        ModelError::ConfigRange { got: 0, .. }
    ));
}

#[test]
fn contradictions_are_refused() {
    let cases = [
        json!({"rope_theta": 1e4, "rope_parameters": {"rope_theta": 1e6}}),
        json!({"rope_scaling": {"rope_type": "linear", "type": "default", "factor": 2}}),
        json!({"rope_scaling": {"type": "linear", "factor": 2}, "rope_parameters": {"rope_type": "default"}}),
    ];
    for changes in cases {
        let err = refusal(changes);
        assert!(matches!(err, ModelError::ConfigConflict { .. }), "{err}");
    }
}

#[test]
fn ids_come_from_both_files_and_from_the_vocabulary_only() {
    let config =
        with(json!({"eos_token_id": [9, 3, 3, -1, 4000], "bos_token_id": null})).to_string();
    let generation = br#"{"eos_token_id": [5, 9]}"#;
    let Parsed { config, notes, .. } = parse(config.as_bytes(), Some(generation)).unwrap();
    assert_eq!((config.eos, config.bos), (vec![3, 5, 9], None));
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(parse(base().to_string().as_bytes(), Some(b"[]")).is_err());
}

#[test]
fn sliding_window_cuts_the_context_with_a_note() {
    let mistral = |window: Value| {
        let changes = json!({
            "model_type": "mistral", "architectures": ["MistralForCausalLM"], "num_key_value_heads": 2,
            "max_position_embeddings": 32768, "sliding_window": window
        });
        parse(with(changes).to_string().as_bytes(), None).unwrap()
    };
    assert_eq!(
        (
            mistral(json!(null)).config.context,
            mistral(json!(null)).notes.len()
        ),
        (32_768, 0)
    );
    assert_eq!(
        (
            mistral(json!(40_000)).config.context,
            mistral(json!(40_000)).notes.len()
        ),
        (32_768, 0)
    );
    assert_eq!(
        (
            mistral(json!(4096)).config.context,
            mistral(json!(4096)).notes.len()
        ),
        (4096, 1)
    );
}

#[test]
fn text_that_is_not_a_config_is_refused() {
    for bytes in [
        &b""[..],
        b"[]",
        b"null",
        b"{",
        b"\xff",
        b"{\"model_type\": NaN}",
    ] {
        assert!(matches!(parse(bytes, None), Err(ModelError::Json { .. })));
    }
    let deep = "[".repeat(100_000);
    assert!(matches!(
        parse(deep.as_bytes(), None),
        Err(ModelError::Json { .. })
    ));
    let long = vec![b' '; MAX_CONFIG_BYTES + 1];
    assert!(matches!(
        parse(&long, None),
        Err(ModelError::FileTooLarge { .. })
    ));
    let long_name = refusal(json!({"model_type": "x".repeat(10_000)})).to_string();
    assert!(long_name.len() < 300, "{}", long_name.len());
}

#[cfg(feature = "native")]
#[test]
fn a_written_config_reads_back() {
    use crate::synth::Shape;
    for name in Shape::NAMES {
        let want = Shape::named(name).unwrap().config;
        let json = to_json(&want, crate::Dtype::BF16).unwrap();
        assert_eq!(parse(json.as_bytes(), None).unwrap().config, want);
        let through_serde: ModelConfig =
            serde_json::from_str(&serde_json::to_string(&want).unwrap()).unwrap();
        assert_eq!(through_serde, want);
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0i64..200).prop_map(Value::from),
        "[a-z0-9]{0,8}".prop_map(Value::from),
        prop::sample::select(vec!["llama3", "linear", "default", "silu"]).prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(key(), inner, 0..6)
                .prop_map(|map| map.into_iter().collect::<Value>()),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    let known = vec![
        "hidden_size",
        "head_dim",
        "num_attention_heads",
        "num_key_value_heads",
        "vocab_size",
        "rope_scaling",
        "rope_parameters",
        "rope_theta",
        "rope_type",
        "type",
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "eos_token_id",
        "bos_token_id",
        "original_max_position_embeddings",
        "rms_norm_eps",
        "sliding_window",
        "quantization_config",
        "auto_map",
    ];
    prop_oneof![
        prop::sample::select(known).prop_map(str::to_owned),
        "[a-z_]{1,10}"
    ]
}

proptest! {
    #[test]
    fn no_config_panics(changes in prop::collection::hash_map(key(), any_json(), 0..6), mistral in any::<bool>()) {
        let mut config = base();
        if mistral {
            config["model_type"] = json!("mistral");
            config["architectures"] = json!(["MistralForCausalLM"]);
        }
        for (key, value) in changes {
            config[key] = value;
        }
        if let Ok(config) = read(&config) {
            // Whatever is accepted can be used.
            config.check().unwrap();
            let (cos, sin) = config.cos_sin_tables(0..3).unwrap();
            prop_assert!(cos.iter().chain(&sin).all(|x| x.is_finite()));
            let canonical: Value = serde_json::from_str(&config.canonical_json()).unwrap();
            prop_assert_eq!(canonical.to_string(), config.canonical_json());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, Some(&bytes));
    }
}
