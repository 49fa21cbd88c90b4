//! A plain forward pass from nothing but this crate's public interface, against logits that other programs computed. It shows that
//! names, shapes, layouts, scaling and rounding of the rotary tables are right: every mistake among them moves the logits by far
//! more than the tolerance.
#![cfg(all(feature = "native", feature = "demo"))]
mod common;
use assay_model::{LayerRole, Mlp, Model, ModelConfig, Norm, Role, RopeLayout};
use common::{ids, json, shared};

/// Mean difference relative to the size of the logits. The stored references differ from exact arithmetic by 2e-6; the smallest of the
/// deliberate mistakes in the data's README (an epsilon of zero) moves them by more than 1e-5.
const RELATIVE_L2: f64 = 5e-6;

struct Plain<'a> {
    model: &'a Model,
}

impl Plain<'_> {
    fn weights(&self, role: Role) -> Option<Vec<f32>> {
        Some(self.model.read_f32(self.model.tensor(role)?).unwrap())
    }

    /// x [T, in] · Wᵀ + b, in f64.
    fn linear(&self, x: &[f64], weight: Role, bias: Option<Role>) -> Vec<f64> {
        let tensor = self.model.tensor(weight).unwrap();
        let w = self.weights(weight).unwrap();
        let b = bias
            .and_then(|role| self.weights(role))
            .unwrap_or(vec![0.0; tensor.rows()]);
        let dot = |row: &[f64], w: &[f32]| {
            row.iter()
                .zip(w)
                .map(|(x, w)| x * f64::from(*w))
                .sum::<f64>()
        };
        let output = |row: &[f64]| {
            let outputs = w
                .chunks(tensor.cols())
                .zip(&b)
                .map(|(w, b)| dot(row, w) + f64::from(*b));
            outputs.collect::<Vec<f64>>()
        };
        x.chunks(tensor.cols()).flat_map(output).collect()
    }

    fn norm(&self, x: &[f64], weight: Role, bias: Role) -> Vec<f64> {
        let config = self.model.config();
        let w = self.weights(weight).unwrap();
        let b = self.weights(bias);
        assert_eq!(b.is_some(), config.family.norm() == Norm::Layer);
        let b = b.unwrap_or(vec![0.0; w.len()]);
        let eps = f64::from(config.norm_eps);
        let normed = |row: &[f64]| {
            let mean = match config.family.norm() {
                Norm::Rms => 0.0,
                Norm::Layer => row.iter().sum::<f64>() / row.len() as f64,
            };
            let squares = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
            let scale = (squares / row.len() as f64 + eps).sqrt();
            row.iter()
                .zip(w.iter().zip(&b))
                .map(|(x, (w, b))| (x - mean) / scale * f64::from(*w) + f64::from(*b))
                .collect::<Vec<f64>>()
        };
        x.chunks(w.len()).flat_map(normed).collect()
    }

    /// The embeddings, and where they are learned the positions.
    fn embed(&self, tokens: &[u32]) -> Vec<f64> {
        let row = |role, at: usize| {
            let table = self.model.tensor(role).unwrap();
            self.model.read_rows_f32(table, at..at + 1).unwrap()
        };
        let embedded = tokens
            .iter()
            .flat_map(|id| row(Role::Embedding, *id as usize));
        let mut x: Vec<f64> = embedded.map(f64::from).collect();
        if self.model.config().rope.is_none() {
            let positions = (0..tokens.len()).map(|t| t + ModelConfig::POSITION_OFFSET);
            let positions = positions.flat_map(|at| row(Role::Positions, at));
            x.iter_mut()
                .zip(positions)
                .for_each(|(x, p)| *x += f64::from(p));
        }
        x
    }

    fn rotate(&self, x: &mut [f64], heads: usize) {
        let config = self.model.config();
        let (dim, half) = (config.head_dim, config.head_dim / 2);
        let Some(rope) = config.rope else { return };
        let (cos, sin) = config.cos_sin_tables(0..x.len() / (heads * dim)).unwrap();
        for (at, head) in x.chunks_mut(dim).enumerate() {
            let position = at / heads;
            for pair in 0..half {
                let (i, j) = match rope.layout {
                    RopeLayout::RotateHalf => (pair, pair + half),
                    RopeLayout::Interleaved => (2 * pair, 2 * pair + 1),
                };
                let (c, s) = (
                    f64::from(cos[position * half + pair]),
                    f64::from(sin[position * half + pair]),
                );
                (head[i], head[j]) = (head[i] * c - head[j] * s, head[j] * c + head[i] * s);
            }
        }
    }

    fn attend(&self, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
        let config = self.model.config();
        let (dim, q_dim, kv_dim) = (config.head_dim, config.q_dim(), config.kv_dim());
        let mut out = vec![0.0; q.len()];
        for t in 0..q.len() / q_dim {
            for head in 0..config.heads {
                let kv = (head / (config.heads / config.kv_heads)) * dim;
                let query = &q[t * q_dim + head * dim..][..dim];
                let score = |s: usize| {
                    let key = &k[s * kv_dim + kv..][..dim];
                    query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / (dim as f64).sqrt()
                };
                let scores: Vec<f64> = (0..=t).map(score).collect();
                let max = scores.iter().copied().fold(f64::MIN, f64::max);
                let sum: f64 = scores.iter().map(|score| (score - max).exp()).sum();
                for (s, score) in scores.iter().enumerate() {
                    let share = (score - max).exp() / sum;
                    for d in 0..dim {
                        out[t * q_dim + head * dim + d] += share * v[s * kv_dim + kv + d];
                    }
                }
            }
        }
        out
    }

    /// What goes into the last matrix of an MLP.
    fn activations(&self, layer: usize, n: &[f64]) -> Vec<f64> {
        use LayerRole::*;
        let role = |role| Role::Layer(layer, role);
        let up = self.linear(n, role(Up), Some(role(UpBias)));
        let mlp = self.model.config().family.mlp();
        assert_eq!(self.model.layer(layer, Gate).is_some(), mlp.has_gate());
        match mlp {
            Mlp::Relu => up.iter().map(|u| u.max(0.0)).collect(),
            Mlp::Gated => {
                let gate = self.linear(n, role(Gate), Some(role(GateBias)));
                let silu = gate.iter().map(|g| g / (1.0 + (-g).exp()));
                silu.zip(&up).map(|(g, u)| g * u).collect()
            }
        }
    }

    fn logits(&self, tokens: &[u32]) -> Vec<f64> {
        self.run(tokens).1
    }

    /// The last row of the residual stream after the embedding, after each layer and after the last norm; and all logits.
    fn run(&self, tokens: &[u32]) -> (Vec<Vec<f64>>, Vec<f64>) {
        use LayerRole::*;
        let config = self.model.config();
        let mut x = self.embed(tokens);
        let last = |x: &[f64]| x[x.len() - config.hidden..].to_vec();
        let mut states = vec![last(&x)];
        let add = |x: &mut Vec<f64>, y: Vec<f64>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        for layer in 0..config.layers {
            let role = |role| Role::Layer(layer, role);
            let n = self.norm(&x, role(AttnNorm), role(AttnNormBias));
            let mut q = self.linear(&n, role(Q), Some(role(QBias)));
            let mut k = self.linear(&n, role(K), Some(role(KBias)));
            let v = self.linear(&n, role(V), Some(role(VBias)));
            self.rotate(&mut q, config.heads);
            self.rotate(&mut k, config.kv_heads);
            add(
                &mut x,
                self.linear(&self.attend(&q, &k, &v), role(O), Some(role(OBias))),
            );
            let n = self.norm(&x, role(MlpNorm), role(MlpNormBias));
            let active = self.activations(layer, &n);
            add(
                &mut x,
                self.linear(&active, role(Down), Some(role(DownBias))),
            );
            states.push(last(&x));
        }
        let n = self.norm(&x, Role::FinalNorm, Role::FinalNormBias);
        states.push(last(&n));
        (states, self.linear(&n, Role::LmHead, None))
    }
}

fn relative_l2(got: &[f64], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let difference: f64 = got.iter().zip(want).map(|(g, w)| (g - w).powi(2)).sum();
    (difference / want.iter().map(|w| w * w).sum::<f64>()).sqrt()
}

#[test]
fn logits_equal_those_of_transformers() {
    for case in [
        "llama-mha-f32",
        "llama-odd-shapes-f16",
        "llama3-gqa-bf16",
        "mistral-bf16",
        "qwen2-bias-bf16",
        "llama-gptq-int4",
        "llama-awq-int4",
        "opt-f32",
    ] {
        let Some(dir) = shared(&format!("hf-reference/{case}")) else {
            return;
        };
        let model = Model::open(&dir).unwrap();
        let bytes = std::fs::read(dir.join("reference.safetensors")).unwrap();
        let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let words = |name: &str| {
            reference
                .tensor(name)
                .unwrap()
                .data()
                .as_chunks::<4>()
                .0
                .to_vec()
        };
        let tokens: Vec<u32> = words("input_ids")
            .into_iter()
            .map(u32::from_le_bytes)
            .collect();
        let want: Vec<f64> = words("logits")
            .into_iter()
            .map(|word| f32::from_le_bytes(word).into())
            .collect();
        let got = Plain { model: &model }.logits(&tokens);
        let error = relative_l2(&got, &want);
        let largest = got
            .iter()
            .zip(&want)
            .map(|(g, w)| (g - w).abs())
            .fold(0.0, f64::max);
        eprintln!("{case}: relative L2 {error:.2e}, largest difference {largest:.2e}");
        assert!(error < RELATIVE_L2, "{case}: {error:e}");
        assert!(largest < 2e-5, "{case}: {largest:e}");

        let greedy: Vec<u32> = words("greedy_ids")
            .into_iter()
            .map(u32::from_le_bytes)
            .collect();
        assert_greedy(&model, &tokens[..16], &greedy, case);
    }
}

/// One pass over prompt and continuation: each token must follow from those before it.
fn assert_greedy(model: &Model, prompt: &[u32], greedy: &[u32], case: &str) {
    let vocab = model.config().vocab;
    let logits = Plain { model }.logits(&[prompt, greedy].concat());
    let top = |row: &[f64]| {
        (0..vocab)
            .max_by(|a, b| row[*a].total_cmp(&row[*b]))
            .unwrap() as u32
    };
    let rows = logits.chunks(vocab).skip(prompt.len() - 1);
    let got: Vec<u32> = rows.map(top).collect();
    assert_eq!(got[..greedy.len()], *greedy, "{case}");
}

#[test]
fn demo_logits_equal_its_reference() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("demo-llama/reference.json");
    assert_reference(&Model::demo().unwrap(), &path);
}

#[test]
fn demo_opt_logits_equal_its_reference() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/models/demo-opt");
    assert_reference(&Model::open(&dir).unwrap(), &dir.join("reference.json"));
}

/// The `reference.json` of a demonstration model: logits and norms of states at the end of a prompt, and what follows greedily.
fn assert_reference(model: &Model, path: &std::path::Path) {
    let floats =
        |value: &serde_json::Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
    let reference = json(path);
    for case in reference["cases"].as_array().unwrap() {
        let prompt = ids(&case["prompt_ids"]);
        let (states, logits) = Plain { model }.run(&prompt);
        let last = &logits[logits.len() - model.config().vocab..];
        let error = relative_l2(&last[..16], &floats(&case["last_position_logits_first16"]));
        let lengths: Vec<f64> = states
            .iter()
            .map(|state| state.iter().map(|x| x * x).sum::<f64>().sqrt())
            .collect();
        let states_error = relative_l2(&lengths, &floats(&case["last_position_hidden_l2"]));
        eprintln!("{path:?}: relative L2 {error:.2e}, of lengths of states {states_error:.2e}");
        assert!(error < RELATIVE_L2, "{error:e}");
        assert!(states_error < RELATIVE_L2, "{states_error:e}");
        let name = case["prompt"].as_str().unwrap();
        assert_greedy(model, &prompt, &ids(&case["greedy_ids"]), name);
    }
}

#[test]
fn greedy_tokens_of_the_trained_models_are_as_expected() {
    let Some(expected) = shared("expected/greedy.json") else {
        return;
    };
    let expected = json(&expected);
    for (name, path) in [
        ("stories260K", "stories260K/stories260K.bin"),
        ("TinyStories-656K", "tinystories-656k"),
    ] {
        let model = Model::open(&shared(path).unwrap()).unwrap();
        for case in expected[name].as_array().unwrap() {
            let (prompt, greedy) = (ids(&case["prompt_ids"]), ids(&case["greedy_ids"]));
            assert_greedy(&model, &prompt, &greedy, name);
        }
    }
}

/// The rows of q and k as Hugging Face orders them: of each head, first all first components of a pair, then all second ones.
fn halves(rows: &[f32], cols: usize, head_dim: usize) -> Vec<f32> {
    let row = |at: usize| rows[at * cols..(at + 1) * cols].to_vec();
    let of_head = |head: usize| {
        let pair = |side: usize| (0..head_dim / 2).map(move |pair| 2 * pair + side);
        let order = pair(0).chain(pair(1));
        order.flat_map(move |at| row(head * head_dim + at))
    };
    let heads = rows.len() / cols / head_dim;
    (0..heads).flat_map(of_head).collect()
}

#[test]
fn gguf_files_hold_the_weights_and_the_config_of_the_demo() {
    use assay_model::Dtype;
    let demo = Model::demo().unwrap();
    for (case, dtype) in [
        ("demo-llama-bf16", Dtype::BF16),
        ("demo-llama-f16", Dtype::F16),
    ] {
        let Some(path) = shared(&format!("gguf-reference/{case}/model.gguf")) else {
            return;
        };
        let model = Model::open(&path).unwrap();
        assert!(model.notes().is_empty(), "{:?}", model.notes());
        let mut config = model.config().clone();
        let rope = config.rope.as_mut().unwrap();
        assert_eq!(rope.layout, RopeLayout::Interleaved);
        rope.layout = RopeLayout::RotateHalf;
        assert_eq!(&config, demo.config());
        assert_eq!(model.tensors().len(), demo.tensors().len());
        let mut roles = vec![Role::Embedding, Role::LmHead, Role::FinalNorm];
        for layer in 0..config.layers {
            use LayerRole::*;
            let of_layer = [AttnNorm, Q, K, V, O, MlpNorm, Gate, Up, Down];
            roles.extend(of_layer.map(|role| Role::Layer(layer, role)));
        }
        for role in roles {
            let (ours, theirs) = (model.tensor(role).unwrap(), demo.tensor(role).unwrap());
            assert_eq!(ours.shape, theirs.shape);
            let norm = ours.shape.len() == 1;
            assert_eq!(ours.dtype, if norm { Dtype::F32 } else { dtype });
            let mut got = model.read_f32(ours).unwrap();
            if let Role::Layer(_, LayerRole::Q | LayerRole::K) = role {
                got = halves(&got, ours.cols(), config.head_dim);
            }
            let mut want = demo.read_f32(theirs).unwrap();
            if ours.dtype == Dtype::F16 {
                want.iter_mut()
                    .for_each(|x| *x = half::f16::from_f32(*x).to_f32());
            }
            assert!(got == want, "{case}: {role:?}");
        }
    }
}

#[test]
fn logits_of_gguf_files_equal_their_references() {
    // What llama.cpp's own rounding of activations costs, by the data's README.
    for (case, llama_cpp) in [
        ("demo-llama-bf16", 2e-3),
        ("demo-llama-f16", 2e-3),
        ("demo-llama-q8_0", 5e-3),
        ("demo-llama-q4_0", 5e-3),
        ("demo-llama-q4_k_m", 8e-3),
        ("demo-llama-q6_k", 8e-3),
        ("rand256-q6_k", 4e-2),
    ] {
        let Some(dir) = shared(&format!("gguf-reference/{case}")) else {
            return;
        };
        let model = Model::open(&dir.join("model.gguf")).unwrap();
        let bytes = std::fs::read(dir.join("reference.safetensors")).unwrap();
        let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let words = |name: &str| {
            let tensor = reference.tensor(name).unwrap();
            tensor.data().as_chunks::<4>().0.to_vec()
        };
        let integers =
            |name: &str| -> Vec<u32> { words(name).into_iter().map(u32::from_le_bytes).collect() };
        let vocab = model.config().vocab;
        for sequence in ["seq0", "seq1"] {
            let logits = Plain { model: &model }.logits(&integers(&format!("{sequence}.ids")));
            let positions = integers(&format!("{sequence}.positions"));
            let got: Vec<f64> = positions
                .iter()
                .flat_map(|at| &logits[*at as usize * vocab..][..vocab])
                .copied()
                .collect();
            let floats = |name: &str| -> Vec<f64> {
                let floats = words(&format!("{sequence}.{name}")).into_iter();
                floats.map(|word| f32::from_le_bytes(word).into()).collect()
            };
            let error = relative_l2(&got, &floats("numpy_logits"));
            let theirs = relative_l2(&got, &floats("llamacpp_logits"));
            eprintln!("{case} {sequence}: relative L2 {error:.2e}, to llama.cpp {theirs:.2e}");
            assert!(error < RELATIVE_L2, "{case}: {error:e}");
            assert!(theirs < llama_cpp, "{case}: {theirs:e}");
        }
    }
}

/// Weights by the script that quantised them, which has nothing of this crate.
#[test]
fn four_bit_weights_equal_their_dequantised_reference() {
    let Some(dir) = shared("hf-reference/llama-gptq-int4") else {
        return;
    };
    let bytes = std::fs::read(dir.join("dequantized_layer0.safetensors")).unwrap();
    let reference = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let awq = dir.with_file_name("llama-awq-int4");
    for path in [dir, awq] {
        let model = Model::open(&path).unwrap();
        let mut seen = 0;
        for role in LayerRole::LINEARS {
            let tensor = model.layer(0, role).unwrap();
            let name = reference.names().into_iter().find(|name| {
                let part = tensor.name.rsplit('.').nth(1).unwrap();
                name.contains(part)
            });
            let want = reference.tensor(name.unwrap()).unwrap();
            let want: Vec<f32> = want
                .data()
                .as_chunks()
                .0
                .iter()
                .map(|word| f32::from_le_bytes(*word))
                .collect();
            assert!(model.read_f32(tensor).unwrap() == want, "{}", tensor.name);
            seen += 1;
        }
        assert_eq!(seen, 7);
    }
}

/// int8 of a trained model moves its logits by about a percent, and its most likely tokens hardly ever.
#[test]
fn a_quantised_llama2c_file_computes_nearly_what_its_original_does() {
    let Some(path) = shared("stories260K/stories260K-q8.bin") else {
        return;
    };
    let model = Model::open(&path).unwrap();
    let original = Model::open(&path.with_file_name("stories260K.bin")).unwrap();
    let ids = model
        .tokenizer()
        .unwrap()
        .encode("Once upon a time, there was")
        .unwrap();
    let logits = |model| Plain { model }.logits(&ids);
    let error = relative_l2(&logits(&model), &logits(&original));
    eprintln!("stories260K-q8: relative L2 {error:.2e} to f32");
    assert!(error > 1e-4 && error < 2e-2, "{error:e}");
    // Values by the format, in the order of the file: the embedding is the first matrix after 11 norms of 64.
    let bytes = std::fs::read(&path).unwrap();
    let (quants, scales) = (256 + 4 * 11 * 64, 256 + 4 * 11 * 64 + 512 * 64);
    let want: Vec<f32> = (0..512 * 64)
        .map(|i| {
            let scale = &bytes[scales + i / 8 * 4..][..4];
            f32::from_le_bytes(scale.try_into().unwrap()) * f32::from(bytes[quants + i] as i8)
        })
        .collect();
    let table = model.tensor(Role::Embedding).unwrap();
    assert!(model.read_f32(table).unwrap() == want);
}

#[test]
fn a_gguf_file_computes_what_its_llama2c_original_does() {
    let Some(path) = shared("stories260K/stories260K.bin") else {
        return;
    };
    let original = Model::open(&path).unwrap();
    let converted = Model::open(&shared("stories260K/stories260Ktok512.gguf").unwrap()).unwrap();
    let tokenizer = converted.tokenizer().unwrap();
    let ids = tokenizer.encode("Once upon a time, there was").unwrap();
    let logits = |model| Plain { model }.logits(&ids);
    assert!(relative_l2(&logits(&converted), &logits(&original)) < 1e-12);
}
