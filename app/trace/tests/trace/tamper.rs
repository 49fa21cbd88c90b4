//! Changing a sealed trace: every bit of the file is bound, and each kind of damage has its reason.

use assay_trace::{CommitmentError, Trace};

use crate::sample::example;

/// The first byte of a tensor's data and its end, from the published reader.
fn range(file: &[u8], name: &str) -> std::ops::Range<usize> {
    let parsed = safetensors::SafeTensors::deserialize(file).unwrap();
    let view = parsed.tensor(name).unwrap();
    let start = view.data().as_ptr() as usize - file.as_ptr() as usize;
    start..start + view.data().len()
}

fn code_after_flip(name: &str, offset: usize) -> &'static str {
    let mut file = example().to_bytes();
    let at = range(&file, name).start + offset;
    file[at] ^= 1;
    match Trace::parse(&file) {
        Err(error) => error.code(),
        Ok(trace) => trace.check_commitment().unwrap_err().code(),
    }
}

#[test]
fn every_single_bit_is_bound() {
    let honest = example().to_bytes();
    let mut file = honest.clone();
    for at in 0..file.len() {
        for bit in 0..8 {
            file[at] ^= 1 << bit;
            if let Ok(trace) = Trace::parse(&file) {
                assert!(
                    trace.check_commitment().is_err(),
                    "bit {bit} of byte {at} is not bound"
                );
            }
            file[at] ^= 1 << bit;
        }
    }
    assert_eq!(file, honest);
}

#[test]
fn every_other_value_of_every_byte_is_refused() {
    let honest = example().to_bytes();
    let mut file = honest.clone();
    for at in 0..file.len() {
        for value in [0, b' ', b'"', b'0', 0xff, honest[at].wrapping_add(1)] {
            file[at] = value;
            if value != honest[at] {
                let accepted =
                    Trace::parse(&file).is_ok_and(|trace| trace.check_commitment().is_ok());
                assert!(!accepted, "value {value} of byte {at}");
            }
        }
        file[at] = honest[at];
    }
}

#[test]
fn damage_has_its_reason() {
    assert_eq!(code_after_flip("commitment", 0), "commitment");
    assert_eq!(code_after_flip("tokens", 0), "prompt-digest");
    assert_eq!(code_after_flip("tokens", 2 * 4), "merkle-root");
    assert_eq!(code_after_flip("states.00000", 0), "state-digest");
    assert_eq!(
        code_after_flip("states.00002", 4 * 3 * 2 - 2),
        "state-digest"
    );
    assert_eq!(code_after_flip("digests.states", 0), "state-digest"); // layer 0, which is opened
    assert_eq!(code_after_flip("digests.states", 32), "merkle-root"); // layer 1, which is not
    assert_eq!(code_after_flip("digests.logits", 0), "merkle-root");
    assert_eq!(code_after_flip("digests.logits", 3 * 32 - 1), "merkle-root");
}

/// The last token enters no position; its leaf binds it as "next token".
#[test]
fn last_token_is_bound() {
    assert_eq!(code_after_flip("tokens", 4 * 4), "structure"); // 4 becomes 5, outside the vocabulary
    let file = example().to_bytes();
    let mut swapped = file.clone();
    swapped[range(&file, "tokens").end - 4] = 2;
    let error = Trace::parse(&swapped)
        .unwrap()
        .check_commitment()
        .unwrap_err();
    assert!(matches!(error, CommitmentError::Root { .. }), "{error}");
}

#[test]
fn state_digest_names_the_row() {
    let mut file = example().to_bytes();
    let at = range(&file, "states.00002").start + 6; // position 1
    file[at] ^= 1;
    let error = Trace::parse(&file).unwrap().check_commitment().unwrap_err();
    assert!(
        matches!(
            error,
            CommitmentError::StateDigest {
                layer: 2,
                position: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn manifest_words_are_bound() {
    let mut bytes = example().to_bytes();
    let at = (0..bytes.len())
        .find(|&at| bytes[at..].starts_with(b"example adapter"))
        .unwrap();
    bytes[at] = b'E';
    let error = Trace::parse(&bytes)
        .unwrap()
        .check_commitment()
        .unwrap_err();
    assert_eq!(error.code(), "commitment");
}
