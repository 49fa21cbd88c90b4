//! The stream `masks` in the manifest: which neurons of its MLPs a sparse prover ran, and by which rule it picked them.
//!
//! Which neurons are active follows from a rule, but near a threshold two machines may decide differently. So masks are
//! data: a trace commits to all of them and holds all of them. Whether each is admissible under the rule is for a
//! verifier, with scores of its own.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::{Decimal, Digest};

/// What the trace says of sparse MLPs. A trace without it claims to be dense.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SparseClaim {
    /// The masks of every layer, in order; `neurons` must be there.
    pub masks: Vec<MaskClaim>,
    /// How the prover says that it picked what is active.
    pub rule: SparseRule,
}

/// A mask that every layer has at every position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaskClaim {
    /// Which.
    pub name: MaskName,
    /// Units that it has a bit for, 1 to [`MAX_PRODUCT_WIDTH`](crate::limits::MAX_PRODUCT_WIDTH).
    pub width: u32,
}

/// What a mask's bits stand for, in the order in which a forward pass decides them. A set bit is an active unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaskName {
    /// Channels of the MLP's input, after the norm: what gate and up are multiplied with.
    Input,
    /// Neurons: rows of gate and up, columns of down.
    Neurons,
}

/// How active units are picked, at each position and layer by itself. Thresholds: one for each layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RuleFields", into = "RuleFields")]
pub enum SparseRule {
    /// Someone gave the masks.
    Given {
        /// SHA-256 of the file that they were in.
        digest: Digest,
    },
    /// The neurons of largest |activation|.
    TopK {
        /// How many, 0 to the mask's width.
        keep: u32,
    },
    /// Neurons whose |SiLU(gate)| (without a gate: whose ReLU(up)) is at least the layer's threshold; without a gate,
    /// above it. CATS, arXiv 2404.08763.
    Cats {
        /// `[layers]`
        thresholds: Vec<Decimal>,
    },
    /// Channels of the MLP's input, and neurons, of at least the layer's magnitude. The only rule with the mask `input`.
    /// TEAL, arXiv 2408.14690.
    Teal {
        /// `[layers]`, for |input|.
        input: Vec<Decimal>,
        /// `[layers]`, for |activation|.
        neurons: Vec<Decimal>,
    },
    /// The neurons of largest predicted score.
    Predicted {
        /// SHA-256 of the predictor's file.
        digest: Digest,
        /// How many, 0 to the mask's width.
        keep: u32,
    },
}

impl MaskName {
    /// The word in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Neurons => "neurons",
        }
    }
}

impl fmt::Display for MaskName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl MaskClaim {
    /// ceil(width / 8): bytes of one mask. Bit i is bit i mod 8 of byte i / 8.
    pub fn bytes(&self) -> usize {
        self.width.div_ceil(8) as usize
    }

    /// Bits of the mask's last byte that no unit has.
    fn stray(&self) -> u8 {
        match self.width % 8 {
            0 => 0,
            used => 0xff << used,
        }
    }
}

impl SparseClaim {
    /// Bytes of all masks of one layer at one position, one mask after another.
    pub fn layer_bytes(&self) -> usize {
        self.masks
            .iter()
            .fold(0, |sum, mask| sum.saturating_add(mask.bytes()))
    }

    /// The rule in a few words: `topk, 154 of 512 neurons`.
    pub fn in_words(&self) -> String {
        let kind = self.rule.kind();
        match self.rule {
            SparseRule::TopK { keep } | SparseRule::Predicted { keep, .. } => {
                let width = self.width(MaskName::Neurons).unwrap_or_default();
                format!("{kind}, {keep} of {width} neurons")
            }
            _ => kind.to_owned(),
        }
    }

    /// Units that `mask` has a bit for; `None` if the layers do not have it.
    pub fn width(&self, mask: MaskName) -> Option<u32> {
        let claim = self.masks.iter().find(|claim| claim.name == mask)?;
        Some(claim.width)
    }

    /// Where `mask` stands in the bytes of a layer at a position; `None` if the layers do not have it.
    pub fn range(&self, mask: MaskName) -> Option<Range<usize>> {
        let mut start = 0_usize;
        for claim in &self.masks {
            let end = start.saturating_add(claim.bytes());
            if claim.name == mask {
                return Some(start..end);
            }
            start = end;
        }
        None
    }

    /// The first layer (counted from the first of `rows`) and mask with a bit beyond its width. `rows` are the masks of
    /// layers one after another, [`layer_bytes`](Self::layer_bytes) each.
    pub(crate) fn first_stray(&self, rows: &[u8]) -> Option<(usize, MaskName)> {
        let mut end = 0_usize;
        let ends = self.masks.iter().map(|claim| {
            end = end.saturating_add(claim.bytes());
            (claim.name, end.saturating_sub(1), claim.stray())
        });
        let last_bytes: Vec<(MaskName, usize, u8)> = ends.filter(|mask| mask.2 != 0).collect();
        if last_bytes.is_empty() {
            return None;
        }
        let layers = rows.chunks_exact(self.layer_bytes().max(1));
        layers.enumerate().find_map(|(layer, row)| {
            let strays = |&&(_, at, stray): &&(MaskName, usize, u8)| {
                row.get(at).is_some_and(|byte| byte & stray != 0)
            };
            let &(mask, ..) = last_bytes.iter().find(strays)?;
            Some((layer, mask))
        })
    }
}

impl SparseRule {
    /// The word in the manifest.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Given { .. } => "given",
            Self::TopK { .. } => "topk",
            Self::Cats { .. } => "cats",
            Self::Teal { .. } => "teal",
            Self::Predicted { .. } => "predicted",
        }
    }
}

/// A rule as JSON has it. serde's own tagged enums write the tag first; here it stands among the sorted keys.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleFields {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<Vec<Decimal>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    keep: Option<u32>,
    kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    neurons: Option<Vec<Decimal>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thresholds: Option<Vec<Decimal>>,
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    #[default]
    Given,
    TopK,
    Cats,
    Teal,
    Predicted,
}

impl From<SparseRule> for RuleFields {
    fn from(rule: SparseRule) -> Self {
        let none = Self::default();
        match rule {
            SparseRule::Given { digest } => Self {
                kind: Kind::Given,
                digest: Some(digest),
                ..none
            },
            SparseRule::TopK { keep } => Self {
                kind: Kind::TopK,
                keep: Some(keep),
                ..none
            },
            SparseRule::Cats { thresholds } => Self {
                kind: Kind::Cats,
                thresholds: Some(thresholds),
                ..none
            },
            SparseRule::Teal { input, neurons } => Self {
                kind: Kind::Teal,
                input: Some(input),
                neurons: Some(neurons),
                ..none
            },
            SparseRule::Predicted { digest, keep } => Self {
                kind: Kind::Predicted,
                digest: Some(digest),
                keep: Some(keep),
                ..none
            },
        }
    }
}

impl TryFrom<RuleFields> for SparseRule {
    type Error = &'static str;

    fn try_from(fields: RuleFields) -> Result<Self, Self::Error> {
        let RuleFields {
            digest,
            input,
            keep,
            kind,
            neurons,
            thresholds,
        } = fields;
        match (kind, digest, input, keep, neurons, thresholds) {
            (Kind::Given, Some(digest), None, None, None, None) => Ok(Self::Given { digest }),
            (Kind::TopK, None, None, Some(keep), None, None) => Ok(Self::TopK { keep }),
            (Kind::Cats, None, None, None, None, Some(thresholds)) => Ok(Self::Cats { thresholds }),
            (Kind::Teal, None, Some(input), None, Some(neurons), None) => {
                Ok(Self::Teal { input, neurons })
            }
            (Kind::Predicted, Some(digest), None, Some(keep), None, None) => {
                Ok(Self::Predicted { digest, keep })
            }
            _ => Err("rule of sparse MLPs has other fields than its kind calls for"),
        }
    }
}
