//! The draw: every layer is as likely as any other, and all of them come where all are asked for.

use assay_live::{Amount, Ask, RunRequest};
use assay_trace::{Digest, StopReason};

use crate::prover::{LAYERS, run, wanted};

#[test]
fn layers_are_drawn_evenly() {
    let wanted = wanted();
    let request = RunRequest {
        prompt: wanted.prompt,
        max_tokens: wanted.max_tokens,
        sampler: wanted.sampler,
        ignore_eos: false,
        nonce: Digest::ZERO,
    };
    let receipt = run(&request, StopReason::Length, 5, 0.0)
        .0
        .receipt()
        .unwrap();
    let ask = Ask {
        among: None,
        layers: Amount::Count(2),
        logits: Amount::All,
    };
    let mut seen = [0_u32; LAYERS as usize];
    let draws = 6000;
    for i in 0..draws {
        let drawn = ask.draw(&receipt, Digest::of(&u32::to_le_bytes(i)).0);
        assert_eq!(drawn.states, [0]);
        assert_eq!(drawn.logits, [0, 1, 2, 3, 4]);
        assert!(drawn.layers.is_sorted() && drawn.layers.len() == 2);
        drawn
            .layers
            .iter()
            .for_each(|layer| seen[*layer as usize] += 1);
    }
    let ask = Ask {
        among: Some(vec![1, 4, 9]),
        layers: Amount::All,
        logits: Amount::Count(0),
    };
    let drawn = ask.draw(&receipt, [0; 32]);
    assert_eq!((&drawn.layers[..], drawn.logits.len()), (&[1, 4][..], 0));
    // 2000 each; the deviation is 37.
    assert!(seen.iter().all(|n| n.abs_diff(2000) < 200), "{seen:?}");
}

#[test]
fn amounts_have_words() {
    assert_eq!("all".parse(), Ok(Amount::All));
    assert_eq!("7".parse(), Ok(Amount::Count(7)));
    for bad in ["", "-1", "ALL", "1.5"] {
        assert!(bad.parse::<Amount>().is_err(), "{bad}");
    }
}
