//! What an audit says in a report, beside its checks.

use serde::{Deserialize, Serialize};

use super::soundness::Missed;
use crate::word::{self, Word};

/// An audit's part of a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditReport {
    /// The key's name: a digest that reveals nothing of it.
    pub key: String,
    /// Secret projections of each product.
    pub projections: usize,
    /// Secret rows of each matrix that are recomputed.
    pub sampled_rows: usize,
    /// Who picked what is open: `all`, `chosen`, `interactive` or `offline`.
    #[serde(deserialize_with = "word::read")]
    pub challenge: Word,
    /// Layers audited.
    pub layers: Vec<u32>,
    /// Layers of the model.
    pub layers_total: usize,
    /// Output tokens whose logits were checked.
    pub logits: usize,
    /// Output tokens.
    pub output_tokens: usize,
    /// How often a prover that cheats in some layers is missed.
    pub missed: Vec<Missed>,
    /// Hashes that one more try at an offline draw costs a prover; null where the draw was not offline.
    pub hashes_a_try: Option<u32>,
    /// The nine products of a layer, as verified_llm names them, and the logits.
    pub streams: Vec<StreamReport>,
    /// The three kinds of test on them, and a pooled one.
    pub tiers: Vec<TierReport>,
    /// Bytes of the trace that were opened for the audit.
    pub opened_bytes: u64,
}

/// One stream over all audited layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamReport {
    /// `Q`, `K`, `V`, `QK`, `KV`, `O`, `gate`, `up`, `down` or `logits`.
    #[serde(deserialize_with = "word::read")]
    pub name: Word,
    /// `projected` where outputs were checked through projections; `exact` where they are integers, checked over a field; `recomputed` where the verifier computed it itself from checked
    /// values, so that there is nothing of the prover's to check.
    #[serde(deserialize_with = "word::read")]
    pub how: Word,
    /// Rows: layers times positions.
    pub rows: usize,
    /// Largest relative error that the projections show of a row; null for what was recomputed, as are the following.
    pub relative_error: Option<f64>,
    /// What honest rows have at most, by calibration; null without a profile.
    pub honest_error: Option<f64>,
    /// Relative error of a row that the energy test misses with a chance of 1e-9.
    pub detects: Option<f64>,
    /// Largest energy of a row over the limit.
    pub row_over_limit: Option<f64>,
    /// Largest energy of a layer's rows together over the limit.
    pub pooled_over_limit: Option<f64>,
    /// Largest difference of a recomputed element over its bound.
    pub element_over_bound: Option<f64>,
    /// Largest residual over its certified bound.
    pub residual_over_bound: Option<f64>,
    /// Mean squared residual, as verified_llm computes it. For comparison: it decides nothing.
    pub mse: Option<f64>,
    /// Whether that is below verified_llm's threshold of 1e-5.
    pub mse_passes: Option<bool>,
}

/// One kind of test.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TierReport {
    /// `elements`, `energy`, `pooled-energy`, `certified`, or `exact`, of integers. Those of floats make no tests where products are of
    /// integers, but on logits.
    #[serde(deserialize_with = "word::read")]
    pub tier: Word,
    /// Tests made.
    pub tests: u64,
    /// Streams that failed.
    pub failed: u64,
    /// Chance that any test of this run fails an honest trace: 0 where the bound is certified, else by the calibrated error.
    pub false_reject: f64,
    /// Chance that a wrong row of each product passes, for the errors named.
    pub false_accept: Vec<FalseAccept>,
}

/// How an error fares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FalseAccept {
    /// The error, in words.
    pub error: String,
    /// Chance that it passes; null where that depends on more than its size.
    pub chance: Option<f64>,
}
