use super::super::maker::{F32, Gguf, Q4_K};
use super::*;

fn parse(bytes: &[u8]) -> Result<Header, ModelError> {
    read(&bytes.to_vec(), "f")
}

fn err(gguf: &Gguf) -> ModelError {
    parse(&gguf.bytes()).err().unwrap()
}

#[test]
fn values_and_tensors_are_read_as_written() {
    let mut gguf = Gguf::empty();
    let numbers: [(&str, u32, &[u8]); 8] = [
        ("u8", 0, &[200]),
        ("i8", 1, &[200]),
        ("u16", 2, &[1, 200]),
        ("i16", 3, &[1, 200]),
        ("u64", 10, &[1, 0, 0, 0, 0, 0, 0, 128]),
        ("i64", 11, &[255; 8]),
        ("f64", 12, &2.5f64.to_le_bytes()),
        ("i32", 5, &[254, 255, 255, 255]),
    ];
    for (key, kind, bytes) in numbers {
        gguf.put(key, kind, bytes);
    }
    gguf.put_u32("u32", 7);
    gguf.put_f32("f32", 0.1);
    gguf.put_flag("flag", true);
    gguf.put_text("text", "é");
    gguf.put_text("template", &"x".repeat(10_000));
    gguf.put_texts("tokenizer.ggml.tokens", &["a", "", "é"]);
    gguf.put_floats("tokenizer.ggml.scores", &[1.5, -2.0]);
    gguf.put_integers("tokenizer.ggml.token_type", &[1, 6]);
    gguf.put_texts("other.texts", &["a", "b"]);
    gguf.put_integers("other.numbers", &[1; 100]);
    gguf.put_tensor("m", F32, &[3, 2]);
    gguf.put_tensor("q", Q4_K, &[512, 3]);
    let bytes = gguf.bytes();
    let Header {
        metadata, tensors, ..
    } = parse(&bytes).unwrap();
    let found: Vec<(&str, String)> = metadata
        .under("")
        .map(|(key, value)| (key, value.to_string()))
        .collect();
    let want = [
        ("f32", "0.10000000149011612"),
        ("f64", "2.5"),
        ("flag", "true"),
        ("i16", "-14335"),
        ("i32", "-2"),
        ("i64", "-1"),
        ("i8", "-56"),
        ("other.numbers", "a list of numbers"),
        ("other.texts", "a list of texts"),
        ("template", "a long text"),
        ("text", "\"é\""),
        ("tokenizer.ggml.scores", "a list of numbers"),
        ("tokenizer.ggml.token_type", "a list of numbers"),
        ("tokenizer.ggml.tokens", "a list of texts"),
        ("u16", "51201"),
        ("u32", "7"),
        ("u64", "9223372036854775809"),
        ("u8", "200"),
    ];
    assert_eq!(found, want.map(|(key, value)| (key, value.to_owned())));
    let tokens = metadata.texts("tokenizer.ggml.tokens").unwrap().unwrap();
    let tokens: Vec<&[u8]> = tokens.iter().collect();
    assert_eq!(tokens, ["a".as_bytes(), b"", "é".as_bytes()]);
    let scores = metadata.floats("tokenizer.ggml.scores").unwrap();
    assert_eq!(scores, Some([1.5, -2.0].as_slice()));
    assert!(matches!(
        metadata.size("i8"),
        Err(ModelError::GgufValue { .. })
    ));
    assert_eq!(metadata.size("none").unwrap(), None);

    let start = gguf.header().len().next_multiple_of(32) as u64;
    let m = &tensors["m"];
    assert_eq!(
        (m.shape.as_slice(), m.offset, m.bytes),
        ([2, 3].as_slice(), start, 24)
    );
    let q = &tensors["q"];
    assert_eq!((q.kind.name, q.offset, q.bytes), ("Q4_K", start + 32, 864));
}

#[test]
fn the_digest_is_of_the_tokenizer_and_nothing_else() {
    let digest = |gguf: &Gguf| parse(&gguf.bytes()).unwrap().tokenizer_digest;
    let mut gguf = Gguf::tiny();
    gguf.put_texts("tokenizer.ggml.tokens", &["a", "b"]);
    let first = digest(&gguf);
    gguf.put_text("general.name", "another");
    gguf.put_text("tokenizer.chat_template", "{{ x }}");
    assert_eq!(digest(&gguf), first);
    gguf.put_texts("tokenizer.ggml.tokens", &["a", "c"]);
    assert_ne!(digest(&gguf), first);
}

#[test]
fn every_truncation_is_an_error() {
    let mut gguf = Gguf::tiny();
    gguf.put_texts("tokenizer.ggml.tokens", &["a", "b", "c"]);
    let bytes = gguf.bytes();
    let data_end = bytes.len();
    assert!(parse(&bytes).is_ok());
    for len in 0..data_end {
        match parse(&bytes[..len]) {
            Err(ModelError::Truncated { got, .. }) => assert_eq!(got, len as u64),
            Err(ModelError::OffsetsOutside { .. }) => {}
            Err(err) => panic!("{len}: {err}"),
            // The last tensor is as long as its padding, so that every byte counts.
            Ok(_) => panic!("{len}"),
        }
    }
    // The padding after the last tensor may be there or not, but nothing else may.
    let mut padded = gguf.clone();
    padded.put_tensor("z", F32, &[1]);
    let mut bytes = padded.bytes();
    assert!(parse(&bytes[..bytes.len() - 28]).is_ok() && parse(&bytes).is_ok());
    bytes.extend([0; 4]);
    assert!(matches!(parse(&bytes), Err(ModelError::Hole { .. })));
}

#[test]
fn other_formats_versions_and_byte_orders_are_refused() {
    let bytes = Gguf::tiny().bytes();
    let with = |at: usize, to: &[u8]| {
        let mut bytes = bytes.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        parse(&bytes)
    };
    assert!(matches!(
        with(0, b"GGML"),
        Err(ModelError::GgufMagic { .. })
    ));
    for version in [0, 1, 4, u32::MAX, 3u32.swap_bytes()] {
        let err = with(4, &version.to_le_bytes()).err().unwrap();
        assert!(matches!(err, ModelError::GgufVersion { got, .. } if got == version));
    }
    assert!(with(4, &2u32.to_le_bytes()).is_ok());
    for count in [u64::MAX, 1 << 40, MAX_TENSORS + 1] {
        let err = with(8, &count.to_le_bytes()).err().unwrap();
        assert!(matches!(err, ModelError::GgufCount { got, .. } if got == count));
        let err = with(16, &count.to_le_bytes()).err().unwrap();
        assert!(matches!(err, ModelError::GgufCount { got, .. } if got == count));
    }
    assert!(with(8, &MAX_TENSORS.to_le_bytes()).is_err());
}

#[test]
fn hostile_entries_have_an_error_each() {
    let with = |key: &str, kind: u32, bytes: &[u8]| {
        let mut gguf = Gguf::tiny();
        gguf.put(key, kind, bytes);
        err(&gguf)
    };
    for kind in [13, 100, u32::MAX] {
        assert!(matches!(
            with("x", kind, &[0; 8]),
            ModelError::GgufValueType { got, .. } if got == kind
        ));
        let list = [&kind.to_le_bytes()[..], &[0; 8]].concat();
        assert!(matches!(
            with("x", 9, &list),
            ModelError::GgufValueType { got, .. } if got == kind
        ));
    }
    // A list of lists.
    assert!(matches!(
        with("x", 9, &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]),
        ModelError::GgufValueType { got: 9, .. }
    ));
    let list = |kind: u32, count: u64| [&kind.to_le_bytes()[..], &count.to_le_bytes()].concat();
    for key in ["x", "tokenizer.ggml.tokens", "tokenizer.ggml.scores"] {
        for kind in [0, 6, 8, 10] {
            for count in [u64::MAX, u64::MAX / 4, 1 << 32, 10_000] {
                let err = with(key, 9, &list(kind, count));
                assert!(matches!(err, ModelError::Truncated { .. }), "{err}");
            }
        }
    }
    for len in [u64::MAX, 1 << 33, 100_000] {
        let err = with("x", 8, &len.to_le_bytes());
        assert!(matches!(err, ModelError::Truncated { .. }), "{err}");
    }
    let mut gguf = Gguf::tiny();
    gguf.entries.push(gguf.entries[0].clone());
    assert!(matches!(err(&gguf), ModelError::GgufKeyTwice { .. }));
    let mut gguf = Gguf::tiny();
    gguf.put_u32(&"k".repeat(2000), 1);
    assert!(matches!(
        err(&gguf),
        ModelError::GgufLength { got: 2000, .. }
    ));
    let mut bytes = Gguf::tiny().bytes();
    // The first byte of the first key.
    bytes[32] = 0xff;
    assert!(matches!(
        parse(&bytes),
        Err(ModelError::GgufText { at: 24, .. })
    ));
    let mut gguf = Gguf::tiny();
    gguf.put("general.name", 8, &[1, 0, 0, 0, 0, 0, 0, 0, 0xff]);
    let header = parse(&gguf.bytes()).unwrap();
    assert!(header.metadata.text("general.name").is_err());
}

#[test]
fn ceilings_hold_before_anything_is_kept() {
    // Long enough for the lists that it claims, so that only their ceilings stop them.
    let mut bytes = Gguf::empty().header();
    bytes[16] = 1;
    let with = |key: &str, kind: u32, count: u64| {
        let mut bytes = bytes.clone();
        bytes.extend((key.len() as u64).to_le_bytes());
        bytes.extend(key.as_bytes());
        bytes.extend(9u32.to_le_bytes());
        bytes.extend(kind.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.resize(bytes.len() + 48 * (1 << 20), 0);
        parse(&bytes).err().unwrap()
    };
    let vocab = most::VOCAB as u64;
    for (key, kind, most) in [
        ("tokenizer.ggml.tokens", 8, vocab),
        ("tokenizer.ggml.scores", 6, vocab),
        ("tokenizer.ggml.token_type", 5, vocab),
        ("tokenizer.ggml.merges", 8, MAX_MERGES),
    ] {
        let err = with(key, kind, most + 1);
        assert!(
            matches!(err, ModelError::GgufCount { got, most: m, .. } if got == most + 1 && m == most),
            "{err}"
        );
    }
    let mut long = bytes.clone();
    long.extend([1, 0, 0, 0, 0, 0, 0, 0, b'x', 8, 0, 0, 0]);
    long.extend((65u64 << 20).to_le_bytes());
    long.resize(long.len() + (66 << 20), 0);
    assert!(matches!(
        parse(&long),
        Err(ModelError::HeaderTooLarge { .. })
    ));
}

#[test]
fn alignment_is_a_power_of_two() {
    for (alignment, fits) in [
        (0u32, false),
        (1, false),
        (4, false),
        (8, true),
        (24, false),
        (64, true),
        (1 << 20, true),
        (1 << 21, false),
        (u32::MAX, false),
    ] {
        let mut gguf = Gguf::empty();
        gguf.put_u32("general.alignment", alignment);
        gguf.put_tensor("x", F32, &[16]);
        gguf.alignment = if fits { alignment as usize } else { 32 };
        match parse(&gguf.bytes()) {
            Ok(_) => assert!(fits),
            Err(err) => {
                let named = matches!(err, ModelError::GgufAlignment { got, .. } if got == u64::from(alignment));
                assert!(named && !fits, "{alignment}: {err}");
            }
        }
    }
}

#[test]
fn hostile_tensors_have_an_error_each() {
    let one = |kind: u32, dims: &[u64], bytes: usize| {
        let mut gguf = Gguf::empty();
        gguf.put_tensor_bytes("x", kind, dims, vec![0; bytes]);
        err(&gguf)
    };
    assert!(matches!(
        one(F32, &[1; 5], 4),
        ModelError::Rank {
            got: 5,
            most: 4,
            ..
        }
    ));
    for kind in [4, 9, 15, 31, 99] {
        let err = one(kind, &[8], 32);
        assert!(err.to_string().contains(&format!("type {kind}")), "{err}");
    }
    assert!(matches!(
        one(Q4_K, &[128], 144),
        ModelError::GgufBlock {
            got: 128,
            block: 256,
            kind: "Q4_K",
            ..
        }
    ));
    for dims in [[1 << 32, 1 << 32], [u64::MAX, 2], [u64::MAX, 1]] {
        assert!(matches!(
            one(F32, &dims, 8),
            ModelError::ShapeOverflow { .. }
        ));
    }
    assert!(matches!(
        one(F32, &[1 << 40], 8),
        ModelError::OffsetsOutside { .. }
    ));
    assert!(matches!(
        one(F32, &[9], 32),
        ModelError::OffsetsOutside { .. }
    ));
    assert!(matches!(one(F32, &[8], 64), ModelError::Hole { .. }));

    let mut pair = Gguf::empty();
    pair.put_tensor("x", F32, &[16]);
    pair.put_tensor("y", F32, &[16]);
    let header = pair.header().len();
    let with_offset = |offset: u64| {
        let mut bytes = pair.bytes();
        bytes[header - 8..header].copy_from_slice(&offset.to_le_bytes());
        parse(&bytes).err()
    };
    assert!(with_offset(64).is_none());
    assert!(matches!(with_offset(32), Some(ModelError::Overlap { .. })));
    assert!(matches!(with_offset(0), Some(ModelError::Overlap { .. })));
    assert!(matches!(
        with_offset(65),
        Some(ModelError::GgufOffset {
            got: 65,
            alignment: 32,
            ..
        })
    ));
    for offset in [96, 1 << 40, u64::MAX - 31] {
        let outside = with_offset(offset);
        assert!(matches!(outside, Some(ModelError::OffsetsOutside { .. })));
    }
    let mut twice = Gguf::empty();
    twice.put_tensor("x", F32, &[8]);
    twice.tensors.push(twice.tensors[0].clone());
    assert!(matches!(err(&twice), ModelError::DuplicateName { name, .. } if name == "x"));
    let mut long = Gguf::empty();
    long.put_tensor(&"x".repeat(300), F32, &[8]);
    assert!(matches!(
        err(&long),
        ModelError::GgufLength { got: 300, .. }
    ));
}
