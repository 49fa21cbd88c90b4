//! How time grows with the length of a trace: `bench_growth [ADAPTER] [ROUNDS] [SVG]`. A trace of T positions is proven, then verified,
//! T from 64 to 4096, lengths in turns; medians are fitted by a T + b T^2 and drawn. Prints Markdown; nothing here passes or fails.
//!
//! The model is synthetic and small, with a context that is long enough: attention's share is larger than in a big model, so that the
//! quadratic term can be seen at all.

use std::time::Instant;

use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Gpu, GpuOptions, Quiet};
use assay_experiment::chart::{Axis, Mark, Panel, Sheet};
use assay_model::{Dtype, Model, synth};
use assay_prove::Request;
use assay_tests::prover;
use assay_verify::{Options, verify};
use std::sync::Arc;

const LENGTHS: [usize; 7] = [64, 128, 256, 512, 1024, 2048, 4096];
/// Tokens that are generated; the rest is prompt.
const OUTPUT: usize = 16;

fn main() {
    let mut args = std::env::args().skip(1);
    let options = GpuOptions {
        adapter: args.next(),
        ..GpuOptions::default()
    };
    let rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(3_usize);
    let svg = args.next();
    let gpu = pollster::block_on(Gpu::open(&options)).expect("an adapter");
    let name = format!(
        "{} ({}, {})",
        gpu.info.name, gpu.info.backend, gpu.info.driver
    );
    let device = Device::Gpu(Arc::new(gpu));
    let folder = tempfile::tempdir().expect("a folder");
    let model = long_model(&folder.path().join("long"));
    let root = prover::root(&model);
    let traces: Vec<Vec<u8>> = LENGTHS
        .iter()
        .map(|length| {
            let vocab = model.config().vocab as u32;
            let request = Request {
                prompt: (0..(length + 1 - OUTPUT) as u32)
                    .map(|i| (i * 37 + 11) % vocab)
                    .collect(),
                max_tokens: OUTPUT,
                sampler: SamplerSpec::Greedy,
                ignore_eos: true,
                nonce: None,
                opened: None,
                audit: None,
            };
            prover::prove_as(&device, &model, root, &request)
        })
        .collect();
    // Seconds of the prefill, and of the whole verification without loading.
    let mut times = vec![(Vec::new(), Vec::new()); LENGTHS.len()];
    for round in 0..=rounds {
        for (trace, (prefill, whole)) in traces.iter().zip(&mut times) {
            let begun = Instant::now();
            let options = Options::default();
            let report = pollster::block_on(verify(trace, &model, &device, &options, &mut Quiet))
                .expect("it verifies");
            assert!(report.failed_codes().is_empty(), "{}", report.summary);
            // The first round compiles.
            if round > 0 {
                prefill.push(report.timings.prefill_s);
                whole.push(begun.elapsed().as_secs_f64() - report.timings.load_s);
            }
        }
    }
    let middle = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    let medians: Vec<(f64, f64, f64)> = LENGTHS
        .iter()
        .zip(&mut times)
        .map(|(length, (prefill, whole))| (*length as f64, middle(prefill), middle(whole)))
        .collect();
    let prefill: Vec<(f64, f64)> = medians.iter().map(|m| (m.0, m.1)).collect();
    let (a, b) = fit(&prefill);
    println!(
        "{name}: synthetic Llama, 4 layers of width 256, medians of {rounds} rounds, lengths in turns\n"
    );
    println!("| T | prefill, s | tokens/s | fitted, s | verification without loading, s |");
    println!("|---|---|---|---|---|");
    for (t, prefill, whole) in &medians {
        println!(
            "| {t} | {prefill:.3} | {:.0} | {:.3} | {whole:.3} |",
            t / prefill,
            a * t + b * t * t
        );
    }
    println!(
        "\nprefill = {a:.3e} T + {b:.3e} T^2 seconds; the two terms are equal at T = {:.0}",
        a / b
    );
    if let Some(path) = svg {
        std::fs::write(&path, plot(&name, &medians, a, b)).expect("it is written");
    }
}

/// A context of 4224 positions.
fn long_model(path: &std::path::Path) -> Model {
    let mut config = synth::Shape::named("llama-3.2-1b")
        .expect("the shape")
        .config;
    config.hidden = 256;
    config.intermediate = 768;
    config.layers = 4;
    config.heads = 8;
    config.kv_heads = 4;
    config.vocab = 2048;
    config.context = 4224;
    config.eos = vec![1];
    config.bos = Some(0);
    let shape = synth::Shape::custom("long", config).expect("the shape");
    synth::write(&shape, Dtype::BF16, 1, path).expect("it is written");
    Model::open(path).expect("it opens")
}

/// Least squares of relative errors: a t + b t^2, so that short lengths count as much as long ones.
fn fit(points: &[(f64, f64)]) -> (f64, f64) {
    // Over y: 1 = a (t / y) + b (t^2 / y).
    let (mut uu, mut uv, mut vv, mut u1, mut v1) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (t, y) in points {
        let (u, v) = (t / y, t * t / y);
        uu += u * u;
        uv += u * v;
        vv += v * v;
        u1 += u;
        v1 += v;
    }
    let det = uu * vv - uv * uv;
    ((u1 * vv - v1 * uv) / det, (v1 * uu - u1 * uv) / det)
}

fn plot(name: &str, medians: &[(f64, f64, f64)], a: f64, b: f64) -> String {
    let of = |f: &dyn Fn(&(f64, f64, f64)) -> f64| -> Vec<(f64, f64)> {
        medians.iter().map(|m| (m.0, f(m))).collect()
    };
    let line = |label: &str, series, points| Mark::Line {
        name: label.to_owned(),
        series,
        dashed: true,
        points,
    };
    let all = medians
        .iter()
        .flat_map(|m| [m.1, m.2, a * m.0, b * m.0 * m.0]);
    Sheet {
        title: format!("Time over the length of a trace: {name}"),
        panels: vec![Panel {
            title: "prefill and its two terms".to_owned(),
            x: Axis::log("positions", LENGTHS.iter().map(|t| *t as f64)),
            y: Axis::log("seconds", all),
            marks: vec![
                Mark::Dots {
                    name: "prefill".to_owned(),
                    series: 0,
                    points: of(&|m| m.1),
                },
                Mark::Dots {
                    name: "verification".to_owned(),
                    series: 1,
                    points: of(&|m| m.2),
                },
                line("a T", 2, of(&|m| a * m.0)),
                line("b T²", 3, of(&|m| b * m.0 * m.0)),
            ],
        }],
        tables: Vec::new(),
        columns: 1,
    }
    .standalone()
}
