//! One run, opened in several ways; and only as far as it was kept.

use assay_trace::{
    BuildError, Challenge, Digest, Keep, Linear, Opening, StopReason, Trace, TraceError, challenge,
};

use crate::sample::{audited_run, audited_spec, build, example, opening, run, spec};

fn only(layers: &[u32], logits: &[u32]) -> Keep {
    Keep::Only {
        layers: layers.to_vec(),
        logits: logits.to_vec(),
    }
}

#[test]
fn one_run_opens_in_many_ways() {
    let run = audited_run();
    let receipt = run.receipt().unwrap();
    let (layers, logits) = (
        challenge::draw_layers(run.root(), None, 1, 2),
        challenge::draw_logits(run.root(), None, 2, 3),
    );
    let mut commitments = Vec::new();
    for (opening, opened) in [
        (opening(Challenge::All, &[0, 1], &[0, 1, 2]), vec![0, 1, 2]),
        (opening(Challenge::Chosen, &[], &[]), vec![0, 2]),
        (opening(Challenge::Interactive, &[0], &[]), vec![0, 1, 2]),
        (opening(Challenge::Interactive, &[], &[1]), vec![0, 2]),
        (
            opening(Challenge::Offline, &layers, &logits),
            vec![0, 1, 2], // one of two layers lacks a state of the example's
        ),
        (Opening::default(), vec![]),
        (
            Opening {
                layers: vec![1],
                ..Opening::default()
            },
            vec![1, 2],
        ),
        (
            Opening {
                logits: vec![2],
                ..Opening::default()
            },
            vec![2],
        ),
    ] {
        let finished = run.open(&opening).unwrap();
        let file = finished.to_bytes();
        assert_eq!(file.len() as u64, finished.len());
        let trace = Trace::parse(&file).unwrap();
        trace.check_commitment().unwrap();
        let claim = trace.linears().unwrap();
        assert_eq!(claim.challenge, opening.challenge);
        assert_eq!(claim.layers, opening.layers);
        assert_eq!(claim.logits, opening.logits);
        assert_eq!(trace.opened(), opened);
        assert_eq!(trace.manifest().root, run.root());
        assert_eq!(trace.manifest().receipt().as_ref(), Some(&receipt));
        commitments.push(finished.commitment());
    }
    commitments.sort_unstable();
    commitments.dedup();
    assert_eq!(commitments.len(), 8);
    assert_eq!(
        receipt.commitment(),
        run.open(&Opening {
            challenge: Challenge::Interactive,
            ..Opening::default()
        })
        .unwrap()
        .commitment()
    );
}

#[test]
fn order_and_repetition_do_not_matter() {
    let run = audited_run();
    let mut messy = opening(Challenge::Chosen, &[1, 0, 1], &[2, 0, 2]);
    messy.states = vec![2, 2, 0];
    let tidy = opening(Challenge::Chosen, &[0, 1], &[0, 2]);
    assert_eq!(
        run.open(&messy).unwrap().to_bytes(),
        run.open(&tidy).unwrap().to_bytes()
    );
}

#[test]
fn receipts_are_for_traces_with_linears() {
    assert_eq!(example().manifest().receipt(), None);
    let sealed = run(spec(), &[3, 0, 4]).seal(4, StopReason::Eos).unwrap();
    assert_eq!(sealed.receipt(), None);
    let receipt = audited_run().receipt().unwrap();
    assert!(receipt.opened.is_empty());
    let claim = receipt.linears.clone().unwrap();
    assert!(claim.layers.is_empty() && claim.logits.is_empty());
    assert_eq!(claim.challenge, Challenge::Interactive);
    assert_eq!(receipt.receipt(), Some(receipt.clone()));
    let text = receipt.canonical_json();
    assert_eq!(assay_trace::Manifest::parse(&text).unwrap(), receipt);
}

#[test]
fn without_the_stream_nothing_is_new() {
    let sealed = run(spec(), &[3, 0, 4]).seal(4, StopReason::Eos).unwrap();
    let same = opening(Challenge::Chosen, &[], &[]);
    assert_eq!(sealed.open(&same).unwrap().to_bytes(), example().to_bytes());
    let fewer = Opening {
        states: vec![2],
        challenge: Challenge::Offline, // means nothing here
        ..Opening::default()
    };
    let file = sealed.open(&fewer).unwrap().to_bytes();
    assert_eq!(Trace::parse(&file).unwrap().opened(), [2]);
    for wrong in [
        opening(Challenge::Chosen, &[0], &[]),
        opening(Challenge::Chosen, &[], &[0]),
    ] {
        assert_eq!(sealed.open(&wrong).unwrap_err(), BuildError::NoLinears);
    }
}

#[test]
fn finish_opens_what_the_spec_said() {
    for (keep, challenge, layers, logits, opened) in [
        (
            Keep::Everything,
            Challenge::All,
            vec![0, 1],
            vec![0, 1, 2],
            vec![0, 1, 2],
        ),
        (
            only(&[0, 1], &[0, 1, 2]),
            Challenge::All,
            vec![0, 1],
            vec![0, 1, 2],
            vec![0, 1, 2],
        ),
        // Three tokens are generated; the other rows never were.
        (
            only(&[0, 1], &[0, 1, 2, 3, 4_000_000_000]),
            Challenge::All,
            vec![0, 1],
            vec![0, 1, 2],
            vec![0, 1, 2],
        ),
        (
            only(&[0, 1], &[0, 2]),
            Challenge::Chosen,
            vec![0, 1],
            vec![0, 2],
            vec![0, 1, 2],
        ),
        (
            only(&[], &[7]),
            Challenge::Chosen,
            vec![],
            vec![],
            vec![0, 2],
        ),
    ] {
        let finished = build(audited_spec(keep), &[3, 0, 4]);
        let claim = finished.manifest().linears.clone().unwrap();
        assert_eq!(claim.challenge, challenge);
        assert_eq!((claim.layers, claim.logits), (layers, logits));
        assert_eq!(finished.manifest().opened, opened);
        let file = finished.to_bytes();
        Trace::parse(&file).unwrap().check_commitment().unwrap();
    }
}

#[test]
fn what_is_kept_does_not_change_the_root() {
    let root = audited_run().root();
    assert_ne!(root, example().root());
    for keep in [only(&[], &[]), only(&[1], &[0]), Keep::Everything] {
        assert_eq!(build(audited_spec(keep), &[3, 0, 4]).root(), root);
    }
}

#[test]
fn only_what_was_kept_opens() {
    let builder = run(audited_spec(only(&[0], &[1])), &[3, 0, 4]);
    let sealed = builder.seal(4, StopReason::Eos).unwrap();
    let file = sealed
        .open(&opening(Challenge::Interactive, &[0], &[1]))
        .unwrap();
    let file = file.to_bytes();
    let trace = Trace::parse(&file).unwrap();
    trace.check_commitment().unwrap();
    assert!(trace.linear_row(0, Linear::Gate, 3).is_some());
    assert!(sealed.retained_bytes() < audited_run().retained_bytes());

    let error = |opening: Opening| sealed.open(&opening).unwrap_err();
    let not_kept = |what, index| BuildError::NotKept { what, index };
    assert_eq!(
        error(opening(Challenge::Interactive, &[0, 1], &[])),
        not_kept("layer", 1)
    );
    assert_eq!(
        error(opening(Challenge::Interactive, &[], &[0])),
        not_kept("output token", 0)
    );
    let mut spec = audited_spec(only(&[], &[]));
    spec.opened = vec![0];
    let bare = run(spec, &[3, 0, 4]).seal(4, StopReason::Eos).unwrap();
    let mut states = opening(Challenge::Chosen, &[], &[]);
    assert_eq!(bare.open(&states).unwrap_err(), not_kept("hidden state", 2));
    states.states = vec![0];
    bare.open(&states).unwrap();
}

#[test]
fn bad_indices_are_refused() {
    let run = audited_run();
    let range = |opening: Opening, field, got: u32, max| {
        assert_eq!(
            run.open(&opening).unwrap_err(),
            TraceError::Range {
                field,
                got: got.into(),
                min: 0,
                max
            }
            .into()
        );
    };
    for bad in [2, u32::MAX] {
        let layers = opening(Challenge::Chosen, &[0, bad], &[]);
        range(layers, "linears.layers", bad, 1);
    }
    for bad in [3, u32::MAX] {
        let logits = opening(Challenge::Chosen, &[], &[bad]);
        range(logits, "linears.logits", bad, 2);
        let mut states = opening(Challenge::Chosen, &[], &[]);
        states.states = vec![bad];
        range(states, "opened", bad, 2);
    }
}

#[test]
fn a_challenge_must_be_met() {
    let run = audited_run();
    let drawn = challenge::draw_layers(run.root(), None, 1, 2);
    let other = [1 - drawn[0]];
    let token = challenge::draw_logits(run.root(), None, 1, 3);
    let wrong_token = [(token[0] + 1) % 3];
    for (challenge, layers, logits, list) in [
        (Challenge::All, &[0][..], &[0, 1, 2][..], "layers"),
        (Challenge::All, &[0, 1], &[0, 1], "logits"),
        (Challenge::All, &[], &[], "layers"),
        (Challenge::Offline, &other, &token, "layers"),
        (Challenge::Offline, &drawn, &wrong_token, "logits"),
    ] {
        assert_eq!(
            run.open(&opening(challenge, layers, logits)).unwrap_err(),
            BuildError::Challenge { challenge, list }
        );
    }
    // Any number may be drawn, also none.
    for logits in [&[][..], &[0, 1, 2]] {
        run.open(&opening(Challenge::Offline, &drawn, logits))
            .unwrap();
    }
}

/// The nonce is in the manifest, not in the leaves: another nonce, the same root, another draw.
#[test]
fn the_draw_depends_on_the_nonce() {
    let mut spec = audited_spec(Keep::Everything);
    spec.nonce = Some(Digest::of(b"nonce"));
    let nonce = spec.nonce;
    let sealed = run(spec, &[3, 0, 4]).seal(4, StopReason::Eos).unwrap();
    assert_eq!(sealed.root(), audited_run().root());
    let layers = challenge::draw_layers(sealed.root(), nonce, 1, 2);
    let drawn = opening(Challenge::Offline, &layers, &[]);
    let file = sealed.open(&drawn).unwrap().to_bytes();
    Trace::parse(&file).unwrap().check_commitment().unwrap();
}
