//! A prover that computes something else than it claims, consistently: one forward pass in which a single step is twisted, and a
//! trace of it with everything open. Written apart from the engine's forward pass; products are the CPU twin's.

use assay_engine::kernels::matmul::{self, Stored};
use assay_engine::{Rounding, linear_widths};
use assay_model::{LayerRole, Model, Role, RopeLayout};
use assay_trace::{
    Compute, Digest, Keep, Linear, LinearsSpec, ModelClaim, NumericsClaim, NumericsClass,
    PositionInput, ProductClaim, Sampler, StopReason, TraceBuilder, TraceSpec,
};

use crate::prover::stored_whole;

/// What is done otherwise than the model says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Twist {
    /// Nothing.
    None,
    /// Attention's scores are divided by this.
    SoftmaxTemperature(f32),
    /// Keys from position 1 on are rotated as if one further; position 0 is right.
    RopeShift,
    /// Attention reads the previous position's keys and values in place of this position's: a cache that was not written.
    StaleCache(usize),
    /// Keys and values are rounded to 8 bits by head before attention reads them.
    QuantisedCache,
    /// max(g, 0) in place of silu(g).
    Relu,
    /// Only this part of the MLP's channels, the largest by magnitude, is kept.
    SparseMlp(f32),
    /// This layer's two additions to the residual stream are left out.
    SkipLayer(usize),
    /// Layers after this one are left out.
    EarlyExit(usize),
}

struct Run<'a> {
    model: &'a Model,
    twist: Twist,
    rounding: Rounding,
}

struct Passed {
    /// [layers + 1][T * hidden]
    states: Vec<Vec<f32>>,
    /// [layers][7][T * width]
    linears: Vec<[Vec<f32>; 7]>,
    /// [T * vocab]
    logits: Vec<f32>,
}

impl Run<'_> {
    fn of(&self, x: f32) -> f32 {
        self.rounding.of(x)
    }

    fn read(&self, role: Role) -> Vec<f32> {
        let tensor = self.model.tensor(role).expect("a tensor");
        self.model.read_f32(tensor).expect("it reads")
    }

    fn product(&self, x: &[f32], role: Role) -> Vec<f32> {
        let tensor = self.model.tensor(role).expect("a matrix");
        let bytes = self
            .model
            .read(tensor, 0, tensor.bytes as usize)
            .expect("it reads");
        let (n, k) = (tensor.rows(), tensor.cols());
        let stored = Stored {
            dtype: tensor.dtype,
            bytes: &bytes,
            n,
            k,
        };
        let mut y = vec![0.0; x.len() / k * n];
        matmul::cpu(x, stored, None, None, &mut y);
        y.iter().map(|y| self.of(*y)).collect()
    }

    fn norm(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        let (n, eps) = (weight.len(), self.model.config().norm_eps);
        x.chunks_exact(n)
            .flat_map(|x| {
                let mean = x.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / n as f64;
                let scale = (1.0 / (mean + f64::from(eps)).sqrt()) as f32;
                x.iter()
                    .zip(weight)
                    .map(|(x, w)| self.of(self.of(x * scale) * w))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    fn rotate(&self, x: &mut [f32], heads: usize, is_key: bool) {
        let c = self.model.config();
        let (d, half) = (c.head_dim, c.head_dim / 2);
        let rows = x.len() / (heads * d);
        let (cos, sin) = c.cos_sin_tables(0..rows + 1).expect("rotary positions");
        for (p, row) in x.chunks_exact_mut(heads * d).enumerate() {
            let shifted = is_key && p > 0 && self.twist == Twist::RopeShift;
            let at = (p + usize::from(shifted)) * half;
            for head in row.chunks_exact_mut(d) {
                for i in 0..half {
                    let (ia, ib) = match c.rope.as_ref().expect("rotary positions").layout {
                        RopeLayout::RotateHalf => (i, i + half),
                        RopeLayout::Interleaved => (2 * i, 2 * i + 1),
                    };
                    let (cos, sin) = (self.of(cos[at + i]), self.of(sin[at + i]));
                    let (a, b) = (head[ia], head[ib]);
                    head[ia] = self.of(self.of(a * cos) - self.of(b * sin));
                    head[ib] = self.of(self.of(b * cos) + self.of(a * sin));
                }
            }
        }
    }

    fn attend(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let c = self.model.config();
        let (d, group, kv_dim) = (c.head_dim, c.heads / c.kv_heads, c.kv_dim());
        let rows = q.len() / c.q_dim();
        let temperature = match self.twist {
            Twist::SoftmaxTemperature(t) => t,
            _ => 1.0,
        };
        let seen = |cache: &[f32], j: usize, kv_head: usize| -> Vec<f32> {
            let j = match self.twist {
                Twist::StaleCache(stale) if j == stale => j - 1,
                _ => j,
            };
            let head = cache[j * kv_dim + kv_head * d..][..d].to_vec();
            if self.twist != Twist::QuantisedCache {
                return head;
            }
            let scale = head.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0;
            head.iter().map(|x| (x / scale).round() * scale).collect()
        };
        let mut out = vec![0.0f32; q.len()];
        for p in 0..rows {
            for head in 0..c.heads {
                let query = &q[p * c.q_dim() + head * d..][..d];
                let scores: Vec<f64> = (0..=p)
                    .map(|j| {
                        let key = seen(k, j, head / group);
                        let dot: f64 = query
                            .iter()
                            .zip(&key)
                            .map(|(a, b)| f64::from(*a) * f64::from(*b))
                            .sum();
                        dot / (d as f64).sqrt() / f64::from(temperature)
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
                let mut mixed = vec![0.0f64; d];
                for (j, s) in scores.iter().enumerate() {
                    let weight = (s - top).exp() / sum;
                    for (m, v) in mixed.iter_mut().zip(seen(v, j, head / group)) {
                        *m += weight * f64::from(v);
                    }
                }
                for (o, m) in out[p * c.q_dim() + head * d..].iter_mut().zip(mixed) {
                    *o = self.of(m as f32);
                }
            }
        }
        out
    }

    fn gated(&self, gate: &[f32], up: &[f32], width: usize) -> Vec<f32> {
        let act = |g: f32| match self.twist {
            Twist::Relu => g.max(0.0),
            _ => (f64::from(g) / (1.0 + (-f64::from(g)).exp())) as f32,
        };
        let mut gated: Vec<f32> = gate
            .iter()
            .zip(up)
            .map(|(g, u)| self.of(self.of(act(*g)) * u))
            .collect();
        if let Twist::SparseMlp(part) = self.twist {
            for row in gated.chunks_exact_mut(width) {
                let mut sizes: Vec<f32> = row.iter().map(|x| x.abs()).collect();
                sizes.sort_by(f32::total_cmp);
                let least = sizes[((1.0 - part) * width as f32) as usize];
                row.iter_mut()
                    .filter(|x| x.abs() < least)
                    .for_each(|x| *x = 0.0);
            }
        }
        gated
    }

    fn pass(&self, ids: &[u32]) -> Passed {
        let c = self.model.config();
        let table = self.read(Role::Embedding);
        let mut h: Vec<f32> = ids
            .iter()
            .flat_map(|id| &table[*id as usize * c.hidden..][..c.hidden])
            .map(|x| self.of(*x))
            .collect();
        let mut states = vec![h.clone()];
        let mut linears = Vec::new();
        for l in 0..c.layers {
            let product = |x: &[f32], role| self.product(x, Role::Layer(l, role));
            let x = self.norm(&h, &self.read(Role::Layer(l, LayerRole::AttnNorm)));
            let [q, k, v] = [LayerRole::Q, LayerRole::K, LayerRole::V].map(|r| product(&x, r));
            let (mut rq, mut rk) = (q.clone(), k.clone());
            self.rotate(&mut rq, c.heads, false);
            self.rotate(&mut rk, c.kv_heads, true);
            let attended = self.attend(&rq, &rk, &v);
            let o = product(&attended, LayerRole::O);
            let add = |h: &[f32], y: &[f32]| -> Vec<f32> {
                let skipped = match self.twist {
                    Twist::SkipLayer(skipped) => l == skipped,
                    Twist::EarlyExit(last) => l > last,
                    _ => false,
                };
                let sum = |(h, y): (&f32, &f32)| if skipped { *h } else { self.of(h + y) };
                h.iter().zip(y).map(sum).collect()
            };
            let mid = add(&h, &o);
            let x = self.norm(&mid, &self.read(Role::Layer(l, LayerRole::MlpNorm)));
            let (gate, up) = (product(&x, LayerRole::Gate), product(&x, LayerRole::Up));
            let gated = self.gated(&gate, &up, c.intermediate);
            let down = product(&gated, LayerRole::Down);
            h = add(&mid, &down);
            states.push(h.clone());
            linears.push([q, k, v, o, gate, up, down]);
        }
        let x = self.norm(&h, &self.read(Role::FinalNorm));
        Passed {
            states,
            linears,
            logits: self.product(&x, Role::LmHead),
        }
    }
}

/// Runs `model` with a twist, greedily, and claims the model whose root is `claimed` and the precision that `rounding` is. Everything
/// is open.
pub fn prove(
    model: &Model,
    claimed: Digest,
    twist: Twist,
    rounding: Rounding,
    prompt: &[u32],
    output: usize,
) -> Vec<u8> {
    let c = model.config();
    let run = Run {
        model,
        twist,
        rounding,
    };
    let mut tokens = prompt.to_vec();
    while tokens.len() < prompt.len() + output {
        let passed = run.pass(&tokens);
        let last = &passed.logits[(tokens.len() - 1) * c.vocab..];
        let best = (0..c.vocab).fold(0, |best, id| if last[id] > last[best] { id } else { best });
        tokens.push(best as u32);
    }
    let positions = tokens.len() - 1;
    let passed = run.pass(&tokens[..positions]);
    let compute = Compute::from(rounding);
    let state_dtype = stored_whole(compute);
    let widths = linear_widths(c);
    let spec = TraceSpec {
        linears: Some(LinearsSpec {
            products: Linear::ALL
                .into_iter()
                .zip(widths)
                .map(|(name, width)| ProductClaim {
                    name,
                    width: width as u32,
                })
                .collect(),
            keep: Keep::Everything,
        }),
        adapter: format!("twisted: {twist:?}"),
        eos: c.eos.clone(),
        ignore_eos: true,
        model: ModelClaim {
            dtype: model.dtype().to_owned(),
            family: c.family.as_str().to_owned(),
            hidden: c.hidden as u32,
            layers: c.layers as u32,
            parameters: model.parameters(),
            root: claimed,
            vocab: c.vocab as u32,
        },
        nonce: None,
        numerics: NumericsClaim {
            activations: None,
            class: NumericsClass::Fast,
            compute,
        },
        opened: vec![0],
        producer: "the tests".into(),
        prompt: prompt.to_vec(),
        sampler: Sampler::Greedy,
        sparse: None,
        state_dtype,
        tokenizer: None,
    };
    let mut builder = TraceBuilder::new(spec).expect("a spec");
    for (p, token) in tokens.iter().enumerate().take(positions) {
        let row = |_: &[f32], width: usize| p * width..(p + 1) * width;
        let states: Vec<&[f32]> = passed.states.iter().map(|s| &s[row(s, c.hidden)]).collect();
        let linears: Vec<Vec<&[f32]>> = passed
            .linears
            .iter()
            .map(|layer| {
                let one = |i: usize| &layer[i][p * widths[i]..(p + 1) * widths[i]];
                (0..LayerRole::LINEARS.len()).map(one).collect()
            })
            .collect();
        let logits = (p + 1 >= prompt.len()).then(|| &passed.logits[row(&passed.logits, c.vocab)]);
        let input = PositionInput {
            states: &states,
            linears: &linears,
            sums: &[],
            masks: &[],
            logits,
        };
        builder.push_position(*token, input).expect("a position");
    }
    let last = *tokens.last().expect("tokens");
    builder
        .finish(last, StopReason::Length)
        .expect("it seals")
        .to_bytes()
}
