//! Bytes that mean nothing: no panic, no verdict that is not one.

use assay_live::{Commit, Info, OpeningRequest, RunRequest, Step};

use crate::prover::{info, wanted};

/// A line of a run with one byte after another changed, cut and doubled.
#[test]
fn changed_bytes() {
    let wanted = wanted();
    let json = serde_json::to_vec(&info()).unwrap();
    let line = br#"{"receipt":{"id":"07070707070707070707070707070707","manifest":"{}","tokens":[1,2],"expires_s":60}}"#;
    let changes: [fn(u8) -> u8; 3] = [|b| b ^ 1, |b| b ^ 0x80, |_| b'"'];
    for (bytes, is_info) in [(&json[..], true), (&line[..], false)] {
        for at in 0..bytes.len() {
            for change in changes {
                let mut changed = bytes.to_vec();
                changed[at] = change(changed[at]);
                read(&changed, is_info, &wanted);
            }
            read(&bytes[..at], is_info, &wanted);
        }
    }
    for deep in ["[".repeat(100_000), "{\"receipt\":".repeat(100_000)] {
        read(deep.as_bytes(), true, &wanted);
        read(deep.as_bytes(), false, &wanted);
    }
}

fn read(bytes: &[u8], is_info: bool, wanted: &assay_live::Wanted) {
    if is_info {
        drop(Info::parse(bytes));
    } else {
        let mut commit = Commit::new(wanted, info(), [1; 32]).unwrap();
        assert!(!matches!(commit.take(bytes), Ok(Step::Committed(_))));
    }
    drop(serde_json::from_slice::<RunRequest>(bytes));
    drop(serde_json::from_slice::<OpeningRequest>(bytes));
}

#[test]
fn sizes_that_cannot_be() {
    type Change = fn(&mut Info);
    let changes: [Change; 6] = [
        |info| info.model.layers = 0,
        |info| info.model.layers = u32::MAX,
        |info| info.model.hidden = 0,
        |info| info.model.vocab = 1 << 23,
        |info| info.limits.max_prompt = 0,
        |info| info.producer = "x".repeat(257),
    ];
    for change in changes {
        let mut info = info();
        change(&mut info);
        let json = serde_json::to_vec(&info).unwrap();
        assert_eq!(Info::parse(&json).unwrap_err().code(), "live-protocol");
    }
}
