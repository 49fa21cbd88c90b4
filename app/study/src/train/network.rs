//! The loss of a predictor on a batch, and its gradient.
//!
//! z = (x downᵀ) upᵀ; s = sigmoid(z); loss = mean over all entries of v BCE(s, y) with v = y (1 - w) + w, that is 1 for active entries
//! and w for the others, w = mean(y) of the batch plus 0.005 for neurons, plus nothing for heads (FMInference/DejaVu). So
//! dz = v (s - y) / entries, dup = dzᵀ h, dh = dz up, ddown = dhᵀ x.

use ndarray::ArrayView2;
use rayon::prelude::*;

use super::products::{product, product_into, times_transposed};
use crate::StudyError;
use crate::predictor::{Weights, matrix};

/// Sizes of a predictor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) hidden: usize,
    pub(crate) rank: usize,
    pub(crate) outputs: usize,
}

/// Gradients of both matrices, in their shapes.
pub(crate) struct Gradient {
    pub(crate) down: Vec<f32>,
    pub(crate) up: Vec<f32>,
}

impl Gradient {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            down: vec![0.0; shape.rank * shape.hidden],
            up: vec![0.0; shape.outputs * shape.rank],
        }
    }
}

/// The weight of entries that are not active: upstream's `w`.
pub(crate) fn inactive_weight(labels: &[u8], extra: f64) -> f64 {
    let active: u64 = labels.par_iter().map(|&y| u64::from(y)).sum();
    active as f64 / labels.len().max(1) as f64 + extra
}

/// The loss on x `[rows, hidden]` and labels `[rows, outputs]`; its gradient goes to `gradient`.
pub(crate) fn step(
    weights: &Weights,
    shape: Shape,
    x: &[f32],
    labels: &[u8],
    inactive: f64,
    gradient: &mut Gradient,
) -> Result<f64, StudyError> {
    let rows = labels.len() / shape.outputs.max(1);
    let x = matrix("x", x, rows, shape.hidden)?;
    let down = matrix("down", &weights.down, shape.rank, shape.hidden)?;
    let up = matrix("up", &weights.up, shape.outputs, shape.rank)?;
    let middle = times_transposed(x, down);
    let middle = matrix("middle", &middle, rows, shape.rank)?;
    let mut scores = times_transposed(middle, up);
    let loss = loss_and_slope(&mut scores, labels, inactive);
    let slope = matrix("slope", &scores, rows, shape.outputs)?;
    product_into(slope.reversed_axes(), middle, &mut gradient.up);
    let back = product(slope, up);
    let back: ArrayView2<'_, f32> = matrix("back", &back, rows, shape.rank)?;
    product_into(back.reversed_axes(), x, &mut gradient.down);
    Ok(loss)
}

/// The mean loss; `scores` become the loss's slope by score.
fn loss_and_slope(scores: &mut [f32], labels: &[u8], inactive: f64) -> f64 {
    // Pieces of one size, summed in order: the same loss with any number of threads.
    const PIECE: usize = 1 << 14;
    let entries = scores.len().max(1) as f64;
    let sums: Vec<f64> = scores
        .par_chunks_mut(PIECE)
        .zip(labels.par_chunks(PIECE))
        .map(|(scores, labels)| {
            let mut sum = 0.0;
            for (score, &label) in scores.iter_mut().zip(labels) {
                let z = f64::from(*score);
                let (y, weight) = if label == 1 {
                    (1.0, 1.0)
                } else {
                    (0.0, inactive)
                };
                // BCE(sigmoid(z), y) without overflow: max(z, 0) - z y + ln(1 + exp(-|z|)).
                let small = (-z.abs()).exp();
                sum += weight * (z.max(0.0) - z * y + small.ln_1p());
                let sigmoid = if z >= 0.0 { 1.0 } else { small } / (1.0 + small);
                *score = (weight * (sigmoid - y) / entries) as f32;
            }
            sum
        })
        .collect();
    sums.iter().sum::<f64>() / entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    fn loss64(down: &[f64], up: &[f64], shape: Shape, x: &[f32], labels: &[u8], w: f64) -> f64 {
        let rows = labels.len() / shape.outputs;
        let mut sum = 0.0;
        for row in 0..rows {
            let h: Vec<f64> = (0..shape.rank)
                .map(|r| {
                    (0..shape.hidden)
                        .map(|i| down[r * shape.hidden + i] * f64::from(x[row * shape.hidden + i]))
                        .sum()
                })
                .collect();
            for o in 0..shape.outputs {
                let z: f64 = (0..shape.rank).map(|r| up[o * shape.rank + r] * h[r]).sum();
                let s = 1.0 / (1.0 + (-z).exp());
                let y = f64::from(labels[row * shape.outputs + o]);
                let weight = y * (1.0 - w) + w;
                sum -= weight * (y * s.ln() + (1.0 - y) * (1.0 - s).ln());
            }
        }
        sum / labels.len() as f64
    }

    #[test]
    fn gradients_are_the_finite_differences_of_the_formula() {
        let shape = Shape {
            hidden: 7,
            rank: 3,
            outputs: 5,
        };
        let rows = 6;
        let mut random = Random::new(11, Purpose::Weights, 0);
        let mut draw =
            |n: usize, limit| -> Vec<f32> { (0..n).map(|_| random.symmetric(limit)).collect() };
        let x = draw(rows * shape.hidden, 2.0);
        let weights = Weights {
            down: draw(shape.rank * shape.hidden, 0.7),
            up: draw(shape.outputs * shape.rank, 0.9),
        };
        let labels: Vec<u8> = draw(rows * shape.outputs, 1.0)
            .iter()
            .map(|v| u8::from(*v > 0.3))
            .collect();
        let w = inactive_weight(&labels, 0.005);
        let active = labels.iter().filter(|y| **y == 1).count();
        assert!((w - (active as f64 / labels.len() as f64 + 0.005)).abs() < 1e-12);
        let mut gradient = Gradient::new(shape);
        let loss = step(&weights, shape, &x, &labels, w, &mut gradient).unwrap();
        let wide = |v: &[f32]| v.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let (down, up) = (wide(&weights.down), wide(&weights.up));
        assert!((loss - loss64(&down, &up, shape, &x, &labels, w)).abs() < 1e-6);
        let h = 1e-5;
        for i in 0..down.len() {
            let at = |d| {
                let mut moved = down.clone();
                moved[i] += d;
                loss64(&moved, &up, shape, &x, &labels, w)
            };
            let want = (at(h) - at(-h)) / (2.0 * h);
            let got = f64::from(gradient.down[i]);
            assert!((got - want).abs() < 1e-6, "down {i}: {got} {want}");
            assert!(want.abs() > 1e-9, "a slope of nothing tests nothing");
        }
        for i in 0..up.len() {
            let at = |d| {
                let mut moved = up.clone();
                moved[i] += d;
                loss64(&down, &moved, shape, &x, &labels, w)
            };
            let want = (at(h) - at(-h)) / (2.0 * h);
            let got = f64::from(gradient.up[i]);
            assert!((got - want).abs() < 1e-6, "up {i}: {got} {want}");
        }
    }

    #[test]
    fn far_scores_keep_a_finite_loss() {
        let mut scores = [1e30, -1e30, 200.0, -200.0];
        let loss = loss_and_slope(&mut scores, &[0, 1, 1, 0], 1.0);
        assert!(loss.is_finite() && loss > 1e29);
        assert_eq!(scores, [0.25, -0.25, 0.0, 0.0]);
    }
}
