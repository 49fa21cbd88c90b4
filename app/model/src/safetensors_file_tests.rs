use super::*;
use proptest::prelude::*;

fn file(header: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 7);
    bytes
}

fn read(bytes: &[u8]) -> Result<BTreeMap<String, Entry>, ModelError> {
    read_header(&bytes.to_vec(), "f")
}

const TWO: &str = r#"{"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"y":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}  "#;

#[test]
fn reads_what_the_format_crate_reads() {
    let bytes = file(TWO, 12);
    let got = read(&bytes).unwrap();
    let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(got.len(), theirs.len());
    for (name, entry) in &got {
        let view = theirs.tensor(name).unwrap();
        let shape: Vec<u64> = view.shape().iter().map(|dim| *dim as u64).collect();
        assert_eq!(
            (entry.shape.clone(), entry.bytes as usize),
            (shape, view.data().len())
        );
        assert_eq!(
            bytes[entry.offset as usize..].as_ptr(),
            view.data().as_ptr()
        );
    }
}

#[test]
fn every_truncation_is_an_error() {
    let bytes = file(TWO, 12);
    for len in 0..bytes.len() {
        let err = read(&bytes[..len]).unwrap_err();
        let outside = matches!(
            err,
            ModelError::Truncated { .. } | ModelError::OffsetsOutside { .. }
        );
        assert!(outside, "{len}: {err}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(
        read(&longer),
        Err(ModelError::Hole {
            begin: 12,
            end: 13,
            ..
        })
    ));
}

#[test]
fn header_lengths_are_capped_before_anything_is_read() {
    for length in [MAX_HEADER_BYTES + 1, 1 << 30, u64::MAX, u64::MAX - 7] {
        let mut bytes = file(TWO, 12);
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        assert!(
            matches!(read(&bytes), Err(ModelError::HeaderTooLarge { got, .. }) if got == length)
        );
    }
    assert!(matches!(read(&file("", 0)), Err(ModelError::Header { .. })));
}

#[test]
fn malformed_headers_are_refused() {
    let headers = [
        " {}",
        "[]",
        "{",
        r#"{"x":{}}"#,
        r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0]}}"#,
        r#"{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}"#,
        r#"{"x":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}}"#,
        r#"{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":1}}"#,
        r#"{"x":{"dtype":"F32","dtype":"F16","shape":[1],"data_offsets":[0,4]}}"#,
        r#"{"x":{"dtype":1,"shape":[1],"data_offsets":[0,4]}}"#,
        r#"{} {}"#,
    ];
    for header in headers {
        assert!(
            matches!(read(&file(header, 4)), Err(ModelError::Header { .. })),
            "{header}"
        );
    }
    let named = read(&file(r#"{"broken":{"dtype":1}}"#, 0))
        .unwrap_err()
        .to_string();
    assert!(named.contains("`broken`"), "{named}");
}

#[test]
fn hostile_entries_have_an_error_each() {
    let one = |dtype: &str, shape: &str, begin: u64, end: u64| {
        read(&file(
            &format!(
                r#"{{"x":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}}}"#
            ),
            8,
        ))
        .unwrap_err()
    };
    assert!(matches!(
        one("F32", "[1,1,1,1,1,1,1,1,2]", 0, 8),
        ModelError::Rank {
            got: 9,
            most: 8,
            ..
        }
    ));
    assert!(matches!(
        one("F32", "[4294967296,4294967296]", 0, 8),
        ModelError::ShapeOverflow { .. }
    ));
    assert!(matches!(
        one("F32", "[18446744073709551615]", 0, 8),
        ModelError::ShapeOverflow { .. }
    ));
    assert!(matches!(
        one("F32", "[2]", 8, 0),
        ModelError::OffsetsOutside {
            begin: 8,
            end: 0,
            ..
        }
    ));
    assert!(matches!(
        one("F32", "[2]", 0, 9),
        ModelError::OffsetsOutside {
            end: 9,
            data_bytes: 8,
            ..
        }
    ));
    assert!(matches!(
        one("F32", "[2]", u64::MAX - 7, u64::MAX),
        ModelError::OffsetsOutside { .. }
    ));
    assert!(matches!(
        one("F32", "[1]", 0, 8),
        ModelError::TensorBytes {
            got: 8,
            want: 4,
            ..
        }
    ));
    assert!(matches!(
        one("F16", "[2]", 4, 8),
        ModelError::Hole {
            begin: 0,
            end: 4,
            ..
        }
    ));
    assert!(matches!(
        one("I64", "[0]", 0, 0),
        ModelError::Hole {
            begin: 0,
            end: 8,
            ..
        }
    ));
    // A type that nobody knows yet is skipped, and refused only if it is used.
    let future = r#"{"x":{"dtype":"F3","shape":[9],"data_offsets":[0,8]}}"#;
    assert_eq!(read(&file(future, 8)).unwrap()["x"].dtype, "F3");
}

#[test]
fn overlaps_and_duplicates_are_refused() {
    let entry = |name: &str, begin: u64, end: u64| {
        format!(
            r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{begin},{end}]}}"#,
            end - begin
        )
    };
    let pair = |a: String, b: String| read(&file(&format!("{{{a},{b}}}"), 8)).unwrap_err();
    let err = pair(entry("x", 0, 6), entry("y", 4, 8));
    assert!(
        matches!(&err, ModelError::Overlap { first, second, .. } if first == "x" && second == "y"),
        "{err}"
    );
    assert!(matches!(
        pair(entry("x", 0, 8), entry("y", 0, 8)),
        ModelError::Overlap { .. }
    ));
    let err = pair(entry("x", 0, 4), entry("x", 4, 8));
    assert!(
        matches!(&err, ModelError::DuplicateName { name, .. } if name == "x"),
        "{err}"
    );
}

proptest! {
    #[test]
    fn no_header_panics(header in r#"[{}\[\]",:a-z0-9]{0,80}"#, data_bytes in 0usize..64) {
        let _ = read(&file(&header, data_bytes));
    }

    #[test]
    fn no_mutation_panics_and_what_is_accepted_lies_inside(at in 0usize..170, byte in any::<u8>(), cut in 0usize..20) {
        let mut bytes = file(TWO, 12);
        if let Some(target) = bytes.get_mut(at) {
            *target = byte;
        }
        bytes.truncate(bytes.len() - cut);
        if let Ok(entries) = read(&bytes) {
            for entry in entries.values() {
                prop_assert!(entry.offset + entry.bytes <= bytes.len() as u64);
            }
        }
    }
}
