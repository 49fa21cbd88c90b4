//! What masks of trained models look like: how many neurons consecutive tokens share, and how far honest devices' scores are apart, in
//! the units of `SCORE_ERROR` in `app/verify/src/masks.rs`. Prints Markdown; nothing here passes or fails.
//!
//! `measure_masks TEXT [TOKENS]`, TEXT a file of which the first TOKENS (256) are run.

use std::error::Error;

use assay_engine::numerics::silu;
use assay_engine::sampler::SamplerSpec;
use assay_engine::sparsity::{Bits, LayerScores, SparseModel, Sparsity};
use assay_engine::{Device, Engine, Numerics, Outputs, Quiet, Want};
use assay_model::{Mlp, Model};
use assay_prove::Request;
use assay_tests::{adapters, data::demo_opt, prover};
use assay_trace::{Decimal, Trace};
use assay_verify::profile::rms;
use assay_verify::{Profile, Profiles};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let text = std::fs::read_to_string(args.next().ok_or("measure_masks TEXT [TOKENS]")?)?;
    let tokens: usize = args.next().map_or(Ok(256), |n| n.parse())?;
    let models = [
        ("demo Llama", Model::demo()?),
        ("demo-opt", Model::open(&demo_opt())?),
    ];
    let mut all = Vec::new();
    for (name, model) in &models {
        let tokenizer = model.tokenizer().ok_or("no tokenizer")?;
        let mut ids = tokenizer.encode(&text[..text.len().min(8 * tokens)])?;
        ids.truncate(tokens.min(model.config().context - 1));
        all.push((*name, model, ids));
    }
    println!("Neurons that a token shares with the one before, of its own, mean over tokens:\n");
    println!(
        "| model | rule | active | all layers | least layer | most |\n|---|---|---|---|---|---|"
    );
    for (name, model, ids) in &all {
        for (rule, sparse) in rules(model)? {
            overlap(name, &rule, model, ids, sparse)?;
        }
    }
    println!(
        "\nScores of a prover that decodes and a verifier that prefills with its masks, in units of the profile's rel_l2 for the layer:\n"
    );
    println!(
        "| model | rule | prover -> verifier | scores | half below | 99.9 % below | largest | largest move of the threshold | bits that differ | their largest margin |"
    );
    println!("|{}", "---|".repeat(10));
    for (name, model, ids) in &all {
        let profiles = Profiles::embedded();
        let profile = profile_of(&profiles, model, ids)?;
        for (rule, sparse) in rules(model)? {
            let devices = adapters::devices();
            for (from, prover) in &devices {
                let proved = decoded(prover, model, ids, &sparse)?;
                for (to, verifier) in devices.iter().filter(|(to, _)| to != from) {
                    let own = checked(verifier, model, ids, &sparse, &proved)?;
                    let found = Apart::new(&sparse, model, profile, &proved, &own);
                    println!("| {name} | {rule} | {from} -> {to} | {} |", found.cells());
                }
            }
        }
    }
    Ok(())
}

/// Rules that need no file.
fn rules(model: &Model) -> Result<Vec<(String, SparseModel)>, Box<dyn Error>> {
    let config = model.config();
    let each = |value: &str| -> Result<Vec<Decimal>, Box<dyn Error>> {
        Ok(vec![value.parse()?; config.layers])
    };
    let mut rules: Vec<(String, SparseModel)> = [10, 20, 30]
        .map(|percent| {
            let keep = (config.intermediate * percent / 100) as u32;
            (format!("topk:{percent}%"), SparseModel::top_k(keep))
        })
        .into();
    rules.push(match config.family.mlp() {
        Mlp::Gated => ("cats:0.1".to_owned(), SparseModel::cats(each("0.1")?)),
        Mlp::Relu => ("relu".to_owned(), SparseModel::cats(each("0")?)),
    });
    Ok(rules)
}

fn load(
    device: &Device,
    model: &Model,
    ids: &[u32],
    sparse: &SparseModel,
) -> Result<Engine, Box<dyn Error>> {
    let (sparse, mut quiet) = (Some(sparse.clone().into()), Quiet);
    let engine = Engine::load_with(device, model, ids.len(), Numerics::Fast, sparse, &mut quiet);
    Ok(pollster::block_on(engine)?)
}

const WANT: Want = Want {
    logits_from: None,
    states: Vec::new(),
    linears: Vec::new(),
    inside: Vec::new(),
    masks: true,
    scores: true,
    first_rows: None,
};

fn decoded(
    device: &Device,
    model: &Model,
    ids: &[u32],
    sparse: &SparseModel,
) -> Result<Vec<Outputs>, Box<dyn Error>> {
    let mut engine = load(device, model, ids, sparse)?;
    let one = |id: &u32| pollster::block_on(engine.run(&[*id], &WANT, &mut Quiet));
    Ok(ids.iter().map(one).collect::<Result<_, _>>()?)
}

/// The same tokens in chunks, with the prover's masks.
fn checked(
    device: &Device,
    model: &Model,
    ids: &[u32],
    sparse: &SparseModel,
    proved: &[Outputs],
) -> Result<Vec<Outputs>, Box<dyn Error>> {
    let mut engine = load(device, model, ids, sparse)?;
    let masks = |positions: std::ops::Range<usize>| {
        let mut all = proved[positions.start].masks.clone();
        for outputs in &proved[positions.start + 1..positions.end] {
            for (all, own) in all.iter_mut().zip(&outputs.masks) {
                let words = [all.neurons.words(), own.neurons.words()].concat();
                all.neurons = Bits::from_words(own.neurons.width(), words).unwrap_or_default();
            }
        }
        all
    };
    let mut chunks = Vec::new();
    let add = |outputs: Outputs| -> Result<(), assay_engine::EngineError> {
        chunks.push(outputs);
        Ok(())
    };
    let mut quiet = Quiet;
    pollster::block_on(engine.prefill_masked(ids, Some(&masks), &WANT, &mut quiet, add))?;
    Ok(chunks)
}

fn overlap(
    name: &str,
    rule: &str,
    model: &Model,
    ids: &[u32],
    sparse: SparseModel,
) -> Result<(), Box<dyn Error>> {
    let run = decoded(&Device::Cpu, model, ids, &sparse)?;
    let (mut of_layers, mut active) = (Vec::new(), 0.0);
    for layer in 0..model.config().layers {
        let rows: Vec<&Bits> = run.iter().map(|o| &o.masks[layer].neurons).collect();
        let mut shares = Vec::new();
        for pair in rows.windows(2) {
            let both = pair[0].row(0).iter().zip(pair[1].row(0));
            let both: u32 = both.map(|(a, b)| (a & b).count_ones()).sum();
            if pair[1].count(0) > 0 {
                shares.push(f64::from(both) / pair[1].count(0) as f64);
            }
        }
        of_layers.push(mean(&shares));
        let counts: Vec<f64> = rows.iter().map(|row| row.count(0) as f64).collect();
        active += mean(&counts) / model.config().intermediate as f64;
    }
    let (least, most) = (
        of_layers.iter().copied().fold(1.0, f64::min),
        of_layers.iter().copied().fold(0.0, f64::max),
    );
    println!(
        "| {name} | `{rule}` | {:.1} % | {:.1} % | {:.1} % | {:.1} % |",
        100.0 * active / of_layers.len() as f64,
        100.0 * mean(&of_layers),
        100.0 * least,
        100.0 * most
    );
    Ok(())
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The profile of such traces: what a verifier would take.
fn profile_of<'p>(
    profiles: &'p Profiles,
    model: &Model,
    ids: &[u32],
) -> Result<&'p Profile, Box<dyn Error>> {
    let request = Request {
        prompt: ids[..8].to_vec(),
        max_tokens: 1,
        sampler: SamplerSpec::Greedy,
        ignore_eos: true,
        nonce: None,
        opened: None,
        audit: None,
    };
    let trace = prover::prove_as(&Device::Cpu, model, prover::root(model), &request);
    let manifest = Trace::parse(&trace)?.manifest().clone();
    let found = profiles.select(&manifest, &Device::Cpu.info());
    Ok(found.ok_or("no profile covers such traces")?)
}

/// What the rule compares: sizes of activations or gates.
fn sizes(rule: &Sparsity, mlp: Mlp, scores: &LayerScores) -> Vec<f32> {
    let size = |v: &f32| match (rule, mlp) {
        (Sparsity::Cats { .. }, Mlp::Gated) => silu(*v).abs(),
        (Sparsity::Cats { .. }, Mlp::Relu) => v.max(0.0),
        _ => v.abs(),
    };
    scores.neurons.iter().map(size).collect()
}

/// How far scores are apart.
struct Apart {
    /// |difference| / (rms of the row * rel_l2 of the layer), ascending.
    units: Vec<f32>,
    threshold: f64,
    flipped: u64,
    margin: f64,
}

impl Apart {
    fn new(
        sparse: &SparseModel,
        model: &Model,
        profile: &Profile,
        proved: &[Outputs],
        own: &[Outputs],
    ) -> Self {
        let (rule, config) = (sparse.sparsity(), model.config());
        let (wide, mlp) = (config.intermediate, config.family.mlp());
        let mut found = Self {
            units: Vec::new(),
            threshold: 0.0,
            flipped: 0,
            margin: 0.0,
        };
        for chunk in own {
            for layer in 0..config.layers {
                let Some(depth) = profile.depth(layer as u32 + 1) else {
                    continue;
                };
                let verifier = sizes(rule, mlp, &chunk.scores[layer]);
                for (row, verifier) in verifier.chunks_exact(wide).enumerate() {
                    let one = &proved[chunk.pos0 + row];
                    let prover = sizes(rule, mlp, &one.scores[layer]);
                    let unit = rms(verifier).max(f64::MIN_POSITIVE) * depth.rel_l2;
                    let apart = |a: f32, b: f32| (f64::from(a) - f64::from(b)).abs() / unit;
                    let pairs = prover.iter().zip(verifier);
                    found.units.extend(pairs.map(|(a, b)| apart(*a, *b) as f32));
                    let (of_prover, of_verifier) = match rule {
                        Sparsity::TopK { keep } => (kth(&prover, *keep), kth(verifier, *keep)),
                        Sparsity::Cats { thresholds } => (thresholds[layer], thresholds[layer]),
                        _ => continue,
                    };
                    found.threshold = found.threshold.max(apart(of_prover, of_verifier));
                    let mask = &one.masks[layer].neurons;
                    for (i, size) in verifier.iter().enumerate() {
                        let is_active = *size >= of_verifier && *size > 0.0;
                        if is_active != mask.get(0, i) && *size != of_verifier {
                            found.flipped += 1;
                            found.margin = found.margin.max(apart(*size, of_verifier));
                        }
                    }
                }
            }
        }
        found.units.sort_unstable_by(f32::total_cmp);
        found
    }

    fn cells(&self) -> String {
        let at = |share: f64| {
            let i = (self.units.len() as f64 * share) as usize;
            self.units.get(i.min(self.units.len().saturating_sub(1)))
        };
        let shown = |v: Option<&f32>| v.map_or(String::new(), |v| format!("{v:.3}"));
        format!(
            "{} | {} | {} | {} | {:.3} | {} | {:.3}",
            self.units.len(),
            shown(at(0.5)),
            shown(at(0.999)),
            shown(self.units.last()),
            self.threshold,
            self.flipped,
            self.margin
        )
    }
}

/// The k-th largest.
fn kth(sizes: &[f32], k: usize) -> f32 {
    let mut sizes = sizes.to_vec();
    let at = k.clamp(1, sizes.len()) - 1;
    let (_, kth, _) = sizes.select_nth_unstable_by(at, |a, b| b.total_cmp(a));
    *kth
}
