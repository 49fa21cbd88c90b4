//! Experiments: the runner of `assay experiment`, on the worker's model and devices.

use std::pin::Pin;
use std::sync::Arc;

use assay_engine::{EngineError, Monitor, Phase};
use assay_experiment::devices::CPU;
use assay_experiment::run::{self, Step};
use assay_experiment::teller::{Ears, TrialTold};
use assay_experiment::{
    Config, Devices, Experiment, Named, Precision, Setup, Store, Teller, found,
};
use assay_model::Model;
use assay_model::rounded::Format;
use assay_sheet::Sheet;
use assay_verify::Profiles;

use super::room::{self, Sides};
use super::{Worker, needs_weights};
use crate::message::{DeviceChoice, ExperimentRequest, Failure, JobId, ModelSource, Stage};
use crate::monitor::{Breath, JobMonitor};
use crate::opened::Against;
use crate::platform::Platform;

/// Trials, and verifications of each, in one run.
const MOST: u32 = 1000;

impl<P: Platform> Worker<P> {
    /// Runs them, and gives what they found as a sheet's JSON.
    pub(super) async fn experiment(
        &mut self,
        id: JobId,
        source: &ModelSource,
        request: &ExperimentRequest,
        device: &DeviceChoice,
    ) -> Result<String, Failure> {
        if source.is_key() {
            return Err(needs_weights());
        }
        let config = config(request)?;
        let mut wanted = wanted(request.which)?;
        let mut devices = Devices::new(self.platform.gpu_options().await);
        let prover = self.provers(device, &mut devices).await?;
        let named: Vec<String> = name(&request.verifier).into_iter().collect();
        let (prover, verifiers) = devices.pair(Some(prover), &named).await;
        let remark = match verifiers.contains(&prover) {
            true => leave_out(&mut wanted, &prover)?,
            false => None,
        };
        let full = match &self.open(id, source).await?.against {
            Against::Model(model) => Arc::clone(model),
            Against::Key(_) => return Err(needs_weights()),
        };
        let all = match named.is_empty() && wanted.iter().any(|one| one.is_concurrent()) {
            true => devices.names().await,
            false => &named,
        };
        let sides = Sides {
            prover: &prover,
            verifiers: &verifiers,
            all,
            each: config.run.verifiers,
        };
        room::check(&full, &wanted, &sides, self.platform.max_weight_bytes())?;
        let root = self.root(id, &full).await?;
        let quantised = match wanted.iter().any(|one| one.needs(Precision::Quantised)) {
            true => {
                let model = quantised(&full, &config.models.quantised)?;
                let root = self.hash(id, &model).await?;
                Some(Named::new(model, config.models.quantised.clone(), root))
            }
            false => None,
        };
        let setup = Setup {
            full: Named::new(full, called(source), root),
            quantised,
            config,
            prover,
            verifiers,
            verifiers_were_named: !named.is_empty(),
            profiles: Profiles::embedded(),
            n_tokens: request.tokens,
            remarks: remark.into_iter().collect(),
        };
        let mut folder = self.platform.trials(&root)?;
        let store: &mut dyn Store = match &mut folder {
            Some(folder) => &mut **folder,
            None => &mut self.trials,
        };
        let mut teller = Told::new(&self.platform, id);
        let step = Step::Whole;
        let all = run::experiments(&setup, &wanted, step, &mut devices, store, &mut teller).await?;
        let mut sheet = found::sheet(&setup, &all);
        let kept = store.finish(&setup, &all, &sheet)?;
        sheet.facts.push(("kept in".to_owned(), kept));
        checked(&sheet)
    }

    /// Opens the prover's device, and gives its name. Where no adapter is found and none was asked for, it is the CPU.
    async fn provers(
        &mut self,
        choice: &DeviceChoice,
        devices: &mut Devices,
    ) -> Result<String, Failure> {
        if *choice == DeviceChoice::Best && devices.names().await.len() == 1 {
            return Ok(CPU.to_owned());
        }
        let device = self.device(choice).await?;
        Ok(devices.put(device))
    }
}

/// The defaults with what was asked for over them.
fn config(request: &ExperimentRequest) -> Result<Config, Failure> {
    if request.trials.max(request.verifiers) > MOST {
        let message = format!("at most {MOST} trials and verifications can be asked for");
        return Err(Failure::new("request", message));
    }
    let mut config = Config::defaults();
    config.run.trials = request.trials as usize;
    config.run.verifiers = request.verifiers as usize;
    request.prompts.name().clone_into(&mut config.run.prompts);
    config.check()?;
    Ok(config)
}

fn wanted(which: Option<u8>) -> Result<Vec<Experiment>, Failure> {
    let Some(which) = which else {
        return Ok(Experiment::ALL.to_vec());
    };
    let index = usize::from(which).checked_sub(1);
    match index.and_then(|index| Experiment::ALL.get(index)) {
        Some(one) => Ok(vec![*one]),
        None => Err(Failure::new(
            "request",
            format!("there is no experiment {which}"),
        )),
    }
}

/// Leaves out experiments of two devices where there is one, and says so; an error if nothing is left.
fn leave_out(wanted: &mut Vec<Experiment>, only: &str) -> Result<Option<String>, Failure> {
    let before = wanted.len();
    wanted.retain(|one| !one.is_heterogeneous());
    if wanted.is_empty() {
        return Err(Failure::new(
            "unsupported",
            format!("this experiment needs two devices, and both sides would run on `{only}`"),
        )
        .with_next("run 1, 3 or 5, choose another device, or open this in a browser with WebGPU"));
    }
    Ok((wanted.len() < before).then(|| {
        format!(
            "Experiments 2 and 4 were left out: they need two devices, and both sides would run on `{only}`."
        )
    }))
}

/// As `assay experiment` would call it.
fn name(device: &DeviceChoice) -> Option<String> {
    match device {
        DeviceChoice::Best => None,
        DeviceChoice::Named(name) => Some(name.clone()),
        DeviceChoice::Cpu => Some(CPU.to_owned()),
    }
}

/// What reports call the model.
fn called(source: &ModelSource) -> String {
    match source {
        ModelSource::Demo => "demo".to_owned(),
        ModelSource::Path(path) => path.clone(),
        other => other.name(),
    }
}

/// The model in the format that `what` names.
fn quantised(full: &Model, what: &str) -> Result<Model, Failure> {
    let format = what.strip_prefix("round:").and_then(Format::named);
    let format = format.ok_or_else(|| Failure::new("internal", format!("no format {what}")))?;
    Ok(full.rounded(format)?)
}

/// The sheet's JSON, which keeps to the rules wherever its words come from.
fn checked(sheet: &Sheet) -> Result<String, Failure> {
    let wrong = |err| Failure::new("internal", format!("the sheet of experiments: {err}"));
    let json = sheet.to_json().map_err(wrong)?;
    Sheet::parse(json.as_bytes()).map_err(wrong)?;
    Ok(json)
}

/// Tells a face of trials: each experiment is an equal part of the whole, because how many trials one has depends on devices.
struct Told<'a, P: Platform> {
    platform: &'a P,
    id: JobId,
    ear: Ear<'a, P>,
    monitor: JobMonitor<'a, P>,
    before: u64,
    experiments: u64,
}

impl<'a, P: Platform> Told<'a, P> {
    fn new(platform: &'a P, id: JobId) -> Self {
        Self {
            platform,
            id,
            ear: Ear::new(platform, id),
            monitor: JobMonitor::new(platform, id),
            before: 0,
            experiments: 1,
        }
    }
}

impl<P: Platform> Monitor for Told<'_, P> {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) -> Result<(), EngineError> {
        self.ear.progress(phase, done, total)
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        self.ear.alive()
    }

    fn breathe(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        self.ear.breathe()
    }
}

impl<P: Platform> Teller for Told<'_, P> {
    fn begin(&mut self, index: usize, of: usize) {
        (self.before, self.experiments) = (index as u64, of as u64);
    }

    fn trial(&mut self, trial: &TrialTold<'_>) {
        let of = trial.of as u64;
        let done = self.before * of + trial.number as u64 + 1;
        // Whoever wants it to stop is heard at the next trial.
        drop(
            self.monitor
                .tell(Stage::Trials, done, self.experiments * of),
        );
    }

    fn ear(&self) -> Box<dyn Monitor + '_> {
        Box::new(Ear::new(self.platform, self.id))
    }

    fn ears(&self) -> Option<Ears> {
        self.platform.ears(self.id)
    }
}

/// Hears of the job's cancel, and says nothing.
struct Ear<'a, P: Platform> {
    platform: &'a P,
    id: JobId,
    breath: Breath<'a, P>,
}

impl<'a, P: Platform> Ear<'a, P> {
    fn new(platform: &'a P, id: JobId) -> Self {
        Self {
            platform,
            id,
            breath: Breath::new(platform),
        }
    }
}

impl<P: Platform> Monitor for Ear<'_, P> {
    fn progress(&mut self, _phase: Phase, _done: u64, _total: u64) -> Result<(), EngineError> {
        self.alive()
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        match self.platform.is_cancelled(self.id) {
            true => Err(EngineError::Cancelled),
            false => Ok(()),
        }
    }

    fn breathe(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        self.breath.take()
    }
}
