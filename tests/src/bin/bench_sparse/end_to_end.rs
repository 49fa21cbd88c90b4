//! A whole model of Llama-3.2-1B's shape: decoding dense, and with the masks of the largest activations.
//!
//! Three ways take turns, token by token, so that what else the machine does falls on all alike: dense; `oracle`, where the rule finds
//! the masks (which computes gate and up in full); and `known`, where the oracle's masks of the same tokens are given. Weights are
//! synthetic, so nothing here says what skipping does to quality.

use std::sync::Arc;
use std::time::Instant;

use assay_engine::sparsity::{Bits, LayerMasks, SparseModel};
use assay_engine::{Device, Engine, Numerics, Quiet, Want};
use assay_model::{Dtype, Model, synth};
use assay_trace::Digest;

/// Tokens before the first that is timed.
const PROMPT: usize = 8;
/// Share of neurons that stays, percent.
const KEEP: usize = 20;

pub fn run(device: &Device, tokens: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("1b");
    let shape = synth::Shape::named("llama-3.2-1b").expect("the shape");
    synth::write(&shape, Dtype::BF16, 1, &path).expect("it is written");
    let model = Model::open(&path).expect("it opens");
    let config = model.config().clone();
    let keep = (config.intermediate * KEEP / 100) as u32;
    let ids: Vec<u32> = (0..PROMPT + tokens)
        .map(|i| (i * 7919 % config.vocab) as u32)
        .collect();
    let load = |sparse| {
        let mut quiet = Quiet;
        let engine = Engine::load_with(
            device,
            &model,
            ids.len(),
            Numerics::Fast,
            sparse,
            &mut quiet,
        );
        pollster::block_on(engine).expect("it loads")
    };
    let mut oracle = load(Some(Arc::new(SparseModel::top_k(keep))));
    // The oracle's masks of all tokens.
    let masks: Vec<Vec<LayerMasks>> = ids
        .iter()
        .map(|id| decode(&mut oracle, *id, None, true).1)
        .collect();
    let mut dense = load(None);
    // Masks come with each token, so the rule's own are never used.
    let nothing = vec![Bits::zeros(1, config.intermediate); config.layers];
    let given = SparseModel::given(Digest::ZERO, nothing);
    let mut sparse = load(Some(Arc::new(given)));
    let mut times = [const { Vec::new() }; 3];
    for (engine, known) in [
        (&mut dense, false),
        (&mut sparse, true),
        (&mut oracle, false),
    ] {
        engine.reset();
        for (id, masks) in ids.iter().zip(&masks).take(PROMPT) {
            decode(engine, *id, known.then_some(&masks[..]), false);
        }
    }
    for (id, masks) in ids.iter().zip(&masks).skip(PROMPT) {
        times[0].push(decode(&mut dense, *id, None, false).0);
        times[1].push(decode(&mut oracle, *id, None, false).0);
        times[2].push(decode(&mut sparse, *id, Some(masks), false).0);
    }
    let median = |times: &[f64]| {
        let mut sorted = times.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let base = median(&times[0]);
    println!(
        "\nLlama-3.2-1B's shape, bf16, {tokens} tokens decoded after {PROMPT}, {KEEP} % of neurons active:\n"
    );
    println!("| | ms a token | dense over it | dense over it, pair by pair |");
    println!("|---|---|---|---|");
    for (name, of) in ["dense", "oracle finds its masks", "masks known"]
        .iter()
        .zip(&times)
    {
        let pairs: Vec<f64> = times[0]
            .iter()
            .zip(of)
            .map(|(dense, own)| dense / own)
            .collect();
        let own = median(of);
        println!(
            "| {name} | {:.1} | {:.2} | {:.2} |",
            own * 1e3,
            base / own,
            median(&pairs)
        );
    }
}

/// Runs one token; seconds, and the masks if they are wanted.
fn decode(
    engine: &mut Engine,
    id: u32,
    masks: Option<&[LayerMasks]>,
    want_masks: bool,
) -> (f64, Vec<LayerMasks>) {
    let want = Want {
        logits_from: Some(engine.position()),
        masks: want_masks,
        ..Want::default()
    };
    let started = Instant::now();
    let (tokens, mut quiet) = ([id], Quiet);
    let ran = engine.run_masked(&tokens, masks, &want, &mut quiet);
    let outputs = pollster::block_on(ran).expect("it runs");
    (started.elapsed().as_secs_f64(), outputs.masks)
}
