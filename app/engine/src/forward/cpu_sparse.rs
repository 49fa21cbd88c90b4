//! A sparse MLP by the CPU twins, said as plainly as it can be: everything is computed, then what is not active becomes zero.
//!
//! So it is the oracle of the kernels that skip, which under strict numerics must give the same bits.

use super::cpu::{Layer, Matrix};
use crate::kernels::sparse::{threshold, topk};
use crate::kernels::{relu, silu_mul};
use crate::sparsity::{Bits, LayerMasks, LayerScores, LowRank, Sparsity};
use crate::{ActivationType, EngineError, Rounding};
use assay_model::Dtype;

/// What a sparse MLP did.
pub(super) struct Done {
    /// The residual stream after the layer.
    pub h: Vec<f32>,
    pub masks: LayerMasks,
    pub scores: LayerScores,
}

/// Runs layer number `l` on `h`, the residual stream after its attention, and `x`, that normed; `given` masks stand in for the rule's.
pub(super) fn mlp(
    rule: &Sparsity,
    l: usize,
    layer: &Layer,
    h: &[f32],
    x: &[f32],
    given: Option<&LayerMasks>,
) -> Result<Done, EngineError> {
    let rows = h.len() / layer.down.n;
    let (hidden, wide) = (layer.down.n, layer.up.n);
    let made = |width: usize, make: &dyn Fn(&mut [u32])| -> Result<Bits, EngineError> {
        let mut words = vec![0; rows * width.div_ceil(32)];
        make(&mut words);
        Bits::from_words(width, words)
            .ok_or_else(|| EngineError::Sparsity("a mask has bits beyond its width".to_owned()))
    };
    let neurons = |make: &dyn Fn(&mut [u32])| match given {
        Some(masks) => Ok(masks.neurons.clone()),
        None => made(wide, make),
    };
    let mut input = None;
    let (active, mask, scores) = match rule {
        Sparsity::Given { neurons: own } => {
            let words = own[l].row(0).repeat(rows);
            let mask = neurons(&|bits| bits.copy_from_slice(&words))?;
            (activations(layer, x).active, mask, LayerScores::default())
        }
        Sparsity::TopK { keep } => {
            let active = activations(layer, x).active;
            let largest = topk::Measure::Magnitude;
            let mask = neurons(&|bits| topk::cpu(largest, &active, wide, *keep, bits))?;
            (active.clone(), mask, of_neurons(active))
        }
        Sparsity::Cats { thresholds } => {
            let Activations { before, active } = activations(layer, x);
            let measure = match layer.gate {
                Some(_) => threshold::Measure::Silu,
                None => threshold::Measure::Relu,
            };
            let t = thresholds[l];
            let mask = neurons(&|bits| threshold::cpu(measure, &before, wide, t, bits))?;
            (active, mask, of_neurons(before))
        }
        Sparsity::Teal {
            input: inputs,
            neurons: ts,
        } => {
            let large = threshold::Measure::Magnitude;
            let of_input = match given.and_then(|masks| masks.input.clone()) {
                Some(bits) => bits,
                None => made(hidden, &|bits| {
                    threshold::cpu(large, x, hidden, inputs[l], bits);
                })?,
            };
            let active = activations(layer, &masked(x, &of_input)).active;
            let mask = neurons(&|bits| threshold::cpu(large, &active, wide, ts[l], bits))?;
            input = Some(of_input);
            let scores = LayerScores {
                input: x.to_vec(),
                neurons: active.clone(),
            };
            (active, mask, scores)
        }
        Sparsity::Predicted { predictors, keep } => {
            let scores = predicted(&predictors[l], h, hidden, wide);
            let largest = topk::Measure::Signed;
            let mask = neurons(&|bits| topk::cpu(largest, &scores, wide, *keep, bits))?;
            (activations(layer, x).active, mask, of_neurons(scores))
        }
    };
    Ok(Done {
        h: layer.down.apply(&masked(&active, &mask), Some(h)),
        masks: LayerMasks {
            input,
            neurons: mask,
        },
        scores,
    })
}

/// What a neuron is before and after its activation.
pub(super) struct Activations {
    /// The gate's value; without a gate, the product's.
    pub before: Vec<f32>,
    /// What the down projection takes.
    pub active: Vec<f32>,
}

/// Those of all neurons.
pub(super) fn activations(layer: &Layer, x: &[f32]) -> Activations {
    let up = layer.up.apply(x, None);
    let mut active = vec![0.0; up.len()];
    let Some(gate) = &layer.gate else {
        relu::cpu(&up, &mut active);
        return Activations { before: up, active };
    };
    let gate = gate.apply(x, None);
    silu_mul::cpu(&gate, &up, layer.keep, &mut active);
    Activations {
        before: gate,
        active,
    }
}

fn of_neurons(neurons: Vec<f32>) -> LayerScores {
    LayerScores {
        input: Vec::new(),
        neurons,
    }
}

fn masked(values: &[f32], bits: &Bits) -> Vec<f32> {
    let n = bits.width();
    let keep = |(i, v): (usize, &f32)| match bits.get(i / n, i % n) {
        true => *v,
        false => 0.0,
    };
    values.iter().enumerate().map(keep).collect()
}

fn predicted(p: &LowRank, h: &[f32], hidden: usize, wide: usize) -> Vec<f32> {
    let low = Matrix::of_floats(&p.down, p.rank, hidden).apply(h, None);
    Matrix::of_floats(&p.up, wide, p.rank).apply(&low, None)
}

impl Matrix {
    fn of_floats(values: &[f32], n: usize, k: usize) -> Self {
        Self {
            dtype: Dtype::F32,
            bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            n,
            k,
            bias: None,
            activations: ActivationType::Float,
            keep: Rounding::Keep,
        }
    }
}
