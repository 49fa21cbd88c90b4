//! Asking a live prover: honest ones, dishonest ones, absent ones, and cancels at each step.

use assay_live::Amount;
use assay_trace::Trace;
use assay_verify::{Method, Report, Verdict};
use assay_work::live::SUSPICIOUS;
use assay_work::message::{
    Arithmetic, AskPrompt, AskRequest, Asked, DeviceChoice, Expect, Failure, Job, LiveNews,
    ModelSource, News, Outcome, ProverAt, Secret, Source, Stage, ToWorker,
};

use super::prover::{Lie, TOKEN};
use super::{Memory, SamplerSpec, Worker, report, run, verify, worker};

const SAMPLED: SamplerSpec = SamplerSpec::Gumbel {
    seed: 7,
    temperature: 0.8,
    top_k: 0,
    top_p: 1.0,
};

fn request(prompt: AskPrompt) -> AskRequest {
    AskRequest {
        prompt,
        max_tokens: 8,
        sampler: SAMPLED,
        ignore_eos: true,
        layers: Amount::Count(3),
        logits: Amount::All,
        skips: false,
        arithmetic: Arithmetic::default(),
        suspects: Vec::new(),
    }
}

fn at(address: &str) -> ProverAt {
    ProverAt {
        address: address.to_owned(),
        token: None,
        seconds: 60,
    }
}

fn ask_at(prover: ProverAt, model: ModelSource, prompt: AskPrompt) -> Job {
    Job::Ask {
        prover,
        model,
        request: request(prompt),
        device: DeviceChoice::Cpu,
    }
}

fn ask(model: ModelSource, prompt: AskPrompt) -> Job {
    ask_at(at("http://127.0.0.1:8737"), model, prompt)
}

fn king() -> AskPrompt {
    AskPrompt::Text("KING".to_owned())
}

fn key() -> ModelSource {
    ModelSource::key(Source::Path("plain.key".to_owned()))
}

fn liar(lie: Lie) -> Worker<Memory> {
    let worker = worker();
    worker.platform().lie.set(lie);
    worker
}

fn asked(outcome: Result<Outcome, Failure>) -> (Asked, Report) {
    match outcome.unwrap() {
        Outcome::Asked(asked) => {
            let report = Report::from_json(&asked.report).unwrap();
            (asked, report)
        }
        other => panic!("{other:?}"),
    }
}

fn stages(news: &[News]) -> Vec<Stage> {
    let stages = news.iter().filter_map(|news| match news {
        News::Progress { stage, .. } => Some(*stage),
        _ => None,
    });
    let mut stages: Vec<Stage> = stages.collect();
    stages.dedup();
    stages
}

#[test]
fn an_honest_prover_is_accepted_and_its_trace_is_kept() {
    let mut worker = worker();
    let (outcome, news) = run(&mut worker, ask(ModelSource::Demo, king()));
    let (asked, judged) = asked(outcome);
    assert_eq!(
        (judged.verdict, judged.method),
        (Verdict::Accept, Method::Replay),
        "{}",
        judged.summary
    );
    let live = judged.checks.iter().find(|check| check.id == "live");
    assert_eq!(live.unwrap().code, "ok");
    let stages = stages(&news);
    // Weights are hashed before the exchange, to know whom to believe, and again by the verification.
    assert_eq!(stages[..2], [Stage::Fetch, Stage::Hash]);
    let order = [
        Stage::Connect,
        Stage::Answer,
        Stage::Receipt,
        Stage::Challenge,
        Stage::Opening,
        Stage::Prefill,
        Stage::Checks,
    ];
    let places = order.map(|stage| stages.iter().position(|at| *at == stage));
    assert!(
        places.is_sorted() && places.iter().all(Option::is_some),
        "{stages:?}"
    );

    // The tokens came as text, all of them before the receipt was told.
    let committed = |news: &News| matches!(news, News::Live(LiveNews::Receipt { .. }));
    let before = news.iter().position(committed).unwrap();
    let text = news[..before].iter().rev().find_map(|news| match news {
        News::Text { text } => Some(text.clone()),
        _ => None,
    });
    assert_eq!(text.as_ref(), Some(&asked.text));
    assert!(!asked.text.is_empty());
    let drawn = news.iter().find_map(|news| match news {
        News::Live(LiveNews::Challenge { layers, logits, .. }) => Some((layers.len(), *logits)),
        _ => None,
    });
    assert_eq!(drawn, Some((3, 8)));
    assert!(news.iter().any(|news| matches!(
        news,
        News::Live(LiveNews::Prover { producer, .. }) if producer == "a test"
    )));

    // What is kept is a trace like any other, and names the receipt.
    let kept = asked.kept.unwrap();
    let Ok(Outcome::Bytes(bytes)) = run(&mut worker, Job::Bytes { kept }).0 else {
        panic!("the trace is kept");
    };
    let trace = Trace::parse(&bytes).unwrap();
    let receipt = trace.manifest().receipt().unwrap().commitment();
    assert_eq!(asked.receipt, Some(receipt.to_string()));
    let claims = asked.claims.unwrap();
    assert_eq!((claims.bytes, claims.fault), (bytes.len() as u64, None));
    let again = report(run(&mut worker, verify(Source::Kept(kept), Expect::default())).0);
    assert_eq!(again.verdict, Verdict::Accept);
}

#[test]
fn a_key_asks_by_ids_and_audits() {
    let mut worker = worker();
    let ids = AskPrompt::Ids(vec![256, 75, 73, 78, 71]);
    let (outcome, news) = run(&mut worker, ask(key(), ids.clone()));
    let (asked, judged) = asked(outcome);
    assert_eq!(
        (judged.verdict, judged.method),
        (Verdict::Accept, Method::Audit),
        "{}",
        judged.summary
    );
    assert_eq!(judged.audit.unwrap().layers.len(), 3);
    assert!(!stages(&news).contains(&Stage::Hash), "a key has the root");
    // Ids where there is no text.
    let parsed: Result<Vec<u32>, _> = asked.text.split(',').map(str::parse).collect();
    assert_eq!(parsed.unwrap().len(), 8);
    // Only what the key can judge is asked for.
    let some = ModelSource::key(Source::Path("some.key".to_owned()));
    let (_, judged) = super::asks::asked(run(&mut worker, ask(some, ids)).0);
    assert_eq!(judged.audit.unwrap().layers, [0, 3]);
    let refused = run(&mut worker, ask(key(), king())).0.unwrap_err();
    assert_eq!(refused.code, "request");
    assert!(refused.next.unwrap().contains("ids"));
}

#[test]
fn conduct_is_a_verdict_with_its_code() {
    for (lie, code, has_evidence) in [
        (Lie::OtherModel, "live-model", false),
        (Lie::OtherNonce, "live-nonce", false),
        (Lie::SwappedToken, "live-tokens", false),
        (Lie::Withhold, "live-withheld", false),
        (Lie::OtherRun, "live-changed", true),
        (Lie::FewerLayers, "live-opening", true),
        (Lie::GarbageOpening, "live-opening", true),
    ] {
        let ids = AskPrompt::Ids(vec![256, 75, 73]);
        for (model, prompt) in [(ModelSource::Demo, king()), (key(), ids)] {
            let mut worker = liar(lie);
            let (asked, judged) = asked(run(&mut worker, ask(model, prompt)).0);
            assert_eq!(judged.verdict, Verdict::Reject, "{lie:?}");
            assert_eq!(judged.failed_codes(), [code], "{lie:?}");
            let failed = judged.checks.iter().find(|check| check.code == code);
            assert_eq!(failed.unwrap().id, "live");
            assert!(judged.prover_says.is_none() && judged.trace.root.is_none());
            assert_eq!(asked.kept.is_some(), has_evidence, "{lie:?}");
            assert!(asked.claims.is_none() && asked.text.is_empty());
            // And the next one is asked as if nothing had been.
            worker.platform().lie.set(Lie::None);
            let (_, judged) =
                super::asks::asked(run(&mut worker, ask(ModelSource::Demo, king())).0);
            assert_eq!(judged.verdict, Verdict::Accept, "after {lie:?}");
        }
    }
}

#[test]
fn trouble_is_no_verdict_and_says_what_to_do() {
    for (lie, code, next) in [
        (
            Lie::Unreachable,
            "live-unreachable",
            "ask somebody who is there",
        ),
        (Lie::Refuse, "live-refused", "committed to nothing"),
        (Lie::WantsToken, "live-refused", "ask whoever runs it"),
        (Lie::CutStream, "live-cut", "committed to nothing"),
        (Lie::CutOpening, "live-cut", "take it for a rejection"),
    ] {
        let failure = run(&mut liar(lie), ask(ModelSource::Demo, king())).0;
        let failure = failure.unwrap_err();
        assert_eq!(failure.code, code, "{lie:?}: {failure:?}");
        let said = failure.next.unwrap();
        assert!(
            said.contains(next) && !said.contains('\n'),
            "{lie:?}: {said}"
        );
    }
    assert!(SUSPICIOUS.contains("take it for a rejection"));
    let mut worker = worker();
    for (address, code) in [
        ("127.0.0.1:8737", "request"),
        ("http://user:x@host", "request"),
        ("http://forbidden", "live-unreachable"),
    ] {
        let job = ask_at(at(address), ModelSource::Demo, king());
        let failure = run(&mut worker, job).0.unwrap_err();
        assert_eq!(failure.code, code, "{address}");
    }
    worker.platform().is_dry.set(true);
    let failure = run(&mut worker, ask(ModelSource::Demo, king()))
        .0
        .unwrap_err();
    assert_eq!(failure.code, "live-random");
}

#[test]
fn a_token_is_sent_and_not_shown() {
    let mut worker = liar(Lie::WantsToken);
    let prover = ProverAt {
        token: Some(Secret::new(TOKEN.to_owned())),
        ..at("http://127.0.0.1:8737")
    };
    let job = ask_at(prover, ModelSource::Demo, king());
    let shown = format!(
        "{:?}",
        ToWorker::Start {
            id: 1,
            job: job.clone()
        }
    );
    assert!(
        shown.contains("Secret(..)") && !shown.contains("horse"),
        "{shown}"
    );
    let (_, judged) = asked(run(&mut worker, job).0);
    assert_eq!(judged.verdict, Verdict::Accept);
}

#[test]
fn it_can_be_cancelled_at_each_step() {
    let mut worker = worker();
    for stage in [
        Stage::Hash,
        Stage::Connect,
        Stage::Answer,
        Stage::Receipt,
        Stage::Challenge,
        Stage::Opening,
        Stage::Load,
        Stage::Prefill,
        Stage::Checks,
    ] {
        // Hashed once, weights are not hashed again before the exchange.
        run(&mut worker, Job::ClearCache { key: None }).0.unwrap();
        worker.platform().cancel_at.set(Some(stage));
        let (outcome, news) = run(&mut worker, ask(ModelSource::Demo, king()));
        assert!(outcome.unwrap_err().is_cancelled(), "{stage:?}");
        // Between the receipt and the challenge nothing is waited for; what follows is not sent.
        let last = match stage {
            Stage::Receipt => Stage::Challenge,
            stage => stage,
        };
        assert_eq!(stages(&news).last(), Some(&last), "it goes no further");
    }
    worker.platform().cancel_at.set(None);
    let (_, judged) = asked(run(&mut worker, ask(ModelSource::Demo, king())).0);
    assert_eq!(judged.verdict, Verdict::Accept);
}

#[test]
fn a_prover_that_skips_is_accepted_where_it_may() {
    let mut worker = liar(Lie::Skips);
    let ask = |skips: bool| {
        let request = AskRequest {
            skips,
            ..request(king())
        };
        Job::Ask {
            prover: at("http://127.0.0.1:8737"),
            model: ModelSource::Demo,
            request,
            device: DeviceChoice::Cpu,
        }
    };
    let (outcome, news) = run(&mut worker, ask(true));
    let (_, judged) = asked(outcome);
    assert_eq!(judged.verdict, Verdict::Accept, "{}", judged.summary);
    assert!(news.iter().any(|news| matches!(
        news,
        News::Live(LiveNews::Prover { rule: Some(rule), .. }) if rule == "topk, 256 of 512 neurons"
    )));
    // Three layers were drawn: the hidden states on either side of them are what there is to open.
    let drawn = news.iter().find_map(|news| match news {
        News::Live(LiveNews::Challenge {
            layers,
            states,
            logits,
        }) => Some((layers.len(), states.clone(), *logits)),
        _ => None,
    });
    let (layers, states, logits) = drawn.unwrap();
    assert_eq!((layers, logits, states.first()), (0, 0, Some(&0)));
    assert!((4..=7).contains(&states.len()), "{states:?}");
    let (_, judged) = asked(run(&mut worker, ask(false)).0);
    assert_eq!(judged.failed_codes(), ["sparsity"]);
    // A key has nothing to hold it against.
    let ids = AskPrompt::Ids(vec![256, 75, 73]);
    let (_, judged) = asked(run(&mut worker, super::asks::ask(key(), ids)).0);
    assert_eq!(judged.failed_codes(), ["sparsity"]);
    // Leave to skip is no order to: an honest dense prover is as good.
    worker.platform().lie.set(Lie::None);
    let (_, judged) = asked(run(&mut worker, ask(true)).0);
    assert_eq!(judged.verdict, Verdict::Accept);
}
