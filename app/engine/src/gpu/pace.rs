//! How much work one submit may hold, so that it is over in a given time.
//!
//! A browser and a desktop draw with the same device that computes, and submits run in order: a frame waits for the submit before
//! it. A driver's watchdog ends those that take seconds. So work is cut by time, and how much that is, is learned as it runs. Cuts
//! change no result: every kernel has one order of addition, however rows are split.

use std::time::Duration;

/// Learned speed and the time aimed at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    target_s: f64,
    /// Multiply-adds a second.
    rate: f64,
}

/// Multiply-adds that are never split: shorter submits cost more than they give. Where a page is drawn by the same cores, each submit may
/// wait for a frame, so that a smaller floor would make ever smaller submits of what is taken for a slow device.
const LEAST: f64 = 1e7;
/// Smaller submits teach nothing.
const TEACHES: f64 = 1e6;

/// Multiply-adds that a submit may hold on a device of `rate` multiply-adds a second, to be over in `target_s` seconds.
pub fn budget(rate: f64, target_s: f64) -> u64 {
    (rate * target_s).max(LEAST) as u64
}

impl Pace {
    /// Starts with `rate` multiply-adds a second, a guess.
    pub(crate) fn new(target: Duration, rate: f64) -> Self {
        Self {
            target_s: target.as_secs_f64(),
            rate,
        }
    }

    /// Multiply-adds that the next submit may hold.
    pub(crate) fn budget(&self) -> u64 {
        budget(self.rate, self.target_s)
    }

    /// A submit of `work` multiply-adds took `elapsed`. Tiny ones say more about waiting than about speed, and one that was held up
    /// must not slow all later ones: a single submit changes the rate by a factor of two at most.
    pub(crate) fn learn(&mut self, work: u64, elapsed: Duration) {
        if (work as f64) < TEACHES {
            return;
        }
        let seen = work as f64 / elapsed.as_secs_f64().max(1e-6);
        let seen = seen.clamp(self.rate / 3.0, self.rate * 3.0);
        self.rate = 0.5 * (self.rate + seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budget_follows_the_device() {
        let mut pace = Pace::new(Duration::from_millis(20), 1e9);
        assert_eq!(pace.budget(), 20_000_000);
        // A device of 1e11 a second.
        for _ in 0..40 {
            let work = pace.budget();
            pace.learn(work, Duration::from_secs_f64(work as f64 / 1e11));
        }
        assert!((1.9e9..2.1e9).contains(&(pace.budget() as f64)), "{pace:?}");
        // One stall of a second does not undo it.
        let before = pace.budget();
        pace.learn(before, Duration::from_secs(1));
        assert!(pace.budget() >= before / 2);
        // And a slow device is found, too, but never cut to nothing.
        for _ in 0..100 {
            pace.learn(pace.budget(), Duration::from_secs(5));
        }
        assert_eq!(pace.budget(), LEAST as u64);
    }

    #[test]
    fn small_work_teaches_nothing() {
        let mut pace = Pace::new(Duration::from_millis(20), 1e9);
        pace.learn(1000, Duration::from_millis(10));
        assert_eq!(pace.budget(), 20_000_000);
    }
}
