//! The six experiments: who proves, who verifies, and what the seeds expect of them.

use serde::{Deserialize, Serialize};

/// One of the experiments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Experiment {
    /// Full precision on both sides, one device.
    Exp1,
    /// Full precision on both sides, two devices, in both directions.
    Exp2,
    /// An int4 prover, a full verifier, one device.
    Exp3,
    /// An int4 prover, a full verifier, two devices.
    Exp4,
    /// A full prover, an int4 verifier: the lazy one.
    Exp5,
    /// One prover, many verifiers at once.
    Exp6,
}

/// Whose weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// The model as it is.
    Full,
    /// Its quantised form.
    Quantised,
}

impl Experiment {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Exp1,
        Self::Exp2,
        Self::Exp3,
        Self::Exp4,
        Self::Exp5,
        Self::Exp6,
    ];

    /// Its name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exp1 => "exp1",
            Self::Exp2 => "exp2",
            Self::Exp3 => "exp3",
            Self::Exp4 => "exp4",
            Self::Exp5 => "exp5",
            Self::Exp6 => "exp6",
        }
    }

    /// The reproduction's name for it; the keywords decide which threshold formulas its optimiser takes.
    pub fn long_name(self) -> &'static str {
        match self {
            Self::Exp1 => "exp1_homogeneous",
            Self::Exp2 => "exp2_heterogeneous",
            Self::Exp3 => "exp3_quantized_inference_homogeneous",
            Self::Exp4 => "exp4_quantized_inference_heterogeneous",
            Self::Exp5 => "exp5_full_quantized_verification",
            Self::Exp6 => "exp6_one_to_many",
        }
    }

    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Exp1 => "homogeneous, full precision on both sides",
            Self::Exp2 => "heterogeneous, full precision on both sides",
            Self::Exp3 => "int4 prover, full verifier, one device",
            Self::Exp4 => "int4 prover, full verifier, two devices",
            Self::Exp5 => "full prover, int4 verifier",
            Self::Exp6 => "one prover, many verifiers at once",
        }
    }

    /// By its name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// The prover's weights.
    pub fn prover(self) -> Precision {
        match self {
            Self::Exp3 | Self::Exp4 => Precision::Quantised,
            _ => Precision::Full,
        }
    }

    /// The verifiers' weights.
    pub fn verifier(self) -> Precision {
        match self {
            Self::Exp5 => Precision::Quantised,
            _ => Precision::Full,
        }
    }

    /// Whether either side has such weights.
    pub fn needs(self, precision: Precision) -> bool {
        [self.prover(), self.verifier()].contains(&precision)
    }

    /// Whether prover and verifier are meant to be different devices.
    pub fn is_heterogeneous(self) -> bool {
        matches!(self, Self::Exp2 | Self::Exp4)
    }

    /// Whether its verifiers run at the same time.
    pub fn is_concurrent(self) -> bool {
        self == Self::Exp6
    }

    /// Whether prover and verifier have different weights: the seeds read such an experiment in two opposite ways.
    pub fn differs_in_weights(self) -> bool {
        self.prover() != self.verifier()
    }

    /// What the seeds write about it. Theirs, not measured here.
    pub fn seeds_say(self) -> &'static str {
        match self {
            Self::Exp1 => "accept rate > 95 %; 98.84 % on 10 trials of Qwen2.5-7B (repository)",
            Self::Exp2 => "accept rate > 90 %, expected 90 to 95 %; no measurement committed",
            Self::Exp3 => {
                "README: accept rate > 80 % (should pass); code: detection rate > 80 % (must be caught); no measurement committed"
            }
            Self::Exp4 => {
                "README: accept rate > 70 % (should pass); code: must be caught; no measurement committed"
            }
            Self::Exp5 => {
                "README: accept rate > 80 % (should pass); code: a lazy verifier must be told; no measurement committed"
            }
            Self::Exp6 => "in the configuration only; never run",
        }
    }
}
