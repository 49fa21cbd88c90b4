//! Files of an experiment's folder. Each is written whole or not at all, so that a run that was stopped loses no trial.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;

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

/// The files of one trial.
pub struct TrialFiles {
    /// The finished trial.
    pub trial: PathBuf,
    /// The prover's half.
    pub proven: PathBuf,
    /// The trace.
    pub trace: PathBuf,
}

impl TrialFiles {
    /// In `folder`.
    pub fn new(folder: &Path, trial: usize, direction: usize) -> Self {
        let back = if direction == 0 { "" } else { "-back" };
        let file = |ending: &str| folder.join(format!("trial-{trial:03}{back}{ending}"));
        Self {
            trial: file(".json"),
            proven: file("_metadata.json"),
            trace: file("_hidden_states.trace"),
        }
    }

    /// The trace's file name.
    pub fn trace_name(&self) -> String {
        let name = self.trace.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }
}
