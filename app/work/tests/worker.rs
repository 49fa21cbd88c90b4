//! The worker on a platform of memory and the CPU twins: every job, its failures, and its cancel.

#[path = "worker/asks.rs"]
mod asks;
#[path = "worker/keys.rs"]
mod keys;
#[path = "worker/prover.rs"]
mod prover;
#[path = "worker/trials.rs"]
mod trials;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::future::ready;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use assay_engine::sampler::SamplerSpec;
use assay_engine::{ActivationType, CacheFormat, Device, GpuOptions, Quiet};
use assay_live::Address;
use assay_model::rounded::Format;
use assay_model::{ByteSource, Model, ModelError};
use assay_trace::Compute;
use assay_verify::suspects::Cheaper;
use assay_verify::{Options, Report, Verdict};
use assay_work::message::{
    Arithmetic, DeviceChoice, Event, Expect, Failure, Job, JobId, ModelSource, News, Outcome,
    ProveRequest, ProverAt, Sample, Source, Stage, ToWorker,
};
use assay_work::{Fetched, LocalFuture, Platform, Worker};

use prover::{InMemory, Lie};

const HONEST: &[u8] = include_bytes!("../../../web/samples/honest.bin");
const SWAPPED: &[u8] = include_bytes!("../../../web/samples/swapped-token.bin");
const FLIPPED: &[u8] = include_bytes!("../../../web/samples/flipped-byte.bin");

/// Memory, and a cancel that comes after so many pieces of news.
#[derive(Clone, Default)]
struct Memory {
    said: Rc<RefCell<Vec<Event>>>,
    cancel_after: Rc<Cell<Option<usize>>>,
    /// Or once a job has come so far.
    cancel_at: Rc<Cell<Option<Stage>>>,
    lie: Rc<Cell<Lie>>,
    /// What the system gives for random bytes; none at all once it is dry.
    drawn: Rc<Cell<u8>>,
    is_dry: Rc<Cell<bool>>,
    /// What memory has room for.
    room: Rc<Cell<Option<u64>>>,
}

/// A file of zeros that is never in memory, and counts what is read of it.
struct Zeros {
    bytes: u64,
    read: Arc<AtomicU64>,
}

impl ByteSource for Zeros {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read(&self, _offset: u64, len: usize) -> Result<Cow<'_, [u8]>, ModelError> {
        self.read.fetch_add(len as u64, Ordering::SeqCst);
        Ok(vec![0; len].into())
    }
}

static READ_OF_ZEROS: std::sync::LazyLock<Arc<AtomicU64>> = std::sync::LazyLock::new(Arc::default);

impl Platform for Memory {
    type Prover = InMemory;

    fn prover(&self, id: JobId, address: &Address, at: &ProverAt) -> Result<InMemory, Failure> {
        if address.host() == "forbidden" {
            return Err(Failure::new("live-unreachable", "not from here"));
        }
        let platform = self.clone();
        Ok(InMemory::new(
            self.lie.get(),
            at.token.as_ref().map(|token| token.expose().to_owned()),
            Rc::new(move || platform.is_cancelled(id)),
        ))
    }

    fn random(&self, bytes: &mut [u8; 32]) -> Result<(), String> {
        if self.is_dry.get() {
            return Err("none".to_owned());
        }
        self.drawn.set(self.drawn.get() + 1);
        *bytes = [self.drawn.get(); 32];
        Ok(())
    }

    fn open<'a>(
        &'a self,
        source: &'a Source,
        _fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Arc<dyn ByteSource>, Failure>> {
        let file: Result<Arc<dyn ByteSource>, Failure> = match source {
            Source::Sample(Sample::Honest) => Ok(Arc::new(HONEST)),
            Source::Sample(Sample::SwappedToken) => Ok(Arc::new(SWAPPED)),
            Source::Sample(Sample::FlippedByte) => Ok(Arc::new(FLIPPED)),
            Source::Path(path) if path == "zeros" => Ok(Arc::new(Zeros {
                bytes: 3 << 30,
                read: Arc::clone(&READ_OF_ZEROS),
            })),
            Source::Path(path) if path == "text" => Ok(Arc::new(b"no trace at all".to_vec())),
            Source::Path(path) if keys::file(path).is_some() => {
                Ok(Arc::new(keys::file(path).unwrap().clone()))
            }
            Source::Path(path) if path == "empty" => Ok(Arc::new(Vec::new())),
            Source::Path(path) if path.ends_with("config.json") => Ok(Arc::new(b"{}".to_vec())),
            other => Err(Failure::new("not-found", other.name())),
        };
        Box::pin(ready(file))
    }

    fn open_model<'a>(
        &'a self,
        model: &'a ModelSource,
        fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Model, Failure>> {
        let opened = fetched(1, 1).and_then(|()| match model {
            ModelSource::Demo => Ok(Model::demo()?),
            ModelSource::Path(path) => Ok(Model::open(path.as_ref())?),
            other => Err(Failure::new("unsupported", other.name())),
        });
        Box::pin(ready(opened))
    }

    fn gpu_options(&self) -> LocalFuture<'_, GpuOptions> {
        Box::pin(ready(GpuOptions::default()))
    }

    fn say(&self, event: Event) {
        // As over a channel of bytes.
        let event = Event::from_bytes(&event.to_bytes().unwrap()).unwrap();
        self.said.borrow_mut().push(event);
    }

    fn is_cancelled(&self, _id: JobId) -> bool {
        let said = self.said.borrow();
        let is_at = |stage: Stage| {
            let at = |event: &Event| matches!(event.news, News::Progress { stage: at, .. } if at == stage);
            said.iter().any(at)
        };
        (self.cancel_after.get()).is_some_and(|after| said.len() >= after)
            || self.cancel_at.get().is_some_and(is_at)
    }

    fn breathe(&self) -> LocalFuture<'_, ()> {
        Box::pin(ready(()))
    }

    fn max_trace_bytes(&self) -> u64 {
        1 << 30
    }

    fn max_weight_bytes(&self) -> Option<u64> {
        self.room.get()
    }
}

/// Runs a job to its one end; the news before it are checked and handed back.
fn run(worker: &mut Worker<Memory>, job: Job) -> (Result<Outcome, Failure>, Vec<News>) {
    let start = ToWorker::Start { id: 7, job };
    let Ok(ToWorker::Start { id, job }) = ToWorker::from_bytes(&start.to_bytes().unwrap()) else {
        panic!("a message survives its bytes");
    };
    worker.platform().said.borrow_mut().clear();
    pollster::block_on(worker.run(id, job));
    let said = std::mem::take(&mut *worker.platform().said.borrow_mut());
    assert!(said.iter().all(|event| event.id == 7));
    let mut news: Vec<News> = said.into_iter().map(|event| event.news).collect();
    let Some(News::Done(done)) = news.pop() else {
        panic!("the last news is the end");
    };
    assert!(
        !news.iter().any(|news| matches!(news, News::Done(_))),
        "one end"
    );
    (done.map(|outcome| *outcome), news)
}

fn worker() -> Worker<Memory> {
    Worker::new(Memory::default())
}

fn verify(trace: Source, expect: Expect) -> Job {
    Job::Verify {
        trace,
        model: ModelSource::Demo,
        expect,
        device: DeviceChoice::Cpu,
    }
}

fn report(outcome: Result<Outcome, Failure>) -> Report {
    match outcome.unwrap() {
        Outcome::Verified { report, .. } => Report::from_json(&report).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn samples_get_their_verdicts() {
    let mut worker = worker();
    for (sample, verdict, codes) in [
        (Sample::Honest, Verdict::Accept, vec![]),
        (
            Sample::SwappedToken,
            Verdict::Reject,
            vec!["token-margin", "strict-token"],
        ),
        (Sample::FlippedByte, Verdict::Reject, vec!["commitment"]),
    ] {
        let (outcome, news) = run(
            &mut worker,
            verify(Source::Sample(sample), Expect::default()),
        );
        let report = report(outcome);
        assert_eq!(report.verdict, verdict, "{sample:?}: {}", report.summary);
        if sample != Sample::FlippedByte {
            assert_eq!(report.failed_codes(), codes, "{sample:?}");
            let stages = news.iter().filter_map(|news| match news {
                News::Progress { stage, .. } => Some(*stage),
                _ => None,
            });
            let mut stages: Vec<Stage> = stages.collect();
            stages.dedup();
            assert!(
                stages.contains(&Stage::Hash) && stages.contains(&Stage::Prefill),
                "{stages:?}"
            );
        }
    }
}

/// What a face shows is what the library says, to the letter but for times.
#[test]
fn report_is_that_of_the_library() {
    let (outcome, _) = run(
        &mut worker(),
        verify(Source::Sample(Sample::Honest), Expect::default()),
    );
    let Ok(Outcome::Verified { report, details }) = outcome else {
        panic!("{outcome:?}");
    };
    let model = Model::demo().unwrap();
    let (options, mut quiet) = (Options::default(), Quiet);
    let own = assay_verify::verify(HONEST, &model, &Device::Cpu, &options, &mut quiet);
    let own = pollster::block_on(own).unwrap();
    let without_times = |json: &str| {
        let mut value: serde_json::Value = serde_json::from_str(json).unwrap();
        value.as_object_mut().unwrap().remove("timings");
        value
    };
    assert_eq!(
        without_times(&report),
        without_times(&own.to_json().unwrap())
    );
    // And it survives being read back, bit for bit.
    assert_eq!(
        Report::from_json(&report).unwrap().to_json().unwrap(),
        report
    );

    let trace = assay_trace::Trace::parse(HONEST).unwrap();
    assert_eq!(details.positions, trace.positions());
    assert_eq!(details.layers, trace.opened());
    assert_eq!(details.rows.len(), details.layers.len() * details.positions);
    assert_eq!(details.tokens.len(), trace.tokens().len());
    let judged = details
        .tokens
        .iter()
        .filter(|token| token.judged.is_some())
        .count();
    assert_eq!(judged, trace.output().len());
    for layer in own.statistics.per_layer {
        let rows = (0..details.positions).filter_map(|at| details.row(layer.layer, at));
        let rows: Vec<_> = rows.collect();
        let worst = rows.iter().map(|row| row.rel_l2).fold(0.0, f32::max);
        assert_eq!(worst, layer.rel_l2_max as f32);
        assert_eq!(
            rows.iter().filter(|row| row.exact).count(),
            layer.exact_rows
        );
    }
    let text: String = details
        .tokens
        .iter()
        .map(|token| token.text.as_str())
        .collect();
    // Special ids have names there, and no text otherwise.
    let whole = model.tokenizer().unwrap().decode(trace.tokens());
    assert_eq!(text, format!("<|begin_of_text|>{whole}"));
}

#[test]
fn what_was_asked_for_is_compared() {
    let mut worker = worker();
    let asked = |prompt: &str, nonce: Option<String>| Expect {
        nonce,
        prompt: Some(prompt.to_owned()),
        sampler: Some(SamplerSpec::Gumbel {
            seed: 7,
            temperature: 0.8,
            top_k: 0,
            top_p: 1.0,
        }),
        skips: false,
        arithmetic: Arithmetic::default(),
        suspects: Vec::new(),
    };
    let honest = || Source::Sample(Sample::Honest);
    let job = verify(honest(), asked("To be, or not", None));
    assert_eq!(report(run(&mut worker, job).0).verdict, Verdict::Accept);
    let job = verify(honest(), asked("Something else", None));
    assert_eq!(
        report(run(&mut worker, job).0).failed_codes(),
        ["prompt-mismatch"]
    );
    let job = verify(honest(), asked("To be, or not", Some("00".repeat(32))));
    assert_eq!(report(run(&mut worker, job).0).failed_codes(), ["nonce"]);
    let job = verify(honest(), asked("To be, or not", Some("zz".into())));
    assert_eq!(run(&mut worker, job).0.unwrap_err().code, "request");
    for (compute, activations, codes) in [
        (Some(Compute::F32), Some(ActivationType::Float), &[][..]),
        (Some(Compute::Bf16), None, &["precision-mismatch"]),
        (None, Some(ActivationType::Ggml), &["activations"]),
    ] {
        let arithmetic = Arithmetic {
            compute,
            activations,
        };
        let expect = Expect {
            arithmetic,
            ..Expect::default()
        };
        let judged = report(run(&mut worker, verify(honest(), expect)).0);
        assert_eq!(judged.failed_codes(), codes);
    }
}

#[test]
fn suspects_are_run_and_told_of() {
    let mut worker = worker();
    let suspects = vec![
        Cheaper::Weights(Format::Int8),
        Cheaper::Cache(CacheFormat::Int4),
    ];
    let expect = Expect {
        suspects,
        ..Expect::default()
    };
    let job = verify(Source::Sample(Sample::Honest), expect);
    let judged = report(run(&mut worker, job).0);
    assert_eq!(judged.verdict, Verdict::Accept, "{}", judged.summary);
    let leans = judged.statistics.suspects;
    let names: Vec<_> = leans.iter().map(|lean| lean.name.clone()).collect();
    assert_eq!(names, ["round:int8", "kv:int4"]);
    assert!(leans.iter().all(|lean| lean.lean.abs() < 0.01), "{leans:?}");
}

#[test]
fn claims_of_good_and_bad_files() {
    let mut worker = worker();
    let inspect = |worker: &mut Worker<Memory>, trace| match run(worker, Job::Inspect { trace }).0 {
        Ok(Outcome::Inspected(claims)) => claims,
        other => panic!("{other:?}"),
    };
    let claims = inspect(&mut worker, Source::Sample(Sample::Honest));
    assert_eq!(
        (claims.name.as_str(), claims.bytes),
        ("honest.bin", HONEST.len() as u64)
    );
    assert!(claims.fault.is_none());
    let manifest: assay_trace::Manifest = serde_json::from_str(&claims.manifest.unwrap()).unwrap();
    assert_eq!(manifest.prompt.tokens, 6);
    for bad in ["text", "empty"] {
        let claims = inspect(&mut worker, Source::Path(bad.into()));
        assert_eq!(claims.fault.unwrap().0, "structure");
        let outcome = run(
            &mut worker,
            verify(Source::Path(bad.into()), Expect::default()),
        )
        .0;
        assert_eq!(report(outcome).failed_codes(), ["structure"]);
    }
    let missing = run(
        &mut worker,
        Job::Inspect {
            trace: Source::Path("none".into()),
        },
    )
    .0;
    assert_eq!(missing.unwrap_err().code, "not-found");
}

/// Three gigabytes that are no trace are refused by their first bytes, in both jobs.
#[test]
fn a_huge_file_is_refused_by_its_head() {
    let mut worker = worker();
    let zeros = || Source::Path("zeros".into());
    for job in [
        Job::Inspect { trace: zeros() },
        verify(zeros(), Expect::default()),
    ] {
        let failure = run(&mut worker, job).0.unwrap_err();
        assert_eq!(failure.code, "not-a-trace", "{failure:?}");
        assert!(failure.next.is_some());
    }
    assert!(READ_OF_ZEROS.load(Ordering::SeqCst) < 1 << 20);
}

/// So is one that is to be a study's sheet, and anything else that is none.
#[test]
fn what_is_no_sheet_is_refused() {
    let mut worker = worker();
    for sheet in [Source::Path("zeros".into()), Source::Sample(Sample::Honest)] {
        let failure = run(&mut worker, Job::Sheet { sheet }).0.unwrap_err();
        assert_eq!(failure.code, "not-a-sheet", "{failure:?}");
        assert!(failure.next.is_some());
    }
    assert!(READ_OF_ZEROS.load(Ordering::SeqCst) < 1 << 20);
}

#[test]
fn files_are_sorted() {
    let mut worker = worker();
    let path = |name: &str| (name.to_owned(), Source::Path(name.to_owned()));
    let files = vec![
        ("a.bin".to_owned(), Source::Sample(Sample::Honest)),
        path("m/config.json"),
        path("text"),
    ];
    match run(&mut worker, Job::Sort { files }).0.unwrap() {
        Outcome::Sorted {
            traces,
            model,
            sheets,
            ignored,
        } => {
            assert!(sheets.is_empty());
            assert_eq!(traces, [Source::Sample(Sample::Honest)]);
            assert_eq!(model, Some(ModelSource::Path("m".into())));
            assert_eq!(ignored, ["text"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn proof_is_streamed_kept_and_accepted() {
    let mut worker = worker();
    let prove = Job::Prove {
        model: ModelSource::Demo,
        request: ProveRequest {
            prompt: "KING".into(),
            max_tokens: 12,
            sampler: SamplerSpec::Greedy,
            nonce: Some("ab".repeat(32)),
            ignore_eos: false,
            strict: false,
        },
        device: DeviceChoice::Cpu,
    };
    let (outcome, news) = run(&mut worker, prove);
    let Ok(Outcome::Proved(proved)) = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!((proved.tokens, proved.stop.as_str()), (12, "length"));
    let texts = news
        .iter()
        .filter(|news| matches!(news, News::Text { text } if proved.text.starts_with(text)));
    assert!(texts.count() > 0);
    let kept = Source::Kept(proved.kept);
    let expect = Expect {
        nonce: Some("ab".repeat(32)),
        ..Expect::default()
    };
    let judged = report(run(&mut worker, verify(kept, expect)).0);
    assert_eq!(judged.verdict, Verdict::Accept, "{}", judged.summary);
    let Ok(Outcome::Bytes(bytes)) = run(&mut worker, Job::Bytes { kept: proved.kept }).0 else {
        panic!("the bytes are kept");
    };
    assert_eq!(bytes.len() as u64, proved.bytes);
    assert_eq!(
        run(&mut worker, Job::Bytes { kept: 99 })
            .0
            .unwrap_err()
            .code,
        "not-found"
    );
}

#[test]
fn hashes_lead_to_the_root() {
    let mut worker = worker();
    let trace = || Source::Sample(Sample::Honest);
    let Ok(Outcome::Hashes(hashes)) = run(
        &mut worker,
        Job::Hashes {
            trace: trace(),
            position: 9,
        },
    )
    .0
    else {
        panic!("there is a position 9");
    };
    let parsed = assay_trace::Trace::parse(HONEST).unwrap();
    let proof: Vec<_> = hashes
        .proof
        .iter()
        .map(|digest| digest.parse().unwrap())
        .collect();
    let (leaf, root) = (hashes.leaf.parse().unwrap(), parsed.manifest().root);
    assert!(assay_trace::merkle::verify_inclusion(
        leaf,
        9,
        parsed.positions(),
        &proof,
        root
    ));
    assert_eq!(hashes.states.len(), 9);
    let outside = run(
        &mut worker,
        Job::Hashes {
            trace: trace(),
            position: 45,
        },
    )
    .0;
    assert_eq!(outside.unwrap_err().code, "request");
}

#[test]
fn a_cancel_ends_the_job_and_not_the_worker() {
    let mut worker = worker();
    for after in [0, 1, 3] {
        worker.platform().cancel_after.set(Some(after));
        let outcome = run(
            &mut worker,
            verify(Source::Sample(Sample::Honest), Expect::default()),
        )
        .0;
        assert!(outcome.unwrap_err().is_cancelled(), "after {after}");
    }
    worker.platform().cancel_after.set(None);
    let outcome = run(
        &mut worker,
        verify(Source::Sample(Sample::Honest), Expect::default()),
    )
    .0;
    assert_eq!(report(outcome).verdict, Verdict::Accept);
}

#[test]
fn a_missing_model_and_adapter_say_what_to_do() {
    let mut worker = worker();
    let model = ModelSource::Path("/nowhere/at/all".into());
    let failure = run(&mut worker, Job::OpenModel { model }).0.unwrap_err();
    assert_eq!(failure.code, "not-found");
    let job = Job::Verify {
        trace: Source::Sample(Sample::Honest),
        model: ModelSource::Demo,
        expect: Expect::default(),
        device: DeviceChoice::Named("no such adapter".into()),
    };
    let failure = run(&mut worker, job).0.unwrap_err();
    assert_eq!(failure.code, "device");
    assert!(failure.next.is_some());
}

#[test]
fn bytes_that_are_no_message_are_refused() {
    assert_eq!(
        ToWorker::from_bytes(&[0xff; 9]).unwrap_err().code,
        "internal"
    );
    assert_eq!(Event::from_bytes(&[]).unwrap_err().code, "internal");
}
