//! A plain f32 forward pass on the CPU that can be meddled with: what experiments run where the engine, rightly, offers no handle.
//!
//! One thread a session, no tiles, no shared code with the engine's kernels but the sampler's: as a prover it is one more honest
//! implementation, with its own order of addition (sums in 16 lanes, then the lanes).
//!
//! | handle | what it is for |
//! |---|---|
//! | [`Alter::rounding`], [`is_fused`](Alter::is_fused), [`splits`](Alter::splits) | an honest prover that keeps bf16 or f16 between operations |
//! | [`Alter::cache`] | a quantised KV cache |
//! | [`Alter::keep`] | a sparse MLP: the largest activations only |
//! | [`Alter::noise`] | verified_llm's noise on MLP products, QK^T and PV |

use assay_engine::{CacheFormat, Rounding, philox};
use assay_model::{LayerRole, Model, ModelConfig, Role, RopeLayout};

use crate::ExperimentError;
use crate::alter::round_head;
use crate::losses::{Losses, Stream};

/// What is done to an otherwise honest run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Alter {
    /// What is kept between operations.
    pub rounding: Rounding,
    /// Whether the gated product is rounded once, as serving engines' fused kernels do, and not behind its activation too.
    pub is_fused: bool,
    /// Parts that sums of products are split in, each rounded before they are added, as libraries do that reduce in half precision.
    /// 0 and 1 are one sum.
    pub splits: usize,
    /// How keys and values are kept.
    pub cache: CacheFormat,
    /// Neurons that an MLP keeps, by magnitude of the gated product.
    pub keep: Option<usize>,
    /// Noise C + U[0, 1) (s - s / 1000) on gate, up, down, QK^T (before it is scaled) and PV; 0 is none.
    pub noise: f64,
    /// Key of the noise.
    pub seed: u64,
}

impl Default for Alter {
    fn default() -> Self {
        Self {
            rounding: Rounding::Keep,
            is_fused: false,
            splits: 0,
            cache: CacheFormat::Exact,
            keep: None,
            noise: 0.0,
            seed: 0,
        }
    }
}

/// A matrix and its bias, decoded.
pub(crate) struct Matrix {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) weights: Vec<f32>,
    bias: Vec<f32>,
}

pub(crate) struct Layer {
    attn_norm: Vec<f32>,
    pub(crate) q: Matrix,
    pub(crate) k: Matrix,
    pub(crate) v: Matrix,
    pub(crate) o: Matrix,
    mlp_norm: Vec<f32>,
    pub(crate) gate: Matrix,
    pub(crate) up: Matrix,
    pub(crate) down: Matrix,
}

/// A model's weights as f32, for any number of sessions.
pub struct Plain {
    config: ModelConfig,
    embedding: Matrix,
    head: Option<Matrix>,
    pub(crate) layers: Vec<Layer>,
    final_norm: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Plain {
    /// Decodes every weight: 4 bytes each.
    ///
    /// # Errors
    /// A family without rotary positions, RMSNorm or a gate; a tensor that cannot be read.
    pub fn load(model: &Model) -> Result<Self, ExperimentError> {
        let config = model.config().clone();
        let family = ExperimentError::Family {
            what: "the plain forward pass",
            family: config.family.as_str(),
        };
        if !config.can_be_audited() {
            return Err(family);
        }
        let Some((cos, sin)) = config.cos_sin_tables(0..config.context) else {
            return Err(family);
        };
        let vector = |role| -> Result<Vec<f32>, ExperimentError> {
            let tensor = model.tensor(role);
            Ok(tensor
                .map(|t| model.read_f32(t))
                .transpose()?
                .unwrap_or_default())
        };
        let matrix = |role: Role, bias: Option<Role>| -> Result<Matrix, ExperimentError> {
            let tensor = model.tensor(role);
            let (rows, cols) = tensor.map_or((0, 1), |t| (t.rows(), t.cols()));
            Ok(Matrix {
                rows,
                cols,
                weights: vector(role)?,
                bias: bias.map(vector).transpose()?.unwrap_or_default(),
            })
        };
        let mut layers = Vec::with_capacity(config.layers);
        for l in 0..config.layers {
            let linear = |role: LayerRole| {
                let bias = role.bias().map(|bias| Role::Layer(l, bias));
                matrix(Role::Layer(l, role), bias)
            };
            layers.push(Layer {
                attn_norm: vector(Role::Layer(l, LayerRole::AttnNorm))?,
                q: linear(LayerRole::Q)?,
                k: linear(LayerRole::K)?,
                v: linear(LayerRole::V)?,
                o: linear(LayerRole::O)?,
                mlp_norm: vector(Role::Layer(l, LayerRole::MlpNorm))?,
                gate: linear(LayerRole::Gate)?,
                up: linear(LayerRole::Up)?,
                down: linear(LayerRole::Down)?,
            });
        }
        let is_tied = model.tensor(Role::LmHead) == model.tensor(Role::Embedding);
        Ok(Self {
            embedding: matrix(Role::Embedding, None)?,
            head: (!is_tied).then(|| matrix(Role::LmHead, None)).transpose()?,
            layers,
            final_norm: vector(Role::FinalNorm)?,
            config,
            cos,
            sin,
        })
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// An empty session.
    pub fn session(&self, alter: Alter) -> Session<'_> {
        let cache = || vec![Vec::new(); self.config.layers];
        Session {
            plain: self,
            alter,
            keys: cache(),
            values: cache(),
            position: 0,
        }
    }
}

/// What a run gave.
#[derive(Debug, Clone, Default)]
pub struct Ran {
    /// Hidden states 0 to layers, each [rows, hidden]; raw, the last before the final norm.
    pub states: Vec<Vec<f32>>,
    /// [rows, vocab], of every row.
    pub logits: Vec<f32>,
}

/// One sequence with its KV cache.
pub struct Session<'p> {
    plain: &'p Plain,
    alter: Alter,
    /// By layer: [position, kv_dim].
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    position: usize,
}

impl Session<'_> {
    /// Positions run so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Runs tokens after those already run. Ids must be below the vocabulary, positions within the context.
    ///
    /// # Errors
    /// An id or a position beyond the model's.
    pub fn run(&mut self, tokens: &[u32]) -> Result<Ran, ExperimentError> {
        self.run_losing(tokens, None)
    }

    /// The same, with residuals of all products by stream.
    pub(crate) fn run_losing(
        &mut self,
        tokens: &[u32],
        mut losses: Option<&mut Losses<'_>>,
    ) -> Result<Ran, ExperimentError> {
        let plain = self.plain;
        let config = &plain.config;
        if self.position + tokens.len() > config.context {
            return Err(ExperimentError::Config(format!(
                "{} positions do not fit the model's context of {}",
                self.position + tokens.len(),
                config.context
            )));
        }
        if let Some(id) = tokens.iter().find(|id| **id as usize >= config.vocab) {
            return Err(ExperimentError::Config(format!(
                "token {id} is beyond the vocabulary"
            )));
        }
        let (alter, pos0, hidden) = (self.alter, self.position, config.hidden);
        let round = |values: &mut [f32]| {
            if alter.rounding != Rounding::Keep {
                values.iter_mut().for_each(|v| *v = alter.rounding.of(*v));
            }
        };
        let mut h = Vec::with_capacity(tokens.len() * hidden);
        for id in tokens {
            let at = *id as usize * hidden;
            h.extend_from_slice(&plain.embedding.weights[at..at + hidden]);
        }
        round(&mut h);
        let mut states = vec![h.clone()];
        for (l, layer) in plain.layers.iter().enumerate() {
            let mut product = |w: &Matrix, x: &[f32], stream: Stream| {
                let mut y = w.product_in(alter.splits, alter.rounding, x);
                if matches!(stream, Stream::Gate | Stream::Up | Stream::Down) {
                    alter.disturb(l, stream, pos0, w.rows, &mut y);
                }
                if let Some(losses) = losses.as_deref_mut() {
                    losses.linear(l, stream, x, &y, w.rows);
                }
                w.add_bias(&mut y);
                round(&mut y);
                y
            };
            let mut x = rms_norm(&h, &layer.attn_norm, config.norm_eps);
            round(&mut x);
            let mut q = product(&layer.q, &x, Stream::Q);
            let mut k = product(&layer.k, &x, Stream::K);
            let mut v = product(&layer.v, &x, Stream::V);
            plain.rotate(&mut q, config.heads, pos0);
            plain.rotate(&mut k, config.kv_heads, pos0);
            round(&mut q);
            round(&mut k);
            for kept in [&mut k, &mut v] {
                kept.chunks_mut(config.head_dim)
                    .for_each(|head| round_head(alter.cache, head));
            }
            self.keys[l].extend_from_slice(&k);
            self.values[l].extend_from_slice(&v);
            let cache = (&self.keys[l][..], &self.values[l][..]);
            let mut attended = attention(config, &q, cache, l, pos0, &alter, losses.as_deref_mut());
            round(&mut attended);
            let mut product = |w: &Matrix, x: &[f32], stream: Stream| {
                let mut y = w.product_in(alter.splits, alter.rounding, x);
                if stream != Stream::O {
                    alter.disturb(l, stream, pos0, w.rows, &mut y);
                }
                if let Some(losses) = losses.as_deref_mut() {
                    losses.linear(l, stream, x, &y, w.rows);
                }
                w.add_bias(&mut y);
                round(&mut y);
                y
            };
            let o = product(&layer.o, &attended, Stream::O);
            h.iter_mut().zip(&o).for_each(|(h, o)| *h += o);
            round(&mut h);
            let mut x = rms_norm(&h, &layer.mlp_norm, config.norm_eps);
            round(&mut x);
            let gate = product(&layer.gate, &x, Stream::Gate);
            let mut active = product(&layer.up, &x, Stream::Up);
            for (up, gate) in active.iter_mut().zip(&gate) {
                let silu = gate / (1.0 + (-gate).exp());
                *up *= match alter.is_fused {
                    true => silu,
                    false => alter.rounding.of(silu),
                };
            }
            if let Some(keep) = alter.keep {
                active
                    .chunks_mut(config.intermediate)
                    .for_each(|row| keep_largest(row, keep));
            }
            round(&mut active);
            let down = product(&layer.down, &active, Stream::Down);
            h.iter_mut().zip(&down).for_each(|(h, d)| *h += d);
            round(&mut h);
            states.push(h.clone());
        }
        let mut x = rms_norm(&h, &plain.final_norm, config.norm_eps);
        round(&mut x);
        let mut logits = plain.head.as_ref().unwrap_or(&plain.embedding).product(&x);
        round(&mut logits);
        self.position += tokens.len();
        Ok(Ran { states, logits })
    }
}

impl Alter {
    fn disturb(&self, layer: usize, stream: Stream, pos0: usize, width: usize, y: &mut [f32]) {
        if self.noise == 0.0 {
            return;
        }
        for (row, y) in y.chunks_mut(width).enumerate() {
            let position = (pos0 + row) as u32;
            self.disturb_row(layer, stream, 0, position, y);
        }
    }

    fn disturb_row(&self, layer: usize, stream: Stream, head: usize, position: u32, y: &mut [f32]) {
        if self.noise == 0.0 {
            return;
        }
        let key = self.seed ^ ((layer as u64) << 40 | (stream as u64) << 32 | (head as u64) << 20);
        let scale = self.noise - self.noise / 1000.0;
        for (y, i) in y.iter_mut().zip(0u32..) {
            *y = (f64::from(*y) + philox::uniform(key, position, i) * scale) as f32;
        }
    }
}

impl Plain {
    fn rotate(&self, x: &mut [f32], heads: usize, pos0: usize) {
        let Some(rope) = &self.config.rope else {
            return;
        };
        let half = self.config.head_dim / 2;
        for (row, x) in x.chunks_mut(heads * 2 * half).enumerate() {
            let at = (pos0 + row) * half;
            for head in x.chunks_mut(2 * half) {
                for i in 0..half {
                    let (a, b) = match rope.layout {
                        RopeLayout::RotateHalf => (i, i + half),
                        RopeLayout::Interleaved => (2 * i, 2 * i + 1),
                    };
                    let (cos, sin, x, y) = (self.cos[at + i], self.sin[at + i], head[a], head[b]);
                    head[a] = x * cos - y * sin;
                    head[b] = y * cos + x * sin;
                }
            }
        }
    }
}

/// [rows, heads * head_dim] from [rows, heads * head_dim] and the cache. Each query sees the positions up to its own.
fn attention(
    config: &ModelConfig,
    q: &[f32],
    (keys, values): (&[f32], &[f32]),
    layer: usize,
    pos0: usize,
    alter: &Alter,
    mut losses: Option<&mut Losses<'_>>,
) -> Vec<f32> {
    let (d, kv_dim, q_dim) = (config.head_dim, config.kv_dim(), config.q_dim());
    let rows = q.len() / q_dim;
    let scale = 1.0 / (d as f32).sqrt();
    let mut out = vec![0.0; q.len()];
    for head in 0..config.heads {
        let group = head / config.share() * d;
        let column = |cache: &[f32]| -> Vec<f32> {
            cache
                .chunks(kv_dim)
                .flat_map(|row| row[group..group + d].to_vec())
                .collect()
        };
        let (keys, values) = (column(keys), column(values));
        let all = keys.len() / d;
        let (mut products, mut weighted) = (Vec::new(), Vec::new());
        for row in 0..rows {
            let query = &q[row * q_dim + head * d..][..d];
            let seen = pos0 + row + 1;
            // What a loss is measured of is the whole product; a run without losses needs no more than is seen.
            let upto = if losses.is_some() { all } else { seen };
            let mut scores: Vec<f32> = keys
                .chunks(d)
                .take(upto)
                .map(|key| dot(query, key))
                .collect();
            let position = (pos0 + row) as u32;
            alter.disturb_row(layer, Stream::Qk, head, position, &mut scores);
            if losses.is_some() {
                products.extend_from_slice(&scores);
            }
            scores.iter_mut().for_each(|s| *s *= scale);
            let top = scores[..seen].iter().copied().fold(f32::MIN, f32::max);
            scores
                .iter_mut()
                .take(seen)
                .for_each(|s| *s = (*s - top).exp());
            let sum: f32 = scores[..seen].iter().sum();
            scores.iter_mut().take(seen).for_each(|s| *s /= sum);
            scores[seen..].fill(0.0);
            let out = &mut out[row * q_dim + head * d..][..d];
            for (weight, value) in scores.iter().zip(values.chunks(d)).take(seen) {
                out.iter_mut()
                    .zip(value)
                    .for_each(|(o, v)| *o += weight * v);
            }
            alter.disturb_row(layer, Stream::Kv, head, position, out);
            if losses.is_some() {
                weighted.extend_from_slice(&scores);
            }
        }
        if let Some(losses) = losses.as_deref_mut() {
            let query: Vec<f32> = q
                .chunks(q_dim)
                .flat_map(|row| row[head * d..(head + 1) * d].to_vec())
                .collect();
            let own: Vec<f32> = out
                .chunks(q_dim)
                .flat_map(|row| row[head * d..(head + 1) * d].to_vec())
                .collect();
            losses.scores(layer, &query, &keys, &products, d);
            losses.attended(layer, &weighted, &values, &own, d);
        }
    }
    out
}

fn keep_largest(row: &mut [f32], keep: usize) {
    if keep >= row.len() {
        return;
    }
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.select_nth_unstable_by(keep, |&a, &b| {
        row[b].abs().total_cmp(&row[a].abs()).then(a.cmp(&b))
    });
    order[keep..].iter().for_each(|&i| row[i] = 0.0);
}

fn rms_norm(x: &[f32], weight: &[f32], eps: f32) -> Vec<f32> {
    let n = weight.len();
    x.chunks(n)
        .flat_map(|row| {
            let scale = 1.0 / (dot(row, row) / n as f32 + eps).sqrt();
            row.iter().zip(weight).map(move |(x, w)| x * scale * w)
        })
        .collect()
}

impl Matrix {
    /// x [m, cols] times this, transposed: [m, rows].
    pub(crate) fn product(&self, x: &[f32]) -> Vec<f32> {
        let m = x.len() / self.cols;
        let mut y = vec![0.0; m * self.rows];
        for (n, w) in self.weights.chunks(self.cols).enumerate() {
            for (row, x) in x.chunks(self.cols).enumerate() {
                y[row * self.rows + n] = dot(x, w);
            }
        }
        y
    }

    /// The same, each sum in so many parts that are rounded.
    fn product_in(&self, splits: usize, rounding: Rounding, x: &[f32]) -> Vec<f32> {
        if splits < 2 || rounding == Rounding::Keep {
            return self.product(x);
        }
        let width = self.cols.div_ceil(splits);
        let mut y = vec![0.0; x.len() / self.cols * self.rows];
        for (n, w) in self.weights.chunks(self.cols).enumerate() {
            for (row, x) in x.chunks(self.cols).enumerate() {
                let parts = x.chunks(width).zip(w.chunks(width));
                y[row * self.rows + n] = parts.map(|(x, w)| rounding.of(dot(x, w))).sum();
            }
        }
        y
    }

    fn add_bias(&self, y: &mut [f32]) {
        if self.bias.is_empty() {
            return;
        }
        for row in y.chunks_mut(self.rows) {
            row.iter_mut().zip(&self.bias).for_each(|(y, b)| *y += b);
        }
    }
}

/// A sum of products in 16 lanes, then over the lanes in order.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    let (a, rest_a) = a.as_chunks::<LANES>();
    let (b, rest_b) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f32 = rest_a.iter().zip(rest_b).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use assay_engine::{Device, Engine, Numerics, Outputs, Quiet, Want};

    use super::*;

    const TOKENS: [u32; 12] = [0, 836, 27, 200, 42, 453, 306, 260, 270, 822, 69, 13];

    fn rel_l2(a: &[f32], b: &[f32]) -> f64 {
        assert_eq!(a.len(), b.len());
        let square = |v: f32| f64::from(v).powi(2);
        let error: f64 = a.iter().zip(b).map(|(a, b)| square(a - b)).sum();
        (error / b.iter().map(|v| square(*v)).sum::<f64>()).sqrt()
    }

    #[test]
    fn the_plain_pass_is_the_engines() {
        let model = Model::demo().unwrap();
        let plain = Plain::load(&model).unwrap();
        let whole = plain.session(Alter::default()).run(&TOKENS).unwrap();
        // A prompt, then token by token: a cache changes nothing but the order of nothing.
        let mut session = plain.session(Alter::default());
        let mut pieces = session.run(&TOKENS[..5]).unwrap().logits;
        for token in &TOKENS[5..] {
            pieces.extend(session.run(&[*token]).unwrap().logits);
        }
        assert_eq!(pieces, whole.logits);
        assert_eq!(session.position(), TOKENS.len());
        let mut quiet = Quiet;
        let engine = Engine::load(&Device::Cpu, &model, 16, Numerics::Fast, &mut quiet);
        let mut engine = pollster::block_on(engine).unwrap();
        let want = Want {
            logits_from: Some(0),
            ..Want::all_states(model.config())
        };
        let mut outputs = Outputs::default();
        let keep = |chunk: Outputs| -> Result<(), assay_engine::EngineError> {
            outputs = chunk;
            Ok(())
        };
        pollster::block_on(engine.prefill(&TOKENS, &want, &mut Quiet, keep)).unwrap();
        for (layer, (a, b)) in whole.states.iter().zip(&outputs.states).enumerate() {
            assert!(rel_l2(a, b) < 2e-6, "layer {layer}: {:e}", rel_l2(a, b));
        }
        assert!(rel_l2(&whole.logits, &outputs.logits) < 2e-6);
        assert!(session.run(&[5000]).is_err());
    }

    #[test]
    fn what_is_altered_shows_and_by_how_much() {
        let model = Model::demo().unwrap();
        let plain = Plain::load(&model).unwrap();
        let last = |alter: Alter| {
            plain
                .session(alter)
                .run(&TOKENS)
                .unwrap()
                .states
                .pop()
                .unwrap()
        };
        let honest = last(Alter::default());
        let of = |alter: Alter| rel_l2(&last(alter), &honest);
        let bf16 = of(Alter {
            rounding: Rounding::Bf16,
            ..Alter::default()
        });
        let kv = |cache| {
            of(Alter {
                cache,
                ..Alter::default()
            })
        };
        let (int8, int4) = (kv(CacheFormat::Int8), kv(CacheFormat::Int4));
        assert!((1e-3..0.05).contains(&bf16), "{bf16:e}");
        assert!(int8 > 1e-4 && int4 > 3.0 * int8, "{int8:e} {int4:e}");
        let keep = |keep| {
            of(Alter {
                keep: Some(keep),
                ..Alter::default()
            })
        };
        let wide = model.config().intermediate;
        assert!(keep(wide) == 0.0 && keep(wide / 2) > 1e-3 && keep(wide / 8) > keep(wide / 2));
        assert!(Plain::load(&model.altered(|_, _, _| {}).unwrap()).is_ok());
    }

    /// transformers' own logits, hidden states, and the perplexity that they give.
    #[test]
    fn transformers_gives_the_same_perplexity() {
        let data = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/data/hf-reference"
        );
        let mut seen = 0;
        for case in [
            "llama-mha-f32",
            "llama3-gqa-bf16",
            "llama-odd-shapes-f16",
            "mistral-bf16",
        ] {
            let folder = std::path::Path::new(data).join(case);
            let Ok(file) = std::fs::read(folder.join("reference.safetensors")) else {
                println!("skipped: ../shared/data/hf-reference/{case} is absent");
                continue;
            };
            let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
            let words = |name: &str| -> Vec<[u8; 4]> {
                tensors.tensor(name).unwrap().data().as_chunks().0.to_vec()
            };
            let floats = |name: &str| -> Vec<f32> {
                words(name).into_iter().map(f32::from_le_bytes).collect()
            };
            let ids: Vec<u32> = words("input_ids")
                .into_iter()
                .map(u32::from_le_bytes)
                .collect();
            let model = Model::open(&folder).unwrap();
            let plain = Plain::load(&model).unwrap();
            let ran = plain.session(Alter::default()).run(&ids).unwrap();
            let (logits, states) = (floats("logits"), floats("hidden_states"));
            let config = plain.config();
            let width = ids.len() * config.hidden;
            for (layer, own) in ran.states.iter().enumerate().take(config.layers) {
                let theirs = &states[layer * width..(layer + 1) * width];
                assert!(rel_l2(own, theirs) < 1e-5, "{case} layer {layer}");
            }
            let perplexity = |logits: &[f32]| {
                let rows = logits.chunks_exact(config.vocab).zip(&ids[1..]);
                let loss = |(row, next): (&[f32], &u32)| {
                    -crate::noise::log_likelihood(row, *next as usize)
                };
                (rows.map(loss).sum::<f64>() / (ids.len() - 1) as f64).exp()
            };
            let (own, theirs) = (perplexity(&ran.logits), perplexity(&logits));
            println!("{case}: perplexity {own:.6}, transformers {theirs:.6}");
            assert!((own / theirs - 1.0).abs() < 1e-5, "{case}: {own} {theirs}");
            seen += 1;
        }
        println!("{seen} cases");
    }
}
