//! How long frames take while a job runs: the app must never wait for it.

use std::time::Duration;

use web_time::Instant;

/// Frames since the last long job began.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    frame: Duration,
    worst: Duration,
    frames: u64,
}

impl Meter {
    /// Forgets all: a long job begins.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Adds the time since `start` to the frame at hand.
    pub fn add(&mut self, start: Instant) {
        self.frame += start.elapsed();
    }

    /// Ends the frame; it counts if a long job `is_running`.
    pub fn end(&mut self, is_running: bool) {
        if is_running {
            self.worst = self.worst.max(self.frame);
            self.frames += 1;
        }
        self.frame = Duration::ZERO;
    }

    /// The longest frame, milliseconds.
    pub fn worst_ms(&self) -> f64 {
        self.worst.as_secs_f64() * 1e3
    }

    /// How many there were.
    pub fn frames(&self) -> u64 {
        self.frames
    }
}
