//! The jobs that a worker was given and has not finished: how far each is, how fast it goes, when it ends.

use assay_work::message::{Job, JobId, Stage};
use web_time::Instant;

use crate::steps::{self, Step};

/// Why a job was started: what to do with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Tell traces from models.
    Sort,
    /// See what a trace claims.
    Inspect,
    /// Read what a study found.
    Sheet,
    /// See what a model is.
    OpenModel,
    /// Judge by running the model again.
    Verify,
    /// Judge with a key.
    Audit,
    /// Generate.
    Prove,
    /// Ask a live prover, and judge its answer by running the model again.
    Ask,
    /// The same, with a key.
    AskWithKey,
    /// Run experiments.
    Experiment,
    /// Committed hashes at a position.
    Hashes,
    /// Bytes to save under this name.
    Save(String),
    /// What can compute here.
    Adapters,
    /// What is kept on disk.
    Cache,
}

impl Purpose {
    /// A stable word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sort => "sort",
            Self::Inspect => "inspect",
            Self::Sheet => "sheet",
            Self::OpenModel => "open-model",
            Self::Verify => "verify",
            Self::Audit => "audit",
            Self::Prove => "prove",
            Self::Ask | Self::AskWithKey => "ask",
            Self::Experiment => "experiment",
            Self::Hashes => "hashes",
            Self::Save(_) => "save",
            Self::Adapters => "adapters",
            Self::Cache => "cache",
        }
    }

    /// Whether a user waits for it. The others happen by the way.
    pub fn is_awaited(&self) -> bool {
        self.is_long()
            || matches!(
                self,
                Self::Sort | Self::Inspect | Self::Sheet | Self::OpenModel
            )
    }

    /// Whether it takes the whole screen while it runs.
    pub fn is_long(&self) -> bool {
        self.judges() || matches!(self, Self::Prove | Self::Experiment)
    }

    /// Whether a verdict comes of it.
    pub fn judges(&self) -> bool {
        matches!(self, Self::Verify | Self::Audit) || self.asks()
    }

    /// Whether a live prover is asked.
    pub fn asks(&self) -> bool {
        matches!(self, Self::Ask | Self::AskWithKey)
    }
}

/// A job on its way.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    /// Its number.
    pub id: JobId,
    /// Why.
    pub purpose: Purpose,
    /// What goes on; nothing before the first news.
    pub stage: Option<Stage>,
    /// Units done in it.
    pub done: u64,
    /// Units in all; 0 where not known.
    pub total: u64,
    /// When the worker got it.
    pub started: Instant,
    stage_started: Instant,
    stage_first: u64,
    /// Seconds that each step took, until now.
    spent: [f64; steps::MOST],
    step: usize,
    /// Whether it was told to stop.
    pub is_cancelled: bool,
}

impl Live {
    fn new(id: JobId, purpose: Purpose) -> Self {
        let now = Instant::now();
        Self {
            id,
            purpose,
            stage: None,
            done: 0,
            total: 0,
            started: now,
            stage_started: now,
            stage_first: 0,
            spent: [0.0; steps::MOST],
            step: 0,
            is_cancelled: false,
        }
    }

    /// The steps that a user sees.
    pub fn steps(&self) -> &'static [Step] {
        steps::of(&self.purpose)
    }

    /// Index of the step that goes on.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Takes the news in. `true` if another step has begun.
    pub fn progress(&mut self, stage: Stage, done: u64, total: u64) -> bool {
        let now = Instant::now();
        let mut is_new = self.stage.is_none();
        if self.stage != Some(stage) {
            let step = steps::index(&self.purpose, stage, self.step).max(self.step);
            if let Some(spent) = self.spent.get_mut(self.step) {
                *spent += (now - self.stage_started).as_secs_f64();
            }
            is_new |= step != self.step;
            self.step = step;
            self.stage = Some(stage);
            self.stage_started = now;
            self.stage_first = done;
        }
        self.done = done;
        self.total = total;
        is_new
    }

    /// The stage that goes on, done as a fraction; `None` where the total is not known.
    pub fn fraction(&self) -> Option<f32> {
        (self.total > 0).then(|| (self.done as f64 / self.total as f64).clamp(0.0, 1.0) as f32)
    }

    /// Units a second in this stage, once that can be told.
    pub fn rate(&self) -> Option<f64> {
        let seconds = self.stage_started.elapsed().as_secs_f64();
        let units = self.done.saturating_sub(self.stage_first);
        (seconds > 0.2 && units > 0).then(|| units as f64 / seconds)
    }

    /// Seconds left in this stage.
    pub fn remaining(&self) -> Option<f64> {
        let left = self.total.checked_sub(self.done)?;
        Some(left as f64 / self.rate()?)
    }

    /// Seconds that step `index` took or has taken so far.
    pub fn spent(&self, index: usize) -> f64 {
        let past = self.spent.get(index).copied().unwrap_or(0.0);
        if index == self.step && self.stage.is_some() {
            past + self.stage_started.elapsed().as_secs_f64()
        } else {
            past
        }
    }
}

/// All that is on its way.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    last: JobId,
    live: Vec<Live>,
}

impl Jobs {
    /// Numbers a job and keeps it until it is done.
    pub fn start(&mut self, purpose: Purpose) -> JobId {
        self.last += 1;
        self.live.push(Live::new(self.last, purpose));
        self.last
    }

    /// By number. News of others are late and mean nothing.
    pub fn get(&mut self, id: JobId) -> Option<&mut Live> {
        self.live.iter_mut().find(|job| job.id == id)
    }

    /// Takes a job out.
    pub fn finish(&mut self, id: JobId) -> Option<Live> {
        let index = self.live.iter().position(|job| job.id == id)?;
        Some(self.live.remove(index))
    }

    /// Takes all out: the worker is gone.
    pub fn clear(&mut self) -> Vec<Live> {
        std::mem::take(&mut self.live)
    }

    /// The long job, if there is one.
    pub fn long(&self) -> Option<&Live> {
        self.live.iter().find(|job| job.purpose.is_long())
    }

    /// The first that a user waits for; a long one before others.
    pub fn awaited(&self) -> Option<&Live> {
        self.long()
            .or_else(|| self.live.iter().find(|job| job.purpose.is_awaited()))
    }

    /// Whether one for `purpose` is on its way.
    pub fn has(&self, purpose: &Purpose) -> bool {
        self.live
            .iter()
            .any(|job| job.purpose == *purpose && !job.is_cancelled)
    }

    /// Marks those that a user waits for as told to stop, and gives their numbers.
    pub fn cancel(&mut self) -> Vec<JobId> {
        let awaited = self
            .live
            .iter_mut()
            .filter(|job| job.purpose.is_awaited() && !job.is_cancelled);
        awaited
            .map(|job| {
                job.is_cancelled = true;
                job.id
            })
            .collect()
    }
}

/// What a job is called while it runs.
pub(crate) fn title(job: &Job) -> &'static str {
    match job {
        Job::Verify { .. } => "Verifying",
        Job::Prove { .. } => "Generating",
        Job::Ask { .. } => "Asking the prover",
        Job::Experiment { .. } => "Running experiments",
        Job::Inspect { .. } => "Reading the trace",
        Job::OpenModel { model } if model.is_key() => "Opening the key",
        Job::OpenModel { .. } => "Opening the model",
        Job::Sort { .. } => "Looking at files",
        Job::Sheet { .. } => "Reading the study",
        _ => "Working",
    }
}
