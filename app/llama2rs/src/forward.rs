//! The program's forward pass, token by token. Its results are its bits, so the order of every sum is the specification: ascending, one
//! accumulator, no fused multiply-add. `exp`, `powf`, `sin` and `cos` are the platform's, as they are in the program, and are the
//! only part that another platform may compute otherwise.

use assay_model::{Dtype, Family, LayerRole, Model, ModelConfig, Role, RopeLayout, RopeScaling};
use rayon::prelude::*;

use crate::error::ReplayError;

const EPS: f32 = 1e-5;
const THETA: f32 = 10_000.0;
/// Products with fewer multiplications than this stay on one thread. (Rows are independent, so threads change no bit.)
const PARALLEL_FROM: usize = 1 << 16;

struct Layer {
    attn_norm: Vec<f32>, // [dim]
    q: Vec<f32>,         // [dim, dim]
    k: Vec<f32>,         // [kv_dim, dim]
    v: Vec<f32>,         // [kv_dim, dim]
    o: Vec<f32>,         // [dim, dim]
    mlp_norm: Vec<f32>,  // [dim]
    gate: Vec<f32>,      // [hidden_dim, dim]
    down: Vec<f32>,      // [dim, hidden_dim]
    up: Vec<f32>,        // [hidden_dim, dim]
    keys: Vec<f32>,      // [positions so far, kv_dim]
    values: Vec<f32>,    // [positions so far, kv_dim]
}

/// A llama2.c model with its cache of keys and values.
pub struct Transformer {
    dim: usize,
    kv_dim: usize,
    head_dim: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    context: usize,
    layers: Vec<Layer>,
    final_norm: Vec<f32>,         // [dim]
    embedding: Vec<f32>,          // [vocab, dim]
    classifier: Option<Vec<f32>>, // [vocab, dim]; `None` if it is the embedding
    frequencies: Vec<f32>,        // [dim / 2]
    position: usize,
}

impl Transformer {
    /// Reads the weights. Only what the program itself can run is taken: f32 weights, neighbouring rotary pairs, no biases.
    pub fn load(model: &Model) -> Result<Self, ReplayError> {
        let config = model.config();
        check(config)?;
        let read = |role, what| {
            let tensor = model.tensor(role).ok_or(ReplayError::Missing(what))?;
            if tensor.dtype != Dtype::F32 {
                return Err(ReplayError::Model("its weights are not f32"));
            }
            Ok(model.read_f32(tensor)?)
        };
        let layer = |index| {
            let of = |role, what| read(Role::Layer(index, role), what);
            Ok::<_, ReplayError>(Layer {
                attn_norm: of(LayerRole::AttnNorm, "a norm before attention")?,
                q: of(LayerRole::Q, "queries")?,
                k: of(LayerRole::K, "keys")?,
                v: of(LayerRole::V, "values")?,
                o: of(LayerRole::O, "attention's output")?,
                mlp_norm: of(LayerRole::MlpNorm, "a norm before an MLP")?,
                gate: of(LayerRole::Gate, "gates")?,
                down: of(LayerRole::Down, "an MLP's output")?,
                up: of(LayerRole::Up, "an MLP's inside")?,
                keys: Vec::new(),
                values: Vec::new(),
            })
        };
        let classifier = match config.tied_embeddings {
            true => None,
            false => Some(read(Role::LmHead, "logits")?),
        };
        Ok(Self {
            dim: config.hidden,
            kv_dim: config.kv_heads * config.head_dim,
            head_dim: config.head_dim,
            heads: config.heads,
            kv_heads: config.kv_heads,
            vocab: config.vocab,
            context: config.context,
            layers: (0..config.layers).map(layer).collect::<Result<_, _>>()?,
            final_norm: read(Role::FinalNorm, "the last norm")?,
            embedding: read(Role::Embedding, "an embedding")?,
            classifier,
            frequencies: frequencies(config.hidden, config.head_dim),
            position: 0,
        })
    }

    /// Entries of the vocabulary.
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Positions that the model can be run at.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Forgets the last position, so that another token can be tried there.
    pub fn step_back(&mut self) {
        self.position = self.position.saturating_sub(1);
        let kept = self.position * self.kv_dim;
        for layer in &mut self.layers {
            layer.keys.truncate(kept);
            layer.values.truncate(kept);
        }
    }

    /// The logits after one more token, `[vocab]`: what the program hashes, before temperature and softmax.
    pub fn forward(&mut self, token: u32) -> Result<Vec<f32>, ReplayError> {
        let position = self.position;
        let begin = (token as usize).saturating_mul(self.dim);
        let row = self.embedding.get(begin..begin.saturating_add(self.dim));
        let Some(row) = row.filter(|_| (token as usize) < self.vocab) else {
            let (token, vocab) = (token.into(), self.vocab);
            return Err(ReplayError::Token { token, vocab });
        };
        if position >= self.context {
            let context = self.context;
            return Err(ReplayError::Position { position, context });
        }
        let mut x = row.to_vec(); // [dim]
        let (cosines, sines) = angles(position, &self.frequencies);
        let shape = Heads {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            kv_dim: self.kv_dim,
        };
        for layer in &mut self.layers {
            let normed = rmsnorm(&x, &layer.attn_norm);
            let mut q = matmul(&layer.q, &normed);
            let mut k = matmul(&layer.k, &normed);
            let v = matmul(&layer.v, &normed);
            rotate(&mut q, &cosines, &sines);
            rotate(&mut k, &cosines, &sines);
            layer.keys.extend(k);
            layer.values.extend(v);
            let attended = attention(&q, &layer.keys, &layer.values, position, &shape);
            add(&mut x, &matmul(&layer.o, &attended));

            let normed = rmsnorm(&x, &layer.mlp_norm);
            let mut inside = matmul(&layer.gate, &normed);
            let up = matmul(&layer.up, &normed);
            for (gate, up) in inside.iter_mut().zip(up) {
                *gate = *gate * (1.0 / (1.0 + (-*gate).exp())) * up;
            }
            add(&mut x, &matmul(&layer.down, &inside));
        }
        let normed = rmsnorm(&x, &self.final_norm);
        let logits = matmul(self.classifier.as_ref().unwrap_or(&self.embedding), &normed);
        self.position += 1;
        if logits.iter().all(|logit| logit.is_finite()) {
            Ok(logits)
        } else {
            Err(ReplayError::NonFinite { position })
        }
    }
}

/// Whether the program could have run this model.
fn check(config: &ModelConfig) -> Result<(), ReplayError> {
    let refuse = |wrong: bool, why| match wrong {
        true => Err(ReplayError::Model(why)),
        false => Ok(()),
    };
    let rope = config.rope.as_ref();
    let plain = rope.is_some_and(|rope| {
        rope.layout == RopeLayout::Interleaved
            && rope.scaling == RopeScaling::None
            && rope.theta == f64::from(THETA)
    });
    refuse(config.family != Family::Llama, "it is no Llama")?;
    refuse(
        !plain,
        "its rotary positions are not llama2.c's (neighbouring pairs, base 10000); give a llama2.c `.bin`",
    )?;
    refuse(
        config.norm_eps != EPS,
        "its norms add another number than 1e-5",
    )?;
    refuse(config.attention_bias || config.mlp_bias, "it has biases")?;
    refuse(
        config.head_dim * config.heads != config.hidden,
        "its heads are not as wide as its residual stream together",
    )
}

struct Heads {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    kv_dim: usize,
}

/// w [rows, n] times x [n]; each sum ascends.
fn matmul(w: &[f32], x: &[f32]) -> Vec<f32> {
    let row = |row: &[f32]| dot(row, x);
    if w.len() < PARALLEL_FROM {
        w.chunks_exact(x.len()).map(row).collect()
    } else {
        w.par_chunks_exact(x.len()).map(row).collect()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// weight * (x / sqrt(mean(x^2) + eps)), with one reciprocal and two roundings an element.
fn rmsnorm(x: &[f32], weight: &[f32]) -> Vec<f32> {
    let mean = dot(x, x) / x.len() as f32 + EPS;
    let scale = 1.0 / mean.sqrt();
    let scaled = |(x, weight): (&f32, &f32)| weight * (scale * x);
    x.iter().zip(weight).map(scaled).collect()
}

pub(crate) fn softmax(x: &mut [f32]) {
    let most = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0f32;
    for x in x.iter_mut() {
        *x = (*x - most).exp();
        sum += *x;
    }
    for x in x {
        *x /= sum;
    }
}

/// Of the pairs of all heads: 10000^(-2i / head_dim).
fn frequencies(dim: usize, head_dim: usize) -> Vec<f32> {
    let frequency = |i: usize| 1.0 / THETA.powf((i % head_dim) as f32 / head_dim as f32);
    (0..dim).step_by(2).map(frequency).collect()
}

fn angles(position: usize, frequencies: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let angle = |frequency: &f32| position as f32 * frequency;
    let of = |f: fn(f32) -> f32| frequencies.iter().map(|x| f(angle(x))).collect();
    (of(f32::cos), of(f32::sin))
}

fn rotate(x: &mut [f32], cosines: &[f32], sines: &[f32]) {
    let (pairs, _) = x.as_chunks_mut::<2>();
    for (([a, b], cos), sin) in pairs.iter_mut().zip(cosines).zip(sines) {
        (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
    }
}

/// Causal attention of one position over all up to it. `q` [dim], `keys` and `values` [position + 1, kv_dim].
fn attention(q: &[f32], keys: &[f32], values: &[f32], position: usize, shape: &Heads) -> Vec<f32> {
    let root = (shape.head_dim as f32).sqrt();
    let group = shape.heads / shape.kv_heads;
    let mut out = vec![0.0; q.len()];
    let heads = q
        .chunks_exact(shape.head_dim)
        .zip(out.chunks_exact_mut(shape.head_dim));
    for (head, (q, out)) in heads.enumerate() {
        let begin = head / group * shape.head_dim;
        let part = begin..begin + shape.head_dim;
        let rows = |all: &'_ [f32]| {
            all.chunks_exact(shape.kv_dim)
                .take(position + 1)
                .map(|row| row[part.clone()].to_vec())
                .collect::<Vec<Vec<f32>>>()
        };
        let mut scores: Vec<f32> = rows(keys).iter().map(|k| dot(q, k) / root).collect();
        softmax(&mut scores);
        for (score, v) in scores.iter().zip(rows(values)) {
            for (out, v) in out.iter_mut().zip(v) {
                *out += score * v;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_ascend_with_one_accumulator() {
        // 2^24 + 1 - 2^24 is 0 in f32 from the left, and 1 in any order that pairs the large ones first.
        let big = (1u32 << 24) as f32;
        assert_eq!(dot(&[big, 1.0, -big], &[1.0; 3]), 0.0);
        assert_eq!(dot(&[big, -big, 1.0], &[1.0; 3]), 1.0);
        let w: Vec<f32> = (0..PARALLEL_FROM).map(|i| (i % 97) as f32 / 7.0).collect();
        let x: Vec<f32> = (0..64).map(|i| (i as f32).sin()).collect();
        let rows: Vec<f32> = w.chunks_exact(64).map(|row| dot(row, &x)).collect();
        assert_eq!(matmul(&w, &x), rows);
    }

    #[test]
    fn one_position_attends_to_itself() {
        let shape = Heads {
            heads: 4,
            kv_heads: 2,
            head_dim: 2,
            kv_dim: 4,
        };
        let v = [1.0, 2.0, 3.0, 4.0];
        let out = attention(&[0.5; 8], &[0.25; 4], &v, 0, &shape);
        assert_eq!(out, [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
    }

    #[test]
    fn angles_begin_at_zero_and_repeat_by_head() {
        let frequencies = frequencies(8, 4);
        assert_eq!(frequencies.len(), 4);
        assert_eq!(frequencies[0], 1.0);
        assert_eq!(frequencies[..2], frequencies[2..]);
        assert_eq!(angles(0, &frequencies), (vec![1.0; 4], vec![0.0; 4]));
    }
}
