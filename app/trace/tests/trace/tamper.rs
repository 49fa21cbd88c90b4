//! Changing a sealed trace: every bit of the file is bound, and each kind of damage has its reason.

use assay_trace::{Challenge, CommitmentError, FinishedTrace, Linear, Trace};

use crate::sample::{
    audited_example, audited_run, example, opening, sparse_audited_run, sparse_example,
};

/// The first byte of a tensor's data and its end, from the published reader.
fn range(file: &[u8], name: &str) -> std::ops::Range<usize> {
    let parsed = safetensors::SafeTensors::deserialize(file).unwrap();
    let view = parsed.tensor(name).unwrap();
    let start = view.data().as_ptr() as usize - file.as_ptr() as usize;
    start..start + view.data().len()
}

fn code_after_flip(name: &str, offset: usize) -> &'static str {
    code_after_flip_in(&example(), name, offset)
}

fn code_after_flip_in(trace: &FinishedTrace, name: &str, offset: usize) -> &'static str {
    let mut file = trace.to_bytes();
    let at = range(&file, name).start + offset;
    file[at] ^= 1;
    match Trace::parse(&file) {
        Err(error) => error.code(),
        Ok(trace) => trace.check_commitment().unwrap_err().code(),
    }
}

/// A file without optional streams, one with `linears`, one with `linears` and `masks`.
fn files() -> [Vec<u8>; 3] {
    let opening = opening(Challenge::Chosen, &[1], &[]);
    let sparse_audited = sparse_audited_run().open(&opening).unwrap();
    [example(), audited_example(), sparse_audited].map(|trace| trace.to_bytes())
}

#[test]
fn every_single_bit_is_bound() {
    for honest in files() {
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
}

#[test]
fn every_other_value_of_every_byte_is_refused() {
    for honest in files() {
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

/// Masks have no digests of their own: whatever is done to them, the root shows it.
#[test]
fn damage_to_masks_has_its_reason() {
    let opening = opening(Challenge::Interactive, &[0], &[0]);
    for trace in [
        sparse_example(),
        sparse_audited_run().open(&opening).unwrap(),
    ] {
        let code = |name: &str, offset| code_after_flip_in(&trace, name, offset);
        for offset in 0..4 * 2 * 3 {
            assert_eq!(code("masks", offset), "merkle-root");
        }
        assert_eq!(code("commitment", 0), "commitment");
        assert_eq!(code("states.00000", 0), "state-digest");
        assert_eq!(code("tokens", 2 * 4), "merkle-root");
    }
}

/// Layer 1 and output token 2 are open, and the hidden states 0, 1 and 2.
#[test]
fn damage_to_linears_has_its_reason() {
    let opening = opening(Challenge::Chosen, &[1], &[2]);
    let trace = audited_run().open(&opening).unwrap();
    let code = |name: &str, offset| code_after_flip_in(&trace, name, offset);
    for product in Linear::ALL {
        assert_eq!(
            code(&format!("linears.00001.{product}"), 0),
            "linear-digest"
        );
    }
    assert_eq!(code("linears.00001.q", 4 * 4 * 2 - 2), "linear-digest");
    assert_eq!(code("logits", 0), "logits-digest");
    assert_eq!(code("logits", 4 * 5 - 4), "logits-digest");
    assert_eq!(code("digests.linears", 32), "linear-digest"); // layer 1, which is open
    assert_eq!(code("digests.linears", 0), "merkle-root"); // layer 0, which is not
    assert_eq!(code("digests.logits", 2 * 32), "logits-digest"); // output token 2
    assert_eq!(code("digests.logits", 0), "merkle-root");
    assert_eq!(code("digests.states", 0), "state-digest");
}

/// The checks come in the order of the specification: one fault of each kind, mended one after another.
#[test]
fn checks_come_in_order() {
    let run = audited_run();
    let finished = run.open(&opening(Challenge::Interactive, &[1], &[2]));
    let file = finished.unwrap().to_bytes();
    let faults = [
        ("commitment", "commitment", 0),
        ("tokens", "prompt-digest", 0),
        ("states.00002", "state-digest", 0),
        ("linears.00001.up", "linear-digest", 0),
        ("logits", "logits-digest", 0),
        ("digests.linears", "merkle-root", 0),
    ];
    let flip = |bytes: &mut [u8], (name, _, offset): (&str, &str, usize)| {
        bytes[range(&file, name).start + offset] ^= 1;
    };
    let mut broken = file.clone();
    faults
        .into_iter()
        .for_each(|fault| flip(&mut broken, fault));
    for fault in faults {
        let error = Trace::parse(&broken).unwrap().check_commitment();
        assert_eq!(error.unwrap_err().code(), fault.1);
        flip(&mut broken, fault);
    }
    assert_eq!(broken, file);
    Trace::parse(&broken).unwrap().check_commitment().unwrap();
}

#[test]
fn linear_and_logits_digests_name_the_row() {
    let file = audited_run()
        .open(&opening(Challenge::Chosen, &[0, 1], &[0, 2]))
        .unwrap()
        .to_bytes();
    let error = |at: usize| {
        let mut file = file.clone();
        file[at] ^= 1;
        Trace::parse(&file).unwrap().check_commitment().unwrap_err()
    };
    let linear = error(range(&file, "linears.00001.v").start + 3 * 2 * 2); // position 3
    assert!(
        matches!(
            linear,
            CommitmentError::LinearDigest {
                layer: 1,
                position: 3,
                ..
            }
        ),
        "{linear}"
    );
    let logits = error(range(&file, "logits").start + 5 * 4); // row 1
    assert!(
        matches!(logits, CommitmentError::LogitsDigest { output: 2, .. }),
        "{logits}"
    );
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
