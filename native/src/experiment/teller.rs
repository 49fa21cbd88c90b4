//! Who hears how experiments go on, and may stop them: a terminal, or a window.

use std::sync::Arc;

use assay_engine::{EngineError, Monitor, Phase};
use assay_experiment::Experiment;

use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;

/// Hears of the engine's progress and of trials.
pub trait Teller: Monitor {
    /// Trial `number` (0 ..) of an experiment has ended, or was there; what came of it, in a line.
    fn trial(&mut self, trial: &TrialTold<'_>);

    /// So many trials of an experiment were there already.
    fn resumed(&mut self, trials: usize);

    /// For work side by side, where one bar would tell of nobody: asks whether to go on, and says nothing.
    fn ears(&self) -> Ears;
}

/// What is told of a trial.
pub struct TrialTold<'a> {
    /// Of which experiment.
    pub experiment: Experiment,
    /// Which trial, from 0; the other direction's count on.
    pub number: usize,
    /// Trials of this experiment, both directions.
    pub of: usize,
    /// Where the prover ran.
    pub prover: &'a str,
    /// What came of it.
    pub said: &'a str,
}

/// Whether to go on: an error if not.
type Asked = dyn Fn() -> Result<(), EngineError> + Send + Sync;

/// A monitor that only hears.
#[derive(Clone)]
pub struct Ears(Arc<Asked>);

impl Ears {
    /// Asks `asked` each time.
    pub fn new(asked: impl Fn() -> Result<(), EngineError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(asked))
    }

    /// Hears Ctrl-C.
    pub fn of_terminal() -> Self {
        Self::new(interrupt::check)
    }
}

impl Monitor for Ears {
    fn progress(&mut self, _phase: Phase, _done: u64, _total: u64) -> Result<(), EngineError> {
        (self.0)()
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        (self.0)()
    }
}

/// A terminal: a bar, and a line for each trial.
pub struct Terminal<'a> {
    /// Lines.
    pub output: &'a Output,
    /// The bar.
    pub progress: &'a mut Progress,
}

impl Monitor for Terminal<'_> {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) -> Result<(), EngineError> {
        self.progress.progress(phase, done, total)
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        self.progress.alive()
    }
}

impl Teller for Terminal<'_> {
    fn trial(&mut self, trial: &TrialTold<'_>) {
        self.progress.clear();
        self.output.note_field(
            trial.experiment.name(),
            format_args!(
                "trial {} of {} on {}: {}",
                trial.number + 1,
                trial.of,
                trial.prover,
                trial.said
            ),
        );
    }

    fn resumed(&mut self, trials: usize) {
        self.output
            .note_field("resumed", format_args!("{trials} trials were there"));
    }

    fn ears(&self) -> Ears {
        Ears::of_terminal()
    }
}
