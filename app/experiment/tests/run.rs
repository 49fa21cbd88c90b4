//! The runner on devices that are all this CPU: directions, what is kept, cancels, and verifiers side by side on one thread.
#![cfg(feature = "native")]
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

use std::cell::Cell;
use std::rc::Rc;

use assay_engine::{Device, EngineError, Monitor, Phase};
use assay_experiment::run::{Step, experiments};
use assay_experiment::store::{Memory, Place};
use assay_experiment::summary::Summary;
use assay_experiment::teller::{Ears, TrialTold};
use assay_experiment::trial::{Proven, Trial};
use assay_experiment::{
    Config, Devices, Experiment, ExperimentError, Named, Setup, Store, Teller, found,
};
use assay_model::Model;
use assay_model::rounded::Format;
use assay_sheet::Sheet;
use assay_trace::{Digest, Trace};
use assay_verify::{Profiles, Verdict};

fn setup(trials: usize) -> Setup {
    let mut config = Config::defaults();
    config.run.trials = trials;
    config.run.verifiers = 2;
    let full = Model::demo().unwrap();
    let quantised = full.rounded(Format::Int4).unwrap();
    let root = |model: &Model| model.root(&mut |_, _| {}).unwrap();
    let (a, b) = (root(&full), root(&quantised));
    Setup {
        config,
        full: Named::new(full, "demo", a),
        quantised: Some(Named::new(quantised, "round:int4", b)),
        prover: "one".to_owned(),
        verifiers: vec!["two".to_owned()],
        verifiers_were_named: false,
        profiles: Profiles::embedded(),
        n_tokens: Some(3),
        remarks: vec!["A remark.".to_owned()],
    }
}

fn devices() -> Devices {
    Devices::of(["one", "two", "three"].map(|name| (name.to_owned(), Device::Cpu)))
}

/// Counts, and cancels once it was asked so often.
#[derive(Default)]
struct Counts {
    asked: Rc<Cell<usize>>,
    most: Option<usize>,
    tokens: usize,
    trials: Vec<(usize, usize, String)>,
    resumed: usize,
    /// Whether verifiers have threads.
    threads: bool,
}

impl Counts {
    fn ask(asked: &Cell<usize>, most: Option<usize>) -> Result<(), EngineError> {
        asked.set(asked.get() + 1);
        match most.is_some_and(|most| asked.get() > most) {
            true => Err(EngineError::Cancelled),
            false => Ok(()),
        }
    }
}

impl Monitor for Counts {
    fn progress(&mut self, _: Phase, _: u64, _: u64) -> Result<(), EngineError> {
        Ok(())
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        Self::ask(&self.asked, self.most)
    }

    fn token(&mut self, _: u32) {
        self.tokens += 1;
    }
}

struct Ear(Rc<Cell<usize>>, Option<usize>);

impl Monitor for Ear {
    fn progress(&mut self, _: Phase, _: u64, _: u64) -> Result<(), EngineError> {
        Ok(())
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        Counts::ask(&self.0, self.1)
    }
}

impl Teller for Counts {
    fn trial(&mut self, trial: &TrialTold<'_>) {
        let told = (trial.number, trial.of, trial.prover.to_owned());
        self.trials.push(told);
    }

    fn resumed(&mut self, trials: usize) {
        self.resumed += trials;
    }

    fn ear(&self) -> Box<dyn Monitor + '_> {
        Box::new(Ear(Rc::clone(&self.asked), self.most))
    }

    fn ears(&self) -> Option<Ears> {
        self.threads.then(|| Ears::new(|| Ok(())))
    }
}

type Ran = Result<Vec<(Summary, Vec<Trial>)>, ExperimentError>;

fn run(setup: &Setup, wanted: &[Experiment], store: &mut dyn Store, teller: &mut Counts) -> Ran {
    pollster::block_on(experiments(
        setup,
        wanted,
        Step::Whole,
        &mut devices(),
        store,
        teller,
    ))
}

#[test]
fn two_devices_prove_for_each_other_and_what_is_done_is_kept() {
    let (setup, mut store, mut told) = (setup(2), Memory::default(), Counts::default());
    let wanted = [Experiment::Exp2, Experiment::Exp4];
    let all = run(&setup, &wanted, &mut store, &mut told).unwrap();
    let provers: Vec<(usize, usize, &str)> = told
        .trials
        .iter()
        .map(|(number, of, prover)| (*number, *of, prover.as_str()))
        .collect();
    let once = [(0, 4, "one"), (1, 4, "one"), (2, 4, "two"), (3, 4, "two")];
    assert_eq!(provers, [once, once].concat());
    assert_eq!((told.tokens, told.resumed), (8 * 3, 0));
    let [(honest, _), (cheats, _)] = all.as_slice() else {
        panic!("two experiments");
    };
    assert_eq!(honest.aggregate.avg_accept_rate, 1.0);
    assert_eq!(honest.aggregate.own.accept, 8);
    assert_eq!(cheats.aggregate.own.reject, 8);

    // A cheat's trace claims the full weights, and is one that a prover of those could have sealed.
    let at = Place {
        experiment: Experiment::Exp4,
        direction: 0,
        number: 0,
    };
    let key = all[1].1[0].proven.key;
    let (_, trace) = store.proven(at, key).unwrap();
    let claimed = Trace::parse(&trace).unwrap().manifest().model.clone();
    assert_eq!(claimed, setup.full.claim.claim);
    assert_eq!(assay_trace::reroot(&trace, |_| {}).unwrap(), trace);

    // All of it is there, and the same sheet comes of it.
    let mut again = Counts::default();
    let kept = run(&setup, &wanted, &mut store, &mut again).unwrap();
    assert_eq!((again.tokens, again.resumed), (0, 8));
    let sheet = found::sheet(&setup, &kept).to_json().unwrap();
    assert_eq!(sheet, found::sheet(&setup, &all).to_json().unwrap());
    assert!(sheet.contains("A remark.") && sheet.contains("exp4"));

    // Another number of tokens is another run; the first is still there after it.
    let other = Setup {
        n_tokens: Some(2),
        ..self::setup(2)
    };
    let mut told = Counts::default();
    run(&other, &[Experiment::Exp2], &mut store, &mut told).unwrap();
    assert_eq!((told.tokens, told.resumed), (4 * 2, 0));
    let mut told = Counts::default();
    run(&setup, &[Experiment::Exp2], &mut store, &mut told).unwrap();
    assert_eq!((told.tokens, told.resumed), (0, 4));
}

#[test]
fn a_cancel_is_heard_within_a_trial_and_loses_no_finished_one() {
    let (setup, mut store) = (setup(2), Memory::default());
    let whole = {
        let mut told = Counts::default();
        run(
            &setup,
            &[Experiment::Exp1],
            &mut Memory::default(),
            &mut told,
        )
        .unwrap();
        told.asked.get()
    };
    let mut told = Counts {
        most: Some(whole * 3 / 4),
        ..Counts::default()
    };
    let err = run(&setup, &[Experiment::Exp1], &mut store, &mut told).unwrap_err();
    assert!(matches!(
        err,
        ExperimentError::Engine(EngineError::Cancelled)
            | ExperimentError::Prove(assay_prove::ProveError::Engine(EngineError::Cancelled))
    ));
    assert_eq!(told.trials.len(), 1);
    // At once, not at the next trial.
    assert_eq!(told.asked.get(), whole * 3 / 4 + 1);
    let mut told = Counts::default();
    let all = run(&setup, &[Experiment::Exp1], &mut store, &mut told).unwrap();
    assert_eq!((told.resumed, told.trials.len()), (1, 2));
    assert!(told.tokens <= 3, "one trial's at most: {}", told.tokens);
    assert_eq!(all[0].0.aggregate.trials, 2);
}

#[test]
fn many_verifiers_take_turns_where_there_are_no_threads() {
    let setup = setup(1);
    let ran = |threads| {
        let mut told = Counts {
            threads,
            ..Counts::default()
        };
        let mut store = Memory::default();
        let mut all = run(&setup, &[Experiment::Exp6], &mut store, &mut told).unwrap();
        all.remove(0).1.remove(0)
    };
    let (turns, threads) = (ran(false), ran(true));
    let ids = |trial: &Trial| -> Vec<usize> {
        trial
            .verifications
            .iter()
            .map(|one| one.verifier_id)
            .collect()
    };
    assert_eq!(ids(&turns), [0, 1, 2], "a verifier on each device");
    assert_eq!(ids(&turns), ids(&threads));
    for (a, b) in turns.verifications.iter().zip(&threads.verifications) {
        assert_eq!(a.per_layer, b.per_layer);
        assert_eq!(a.own.verdict, Verdict::Accept);
    }
    // A cancel while they run ends them all.
    let mut told = Counts {
        most: Some(30),
        ..Counts::default()
    };
    let ended = run(
        &setup,
        &[Experiment::Exp6],
        &mut Memory::default(),
        &mut told,
    );
    assert!(ended.is_err());
}

/// Hands out traces of which a byte is another one.
#[derive(Default)]
struct Damaged {
    kept: Memory,
    made: usize,
}

impl Store for Damaged {
    fn proven(&mut self, at: Place, key: Digest) -> Option<(Proven, Vec<u8>)> {
        let (proven, mut trace) = self.kept.proven(at, key)?;
        *trace.last_mut()? ^= 1;
        Some((proven, trace))
    }

    fn keep_proven(&mut self, at: Place, of: &Proven, trace: &[u8]) -> Result<(), ExperimentError> {
        self.made += 1;
        self.kept.keep_proven(at, of, trace)
    }

    fn trial(&mut self, at: Place, key: Digest) -> Option<Trial> {
        self.kept.trial(at, key)
    }

    fn keep_trial(&mut self, _: Place, _: &Trial) -> Result<(), ExperimentError> {
        Err(ExperimentError::Store("the disk is full".into()))
    }

    fn finish(
        &mut self,
        _: &Setup,
        _: &[(Summary, Vec<Trial>)],
        _: &Sheet,
    ) -> Result<String, ExperimentError> {
        Ok(String::new())
    }
}

#[test]
fn what_is_damaged_is_made_again_and_what_cannot_be_kept_is_an_error() {
    let (setup, mut store) = (setup(1), Damaged::default());
    for made in 1..3 {
        let mut told = Counts::default();
        let err = run(&setup, &[Experiment::Exp1], &mut store, &mut told).unwrap_err();
        assert_eq!(err.to_string(), "the disk is full");
        assert_eq!((store.made, told.tokens), (made, 3));
    }
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_runs() {
    let mut long = setup(1);
    long.n_tokens = Some(u32::MAX);
    let mut none = setup(1);
    none.quantised = None;
    for (setup, experiment, words) in [
        (long, Experiment::Exp1, "do not fit the model's context"),
        (none, Experiment::Exp3, "no quantised model"),
    ] {
        let mut told = Counts::default();
        let err = run(&setup, &[experiment], &mut Memory::default(), &mut told).unwrap_err();
        assert!(err.to_string().contains(words), "{err}");
        assert_eq!(told.tokens, 0);
    }
}
