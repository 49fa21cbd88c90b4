//! Audits with a key in place of a model.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use assay_engine::{Device, Engine, Numerics, Quiet};
use assay_key::{KeyMaker, KeyOptions, Seed, VerifierKey};
use assay_model::Model;
use assay_prove::{Open, Request, prove};
use assay_trace::{Digest, EditableTrace, reroot};
use assay_verify::suspects::Cheaper;
use assay_verify::{Method, Options, Report, Verdict};
use assay_work::message::{
    DeviceChoice, Expect, Failure, Job, ModelSource, News, Outcome, ProveRequest, Secret, Source,
    Stage, ToWorker,
};

use super::{Memory, READ_OF_ZEROS, SamplerSpec, Worker, report, run, worker};

const PASSPHRASE: &str = "correct horse, battery staple";

/// Traces and keys by name, made once.
pub fn file(name: &str) -> Option<&'static Vec<u8>> {
    static FILES: OnceLock<BTreeMap<&'static str, Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(files).get(name)
}

fn files() -> BTreeMap<&'static str, Vec<u8>> {
    let model = Model::demo().unwrap();
    let mut hasher = model.root_hasher();
    while !hasher.step().unwrap() {}
    let root = hasher.finish().unwrap();
    let audited = proved(&model, root, Some(Open::All));
    let forged = |change: fn(&mut EditableTrace)| reroot(&audited, change).unwrap();
    let swapped = forged(|trace| {
        let last = trace.tokens.len() - 1;
        trace.tokens[last] += 1;
    });
    let moved = forged(|trace| {
        let rows = trace.states.get_mut(&0).unwrap();
        rows[5] += 1.0;
    });
    let key = made(&model, root, None);
    let mut damaged = key.as_bytes().to_vec();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    [
        ("swapped", swapped),
        ("moved", moved),
        ("without", proved(&model, root, None)),
        (
            "drawn",
            proved(
                &model,
                root,
                Some(Open::Draw {
                    layers: 3,
                    logits: 4,
                }),
            ),
        ),
        ("audited", audited),
        ("encrypted.key", key.encrypt(PASSPHRASE).unwrap()),
        (
            "other.key",
            made(&model, Digest::of(b"another"), None)
                .as_bytes()
                .to_vec(),
        ),
        (
            "some.key",
            made(&model, root, Some(vec![0, 3])).as_bytes().to_vec(),
        ),
        ("damaged.key", damaged),
        ("plain.key", key.as_bytes().to_vec()),
    ]
    .into()
}

fn proved(model: &Model, root: Digest, audit: Option<Open>) -> Vec<u8> {
    let request = Request {
        prompt: model.tokenizer().unwrap().encode("KING").unwrap(),
        max_tokens: 8,
        sampler: SamplerSpec::Greedy,
        ignore_eos: true,
        nonce: None,
        opened: None,
        audit,
    };
    pollster::block_on(async {
        let capacity = request.capacity(model.config());
        let mut engine = Engine::load(&Device::Cpu, model, capacity, Numerics::Fast, &mut Quiet)
            .await
            .unwrap();
        let proved = prove(&mut engine, model, root, &request, &mut Quiet).await;
        proved.unwrap().trace.to_bytes()
    })
}

fn made(model: &Model, root: Digest, layers: Option<Vec<u32>>) -> VerifierKey {
    let options = KeyOptions {
        layers,
        ..KeyOptions::default()
    };
    let mut maker = KeyMaker::new(model, root, Seed::from_bytes([7; 32]), &options).unwrap();
    while !maker.step().unwrap() {}
    maker.finish().unwrap()
}

fn path(name: &str) -> Source {
    Source::Path(name.to_owned())
}

fn key(name: &str) -> ModelSource {
    ModelSource::key(path(name))
}

fn unlock(name: &str, passphrase: &str) -> ModelSource {
    ModelSource::Key {
        source: path(name),
        passphrase: Some(Secret::new(passphrase.to_owned())),
    }
}

fn audit_of(trace: &str, model: ModelSource) -> Job {
    Job::Verify {
        trace: path(trace),
        model,
        expect: Expect::default(),
        device: DeviceChoice::Cpu,
    }
}

fn failure(worker: &mut Worker<Memory>, job: Job) -> Failure {
    run(worker, job).0.unwrap_err()
}

#[test]
fn an_honest_trace_is_audited_as_the_library_does_it() {
    let (outcome, news) = run(&mut worker(), audit_of("audited", key("plain.key")));
    let Ok(Outcome::Verified { report, details }) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(details.tokens.is_empty(), "an audit has no close look");
    let stages = news.iter().filter_map(|news| match news {
        News::Progress { stage, total, .. } => Some((*stage, *total)),
        _ => None,
    });
    // Eight layers and the output projection.
    assert!(stages.clone().any(|stage| stage == (Stage::Prefill, 9)));
    assert!(!stages.clone().any(|(stage, _)| stage == Stage::Hash));

    let (options, mut quiet) = (Options::default(), Quiet);
    let bytes = file("audited").unwrap();
    let own = VerifierKey::parse(file("plain.key").unwrap().clone()).unwrap();
    let own = assay_verify::audit::audit(bytes, &own, &Device::Cpu, &options, &mut quiet);
    let own = pollster::block_on(own).unwrap().report;
    let without_times = |json: &str| {
        let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
        value.as_object_mut().unwrap().remove("timings");
        value
    };
    assert_eq!(
        without_times(&report),
        without_times(&own.to_json().unwrap())
    );
    let judged = Report::from_json(&report).unwrap();
    assert_eq!(
        (judged.method, judged.verdict),
        (Method::Audit, Verdict::Accept),
        "{}",
        judged.summary
    );
    assert_eq!(judged.audit.unwrap().layers, [0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn liars_are_rejected_with_their_code() {
    let mut worker = worker();
    for (trace, code) in [
        ("swapped", "token-margin"),
        ("moved", "state-embedding"),
        ("text", "structure"),
    ] {
        let judged = report(run(&mut worker, audit_of(trace, key("plain.key"))).0);
        assert_eq!(judged.verdict, Verdict::Reject, "{trace}");
        assert_eq!(judged.failed_codes().first(), Some(&code), "{trace}");
    }
    let judged = report(run(&mut worker, audit_of("audited", key("other.key"))).0);
    assert_eq!(judged.failed_codes(), ["model-root"]);
}

#[test]
fn what_a_key_cannot_tell_is_inconclusive() {
    let mut worker = worker();
    let judged = report(run(&mut worker, audit_of("without", key("plain.key"))).0);
    assert_eq!(judged.verdict, Verdict::Inconclusive);
    assert!(judged.summary.contains("no-openings"), "{}", judged.summary);
    // What was drawn, and what the key covers of it.
    let judged = report(run(&mut worker, audit_of("drawn", key("plain.key"))).0);
    assert_eq!(judged.audit.unwrap().layers.len(), 3);
    let judged = report(run(&mut worker, audit_of("audited", key("some.key"))).0);
    assert_eq!(judged.audit.unwrap().layers, [0, 3]);
}

#[test]
fn a_key_is_told_from_a_trace_and_opened() {
    let mut worker = worker();
    let named = |name: &str| (name.to_owned(), path(name));
    let files = vec![named("plain.key"), named("audited")];
    match run(&mut worker, Job::Sort { files }).0.unwrap() {
        Outcome::Sorted { traces, model, .. } => {
            assert_eq!(traces, [path("audited")]);
            assert_eq!(model, Some(key("plain.key")));
        }
        other => panic!("{other:?}"),
    }
    let opened = run(
        &mut worker,
        Job::OpenModel {
            model: key("plain.key"),
        },
    )
    .0;
    let Ok(Outcome::Model(facts)) = opened else {
        panic!("{opened:?}");
    };
    assert_eq!((facts.family.as_str(), facts.layers), ("llama", 8));
    assert_eq!(facts.bytes, file("plain.key").unwrap().len() as u64);
    let held = facts.key.unwrap();
    assert_eq!((held.projections, held.rows, held.layers.len()), (16, 4, 8));
    assert!(!held.is_encrypted && facts.root.is_some());
}

#[test]
fn an_encrypted_key_wants_its_passphrase_once() {
    let mut worker = worker();
    let shut = failure(&mut worker, audit_of("audited", key("encrypted.key")));
    assert_eq!(shut.code, Failure::KEY_ENCRYPTED);
    for (passphrase, code) in [
        ("wrong", Failure::KEY_PASSPHRASE),
        ("", Failure::KEY_PASSPHRASE),
    ] {
        let model = unlock("encrypted.key", passphrase);
        let failure = failure(&mut worker, Job::OpenModel { model });
        assert_eq!(failure.code, code, "{failure:?}");
        assert!(failure.asks_passphrase() && failure.next.is_some());
    }
    let model = unlock("encrypted.key", PASSPHRASE);
    let opened = run(&mut worker, Job::OpenModel { model }).0;
    let Ok(Outcome::Model(facts)) = opened else {
        panic!("{opened:?}");
    };
    assert!(facts.key.unwrap().is_encrypted);
    // It stays open, and whoever names it need not say the passphrase again.
    let judged = report(run(&mut worker, audit_of("audited", key("encrypted.key"))).0);
    assert_eq!(judged.verdict, Verdict::Accept);
    run(&mut worker, Job::ClearCache { key: None }).0.unwrap();
    let judged = report(run(&mut worker, audit_of("audited", key("encrypted.key"))).0);
    assert_eq!(judged.verdict, Verdict::Accept);
    // A wrong one is wrong also while it is open, and closes it.
    let model = unlock("encrypted.key", "wrong");
    let failure_of = failure(&mut worker, audit_of("audited", model));
    assert_eq!(failure_of.code, Failure::KEY_PASSPHRASE);
    let shut = failure(&mut worker, audit_of("audited", key("encrypted.key")));
    assert_eq!(shut.code, Failure::KEY_ENCRYPTED);
    // A plain one does not mind a passphrase.
    let judged = report(run(&mut worker, audit_of("audited", unlock("plain.key", "x"))).0);
    assert_eq!(judged.verdict, Verdict::Accept);
}

#[test]
fn a_passphrase_is_not_shown() {
    let start = ToWorker::Start {
        id: 1,
        job: audit_of("audited", unlock("encrypted.key", PASSPHRASE)),
    };
    let shown = format!("{start:?}{start:#?}");
    assert!(
        shown.contains("Secret(..)") && !shown.contains("horse"),
        "{shown}"
    );
    // And reaches the worker all the same.
    let sent = ToWorker::from_bytes(&start.to_bytes().unwrap()).unwrap();
    assert_eq!(sent, start);
}

#[test]
fn what_is_no_key_is_refused_by_its_head() {
    let mut worker = worker();
    for (name, code) in [
        ("audited", "not-a-key"),
        ("text", "not-a-key"),
        ("empty", "not-a-key"),
        ("zeros", "not-a-key"),
        ("damaged.key", "key"),
        ("none", "not-found"),
    ] {
        let model = key(name);
        let failure = failure(&mut worker, Job::OpenModel { model });
        assert_eq!(failure.code, code, "{name}: {failure:?}");
    }
    assert!(READ_OF_ZEROS.load(std::sync::atomic::Ordering::SeqCst) < 1 << 20);
}

#[test]
fn a_key_cannot_prove_and_has_no_words() {
    let mut worker = worker();
    let job = Job::Prove {
        model: key("plain.key"),
        request: ProveRequest {
            prompt: "KING".into(),
            max_tokens: 2,
            sampler: SamplerSpec::Greedy,
            nonce: None,
            ignore_eos: false,
            strict: false,
        },
        device: DeviceChoice::Cpu,
    };
    let refused = failure(&mut worker, job);
    assert_eq!(refused.code, "needs-weights");
    assert!(refused.next.is_some());
    let job = Job::Verify {
        trace: path("audited"),
        model: key("plain.key"),
        expect: Expect {
            prompt: Some("KING".into()),
            ..Expect::default()
        },
        device: DeviceChoice::Cpu,
    };
    assert_eq!(failure(&mut worker, job).code, "request");
    let job = Job::Verify {
        trace: path("audited"),
        model: key("plain.key"),
        expect: Expect {
            suspects: Cheaper::all().collect(),
            ..Expect::default()
        },
        device: DeviceChoice::Cpu,
    };
    assert_eq!(failure(&mut worker, job).code, "needs-weights");
}

#[test]
fn an_audit_is_cancelled_between_its_layers() {
    let mut worker = worker();
    // Trace and key stay open from one to the next: then the audit itself is what is left.
    for after in [0, 1, 2, 3] {
        worker.platform().cancel_after.set(Some(after));
        let ended = failure(&mut worker, audit_of("audited", key("plain.key")));
        assert!(ended.is_cancelled(), "after {after}");
    }
    worker.platform().cancel_after.set(None);
    let judged = report(run(&mut worker, audit_of("audited", key("plain.key"))).0);
    assert_eq!(judged.verdict, Verdict::Accept);
}
