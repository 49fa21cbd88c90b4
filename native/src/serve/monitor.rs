//! Tells of tokens, and ends a run that nobody wants any more.

use std::time::Instant;

use assay_engine::{EngineError, Monitor, Phase};
use assay_live::Line;
use tokio::sync::mpsc::UnboundedSender;

use super::server::Server;

/// Why a run was cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Whoever asked has gone.
    Gone,
    /// The prover is being stopped.
    Stopping,
    /// It took too long.
    Timeout,
}

/// Of one run.
pub struct RunMonitor<'a> {
    server: &'a Server,
    lines: &'a UnboundedSender<Line>,
    deadline: Instant,
    /// Tokens so far.
    pub tokens: u64,
    /// Why it was cancelled, if it was.
    pub cut: Option<Cut>,
}

impl<'a> RunMonitor<'a> {
    /// From now on.
    pub fn new(server: &'a Server, lines: &'a UnboundedSender<Line>) -> Self {
        Self {
            server,
            lines,
            deadline: Instant::now() + server.run_time,
            tokens: 0,
            cut: None,
        }
    }
}

impl Monitor for RunMonitor<'_> {
    fn progress(&mut self, _phase: Phase, _done: u64, _total: u64) -> Result<(), EngineError> {
        self.alive()
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        self.cut = if self.server.is_stopping() {
            Some(Cut::Stopping)
        } else if self.lines.is_closed() {
            Some(Cut::Gone)
        } else if Instant::now() >= self.deadline {
            Some(Cut::Timeout)
        } else {
            return Ok(());
        };
        Err(EngineError::Cancelled)
    }

    fn token(&mut self, id: u32) {
        self.tokens += 1;
        drop(self.lines.send(Line::Token(id))); // if nobody listens, `alive` will say so
    }
}
