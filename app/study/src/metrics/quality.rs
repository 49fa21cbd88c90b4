//! Counts of right and wrong decisions, and the ratios of them.

use serde::{Deserialize, Serialize};

/// Whole-number sums over rows; adding them in any order gives the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) rows: u64,
    pub(crate) entries: u64,
    pub(crate) active: u64,
    pub(crate) predicted: u64,
    /// Active and predicted.
    pub(crate) hits: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.entries += other.entries;
        self.active += other.active;
        self.predicted += other.predicted;
        self.hits += other.hits;
    }

    pub(crate) fn quality(self) -> Quality {
        let ratio = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let per = |count: u64, of: u64| ratio(count, of).unwrap_or(0.0);
        let silent = self.entries + self.hits - self.active - self.predicted;
        Quality {
            accuracy: ratio(self.hits + silent, self.entries),
            f1: ratio(2 * self.hits, self.active + self.predicted),
            precision: ratio(self.hits, self.predicted),
            predicted_active: per(self.predicted, self.rows),
            predicted_fraction: per(self.predicted, self.entries),
            recall: ratio(self.hits, self.active),
            true_active: per(self.active, self.rows),
            true_fraction: per(self.active, self.entries),
        }
    }
}

/// Quality of decisions, over all entries of all rows together. `None` where a ratio has nothing below its line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Right decisions among all.
    pub accuracy: Option<f64>,
    /// Harmonic mean of precision and recall.
    pub f1: Option<f64>,
    /// Active ones among those predicted.
    pub precision: Option<f64>,
    /// Predicted entries of a token, on average: the seed's `Classifier Sparsity`, which is this count.
    pub predicted_active: f64,
    /// The same as a fraction of all entries.
    pub predicted_fraction: f64,
    /// Predicted ones among those active.
    pub recall: Option<f64>,
    /// Active entries of a token, on average: the seed's `True Sparsity`, which is this count.
    pub true_active: f64,
    /// The same as a fraction of all entries.
    pub true_fraction: f64,
}
