//! Calibration profiles: what honest traces were measured to look like, where that holds, and what it lets through.
//!
//! A profile is data with its provenance, made by [`calibrate`](crate::calibrate); nothing in it is typed by hand. A claim that
//! no profile covers is INCONCLUSIVE. Every limit comes with its null test: how many forged commitments it accepts.

use std::collections::BTreeMap;

use assay_engine::AdapterInfo;
use assay_trace::{Compute, Manifest, NumericsClass, StateDtype};
use serde::{Deserialize, Serialize};

use crate::binomial;
use crate::sequential::Sequential;

/// Confidence of every bound on a rate.
pub const CONFIDENCE: f64 = 0.95;
/// Factor that an honest prover's mean distance may lie above all measured ones, where it is counted in the verifier's own rounding.
const EMULATED_HEADROOM: f64 = 1.1;
/// Chance that the sequential test ever rejects an honest trace.
pub const SEQUENTIAL_ALPHA: f64 = 1e-4;

/// One calibration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its name in reports.
    pub id: String,
    /// What it holds for.
    pub scope: Scope,
    /// Where it comes from.
    pub provenance: Provenance,
    /// What is refused.
    pub limits: Limits,
    /// What honest traces gave.
    pub honest: Honest,
    /// Forged commitments that the hidden-state limits accepted, by kind: `zero`, `random`, `shuffled`, `sign_flipped`,
    /// `other_model`, and any cheat that was measured.
    pub null_forgery: BTreeMap<String, Tried>,
    /// Measured cheats that are within what honest rounding of this precision is given, and so are accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hides: Vec<String>,
    /// The measured cheat that came closest to being accepted, besides those.
    pub nearest_cheat: Option<NearestCheat>,
}

/// The claims that a profile covers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scope {
    /// Architectures.
    pub families: Vec<String>,
    /// Stored types of weights.
    pub weight_dtypes: Vec<String>,
    /// Stored types of hidden states.
    pub state_dtypes: Vec<StateDtype>,
    /// What provers round activations to.
    pub compute: Vec<Compute>,
    /// Promises that provers make about their bits.
    pub numerics: Vec<NumericsClass>,
    /// Kinds of the verifier's adapter (`DiscreteGpu`, `Cpu`, ...); empty for any.
    pub device_types: Vec<String>,
    /// Most layers.
    pub max_layers: u32,
    /// Widest residual stream.
    pub max_hidden: u32,
    /// Most positions.
    pub max_positions: usize,
}

/// How a profile was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Day, ISO 8601.
    pub date: String,
    /// Command that measured it.
    pub command: String,
    /// Models measured.
    pub models: Vec<String>,
    /// Prover and verifier adapters measured, each `prover -> verifier`.
    pub adapters: Vec<String>,
    /// Honest traces, each file once, on however many devices it was verified.
    pub traces: u64,
    /// Rows of hidden states compared in them.
    pub rows: u64,
}

/// What is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// What distances and tolerances are counted in.
    #[serde(default, skip_serializing_if = "Unit::is_norm")]
    pub unit: Unit,
    /// Factor between the largest measured value and the limit.
    pub headroom: f64,
    /// By depth, ascending.
    pub rel_l2: Vec<DepthLimit>,
    /// Logit tolerance, absolute.
    pub tau_abs: f64,
    /// Logit tolerance, relative to the root mean square of the row's logits. The larger of the two holds.
    pub tau_rel: f64,
}

/// What a distance is counted in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// The norm of the verifier's row.
    #[default]
    Norm,
    /// What the claimed precision makes of the verifier's own row ([`Emulated`](crate::Emulated)).
    Emulated,
}

impl Unit {
    fn is_norm(&self) -> bool {
        *self == Self::Norm
    }

    /// What distances of provers that compute so are counted in.
    pub fn of(compute: Compute) -> Self {
        match compute {
            Compute::F32 => Self::Norm,
            Compute::Bf16 | Compute::F16 => Self::Emulated,
        }
    }
}

/// The hidden states of some depth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DepthLimit {
    /// Last layer that this holds for.
    pub to_layer: u32,
    /// Largest relative L2 distance that is let through.
    pub rel_l2: f64,
    /// Largest that an honest row had.
    pub measured_max: f64,
    /// Honest rows.
    pub rows: u64,
    /// Mean of log10 relative L2.
    pub log10_mean: f64,
    /// Deviation of a trace's mean from it.
    pub log10_sd_between: f64,
    /// Deviation of a row from its trace's mean.
    pub log10_sd_within: f64,
    /// Variance of means of eight consecutive rows over what independent rows would have; at least 1.
    pub inflation: f64,
}

/// What honest traces gave.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Honest {
    /// Traces.
    pub traces: u64,
    /// Traces that limits from the *other* traces would have rejected.
    pub false_rejects: u64,
    /// Emitted tokens.
    pub tokens: u64,
    /// Tokens that the verifier's own replay did not give.
    pub replay_mismatches: u64,
}

/// Trials and how many were accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// Accepted.
    pub accepted: u64,
    /// Of so many.
    pub of: u64,
}

/// How close a cheat came.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NearestCheat {
    /// Its kind.
    pub name: String,
    /// Its largest distance over the limit there, or what the sequential test came to over its own; it is caught above 1.
    pub times_limit: f64,
}

impl Profile {
    /// The limits for hidden state `layer`; `None` beyond the calibrated depth.
    pub fn depth(&self, layer: u32) -> Option<&DepthLimit> {
        self.limits
            .rel_l2
            .iter()
            .find(|depth| depth.to_layer >= layer)
    }

    /// Why this profile must not be used: it lets a forgery or a measured cheat through. A fault in the
    /// engine once made limits of 49; such a profile says what is broken, not what is honest.
    pub fn fault(&self) -> Option<String> {
        let passed = self
            .null_forgery
            .iter()
            .find(|(name, tried)| tried.accepted > 0 && !self.hides.contains(name));
        passed.map(|(name, tried)| {
            format!("{} of {} `{name}` were accepted", tried.accepted, tried.of)
        })
    }

    /// Of the cheats that it may hide, leaves those that it does.
    pub(crate) fn hide_what_passed(&mut self) {
        let tried = &self.null_forgery;
        self.hides
            .retain(|name| tried.get(name).is_some_and(|tried| tried.accepted > 0));
    }

    /// The logit tolerance for a row of logits.
    pub fn tau(&self, logits: &[f32]) -> f64 {
        self.limits.tau_abs.max(self.limits.tau_rel * rms(logits))
    }

    /// Upper bound, at [`CONFIDENCE`], of the rate at which honest traces are rejected.
    pub fn false_reject_upper_bound(&self) -> f64 {
        binomial::upper_bound(self.honest.traces, self.honest.false_rejects, CONFIDENCE)
    }

    /// Upper bound of the rate at which honest tokens are not what the verifier's replay gives.
    pub fn replay_mismatch_upper_bound(&self) -> f64 {
        binomial::upper_bound(
            self.honest.tokens,
            self.honest.replay_mismatches,
            CONFIDENCE,
        )
    }

    /// The sequential test that fits this profile.
    pub fn sequential(&self) -> Sequential {
        let worst =
            |f: fn(&DepthLimit) -> f64| self.limits.rel_l2.iter().map(f).fold(0.0, f64::max);
        // Two rows that agree to the last bit have no deviation at all; a twentieth of a decade is finer than matters.
        let sd = worst(|d| d.log10_sd_within * d.inflation.max(1.0).sqrt()).max(0.05);
        let between = 3.0 * worst(|d| d.log10_sd_between);
        let (headroom, shift) = match self.limits.unit {
            Unit::Norm => (self.limits.headroom.max(1.0), sd.max(0.3)),
            // Other hardware rounds as often, wherever it adds in another order: that is what the unit is.
            Unit::Emulated => (EMULATED_HEADROOM, sd.max(0.1)),
        };
        Sequential {
            null_mean: between + headroom.log10(),
            sd,
            shift,
            alpha: SEQUENTIAL_ALPHA,
        }
    }

    /// Whether the claim lies within what was measured.
    pub fn covers(&self, manifest: &Manifest, info: &AdapterInfo) -> bool {
        let Scope {
            families,
            weight_dtypes,
            state_dtypes,
            compute,
            numerics,
            device_types,
            max_layers,
            max_hidden,
            max_positions,
        } = &self.scope;
        families.contains(&manifest.model.family)
            && weight_dtypes.contains(&manifest.model.dtype)
            && state_dtypes.contains(&manifest.state_dtype)
            && compute.contains(&manifest.numerics.compute)
            && self.limits.unit == Unit::of(manifest.numerics.compute)
            && numerics.contains(&manifest.numerics.class)
            // What rounds differently near a tie is measured by none.
            && manifest.numerics.activations.is_none()
            && (device_types.is_empty() || device_types.contains(&info.device_type))
            && manifest.model.layers <= *max_layers
            && self.depth(manifest.model.layers).is_some()
            && manifest.model.hidden <= *max_hidden
            && manifest.positions() <= *max_positions
    }
}

/// Root mean square; 0 for an empty row.
pub fn rms(row: &[f32]) -> f64 {
    let sum: f64 = row.iter().map(|&x| f64::from(x).powi(2)).sum();
    (sum / row.len().max(1) as f64).sqrt()
}

/// All profiles that a verifier knows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profiles(pub Vec<Profile>);

/// The profiles in the repository: a JSON array that `assay calibrate` writes.
const EMBEDDED: &str = include_str!("../profiles/profiles.json");

impl Profiles {
    /// The profiles that ship with Assay. A test holds that they parse.
    pub fn embedded() -> Self {
        Self::from_json(EMBEDDED).unwrap_or_default()
    }

    /// Reads a JSON array of profiles.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text).map(Self)
    }

    /// The first profile that covers the claim.
    pub fn select(&self, manifest: &Manifest, info: &AdapterInfo) -> Option<&Profile> {
        self.0.iter().find(|profile| profile.covers(manifest, info))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn embedded_profiles_parse_and_are_sound() {
        let profiles = Profiles::from_json(EMBEDDED).unwrap();
        for profile in &profiles.0 {
            assert!(
                profile.honest.traces > 0 && profile.limits.headroom >= 1.0,
                "{}",
                profile.id
            );
            assert!(
                profile
                    .limits
                    .rel_l2
                    .iter()
                    .all(|d| d.rel_l2 > 0.0 && d.rel_l2 >= d.measured_max),
                "{}",
                profile.id
            );
            assert_eq!(profile.fault(), None, "{}", profile.id);
            assert!(
                profile
                    .limits
                    .rel_l2
                    .windows(2)
                    .all(|w| w[0].to_layer < w[1].to_layer),
                "{}",
                profile.id
            );
        }
    }

    #[test]
    fn a_claim_outside_the_scope_has_no_profile() {
        let profiles = Profiles(vec![testing::profile(1e-4, 1e-3)]);
        let info = AdapterInfo::cpu();
        let honest = testing::manifest();
        assert!(profiles.select(&honest, &info).is_some());
        let outside: [fn(&mut Manifest); 7] = [
            |m| m.model.family = "other".into(),
            |m| m.model.dtype = "int4".into(),
            |m| m.state_dtype = StateDtype::F16,
            |m| m.numerics.compute = Compute::Bf16,
            |m| m.numerics.class = NumericsClass::Exact,
            |m| m.model.layers = 1000,
            |m| m.prompt.tokens = 100_000,
        ];
        for change in outside {
            let mut manifest = honest.clone();
            change(&mut manifest);
            assert!(profiles.select(&manifest, &info).is_none(), "{manifest:?}");
        }
    }

    #[test]
    fn bounds_are_computed_from_counts() {
        let profile = testing::profile(1e-4, 1e-3);
        let want = 1.0 - 0.05f64.powf(1.0 / profile.honest.traces as f64);
        assert!((profile.false_reject_upper_bound() - want).abs() < 1e-9);
    }

    #[test]
    fn tau_grows_with_the_logits() {
        let mut profile = testing::profile(1e-4, 1e-3);
        profile.limits.tau_rel = 1e-3;
        assert_eq!(profile.tau(&[0.1; 4]), 1e-3);
        assert!((profile.tau(&[10.0; 4]) - 1e-2).abs() < 1e-9);
    }

    #[test]
    fn json_round_trip() {
        let profiles = vec![testing::profile(1e-4, 1e-3)];
        let text = serde_json::to_string(&profiles).unwrap();
        assert_eq!(Profiles::from_json(&text).unwrap().0, profiles);
        assert!(Profiles::from_json(&text.replace("\"id\"", "\"identity\"")).is_err());
    }
}
