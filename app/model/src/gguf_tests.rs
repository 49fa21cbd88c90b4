use super::maker::{BF16, F16, F32, Gguf, I8, Put, Q4_K};
use super::*;
use crate::{Dtype, RopeLayout};
use proptest::prelude::*;

fn open(gguf: &Gguf) -> Result<Model, ModelError> {
    Model::from_gguf(Arc::new(gguf.bytes()))
}

fn err(change: impl FnOnce(&mut Gguf)) -> ModelError {
    let mut gguf = Gguf::tiny();
    change(&mut gguf);
    open(&gguf).unwrap_err()
}

#[test]
fn a_tiny_file_has_every_role() {
    let model = open(&Gguf::tiny()).unwrap();
    let config = model.config();
    let sizes = (config.hidden, config.intermediate, config.layers);
    assert_eq!(sizes, (8, 6, 2));
    let heads = (config.heads, config.kv_heads, config.head_dim);
    assert_eq!(heads, (2, 1, 4));
    assert_eq!((config.vocab, config.context), (5, 16));
    let rope = config.rope.unwrap();
    assert_eq!(rope.layout, RopeLayout::Interleaved);
    assert_eq!((rope.theta, config.norm_eps), (10_000.0, 1e-5));
    assert!(config.tied_embeddings && !config.attention_bias && !config.mlp_bias);
    assert_eq!((config.eos.as_slice(), config.bos), ([].as_slice(), None));
    assert_eq!(model.tensor(Role::LmHead), model.tensor(Role::Embedding));
    assert_eq!(model.tensors().len(), 20);
    assert_eq!(model.layer(1, LayerRole::K).unwrap().shape, [4, 8]);
    assert_eq!(model.layer(1, LayerRole::Down).unwrap().shape, [8, 6]);
    let down = model.layer(1, LayerRole::Down).unwrap();
    assert_eq!(down.name, "blk.1.ffn_down.weight");
    let want: Vec<f32> = (0..48).map(|n| n as f32).collect();
    assert_eq!(model.read_f32(down).unwrap(), want);
    assert_eq!(
        model.notes(),
        ["the file's tokenizer was left out: it has none; prompts must be given as ids"]
    );
    assert!(model.root(&mut |_, _| {}).is_ok());
}

#[test]
fn what_the_tensors_say_is_heard() {
    let mut gguf = Gguf::tiny();
    gguf.put_tensor("output.weight", BF16, &[8, 5]);
    gguf.put_tensor("blk.1.ffn_up.weight", F16, &[8, 6]);
    gguf.remove("llama.vocab_size");
    let model = open(&gguf).unwrap();
    assert!(!model.config().tied_embeddings);
    assert_eq!((model.dtype(), model.config().vocab), ("mixed", 5));
    let up = model.layer(1, LayerRole::Up).unwrap();
    assert_eq!(up.dtype, Dtype::F16);

    for layer in 0..2 {
        for (name, rows) in [("q", 8), ("k", 4), ("v", 4), ("output", 8)] {
            gguf.put_tensor(&format!("blk.{layer}.attn_{name}.bias"), F32, &[rows]);
        }
    }
    let model = open(&gguf).unwrap();
    assert!(model.config().attention_bias && !model.config().mlp_bias);
    assert_eq!(model.layer(1, LayerRole::KBias).unwrap().shape, [4]);
    // Some of them are none of the engine's models, whichever are missing.
    for missing in ["blk.0.attn_output.bias", "blk.1.attn_k.bias"] {
        let mut some = gguf.clone();
        some.tensors.retain(|tensor| tensor.name != missing);
        let err = open(&some).unwrap_err();
        assert!(matches!(&err, ModelError::TensorMissing { name } if name == missing));
    }
    let err = err(|gguf| gguf.put_tensor("blk.1.attn_k.bias", F32, &[4]));
    assert!(
        matches!(err, ModelError::TensorUnexpected { name, .. } if name == "blk.1.attn_k.bias")
    );
}

#[test]
fn tensors_that_are_missing_misshapen_or_unknown_are_named() {
    for tensor in Gguf::tiny().tensors {
        let missing = err(|gguf| gguf.tensors.retain(|known| known.name != tensor.name));
        let named = matches!(&missing, ModelError::TensorMissing { name } if *name == tensor.name);
        assert!(named, "{missing}");
        let mut dims = tensor.dims.clone();
        dims[0] += 1;
        let misshapen = err(|gguf| gguf.put_tensor(&tensor.name, F32, &dims));
        let named =
            matches!(&misshapen, ModelError::TensorShape { name, .. } if *name == tensor.name);
        assert!(named, "{misshapen}");
    }
    for unknown in ["blk.0.attn_q_norm.weight", "blk.2.attn_q.weight", "x"] {
        let err = err(|gguf| gguf.put_tensor(unknown, F32, &[8]));
        let named = matches!(&err, ModelError::TensorUnexpected { name, .. } if name == unknown);
        assert!(named, "{err}");
    }
}

#[test]
fn other_quantised_types_are_refused_by_name() {
    let mut gguf = Gguf::tiny();
    // 8 columns.
    gguf.put_tensor("blk.0.ffn_gate.weight", I8, &[8, 6]);
    let err = open(&gguf).unwrap_err();
    assert_eq!(
        err.to_string(),
        "tensor `blk.0.ffn_gate.weight` has an unsupported type: got I8, and docs/formats.md lists what is read: GGUF file"
    );
    // Rows that are no whole blocks.
    let mut gguf = Gguf::tiny();
    gguf.put_tensor("blk.0.ffn_gate.weight", Q4_K, &[8, 6]);
    let err = open(&gguf).unwrap_err();
    assert!(
        matches!(
            err,
            ModelError::GgufBlock {
                got: 8,
                block: 256,
                ..
            }
        ),
        "{err}"
    );
}

#[test]
fn keys_that_are_missing_wrong_or_would_change_the_numbers_are_named() {
    for key in [
        "general.architecture",
        "llama.context_length",
        "llama.embedding_length",
        "llama.block_count",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
    ] {
        let missing = err(|gguf| gguf.remove(key));
        assert!(matches!(&missing, ModelError::GgufMissing { key: named } if named == key));
        let wrong = err(|gguf| gguf.put_flag(key, true));
        assert!(matches!(&wrong, ModelError::GgufValue { key: named, .. } if named == key));
    }
    for (key, put) in [
        ("general.architecture", Put::Text("qwen3")),
        ("llama.expert_count", Put::U32(8)),
        ("llama.expert_used_count", Put::U32(2)),
        ("llama.attention.causal", Put::Flag(false)),
        ("llama.attention.scale", Put::F32(1.0)),
        ("llama.attention.value_length", Put::U32(2)),
        ("llama.logit_scale", Put::F32(2.0)),
        ("llama.rope.dimension_count", Put::U32(2)),
        ("llama.rope.scaling.type", Put::Text("yarn")),
        ("llama.rope.scaling.attn_factor", Put::F32(2.0)),
        ("llama.tensor_data_layout", Put::Text("reference")),
        ("llama.x", Put::Text("y")),
        ("split.count", Put::U32(3)),
    ] {
        let err = err(|gguf| gguf.change(key, &put));
        let named = matches!(&err, ModelError::Unsupported { key: named, .. } if named == key);
        assert!(named, "{key}: {err}");
    }
    let list = err(|gguf| gguf.put_integers("llama.feed_forward_length", &[6, 6]));
    assert!(matches!(list, ModelError::GgufValue { .. }), "{list}");
    let zero = err(|gguf| gguf.put_u32("llama.attention.head_count", 0));
    assert!(matches!(zero, ModelError::HeadDimUnknown { heads: 0, .. }));
    let huge = err(|gguf| gguf.put_u32("llama.block_count", u32::MAX));
    assert!(matches!(huge, ModelError::ConfigRange { .. }), "{huge}");
    let mut harmless = Gguf::tiny();
    harmless.put_u32("llama.expert_count", 0);
    harmless.put_flag("llama.attention.causal", true);
    harmless.put_u32("llama.attention.value_length", 4);
    harmless.put_u32("llama.rope.dimension_count", 4);
    harmless.put_text("llama.tensor_data_layout", "Meta AI original pth");
    harmless.put_u32("split.count", 1);
    harmless.put_u32("general.file_type", 1);
    assert!(open(&harmless).is_ok());
}

#[test]
fn rotary_scaling_is_read_and_never_left_out() {
    let scaling = |change: &dyn Fn(&mut Gguf)| {
        let mut gguf = Gguf::tiny();
        change(&mut gguf);
        open(&gguf).map(|model| model.config().rope.unwrap().scaling)
    };
    let linear = RopeScaling::Linear { factor: 4.0 };
    let put_factor = |gguf: &mut Gguf| gguf.put_f32("llama.rope.scaling.factor", 4.0);
    let put_type = |gguf: &mut Gguf, kind| gguf.put_text("llama.rope.scaling.type", kind);
    assert_eq!(scaling(&put_factor).unwrap(), linear);
    let old = |gguf: &mut Gguf| gguf.put_f32("llama.rope.scale_linear", 4.0);
    assert_eq!(scaling(&old).unwrap(), linear);
    let none = scaling(&|gguf| {
        put_factor(gguf);
        put_type(gguf, "none");
    });
    assert_eq!(none.unwrap(), RopeScaling::None);
    assert_eq!(
        scaling(&|gguf| put_type(gguf, "linear")).unwrap(),
        RopeScaling::None
    );
    let below_one = scaling(&|gguf| gguf.put_f32("llama.rope.scaling.factor", 0.5));
    assert!(matches!(below_one, Err(ModelError::ConfigValue { .. })));

    let put_factors = |gguf: &mut Gguf, factors: &[f32]| {
        let bytes = factors.iter().flat_map(|factor| factor.to_le_bytes());
        let dims = [factors.len() as u64];
        gguf.put_tensor_bytes("rope_freqs.weight", F32, &dims, bytes.collect());
    };
    // The second of two frequencies is 0.01: 628 positions a turn, more than the original context of 64 to 512.
    let llama3 = scaling(&|gguf| put_factors(gguf, &[1.0, 8.0])).unwrap();
    assert_eq!(
        llama3,
        RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 64
        }
    );
    let ones = scaling(&|gguf| put_factors(gguf, &[1.0, 1.0])).unwrap();
    assert_eq!(ones, RopeScaling::None);
    let other = scaling(&|gguf| put_factors(gguf, &[3.0, 8.0]));
    assert!(matches!(other, Err(ModelError::RopeFactors { .. })));
    let short = scaling(&|gguf| put_factors(gguf, &[1.0]));
    assert!(matches!(short, Err(ModelError::TensorShape { .. })));
    let both = scaling(&|gguf| {
        put_factor(gguf);
        put_factors(gguf, &[1.0, 8.0]);
    });
    assert!(matches!(both, Err(ModelError::TensorUnexpected { .. })));
}

#[test]
fn special_ids_and_the_window_are_read() {
    let mut gguf = Gguf::tiny();
    for (name, id) in [
        ("bos", 1),
        ("eos", 4),
        ("eot", 2),
        ("eom", 4),
        ("padding", 9),
    ] {
        gguf.put_u32(&format!("tokenizer.ggml.{name}_token_id"), id);
    }
    gguf.put_u32("llama.attention.sliding_window", 7);
    let model = open(&gguf).unwrap();
    assert_eq!(
        (model.config().eos.as_slice(), model.config().bos),
        ([2, 4].as_slice(), Some(1))
    );
    assert_eq!(model.config().context, 7);
    assert!(
        model.notes()[0].contains("window of 7"),
        "{:?}",
        model.notes()
    );
    gguf.put_u32("tokenizer.ggml.eot_token_id", 5);
    gguf.put_u32("tokenizer.ggml.eom_token_id", u32::MAX);
    let model = open(&gguf).unwrap();
    assert_eq!(model.config().eos, [4]);
    assert!(model.notes()[1].contains("`tokenizer.ggml.eot_token_id` 5 is outside"));
}

#[test]
fn files_are_told_by_their_extension() {
    let file = |path: &str| crate::NamedSource {
        path: path.to_owned(),
        source: Arc::new(Gguf::tiny().bytes()),
    };
    let model = Model::open_files(vec![file("x/tiny.gguf"), file("x/readme.md")]).unwrap();
    assert_eq!(model.config().hidden, 8);
    assert!(matches!(
        Model::open_files(vec![file("a.gguf"), file("b.gguf")]),
        Err(ModelError::SeveralCheckpoints { found }) if found == "`a.gguf`, `b.gguf`"
    ));
    assert!(Model::open_files(vec![file("a.bin")]).is_err());

    #[cfg(feature = "native")]
    {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tiny.gguf");
        std::fs::write(&path, Gguf::tiny().bytes()).unwrap();
        assert_eq!(Model::open(&path).unwrap().config().hidden, 8);
        assert_eq!(Model::open(dir.path()).unwrap().config().hidden, 8);
        std::fs::write(&path, b"GGUF").unwrap();
        let err = Model::open(&path).unwrap_err();
        assert!(matches!(err, ModelError::Truncated { got: 4, .. }));
    }
}

#[test]
fn only_the_header_is_read() {
    struct Counted(Vec<u8>, std::sync::atomic::AtomicU64);
    impl ByteSource for Counted {
        fn len(&self) -> u64 {
            ByteSource::len(&self.0)
        }
        fn read(&self, offset: u64, len: usize) -> Result<std::borrow::Cow<'_, [u8]>, ModelError> {
            self.1
                .fetch_add(len as u64, std::sync::atomic::Ordering::Relaxed);
            self.0.read(offset, len)
        }
    }
    let mut gguf = Gguf::with_byte_level("gpt-2", &["a b"]);
    gguf.put_tensor("output.weight", F32, &[8, 259]);
    gguf.put_u32("llama.feed_forward_length", 1 << 18);
    for layer in 0..2 {
        for (name, dims) in [
            ("gate", [8, 1 << 18]),
            ("up", [8, 1 << 18]),
            ("down", [1 << 18, 8]),
        ] {
            gguf.put_tensor(&format!("blk.{layer}.ffn_{name}.weight"), F32, &dims);
        }
    }
    let source = Arc::new(Counted(gguf.bytes(), 0.into()));
    let all = source.len();
    parse(source.clone(), "f", None).unwrap();
    let read = source.1.load(std::sync::atomic::Ordering::Relaxed);
    // One piece of a mebibyte, and the tokenizer's entries once more.
    assert!(
        all > 48 << 20 && read < (1 << 20) + (1 << 17),
        "{read} of {all}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// What opens after a byte was changed lies within the file.
    #[test]
    fn what_is_accepted_lies_inside(at in 0usize..2000, byte in any::<u8>(), cut in 0usize..64) {
        let mut bytes = Gguf::tiny().bytes();
        if let Some(target) = bytes.get_mut(at) {
            *target = byte;
        }
        bytes.truncate(bytes.len() - cut);
        let len = bytes.len() as u64;
        if let Ok(model) = Model::from_gguf(Arc::new(bytes)) {
            for tensor in model.tensors() {
                let part = &tensor.parts[0];
                prop_assert!(part.offset + part.bytes <= len);
                match model.read_f32(tensor) {
                    Ok(values) => prop_assert_eq!(values.len() as u64, tensor.elements()),
                    Err(err) => prop_assert!(matches!(err, ModelError::ScaleNotFinite { .. }), "{}", err),
                }
            }
        }
    }
}
