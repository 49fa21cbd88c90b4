//! Checkpoints that other programs wrote: what is supported opens with the shapes it should have, the rest is refused by name.
#![cfg(feature = "native")]
mod common;
use assay_model::{
    Family, LayerRole, MappedFile, Model, ModelError, NamedSource, Role, RopeLayout, RopeScaling,
    Tokenizer,
};
use common::{ids, json, shared};
use std::sync::Arc;

const SUPPORTED: [&str; 5] = [
    "llama-mha-f32",
    "llama-odd-shapes-f16",
    "llama3-gqa-bf16",
    "mistral-bf16",
    "opt-f32",
];

#[test]
fn every_supported_reference_case_opens() {
    for case in SUPPORTED {
        let Some(dir) = shared(&format!("hf-reference/{case}")) else {
            return;
        };
        let model = Model::open(&dir).unwrap();
        let raw = json(&dir.join("config.json"));
        let config = model.config();
        let size = |key: &str| raw[key].as_u64().unwrap() as usize;
        assert_eq!(config.hidden, size("hidden_size"));
        assert_eq!(config.layers, size("num_hidden_layers"));
        assert_eq!(config.context, size("max_position_embeddings"));
        let tied = raw["tie_word_embeddings"].as_bool();
        assert_eq!(config.tied_embeddings, tied.unwrap_or(case == "opt-f32"));
        assert_eq!(
            model.tensor(Role::Embedding).unwrap().shape,
            [size("vocab_size"), size("hidden_size")]
        );
        assert_eq!(
            model.layer(0, LayerRole::Q).unwrap().shape,
            [config.q_dim(), config.hidden]
        );
        assert_eq!(
            model.layer(config.layers - 1, LayerRole::V).unwrap().shape,
            [config.kv_dim(), config.hidden]
        );
        assert_eq!(model.dtype(), case.rsplit('-').next().unwrap());
        assert!(
            model.notes().is_empty() && model.tokenizer().is_none(),
            "{:?}",
            model.notes()
        );

        // The literal output of transformers 5 says the same.
        let newer = std::fs::read(dir.join("config.transformers5.json")).unwrap();
        let empty = Model::from_memory(&newer, None, Vec::new(), None).unwrap_err();
        assert!(matches!(empty, ModelError::TensorMissing { .. }), "{empty}");
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        std::fs::remove_file(copy.path().join("config.json")).unwrap();
        std::fs::write(copy.path().join("config.json"), newer).unwrap();
        let again = Model::open(copy.path()).unwrap();
        assert_eq!(again.config(), config);
        let root = |model: &Model| model.root(&mut |_, _| {}).unwrap();
        assert_eq!(root(&again), root(&model));
    }
    let Some(dir) = shared("hf-reference") else {
        return;
    };
    let llama3 = Model::open(&dir.join("llama3-gqa-bf16")).unwrap();
    assert!(matches!(
        llama3.config().rope.unwrap().scaling,
        RopeScaling::Llama3 {
            original_context: 64,
            ..
        }
    ));
    assert_eq!(
        Model::open(&dir.join("mistral-bf16"))
            .unwrap()
            .config()
            .family,
        Family::Mistral
    );
}

fn demo_opt() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/demo-opt")
}

/// Both roots were computed by a script that has the definition in `root.rs` and a SHA-256, and nothing of this crate.
#[test]
fn opt_checkpoints_open_and_have_their_roots() {
    let cases = [
        (
            "demo-opt",
            (192, 768, 8, 3, 2048, 512),
            "f8b459b27b732bacf5e052b6708f87b5c51888289df46b435894342e6243cacd",
        ),
        (
            "hf-reference/opt-f32",
            (128, 512, 3, 4, 600, 256),
            "52d8e99a476c160e3803301737f0b9c958bdbbc4d4c61a0d0e92bd87e178710e",
        ),
    ];
    for (case, want, want_root) in cases {
        let dir = match case {
            "demo-opt" => Some(demo_opt()),
            _ => shared(case),
        };
        let Some(dir) = dir else { return };
        let model = Model::open(&dir).unwrap();
        let config = model.config();
        assert_eq!(config.family, Family::Opt);
        let sizes = (config.hidden, config.intermediate, config.layers);
        assert_eq!(sizes, (want.0, want.1, want.2));
        let sizes = (config.heads, config.vocab, config.context);
        assert_eq!(sizes, (want.3, want.4, want.5));
        assert!(config.tied_embeddings && config.attention_bias && config.mlp_bias);
        assert!(model.notes().is_empty(), "{:?}", model.notes());
        let positions = model.tensor(Role::Positions).unwrap();
        assert_eq!(positions.shape, [config.context + 2, config.hidden]);
        let root = model.root(&mut |_, _| {}).unwrap();
        assert_eq!(root.to_string(), want_root, "{case}");
    }
}

#[test]
fn prompts_of_the_demo_opt_encode_as_in_its_reference() {
    let dir = demo_opt();
    let model = Model::open(&dir).unwrap();
    assert_eq!((model.parameters(), model.dtype()), (4_051_200, "bf16"));
    let ends = (model.config().eos.as_slice(), model.config().bos);
    assert_eq!(ends, ([1].as_slice(), Some(0)));
    let tokenizer = model.tokenizer().unwrap();
    let reference = json(&dir.join("reference.json"));
    let cases = reference["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let (prompt, greedy) = (ids(&case["prompt_ids"]), ids(&case["greedy_ids"]));
        let text = case["prompt"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), prompt);
        assert_eq!(tokenizer.decode(&prompt), text);
        let text = case["greedy_text"].as_str().unwrap();
        assert_eq!(tokenizer.decode(&greedy), text);
    }
}

/// Roots by a script that has the definition in `root.rs` and a SHA-256, and nothing of this crate.
#[test]
fn quantised_checkpoints_and_qwen2_open_and_have_their_roots() {
    for (case, dtype, want) in [
        (
            "llama-gptq-int4",
            "int4",
            "05a44ac8d0fa27693b9231b4eeef38a295ca057e826b67d2677f54279884841b",
        ),
        (
            "llama-awq-int4",
            "int4",
            "e25afb56ffcafe38879735c0cbe838a96828c90151bd0bacdb00e060b024de8a",
        ),
        (
            "qwen2-bias-bf16",
            "bf16",
            "4d5574964c5591cd0649006acf05acbee0e7157264fed6f96f63e52342f84489",
        ),
    ] {
        let Some(dir) = shared(&format!("hf-reference/{case}")) else {
            return;
        };
        let model = Model::open(&dir).unwrap();
        assert!(model.notes().is_empty(), "{:?}", model.notes());
        assert_eq!(model.layer(0, LayerRole::Q).unwrap().dtype.as_str(), dtype);
        assert_eq!(
            model.root(&mut |_, _| {}).unwrap().to_string(),
            want,
            "{case}"
        );
        let has_bias = |role| model.layer(0, role).is_some();
        use LayerRole::{KBias, OBias, QBias, VBias};
        let is_qwen2 = model.config().family == Family::Qwen2;
        assert_eq!(
            [QBias, KBias, VBias, OBias].map(has_bias),
            [is_qwen2, is_qwen2, is_qwen2, false]
        );
    }
}

#[test]
fn quantised_gguf_files_open_with_the_types_that_they_list() {
    for case in [
        "demo-llama-q4_0",
        "demo-llama-q4_k_m",
        "demo-llama-q6_k",
        "demo-llama-q8_0",
        "rand256-q6_k",
    ] {
        let Some(dir) = shared(&format!("gguf-reference/{case}")) else {
            return;
        };
        let model = Model::open(&dir.join("model.gguf")).unwrap();
        assert!(model.notes().is_empty(), "{case}: {:?}", model.notes());
        let listed = json(&dir.join("reference.json"));
        for tensor in model.tensors() {
            let of_tensor = &listed["tensors"][&tensor.name];
            let kind = of_tensor["type"].as_str().unwrap().to_lowercase();
            assert_eq!(
                (kind.as_str(), of_tensor["bytes"].as_u64()),
                (tensor.dtype.as_str(), Some(tensor.bytes))
            );
        }
    }
}

#[test]
fn stories260k_opens_with_the_tokenizer_beside_it() {
    let Some(path) = shared("stories260K/stories260K.bin") else {
        return;
    };
    let model = Model::open(&path).unwrap();
    let config = model.config();
    assert_eq!(
        (config.hidden, config.intermediate, config.layers),
        (64, 172, 5)
    );
    assert_eq!(
        (config.heads, config.kv_heads, config.head_dim, config.vocab),
        (8, 4, 8, 512)
    );
    assert_eq!(
        (config.rope.unwrap().layout, config.eos.as_slice()),
        (RopeLayout::Interleaved, [1, 2].as_slice())
    );
    let wrong = shared("tokenizers/llama2-tokenizer.bin").unwrap();
    let err = Model::open_with_tokenizer(&path, &wrong).unwrap_err();
    assert!(
        matches!(
            err,
            ModelError::TokenizerVocab {
                got: 32_000,
                want: 512
            }
        ),
        "{err}"
    );
}

#[test]
fn a_dropped_folder_is_the_same_model() {
    for (dir, case) in [
        ("tinystories-656k", "tinystories-656k"),
        ("hf-reference/mistral-bf16", "hf-reference/mistral-bf16"),
        ("demo-opt", "demo-opt"),
        ("stories260K", "stories260K/stories260K.bin"),
    ] {
        let Some(path) = shared(dir) else { return };
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&path).unwrap() {
            let file = entry.unwrap().path();
            let name = file.file_name().unwrap().to_str().unwrap();
            // References and other checkpoints of the same model.
            if name.starts_with("reference") || name.contains("q8") || name.ends_with(".gguf") {
                continue;
            }
            files.push(NamedSource {
                path: format!("dropped/{name}"),
                source: Arc::new(MappedFile::open(&file).unwrap()),
            });
        }
        let model = Model::open_files(files).unwrap();
        let on_disk = Model::open(&shared(case).unwrap()).unwrap();
        let root = |model: &Model| model.root(&mut |_, _| {}).unwrap();
        assert_eq!(root(&model), root(&on_disk));
        let digest = |model: &Model| model.tokenizer().map(Tokenizer::digest);
        assert_eq!(digest(&model), digest(&on_disk));
    }
}

#[test]
fn prompts_encode_as_expected() {
    let Some(expected) = shared("expected/greedy.json") else {
        return;
    };
    let expected = json(&expected);
    for (name, path) in [
        ("stories260K", "stories260K/stories260K.bin"),
        ("TinyStories-656K", "tinystories-656k"),
    ] {
        let model = Model::open(&shared(path).unwrap()).unwrap();
        let tokenizer = model.tokenizer().unwrap();
        for case in expected[name].as_array().unwrap() {
            let prompt = case["prompt"].as_str().unwrap();
            let prompt_ids = tokenizer.encode(prompt).unwrap();
            assert_eq!(prompt_ids, ids(&case["prompt_ids"]), "{name}: {prompt:?}");
            assert_eq!(tokenizer.decode(&prompt_ids), prompt);
            // Some of the expected texts keep the space that begins the first word.
            let whole = [prompt_ids, ids(&case["greedy_ids"])].concat();
            assert_eq!(
                tokenizer.decode(&whole).trim_start(),
                case["text"].as_str().unwrap().trim_start(),
                "{name}"
            );
        }
    }
}

#[test]
fn a_tied_model_may_store_only_its_head() {
    let Some(dir) = shared("tinystories-656k") else {
        return;
    };
    let model = Model::open(&dir).unwrap();
    assert_eq!(
        model.tensor(Role::Embedding).unwrap().name,
        "lm_head.weight"
    );
    assert_eq!(model.tensor(Role::Embedding), model.tensor(Role::LmHead));
    assert_eq!(
        model.notes(),
        ["the tied embedding is stored as `lm_head.weight`"]
    );
}

#[test]
fn llama2_vocabulary_survives_long_text() {
    let Some(path) = shared("tokenizers/llama2-tokenizer.bin") else {
        return;
    };
    let tokenizer = Tokenizer::open(&path).unwrap();
    assert_eq!(tokenizer.vocab_size(), 32_000);
    assert_eq!(
        tokenizer
            .encode("I believe the meaning of life is")
            .unwrap(),
        [1, 306, 4658, 278, 6593, 310, 2834, 338]
    );
    let text = std::fs::read_to_string(shared("text/tinyshakespeare.txt").unwrap()).unwrap();
    let ids = tokenizer.encode(&text).unwrap();
    assert!(ids.len() < text.len() / 2);
    assert_eq!(tokenizer.decode(&ids), text);
}

#[test]
fn pieces_read_as_the_text_does() {
    let Some(text) = shared("text/tinyshakespeare.txt") else {
        return;
    };
    let text = std::fs::read_to_string(text).unwrap();
    let text = text.split_at(300_000).0.to_owned() + "naïve 🦀 — 漢字\n";
    for path in [
        "tinystories-656k/tokenizer.json",
        "demo-llama/tokenizer.json",
        "demo-opt/tokenizer.json",
        "stories260K/tok512.bin",
        "tokenizers/llama2-tokenizer.bin",
    ] {
        let tokenizer = Tokenizer::open(&shared(path).unwrap()).unwrap();
        let mut ids = tokenizer.encode(&text).unwrap();
        let first = tokenizer.pieces(&ids[..1]).concat();
        assert!(first.starts_with('<') && first.ends_with('>'), "{first}");
        // Special ids, which have names as pieces and no text.
        ids.retain(|id| *id > 2);
        ids.truncate(131_072);
        let started = std::time::Instant::now();
        let pieces = tokenizer.pieces(&ids);
        let seconds = started.elapsed().as_secs_f64();
        eprintln!("{path}: {} pieces in {seconds:.2} s", ids.len());
        assert_eq!(pieces.len(), ids.len());
        assert!(
            pieces.concat() == tokenizer.decode(&ids),
            "{path}: texts differ"
        );
        // Ids that no text has: whatever they decode to, the pieces do too.
        let noise: Vec<u32> = (0..50_000u32)
            .map(|n| 3 + (n.wrapping_mul(2_654_435_761) >> 7) % 509)
            .collect();
        assert_eq!(
            tokenizer.pieces(&noise).concat(),
            tokenizer.decode(&noise),
            "{path}"
        );
    }
}

#[test]
fn gguf_tokenizers_encode_as_their_originals() {
    let Some(text) = shared("text/tinyshakespeare.txt") else {
        return;
    };
    let texts = [
        std::fs::read_to_string(text)
            .unwrap()
            .split_at(100_000)
            .0
            .to_owned(),
        "naïve 🦀 — 漢字\r\n\t  two  spaces 1234567 don't DON'T".to_owned(),
        " a".to_owned(),
        String::new(),
    ];
    for (gguf, original) in [
        ("gguf-reference/demo-llama-f16/model.gguf", "demo-llama"),
        (
            "stories260K/stories260Ktok512.gguf",
            "stories260K/stories260K.bin",
        ),
    ] {
        let Some(path) = shared(gguf) else { return };
        let (gguf, original) = (
            Model::open(&path).unwrap(),
            Model::open(&shared(original).unwrap()).unwrap(),
        );
        let (ours, theirs) = (gguf.tokenizer().unwrap(), original.tokenizer().unwrap());
        assert_eq!(ours.vocab_size(), theirs.vocab_size());
        assert_ne!(ours.digest(), theirs.digest());
        for text in &texts {
            let ids = ours.encode(text).unwrap();
            assert!(
                ids == theirs.encode(text).unwrap(),
                "{path:?}: {:?}",
                &text[..text.len().min(40)]
            );
            assert!(ours.decode(&ids) == theirs.decode(&ids) && ours.decode(&ids) == *text);
            assert!(ours.pieces(&ids) == theirs.pieces(&ids));
        }
    }
    let reference = shared("gguf-reference/demo-llama-bf16").unwrap();
    let model = Model::open(&reference.join("model.gguf")).unwrap();
    let want = json(&reference.join("reference.json"));
    let ids = ids(&want["llamacpp_tokenize_check"]);
    let tokenizer = model.tokenizer().unwrap();
    assert_eq!(tokenizer.encode(&tokenizer.decode(&ids)).unwrap(), ids);
}
