//! Bytes from an attacker, or from a bad disk.

use assay_key::{Form, HEAD_BYTES, KeyError, VerifierKey};
use proptest::prelude::*;

use crate::sample::{join, make, odd, options, reseal, sample, small, split};
use assay_model::Dtype;

fn code(bytes: Vec<u8>) -> &'static str {
    VerifierKey::parse(bytes)
        .err()
        .map_or("fine", |err| err.code())
}

#[test]
fn what_was_written_is_read() {
    let key = make(&sample(&odd(), Dtype::F16).model, 1, &options());
    let again = VerifierKey::parse(key.as_bytes().to_vec()).unwrap();
    assert_eq!(again.id(), key.id());
    assert_eq!(again.id(), assay_trace::Digest::of(key.as_bytes()));
    assert_eq!(again.config(), key.config());
    for part in crate::sample::parts(&key) {
        assert_eq!(again.product(part), key.product(part));
        assert_eq!(again.projection(part), key.projection(part));
    }
    assert_eq!(again.embedding_projection(), key.embedding_projection());
}

/// The published crate reads our file, and would have written the same bytes.
#[test]
fn it_is_a_safetensors_file_in_that_crates_own_order() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        let key = make(&sample(&odd(), dtype).model, 1, &options());
        let (_, metadata) = safetensors::SafeTensors::read_metadata(key.as_bytes()).unwrap();
        let file = safetensors::SafeTensors::deserialize(key.as_bytes()).unwrap();
        let tensors = file
            .names()
            .into_iter()
            .map(|name| (name, file.tensor(name).unwrap()));
        let written = safetensors::serialize(tensors, metadata.metadata().clone()).unwrap();
        assert!(written == key.as_bytes());
    }
}

#[test]
fn the_first_bytes_tell_what_it_is() {
    let key = small();
    assert_eq!(
        VerifierKey::is_key(&key.as_bytes()[..HEAD_BYTES]),
        Some(Form::Plain)
    );
    assert_eq!(VerifierKey::is_key(&key.as_bytes()[..HEAD_BYTES - 1]), None);
    assert_eq!(VerifierKey::is_key(b"ASSAYKEY"), Some(Form::Encrypted));
    let other = br#"~       {"__metadata__":{"assay":"{}"}}                       "#;
    for bytes in [&b""[..], b"ASSAY", b"PK\x03\x04", &[0; 64], other] {
        assert_eq!(VerifierKey::is_key(bytes), None);
        assert_eq!(code(bytes.to_vec()), "not-a-key");
        assert_eq!(
            VerifierKey::decrypt(bytes, "x").unwrap_err().code(),
            "not-a-key"
        );
    }
}

#[test]
fn every_flipped_byte_is_refused() {
    let key = small();
    for index in 0..key.as_bytes().len() {
        for mask in [1, 0x80, 0x20] {
            let mut bytes = key.as_bytes().to_vec();
            bytes[index] ^= mask;
            assert_ne!(code(bytes), "fine", "byte {index}");
        }
    }
}

/// An attacker who mends the checksum still cannot change the header; what they change in the data is a number, and stays one.
#[test]
fn with_a_mended_checksum_only_values_change() {
    let key = small();
    let (text, _) = split(key.as_bytes());
    let data = key.as_bytes().len() - split(key.as_bytes()).1.len();
    let mut changed = 0;
    for index in 0..key.as_bytes().len() - 32 {
        for mask in [1, 0x80] {
            let mut bytes = key.as_bytes().to_vec();
            bytes[index] ^= mask;
            match VerifierKey::parse(reseal(bytes)) {
                Ok(other) => {
                    assert_ne!(other.id(), key.id());
                    // In the header only facts that nothing in the file can contradict.
                    let inside = index >= data || free(&text, index - 8);
                    assert!(inside, "byte {index}");
                    changed += 1;
                }
                Err(err) => assert!(!matches!(
                    err,
                    KeyError::Checksum | KeyError::Internal { .. }
                )),
            }
        }
    }
    assert!(changed > 1000, "{changed}");
}

/// Whether a byte of the header is the value of a fact that the rest of the file does not depend on.
fn free(text: &str, at: usize) -> bool {
    let facts = [
        "root",
        "producer",
        "parameters",
        "rms_eps",
        "theta",
        "factor",
        "context",
        "eos",
        "bos",
    ];
    let before = &text[..at.min(text.len())];
    let key = before.rfind(":").map_or("", |colon| &before[..colon]);
    facts.iter().any(|fact| {
        let key = key.trim_end_matches('"').trim_end_matches('\\');
        key.ends_with(fact)
    })
}

#[test]
fn every_truncation_is_refused() {
    let key = small();
    let bytes = key.as_bytes();
    for len in 0..bytes.len() {
        assert_ne!(code(bytes[..len].to_vec()), "fine", "{len} bytes");
    }
    let longer = [bytes, &[0]].concat();
    assert_eq!(code(longer.clone()), "length");
    assert_eq!(code(reseal(longer)), "length");
}

#[test]
fn headers_that_lie() {
    let key = small();
    let (text, data) = split(key.as_bytes());
    let with = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        code(reseal(join(&text.replacen(from, to, 1), &data)))
    };
    assert_eq!(code(join(&text, &data)), "fine");
    // Metadata.
    assert_eq!(
        with("assay-verifier-key-SECRET", "assay-verifier-key"),
        "format"
    );
    assert_eq!(with(r#"\"version\":1"#, r#"\"version\":2"#), "version");
    assert_eq!(
        with(r#"\"version\":1"#, r#"\"version\":1,\"more\":0"#),
        "metadata"
    );
    assert_eq!(
        with(r#"\"projections\":8"#, r#"\"projections\":7"#),
        "metadata"
    );
    assert_eq!(
        with(r#"\"projections\":8"#, r#"\"projections\":9"#),
        "header"
    );
    assert_eq!(
        with(
            r#"\"projections\":8"#,
            r#"\"projections\":18446744073709551615"#
        ),
        "metadata"
    );
    assert_eq!(
        with(r#"\"projections\":8"#, r#"\"projections\":-8"#),
        "metadata"
    );
    assert_eq!(with(r#"\"rows\":1"#, r#"\"rows\":0"#), "metadata");
    assert_eq!(with(r#"\"rows\":1"#, r#"\"rows\":2"#), "header");
    assert_eq!(with(r#"\"sketch\":1"#, r#"\"sketch\":17"#), "metadata");
    assert_eq!(with(r#"\"layers\":[0]"#, r#"\"layers\":[]"#), "metadata");
    assert_eq!(with(r#"\"layers\":[0]"#, r#"\"layers\":[1]"#), "metadata");
    assert_eq!(with(r#"\"layers\":[0]"#, r#"\"layers\":[0,0]"#), "metadata");
    assert_eq!(
        with(r#"\"parameters\":"#, r#"\"parameters\":99999999999999999"#),
        "metadata"
    );
    assert_eq!(
        with(r#"\"dtype\":\"bf16\""#, r#"\"dtype\":\"f16\""#),
        "metadata"
    );
    assert_eq!(
        with(r#"\"stored\":[\"bf16\""#, r#"\"stored\":[\"f16\""#),
        "metadata"
    );
    assert_eq!(
        with(
            r#"\"stored\":[\"bf16\""#,
            r#"\"stored\":[\"bf16\",\"bf16\""#
        ),
        "metadata"
    );
    assert_eq!(
        with(r#"\"producer\":\"assay"#, r#"\"producer\":\"\\u001bssay"#),
        "metadata"
    );
    // Configs: absurd, contradictory, and larger than any file.
    assert_eq!(with(r#"\"hidden\":5"#, r#"\"hidden\":0"#), "config");
    assert_eq!(
        with(r#"\"hidden\":5"#, r#"\"hidden\":4294967295"#),
        "config"
    );
    assert_eq!(with(r#"\"vocab\":7"#, r#"\"vocab\":2097153"#), "config");
    assert_eq!(with(r#"\"head_dim\":2"#, r#"\"head_dim\":3"#), "config");
    assert_eq!(with(r#"\"rms_eps\":"#, r#"\"rms_eps\":1"#), "config");
    assert_eq!(with(r#"\"hidden\":5"#, r#"\"hidden\":65536"#), "header");
    assert_eq!(with(r#"\"vocab\":7"#, r#"\"vocab\":2097152"#), "header");
    assert_eq!(with(r#"\"hidden\":5"#, r#"\"hidden\":5.0"#), "metadata");
    assert_eq!(
        with(r#"\"attention_bias\":false"#, r#"\"attention_bias\":true"#),
        "header"
    );
    assert_eq!(with(r#"\"eos\":[2]"#, r#"\"eos\":[2,1]"#), "metadata");
    assert_eq!(with(r#"\"eos\":[2]"#, r#"\"eos\":[7]"#), "config");
    // Tensors.
    assert_eq!(
        with(r#""shape":[8,5]"#, r#""shape":[18446744073709551615,5]"#),
        "header"
    );
    assert_eq!(
        with(r#""data_offsets":[0,64]"#, r#""data_offsets":[64,0]"#),
        "header"
    );
    assert_eq!(with(r#""frobenius":"#, r#""frobenius ":"#), "header");
    assert_eq!(with(r#""dtype":"F64""#, r#""dtype":"F32""#), "header");
    assert_eq!(
        with(r#"{"__metadata__":"#, r#"{ "__metadata__":"#),
        "not-a-key"
    );
    // Spellings.
    assert_eq!(
        code(reseal(join(
            &text.replace(r#","frob"#, r#", "frob"#),
            &data
        ))),
        "header"
    );
    let last = text.rfind(r#","sha256""#).unwrap();
    assert_eq!(
        code(reseal(join(&format!("{}}}", &text[..last]), &data))),
        "header"
    );
    let twice = format!(
        "{}{}}}",
        &text[..text.len() - 1],
        &text[last..text.len() - 1]
    );
    assert_eq!(code(reseal(join(&twice, &data))), "header");
    let mut padded = join(&text, &data);
    padded.splice(8 + text.len()..8 + text.len(), [b' '; 8]);
    let len = u64::from_le_bytes(padded[..8].try_into().unwrap()) + 8;
    padded[..8].copy_from_slice(&len.to_le_bytes());
    assert_eq!(code(reseal(padded)), "header");
}

#[test]
fn lengths_that_lie() {
    let key = small();
    let with = |length: u64| {
        let mut bytes = key.as_bytes().to_vec();
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        code(bytes)
    };
    assert_eq!(with(u64::MAX), "too-large");
    assert_eq!(with((4 << 20) + 1), "too-large");
    assert_eq!(with(4 << 20), "length");
    assert_eq!(with(0), "header");
    assert_eq!(with(100), "header");
}

/// Deeply nested or long JSON neither overflows the stack nor takes the time.
#[test]
fn json_bombs() {
    let key = small();
    let (text, data) = split(key.as_bytes());
    let open = &text[..text.len() - 1];
    let nested = format!(r#"{open},"x":{}"#, "[".repeat(1 << 20));
    assert_eq!(code(join(&nested, &data)), "header");
    let many = format!("{open}{}}}", r#","a":0"#.repeat(500_000));
    assert_eq!(code(join(&many, &data)), "header");
}

#[test]
fn values_that_no_key_has() {
    let key = make(&sample(&odd(), Dtype::BF16).model, 1, &options());
    let place = |name: &str| {
        let file = safetensors::SafeTensors::deserialize(key.as_bytes()).unwrap();
        let data = file.tensor(name).unwrap().data();
        data.as_ptr() as usize - key.as_bytes().as_ptr() as usize
    };
    let with = |name: &str, at: usize, value: &[u8]| {
        let (mut bytes, place) = (key.as_bytes().to_vec(), place(name) + at);
        bytes[place..place + value.len()].copy_from_slice(value);
        VerifierKey::parse(reseal(bytes))
            .err()
            .map(|err| (err.code(), err.to_string()))
    };
    let refused = |name: &str, index: usize| {
        let text = format!("`{name}` has a value that it must not have, at element {index}");
        Some(("value", text))
    };
    let nan = f32::NAN.to_le_bytes();
    for name in [
        "layers.00001.gate.projected",
        "layers.00001.gate.bound",
        "layers.00001.gate.bias",
        "layers.00000.attn_norm",
        "layers.00002.mlp_norm",
        "final_norm",
        "embedding.sketch",
        "head.projected",
    ] {
        assert_eq!(with(name, 8, &nan), refused(name, 2));
        assert_eq!(
            with(name, 4, &f32::INFINITY.to_le_bytes()),
            refused(name, 1)
        );
        assert_eq!(with(name, 4, &1f32.to_le_bytes()), None);
    }
    assert_eq!(
        with("head.bound", 0, &(-1f32).to_le_bytes()),
        refused("head.bound", 0)
    );
    assert_eq!(
        with("head.bound", 0, &(-0f32).to_le_bytes()),
        refused("head.bound", 0)
    );
    assert_eq!(with("head.projected", 0, &(-1f32).to_le_bytes()), None);
    assert_eq!(with("head.rows", 2, &[0x80, 0x7f]), refused("head.rows", 1));
    assert_eq!(
        with("frobenius", 8, &f64::NAN.to_le_bytes()),
        refused("frobenius", 1)
    );
    assert_eq!(
        with("frobenius", 8, &(-1f64).to_le_bytes()),
        refused("frobenius", 1)
    );
    assert_eq!(with("elsewhere", 3, &[2]), refused("elsewhere", 3));
    assert_eq!(with("elsewhere", 3, &[1]), None);
}

proptest! {
    /// Whatever the bytes: an answer, no panic.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(VerifierKey::parse(bytes).is_err());
    }

    /// Pieces of a real key, cut, doubled and changed, with a mended checksum.
    #[test]
    fn mutations(edits in prop::collection::vec((any::<u16>(), any::<u16>(), any::<u8>(), 0..4u8), 1..6)) {
        use std::sync::OnceLock;
        static KEY: OnceLock<Vec<u8>> = OnceLock::new();
        let mut bytes = KEY.get_or_init(|| small().as_bytes().to_vec()).clone();
        for (at, len, byte, kind) in edits {
            let at = at as usize % bytes.len();
            let len = (len as usize % 40).min(bytes.len() - at);
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.drain(at..at + len)),
                2 => {
                    let piece = bytes[at..at + len].to_vec();
                    drop(bytes.splice(at..at, piece));
                }
                _ => drop(bytes.splice(at..at, vec![byte; len])),
            }
            if bytes.len() < 64 {
                return Ok(());
            }
        }
        if let Ok(key) = VerifierKey::parse(reseal(bytes)) {
            for part in crate::sample::parts(&key) {
                prop_assert!(key.product(part).is_some());
            }
        }
    }
}
