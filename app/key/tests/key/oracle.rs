//! Keys against naive sums over the same weights.

use assay_key::{KeyOptions, Part, ProductKey, VerifierKey};
use assay_model::{Dtype, LayerRole, Model, ModelConfig, Role};

use crate::sample::{ROLES, make, odd, options, parts, root, sample, thin};

/// W of a part as f64.
fn weights(model: &Model, part: Part) -> Vec<f64> {
    let role = match part {
        Part::Layer(layer, role) => Role::Layer(layer as usize, role),
        Part::Head => Role::LmHead,
    };
    let tensor = model.tensor(role).unwrap();
    model
        .read_f32(tensor)
        .unwrap()
        .into_iter()
        .map(f64::from)
        .collect()
}

/// Everything in a key that can be computed anew from the weights and the key's own R and G.
pub fn check(model: &Model, key: &VerifierKey) {
    for part in parts(key) {
        let product = key.product(part).unwrap();
        let r = key.projection(part).unwrap();
        check_product(&weights(model, part), &r, &product, key);
        assert_eq!(key.projected_elsewhere(part), Some(false));
    }
    check_sketch(model, key);
    check_copies(model, key);
}

fn check_product(w: &[f64], r: &[f32], product: &ProductKey, key: &VerifierKey) {
    let (n, k, projections) = (product.n, product.k, key.projections());
    assert_eq!((w.len(), r.len()), (n * k, projections * n));
    assert_eq!(product.projected.len(), projections * k);
    for (j, got) in product.projected.chunks(k).enumerate() {
        for (i, got) in got.iter().enumerate() {
            let mut sum = 0.0;
            for o in 0..n {
                sum += f64::from(r[j * n + o]) * w[o * k + i];
            }
            assert_eq!(
                got.to_bits(),
                (sum as f32).to_bits(),
                "projection {j}, column {i}"
            );
        }
    }
    assert_eq!(product.bound.len(), k);
    for (i, got) in product.bound.iter().enumerate() {
        let largest = |o: usize| {
            (0..projections)
                .map(|j| r[j * n + o].abs())
                .fold(0.0, f32::max)
        };
        // Summed backwards: another order than the key's.
        let want: f64 = (0..n)
            .rev()
            .map(|o| f64::from(largest(o)) * w[o * k + i].abs())
            .sum();
        let got = f64::from(*got);
        assert!(
            got >= want && got <= want * (1.0 + 2e-7) + 1e-44,
            "{got} {want}"
        );
    }
    assert_eq!(product.row_ids.len(), key.rows().min(n));
    assert!(product.row_ids.windows(2).all(|pair| pair[0] < pair[1]));
    assert_eq!(product.rows.len(), product.row_ids.len() * k);
    for (id, row) in product.row_ids.iter().zip(product.rows.chunks(k)) {
        let want = &w[*id as usize * k..(*id as usize + 1) * k];
        assert!(
            row.iter()
                .zip(want)
                .all(|(got, want)| f64::from(*got) == *want)
        );
    }
    let norm = w.iter().map(|w| w * w).sum::<f64>().sqrt();
    assert!((product.frobenius / norm - 1.0).abs() < 1e-12);
}

fn check_sketch(model: &Model, key: &VerifierKey) {
    let config = model.config();
    let (hidden, width) = (config.hidden, key.sketch_width());
    let g = key.embedding_projection();
    assert_eq!(g.len(), width * hidden);
    let embedding = model
        .read_f32(model.tensor(Role::Embedding).unwrap())
        .unwrap();
    for (token, e) in embedding.chunks(hidden).enumerate() {
        let got = key.embedding_row_sketch(token as u32).unwrap();
        assert_eq!(got.len(), width);
        for (got, g) in got.iter().zip(g.chunks(hidden)) {
            let mut sum = 0.0;
            for (g, e) in g.iter().zip(e) {
                sum += f64::from(*g) * f64::from(*e);
            }
            assert_eq!(got.to_bits(), (sum as f32).to_bits());
        }
    }
    assert_eq!(key.embedding_row_sketch(config.vocab as u32), None);
    assert_eq!(key.embedding_row_sketch(u32::MAX), None);
}

fn check_copies(model: &Model, key: &VerifierKey) {
    use LayerRole::*;
    let read = |role| {
        model
            .tensor(role)
            .map(|tensor| model.read_f32(tensor).unwrap())
    };
    assert_eq!(Some(key.final_norm()), read(Role::FinalNorm));
    for layer in key.layers() {
        let read = |role| read(Role::Layer(*layer as usize, role));
        assert_eq!(key.attn_norm(*layer), read(AttnNorm));
        assert_eq!(key.mlp_norm(*layer), read(MlpNorm));
        let biases = [QBias, KBias, VBias, OBias, GateBias, UpBias, DownBias];
        for (matrix, bias) in ROLES.into_iter().zip(biases) {
            assert_eq!(key.bias(*layer, matrix), read(bias), "{matrix:?}");
            assert_eq!(key.bias(*layer, bias), read(bias));
        }
        assert_eq!(key.bias(*layer, AttnNorm), None);
    }
}

fn configs() -> [ModelConfig; 4] {
    let tied = ModelConfig {
        tied_embeddings: true,
        mlp_bias: false,
        ..odd()
    };
    let no_bias = ModelConfig {
        attention_bias: false,
        ..odd()
    };
    [odd(), tied, no_bias, thin()]
}

#[test]
fn every_number_is_what_naive_sums_give() {
    for dtype in [Dtype::F32, Dtype::F16, Dtype::BF16] {
        for config in configs() {
            let sample = sample(&config, dtype);
            let key = make(&sample.model, 5, &options());
            check(&sample.model, &key);
            assert_eq!(key.config(), &config);
            assert_eq!(key.model_root(), root());
            assert_eq!(key.model_dtype(), dtype.as_str());
            assert_eq!(key.parameters(), sample.model.parameters());
            assert_eq!(key.tokenizer(), None);
            assert!(key.producer().starts_with("assay "));
            assert_eq!(
                (key.projections(), key.rows(), key.sketch_width()),
                (9, 5, 3)
            );
        }
    }
}

/// A matrix of more rows than one step takes, and more columns than one thread takes.
#[test]
fn batches_and_stripes_leave_no_seam() {
    let config = ModelConfig {
        vocab: 8195,
        hidden: 259,
        intermediate: 33,
        layers: 1,
        ..odd()
    };
    let sample = sample(&config, Dtype::BF16);
    let options = KeyOptions {
        projections: 8,
        sketch: 5,
        ..options()
    };
    check(&sample.model, &make(&sample.model, 2, &options));
}

#[test]
fn all_sizes_of_options() {
    let sample = sample(&thin(), Dtype::F32);
    for (projections, rows, sketch) in [(8, 1, 1), (13, 3, 4), (64, 64, 16)] {
        let options = KeyOptions {
            projections,
            rows,
            sketch,
            activations: None,
            layers: None,
        };
        check(&sample.model, &make(&sample.model, 3, &options));
    }
}

/// Freivalds' identity for y = W·x computed here, and what a wrong y does to it.
#[test]
fn honest_products_fit_and_others_do_not() {
    let sample = sample(&odd(), Dtype::BF16);
    let key = make(&sample.model, 4, &KeyOptions::default());
    for part in parts(&key) {
        let ProductKey {
            n,
            k,
            projected,
            bound,
            ..
        } = key.product(part).unwrap();
        let (w, r) = (weights(&sample.model, part), key.projection(part).unwrap());
        let x: Vec<f64> = (0..k).map(|i| f64::from((i as f32 * 0.7).sin())).collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let mut y: Vec<f64> = w.chunks(k).map(|row| dot(row, &x)).collect();
        let wide = |v: &[f32]| v.iter().copied().map(f64::from).collect::<Vec<_>>();
        let size: Vec<f64> = x.iter().map(|x| x.abs()).collect();
        let residuals = |y: &[f64]| -> Vec<f64> {
            let pairs = r.chunks(n).zip(projected.chunks(k));
            pairs
                .map(|(r, v)| dot(&wide(r), y) - dot(&wide(v), &x))
                .collect()
        };
        for (residual, v) in residuals(&y).iter().zip(projected.chunks(k)) {
            let magnitude: Vec<f64> = v.iter().map(|v| f64::from(v.abs())).collect();
            let certified =
                2f64.powi(-24) * dot(&magnitude, &size) + 1e-12 * dot(&wide(&bound), &size);
            assert!(
                residual.abs() <= certified,
                "{part}: {residual} {certified}"
            );
        }
        y[n / 2] += 0.01;
        let energy: f64 = residuals(&y)
            .iter()
            .map(|residual| residual * residual)
            .sum();
        // 16 projections of an error of 0.01: energy about 16e-4.
        assert!(energy > 2e-4 && energy < 1e-2, "{part}: {energy}");
    }
}

/// A matrix stored in another type than the rest: norms of a GGUF are f32 where its matrices are f16.
#[test]
fn mixed_types_keep_their_own() {
    let config = odd();
    let (halves, floats) = (sample(&config, Dtype::F16), sample(&config, Dtype::F32));
    let read = |sample: &crate::sample::Sample| {
        std::fs::read(sample.dir.path().join("model/model.safetensors")).unwrap()
    };
    let (halves, floats) = (read(&halves), read(&floats));
    let [a, b] =
        [&halves, &floats].map(|bytes| safetensors::SafeTensors::deserialize(bytes).unwrap());
    let tensors = a.names().into_iter().map(|name| {
        let from = if name.contains("norm") || name.contains("up_proj") {
            &b
        } else {
            &a
        };
        (name.to_owned(), from.tensor(name).unwrap())
    });
    let bytes = safetensors::serialize(tensors, None).unwrap();
    let json = std::fs::read(
        sample(&config, Dtype::F32)
            .dir
            .path()
            .join("model/config.json"),
    )
    .unwrap();
    let model = Model::from_memory(&json, None, vec![std::sync::Arc::new(bytes)], None).unwrap();
    assert_eq!(model.dtype(), "mixed");
    let key = make(&model, 8, &options());
    check(&model, &key);
    assert_eq!(key.model_dtype(), "mixed");
}

/// A real model, with a tokenizer: against the same sums, and its root through the file.
#[test]
fn the_demo_model() {
    let model = Model::demo().unwrap();
    let key = make(&model, 21, &KeyOptions::default());
    check(&model, &key);
    assert_eq!(
        key.tokenizer(),
        model.tokenizer().map(|tokenizer| tokenizer.digest())
    );
    assert!(key.tokenizer().is_some());
    let estimate = KeyOptions::default()
        .file_bytes(model.config(), Dtype::BF16)
        .unwrap();
    let got = key.as_bytes().len() as u64;
    assert!(
        (estimate..=estimate + 72).contains(&got),
        "{got} {estimate}"
    );
    let again = VerifierKey::parse(key.as_bytes().to_vec()).unwrap();
    assert_eq!(
        (again.model_root(), again.tokenizer()),
        (root(), key.tokenizer())
    );
}
