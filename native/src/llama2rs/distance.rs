//! How far an adapter's logits are from the replay's. An adapter sums in another order and has another exp, so its bits are not the
//! claim's; how near it comes is worth knowing, and never a reason to accept a claim of equal bits.

use assay_engine::{Engine, EngineError, Numerics, Want};
use assay_llama2rs::check::Checked;
use assay_llama2rs::{Sampler, Trace, logits_hash};
use assay_model::Model;

use super::report::{AdapterDistance, Distance};
use crate::device_arg::DeviceArgs;
use crate::progress::Progress;

/// Runs the replay's tokens on the adapter, under either numerics.
pub async fn measure(
    trace: &Trace,
    checked: &Checked,
    model: &Model,
    device: &DeviceArgs,
    progress: &mut Progress,
) -> anyhow::Result<AdapterDistance> {
    let device = device.open().await?;
    let mut runs = Vec::new();
    for numerics in [Numerics::Fast, Numerics::Strict] {
        if checked.tokens.is_empty() {
            break;
        }
        let capacity = checked.tokens.len();
        let mut engine = Engine::load(&device, model, capacity, numerics, progress).await?;
        let want = Want {
            logits_from: Some(0),
            ..Want::default()
        };
        let mut logits = Vec::new();
        let keep = |outputs: assay_engine::Outputs| -> Result<(), EngineError> {
            logits.extend(outputs.logits);
            Ok(())
        };
        engine
            .prefill(&checked.tokens, &want, progress, keep)
            .await?;
        runs.push(compare(numerics.as_str(), &logits, trace, checked));
    }
    Ok(AdapterDistance {
        adapter: device.info(),
        runs,
    })
}

fn compare(numerics: &'static str, logits: &[f32], trace: &Trace, checked: &Checked) -> Distance {
    let vocab = checked.logits.first().map_or(1, Vec::len).max(1);
    let rows: Vec<&[f32]> = logits.chunks_exact(vocab).collect();
    let mut distance = Distance {
        numerics,
        positions: rows.len(),
        hashes_equal: 0,
        rel_l2_max: 0.0,
        rel_l2_mean: 0.0,
        max_abs: 0.0,
        tokens_equal: 0,
        tokens: 0,
    };
    for ((row, own), entry) in rows.iter().zip(&checked.logits).zip(&trace.entries) {
        distance.hashes_equal += usize::from(logits_hash(row) == entry.logits);
        let (mut apart, mut norm) = (0.0, 0.0);
        for (a, b) in row.iter().zip(own) {
            let (a, b) = (f64::from(*a), f64::from(*b));
            apart += (a - b) * (a - b);
            norm += b * b;
            distance.max_abs = distance.max_abs.max((a - b).abs());
        }
        let relative = if norm > 0.0 {
            (apart / norm).sqrt()
        } else {
            0.0
        };
        distance.rel_l2_max = distance.rel_l2_max.max(relative);
        distance.rel_l2_mean += relative / rows.len() as f64;
    }
    // The same coins for both: one for each chosen token.
    let n_chosen = checked.agreement.tokens_judged;
    let first = checked.tokens.len().saturating_sub(n_chosen + 1);
    let mut samplers = [Sampler::new(checked.sampler), Sampler::new(checked.sampler)];
    for (row, own) in rows.iter().zip(&checked.logits).skip(first).take(n_chosen) {
        let [theirs, ours] = &mut samplers;
        distance.tokens += 1;
        distance.tokens_equal += usize::from(theirs.choose(row).token == ours.choose(own).token);
    }
    distance
}
