//! The program's own vectors, both revisions, and bytes that no program wrote.

use super::*;
use crate::hash::logits_hash;

fn three_steps() -> Trace {
    let entry = |i: i32| Entry {
        position: i,
        token: 10 * i,
        text: Some(format!("w{i}")),
        logits: logits_hash(&[1.0, 2.0, 3.0]),
    };
    let metadata = Metadata {
        model_path: "m.bin".to_owned(),
        prompt: "p".to_owned(),
        steps: 3,
    };
    Trace::seal(metadata, (0..3).map(entry).collect())
}

/// The same in the older form.
fn older(trace: &Trace) -> Vec<u8> {
    let mut out = Vec::new();
    for text in [&trace.metadata.model_path, &trace.metadata.prompt] {
        out.extend((text.len() as u64).to_le_bytes());
        out.extend(text.as_bytes());
    }
    out.extend(trace.metadata.steps.to_le_bytes());
    out.extend((trace.entries.len() as u64).to_le_bytes());
    for entry in &trace.entries {
        out.extend(entry.position.to_le_bytes());
        out.extend(entry.token.to_le_bytes());
        out.extend(entry.logits.0);
    }
    out.extend((trace.leaves.len() as u64).to_le_bytes());
    out.extend(trace.leaves.iter().flat_map(|leaf| leaf.0));
    out.push(u8::from(trace.root.is_some()));
    out.extend(trace.root.iter().flat_map(|root| root.0));
    out
}

#[test]
fn published_vectors() {
    let logits = logits_hash(&[1.0, 2.0, 3.0]);
    assert_eq!(
        logits.to_string(),
        "8e628779e6a74ee0b36991c10158f63cafec7d340ad4e075592502c8708524dd"
    );
    let entry = Entry {
        position: 0,
        token: 42,
        text: Some("test".to_owned()),
        logits,
    };
    assert_eq!(
        entry.leaf().to_string(),
        "2484b0be32e7a273cb0b34bb9d2e096815e7c8006be10d5ce445a4838efde8a4"
    );
    let metadata = Metadata {
        model_path: String::new(),
        prompt: String::new(),
        steps: 0,
    };
    let bytes = Trace::seal(metadata, vec![entry]).to_bytes();
    let entry_bytes = &bytes[32..32 + 52];
    assert_eq!(entry_bytes[..8], [0, 0, 0, 0, 42, 0, 0, 0]);
    assert_eq!(entry_bytes[8..20], *b"\x04\0\0\0\0\0\0\0test");
    assert_eq!(entry_bytes[20..], logits.0);

    let trace = three_steps();
    assert_eq!(trace.to_bytes().len(), 325);
    assert_eq!(
        trace.root.unwrap().to_string(),
        "693ee713d1c9390a3e4859bdf63f7b81f0565ccd26d20d92fa7cac8cb987a657"
    );
}

#[test]
fn a_hundred_entries_have_the_published_size() {
    let entry = |i: i32| Entry {
        position: i,
        token: i,
        text: Some("text".to_owned()),
        logits: Digest::ZERO,
    };
    let metadata = Metadata {
        model_path: String::new(),
        prompt: String::new(),
        steps: 100,
    };
    let bytes = Trace::seal(metadata, (0..100).map(entry).collect()).to_bytes();
    // Paths and prompts come on top: the reference's 8,503 bytes have some 30 of them.
    assert_eq!(bytes.len(), 32 + 100 * (80 + 4) + 8 + 33);
}

#[test]
fn both_revisions_read_back_and_have_one_root() {
    let newer = three_steps();
    let read = Trace::parse(&newer.to_bytes()).unwrap();
    assert_eq!(read, newer);
    assert!(read.holds_together() && looks_like(&newer.to_bytes()));
    let older = Trace::parse(&older(&newer)).unwrap();
    assert_eq!(older.revision, Revision::A);
    assert_eq!((older.root, &older.leaves), (newer.root, &newer.leaves));
    assert!(older.holds_together());
    assert!(older.entries.iter().all(|entry| entry.text.is_none()));
}

#[test]
fn truncation_padding_and_counts_are_refused() {
    for bytes in [three_steps().to_bytes(), older(&three_steps())] {
        for end in 0..bytes.len() {
            assert!(Trace::parse(&bytes[..end]).is_err(), "{end}");
        }
        let longer = [bytes.as_slice(), &[0]].concat();
        assert!(matches!(
            Trace::parse(&longer),
            Err(ReadError::Trailing { got: 1, .. })
        ));
        // Every eight bytes as a count that no file can hold.
        for at in 0..bytes.len().saturating_sub(8) {
            let mut huge = bytes.clone();
            huge[at..at + 8].fill(0xff);
            if let Ok(trace) = Trace::parse(&huge) {
                assert_eq!(trace.entries.len(), 3);
            }
        }
    }
}

#[test]
fn an_empty_trace_has_no_root() {
    let metadata = Metadata {
        model_path: String::new(),
        prompt: String::new(),
        steps: 0,
    };
    let empty = Trace::seal(metadata, Vec::new());
    let bytes = empty.to_bytes();
    assert_eq!(bytes.last(), Some(&0));
    assert_eq!(Trace::parse(&bytes).unwrap().root, None);
    let mut rooted = bytes;
    *rooted.last_mut().unwrap() = 1;
    rooted.extend([7; 32]);
    assert_eq!(Trace::parse(&rooted), Err(ReadError::RootPresence));
}

#[test]
fn text_must_be_utf8_and_tags_a_bit() {
    let mut bytes = three_steps().to_bytes();
    let mut tag = bytes.clone();
    let at = tag.len() - 33;
    tag[at] = 2;
    assert_eq!(Trace::parse(&tag), Err(ReadError::Tag { at, got: 2 }));
    bytes[8] = 0xff;
    assert!(matches!(
        Trace::parse(&bytes),
        Err(ReadError::Utf8 {
            what: "model path",
            at: 8
        })
    ));
}

proptest::proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
        drop(Trace::parse(&bytes));
        looks_like(&bytes);
    }

    #[test]
    fn one_changed_byte_is_seen_or_lies_in_what_nothing_binds(at in 0usize..325, to in proptest::num::u8::ANY) {
        let honest = three_steps();
        let mut bytes = honest.to_bytes();
        let same = bytes[at] == to;
        bytes[at] = to;
        if let Ok(read) = Trace::parse(&bytes) {
            let bound = read.entries.iter().map(|e| (e.position, e.token, e.logits)).collect::<Vec<_>>()
                == honest.entries.iter().map(|e| (e.position, e.token, e.logits)).collect::<Vec<_>>();
            proptest::prop_assert_eq!(read.holds_together(), same || bound && read.leaves == honest.leaves && read.root == honest.root);
        }
    }
}
