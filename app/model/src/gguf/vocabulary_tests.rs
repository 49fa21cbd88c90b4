use super::super::maker::{Gguf, Put};
use crate::{Model, ModelError, Tokenizer};

fn open(gguf: &Gguf) -> Model {
    Model::from_gguf(std::sync::Arc::new(gguf.bytes())).unwrap()
}

#[test]
fn byte_level_tokenizers_split_as_their_names_say() {
    let merges = ["1 2", "12 3", "123 4", "Ġ a", "a b"];
    let ids = |pre: &str, text: &str| {
        let model = open(&Gguf::with_byte_level(pre, &merges));
        assert_eq!(model.notes(), [""; 0]);
        let tokenizer = model.tokenizer().unwrap();
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&ids), text);
        tokenizer.pieces(&ids)
    };
    let text = "12345 ab";
    assert_eq!(ids("gpt-2", text), ["1234", "5", " a", "b"]);
    for pre in ["smollm", "qwen2"] {
        assert_eq!(ids(pre, text), ["1", "2", "3", "4", "5", " a", "b"]);
    }
    // Qwen2 composes what can be composed; the others take text as it is.
    let encoded = |pre, text| {
        let gguf = Gguf::with_byte_level(pre, &merges);
        open(&gguf).tokenizer().unwrap().encode(text).unwrap()
    };
    assert_eq!(encoded("qwen2", "e\u{301}"), encoded("qwen2", "\u{e9}"));
    assert_ne!(encoded("gpt-2", "e\u{301}"), encoded("gpt-2", "\u{e9}"));
    for pre in ["llama-bpe", "llama-v3", "llama3"] {
        assert_eq!(ids(pre, text), ["<|begin|>", "123", "4", "5", " a", "b"]);
    }

    let mut gguf = Gguf::with_byte_level("gpt-2", &merges);
    gguf.put_flag("tokenizer.ggml.add_bos_token", true);
    gguf.put_flag("tokenizer.ggml.add_eos_token", true);
    gguf.put_u32("tokenizer.ggml.token_type_count", 7);
    let model = open(&gguf);
    let tokenizer = model.tokenizer().unwrap();
    assert_eq!(tokenizer.encode("").unwrap(), [0, 1]);
    let special = tokenizer.encode("a<|end|>").unwrap();
    assert_eq!(special, [0, 2 + 97, 1, 1]);
    assert_eq!(tokenizer.vocab_size(), model.config().vocab);
    let header = super::super::header::read(&gguf.bytes(), "f").unwrap();
    assert_eq!(tokenizer.digest(), header.tokenizer_digest);
}

#[test]
fn tokenizers_that_are_not_surely_right_are_left_out_with_a_note() {
    let bpe = || Gguf::with_byte_level("gpt-2", &["a b"]);
    let spm = || Gguf::with_sentence_piece(&[("▁", -1.0), ("a", -2.0)]);
    let mut without_bos = bpe();
    without_bos.remove("tokenizer.ggml.bos_token_id");
    let cases = [
        ("how \"falcon\" splits", bpe(), "pre", Put::Text("falcon")),
        ("how text is split", bpe(), "pre", Put::Nothing),
        ("want a text", bpe(), "pre", Put::U32(3)),
        ("merges` is missing", bpe(), "merges", Put::Nothing),
        ("not two tokens", bpe(), "merges", Put::Texts(&["ab"])),
        ("cannot be loaded", bpe(), "merges", Put::Texts(&["a c"])),
        (
            "prefix` is true",
            bpe(),
            "add_space_prefix",
            Put::Flag(true),
        ),
        ("model` is \"bert\"", bpe(), "model", Put::Text("bert")),
        ("it has none", bpe(), "model", Put::Nothing),
        ("tokens` is missing", bpe(), "tokens", Put::Nothing),
        ("are the same", bpe(), "tokens", Put::Texts(&["a", "a"])),
        ("have 1 types", bpe(), "token_type", Put::Integers(vec![1])),
        (
            "\"x\" of `tokenizer.ggml` is not known",
            bpe(),
            "x",
            Put::Flag(true),
        ),
        (
            "id` is missing",
            without_bos,
            "add_bos_token",
            Put::Flag(true),
        ),
        ("scores` is missing", spm(), "scores", Put::Nothing),
        ("have 1 scores", spm(), "scores", Put::Floats(vec![0.0])),
        (
            "score is NaN",
            spm(),
            "scores",
            Put::Floats(vec![f32::NAN; 261]),
        ),
        (
            "of type 7",
            spm(),
            "token_type",
            Put::Integers(vec![7; 261]),
        ),
        (
            "a byte has no piece",
            spm(),
            "token_type",
            Put::Integers(vec![1; 261]),
        ),
    ];
    for (cause, mut gguf, key, put) in cases {
        assert!(open(&gguf).tokenizer().is_some());
        gguf.change(&format!("tokenizer.ggml.{key}"), &put);
        let model = open(&gguf);
        assert!(model.tokenizer().is_none(), "{cause}");
        let [note] = model.notes() else {
            panic!("{cause}: {:?}", model.notes())
        };
        let says = note.contains(cause) && note.ends_with("prompts must be given as ids");
        assert!(says, "{cause}: {note}");
    }
    // Another tokenizer can stand in.
    let other = Tokenizer::from_json(include_bytes!("../../demo-llama/tokenizer.json"));
    let source = std::sync::Arc::new(bpe().bytes());
    let err = super::super::parse(source, "f", Some(other.unwrap())).unwrap_err();
    assert!(matches!(err, ModelError::TokenizerVocab { got: 2048, .. }));
}

#[test]
fn sentence_piece_takes_llama_cpps_defaults() {
    let pieces = [("▁", -3.0), ("a", -3.0), ("▁a", -1.0)];
    let mut gguf = Gguf::with_sentence_piece(&pieces);
    let ids = |gguf: &Gguf, text: &str| {
        let model = open(gguf);
        assert_eq!(model.notes(), [""; 0]);
        model.tokenizer().unwrap().encode(text).unwrap()
    };
    assert_eq!(ids(&gguf, "a a"), [1, 261, 261]);
    assert_eq!(open(&gguf).config().eos, [2]);
    gguf.put_flag("tokenizer.ggml.add_space_prefix", false);
    gguf.put_flag("tokenizer.ggml.add_eos_token", true);
    assert_eq!(ids(&gguf, "a a"), [1, 260, 261, 2]);
    gguf.put_flag("tokenizer.ggml.add_bos_token", false);
    gguf.put_u32("tokenizer.ggml.eos_token_id", 0);
    assert_eq!(ids(&gguf, "a"), [260, 0]);
}
