//! What a predictor is worth on held-out rows.
//!
//! Recall alone says nothing: predicting everything has recall 1, and a list of neurons that are often active knows no token at all.
//! So each figure stands beside reference predictors *at the same budget*: `static` (the most frequent ones of the training split),
//! `random`, and `everything` and `nothing`. The number that matters is the lift over `static`.

pub(crate) mod evaluate;
mod interval;
mod quality;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use evaluate::evaluate;
pub use interval::{CONFIDENCE, Estimate};
pub use quality::Quality;

/// Held-out quality of one layer's predictor. Fields stand in the order in which their JSON keys sort.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerMetrics {
    /// Each token keeps as many entries as are truly active in it: the best scores. Budgets are equal for all three.
    pub at_true_count: Compared,
    /// Entries with `score >= 0` (sigmoid at least 0.5) are kept. `static` and `random` keep as many as the predictor, token by token.
    pub at_zero: Compared,
    /// Neurons or heads.
    pub columns: u32,
    /// Documents of the rows.
    pub documents: u32,
    /// A predictor that predicts everything.
    pub everything: Quality,
    /// The layer.
    pub layer: u32,
    /// The predictor against `static` at the true count.
    pub lift: Lift,
    /// A predictor that predicts nothing.
    pub nothing: Quality,
    /// Rows that were measured.
    pub rows: u64,
}

/// Three predictors at one budget.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compared {
    /// The predictor.
    pub predictor: Quality,
    /// Entries drawn anew for each token.
    pub random: Quality,
    /// The entries that were active most often in the training split, the same for each token.
    #[serde(rename = "static")]
    pub most_frequent: Quality,
}

/// Recall at the true count: predictor less static.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lift {
    /// Predictor's recall less static's; `None` where nothing is active.
    pub difference: Option<f64>,
    /// What that says.
    pub finding: Finding,
    /// Upper end of the difference's interval, from documents as independent samples; `None` with fewer than two.
    pub high: Option<f64>,
    /// Lower end.
    pub low: Option<f64>,
    /// Predictor's recall over static's; `None` where static has none.
    pub ratio: Option<f64>,
}

/// What a comparison with `static` came to, at 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Finding {
    /// The whole interval of the difference lies above zero.
    BetterThanStatic,
    /// It does not: the predictor was not shown to know more than which neurons are often active.
    NoBetterThanStatic,
    /// Too few documents to tell.
    Undecided,
}

impl Finding {
    /// A few words for it.
    pub fn words(self) -> &'static str {
        match self {
            Self::BetterThanStatic => "better than the static list",
            Self::NoBetterThanStatic => "no better than the static list",
            Self::Undecided => "undecided: too few documents",
        }
    }
}
