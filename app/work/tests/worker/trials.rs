//! Experiments on the CPU: what comes of them, what is kept, what is refused.

use assay_sheet::Sheet;
use assay_work::Worker;
use assay_work::message::{
    DeviceChoice, ExperimentRequest, Failure, Job, ModelSource, News, Outcome, PromptLength, Stage,
};

use crate::{Memory, run};

fn request(which: Option<u8>) -> ExperimentRequest {
    ExperimentRequest {
        which,
        trials: 2,
        verifiers: 1,
        prompts: PromptLength::Short,
        tokens: Some(3),
        verifier: DeviceChoice::Cpu,
    }
}

fn job(request: ExperimentRequest) -> Job {
    Job::Experiment {
        model: ModelSource::Demo,
        request,
        device: DeviceChoice::Cpu,
    }
}

fn refused(worker: &mut Worker<Memory>, request: ExperimentRequest) -> Failure {
    run(worker, job(request)).0.expect_err("it is refused")
}

#[track_caller]
fn sheet(worker: &mut Worker<Memory>, request: ExperimentRequest) -> (Sheet, Vec<News>) {
    match run(worker, job(request)) {
        (Ok(Outcome::Sheet(text)), news) => (Sheet::parse(text.as_bytes()).unwrap(), news),
        other => panic!("no sheet: {other:?}"),
    }
}

fn headings(sheet: &Sheet) -> Vec<&str> {
    let all = sheet.sections.iter();
    all.map(|section| section.heading.split(':').next().unwrap_or_default())
        .collect()
}

#[test]
fn an_experiment_ends_in_a_sheet_and_is_not_run_twice() {
    let mut worker = Worker::new(Memory::default());
    let (first, news) = sheet(&mut worker, request(Some(1)));
    assert_eq!(headings(&first), ["Side by side", "exp1"]);
    assert!(first.facts.iter().any(|(name, _)| name == "kept in"));
    let trials = |news: &[News]| -> Vec<(u64, u64)> {
        let at = |news: &News| match *news {
            News::Progress {
                stage: Stage::Trials,
                done,
                total,
            } => Some((done, total)),
            _ => None,
        };
        news.iter().filter_map(at).collect()
    };
    assert_eq!(trials(&news).last(), Some(&(2, 2)));
    // The very times that were measured: nothing of it was run again.
    assert_eq!(sheet(&mut worker, request(Some(1))).0, first);
}

#[test]
fn one_that_was_stopped_goes_on() {
    let platform = Memory::default();
    let mut worker = Worker::new(platform.clone());
    platform.cancel_at.set(Some(Stage::Trials));
    let stopped = refused(&mut worker, request(Some(1)));
    assert!(stopped.is_cancelled(), "{stopped:?}");
    platform.cancel_at.set(None);
    assert_eq!(headings(&sheet(&mut worker, request(Some(1))).0).len(), 2);
}

#[test]
fn one_device_runs_what_one_device_can() {
    let mut worker = Worker::new(Memory::default());
    for which in [2, 4] {
        let failure = refused(&mut worker, request(Some(which)));
        assert_eq!(failure.code, "unsupported");
        assert!(failure.message.contains("two devices"), "{failure:?}");
        assert!(failure.next.is_some_and(|next| next.contains("WebGPU")));
    }
    let few = ExperimentRequest {
        trials: 1,
        tokens: Some(2),
        ..request(None)
    };
    let (all, _) = sheet(&mut worker, few);
    assert_eq!(
        headings(&all),
        ["Side by side", "exp1", "exp3", "exp5", "exp6"]
    );
    let json = all.to_json().unwrap();
    assert!(json.contains("Experiments 2 and 4 were left out"), "{json}");
}

#[test]
fn what_makes_no_sense_or_has_no_room_is_refused_in_words() {
    let platform = Memory::default();
    let mut worker = Worker::new(platform.clone());
    let wrong = |change: &dyn Fn(&mut ExperimentRequest)| {
        let mut asked = request(Some(1));
        change(&mut asked);
        asked
    };
    for asked in [
        wrong(&|asked| asked.which = Some(0)),
        wrong(&|asked| asked.which = Some(7)),
        wrong(&|asked| asked.trials = 0),
        wrong(&|asked| asked.verifiers = 0),
        wrong(&|asked| asked.verifiers = u32::MAX),
        wrong(&|asked| asked.tokens = Some(u32::MAX)),
    ] {
        let failure = refused(&mut worker, asked);
        assert_eq!(failure.code, "request", "{failure:?}");
    }
    // Weights of eight million bytes, and rounded ones beside them.
    platform.room.set(Some(10 << 20));
    sheet(&mut worker, request(Some(1)));
    let failure = refused(&mut worker, request(Some(3)));
    assert_eq!(failure.code, "too-large");
    assert!(failure.next.is_some());
    let key = Job::Experiment {
        model: ModelSource::key(assay_work::message::Source::Path("any".to_owned())),
        request: request(Some(1)),
        device: DeviceChoice::Cpu,
    };
    assert_eq!(run(&mut worker, key).0.unwrap_err().code, "needs-weights");
}
