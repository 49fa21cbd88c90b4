//! What an audit rests on: recorded linear outputs that change nothing, and an auditor whose every device sees the same.

use assay_engine::audit::{Auditor, LayerProbe, LayerSeen, OwnedRows, Probe};
use assay_engine::kernels::matmul::Stored;
use assay_engine::kernels::project;
use assay_engine::{
    Device, Engine, EngineError, Numerics, Outputs, Quiet, Rounding, Want, linear_widths,
};
use assay_model::synth::{self, Shape};
use assay_model::{Dtype, LayerRole, Model, Role};
use assay_tests::adapters;

const PROJECTIONS: usize = 16;

/// A small model with every bias that a Llama can have, of odd sizes, and grouped heads.
fn biased() -> (tempfile::TempDir, Model) {
    let mut config = Shape::named("tiny").expect("a name").config;
    config.hidden = 44;
    config.intermediate = 90;
    config.head_dim = 10;
    config.heads = 6;
    config.kv_heads = 2;
    config.attention_bias = true;
    config.mlp_bias = true;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("model");
    let shape = Shape::custom("biased", config).expect("a shape");
    synth::write(&shape, Dtype::BF16, 5, &path).expect("it is written");
    let model = Model::open(&path).expect("it opens");
    (folder, model)
}

fn run(
    device: &Device,
    model: &Model,
    ids: &[u32],
    numerics: Numerics,
    want: &Want,
) -> Vec<Outputs> {
    let mut engine = pollster::block_on(Engine::load(
        device,
        model,
        ids.len() + 2,
        numerics,
        &mut Quiet,
    ))
    .expect("the model loads");
    let (prompt, rest) = ids.split_at(ids.len() - 2);
    let mut all = Vec::new();
    pollster::block_on(engine.prefill(prompt, want, &mut Quiet, |outputs| {
        all.push(outputs);
        Ok::<_, EngineError>(())
    }))
    .expect("it runs");
    // Two decode steps, which take other kernels.
    for id in rest {
        all.push(pollster::block_on(engine.run(&[*id], want, &mut Quiet)).expect("it runs"));
    }
    all
}

fn ids(model: &Model, count: usize) -> Vec<u32> {
    let vocab = model.config().vocab as u32;
    (0..count as u32).map(|i| (i * 7919 + 13) % vocab).collect()
}

fn joined(outputs: &[Outputs], of: impl Fn(&Outputs) -> &[f32]) -> Vec<f32> {
    outputs.iter().flat_map(|o| of(o).iter().copied()).collect()
}

#[test]
fn recording_changes_no_hidden_state_and_is_the_same_everywhere() {
    let (_folder, with_biases) = biased();
    for model in [Model::demo().expect("the demo model"), with_biases] {
        let config = model.config();
        let ids = ids(&model, 150);
        let plain = Want {
            logits_from: Some(140),
            ..Want::all_states(config)
        };
        let recorded = Want {
            linears: (0..config.layers).collect(),
            ..plain.clone()
        };
        let only_one = Want {
            linears: vec![1],
            ..plain.clone()
        };
        let reference = run(&Device::Cpu, &model, &ids, Numerics::Strict, &recorded);
        for (name, device) in adapters::devices() {
            let without = run(&device, &model, &ids, Numerics::Strict, &plain);
            let with = run(&device, &model, &ids, Numerics::Strict, &recorded);
            let one = run(&device, &model, &ids, Numerics::Strict, &only_one);
            for l in 0..=config.layers {
                let states = joined(&without, |o| &o.states[l]);
                assert!(
                    states == joined(&with, |o| &o.states[l]),
                    "{name}: state {l}"
                );
                assert!(
                    states == joined(&one, |o| &o.states[l]),
                    "{name}: state {l}, one"
                );
            }
            assert!(
                joined(&without, |o| &o.logits) == joined(&with, |o| &o.logits),
                "{name}"
            );
            for l in 0..config.layers {
                for (i, role) in LayerRole::LINEARS.iter().enumerate() {
                    let got = joined(&with, |o| &o.linears[l][i]);
                    assert_eq!(got.len(), ids.len() * linear_widths(config)[i]);
                    assert!(
                        got == joined(&reference, |o| &o.linears[l][i]),
                        "{name}: layer {l} {role:?}"
                    );
                    if l == 1 {
                        assert!(
                            got == joined(&one, |o| &o.linears[0][i]),
                            "{name}: {role:?}"
                        );
                    }
                }
            }
        }
    }
}

/// n, k, what is applied to y, to x and to |x|, and the bias.
type OwnedProduct = (usize, usize, Vec<f32>, Vec<f32>, Vec<f32>, Option<Vec<f32>>);

/// A verifier's stand-in for one layer of `model`, from its weights.
struct Owned {
    attn_norm: Vec<f32>,
    mlp_norm: Vec<f32>,
    products: Vec<OwnedProduct>,
}

impl Owned {
    fn new(model: &Model, layer: usize) -> Self {
        let read = |role: LayerRole| {
            model
                .layer(layer, role)
                .map(|tensor| model.read_f32(tensor).expect("it reads"))
        };
        let mut seed = 1u64;
        let mut normal = || {
            // A sum of uniform numbers is near enough to a normal one here.
            let mut sum = -6.0;
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                sum += (seed >> 40) as f32 / (1u64 << 24) as f32;
            }
            sum
        };
        use LayerRole as R;
        let biases = [
            R::QBias,
            R::KBias,
            R::VBias,
            R::OBias,
            R::GateBias,
            R::UpBias,
            R::DownBias,
        ];
        let products = LayerRole::LINEARS.iter().zip(biases).map(|(role, bias)| {
            let tensor = model.tensor(Role::Layer(layer, *role)).expect("a matrix");
            let (n, k) = (tensor.rows(), tensor.cols());
            let on_y: Vec<f32> = (0..PROJECTIONS * n).map(|_| normal()).collect();
            let bytes = model
                .read(tensor, 0, tensor.bytes as usize)
                .expect("it reads");
            let stored = Stored {
                dtype: tensor.dtype,
                bytes: &bytes,
                n,
                k,
            };
            let mut on_x = vec![0.0; PROJECTIONS * k];
            project::cpu(&on_y, stored, &mut on_x);
            let w = model.read_f32(tensor).expect("it reads");
            // Two sampled rows, and their magnitudes.
            on_x.extend_from_slice(&w[..k]);
            on_x.extend_from_slice(&w[(n - 1) * k..]);
            let magnitude: Vec<f32> = w[..k].iter().map(|x| x.abs()).collect();
            (n, k, on_y, on_x, magnitude, read(bias))
        });
        Self {
            attn_norm: read(R::AttnNorm).expect("a norm"),
            mlp_norm: read(R::MlpNorm).expect("a norm"),
            products: products.collect(),
        }
    }

    fn probe(&self) -> LayerProbe<'_> {
        LayerProbe {
            attn_norm: &self.attn_norm,
            mlp_norm: &self.mlp_norm,
            products: std::array::from_fn(|i| {
                let (n, k, on_y, on_x, on_magnitude, bias) = &self.products[i];
                Probe {
                    n: *n,
                    k: *k,
                    on_y,
                    on_x,
                    on_magnitude,
                    bias: bias.as_deref(),
                }
            }),
        }
    }
}

fn audit(
    device: &Device,
    model: &Model,
    rounding: Rounding,
    layer: usize,
    rows: &OwnedRows,
) -> Vec<LayerSeen> {
    let hidden = model.config().hidden;
    let positions = rows.before.len() / hidden;
    let widths = linear_widths(model.config());
    let owned = Owned::new(model, layer);
    let mut auditor = pollster::block_on(Auditor::new(device, model.config(), rounding, positions))
        .expect("room");
    let mut all = Vec::new();
    let give = |from: usize, to: usize| -> Result<OwnedRows, EngineError> {
        Ok(OwnedRows {
            before: rows.before[from * hidden..to * hidden].to_vec(),
            outputs: std::array::from_fn(|i| {
                rows.outputs[i][from * widths[i]..to * widths[i]].to_vec()
            }),
        })
    };
    pollster::block_on(
        auditor.layer(&owned.probe(), positions, &mut Quiet, give, |_, seen| {
            all.push(seen);
            Ok(())
        }),
    )
    .expect("it sees");
    all
}

fn honest_rows(model: &Model, layer: usize, count: usize) -> (OwnedRows, Vec<f32>) {
    let want = Want {
        linears: vec![layer],
        ..Want::all_states(model.config())
    };
    let outputs = run(
        &Device::Cpu,
        model,
        &ids(model, count),
        Numerics::Strict,
        &want,
    );
    let rows = OwnedRows {
        before: joined(&outputs, |o| &o.states[layer]),
        outputs: std::array::from_fn(|i| joined(&outputs, |o| &o.linears[0][i])),
    };
    (rows, joined(&outputs, |o| &o.states[layer + 1]))
}

#[test]
fn every_device_sees_the_same_and_an_honest_layer_has_small_residuals() {
    let (_folder, with_biases) = biased();
    for model in [Model::demo().expect("the demo model"), with_biases] {
        // More than one chunk of rows on a software adapter.
        let (rows, after) = honest_rows(&model, 1, 140);
        for rounding in [Rounding::Keep, Rounding::Bf16, Rounding::F16] {
            let reference = audit(&Device::Cpu, &model, rounding, 1, &rows);
            for (name, device) in adapters::devices() {
                let seen = audit(&device, &model, rounding, 1, &rows);
                assert!(
                    seen == reference,
                    "{name} with {rounding:?} sees something else"
                );
            }
            let derived: Vec<f32> = reference.iter().flat_map(|s| s.after.clone()).collect();
            let difference = derived
                .iter()
                .zip(&after)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            let largest = after.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let unit = rounding.unit() as f32;
            assert!(
                difference <= 4.0 * unit * largest,
                "{rounding:?}: after is {difference} off"
            );
            for (i, role) in LayerRole::LINEARS.iter().enumerate() {
                let mut worst = 0.0f64;
                for seen in &reference {
                    let product = &seen.products[i];
                    for (residual, x) in product.residual_energy.iter().zip(&product.x_energy) {
                        worst = worst.max(f64::from(*residual) / f64::from(*x));
                    }
                }
                // Weights of these models are about 0.1, so y is about as large as x.
                let limit = 100.0 * rounding.unit();
                let relative = (worst / PROJECTIONS as f64).sqrt();
                assert!(
                    relative < limit,
                    "{rounding:?} {role:?}: {relative:e}, limit {limit:e}"
                );
            }
        }
    }
}

#[test]
fn a_changed_element_shows_in_its_row_and_only_there() {
    let model = Model::demo().expect("the demo model");
    let (mut rows, _) = honest_rows(&model, 2, 30);
    let honest = audit(&Device::Cpu, &model, Rounding::Keep, 2, &rows);
    let width = linear_widths(model.config())[4];
    let value = &mut rows.outputs[4][17 * width + 3];
    *value += 0.01;
    let seen = audit(&Device::Cpu, &model, Rounding::Keep, 2, &rows);
    let (before, now) = (&honest[0].products[4], &seen[0].products[4]);
    for row in 0..30 {
        let ratio = now.residual_energy[row] / before.residual_energy[row].max(1e-20);
        assert!(
            if row == 17 { ratio > 1e3 } else { ratio == 1.0 },
            "row {row}: {ratio}"
        );
    }
    // What follows from it is derived anew, so the lie shows up in the next product's input too, for that row.
    let (before, now) = (&honest[0].products[6], &seen[0].products[6]);
    assert!(now.residual_energy[17] > 10.0 * before.residual_energy[17]);
}
