//! The masks of a sparse MLP: is what the trace says was active what its rule picks?
//!
//! The verifier runs with the trace's masks, because near a threshold two honest adapters may decide differently and everything
//! after would then differ by far more than rounding. So each bit is held against the rule by the verifier's own scores: a bit that
//! differs from the verifier's own decision must belong to a score that is as near to the threshold as rounding can move it. A mask
//! is admitted like a token: not because the prover says so, but because the rule might have picked it.

use std::ops::Range;

use assay_engine::Outputs;
use assay_engine::sparsity::{Bits, LayerMasks, LayerScores, SparseModel, Sparsity};
use assay_model::{Mlp, ModelConfig};
use assay_trace::{Manifest, MaskName, Trace};
use serde::{Deserialize, Serialize};

use crate::profile::Profile;
use crate::report::{Check, Outcome, Where};

/// How far a score may be moved, in units of the row's root mean square, for each unit of relative L2 distance that the profile lets
/// a hidden state have. A score is a product of the state with a row of weights, or of two such: its relative error is the state's
/// times a few, and a row has thousands of them. The largest of some million scores that honest devices gave was 1.2 apart, and their
/// thresholds 0.2 (`measure_masks`, docs/sparse.md): the rest is room for wider models than were measured.
const SCORE_ERROR: f64 = 16.0;

/// What was found of a sparse trace's masks.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct MaskReport {
    /// The rule, as a word of the trace format.
    pub rule: String,
    /// Share of neurons that were active, over all layers and positions.
    pub active_fraction: f64,
    /// Bits that the verifier would have set otherwise, of so many.
    pub flipped: u64,
    /// Bits compared.
    pub bits: u64,
    /// The largest distance of a flipped bit's score from its threshold, in root mean squares of its row; 0 without any.
    pub worst_margin: f64,
    /// What was let through there.
    pub worst_limit: f64,
}

/// Does the trace claim the sparsity that was asked for, which is none unless somebody asked?
pub(crate) fn claim(
    manifest: &Manifest,
    config: &ModelConfig,
    wanted: Option<&SparseModel>,
    is_audit: bool,
) -> Check {
    const ID: &str = "sparsity";
    const CODE: &str = "sparsity";
    match (&manifest.sparse, wanted) {
        (None, None) => Check::pass(ID, "the trace claims that every neuron was computed"),
        (Some(claim), None) => Check::fail(
            ID,
            CODE,
            format!(
                "the trace says that only some neurons were computed (rule `{}`): that is another function than the model, and it was not asked for",
                claim.rule.kind()
            ),
        ),
        (Some(_), Some(_)) if is_audit => Check::fail(
            ID,
            CODE,
            "an audit without weights cannot check a sparse MLP",
        ),
        (None, Some(wanted)) => Check::fail(
            ID,
            CODE,
            format!(
                "the trace claims that every neuron was computed; `{}` was asked for",
                wanted.rule().kind()
            ),
        ),
        (Some(claim), Some(wanted)) if *claim == wanted.claim(config) => Check::pass(
            ID,
            format!(
                "the trace claims the rule that was asked for, `{}`",
                claim.rule.kind()
            ),
        ),
        (Some(claim), Some(wanted)) => Check::fail(
            ID,
            CODE,
            format!(
                "the trace claims the rule `{}`; what was asked for is `{}` with its own numbers",
                claim.rule.kind(),
                wanted.rule().kind()
            ),
        ),
    }
}

/// A bit that no rounding explains.
#[derive(Debug, Clone, Copy)]
struct Wrong {
    layer: u32,
    position: usize,
    neuron: usize,
    margin: f64,
    limit: f64,
    is_active: bool,
}

/// Holds masks against scores, chunk by chunk.
pub(crate) struct MaskCheck<'t> {
    trace: &'t Trace<'t>,
    profile: Option<&'t Profile>,
    /// Whether scores have the prover's bits, so that no difference is rounding.
    is_exact: bool,
    rule: &'t Sparsity,
    mlp: Mlp,
    /// One a layer, all positions.
    masks: Vec<LayerMasks>,
    report: MaskReport,
    active: u64,
    neurons: u64,
    /// A row with another number of active neurons than the rule keeps.
    miscounted: Option<(u32, usize, usize, usize)>,
    wrong: Option<Wrong>,
}

impl<'t> MaskCheck<'t> {
    /// Unpacks the trace's masks; `None` if they are not of this model's shape, which [`claim`] rules out. With `is_exact` no profile
    /// lets anything through.
    pub fn new(
        trace: &'t Trace<'t>,
        profile: Option<&'t Profile>,
        is_exact: bool,
        sparse: &'t SparseModel,
        config: &ModelConfig,
    ) -> Option<Self> {
        let bits = |layer: u32, mask: MaskName, width: usize| {
            Bits::from_bytes(width, &trace.layer_masks(layer, mask)?)
        };
        let rule = sparse.sparsity();
        let mut masks = Vec::with_capacity(config.layers);
        for layer in 0..config.layers as u32 {
            masks.push(LayerMasks {
                input: match rule.masks_input() {
                    true => Some(bits(layer, MaskName::Input, config.hidden)?),
                    false => None,
                },
                neurons: bits(layer, MaskName::Neurons, config.intermediate)?,
            });
        }
        Some(Self {
            trace,
            profile: profile.filter(|_| !is_exact),
            is_exact,
            rule,
            mlp: config.family.mlp(),
            masks,
            report: MaskReport {
                rule: sparse.rule().kind().to_owned(),
                ..MaskReport::default()
            },
            active: 0,
            neurons: 0,
            miscounted: None,
            wrong: None,
        })
    }

    /// The masks of some positions, one entry a layer.
    pub fn of(&self, positions: Range<usize>) -> Vec<LayerMasks> {
        let some = |masks: &LayerMasks| LayerMasks {
            input: masks
                .input
                .as_ref()
                .map(|bits| bits.slice(positions.clone())),
            neurons: masks.neurons.slice(positions.clone()),
        };
        self.masks.iter().map(some).collect()
    }

    /// Takes the verifier's own scores, as one chunk of a run with these masks gives them.
    pub fn add(&mut self, outputs: &Outputs) {
        let masks = self.of(outputs.pos0..outputs.pos0 + outputs.rows);
        for (layer, (masks, scores)) in (0u32..).zip(masks.iter().zip(&outputs.scores)) {
            for row in 0..outputs.rows {
                self.add_row(layer, outputs.pos0 + row, row, masks, scores);
            }
        }
    }

    fn add_row(
        &mut self,
        layer: u32,
        position: usize,
        row: usize,
        masks: &LayerMasks,
        scores: &LayerScores,
    ) {
        let of = |values: &[f32], width: usize| -> Vec<f32> {
            values
                .get(row * width..(row + 1) * width)
                .unwrap_or_default()
                .to_vec()
        };
        let count = masks.neurons.count(row);
        self.active += count as u64;
        self.neurons += masks.neurons.width() as u64;
        let neurons = of(&scores.neurons, masks.neurons.width());
        let l = layer as usize;
        let (sizes, threshold): (Vec<f32>, Option<f32>) = match self.rule {
            Sparsity::Given { neurons: own } => {
                // No scores: the bits are the rule.
                let bits = masks.neurons.row(row);
                let differ = |(a, b): (&u32, &u32)| u64::from((a ^ b).count_ones());
                let flipped: u64 = bits.iter().zip(own[l].row(0)).map(differ).sum();
                self.report.bits += masks.neurons.width() as u64;
                self.report.flipped += flipped;
                if flipped > 0 {
                    let neuron = (0..masks.neurons.width())
                        .find(|i| masks.neurons.get(row, *i) != own[l].get(0, *i));
                    self.note(Wrong {
                        layer,
                        position,
                        neuron: neuron.unwrap_or_default(),
                        margin: f64::INFINITY,
                        limit: 0.0,
                        is_active: neuron.is_some_and(|i| masks.neurons.get(row, i)),
                    });
                }
                return;
            }
            Sparsity::TopK { keep } => (
                sizes(&neurons),
                self.kth(layer, position, count, *keep, sizes(&neurons)),
            ),
            Sparsity::Predicted { keep, .. } => {
                let kth = self.kth(layer, position, count, *keep, neurons.clone());
                (neurons, kth)
            }
            Sparsity::Cats { thresholds } => (
                neurons.iter().map(|v| self.gate_size(*v)).collect(),
                Some(thresholds[l]),
            ),
            Sparsity::Teal { input, neurons: ts } => {
                if let Some(bits) = &masks.input {
                    let inputs = sizes(&of(&scores.input, bits.width()));
                    self.compare(layer, position, bits, row, &inputs, input[l]);
                }
                (sizes(&neurons), Some(ts[l]))
            }
        };
        if let Some(threshold) = threshold {
            self.compare(layer, position, &masks.neurons, row, &sizes, threshold);
        }
    }

    /// What CATS compares: |silu(gate)|, or relu(up) where there is no gate.
    fn gate_size(&self, v: f32) -> f32 {
        match self.mlp {
            Mlp::Gated => assay_engine::numerics::silu(v).abs(),
            Mlp::Relu => v.max(0.0),
        }
    }

    /// The k-th largest score, after a look at the count. `None` where all or none are kept: then there is nothing to compare.
    fn kth(
        &mut self,
        layer: u32,
        position: usize,
        count: usize,
        keep: usize,
        mut scores: Vec<f32>,
    ) -> Option<f32> {
        if count != keep {
            self.miscounted
                .get_or_insert((layer, position, count, keep));
        }
        if keep == 0 || keep >= scores.len() {
            return None;
        }
        let (_, kth, _) = scores.select_nth_unstable_by(keep - 1, |a, b| b.total_cmp(a));
        Some(*kth)
    }

    fn compare(
        &mut self,
        layer: u32,
        position: usize,
        bits: &Bits,
        row: usize,
        scores: &[f32],
        threshold: f32,
    ) {
        let square = |v: &f32| f64::from(*v).powi(2);
        let mean = scores.iter().map(square).sum::<f64>() / scores.len().max(1) as f64;
        let rms = mean.sqrt().max(f64::MIN_POSITIVE);
        let limit = self
            .profile
            .and_then(|profile| profile.depth(layer + 1))
            .map_or(0.0, |depth| SCORE_ERROR * depth.rel_l2);
        self.report.bits += scores.len() as u64;
        for (i, score) in scores.iter().enumerate() {
            let is_active = bits.get(row, i);
            // What is exactly at the threshold may be either: a tie goes to one of them, and a zero is worth nothing.
            let own = *score > threshold || (is_active && *score == threshold);
            let own = own && (*score > 0.0 || self.is_signed());
            if is_active == own {
                continue;
            }
            let margin = (f64::from(*score) - f64::from(threshold)).abs() / rms;
            if margin == 0.0 && *score == threshold {
                continue;
            }
            self.report.flipped += 1;
            if margin >= self.report.worst_margin {
                (self.report.worst_margin, self.report.worst_limit) = (margin, limit);
            }
            if margin > limit {
                self.note(Wrong {
                    layer,
                    position,
                    neuron: i,
                    margin,
                    limit,
                    is_active,
                });
            }
        }
    }

    fn is_signed(&self) -> bool {
        matches!(self.rule, Sparsity::Predicted { .. })
    }

    fn note(&mut self, wrong: Wrong) {
        self.wrong.get_or_insert(wrong);
    }

    /// What was found.
    pub fn report(&self) -> MaskReport {
        MaskReport {
            active_fraction: self.active as f64 / self.neurons.max(1) as f64,
            ..self.report.clone()
        }
    }

    /// The verdict on the masks.
    pub fn check(&self) -> Check {
        const ID: &str = "masks";
        let at = |layer: u32, position: usize| Where {
            layer: Some(layer),
            position: Some(position),
            ..Where::default()
        };
        if let Some((layer, position, got, want)) = self.miscounted {
            let detail = format!(
                "{got} neurons of layer {layer} are active at position {position}, the rule keeps {want}"
            );
            return Check::fail(ID, "mask-count", detail)
                .numbers(got as f64, want as f64)
                .at(at(layer, position));
        }
        let report = self.report();
        if let Some(wrong) = self.wrong {
            let Wrong {
                layer,
                position,
                neuron,
                margin,
                limit,
                is_active,
            } = wrong;
            let what = if is_active { "active" } else { "not active" };
            let detail = format!(
                "neuron {neuron} of layer {layer} is {what} at position {position}, which the rule `{}` does not give by more than rounding could change",
                report.rule
            );
            let check = match self.profile {
                Some(_) => Check::fail(ID, "mask-rule", detail),
                None if self.is_exact || matches!(self.rule, Sparsity::Given { .. }) => {
                    Check::fail(ID, "mask-rule", detail)
                }
                None => Check::new(ID, Outcome::Inconclusive, "no-profile", detail),
            };
            return check.numbers(margin, limit).at(at(layer, position));
        }
        let positions = self.trace.positions();
        let detail = format!(
            "{:.1} % of neurons were active over {positions} positions; {} of {} bits differ from the verifier's own, none by more than rounding",
            100.0 * report.active_fraction,
            report.flipped,
            report.bits
        );
        Check::pass(ID, detail).numbers(report.worst_margin, report.worst_limit)
    }
}

fn sizes(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| v.abs()).collect()
}
