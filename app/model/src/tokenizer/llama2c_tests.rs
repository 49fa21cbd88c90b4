use super::*;
use proptest::prelude::*;

fn file(more: &[(&str, f32)]) -> Vec<u8> {
    let mut bytes = 8u32.to_le_bytes().to_vec();
    let mut push = |text: &str, score: f32| {
        bytes.extend(score.to_le_bytes());
        bytes.extend((text.len() as i32).to_le_bytes());
        bytes.extend(text.as_bytes());
    };
    ["<unk>", "\n<s>\n", "\n</s>\n"]
        .iter()
        .for_each(|text| push(text, 0.0));
    (0..256).for_each(|byte| push(&format!("<0x{byte:02X}>"), 0.0));
    more.iter().for_each(|(text, score)| push(text, *score));
    bytes
}

/// Ids from 259: space, a, b, c, ab, bc, abc, " a".
fn small() -> Llama2cTokenizer {
    let pieces = [
        (" ", -9.0),
        ("a", -9.0),
        ("b", -9.0),
        ("c", -9.0),
        ("ab", -2.0),
        ("bc", -1.0),
        ("abc", -3.0),
        (" a", -4.0),
    ];
    Llama2cTokenizer::parse(&file(&pieces)).unwrap()
}

#[test]
fn merges_best_score_first_and_leftmost_of_equals() {
    let tokenizer = small();
    assert_eq!(tokenizer.encode(""), [1]);
    // "bc" beats "ab"; then "abc" beats " a".
    assert_eq!(tokenizer.encode("abc"), [1, 259, 265]);
    assert_eq!(tokenizer.encode("ab"), [1, 259, 263]);
    assert_eq!(tokenizer.encode("a"), [1, 266]);
    assert_eq!(tokenizer.encode("é"), [1, 259, 3 + 0xc3, 3 + 0xa9]);
    let pairs = Llama2cTokenizer::parse(&file(&[(" ", 0.0), ("a", 0.0), ("aa", -1.0)])).unwrap();
    assert_eq!(pairs.encode("aaa"), [1, 259, 261, 260]);
}

#[test]
fn decodes_bytes_and_the_first_space() {
    let tokenizer = small();
    assert_eq!(tokenizer.decode(&tokenizer.encode("abc é\n")), "abc é\n");
    assert_eq!(tokenizer.decode(&[266, 265]), " aabc");
    assert_eq!(tokenizer.decode(&[1, 266, 2, 9_999, u32::MAX]), "a");
    assert_eq!(tokenizer.decode(&[3 + 0xff]), "\u{fffd}");
    assert_eq!(
        (
            byte_piece(b"<0x0A>"),
            byte_piece(b"<0x0AB>"),
            byte_piece(b"0x0A")
        ),
        (Some(10), None, None)
    );
}

#[test]
fn pieces_name_the_ends_and_finish_characters() {
    let tokenizer = small();
    let ids = tokenizer.encode("abc é");
    let pieces = tokenizer.pieces(&[&ids[..], &[2, 9_999]].concat());
    assert_eq!(
        pieces,
        ["<s>", "", "abc", " ", "", "é", "</s>", ""],
        "{ids:?}"
    );
    assert_eq!(tokenizer.pieces(&[3 + 0xe2, 2]), ["\u{fffd}", "</s>"]);
}

#[test]
fn every_truncation_is_an_error_or_a_smaller_vocabulary() {
    let bytes = file(&[(" ", 0.0), ("a", 0.0)]);
    for len in 0..bytes.len() {
        match Llama2cTokenizer::parse(&bytes[..len]) {
            Ok(tokenizer) => assert_eq!(tokenizer.vocab_size(), 260),
            Err(ModelError::TokenizerTruncated { .. } | ModelError::TokenizerLacks { .. }) => {}
            Err(err) => panic!("{err}"),
        }
    }
}

#[test]
fn hostile_pieces_have_an_error_each() {
    let with_length = |len: i32| {
        let mut bytes = file(&[(" ", 0.0)]);
        bytes.extend(0f32.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.push(b'x');
        Llama2cTokenizer::parse(&bytes).map(|tokenizer| tokenizer.vocab_size())
    };
    for len in [2, i32::MAX, -1, i32::MIN] {
        assert!(
            matches!(
                with_length(len),
                Err(ModelError::TokenizerTruncated { piece: 260, .. })
            ),
            "{len}"
        );
    }
    assert_eq!(with_length(1).unwrap(), 261);
    let nan = Llama2cTokenizer::parse(&file(&[(" ", f32::NAN)]));
    assert!(matches!(
        nan,
        Err(ModelError::TokenizerScore { piece: 259 })
    ));
    let no_space = Llama2cTokenizer::parse(&file(&[("a", 0.0)]));
    assert!(matches!(no_space, Err(ModelError::TokenizerLacks { .. })));
    // Empty pieces: 8 bytes each, as many as there is room for.
    let many = [&[0; 4][..], &vec![0; 8 * (most::VOCAB + 1)]].concat();
    assert!(matches!(
        Llama2cTokenizer::parse(&many),
        Err(ModelError::TokenizerTooManyPieces { .. })
    ));
}

/// llama2.c's own loop: scan all pairs for the best, merge, repeat.
fn encode_by_scanning(tokenizer: &Llama2cTokenizer, text: &str) -> Vec<u32> {
    let mut ids = vec![BOS];
    if !text.is_empty() {
        ids.push(tokenizer.space);
    }
    for char in text.chars() {
        let utf8 = char.to_string().into_bytes();
        match tokenizer.scored.ids.get(&utf8) {
            Some(id) => ids.push(*id),
            None => ids.extend(utf8.iter().map(|byte| u32::from(*byte) + 3)),
        }
    }
    loop {
        let mut best = (LEAST_SCORE, None);
        for at in 0..ids.len() - 1 {
            if let Some((id, score)) = tokenizer.scored.merged(ids[at], ids[at + 1])
                && score > best.0
            {
                best = (score, Some((at, id)));
            }
        }
        let (_, Some((at, id))) = best else {
            return ids;
        };
        ids[at] = id;
        ids.remove(at + 1);
    }
}

proptest! {
    #[test]
    fn the_heap_merges_as_the_scan_does(text in "[abc é]{0,40}") {
        let tokenizer = small();
        let ids = tokenizer.encode(&text);
        prop_assert_eq!(&ids, &encode_by_scanning(&tokenizer, &text));
        prop_assert_eq!(tokenizer.decode(&ids), text);
    }

    #[test]
    fn pieces_of_any_ids_are_the_text(ids in prop::collection::vec(0u32..270, 0..60)) {
        let tokenizer = small();
        let pieces = tokenizer.pieces(&ids);
        prop_assert_eq!(pieces.len(), ids.len());
        let without_ends = ids.iter().zip(pieces).filter(|(id, _)| **id != BOS && **id != EOS);
        let text: String = without_ends.map(|(_, piece)| piece).collect();
        prop_assert_eq!(text, tokenizer.decode(&ids));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Llama2cTokenizer::parse(&bytes);
    }
}
