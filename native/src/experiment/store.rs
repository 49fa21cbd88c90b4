//! Files of an experiment's folder. Each is written whole or not at all, so that a run that was stopped loses no trial.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use assay_experiment::store::Place;
use assay_experiment::summary::Summary;
use assay_experiment::trial::{self, Proven, Trial};
use assay_experiment::{Experiment, ExperimentError, Setup, Store};
use assay_sheet::Sheet;
use assay_trace::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::found;
use crate::atomic_file::AtomicFile;

/// Writes bytes, in place of what was there.
pub fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    AtomicFile::create(path)?.finish(|file| file.write_all(bytes))
}

/// Writes indented JSON.
pub fn write_json(path: &Path, value: &impl Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(value).context("no JSON form")?;
    text.push('\n');
    write(path, text.as_bytes())
}

/// Reads a file of ours; `None` if there is none, or if it is of another form: then it is made again.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// A folder of trials, one folder an experiment.
pub struct Folder {
    out: PathBuf,
}

impl Folder {
    /// Trials lie below `out`.
    pub fn new(out: PathBuf) -> Self {
        Self { out }
    }

    /// Of an experiment.
    fn of(&self, experiment: Experiment) -> PathBuf {
        self.out.join(experiment.name())
    }

    /// A file of a trial, by its ending.
    fn file(&self, at: Place, ending: &str) -> PathBuf {
        self.of(at.experiment).join(at.file(ending))
    }

    /// The prover's half of a trial.
    fn metadata(&self, at: Place) -> PathBuf {
        self.file(at, "_metadata.json")
    }

    /// A trial's trace.
    pub fn trace(&self, at: Place) -> PathBuf {
        self.of(at.experiment).join(at.trace())
    }

    fn hand_over(&self, at: Place) -> anyhow::Result<(Proven, Vec<u8>)> {
        let (path, trace) = (self.metadata(at), self.trace(at));
        let shown = path.display();
        let proven: Proven = read_json(&path).with_context(|| {
            format!("no prover's half of trial {} in {shown}\nrun `--step prove` first, and bring its folder here", at.number)
        })?;
        ensure!(
            proven.experiment == at.experiment.name() && proven.schema == trial::SCHEMA,
            "{shown} is of {}",
            proven.experiment
        );
        let bytes =
            std::fs::read(&trace).with_context(|| format!("cannot read {}", trace.display()))?;
        ensure!(
            Digest::of(&bytes) == proven.hidden_states_digest,
            "{} is not the file that its prover wrote",
            trace.display()
        );
        Ok((proven, bytes))
    }
}

fn failed(err: anyhow::Error) -> ExperimentError {
    ExperimentError::Store(err.into())
}

impl Store for Folder {
    fn begin(&mut self, experiment: Experiment) -> Result<(), ExperimentError> {
        let folder = self.of(experiment);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))
            .map_err(failed)
    }

    fn proven(&mut self, at: Place, _key: Digest) -> Option<(Proven, Vec<u8>)> {
        let proven = read_json(&self.metadata(at))?;
        Some((proven, std::fs::read(self.trace(at)).ok()?))
    }

    fn keep_proven(
        &mut self,
        at: Place,
        proven: &Proven,
        trace: &[u8],
    ) -> Result<(), ExperimentError> {
        // The trace first: who finds the other file must find this one.
        write(&self.trace(at), trace).map_err(failed)?;
        write_json(&self.metadata(at), proven).map_err(failed)
    }

    fn handed_over(&mut self, at: Place) -> Result<(Proven, Vec<u8>), ExperimentError> {
        self.hand_over(at).map_err(failed)
    }

    fn trial(&mut self, at: Place, _key: Digest) -> Option<Trial> {
        read_json(&self.file(at, ".json"))
    }

    fn keep_trial(&mut self, at: Place, trial: &Trial) -> Result<(), ExperimentError> {
        write_json(&self.file(at, ".json"), trial).map_err(failed)
    }

    fn keep_summary(&mut self, summary: &Summary) -> Result<(), ExperimentError> {
        let name = summary.experiment.name();
        let file = self.of(summary.experiment);
        let file = file.join(format!("{name}_summary.json"));
        write_json(&file, summary).map_err(failed)
    }

    fn finish(
        &mut self,
        setup: &Setup,
        all: &[(Summary, Vec<Trial>)],
        sheet: &Sheet,
    ) -> Result<String, ExperimentError> {
        found::write(&self.out, setup, all, sheet).map_err(failed)?;
        Ok(self.out.display().to_string())
    }
}
