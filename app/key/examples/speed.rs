//! How long making a key takes: a synthetic checkpoint with the widths of a published model and a few of its layers.
//!
//! `cargo run --release -p assay-key --example speed -- llama-3.1-8b 2 bf16`
use std::time::Instant;

use assay_key::{KeyMaker, KeyOptions, Part, Seed, VerifierKey};
use assay_model::synth::{self, Shape};
use assay_model::{Dtype, LayerRole, Model, ModelConfig};
use assay_trace::Digest;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let arg = |index: usize, default: &'static str| {
        args.get(index).map_or(default, String::as_str).to_owned()
    };
    let name = arg(1, "llama-3.2-1b");
    let dtype = match arg(3, "bf16").as_str() {
        "f32" => Dtype::F32,
        "f16" => Dtype::F16,
        _ => Dtype::BF16,
    };
    let config = Shape::named(&name).ok_or("no such shape")?.config;
    let config = ModelConfig {
        layers: arg(2, "4").parse()?,
        ..config
    };
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("model");
    synth::write(&Shape::custom(&name, config)?, dtype, 1, &path)?;
    let model = Model::open(&path)?;

    let begin = Instant::now();
    let options = KeyOptions::default();
    let mut maker = KeyMaker::new(&model, Digest::ZERO, Seed::from_os()?, &options)?;
    let (mut last, mut layers) = (Instant::now(), 0.0);
    while let Some(part) = maker.next_part() {
        let before = maker.done();
        maker.step()?;
        let (seconds, bytes) = (last.elapsed().as_secs_f64(), maker.done() - before);
        last = Instant::now();
        if part != Part::Head {
            layers += seconds;
        }
        if matches!(part, Part::Head | Part::Layer(0, _)) {
            println!(
                "{part}: {seconds:.3} s, {:.2} GB/s",
                bytes as f64 / seconds / 1e9
            );
        }
    }
    let total = maker.total();
    let making = begin.elapsed().as_secs_f64();
    println!(
        "{total} bytes in {making:.2} s: {:.2} GB/s; the layers {layers:.2} s",
        total as f64 / making / 1e9
    );

    let begin = Instant::now();
    let key = maker.finish()?;
    println!(
        "finish: {:.3} s, {} bytes",
        begin.elapsed().as_secs_f64(),
        key.as_bytes().len()
    );
    let begin = Instant::now();
    let sealed = key.encrypt("correct horse")?;
    println!("encrypt: {:.3} s", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    let again = VerifierKey::decrypt(&sealed, "correct horse")?;
    println!("decrypt: {:.3} s", begin.elapsed().as_secs_f64());

    let part = Part::Layer(0, LayerRole::Gate);
    let begin = Instant::now();
    let projection = again.projection(part).unwrap_or_default();
    println!(
        "R of {part}: {:.3} s for {} numbers",
        begin.elapsed().as_secs_f64(),
        projection.len()
    );

    // With projections from elsewhere, what is left to do here.
    let mut maker = KeyMaker::new(&model, Digest::ZERO, Seed::from_bytes([0; 32]), &options)?;
    let mut accepting = 0.0;
    while let Some(part) = maker.next_part().filter(|part| *part != Part::Head) {
        let given = key_of(&model, part)?;
        let begin = Instant::now();
        maker.accept(part, given)?;
        accepting += begin.elapsed().as_secs_f64();
        if matches!(part, Part::Layer(0, LayerRole::Down)) {
            break;
        }
    }
    println!("accept, the first layer: {accepting:.3} s");
    Ok(())
}

/// V of a part by the seed above, made here.
fn key_of(model: &Model, part: Part) -> Result<Vec<f32>, Box<dyn std::error::Error>> {
    use std::sync::OnceLock;
    static KEY: OnceLock<VerifierKey> = OnceLock::new();
    if KEY.get().is_none() {
        let options = KeyOptions {
            layers: Some(vec![0]),
            ..KeyOptions::default()
        };
        let mut maker = KeyMaker::new(model, Digest::ZERO, Seed::from_bytes([0; 32]), &options)?;
        while !maker.step()? {}
        drop(KEY.set(maker.finish()?));
    }
    let product = KEY.get().and_then(|key| key.product(part));
    Ok(product.ok_or("not covered")?.projected)
}
