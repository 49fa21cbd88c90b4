//! What honest linear outputs were measured to look like through projections, by the prover's precision and by stream.

use std::collections::BTreeMap;

use assay_trace::{Compute, Manifest, StateDtype};
use serde::{Deserialize, Serialize};

use super::stream::Honest;
use crate::binomial;
use crate::profile::{CONFIDENCE, Tried};
use crate::report::ProfileReport;

/// Measured honest errors, with where they come from. Made by `calibrate-audit`, never typed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditProfiles {
    /// Name in reports.
    pub id: String,
    /// Day, ISO 8601.
    pub date: String,
    /// Command that measured it.
    pub command: String,
    /// Models and provers measured.
    pub measured: Vec<String>,
    /// Factor between the largest measured value and what is taken for honest.
    pub headroom: f64,
    /// Audits of honest traces that were not used above, each with a key of its own.
    pub trials: u64,
    /// Of those, rejected.
    pub false_rejects: u64,
    /// Openings that hold nothing of the model, by kind (`zero`, `random`, `shuffled`, `other_model`): layers that the energy test
    /// accepted. (Single products of them may be right: zeros are the product of zeros.)
    pub null_forgery: BTreeMap<String, Tried>,
    /// One for each precision and stream.
    pub streams: Vec<StreamProfile>,
}

/// One stream of one precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamProfile {
    /// What the prover rounds activations to.
    pub compute: Compute,
    /// `Q`, `K`, ... `logits`.
    pub stream: String,
    /// Largest relative error of an honest row that was measured, in units of [`unit`].
    pub row: f64,
    /// The same of all rows of a layer together.
    pub pooled: f64,
    /// Honest audits of a layer.
    pub audits: u64,
    /// Honest rows.
    pub rows: u64,
    /// Longest inner product measured.
    pub longest: usize,
}

/// What a relative error is counted in: the precision in which values are kept, and the growth of f32 sums with their length. Models
/// of different widths are comparable so; a model much wider than any measured one is outside the profile all the same.
pub fn unit(compute: Compute, k: usize) -> f64 {
    let kept = match compute {
        Compute::F32 => 0.0,
        Compute::F16 => 0.5f64.powi(11),
        Compute::Bf16 => 0.5f64.powi(8),
    };
    let summed = 0.5f64.powi(24) * (k as f64).sqrt();
    kept.hypot(summed)
}

impl AuditProfiles {
    /// Those that ship with Assay.
    ///
    /// # Panics
    /// Never: a test parses the embedded text.
    #[allow(
        clippy::expect_used,
        reason = "the text is embedded, and a test parses it"
    )]
    pub fn embedded() -> Self {
        serde_json::from_str(include_str!("../../profiles/audit.json"))
            .expect("the embedded profile parses")
    }

    /// What a report says of it.
    pub fn report(&self) -> ProfileReport {
        ProfileReport {
            id: self.id.clone(),
            date: self.date.clone(),
            honest_traces: self.trials,
            false_rejects: self.false_rejects,
            false_reject_upper_bound: binomial::upper_bound(
                self.trials,
                self.false_rejects,
                CONFIDENCE,
            ),
            null_forgery: self.null_forgery.clone(),
            nearest_cheat: None,
        }
    }

    /// Whether a claim of this precision may be judged at all: outputs are stored as they were kept, of inputs that were not
    /// rounded, or to integers.
    pub fn covers(&self, manifest: &Manifest) -> bool {
        let stored = matches!(
            (manifest.numerics.compute, manifest.state_dtype),
            (Compute::F32, StateDtype::F32)
                | (Compute::Bf16, StateDtype::Bf16)
                | (Compute::F16, StateDtype::F16)
        );
        let known = |s: &StreamProfile| s.compute == manifest.numerics.compute;
        // Integer sums need no calibration; what is left then is the output projection, which takes floats.
        let known_inputs = manifest.numerics.activations.is_none() || manifest.has_sums();
        stored && known_inputs && self.streams.iter().any(known)
    }

    /// The honest error of a stream whose products have inner length `k`; `None` where nothing like it was measured.
    pub fn honest(&self, compute: Compute, stream: &str, k: usize) -> Option<Honest> {
        let known = self
            .streams
            .iter()
            .find(|s| s.compute == compute && s.stream == stream)?;
        // Twice as long a sum is still like those measured; ten times as long is not.
        if k > 4 * known.longest {
            return None;
        }
        let scale = self.headroom * unit(compute, k);
        Some(Honest {
            row: known.row * scale,
            pooled: known.pooled * scale,
        })
    }
}
