//! Forged traces are consistent: they pass structure and commitment, which is why a verifier needs more than those.

use assay_trace::{Challenge, Digest, EditableTrace, ForgeError, Keep, Linear, Trace, reroot};

use crate::sample::{audited_example, audited_run, audited_spec, build, example, opening, spec};

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

/// Everything open.
fn audited() -> Vec<u8> {
    build(audited_spec(Keep::Everything), &[3, 0, 4]).to_bytes()
}

#[test]
fn no_edit_gives_the_same_audited_file() {
    let chosen = opening(Challenge::Chosen, &[0], &[0, 2]);
    let chosen = audited_run().open(&chosen).unwrap().to_bytes();
    for file in [audited(), audited_example().to_bytes(), chosen] {
        assert_eq!(reroot(&file, |_| {}).unwrap(), file);
    }
}

/// One element of one row, anywhere: sealed without a trace.
#[test]
fn any_opened_element_can_be_forged() {
    let honest = audited();
    for layer in 0..2 {
        for linear in Linear::ALL {
            let forged = reroot(&honest, |trace| {
                trace.linears.get_mut(&(layer, linear)).unwrap()[3] += 1.0;
            });
            let forged = forged.unwrap();
            assert!(holds(&forged));
            let (was, is) = (
                Trace::parse(&honest).unwrap(),
                Trace::parse(&forged).unwrap(),
            );
            assert_ne!(was.manifest().root, is.manifest().root);
            assert_ne!(
                was.linear_values(layer, linear),
                is.linear_values(layer, linear)
            );
            let differ = |l| {
                (0..4)
                    .filter(|&p| was.linear_digest(l, p) != is.linear_digest(l, p))
                    .count()
            };
            assert_eq!((differ(layer), differ(1 - layer)), (1, 0));
        }
    }
    let forged = reroot(&honest, |trace| trace.logits.get_mut(&1).unwrap()[4] = 9.0).unwrap();
    assert!(holds(&forged));
    let forged = Trace::parse(&forged).unwrap();
    assert_eq!(forged.logits_row(1).unwrap()[4], 9.0);
    let honest = Trace::parse(&honest).unwrap();
    assert_ne!(forged.logits_digest(2), honest.logits_digest(2));
}

#[test]
fn what_is_open_can_be_forged() {
    let chosen = |trace: &mut EditableTrace| {
        trace.manifest.linears.as_mut().unwrap().challenge = Challenge::Chosen;
    };
    let fewer = reroot(&audited(), |trace| {
        chosen(trace);
        trace.linears.retain(|&(layer, _), _| layer == 1);
        trace.logits.retain(|&output, _| output == 2);
    });
    let honest = audited_run()
        .open(&opening(Challenge::Chosen, &[1], &[2]))
        .unwrap();
    let mut want = honest.manifest().clone();
    want.opened = vec![0, 1, 2];
    let fewer = fewer.unwrap();
    assert_eq!(Trace::parse(&fewer).unwrap().manifest(), &want);
    // A digest that nothing opens can be anything; a layer that was never computed can be made up.
    let made_up = reroot(&fewer, |trace| {
        trace.logits_digests[0] = Digest::of(b"nothing");
        for (&(_, linear), rows) in &trace.linears.clone() {
            let rows = rows.iter().map(|x| -x).collect();
            trace.linears.insert((0, linear), rows);
        }
    });
    let made_up = made_up.unwrap();
    assert!(holds(&made_up));
    assert_eq!(
        Trace::parse(&made_up).unwrap().linears().unwrap().layers,
        [0, 1]
    );
}

/// Rows of another run under this one's tokens.
#[test]
fn runs_can_be_spliced() {
    let mut other = audited_spec(Keep::Everything);
    other.prompt = vec![4, 4];
    let other = build(other, &[0, 1, 2]).to_bytes();
    let other = EditableTrace::from_trace(&Trace::parse(&other).unwrap());
    let spliced = reroot(&audited(), |trace| {
        for (at, rows) in other.linears.clone() {
            if at.0 == 1 {
                trace.linears.insert(at, rows);
            }
        }
        trace.logits = other.logits.clone();
    });
    assert!(holds(&spliced.unwrap()));
}

#[test]
fn the_stream_can_be_hidden() {
    let hidden = reroot(&audited(), EditableTrace::remove_linears).unwrap();
    assert!(holds(&hidden));
    let mut never = spec();
    never.opened = vec![0, 1, 2];
    assert_eq!(hidden, build(never, &[3, 0, 4]).to_bytes());
}

#[test]
fn truncation_of_an_audited_run_equals_a_shorter_one() {
    let shorter = reroot(&audited(), |trace| trace.truncate_output(2)).unwrap();
    assert_eq!(
        shorter,
        build(audited_spec(Keep::Everything), &[3, 0]).to_bytes()
    );
}

/// With another root, other layers are drawn: a lie under `offline` needs them.
#[test]
fn a_forged_root_draws_anew() {
    let honest = audited_example().to_bytes();
    let fails = (0..32).filter(|&i| {
        let forged = reroot(&honest, |trace| {
            trace.state_digests[1 + 3 * (i % 4)].0[i] ^= 1;
        });
        !holds(&forged.unwrap())
    });
    assert_eq!(fails.count(), 0); // every hidden state is open here, so its digest is put right again
    let fails = (0..32).filter(|&i| {
        let forged = reroot(&honest, |trace| trace.logits_digests[i % 3].0[i] ^= 1).unwrap();
        let trace = Trace::parse(&forged).unwrap();
        trace
            .check_commitment()
            .is_err_and(|err| err.code() == "challenge")
    });
    let fails = fails.count();
    assert!((10..32).contains(&fails), "{fails}"); // one in six draws is the same
}

#[test]
fn linear_arrays_must_fit() {
    let file = audited();
    let error = |edit: fn(&mut EditableTrace)| match reroot(&file, edit) {
        Err(ForgeError::Length { array, got, want }) => (array, got, want),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        error(|t| t.linear_digests.truncate(7)),
        ("linear_digests", 7, 8)
    );
    assert_eq!(
        error(|t| drop(t.linears.remove(&(0, Linear::Q)))),
        ("linears", 13, 14)
    );
    assert_eq!(
        error(|t| t.linears.get_mut(&(0, Linear::Q)).unwrap().truncate(15)),
        ("linears", 15, 16)
    );
    assert_eq!(
        error(|t| t.logits.get_mut(&0).unwrap().truncate(4)),
        ("logits", 4, 5)
    );
    assert_eq!(
        error(|t| t.manifest.linears = None),
        ("linear_digests", 8, 0)
    );
    assert_eq!(
        error(|t| t.manifest.linears.as_mut().unwrap().products[0].width = u32::MAX),
        ("linears", 16, 4 * u32::MAX as usize)
    );
}
