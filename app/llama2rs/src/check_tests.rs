//! Runs of a small seeded model, tampered with in every way that has a word.

use std::sync::Arc;

use super::*;
use crate::hash::logits_hash;
use crate::read::Metadata;
use crate::replay::{Run, prompt_ids};
use crate::synth::{self, Shape};

const PROMPT: &str = "Once upon a time";

fn model(seed: u64) -> Model {
    let checkpoint = synth::checkpoint(Shape::SMALL, seed);
    Model::from_llama2c(Arc::new(checkpoint), Some(&synth::tokenizer())).unwrap()
}

fn seeded(seed: u64) -> SamplerSpec {
    SamplerSpec::new(0.8, 0.9, seed).unwrap()
}

fn run(model: &Model, spec: SamplerSpec, steps: u64) -> Run {
    let ids = prompt_ids(model.tokenizer().unwrap(), PROMPT).unwrap();
    let metadata = Metadata {
        model_path: "m.bin".to_owned(),
        prompt: PROMPT.to_owned(),
        steps,
    };
    Run::make(model, &ids, metadata, spec, |_, _| true).unwrap()
}

fn check(trace: &Trace, model: &Model, expect: &Expect) -> Checked {
    let verifier = Verifier {
        model,
        model_root: Digest::of(b"a root"),
        keep_logits: false,
    };
    verifier.check(trace, expect, |_, _| true).unwrap()
}

fn with(sampler: SamplerSpec) -> Expect {
    Expect {
        sampler: Some(sampler),
        ..Expect::default()
    }
}

fn resealed(trace: &Trace) -> Trace {
    Trace::seal(trace.metadata.clone(), trace.entries.clone())
}

#[track_caller]
fn find<'a>(checked: &'a Checked, id: &str) -> &'a Check {
    let checks = &checked.checks;
    let found = checks.iter().find(|check| check.id == id);
    found.unwrap_or_else(|| panic!("no check {id} in {checks:?}"))
}

#[track_caller]
fn assert_fails(checked: &Checked, id: &str, code: &str, at: usize) {
    let check = find(checked, id);
    assert_eq!(checked.verdict, Verdict::Reject);
    assert_eq!(
        (check.outcome, check.code),
        (Outcome::Fail, code),
        "{check:?}"
    );
    assert_eq!(check.position, Some(at), "{check:?}");
    assert_ne!(check.expected, check.got);
}

#[test]
fn honest_runs_are_accepted_and_repeat_themselves() {
    let model = model(1);
    for spec in [
        SamplerSpec::Greedy,
        seeded(42),
        seeded(7),
        SamplerSpec::new(1.0, 1.0, 3).unwrap(),
    ] {
        let (first, second) = (run(&model, spec, 30), run(&model, spec, 30));
        assert_eq!(first.trace.to_bytes(), second.trace.to_bytes());
        let checked = check(&first.trace, &model, &with(spec));
        assert_eq!(checked.verdict, Verdict::Accept, "{:?}", checked.checks);
        let Agreement {
            positions,
            hashes_equal,
            tokens_judged,
            tokens_equal,
            ..
        } = checked.agreement;
        assert_eq!(
            (positions, hashes_equal),
            (first.tokens.len(), first.tokens.len())
        );
        assert!(tokens_judged > 5 && tokens_equal == tokens_judged);
        assert_eq!(checked.root, first.trace.root);
        let claim = Expect {
            claim: checked.claim,
            root: first.trace.root,
            ..with(spec)
        };
        assert_eq!(check(&first.trace, &model, &claim).verdict, Verdict::Accept);
        for iteration in [0, 4, first.tokens.len() - 1] {
            let one = Expect {
                iteration: Some(iteration),
                ..with(spec)
            };
            let checked = check(&first.trace, &model, &one);
            assert_eq!(checked.verdict, Verdict::Accept, "{:?}", checked.checks);
            assert_eq!(checked.agreement.positions, iteration + 1);
        }
    }
    assert_ne!(
        run(&model, seeded(42), 30).tokens,
        run(&model, seeded(7), 30).tokens
    );
}

#[test]
fn a_changed_token_is_named_wherever_it_is_and_whoever_seals() {
    let model = model(1);
    let honest = run(&model, seeded(42), 24).trace;
    let n_prompt = prompt_ids(model.tokenizer().unwrap(), PROMPT)
        .unwrap()
        .len();
    for at in [0, 2, n_prompt, 15, 23] {
        let mut trace = honest.clone();
        let was = trace.entries[at].token;
        trace.entries[at].token = (was + 5) % 300;
        for (trace, sealed) in [(trace.clone(), false), (resealed(&trace), true)] {
            for spec in [Some(seeded(42)), None] {
                let expect = Expect {
                    sampler: spec,
                    ..Expect::default()
                };
                let checked = check(&trace, &model, &expect);
                if !sealed {
                    assert_fails(&checked, "leaves", "leaf", at);
                }
                // Without the sampler, what follows a wrong guess cannot be told from another choice.
                if spec.is_none() && at >= n_prompt {
                    assert_ne!(checked.verdict, Verdict::Accept);
                    continue;
                }
                assert_fails(&checked, "tokens", "token", at);
                assert_eq!(find(&checked, "tokens").expected, Some(was.to_string()));
                assert_eq!(
                    find(&checked, "logits").outcome,
                    Outcome::Pass,
                    "only the token was changed"
                );
                let before = Expect {
                    iteration: at.checked_sub(1),
                    ..expect
                };
                if at > 0 && sealed {
                    assert_eq!(check(&trace, &model, &before).agreement.hashes_equal, at);
                }
            }
        }
    }
}

#[test]
fn a_changed_hash_or_leaf_is_named() {
    let model = model(1);
    let honest = run(&model, SamplerSpec::Greedy, 20).trace;
    for at in [0, 9, 19] {
        let mut trace = honest.clone();
        trace.entries[at].logits.0[3] ^= 16;
        let checked = check(&trace, &model, &with(SamplerSpec::Greedy));
        assert_fails(&checked, "leaves", "leaf", at);
        assert_fails(&checked, "logits", "logits-hash", at);
        let checked = check(&resealed(&trace), &model, &with(SamplerSpec::Greedy));
        assert_fails(&checked, "logits", "logits-hash", at);
        assert_eq!(find(&checked, "leaves").outcome, Outcome::Pass);
        assert_eq!(
            find(&checked, "logits").got,
            Some(trace.entries[at].logits.to_string())
        );

        let mut trace = honest.clone();
        trace.leaves[at].0[31] ^= 1;
        let checked = check(&trace, &model, &with(SamplerSpec::Greedy));
        assert_fails(&checked, "leaves", "leaf", at);
        assert_eq!(find(&checked, "logits").outcome, Outcome::Pass);
        let elsewhere = Expect {
            iteration: Some(5),
            ..with(SamplerSpec::Greedy)
        };
        // Step 5 is as it was, but its path no longer leads to the stored root.
        let checked = check(&trace, &model, &elsewhere);
        assert_eq!(checked.verdict, Verdict::Reject);
        assert_eq!(find(&checked, "proof").code, "proof");
    }
}

#[test]
fn roots_and_claims_from_elsewhere_are_held_against_it() {
    let model = model(1);
    let honest = run(&model, SamplerSpec::Greedy, 20).trace;
    let mut trace = honest.clone();
    trace.root = Some(Digest([7; 32]));
    let checked = check(&trace, &model, &with(SamplerSpec::Greedy));
    assert_eq!(find(&checked, "root").code, "merkle-root");
    assert_eq!(checked.verdict, Verdict::Reject);

    let other = Expect {
        root: Some(Digest([7; 32])),
        ..with(SamplerSpec::Greedy)
    };
    let checked = check(&honest, &model, &other);
    assert_eq!(find(&checked, "given-root").code, "root-mismatch");
    let step = Expect {
        iteration: Some(3),
        ..other
    };
    assert_eq!(
        find(&check(&honest, &model, &step), "proof").outcome,
        Outcome::Fail
    );

    let claim = check(&honest, &model, &with(SamplerSpec::Greedy)).claim;
    for bend in [0, 1] {
        let mut bent = honest.clone();
        match bend {
            0 => bent.metadata.prompt.push('!'),
            _ => bent.metadata.steps = 0,
        }
        let checked = check(
            &bent,
            &model,
            &Expect {
                claim,
                ..with(SamplerSpec::Greedy)
            },
        );
        assert_eq!(find(&checked, "claim").code, "claim");
        assert_eq!(checked.verdict, Verdict::Reject);
    }
}

#[test]
fn other_prompts_samplers_texts_and_ends_are_named() {
    let model = model(1);
    let honest = run(&model, seeded(42), 24).trace;
    let greedy = run(&model, SamplerSpec::Greedy, 24).trace;

    let mut other = honest.clone();
    other.metadata.prompt = "Once upon the time".to_owned();
    let checked = check(&other, &model, &with(seeded(42)));
    assert_eq!(find(&checked, "prompt").code, "prompt-mismatch");
    let given = Expect {
        prompt: Some(vec![1, 300]),
        ..with(seeded(42))
    };
    assert_fails(
        &check(&honest, &model, &given),
        "prompt",
        "prompt-mismatch",
        1,
    );

    for wrong in [
        seeded(43),
        SamplerSpec::new(1.6, 0.9, 42).unwrap(),
        SamplerSpec::Greedy,
    ] {
        let checked = check(&honest, &model, &with(wrong));
        assert_eq!(checked.verdict, Verdict::Reject, "{wrong:?}");
        assert_eq!(find(&checked, "tokens").code, "token");
        assert_eq!(
            find(&checked, "logits").outcome,
            Outcome::Pass,
            "hashes do not depend on the sampler"
        );
    }
    let unknown = check(&honest, &model, &Expect::default());
    assert_eq!(unknown.verdict, Verdict::Inconclusive);
    assert_eq!(find(&unknown, "tokens").code, "sampler-unknown");
    assert_eq!(
        check(&greedy, &model, &Expect::default()).verdict,
        Verdict::Accept
    );

    let mut texts = honest.clone();
    texts.entries[11].text = Some("something else".to_owned());
    assert_fails(
        &check(&texts, &model, &with(seeded(42))),
        "text",
        "text",
        11,
    );

    let mut short = honest.clone();
    short.entries.truncate(20);
    let short = resealed(&short);
    let checked = check(&short, &model, &with(seeded(42)));
    assert_eq!(find(&checked, "stop").code, "stop-reason");
    assert_eq!(checked.verdict, Verdict::Reject);
}

#[test]
fn other_weights_are_rejected_by_their_tokens_and_never_accepted() {
    let honest = run(&model(1), seeded(42), 24).trace;
    let checked = check(&honest, &model(2), &with(seeded(42)));
    assert_eq!(checked.verdict, Verdict::Reject);
    assert_eq!(checked.agreement.hashes_equal, 0);

    // Weights that differ in one last bit choose the same tokens; a file of hashes cannot say whether the machine or the model differs.
    let mut checkpoint = synth::checkpoint(Shape::SMALL, 1);
    let last = checkpoint.len() - 4 * (Shape::SMALL.context * 8 + 1);
    checkpoint[last] ^= 1;
    let close = Model::from_llama2c(Arc::new(checkpoint), Some(&synth::tokenizer())).unwrap();
    let checked = check(&honest, &close, &with(seeded(42)));
    assert_eq!(
        checked.verdict,
        Verdict::Inconclusive,
        "{:?}",
        checked.checks
    );
    assert_eq!(find(&checked, "logits").code, "other-arithmetic");
    assert!(checked.agreement.hashes_equal < checked.agreement.positions / 2);
}

#[test]
fn positions_tokens_and_lengths_of_an_attacker() {
    let model = model(1);
    let honest = run(&model, SamplerSpec::Greedy, 20).trace;
    let bent = |bend: &dyn Fn(&mut Trace)| {
        let mut trace = honest.clone();
        bend(&mut trace);
        check(&resealed(&trace), &model, &with(SamplerSpec::Greedy))
    };
    assert_fails(
        &bent(&|t| t.entries[4].position = 5),
        "positions",
        "position",
        4,
    );
    assert_fails(
        &bent(&|t| t.entries[4].position = -1),
        "positions",
        "position",
        4,
    );
    assert_fails(
        &bent(&|t| t.entries[4].token = -1),
        "sizes",
        "vocabulary",
        4,
    );
    assert_fails(
        &bent(&|t| t.entries[4].token = i32::MAX),
        "sizes",
        "vocabulary",
        4,
    );
    assert_fails(&bent(&|t| t.entries.swap(7, 8)), "positions", "position", 7);
    let long = bent(&|t| {
        let entries = t.entries.clone();
        t.entries.extend(entries.iter().cloned());
        t.entries.extend(entries);
    });
    assert_eq!(find(&long, "sizes").code, "context");
    assert_eq!(find(&long, "logits").outcome, Outcome::Skipped);
    let empty = bent(&|t| t.entries.clear());
    assert_eq!(
        (empty.verdict, find(&empty, "structure").code),
        (Verdict::Reject, "nothing-checked")
    );
    let beyond = Expect {
        iteration: Some(20),
        ..with(SamplerSpec::Greedy)
    };
    let checked = check(&honest, &model, &beyond);
    assert_eq!(
        (checked.verdict, find(&checked, "sizes").code),
        (Verdict::Reject, "no-such-iteration")
    );
    let beyond = Expect {
        iteration: Some(usize::MAX),
        ..with(SamplerSpec::Greedy)
    };
    assert_eq!(check(&honest, &model, &beyond).verdict, Verdict::Reject);
}

#[test]
fn without_a_tokenizer_the_prompt_must_be_given() {
    let with_text = model(1);
    let checkpoint = synth::checkpoint(Shape::SMALL, 1);
    let plain = Model::from_llama2c(Arc::new(checkpoint), None).unwrap();
    let honest = run(&with_text, SamplerSpec::Greedy, 20).trace;
    let checked = check(&honest, &plain, &with(SamplerSpec::Greedy));
    assert_eq!(checked.verdict, Verdict::Inconclusive);
    assert_eq!(find(&checked, "prompt").code, "no-tokenizer");
    let ids = prompt_ids(with_text.tokenizer().unwrap(), PROMPT).unwrap();
    let given = Expect {
        prompt: Some(ids),
        ..with(SamplerSpec::Greedy)
    };
    assert_eq!(check(&honest, &plain, &given).verdict, Verdict::Accept);
}

/// Nobody who leaves the sampler out may be told that an honest trace is none.
#[test]
fn an_unknown_sampler_is_never_a_reason_to_reject() {
    let model = model(1);
    let mut open = 0;
    for seed in 1..=40 {
        let trace = run(&model, seeded((seed << 40) | seed), 16 + seed % 5).trace;
        let checked = check(&trace, &model, &Expect::default());
        assert_ne!(checked.verdict, Verdict::Reject, "{:?}", checked.checks);
        open += usize::from(checked.verdict == Verdict::Inconclusive);
        assert_eq!(
            check(&trace, &model, &with(seeded((seed << 40) | seed))).verdict,
            Verdict::Accept
        );
    }
    assert!(open > 20, "{open}");
}

/// Its own head, unlike the embedding: the other way that a checkpoint can be.
#[test]
fn an_untied_model_runs_too() {
    let shape = Shape {
        tied: false,
        ..Shape::SMALL
    };
    let checkpoint = synth::checkpoint(shape, 5);
    let model = Model::from_llama2c(Arc::new(checkpoint), Some(&synth::tokenizer())).unwrap();
    let honest = run(&model, SamplerSpec::Greedy, 12).trace;
    assert_eq!(
        check(&honest, &model, &Expect::default()).verdict,
        Verdict::Accept
    );
    let mut transformer = Transformer::load(&model).unwrap();
    let logits = transformer.forward(1).unwrap();
    assert_eq!(logits.len(), synth::vocab());
    assert_eq!(logits_hash(&logits), honest.entries[0].logits);
    assert!(matches!(
        transformer.forward(9999),
        Err(ReplayError::Token { .. })
    ));
    transformer.step_back();
    assert_eq!(transformer.forward(1).unwrap(), logits);
}
