use super::super::{Shard, assemble};
use crate::{Dtype, LayerRole, Model, ModelError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One layer, hidden 16, intermediate 32: q is [16, 16], down [16, 32].
fn config(quantization: Value) -> String {
    json!({
        "model_type": "llama", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
        "vocab_size": 5, "tie_word_embeddings": true, "quantization_config": quantization,
    })
    .to_string()
}

type Tensors = BTreeMap<String, (&'static str, Vec<usize>, Vec<u8>)>;

const LINEARS: [(&str, usize, usize); 7] = [
    ("self_attn.q_proj", 16, 16),
    ("self_attn.k_proj", 16, 16),
    ("self_attn.v_proj", 16, 16),
    ("self_attn.o_proj", 16, 16),
    ("mlp.gate_proj", 32, 16),
    ("mlp.up_proj", 32, 16),
    ("mlp.down_proj", 16, 32),
];

fn floats(tensors: &mut Tensors) {
    for (name, shape) in [
        ("model.embed_tokens.weight", vec![5, 16]),
        ("model.norm.weight", vec![16]),
        ("model.layers.0.input_layernorm.weight", vec![16]),
        ("model.layers.0.post_attention_layernorm.weight", vec![16]),
    ] {
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        tensors.insert(name.to_owned(), ("F32", shape, bytes));
    }
}

/// Groups of 8 columns, all quants 3, zeros stored as 1, scales 1.
fn gptq() -> Tensors {
    let mut tensors = Tensors::new();
    floats(&mut tensors);
    for (name, n, k) in LINEARS {
        let mut add = |suffix: &str, dtype, shape: Vec<usize>, bytes: Vec<u8>| {
            tensors.insert(
                format!("model.layers.0.{name}.{suffix}"),
                (dtype, shape, bytes),
            );
        };
        add("qweight", "I32", vec![k / 8, n], vec![0x33; k / 8 * n * 4]);
        add(
            "qzeros",
            "I32",
            vec![k / 8, n / 8],
            vec![0x11; k / 8 * n / 2],
        );
        let one = half::f16::ONE.to_le_bytes().repeat(k / 8 * n);
        add("scales", "F16", vec![k / 8, n], one);
        let order = (0..k).flat_map(|col| ((col / 8) as i32).to_le_bytes());
        add("g_idx", "I32", vec![k], order.collect());
    }
    tensors
}

fn int8() -> Tensors {
    let mut tensors = Tensors::new();
    floats(&mut tensors);
    for (name, n, k) in LINEARS {
        let name = format!("model.layers.0.{name}.weight");
        tensors.insert(
            format!("{name}_scale"),
            ("BF16", vec![n, 1], [0x80, 0x3f].repeat(n)),
        );
        tensors.insert(name, ("I8", vec![n, k], vec![0xFE; n * k]));
    }
    tensors
}

fn open(config: &str, tensors: &Tensors) -> Result<Model, ModelError> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::<u8>::new());
    for (name, (dtype, shape, bytes)) in tensors {
        let begin = data.len();
        data.extend(bytes);
        let entry = json!({"dtype": dtype, "shape": shape, "data_offsets": [begin, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(data);
    let shard = Shard {
        label: "m".to_owned(),
        source: Arc::new(file),
    };
    assemble(config.as_bytes(), None, vec![shard], None, None)
}

fn gptq_config() -> Value {
    json!({"quant_method": "gptq", "bits": 4, "group_size": 8, "desc_act": false})
}

fn int8_config() -> Value {
    let weights = json!({"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel"});
    json!({"quant_method": "compressed-tensors", "format": "int-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": null}}})
}

const DOWN: &str = "model.layers.0.mlp.down_proj";

fn down(model: &Model) -> Vec<f32> {
    model
        .read_f32(model.layer(0, LayerRole::Down).unwrap())
        .unwrap()
}

#[test]
fn matrices_of_several_tensors_open_and_each_is_under_the_root() {
    let model = open(&config(gptq_config()), &gptq()).unwrap();
    assert_eq!(
        model.layer(0, LayerRole::Down).unwrap().dtype,
        Dtype::Int4 { group: 8 }
    );
    // 3 less a zero of 1 + 1.
    assert!(down(&model).iter().all(|w| *w == 1.0));
    let mut second = gptq_config();
    second["checkpoint_format"] = json!("gptq_v2");
    let v2 = open(&config(second), &gptq()).unwrap();
    assert!(down(&v2).iter().all(|w| *w == 2.0));

    let of_int8 = open(&config(int8_config()), &int8()).unwrap();
    assert_eq!(
        of_int8.layer(0, LayerRole::Down).unwrap().dtype,
        Dtype::Int8 { group: 0 }
    );
    assert!(down(&of_int8).iter().all(|w| *w == -2.0));

    let root = |model: &Model| model.root(&mut |_, _| {}).unwrap();
    let mut roots = vec![root(&model), root(&of_int8)];
    for (suffix, at) in [("qweight", 0), ("qzeros", 1), ("scales", 0), ("g_idx", 0)] {
        let mut changed = gptq();
        changed.get_mut(&format!("{DOWN}.{suffix}")).unwrap().2[at] ^= 1;
        // An order that is none of groups is one of columns.
        roots.push(root(&open(&config(gptq_config()), &changed).unwrap()));
    }
    let distinct: std::collections::BTreeSet<_> = roots.iter().map(|root| root.0).collect();
    assert_eq!(distinct.len(), roots.len());
}

#[test]
fn columns_in_no_order_are_found_by_their_table() {
    let mut tensors = gptq();
    let order = &mut tensors.get_mut(&format!("{DOWN}.g_idx")).unwrap().2;
    order.reverse();
    order.chunks_exact_mut(4).for_each(<[u8]>::reverse);
    let scales = &mut tensors.get_mut(&format!("{DOWN}.scales")).unwrap().2;
    // Group 3, which is that of the first columns now.
    scales[3 * 32..].copy_from_slice(&half::f16::from_f32(0.5).to_le_bytes().repeat(16));
    let model = open(&config(gptq_config()), &tensors).unwrap();
    let dtype = model.layer(0, LayerRole::Down).unwrap().dtype;
    assert_eq!(dtype, Dtype::Int4Ordered { groups: 4 });
    let row = &down(&model)[..32];
    assert!(row[..8].iter().all(|w| *w == 0.5) && row[8..].iter().all(|w| *w == 1.0));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let changed = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = gptq();
        change(&mut tensors);
        let model = open(&config(gptq_config()), &tensors);
        model.and_then(|model| {
            model
                .read_f32(model.layer(0, LayerRole::Down).unwrap())
                .map(drop)
        })
    };
    let of = |suffix: &str| format!("{DOWN}.{suffix}");
    for beyond in [4i32, -1, i32::MAX] {
        let err = changed(&|t| {
            t.get_mut(&of("g_idx")).unwrap().2[..4].copy_from_slice(&beyond.to_le_bytes());
        });
        let Err(ModelError::Quantised { what, .. }) = err else {
            panic!("{err:?}")
        };
        assert!(what.contains("g_idx"));
    }
    let err = changed(&|t| t.get_mut(&of("scales")).unwrap().2[..2].copy_from_slice(&[0, 0x7e]));
    assert!(
        matches!(err, Err(ModelError::ScaleNotFinite { row: 0, .. })),
        "{err:?}"
    );
    for suffix in ["qzeros", "scales", "qweight"] {
        let err = changed(&|t| drop(t.remove(&of(suffix))));
        assert!(
            matches!(err, Err(ModelError::TensorMissing { .. })),
            "{err:?}"
        );
        // Half of it, under the shape that half has.
        let err = changed(&|t| {
            let (_, shape, bytes) = t.get_mut(&of(suffix)).unwrap();
            shape[0] /= 2;
            bytes.truncate(bytes.len() / 2);
        });
        assert!(
            matches!(err, Err(ModelError::TensorShape { .. })),
            "{err:?}"
        );
    }
    let err = changed(&|t| t.get_mut(&of("scales")).unwrap().0 = "BF16");
    assert!(
        matches!(err, Err(ModelError::TensorDtype { .. })),
        "{err:?}"
    );

    let mut scales = int8();
    scales.get_mut(&of("weight_scale")).unwrap().1 = vec![8, 2];
    let err = open(&config(int8_config()), &scales).unwrap_err();
    assert!(matches!(err, ModelError::Quantised { .. }), "{err}");
    // Quants without a config that says what they are.
    let err = open(&config(Value::Null), &int8()).unwrap_err();
    assert!(
        matches!(&err, ModelError::TensorDtype { got, .. } if got == "I8"),
        "{err}"
    );
}

#[test]
fn other_ways_of_quantising_are_refused_by_name() {
    let change = |mut base: Value, key: &str, value: Value| {
        base[key] = value;
        base
    };
    let awq = json!({"quant_method": "awq", "bits": 4, "group_size": 8, "zero_point": true, "version": "gemm"});
    let mut activations = int8_config();
    activations["config_groups"]["group_0"]["input_activations"] = json!({"num_bits": 8});
    let mut four = int8_config();
    four["config_groups"]["group_0"]["weights"]["num_bits"] = json!(4);
    for (config_, key) in [
        (json!({"quant_method": "bitsandbytes"}), "quant_method"),
        (change(gptq_config(), "bits", json!(3)), "bits"),
        (change(gptq_config(), "group_size", json!(12)), "group_size"),
        (
            change(gptq_config(), "checkpoint_format", json!("marlin")),
            "checkpoint_format",
        ),
        (change(gptq_config(), "lm_head", json!(true)), "lm_head"),
        (change(awq.clone(), "version", json!("gemv")), "version"),
        (change(awq, "zero_point", json!(false)), "zero_point"),
        (
            change(int8_config(), "format", json!("pack-quantized")),
            "format",
        ),
        (activations, "input_activations"),
        (four, "weights"),
    ] {
        let err = open(&config(config_), &gptq()).unwrap_err();
        let named = matches!(&err, ModelError::Unsupported { key: got, .. } if got.ends_with(key));
        assert!(named, "{key}: {err}");
    }
}
