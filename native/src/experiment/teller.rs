//! A terminal that hears how experiments go on.

use assay_engine::{EngineError, Monitor, Phase};
use assay_experiment::Teller;
use assay_experiment::teller::{Ears, TrialTold};

use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;

/// Hears Ctrl-C.
pub fn ears() -> Ears {
    Ears::new(interrupt::check)
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

    fn ear(&self) -> Box<dyn Monitor + '_> {
        Box::new(ears())
    }

    fn ears(&self) -> Option<Ears> {
        Some(ears())
    }
}
