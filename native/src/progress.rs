//! A progress bar on stderr, only on a terminal; and the monitor through which Ctrl-C reaches the engine.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use assay_engine::{EngineError, Monitor, Phase};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::interrupt;

/// Shows one phase at a time.
pub struct Progress {
    bar: ProgressBar,
    stage: Option<Stage>,
    /// Until when nothing is drawn; `None` if drawing has begun, or never will.
    patience: Option<Instant>,
}

/// Work that is done sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(400);

/// What the bar is about: a phase of the engine's, or the program's own work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The engine's.
    Engine(Phase),
    /// Writing a checkpoint; bytes.
    Write,
    /// Projecting weights for a key; bytes.
    Project,
    /// Runs of an experiment.
    Runs,
}

impl Progress {
    /// A bar if `shown` and stderr is a terminal, and from here on Ctrl-C stops the work instead of the process.
    pub fn start(shown: bool) -> Self {
        interrupt::listen();
        Self {
            bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
            stage: None,
            patience: (shown && std::io::stderr().is_terminal()).then(|| Instant::now() + PATIENCE),
        }
    }

    /// Takes the bar off the screen.
    pub fn clear(&mut self) {
        self.bar.finish_and_clear();
    }

    /// Like [`Monitor::progress`], for work that reports bytes but cannot be told to stop; see [`interrupt::stoppable`].
    pub fn bytes(&mut self, stage: Stage, done: u64, total: u64) {
        self.show(stage, done, total);
        interrupt::unwind_if_requested();
    }

    /// Steps of a run on the CPU, which asks about Ctrl-C itself.
    pub fn steps(&mut self, done: u64, total: u64) {
        self.show(Stage::Engine(Phase::Prefill), done, total);
    }

    /// So many runs of an experiment are done.
    pub fn runs(&mut self, done: u64, total: u64) {
        self.show(Stage::Runs, done, total);
    }

    fn show(&mut self, stage: Stage, done: u64, total: u64) {
        if self.stage != Some(stage) {
            self.stage = Some(stage);
            self.bar.set_style(style(stage));
            self.bar.set_message(words(stage));
            self.bar.reset();
        }
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.patience.is_some_and(|until| Instant::now() > until) {
            self.patience = None;
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

impl Monitor for Progress {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) -> Result<(), EngineError> {
        self.show(Stage::Engine(phase), done, total);
        interrupt::check()
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        interrupt::check()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

fn words(stage: Stage) -> &'static str {
    match stage {
        Stage::Engine(Phase::Hash) => "hashing weights",
        Stage::Engine(Phase::Load) => "loading weights",
        Stage::Engine(Phase::Prefill) => "running tokens",
        Stage::Engine(Phase::Decode) => "generating",
        Stage::Engine(Phase::Checks) => "checking",
        Stage::Write => "writing weights",
        Stage::Project => "projecting",
        Stage::Runs => "running",
    }
}

fn style(stage: Stage) -> ProgressStyle {
    let template = match stage {
        Stage::Engine(Phase::Hash | Phase::Load) | Stage::Write | Stage::Project => {
            "  {msg:<16} {bar:30} {binary_bytes}/{binary_total_bytes} {eta}"
        }
        Stage::Engine(Phase::Prefill | Phase::Decode | Phase::Checks) | Stage::Runs => {
            "  {msg:<16} {bar:30} {pos}/{len} {eta}"
        }
    };
    // The templates are constants; should one be wrong, the default bar is still a bar.
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}
