use super::*;
use proptest::prelude::*;

/// Ids: 0 unknown, 1 and 2 the ends, bytes from 3; from 259 `more`.
fn vocabulary(more: &[(&str, f32, PieceKind)]) -> Vocabulary {
    let mut pieces: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_owned).into();
    pieces.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    let mut kinds = vec![PieceKind::Unknown, PieceKind::Control, PieceKind::Control];
    kinds.resize(259, PieceKind::Byte);
    let mut scores = vec![0.0; 259];
    for (piece, score, kind) in more {
        pieces.push((*piece).to_owned());
        scores.push(*score);
        kinds.push(*kind);
    }
    Vocabulary {
        pieces,
        scores,
        kinds,
        bos: Some(1),
        eos: None,
        space_prefix: true,
        digest: Digest::ZERO,
    }
}

fn small() -> Vocabulary {
    use PieceKind::*;
    vocabulary(&[
        ("▁", -9.0, Normal),
        ("a", -9.0, Normal),
        ("b", -9.0, Normal),
        ("c", -9.0, Normal),
        ("ab", -2.0, Normal),
        ("bc", -1.0, Normal),
        ("abc", -3.0, Normal),
        ("▁a", -4.0, Normal),
        ("[x]", 0.0, Control),
        ("b b", 0.0, UserDefined),
        ("[PAD]", 0.0, Unused),
    ])
}

fn made(vocabulary: Vocabulary) -> SentencePieceTokenizer {
    SentencePieceTokenizer::new(vocabulary).unwrap()
}

#[test]
fn merges_best_score_first_between_special_pieces() {
    let tokenizer = made(small());
    assert_eq!(tokenizer.encode(""), [1]);
    assert_eq!(tokenizer.encode("abc"), [1, 259, 265]);
    assert_eq!(tokenizer.encode("a"), [1, 266]);
    assert_eq!(tokenizer.encode(" a"), [1, 259, 266]);
    assert_eq!(tokenizer.encode("é"), [1, 259, 3 + 0xc3, 3 + 0xa9]);
    // A special piece begins a text of its own, with its space.
    assert_eq!(tokenizer.encode("a[x]a</s>"), [1, 266, 267, 266, 2]);
    assert_eq!(tokenizer.encode("b bb b"), [1, 268, 268]);
    assert_eq!(
        tokenizer.encode("[PAD"),
        [1, 259, 3 + 91, 3 + 80, 3 + 65, 3 + 68]
    );

    let plain = made(Vocabulary {
        bos: None,
        eos: Some(2),
        space_prefix: false,
        ..small()
    });
    assert_eq!(plain.encode("a a"), [260, 266, 2]);
    assert_eq!(plain.decode(&[266, 260]), " aa");
}

#[test]
fn decodes_what_it_encoded() {
    let tokenizer = made(small());
    for text in ["", " ", "abc é\n", "a  b", "b b", "漢字"] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text, "{text:?}");
    }
    assert_eq!(tokenizer.decode(&[1, 266, 2, 269, 9_999, u32::MAX]), "a");
    assert_eq!(tokenizer.decode(&[3 + 0xff]), "\u{fffd}");
    let ids = tokenizer.encode("aé[x]");
    let pieces = tokenizer.pieces(&ids);
    assert_eq!(pieces, ["<s>", "a", "", "é", "[x]"]);
    assert_eq!(tokenizer.pieces(&[0, 269, 9_999]), ["<unk>", "", ""]);
    assert_eq!(tokenizer.vocab_size(), 270);
}

#[test]
fn vocabularies_that_would_encode_otherwise_are_refused() {
    use PieceKind::*;
    let cause = |more: &[(&str, f32, PieceKind)]| {
        SentencePieceTokenizer::new(vocabulary(more)).err().unwrap()
    };
    let unformed = cause(&[("a", 0.0, Normal), ("ab", 0.0, Normal)]);
    assert!(unformed.contains("piece 260 has a character without"));
    let letters = [("a", 0.0, Normal), ("b", 0.0, Normal)];
    let unused = cause(&[letters[0], letters[1], ("ab", 0.0, Unused)]);
    assert!(unused.contains("can be formed"), "{unused}");
    assert!(cause(&[("▁▁", 0.0, UserDefined)]).contains("has a space"));
    assert!(cause(&[("<0xXX>", 0.0, Byte)]).contains("is no byte"));
    assert!(cause(&[("a", f32::INFINITY, Normal)]).contains("a score is inf"));
    let names: Vec<String> = (0..MAX_SPECIAL).map(|n| format!("[{n}]")).collect();
    let many: Vec<_> = names
        .iter()
        .map(|name| (name.as_str(), 0.0, Control))
        .collect();
    assert!(cause(&many).contains("are special"));
}

/// SentencePiece's loop as written: join the best-scored pair of neighbouring texts, leftmost of equals, until there is none.
fn encode_by_scanning(tokenizer: &SentencePieceTokenizer, text: &str) -> Vec<u32> {
    let text = format!("▁{}", text.replace(' ', "▁"));
    let mut texts: Vec<String> = text.chars().map(String::from).collect();
    let id = |text: &str| tokenizer.scored.ids.get(text.as_bytes()).copied();
    loop {
        let mut best: Option<(f32, usize)> = None;
        for at in 1..texts.len() {
            if let Some(id) = id(&[texts[at - 1].as_str(), &texts[at]].concat()) {
                let score = tokenizer.scored.scores[id as usize];
                if best.is_none_or(|(most, _)| score > most) {
                    best = Some((score, at));
                }
            }
        }
        let Some((_, at)) = best else { break };
        let right = texts.remove(at);
        texts[at - 1] += &right;
    }
    let bytes = |text: &str| text.bytes().map(|byte| u32::from(byte) + 3).collect();
    let ids = texts
        .iter()
        .flat_map(|text| id(text).map_or_else(|| bytes(text), |id| vec![id]));
    [1].into_iter().chain(ids).collect()
}

proptest! {
    #[test]
    fn the_heap_merges_as_the_scan_does(text in "[abc é]{1,40}") {
        // Without the pieces that cut text before it is merged.
        let mut vocabulary = small();
        vocabulary.kinds[268] = PieceKind::Unused;
        let tokenizer = made(vocabulary);
        let ids = tokenizer.encode(&text);
        prop_assert_eq!(&ids, &encode_by_scanning(&tokenizer, &text));
        prop_assert_eq!(tokenizer.decode(&ids), text);
    }

    #[test]
    fn pieces_of_any_ids_are_the_text(ids in prop::collection::vec(0u32..275, 0..60)) {
        let tokenizer = made(small());
        let pieces = tokenizer.pieces(&ids);
        prop_assert_eq!(pieces.len(), ids.len());
        let special = |id: u32| id < 3 || id == 267;
        let texts = ids.iter().zip(pieces).filter(|(id, _)| !special(**id));
        let text: String = texts.map(|(_, piece)| piece).collect();
        prop_assert_eq!(text, tokenizer.decode(&ids));
    }
}
