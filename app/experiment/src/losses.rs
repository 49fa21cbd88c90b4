//! verified_llm's losses: the mean squared residual of Freivalds' check, by stream.
//!
//! A product C = A B is held against itself through k vectors r of standard normals: the loss is mean over rows and vectors of
//! (C r - A (B r))^2. Everything here is recomputed in f32 as the seed does it, on the run's own inputs, so without noise a loss
//! is what rounding leaves, and with noise U[0, 1) s it is n s^2 / 3 for n columns.

use assay_engine::philox;
use serde::{Deserialize, Serialize};

use crate::plain::{Matrix, Plain, dot};

/// Vectors a product is checked with: the seed's k.
pub const VECTORS: usize = 10;

/// The nine products of a layer that the seed verifies, under its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "their names are all there is to say")]
pub enum Stream {
    Q,
    K,
    V,
    Qk,
    Kv,
    O,
    Gate,
    Up,
    Down,
}

impl Stream {
    /// All, in the order of the forward pass.
    pub const ALL: [Self; 9] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::Qk,
        Self::Kv,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "Q",
            Self::K => "K",
            Self::V => "V",
            Self::Qk => "QK",
            Self::Kv => "KV",
            Self::O => "O",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// Whether noise is put on it.
    pub fn is_disturbed(self) -> bool {
        matches!(
            self,
            Self::Qk | Self::Kv | Self::Gate | Self::Up | Self::Down
        )
    }
}

/// Standard normal `i` of vector `vector`, the same in every run.
fn normal(vector: usize, i: usize) -> f32 {
    let uniform = |half: u32| philox::uniform(0x4652_4549, (2 * vector) as u32 + half, i as u32);
    ((-2.0 * uniform(0).ln()).sqrt() * (std::f64::consts::TAU * uniform(1)).cos()) as f32
}

/// The vectors, and each linear's weights through them.
pub struct Probes {
    /// [vector][i], as long as the widest product.
    normals: Vec<Vec<f32>>,
    /// By layer and linear stream: [vector][cols].
    projected: Vec<[Vec<Vec<f32>>; 7]>,
}

fn linear_index(stream: Stream) -> Option<usize> {
    use Stream as S;
    [S::Q, S::K, S::V, S::O, S::Gate, S::Up, S::Down]
        .iter()
        .position(|s| *s == stream)
}

impl Probes {
    /// For a model, and sequences of at most `positions`.
    pub fn new(plain: &Plain, positions: usize) -> Self {
        let config = plain.config();
        let widest = [
            config.q_dim(),
            config.hidden,
            config.intermediate,
            positions,
        ];
        let widest = widest.into_iter().max().unwrap_or(1);
        let normals: Vec<Vec<f32>> = (0..VECTORS)
            .map(|vector| (0..widest).map(|i| normal(vector, i)).collect())
            .collect();
        let project = |matrix: &Matrix| -> Vec<Vec<f32>> {
            let of = |r: &Vec<f32>| {
                let mut sum = vec![0.0_f32; matrix.cols];
                for (row, r) in matrix.weights.chunks(matrix.cols).zip(r) {
                    sum.iter_mut().zip(row).for_each(|(s, w)| *s += r * w);
                }
                sum
            };
            normals.iter().map(of).collect()
        };
        let projected = plain
            .layers
            .iter()
            .map(|l| [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down].map(project))
            .collect();
        Self { normals, projected }
    }

    /// Losses of one run.
    pub fn losses(&self, layers: usize) -> Losses<'_> {
        Losses {
            probes: self,
            sums: vec![[(0.0, 0); 9]; layers],
        }
    }
}

/// Squared residuals of one run, by layer and stream.
pub struct Losses<'p> {
    probes: &'p Probes,
    sums: Vec<[(f64, usize); 9]>,
}

impl Losses<'_> {
    /// The mean squared residual of a layer's stream; 0 where nothing was seen.
    pub fn mean(&self, layer: usize, stream: Stream) -> f64 {
        let (sum, n) = self.sums[layer][stream as usize];
        sum / n.max(1) as f64
    }

    fn add(&mut self, layer: usize, stream: Stream, residual: f32) {
        let (sum, n) = &mut self.sums[layer][stream as usize];
        *sum += f64::from(residual).powi(2);
        *n += 1;
    }

    pub(crate) fn linear(&mut self, layer: usize, stream: Stream, x: &[f32], y: &[f32], n: usize) {
        let Some(index) = linear_index(stream) else {
            return;
        };
        let probes = self.probes;
        for (r, projected) in probes.normals.iter().zip(&probes.projected[layer][index]) {
            for (x, y) in x.chunks(projected.len()).zip(y.chunks(n)) {
                self.add(layer, stream, dot(y, &r[..n]) - dot(x, projected));
            }
        }
    }

    /// QK^T of one head, all of it: scores [rows, all].
    pub(crate) fn scores(&mut self, layer: usize, q: &[f32], k: &[f32], scores: &[f32], d: usize) {
        let all = k.len() / d;
        let probes = self.probes;
        for r in &probes.normals {
            let mut projected = vec![0.0_f32; d];
            for (key, r) in k.chunks(d).zip(r) {
                projected.iter_mut().zip(key).for_each(|(p, k)| *p += r * k);
            }
            for (q, scores) in q.chunks(d).zip(scores.chunks(all)) {
                self.add(
                    layer,
                    Stream::Qk,
                    dot(scores, &r[..all]) - dot(q, &projected),
                );
            }
        }
    }

    /// PV of one head: weights [rows, all], out [rows, d].
    pub(crate) fn attended(
        &mut self,
        layer: usize,
        weights: &[f32],
        v: &[f32],
        out: &[f32],
        d: usize,
    ) {
        let all = v.len() / d;
        let probes = self.probes;
        for r in &probes.normals {
            let projected: Vec<f32> = v.chunks(d).map(|v| dot(v, &r[..d])).collect();
            for (weights, out) in weights.chunks(all).zip(out.chunks(d)) {
                self.add(
                    layer,
                    Stream::Kv,
                    dot(out, &r[..d]) - dot(weights, &projected),
                );
            }
        }
    }
}
