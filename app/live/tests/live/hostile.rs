//! Bytes that mean nothing: no panic, no verdict that is not one.

use assay_live::{Commit, Info, Line, OpeningRequest, RunRequest, Step};
use assay_trace::{Decimal, MaskClaim, MaskName, SparseClaim, SparseRule};

use crate::prover::{LAYERS, info, rule, wanted};

/// A line of a run with one byte after another changed, cut and doubled.
#[test]
fn changed_bytes() {
    let wanted = wanted();
    let json = serde_json::to_vec(&skipping()).unwrap();
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

/// A prover that skips has more to say.
fn skipping() -> Info {
    Info {
        sparse: Some(rule()),
        ..info()
    }
}

#[test]
fn sizes_that_cannot_be() {
    type Change = fn(&mut Info);
    let thresholds = |count: u32| vec![Decimal::ONE; count as usize];
    let cats = |count| SparseRule::Cats {
        thresholds: thresholds(count),
    };
    let rules = [
        SparseRule::TopK { keep: 13 },
        cats(LAYERS + 1),
        cats(0),
        SparseRule::Teal {
            input: thresholds(LAYERS),
            neurons: thresholds(LAYERS),
        },
    ];
    for rule in rules {
        let mut info = skipping();
        info.sparse.as_mut().unwrap().rule = rule;
        let json = serde_json::to_vec(&info).unwrap();
        let fault = Info::parse(&json).unwrap_err();
        assert_eq!(fault.code(), "live-protocol", "{fault}");
        assert!(
            fault.to_string().contains("rule for sparse MLPs"),
            "{fault}"
        );
    }
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

/// The longest rule that there can be, of the deepest model, fits what is read of a prover and of a receipt.
#[test]
fn a_long_rule_is_not_too_long() {
    let layers = 1024;
    let longest: Decimal = "999999.999999999".parse().unwrap();
    let mask = |name, width| MaskClaim { name, width };
    let rule = SparseClaim {
        masks: vec![
            mask(MaskName::Input, 65536),
            mask(MaskName::Neurons, 1 << 20),
        ],
        rule: SparseRule::Teal {
            input: vec![longest; layers],
            neurons: vec![longest; layers],
        },
    };
    let mut info = info();
    info.model.layers = layers as u32;
    info.sparse = Some(rule);
    let json = serde_json::to_vec(&info).unwrap();
    assert!(json.len() < Info::MAX_BYTES, "{}", json.len());
    assert_eq!(Info::parse(&json), Ok(info));
    let escaped = serde_json::to_vec(str::from_utf8(&json).unwrap()).unwrap();
    assert!(escaped.len() < Line::max_bytes(0), "{}", escaped.len());
}
