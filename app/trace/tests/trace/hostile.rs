//! Files that no honest writer makes: each cause has its own error, and nothing panics or allocates for it.

use assay_trace::limits::MAX_HEADER_BYTES;
use assay_trace::{Trace, TraceError, reroot};
use proptest::prelude::*;

use crate::sample::{audited_example, example, join, sparse_example, split, with_header};

fn error(file: &[u8]) -> TraceError {
    Trace::parse(file).map(|_| ()).unwrap_err()
}

#[test]
fn too_short() {
    assert_eq!(error(&[]), TraceError::TooShort { got: 0 });
    assert_eq!(error(&[0; 7]), TraceError::TooShort { got: 7 });
}

#[test]
fn header_too_large() {
    let max = MAX_HEADER_BYTES;
    assert_eq!(
        error(&[0xff; 64]),
        TraceError::HeaderTooLarge { got: u64::MAX, max }
    );
    assert_eq!(
        error(&(max + 1).to_le_bytes()),
        TraceError::HeaderTooLarge { got: max + 1, max }
    );
}

#[test]
fn header_past_end() {
    assert_eq!(
        error(&1_u64.to_le_bytes()),
        TraceError::HeaderPastEnd { got: 1, have: 0 }
    );
    assert_eq!(
        error(&MAX_HEADER_BYTES.to_le_bytes()),
        TraceError::HeaderPastEnd {
            got: MAX_HEADER_BYTES,
            have: 0
        }
    );
}

#[test]
fn header_utf8() {
    let mut file = join("{\"a\"   }", &[]);
    file[10] = 0xff;
    assert_eq!(error(&file), TraceError::HeaderUtf8 { offset: 2 });
}

#[test]
fn header_json() {
    let deep = "[".repeat(1 << 20);
    let deep_entry = format!("{{\"x\":{}", "{\"dtype\":".repeat(1 << 17));
    let many: Vec<String> = (0..9000)
        .map(|i| format!(r#""{i}":{{"dtype":"U8","shape":[],"data_offsets":[0,0]}}"#))
        .collect();
    let many = format!("{{{}}}", many.join(","));
    for header in [
        "",
        "{}",
        "null",
        "[]",
        "{",
        "\u{0}",
        &deep,
        &deep_entry,
        &many,
    ] {
        assert!(
            matches!(error(&join(header, &[])), TraceError::HeaderJson { .. }),
            "{header:.40}"
        );
    }
    for (from, to) in [
        ("{\"__metadata__\":{", "{\"__metadata__\":{\"x\":\"y\","),
        (
            "\"__metadata__\":{",
            "\"__metadata__\":{\"assay\":\"\"},\"__metadata__\":{",
        ),
        ("{\"assay\":", "{\"assay\":\"\",\"assay\":"),
        ("\"assay\"", "\"essay\""),
        ("\"shape\":[5]", "\"shape\":[5],\"x\":1"),
        ("\"shape\":[5]", "\"shape\":[5],\"shape\":[5]"),
        ("\"shape\":[5]", "\"shape\":[-5]"),
        ("\"shape\":[5]", "\"shape\":[5.0]"),
        ("\"shape\":[5]", "\"shape\":[18446744073709551616]"),
        ("\"data_offsets\":[0,20]", "\"data_offsets\":[0,20,40]"),
    ] {
        assert!(
            matches!(error(&with_header(from, to)), TraceError::HeaderJson { .. }),
            "{to}"
        );
    }
}

#[test]
fn header_not_canonical() {
    let (header, data) = split(&example().to_bytes());
    let text = header.trim_end();
    let tokens = r#""tokens":{"dtype":"U32","shape":[5],"data_offsets":[0,20]}"#;
    let without = text.replace(&format!(",{tokens}"), "");
    let moved = format!("{},{tokens}}}", &without[..without.len() - 1]);
    for other in [
        format!("{text} {}", &header[text.len()..]), // one more space
        format!("{text}{}", "        ".repeat(2)),   // two more words of padding
        format!(" {text}"),                          // leading space
        text.replace(":[5]", ": [5]"),               // inner space
        text.replace("\"tokens\"", "\"\\u0074okens\""), // another spelling of a name
        text.replace("[0,20]", "[0,20 ]"),
        moved, // another order
    ] {
        assert!(
            matches!(
                error(&join(&other, &data)),
                TraceError::HeaderNotCanonical { .. }
            ),
            "{other}"
        );
    }
}

#[test]
fn manifest_errors_come_through() {
    let not_json = with_header("\\\"version\\\":1", "\\\"version\\\":x");
    assert!(matches!(error(&not_json), TraceError::ManifestJson { .. }));
    let spaced = with_header("\\\"version\\\":1", "\\\"version\\\": 1");
    assert!(matches!(
        error(&spaced),
        TraceError::ManifestNotCanonical { .. }
    ));
    assert_eq!(
        error(&with_header("\\\"version\\\":1", "\\\"version\\\":2")),
        TraceError::Version { got: 2, want: 1 }
    );
}

#[test]
fn missing_tensor() {
    let file = with_header("\"digests.logits\"", "\"digests.logitz\"");
    assert_eq!(
        error(&file),
        TraceError::MissingTensor {
            name: "digests.logits".into()
        }
    );
}

#[test]
fn extra_tensor() {
    let zero = r#","x\u001b":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"tokens""#;
    let file = with_header(",\"tokens\"", zero);
    assert_eq!(
        error(&file),
        TraceError::ExtraTensor {
            name: "x\\u{1b}".into()
        }
    );
}

#[test]
fn duplicate_tensor() {
    let entry = r#","tokens":{"dtype":"U32","shape":[5],"data_offsets":[0,20]}"#;
    let file = with_header(entry, &entry.repeat(2));
    assert_eq!(
        error(&file),
        TraceError::DuplicateTensor {
            name: "tokens".into()
        }
    );
}

#[test]
fn tensor_dtype() {
    let file = with_header("\"U32\"", "\"I32\"");
    assert_eq!(
        error(&file),
        TraceError::TensorDtype {
            name: "tokens".into(),
            got: "I32".into(),
            want: "U32"
        }
    );
}

#[test]
fn tensor_shape() {
    let huge = format!("[{}]", ["18446744073709551615"; 8].join(","));
    for (shape, got_rank) in [("[6]", 1), ("[5,1]", 2), ("[]", 0), (huge.as_str(), 8)] {
        let file = with_header("\"shape\":[5]", &format!("\"shape\":{shape}"));
        assert_eq!(
            error(&file),
            TraceError::TensorShape {
                name: "tokens".into(),
                got_rank,
                want: vec![5]
            }
        );
    }
}

#[test]
fn tensor_offsets() {
    for got in [[0, 24], [4, 24], [20, 0], [0, u64::MAX]] {
        let file = with_header(
            "\"data_offsets\":[0,20]",
            &format!("\"data_offsets\":[{},{}]", got[0], got[1]),
        );
        assert_eq!(
            error(&file),
            TraceError::TensorOffsets {
                name: "tokens".into(),
                got,
                want: [0, 20]
            }
        );
    }
}

/// Counts at their limits, honestly laid out, over no data: refused by length before anything is sized by them.
#[test]
fn huge_counts_over_no_data() {
    let (header, _) = split(&example().to_bytes());
    let header = header
        .replace("\\\"hidden\\\":3", "\\\"hidden\\\":65536")
        .replace("[4,3]", "[4,65536]");
    assert!(matches!(
        error(&join(&header, &[])),
        TraceError::TensorOffsets { .. }
    ));
    let claimed = header.replace("\\\"tokens\\\":3", "\\\"tokens\\\":1048574");
    assert!(matches!(
        error(&join(&claimed, &[])),
        TraceError::TensorShape { .. }
    ));
}

#[test]
fn data_length() {
    let file = example().to_bytes();
    let want = split(&file).1.len() as u64;
    let longer = [file.as_slice(), &[0]].concat();
    assert_eq!(
        error(&longer),
        TraceError::DataLength {
            got: want + 1,
            want
        }
    );
    assert_eq!(
        error(&file[..file.len() - 1]),
        TraceError::DataLength {
            got: want - 1,
            want
        }
    );
}

#[test]
fn every_truncation_is_refused() {
    for trace in [example(), audited_example(), sparse_example()] {
        let file = trace.to_bytes();
        for length in 0..file.len() {
            error(&file[..length]);
        }
    }
}

#[test]
fn token_range() {
    for id in [5, u32::MAX] {
        let file = reroot(&example().to_bytes(), |trace| trace.tokens[3] = id).unwrap();
        assert_eq!(
            error(&file),
            TraceError::TokenRange {
                index: 3,
                got: id,
                vocab: 5
            }
        );
    }
}

#[test]
fn non_finite() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let file = reroot(&example().to_bytes(), |trace| {
            trace.states.get_mut(&2).unwrap()[7] = value;
        })
        .unwrap();
        assert_eq!(
            error(&file),
            TraceError::NonFinite {
                layer: 2,
                position: 2,
                channel: 1
            }
        );
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>) {
        prop_assert!(Trace::parse(&bytes).is_err());
        let framed = [&(bytes.len() as u64).to_le_bytes(), bytes.as_slice()].concat();
        prop_assert!(Trace::parse(&framed).is_err());
    }

    #[test]
    fn spliced_headers_never_panic(which in 0_usize..3, at in 0_usize..2300, cut in 0_usize..40, insert in "[\\[\\]{}\",:0-9a-z]{0,12}") {
        let trace = [example, audited_example, sparse_example][which]();
        let (header, data) = split(&trace.to_bytes());
        let (start, end) = (at.min(header.len()), (at + cut).min(header.len()));
        let edited = format!("{}{insert}{}", &header[..start], &header[end..]);
        prop_assume!(edited != header);
        let file = join(&edited, &data);
        if let Ok(trace) = Trace::parse(&file) {
            prop_assert!(trace.check_commitment().is_err());
        }
    }
}

/// A file can be refused by its head alone, and for the same reason as by all of it.
#[test]
fn head_alone_gives_the_same_answer() {
    for trace in [example(), audited_example(), sparse_example()] {
        check_by_head(&trace.to_bytes());
    }
}

fn check_by_head(file: &[u8]) {
    let first = *file.first_chunk().unwrap();
    let head = Trace::head_bytes(first, file.len() as u64).unwrap();
    assert_eq!(Trace::check_head(&file[..head], file.len() as u64), Ok(()));
    for claimed in [file.len() as u64 - 1, file.len() as u64 + 1, 3 << 30] {
        let refused = Trace::check_head(&file[..head], claimed);
        assert!(
            matches!(refused, Err(TraceError::DataLength { .. })),
            "{refused:?}"
        );
    }
    for i in 0..head {
        let mut changed = file.to_vec();
        changed[i] ^= 1;
        let whole = Trace::parse(&changed).map(drop);
        let by_head = Trace::head_bytes(*changed.first_chunk().unwrap(), changed.len() as u64)
            .and_then(|head| Trace::check_head(&changed[..head], changed.len() as u64));
        if by_head.is_err() {
            assert_eq!(by_head, whole, "byte {i}");
        }
    }
    assert!(Trace::head_bytes([0xff; 8], 3 << 30).is_err());
}
