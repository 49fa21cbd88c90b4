//! How far attention's output may honestly lie from the derived one: its error is no part of itself, since averages cancel, but it is
//! bounded by the largest value averaged. What that comes to behind the output projection, row by row.

use assay_engine::Rounding;
use assay_model::ModelConfig;

use super::bounds;
use super::stream::InputError;

/// Runs along a layer's positions, as attention does.
pub(super) struct AttentionError {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rounding: Rounding,
    /// Largest |v| so far, by key-value channel.
    v_most: Vec<f64>,
    /// Largest |k| so far, by key-value head. Rotation keeps it.
    k_most: Vec<f64>,
    /// The key's bound of the output projection, then its sampled rows' magnitudes: each summed over the query heads that read a
    /// key-value channel.
    weights: Vec<Vec<f64>>,
}

impl AttentionError {
    /// `rows` are magnitudes of weights over attention's output, [any, heads * head_dim].
    pub fn new(config: &ModelConfig, rounding: Rounding, rows: &[&[f32]]) -> Self {
        let (d, group) = (config.head_dim, config.share());
        let folded = rows.iter().map(|row| {
            let mut folded = vec![0.0f64; config.kv_dim()];
            for (c, w) in row.iter().enumerate() {
                let kv_head = c / d / group;
                folded[kv_head * d + c % d] += f64::from(w.abs());
            }
            folded
        });
        Self {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: d,
            rounding,
            v_most: vec![0.0; config.kv_dim()],
            k_most: vec![0.0; config.kv_heads],
            weights: folded.collect(),
        }
    }

    /// Adds the next positions, from `pos0` on: q, k and v with their biases, [rows, width].
    pub fn add(&mut self, pos0: usize, q: &[f32], k: &[f32], v: &[f32]) -> InputError {
        let (d, kv_dim) = (self.head_dim, self.kv_heads * self.head_dim);
        let norm = |x: &[f32]| x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        let mut error = InputError {
            residual: Vec::new(),
            elements: Vec::new(),
        };
        let rows = q
            .chunks_exact(self.heads * d)
            .zip(k.chunks_exact(kv_dim))
            .zip(v.chunks_exact(kv_dim));
        for (row, ((q, k), v)) in rows.enumerate() {
            for (most, v) in self.v_most.iter_mut().zip(v) {
                *most = most.max(f64::from(v.abs()));
            }
            for (most, k) in self.k_most.iter_mut().zip(k.chunks_exact(d)) {
                *most = most.max(norm(k));
            }
            let group = self.heads / self.kv_heads;
            let largest = q
                .chunks_exact(d)
                .enumerate()
                .map(|(head, q)| norm(q) * self.k_most[head / group])
                .fold(0.0, f64::max);
            let score = bounds::of_score(d, largest / (d as f64).sqrt(), self.rounding);
            let coefficient = bounds::of_attention(score, pos0 + row + 1, self.rounding);
            let mut sums = self.weights.iter().map(|weights| {
                let sum: f64 = weights.iter().zip(&self.v_most).map(|(w, v)| w * v).sum();
                coefficient * sum
            });
            error.residual.push(sums.next().unwrap_or(f64::INFINITY));
            error.elements.extend(sums);
        }
        error
    }
}
