//! A forward pass, of Llama or OPT, in plain float64 loops, written apart from the engine: the oracle for shapes and
//! options that no reference file covers. No cache, no chunks, no tiles.

use assay_model::{LayerRole, Model, ModelConfig, Role, Rope, RopeLayout, RopeScaling};

/// Hidden states of every layer (the last before the final norm) and logits, [layers + 1][T * H] and [T * V].
pub fn forward(model: &Model, ids: &[u32]) -> (Vec<Vec<f64>>, Vec<f64>) {
    let c = model.config();
    let weights = |role| -> Option<Vec<f64>> {
        let tensor = model.tensor(role)?;
        Some(
            model
                .read_f32(tensor)
                .expect("it reads")
                .iter()
                .map(|v| f64::from(*v))
                .collect(),
        )
    };
    let need = |role| weights(role).expect("the tensor is there");
    let embedding = need(Role::Embedding);
    let (t, h, d) = (ids.len(), c.hidden, c.head_dim);
    let mut x: Vec<f64> = ids
        .iter()
        .flat_map(|id| embedding[*id as usize * h..][..h].to_vec())
        .collect();
    if c.rope.is_none() {
        let table = need(Role::Positions);
        let used = &table[ModelConfig::POSITION_OFFSET * h..];
        x.iter_mut().zip(used).for_each(|(x, p)| *x += p);
    }
    let norm = |x: &[f64], weight, bias| {
        let eps = f64::from(c.norm_eps);
        match weights(bias) {
            Some(bias) => layer_norm(x, &need(weight), &bias, eps),
            None => rms_norm(x, &need(weight), eps),
        }
    };
    let mut states = vec![x.clone()];
    for l in 0..c.layers {
        let linear = |x: &[f64], weight, bias| {
            let y = product(x, &need(Role::Layer(l, weight)), t);
            match weights(Role::Layer(l, bias)) {
                Some(bias) => y
                    .chunks(bias.len())
                    .flat_map(|r| r.iter().zip(&bias).map(|(a, b)| a + b).collect::<Vec<_>>())
                    .collect(),
                None => y,
            }
        };
        let normed = norm(
            &x,
            Role::Layer(l, LayerRole::AttnNorm),
            Role::Layer(l, LayerRole::AttnNormBias),
        );
        let mut q: Vec<f64> = linear(&normed, LayerRole::Q, LayerRole::QBias);
        let mut k: Vec<f64> = linear(&normed, LayerRole::K, LayerRole::KBias);
        let v: Vec<f64> = linear(&normed, LayerRole::V, LayerRole::VBias);
        if let Some(rope) = &c.rope {
            rotate(&mut q, rope, d, c.heads);
            rotate(&mut k, rope, d, c.kv_heads);
        }
        let mut attended = vec![0.0; t * c.heads * d];
        for p in 0..t {
            for head in 0..c.heads {
                let group = head / (c.heads / c.kv_heads);
                let query = &q[(p * c.heads + head) * d..][..d];
                let row = |m: &'_ [f64], j: usize| -> Vec<f64> {
                    m[(j * c.kv_heads + group) * d..][..d].to_vec()
                };
                let scores: Vec<f64> = (0..=p)
                    .map(|j| {
                        query
                            .iter()
                            .zip(row(&k, j))
                            .map(|(a, b)| a * b)
                            .sum::<f64>()
                            / (d as f64).sqrt()
                    })
                    .collect();
                let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let exps: Vec<f64> = scores.iter().map(|s| (s - top).exp()).collect();
                let sum: f64 = exps.iter().sum();
                for (j, e) in exps.iter().enumerate() {
                    for (o, v) in attended[(p * c.heads + head) * d..][..d]
                        .iter_mut()
                        .zip(row(&v, j))
                    {
                        *o += e / sum * v;
                    }
                }
            }
        }
        let out: Vec<f64> = linear(&attended, LayerRole::O, LayerRole::OBias);
        x.iter_mut().zip(out).for_each(|(x, o)| *x += o);
        let normed = norm(
            &x,
            Role::Layer(l, LayerRole::MlpNorm),
            Role::Layer(l, LayerRole::MlpNormBias),
        );
        let up: Vec<f64> = linear(&normed, LayerRole::Up, LayerRole::UpBias);
        let gated: Vec<f64> = if c.family.mlp().has_gate() {
            let gate: Vec<f64> = linear(&normed, LayerRole::Gate, LayerRole::GateBias);
            gate.iter()
                .zip(up)
                .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
                .collect()
        } else {
            up.iter().map(|u| u.max(0.0)).collect()
        };
        let down: Vec<f64> = linear(&gated, LayerRole::Down, LayerRole::DownBias);
        x.iter_mut().zip(down).for_each(|(x, o)| *x += o);
        states.push(x.clone());
    }
    let last = norm(&x, Role::FinalNorm, Role::FinalNormBias);
    (states, product(&last, &need(Role::LmHead), t))
}

/// x [rows, k] times w [n, k] transposed.
fn product(x: &[f64], w: &[f64], rows: usize) -> Vec<f64> {
    let k = x.len() / rows;
    x.chunks(k)
        .flat_map(|x| {
            w.chunks(k)
                .map(|w| x.iter().zip(w).map(|(a, b)| a * b).sum())
                .collect::<Vec<f64>>()
        })
        .collect()
}

fn layer_norm(x: &[f64], weight: &[f64], bias: &[f64], eps: f64) -> Vec<f64> {
    let n = weight.len();
    let centred: Vec<f64> = x
        .chunks(n)
        .flat_map(|x| {
            let mean = x.iter().sum::<f64>() / n as f64;
            x.iter().map(move |v| v - mean).collect::<Vec<_>>()
        })
        .collect();
    // What is left of the variance is the mean square of what is left of x.
    rms_norm(&centred, weight, eps)
        .chunks(n)
        .flat_map(|y| y.iter().zip(bias).map(|(y, b)| y + b).collect::<Vec<_>>())
        .collect()
}

fn rms_norm(x: &[f64], weight: &[f64], eps: f64) -> Vec<f64> {
    let n = weight.len();
    x.chunks(n)
        .flat_map(|x| {
            let scale = 1.0 / (x.iter().map(|v| v * v).sum::<f64>() / n as f64 + eps).sqrt();
            x.iter()
                .zip(weight)
                .map(|(v, w)| v * scale * w)
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Rotation with frequencies from the scaling's definition, in float64 throughout.
fn rotate(x: &mut [f64], rope: &Rope, d: usize, heads: usize) {
    let half = d / 2;
    for (p, row) in x.chunks_mut(heads * d).enumerate() {
        for head in row.chunks_mut(d) {
            for i in 0..half {
                let mut f = rope.theta.powf(-2.0 * i as f64 / d as f64);
                match rope.scaling {
                    RopeScaling::None => {}
                    RopeScaling::Linear { factor } => f /= factor,
                    RopeScaling::Llama3 {
                        factor,
                        low_freq_factor,
                        high_freq_factor,
                        original_context,
                    } => {
                        let wavelength = 2.0 * std::f64::consts::PI / f;
                        let ratio = original_context as f64 / wavelength;
                        let smooth = ((ratio - low_freq_factor)
                            / (high_freq_factor - low_freq_factor))
                            .clamp(0.0, 1.0);
                        f = smooth * f + (1.0 - smooth) * f / factor;
                    }
                }
                let (sin, cos) = (p as f64 * f).sin_cos();
                let (ia, ib) = match rope.layout {
                    RopeLayout::RotateHalf => (i, i + half),
                    RopeLayout::Interleaved => (2 * i, 2 * i + 1),
                };
                let (a, b) = (head[ia], head[ib]);
                head[ia] = a * cos - b * sin;
                head[ib] = b * cos + a * sin;
            }
        }
    }
}
