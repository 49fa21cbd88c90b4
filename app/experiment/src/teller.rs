//! Who hears how experiments go on, and may stop them: a terminal, a window, or a page.

use std::sync::Arc;

use assay_engine::{EngineError, Monitor, Phase};

use crate::plan::Experiment;

/// Hears of the engine's progress and of trials.
pub trait Teller: Monitor {
    /// The experiment `index` (0 ..) of `of` begins.
    fn begin(&mut self, index: usize, of: usize) {
        let _ = (index, of);
    }

    /// Trial `number` (0 ..) of an experiment has ended, or was there; what came of it, in a line.
    fn trial(&mut self, trial: &TrialTold<'_>);

    /// So many trials of an experiment were there already.
    fn resumed(&mut self, trials: usize) {
        let _ = trials;
    }

    /// For work side by side, where one bar would tell of nobody: asks whether to go on, lets others run, and says nothing.
    fn ear(&self) -> Box<dyn Monitor + '_>;

    /// The same for work on threads of its own; without it, work side by side takes turns.
    fn ears(&self) -> Option<Ears> {
        None
    }
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

/// A monitor that only hears, on any thread.
#[derive(Clone)]
pub struct Ears(Arc<Asked>);

impl Ears {
    /// Asks `asked` each time.
    pub fn new(asked: impl Fn() -> Result<(), EngineError> + Send + Sync + 'static) -> Self {
        Self(Arc::new(asked))
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
