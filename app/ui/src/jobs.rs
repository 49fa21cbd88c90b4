//! The jobs that a worker was given and has not finished: how far each is, how fast it goes, when it ends.

use assay_work::message::{Job, JobId, Stage};
use web_time::Instant;

/// Why a job was started: what to do with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Tell traces from models.
    Sort,
    /// See what a trace claims.
    Inspect,
    /// See what a model is.
    OpenModel,
    /// Judge by running the model again.
    Verify,
    /// Judge with a key.
    Audit,
    /// Generate.
    Prove,
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
            Self::OpenModel => "open-model",
            Self::Verify => "verify",
            Self::Audit => "audit",
            Self::Prove => "prove",
            Self::Hashes => "hashes",
            Self::Save(_) => "save",
            Self::Adapters => "adapters",
            Self::Cache => "cache",
        }
    }

    /// Whether a user waits for it. The others happen by the way.
    pub fn is_awaited(&self) -> bool {
        matches!(
            self,
            Self::Sort | Self::Inspect | Self::OpenModel | Self::Verify | Self::Audit | Self::Prove
        )
    }

    /// Whether it takes the whole screen while it runs.
    pub fn is_long(&self) -> bool {
        self.judges() || *self == Self::Prove
    }

    /// Whether a verdict comes of it.
    pub fn judges(&self) -> bool {
        matches!(self, Self::Verify | Self::Audit)
    }
}

/// A step that a user sees: several stages may make one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Its name.
    pub label: &'static str,
    /// What happens in it.
    pub tip: &'static str,
    /// What its figures count.
    pub unit: Unit,
}

/// What a stage counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Bytes,
    Tokens,
    Layers,
    Checks,
}

const READ: Step = Step {
    label: "Read the trace",
    tip: "Its bytes, and what it claims",
    unit: Unit::Bytes,
};
const HASH: Step = Step {
    label: "Hash the weights",
    tip: "Are they the ones the trace names?",
    unit: Unit::Bytes,
};
const LOAD: Step = Step {
    label: "Load the model",
    tip: "Weights onto the device, and a self-test of it",
    unit: Unit::Bytes,
};
const RUN: Step = Step {
    label: "Run it again",
    tip: "Prompt and answer through every layer",
    unit: Unit::Tokens,
};
const CHECK: Step = Step {
    label: "Compare",
    tip: "Hidden states and tokens against limits",
    unit: Unit::Checks,
};
const AUDIT: Step = Step {
    label: "Audit the layers",
    tip: "Opened products against the key’s projections, attention again",
    unit: Unit::Layers,
};
const JUDGE: Step = Step {
    label: "Judge",
    tip: "Rows, elements and tokens against limits",
    unit: Unit::Checks,
};
const FETCH: Step = Step {
    label: "Open the model",
    tip: "Its files, and their hash",
    unit: Unit::Bytes,
};
const PROMPT: Step = Step {
    label: "Run the prompt",
    tip: "All its tokens at once",
    unit: Unit::Tokens,
};
const DECODE: Step = Step {
    label: "Generate",
    tip: "One token after the other, each layer hashed",
    unit: Unit::Tokens,
};

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
    spent: [f64; 5],
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
            spent: [0.0; 5],
            step: 0,
            is_cancelled: false,
        }
    }

    /// The steps that a user sees.
    pub fn steps(&self) -> &'static [Step] {
        match self.purpose {
            Purpose::Prove => const { &[FETCH, LOAD, PROMPT, DECODE] },
            Purpose::Audit => const { &[READ, AUDIT, JUDGE] },
            _ => const { &[READ, HASH, LOAD, RUN, CHECK] },
        }
    }

    fn step_of(&self, stage: Stage) -> usize {
        if self.purpose == Purpose::Audit {
            return match stage {
                Stage::Fetch | Stage::Read | Stage::Hash | Stage::Load => 0,
                Stage::Prefill | Stage::Decode => 1,
                Stage::Checks => 2,
            };
        }
        let proves = self.purpose == Purpose::Prove;
        match stage {
            Stage::Fetch | Stage::Read => 0,
            Stage::Hash => usize::from(!proves),
            Stage::Load => {
                if proves {
                    1
                } else {
                    2
                }
            }
            Stage::Prefill => {
                if proves {
                    2
                } else {
                    3
                }
            }
            Stage::Decode => 3,
            Stage::Checks => {
                if proves {
                    3
                } else {
                    4
                }
            }
        }
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
            let step = self.step_of(stage).max(self.step);
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
        Job::Inspect { .. } => "Reading the trace",
        Job::OpenModel { model } if model.is_key() => "Opening the key",
        Job::OpenModel { .. } => "Opening the model",
        Job::Sort { .. } => "Looking at files",
        _ => "Working",
    }
}
