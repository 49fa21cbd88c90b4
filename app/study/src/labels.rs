//! Which activations count as *active*.
//!
//! The definition decides what is measured. The Llama port trains on `y > 0` of SiLU(gate) * up: the *sign* of a product, about
//! half of all entries by construction, and no sparsity at all; its threshold function is dead code. It is [`Label::Sign`] here, to
//! repeat the seed's figures, and carries a remark into every report. [`Label::TopK`] and [`Label::Quantile`] are sparsity labels in
//! the manner of TEAL and CATS. For ReLU the same comparison is [`Label::Positive`], and there it is real sparsity.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::StudyError;
use crate::dataset::{Activation, Dataset, Matrix, Part, Stream};

/// Whether neurons of an MLP or heads of an attention are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Attention heads, by the norm of their output.
    Att,
    /// Neurons of the MLP, by their activation.
    Mlp,
}

impl Target {
    /// `att` or `mlp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Att => "att",
            Self::Mlp => "mlp",
        }
    }

    /// The matrix whose entries are labelled.
    pub fn stream(self) -> Stream {
        match self {
            Self::Att => Stream::AttY,
            Self::Mlp => Stream::MlpY,
        }
    }
}

/// A definition of *active*.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Label {
    /// The `keep` entries of largest |y| of each token; ties go to the lower index.
    TopK {
        /// Entries of each token, 1 to the number of columns.
        keep: u32,
    },
    /// Entries with |y| of at least the layer's threshold, which the largest `fraction` of all |y| of the training split reaches
    /// (CATS: an empirical quantile of the layer). Exact zeros are never active, even where the threshold is zero.
    Quantile {
        /// The fraction that is active on the training split, above 0 and below 1.
        fraction: f64,
    },
    /// y > 0 of a gated activation: the seed's label.
    Sign,
    /// y > 0 of a ReLU: entries that are not zero.
    Positive,
    /// The int(heads * share) heads of largest norm of each token (DejaVu: share 0.7); ties go to the lower index.
    HeadShare {
        /// The share of heads, above 0, at most 1.
        share: f64,
    },
}

impl Label {
    /// A short name with its parameter, for reports.
    pub fn name(&self) -> String {
        match self {
            Self::TopK { keep } => format!("top {keep} by |y|"),
            Self::Quantile { fraction } => format!("|y| in the largest {:.1} %", 100.0 * fraction),
            Self::Sign => "y > 0 (sign)".to_owned(),
            Self::Positive => "y > 0 (ReLU)".to_owned(),
            Self::HeadShare { share } => format!("largest {:.0} % of heads by norm", 100.0 * share),
        }
    }

    /// What a reader of any figure with this label must know.
    pub fn remark(&self) -> Option<&'static str> {
        match self {
            Self::Sign => Some(
                "This label is the sign of SiLU(gate) * up, positive for about half of all entries by construction. It is the \
                 seed's label, repeated for comparison; it says nothing about sparsity.",
            ),
            _ => None,
        }
    }

    /// Whether the label fits a target of `columns` entries a token with this activation.
    ///
    /// # Errors
    /// A parameter out of range; a label of heads for neurons or the reverse; the seed's sign under ReLU, or `Positive` without it.
    pub fn check(
        &self,
        target: Target,
        activation: Activation,
        columns: usize,
    ) -> Result<(), StudyError> {
        let reason = match (self, target) {
            (Self::TopK { keep }, _) if *keep == 0 || *keep as usize > columns => {
                "keep must be 1 to the number of columns"
            }
            (Self::TopK { .. }, _) => return Ok(()),
            (Self::Quantile { fraction }, _) if !(*fraction > 0.0 && *fraction < 1.0) => {
                "fraction must be above 0 and below 1"
            }
            (Self::Quantile { .. }, _) => return Ok(()),
            (Self::Sign | Self::Positive, Target::Att) => "norms have no sign",
            (Self::Sign, Target::Mlp) if activation == Activation::Relu => {
                "the model's activation is ReLU, where y > 0 is `positive`"
            }
            (Self::Positive, Target::Mlp) if activation != Activation::Relu => {
                "the model's activation is not ReLU, where y > 0 is only a `sign`"
            }
            (Self::Sign | Self::Positive, Target::Mlp) => return Ok(()),
            (Self::HeadShare { .. }, Target::Mlp) => "neurons have no head norms",
            (Self::HeadShare { share }, Target::Att) if !(*share > 0.0 && *share <= 1.0) => {
                "share must be above 0, at most 1"
            }
            (Self::HeadShare { share }, Target::Att) if heads_kept(*share, columns) == 0 => {
                "no head is left"
            }
            (Self::HeadShare { .. }, Target::Att) => return Ok(()),
        };
        Err(StudyError::Label {
            label: format!("{self:?}"),
            reason,
        })
    }
}

/// int(heads * share), as upstream's Python computes it.
fn heads_kept(share: f64, heads: usize) -> usize {
    (share * heads as f64) as usize
}

/// A label that is ready to be applied to one layer: thresholds are known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Labeller {
    rule: Rule,
    columns: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Largest(usize),
    AtLeast(f32),
    Positive,
}

impl Labeller {
    /// Prepares `label` for a layer. A quantile's threshold comes from the training split only; it is exact, from two passes over
    /// the mapped rows with 2^16 counters each.
    ///
    /// # Errors
    /// As [`Label::check`]; a layer that is not there; no training rows; the dataset's errors.
    pub fn fit(
        dataset: &Dataset,
        target: Target,
        label: &Label,
        layer: u32,
    ) -> Result<Self, StudyError> {
        let matrix = dataset.matrix(target.stream(), layer)?;
        let columns = matrix.columns();
        label.check(target, dataset.facts().activation, columns)?;
        let rule = match label {
            Label::TopK { keep } => Rule::Largest(*keep as usize),
            Label::HeadShare { share } => Rule::Largest(heads_kept(*share, columns)),
            Label::Sign | Label::Positive => Rule::Positive,
            Label::Quantile { fraction } => {
                let rows = dataset.rows_of(Part::Train)?;
                Rule::AtLeast(threshold(&matrix, &rows, *fraction)?)
            }
        };
        Ok(Self { rule, columns })
    }

    /// |y| of at least a threshold that is known already: a quantile on another text than it was estimated on.
    pub fn with_threshold(columns: usize, threshold: f32) -> Self {
        Self {
            rule: Rule::AtLeast(threshold),
            columns,
        }
    }

    /// The layer's threshold, where the label has one.
    pub fn threshold(&self) -> Option<f32> {
        match self.rule {
            Rule::AtLeast(threshold) => Some(threshold),
            _ => None,
        }
    }

    /// Marks the active entries of `y` `[rows, columns]` with 1, the others with 0. `out` becomes as long as `y`.
    ///
    /// # Errors
    /// `y` is not whole rows.
    pub fn mark(&self, y: &[f32], out: &mut Vec<u8>) -> Result<(), StudyError> {
        if self.columns == 0 || !y.len().is_multiple_of(self.columns) {
            return Err(StudyError::Length {
                what: "y",
                got: y.len(),
                want: self.columns,
            });
        }
        out.resize(y.len(), 0);
        out.par_chunks_exact_mut(self.columns)
            .zip(y.par_chunks_exact(self.columns))
            .for_each(|(out, y)| match self.rule {
                Rule::Largest(keep) => {
                    out.fill(0);
                    let mut order = Vec::new();
                    for &index in largest(y, keep, f32::abs, &mut order) {
                        if let Some(mark) = out.get_mut(index as usize) {
                            *mark = 1;
                        }
                    }
                }
                Rule::AtLeast(threshold) => {
                    for (mark, y) in out.iter_mut().zip(y) {
                        *mark = u8::from(y.abs() >= threshold && *y != 0.0);
                    }
                }
                Rule::Positive => {
                    for (mark, y) in out.iter_mut().zip(y) {
                        *mark = u8::from(*y > 0.0);
                    }
                }
            });
        Ok(())
    }
}

/// Indices of the `keep` largest `key(value)`, in no order; ties go to the lower index. `order` is room to work in.
pub(crate) fn largest<'a>(
    values: &[f32],
    keep: usize,
    key: impl Fn(f32) -> f32,
    order: &'a mut Vec<u32>,
) -> &'a [u32] {
    order.clear();
    order.extend(0..values.len() as u32);
    let value = |index: u32| values.get(index as usize).map_or(0.0, |&v| key(v) + 0.0);
    if keep > 0 && keep < order.len() {
        // Adding 0.0 made -0.0 equal to 0.0, which `total_cmp` tells apart.
        order.select_nth_unstable_by(keep - 1, |&a, &b| {
            value(b).total_cmp(&value(a)).then(a.cmp(&b))
        });
    }
    order.get(..keep.min(order.len())).unwrap_or_default()
}

/// The k-th largest |y| over `rows`, k = ceil(fraction * entries). Floats without sign sort like their bits, so two passes of counting
/// find it: upper halves first, then the lower halves within the one that matters.
fn threshold(matrix: &Matrix, rows: &[u32], fraction: f64) -> Result<f32, StudyError> {
    let entries = rows.len() as u64 * matrix.columns() as u64;
    let mut rank = ((fraction * entries as f64).ceil() as u64).clamp(1, entries.max(1));
    let mut upper = 0;
    let mut counts = count(matrix, rows, |bits| Some(bits >> 16))?;
    let mut find = |counts: &[u64]| {
        for (half, &n) in counts.iter().enumerate().rev() {
            if n >= rank {
                return half as u32;
            }
            rank -= n;
        }
        0
    };
    upper = find(&counts).max(upper);
    counts = count(matrix, rows, |bits| {
        (bits >> 16 == upper).then_some(bits & 0xffff)
    })?;
    Ok(f32::from_bits(upper << 16 | find(&counts)))
}

/// How often each of 2^16 `half`s of |y|'s bits occurs.
fn count(
    matrix: &Matrix,
    rows: &[u32],
    half: impl Fn(u32) -> Option<u32>,
) -> Result<Vec<u64>, StudyError> {
    let mut counts = vec![0u64; 1 << 16];
    let mut y = Vec::new();
    for rows in rows.chunks(256) {
        matrix.gather(rows, &mut y)?;
        for bits in y.iter().map(|y| y.abs().to_bits()) {
            if let Some(n) = half(bits).and_then(|half| counts.get_mut(half as usize)) {
                *n += 1;
            }
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests;
