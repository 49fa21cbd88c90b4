//! Keys under a passphrase.

use assay_key::{Form, VerifierKey};

use crate::sample::{reseal, small};

const HEAD: usize = 80;

fn code(bytes: &[u8], passphrase: &str) -> &'static str {
    VerifierKey::decrypt(bytes, passphrase)
        .err()
        .map_or("fine", |err| err.code())
}

fn sealed() -> (VerifierKey, Vec<u8>) {
    let key = small();
    let sealed = key.encrypt("pâss phrase").unwrap();
    (key, sealed)
}

#[test]
fn opens_with_its_passphrase_only() {
    let (key, sealed) = sealed();
    assert_eq!(VerifierKey::is_key(&sealed), Some(Form::Encrypted));
    assert_eq!(sealed.len(), HEAD + key.as_bytes().len() + 16);
    let open = VerifierKey::decrypt(&sealed, "pâss phrase").unwrap();
    assert_eq!(open.id(), key.id());
    assert!(open.as_bytes() == key.as_bytes());
    for wrong in ["", "pass phrase", "pâss phrase ", "PÂSS PHRASE"] {
        assert_eq!(code(&sealed, wrong), "passphrase");
    }
    assert_eq!(VerifierKey::parse(sealed).unwrap_err().code(), "encrypted");
    assert_eq!(code(key.as_bytes(), "pâss phrase"), "not-encrypted");
    assert_eq!(key.encrypt("").unwrap_err().code(), "passphrase-empty");
}

#[test]
fn nothing_of_the_key_shows_and_nothing_repeats() {
    let (key, sealed) = sealed();
    let again = key.encrypt("pâss phrase").unwrap();
    assert_ne!(sealed[24..HEAD], again[24..HEAD]);
    assert_ne!(sealed[HEAD..], again[HEAD..]);
    for window in key.as_bytes().windows(16).step_by(16) {
        let zeros = window.iter().all(|byte| *byte == 0);
        assert!(zeros || !sealed.windows(16).any(|other| other == window));
    }
}

#[test]
fn damage_is_told_from_a_wrong_passphrase() {
    let (key, sealed) = sealed();
    let flipped = |index: usize| {
        let mut bytes = sealed.clone();
        bytes[index] ^= 1;
        code(&bytes, "pâss phrase")
    };
    assert_eq!(flipped(0), "not-a-key");
    assert_eq!(flipped(8), "version");
    // Costs, salt, check: another key comes out, so the check does not fit.
    for index in [12, 16, 24, 39, 40, 55] {
        assert_eq!(flipped(index), "passphrase", "byte {index}");
    }
    // Nonce, message, tag.
    for index in [
        56,
        79,
        HEAD,
        HEAD + 100,
        sealed.len() - 17,
        sealed.len() - 16,
        sealed.len() - 1,
    ] {
        assert_eq!(flipped(index), "damaged", "byte {index}");
    }
    for len in [HEAD + 16, sealed.len() - 1, sealed.len() - 16] {
        assert_eq!(
            code(&sealed[..len], "pâss phrase"),
            "damaged",
            "{len} bytes"
        );
    }
    for len in [8, 11, 12, 24, HEAD, HEAD + 15] {
        assert_eq!(code(&sealed[..len], "pâss phrase"), "length", "{len} bytes");
    }
    assert_eq!(
        code(&[&sealed[..], &[0]].concat(), "pâss phrase"),
        "damaged"
    );
    drop(key);
}

#[test]
fn costs_beyond_the_caps_are_never_spent() {
    let (_, sealed) = sealed();
    let with = |at: usize, cost: u32| {
        let mut bytes = sealed.clone();
        bytes[at..at + 4].copy_from_slice(&cost.to_le_bytes());
        let begin = std::time::Instant::now();
        let code = code(&bytes, "pâss phrase");
        assert!(code == "passphrase" || begin.elapsed().as_secs() < 1);
        code
    };
    for cost in [0, 7, (256 << 10) + 1, u32::MAX] {
        assert_eq!(with(12, cost), "encryption", "memory {cost}");
    }
    for cost in [0, 17, u32::MAX] {
        assert_eq!(with(16, cost), "encryption", "passes {cost}");
        assert_eq!(with(20, cost), "encryption", "lanes {cost}");
    }
    assert_eq!(with(12, 8), "passphrase");
    assert_eq!(with(16, 1), "passphrase");
    assert_eq!(with(20, 4), "passphrase");
}

/// What is inside is as hostile as any other file.
#[test]
fn a_sealed_key_is_still_checked() {
    let key = small();
    let mut bytes = key.as_bytes().to_vec();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    let other = VerifierKey::parse(reseal(bytes)).unwrap();
    let sealed = other.encrypt("x").unwrap();
    assert_eq!(VerifierKey::decrypt(&sealed, "x").unwrap().id(), other.id());
    assert_ne!(other.id(), key.id());
}
