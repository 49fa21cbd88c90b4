//! Every lie has its code, and the honest answer none.

use assay_live::{Amount, Answer, ExchangeError, Failed, News, Wanted, exchange};
use assay_trace::Trace;

use crate::prover::{LAYERS, Lie, Prover, rule, wanted};

pub fn ask(prover: &mut Prover, wanted: &Wanted) -> Result<Answer, Failed> {
    let mut drawn = 0;
    let mut random = |bytes: &mut [u8; 32]| {
        drawn += 1;
        *bytes = [drawn; 32];
        Ok(())
    };
    pollster::block_on(exchange(prover, wanted, &mut random, &mut |_| {}))
}

#[test]
fn an_honest_prover_is_heard() {
    for (layers, logits) in [
        (Amount::Count(2), Amount::Count(3)),
        (Amount::All, Amount::All),
        (Amount::Count(0), Amount::Count(0)),
        (Amount::Count(u32::MAX), Amount::Count(1)),
    ] {
        let mut wanted = wanted();
        wanted.ask.layers = layers;
        wanted.ask.logits = logits;
        let mut prover = Prover::new(Lie::None);
        let answer = ask(&mut prover, &wanted).unwrap();
        let trace = Trace::parse(&answer.trace).unwrap();
        trace.check_commitment().unwrap();
        let manifest = trace.manifest();
        assert_eq!(answer.nonce, [1; 32]);
        assert_eq!(manifest.nonce.unwrap().0, answer.nonce);
        assert_eq!(manifest.receipt().unwrap().commitment(), answer.receipt);
        assert_eq!(trace.tokens(), answer.tokens);
        assert_eq!(prover.asked, Some(answer.opening.clone()));
        let linears = manifest.linears.as_ref().unwrap();
        assert_eq!(linears.layers, answer.opening.layers);
        let count = |amount, of: u32| match amount {
            Amount::All => of,
            Amount::Count(n) => of.min(n),
        };
        assert_eq!(linears.layers.len() as u32, count(layers, LAYERS));
        assert_eq!(linears.logits.len() as u32, count(logits, 5));
        assert_eq!(manifest.opened.first(), Some(&0));
        assert!(prover.forgotten);
    }
    // Fewer tokens, because the model ended.
    let wanted = Wanted {
        max_tokens: 4,
        ..wanted()
    };
    let answer = ask(&mut Prover::new(Lie::None), &wanted).unwrap();
    assert_eq!(answer.tokens.len(), 5);
}

/// A sparse run commits to masks in place of linear outputs, and opens hidden states alone.
#[test]
fn a_prover_that_skips_is_heard_too() {
    for (layers, count) in [
        (Amount::All, Some(LAYERS as usize + 1)),
        (Amount::Count(0), Some(1)),
        (Amount::Count(2), None),
    ] {
        let mut wanted = wanted();
        wanted.ask.layers = layers;
        wanted.ask.logits = Amount::All;
        let answer = ask(&mut Prover::new(Lie::Skips), &wanted).unwrap();
        let trace = Trace::parse(&answer.trace).unwrap();
        trace.check_commitment().unwrap();
        let manifest = trace.manifest();
        assert_eq!(manifest.receipt().unwrap().commitment(), answer.receipt);
        assert_eq!(manifest.sparse, Some(rule()));
        assert!(manifest.linears.is_none());
        let opening = answer.opening;
        assert!(opening.layers.is_empty() && opening.logits.is_empty());
        assert_eq!(opening.states, manifest.opened);
        assert_eq!(opening.states.first(), Some(&0));
        match count {
            Some(count) => assert_eq!(opening.states.len(), count),
            // Two layers with a state on either side, of which they may share one, and state 0.
            None => assert!((3..=5).contains(&opening.states.len()), "{opening:?}"),
        }
    }
}

/// The challenge does not exist before the receipt does.
#[test]
fn the_draw_comes_after_the_receipt() {
    use std::cell::RefCell;
    let order = RefCell::new(Vec::new());
    let mut random = |bytes: &mut [u8; 32]| {
        order.borrow_mut().push("random");
        *bytes = [5; 32];
        Ok(())
    };
    let mut tell = |news: News<'_>| match news {
        News::Info(_) => order.borrow_mut().push("info"),
        News::Committed(_) => order.borrow_mut().push("committed"),
        News::Challenged(_) => order.borrow_mut().push("challenged"),
        News::Token(_) | News::Opening { .. } => {}
    };
    let (mut prover, wanted) = (Prover::new(Lie::None), wanted());
    pollster::block_on(exchange(&mut prover, &wanted, &mut random, &mut tell)).unwrap();
    assert_eq!(
        *order.borrow(),
        ["info", "random", "committed", "random", "challenged"]
    );
}

#[test]
fn lies_have_codes() {
    let cases = [
        (Lie::OtherProtocol, "live-protocol"),
        (Lie::OtherModel, "live-model"),
        (Lie::OversizedInfo, "live-protocol"),
        (Lie::ControlCharacters, "live-protocol"),
        (Lie::Refuse, "live-refused"),
        (Lie::RefuseInHtml, "live-protocol"),
        (Lie::Unreachable, "live-unreachable"),
        (Lie::ErrorLine, "live-refused"),
        (Lie::Garbage, "live-protocol"),
        (Lie::UnknownField, "live-protocol"),
        (Lie::EndlessLine, "live-protocol"),
        (Lie::EmptyLines, "live-protocol"),
        (Lie::EndWithoutReceipt, "live-protocol"),
        (Lie::Cut, "live-cut"),
        (Lie::Silent, "live-stalled"),
        (Lie::WrongType, "live-protocol"),
        (Lie::NoNonce, "live-nonce"),
        (Lie::OtherNonce, "live-nonce"),
        (Lie::OtherPrompt, "live-prompt"),
        (Lie::LongerPrompt, "live-prompt"),
        (Lie::OtherSampler, "live-sampler"),
        (Lie::OtherEosRule, "live-sampler"),
        (Lie::OtherModelInReceipt, "live-model"),
        (Lie::OtherSizesInReceipt, "live-model"),
        (Lie::NotCanonical, "live-receipt"),
        (Lie::OpensByItself, "live-receipt"),
        (Lie::ChoosesByItself, "live-receipt"),
        (Lie::NoLinears, "live-receipt"),
        (Lie::SkipsUnsaid, "live-model"),
        (Lie::SaysSkips, "live-model"),
        (Lie::OtherRule, "live-model"),
        (Lie::TooManyTokens, "live-tokens"),
        (Lie::SaysAllTokens, "live-receipt"),
        (Lie::TokenSwapped, "live-tokens"),
        (Lie::TokenMissing, "live-tokens"),
        (Lie::ListTooShort, "live-tokens"),
        (Lie::PromptSwappedInList, "live-prompt"),
        (Lie::StreamedTooMany, "live-tokens"),
        (Lie::AfterReceipt, "live-protocol"),
        (Lie::Withhold, "live-withheld"),
        (Lie::SilentOpening, "live-stalled"),
        (Lie::CutOpening, "live-cut"),
        (Lie::OpeningInHtml, "live-protocol"),
        (Lie::OtherRoot, "live-changed"),
        (Lie::OtherMasks, "live-changed"),
        (Lie::OtherTokens, "live-changed"),
        (Lie::OtherLength, "live-changed"),
        (Lie::NoLinearsOpened, "live-changed"),
        (Lie::SaysChosen, "live-opening"),
        (Lie::OtherLayer, "live-opening"),
        (Lie::FewerLayers, "live-opening"),
        (Lie::MoreStates, "live-opening"),
        (Lie::OtherLogits, "live-opening"),
        (Lie::GarbageOpening, "live-opening"),
        (Lie::TooLongByHead, "live-opening"),
        (Lie::TooLongByBody, "live-opening"),
    ];
    for (lie, code) in cases {
        let mut prover = Prover::new(lie);
        let failed = ask(&mut prover, &wanted()).unwrap_err();
        assert_eq!(failed.error.code(), code, "{lie:?}: {failed}");
        let listed = ExchangeError::CODES
            .iter()
            .find(|(known, _)| *known == code);
        assert_eq!(listed.unwrap().1, failed.error.is_verdict(), "{lie:?}");
        let shown = failed.to_string();
        assert!(
            shown.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{shown}"
        );
        assert_eq!(failed.challenged, prover.asked.is_some(), "{lie:?}");
        assert_eq!(failed.receipt.is_some(), failed.challenged, "{lie:?}");
    }
}

#[test]
fn a_lie_may_stay_unseen_only_where_nothing_was_wanted() {
    // Without an expected root, another model is what the prover says it is.
    let wanted = Wanted {
        root: None,
        ..wanted()
    };
    let failed = ask(&mut Prover::new(Lie::OtherModelInReceipt), &wanted).unwrap_err();
    assert_eq!(failed.error.code(), "live-model");
    assert!(ask(&mut Prover::new(Lie::None), &wanted).is_ok());
}

#[test]
fn the_verifiers_own_troubles() {
    let long = Wanted {
        prompt: vec![1; 101],
        ..wanted()
    };
    let beyond = Wanted {
        prompt: vec![16],
        ..wanted()
    };
    let many = Wanted {
        max_tokens: 101,
        ..wanted()
    };
    for wanted in [long, beyond, many] {
        let failed = ask(&mut Prover::new(Lie::None), &wanted).unwrap_err();
        assert_eq!(failed.error.code(), "live-request", "{failed}");
    }
    let small = Wanted {
        max_bytes: 1000,
        ..wanted()
    };
    let failed = ask(&mut Prover::new(Lie::None), &small).unwrap_err();
    assert_eq!(failed.error.code(), "live-too-large", "{failed}");
    assert!(!failed.challenged, "the prover was not told");
    let mut random = |_: &mut [u8; 32]| Err("none".to_owned());
    let (mut prover, wanted) = (Prover::new(Lie::None), wanted());
    let mut tell = |_: News<'_>| {};
    let asked = exchange(&mut prover, &wanted, &mut random, &mut tell);
    let failed = pollster::block_on(asked).unwrap_err();
    assert_eq!(failed.error.code(), "live-random");
}
