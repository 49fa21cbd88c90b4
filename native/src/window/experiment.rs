//! The window's experiments: those of `assay experiment`, on a thread of the window's, in a folder of the window's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use assay_engine::{EngineError, Monitor, Phase};
use assay_experiment::{Config, Experiment};
use assay_model::Model;
use assay_trace::Digest;
use assay_verify::Profiles;
use assay_work::Fetched;
use assay_work::message::{DeviceChoice, ExperimentRequest, Failure, JobId, ModelSource};

use super::APP_ID;
use super::platform::Cancelled;
use crate::experiment::run::{self, Step};
use crate::experiment::setup::{self, Setup};
use crate::experiment::teller::{Ears, Teller, TrialTold};
use crate::experiment::{devices, found};

/// Runs them, and gives the sheet's JSON.
pub async fn run(
    id: JobId,
    model: &ModelSource,
    request: &ExperimentRequest,
    device: &DeviceChoice,
    cancelled: &Arc<Cancelled>,
    told: &mut Fetched<'_>,
) -> Result<String, Failure> {
    let stop = Arc::clone(cancelled);
    let ears = Ears::new(move || match stop.has(id) {
        true => Err(EngineError::Cancelled),
        false => Ok(()),
    });
    let wanted: Vec<Experiment> = match request.which {
        None => Experiment::ALL.to_vec(),
        Some(which) => {
            let one = usize::from(which).checked_sub(1);
            let one = one.and_then(|index| Experiment::ALL.get(index));
            let missing = || Failure::new("request", format!("there is no experiment {which}"));
            vec![*one.ok_or_else(missing)?]
        }
    };
    let mut teller = Window {
        ears,
        told,
        before: 0,
        experiments: wanted.len() as u64,
    };
    experiments(model, request, device, &wanted, &mut teller)
        .await
        .map_err(|err| match cancelled.has(id) {
            true => Failure::cancelled(),
            false => failure(&err),
        })
}

async fn experiments(
    model: &ModelSource,
    request: &ExperimentRequest,
    device: &DeviceChoice,
    wanted: &[Experiment],
    teller: &mut Window<'_, '_>,
) -> anyhow::Result<String> {
    let mut config = Config::read(None)?;
    config.run.trials = request.trials as usize;
    config.run.verifiers = request.verifiers as usize;
    request.prompts.name().clone_into(&mut config.run.prompts);
    let full = match model {
        ModelSource::Path(path) => {
            config.models.full.clone_from(path);
            Model::open(Path::new(path))?
        }
        _ => Model::demo()?,
    };
    config.check()?;
    let mut ears = teller.ears();
    let mut hash = |model: &Model| root(model, &mut ears);
    let (full, quantised) = setup::models(&config, full, wanted, &mut hash)?;
    let named: Vec<String> = name(&request.verifier).into_iter().collect();
    let (prover, verifiers) = devices::pair(name(device), &named).await;
    let out = folder(&full.root)?;
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let setup = Setup {
        config,
        full,
        quantised,
        prover,
        verifiers,
        verifiers_were_named: !named.is_empty(),
        profiles: Profiles::embedded(),
        out,
        n_tokens: request.tokens,
    };
    let mut all = Vec::new();
    for (number, experiment) in (0..).zip(wanted.iter().copied()) {
        teller.before = number;
        let trials = run::experiment(&setup, experiment, Step::Whole, teller).await?;
        all.extend(found::summary(&setup, experiment, trials)?);
    }
    let mut sheet = found::write(&setup, &all)?;
    let kept = setup.out.display().to_string();
    sheet.facts.push(("kept in".to_owned(), kept));
    Ok(sheet.to_json()?)
}

/// As `assay experiment` would call it.
fn name(device: &DeviceChoice) -> Option<String> {
    match device {
        DeviceChoice::Best => None,
        DeviceChoice::Named(name) => Some(name.clone()),
        DeviceChoice::Cpu => Some("cpu".to_owned()),
    }
}

/// Where the trials of a model are kept between runs.
fn folder(root: &Digest) -> anyhow::Result<PathBuf> {
    let own =
        eframe::storage_dir(APP_ID).context("this system has no folder for programs' data")?;
    let name: String = root.to_string().chars().take(16).collect();
    Ok(own.join("experiments").join(name))
}

fn root(model: &Model, ears: &mut Ears) -> anyhow::Result<Digest> {
    let mut hasher = model.root_hasher();
    while !hasher.step()? {
        ears.alive()?;
    }
    Ok(hasher.finish()?)
}

/// What went wrong; the lines after the first say what to do.
fn failure(err: &anyhow::Error) -> Failure {
    let text = format!("{err:#}");
    let code = match err.downcast_ref::<EngineError>() {
        Some(_) => "device",
        None => "request",
    };
    match text.split_once('\n') {
        Some((message, next)) => Failure::new(code, message).with_next(next),
        None => Failure::new(code, text),
    }
}

/// Tells the window of trials: each experiment is an equal part of the whole, because how many trials one has depends on devices.
struct Window<'t, 'f> {
    ears: Ears,
    told: &'t mut Fetched<'f>,
    before: u64,
    experiments: u64,
}

impl Monitor for Window<'_, '_> {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) -> Result<(), EngineError> {
        self.ears.progress(phase, done, total)
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        self.ears.alive()
    }
}

impl Teller for Window<'_, '_> {
    fn trial(&mut self, trial: &TrialTold<'_>) {
        let of = trial.of as u64;
        let done = self.before * of + trial.number as u64 + 1;
        // Whoever wants it to stop is heard at the next trial.
        drop((self.told)(done, self.experiments * of));
    }

    fn resumed(&mut self, _trials: usize) {}

    fn ears(&self) -> Ears {
        self.ears.clone()
    }
}
