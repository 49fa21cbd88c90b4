//! One run of several, shown as a part of the whole.

use std::pin::Pin;

use assay_engine::{EngineError, Monitor, Phase};

/// Hands on what a run reports as the `index`-th of `parts` runs of the same length.
pub(crate) struct Part<'m> {
    monitor: &'m mut dyn Monitor,
    index: u64,
    parts: u64,
}

impl<'m> Part<'m> {
    /// Part `index`, counted from 0.
    pub(crate) fn new(monitor: &'m mut dyn Monitor, index: usize, parts: usize) -> Self {
        Self {
            monitor,
            index: index as u64,
            parts: parts.max(1) as u64,
        }
    }
}

impl Monitor for Part<'_> {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) -> Result<(), EngineError> {
        let (before, all) = match phase {
            Phase::Prefill => (self.index * total, self.parts * total),
            _ => (0, total),
        };
        self.monitor.progress(phase, before + done, all)
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        self.monitor.alive()
    }

    fn breathe(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        self.monitor.breathe()
    }
}
