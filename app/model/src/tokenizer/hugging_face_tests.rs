use super::*;
use crate::Tokenizer;
use proptest::prelude::*;
use serde_json::{Value, json};

const DEMO: &[u8] = include_bytes!("../../demo-llama/tokenizer.json");

fn demo() -> Value {
    serde_json::from_slice(DEMO).unwrap()
}

fn load(json: &Value) -> Result<HuggingFaceTokenizer, ModelError> {
    HuggingFaceTokenizer::parse(json.to_string().as_bytes())
}

#[test]
fn demo_tokenizer_round_trips() {
    let tokenizer = Tokenizer::from_json(DEMO).unwrap();
    assert_eq!(tokenizer.vocab_size(), 2048);
    assert_eq!(tokenizer.digest(), Digest::of(DEMO));
    for text in [
        "",
        " ",
        "a",
        "  two  spaces\n\n",
        "naïve 🦀 \u{0} \r\n",
        "<|begin_of_text|>x<|end_of_text|>",
    ] {
        let ids = tokenizer.encode(text).unwrap();
        assert_eq!(ids[0], 0);
    }
    assert_eq!(
        tokenizer.decode(&tokenizer.encode("naïve 🦀").unwrap()),
        "naïve 🦀"
    );
    assert_eq!(tokenizer.decode(&[u32::MAX, 5000]), "");
}

#[test]
fn a_vocabulary_larger_than_the_models_is_the_wrong_tokenizer() {
    let tokenizer = Tokenizer::from_json(DEMO).unwrap();
    assert!(tokenizer.check_vocab(2048).is_ok() && tokenizer.check_vocab(4000).is_ok());
    assert!(matches!(
        tokenizer.check_vocab(2047),
        Err(ModelError::TokenizerVocab {
            got: 2048,
            want: 2047
        })
    ));
    let mut json = demo();
    json["model"]["vocab"]["zzz"] = json!(4_000_000_000u32);
    let sparse = load(&json).unwrap();
    assert_eq!(sparse.vocab_size, 4_000_000_001);
}

#[test]
fn truncation_and_padding_in_the_file_are_not_applied() {
    let mut json = demo();
    json["truncation"] =
        json!({"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0});
    json["padding"] = json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0,
        "pad_token": "x"
    });
    let text = "To be, or not to be, that is the question";
    assert_eq!(
        load(&json).unwrap().encode(text).unwrap(),
        load(&demo()).unwrap().encode(text).unwrap()
    );
}

#[test]
fn dropout_is_refused() {
    let mut json = demo();
    json["model"]["dropout"] = json!(0.1);
    assert!(matches!(
        load(&json),
        Err(ModelError::TokenizerDropout { .. })
    ));
    json["model"]["dropout"] = json!(0.0);
    assert!(load(&json).is_ok());
}

#[test]
fn files_that_are_no_tokenizer_are_refused() {
    for bytes in [
        &b""[..],
        b"{}",
        b"[]",
        b"null",
        b"{\"model\":{}}",
        b"\xff\xff",
        &DEMO[..DEMO.len() / 2],
    ] {
        assert!(matches!(
            HuggingFaceTokenizer::parse(bytes),
            Err(ModelError::TokenizerFile { .. })
        ));
    }
}

/// Every character of the text matches this pattern, but only after more backtracking than the library allows: it ends the matches
/// there and says nothing.
#[test]
fn a_text_that_the_library_cuts_is_an_error() {
    let mut json = demo();
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "(?:a|a|aa)+(?=!)|b|a"}, "behavior": "Removed", "invert": true},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
    ]});
    let tokenizer = load(&json).unwrap();
    assert!(tokenizer.encode("baaa").is_ok());
    let err = tokenizer
        .encode(&format!("b{}", "a".repeat(60)))
        .unwrap_err();
    assert!(
        matches!(err, ModelError::RoundTrip { at: 1, bytes: 61 }),
        "{err}"
    );
}

#[test]
fn lossy_byte_level_files_are_caught() {
    let mut json = demo();
    json["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"String": "x"}, "behavior": "Removed", "invert": false},
        {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
    ]});
    let tokenizer = load(&json).unwrap();
    assert!(tokenizer.encode("abc").is_ok());
    assert!(matches!(
        tokenizer.encode("abxc"),
        Err(ModelError::RoundTrip { at: 2, bytes: 4 })
    ));
    let mut prefixed = demo();
    prefixed["pre_tokenizer"]["add_prefix_space"] = json!(true);
    let tokenizer = load(&prefixed).unwrap();
    assert!(tokenizer.encode("abc").is_ok() && tokenizer.encode(" abc").is_ok());
}

/// A decoder of each kind over the demo's vocabulary, with a few tokens more.
fn with_decoder(decoder: Value) -> HuggingFaceTokenizer {
    let mut json = demo();
    json["decoder"] = decoder;
    for (at, token) in ["<0xC3>", "<0xA9>", "<0x41>", "▁", "▁two", "é</w>"]
        .iter()
        .enumerate()
    {
        json["model"]["vocab"][*token] = json!(2048 + at);
    }
    load(&json).unwrap()
}

fn decoders() -> Vec<Value> {
    let replace = json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "});
    let strip = json!({"type": "Strip", "content": " ", "start": 1, "stop": 0});
    vec![
        demo()["decoder"].clone(),
        json!({"type": "Sequence", "decoders": [demo()["decoder"]]}),
        json!({"type": "Sequence", "decoders": [replace, {"type": "ByteFallback"}, {"type": "Fuse"}, strip]}),
        json!({"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Metaspace", "replacement": "▁",
            "prepend_scheme": "always", "split": true}]}),
        json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}),
        json!({"type": "BPEDecoder", "suffix": "</w>"}),
        json!({"type": "WordPiece", "prefix": "th", "cleanup": false}),
        Value::Null,
    ]
}

#[test]
fn pieces_name_what_decoding_leaves_out() {
    let tokenizer = load(&demo()).unwrap();
    let ids = tokenizer.encode("naïve 🦀").unwrap();
    let pieces = tokenizer.pieces(&[&ids[..], &[1, 9_999]].concat());
    assert_eq!(pieces[0], "<|begin_of_text|>");
    assert_eq!(pieces[ids.len()..], ["<|end_of_text|>", ""]);
    assert_eq!(pieces[1..ids.len()].concat(), "naïve 🦀");
    assert_eq!(pieces[ids.len() - 1], "🦀");
    assert_eq!(pieces[ids.len() - 2], "");
    // A special id inside of a character takes nothing from it, and one that is never finished stands where it began.
    let (split, last) = (&ids[..ids.len() - 1], ids[ids.len() - 1]);
    let inside = tokenizer.pieces(&[split, &[1, last]].concat());
    assert_eq!(inside[inside.len() - 3..], ["", "<|end_of_text|>", "🦀"]);
    let cut = tokenizer.pieces(&[split, &[1]].concat());
    assert_eq!(cut[cut.len() - 2..], ["\u{fffd}", "<|end_of_text|>"]);
    assert!(tokenizer.pieces(&[]).is_empty());

    let fallback = with_decoder(decoders()[2].clone());
    let ids = [2052, 2048, 2049, 0, 2052, 2051, 2048, 2052];
    assert_eq!(
        fallback.pieces(&ids),
        [
            "two",
            "",
            "é",
            "<|begin_of_text|>",
            " two",
            " ",
            "\u{fffd}",
            " two"
        ]
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn pieces_of_any_ids_are_the_text(
        ids in prop::collection::vec(prop_oneof![0u32..2100, 2048u32..2054, Just(0), Just(200_000)], 0..60)
    ) {
        for decoder in decoders() {
            let tokenizer = with_decoder(decoder.clone());
            let pieces = tokenizer.pieces(&ids);
            prop_assert_eq!(pieces.len(), ids.len());
            let without_special = ids.iter().zip(&pieces).filter(|(id, _)| !tokenizer.special.contains_key(id));
            let text: String = without_special.map(|(_, piece)| piece.as_str()).collect();
            prop_assert_eq!(text, tokenizer.decode(&ids), "{}", decoder);
        }
    }

    #[test]
    fn any_text_survives(text in any::<String>()) {
        let tokenizer = Tokenizer::from_json(DEMO).unwrap();
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text).unwrap()), text);
    }

    #[test]
    fn no_mutation_panics(at in 0..DEMO.len(), byte in any::<u8>()) {
        let mut bytes = DEMO.to_vec();
        bytes[at] = byte;
        if let Ok(tokenizer) = HuggingFaceTokenizer::parse(&bytes) {
            let _ = tokenizer.encode("ROMEO:\nbut soft");
        }
    }
}
