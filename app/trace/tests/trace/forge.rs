//! Forged traces are consistent: they pass structure and commitment, which is why a verifier needs more than those.

use assay_trace::{EditableTrace, ForgeError, Trace, reroot};

use crate::sample::{build, example, spec};

fn holds(file: &[u8]) -> bool {
    Trace::parse(file).is_ok_and(|trace| trace.check_commitment().is_ok())
}

#[test]
fn no_edit_gives_the_same_file() {
    let file = example().to_bytes();
    assert_eq!(reroot(&file, |_| {}).unwrap(), file);
}

#[test]
fn lies_are_sealed() {
    let honest = example().to_bytes();
    let lies: [fn(&mut EditableTrace); 6] = [
        |trace| trace.tokens[4] = 1,
        |trace| trace.tokens[0] = 3,
        |trace| trace.states.values_mut().for_each(|rows| rows.fill(0.0)),
        |trace| trace.logits_digests[0].0[0] ^= 1,
        |trace| trace.manifest.model.family = "mistral".into(),
        |trace| trace.states.retain(|&layer, _| layer == 2),
    ];
    let root = |file: &[u8]| Trace::parse(file).unwrap().commitment();
    for lie in lies {
        let forged = reroot(&honest, lie).unwrap();
        assert!(holds(&forged));
        assert_ne!(root(&forged), root(&honest));
    }
}

#[test]
fn truncation_equals_an_honest_shorter_run() {
    let shorter = reroot(&example().to_bytes(), |trace| trace.truncate_output(2)).unwrap();
    assert_eq!(shorter, build(spec(), &[3, 0]).to_bytes());
}

#[test]
fn arrays_must_fit() {
    let file = example().to_bytes();
    let error = reroot(&file, |trace| trace.tokens.push(0)).unwrap_err();
    assert_eq!(
        error,
        ForgeError::Length {
            array: "logits_digests",
            got: 3,
            want: 4
        }
    );
    let error = reroot(&file, |trace| trace.state_digests.truncate(11)).unwrap_err();
    assert_eq!(
        error,
        ForgeError::Length {
            array: "state_digests",
            got: 11,
            want: 12
        }
    );
    let error = reroot(&file, |trace| trace.states.entry(1).or_default().clear()).unwrap_err();
    assert_eq!(
        error,
        ForgeError::Length {
            array: "states",
            got: 0,
            want: 12
        }
    );
    assert!(matches!(reroot(&[], |_| {}), Err(ForgeError::Structure(_))));
}
