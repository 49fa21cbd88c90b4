//! One trace on one verifier: the figures of every opened row and of every emitted token, and what Assay's own checks say of it.
//!
//! The verifier runs prompt and output as one causal prefill, as `assay --verify` does, and its checks are the very same code.
//! What is left out here is what needs no run: the commitment, the prompt, the model's root. An experiment with an int4 prover lets
//! the trace claim the verifier's weights, because the root alone would end it otherwise.

use assay_engine::sampler::{self, SamplerSpec, Support};
use assay_engine::{Engine, Monitor, Outputs, Want};
use assay_trace::{StateDtype, Trace};
use assay_verify::fingerprint::Fingerprint;
use assay_verify::hidden::StateCheck;
use assay_verify::suspects::{Lean, SuspectRun};
use assay_verify::tokens::TokenCheck;
use assay_verify::verillm::VeriLlm;
use assay_verify::{Emulated, Outcome, Profile, Verdict, sampler_spec, statistics};
use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::ExperimentError;

/// Logprobs that are compared of each position (Gonka's top-k).
pub const TOP_LOGPROBS: usize = 20;

/// One pair of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Position in prompt plus output.
    pub position: usize,
    /// Hidden state; 0 is the embedding.
    pub layer: u32,
    /// VeriLLM's figures.
    pub verillm: VeriLlm,
    /// Relative L2 distance.
    pub rel_l2: f64,
    /// The same in what the verifier's own two runs differ by there, if the prover claims half precision and a profile covers it.
    pub distance: f64,
    /// The largest activations.
    pub fingerprint: Fingerprint,
}

/// One emitted token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Token {
    /// The position that it was sampled from.
    pub position: usize,
    /// Token-DiFR's margin, in logits.
    pub margin: f64,
    /// Whether it lies outside what the sampler allows.
    pub is_outside: bool,
    /// ln of its probability under the claimed sampler's temperature.
    pub log_likelihood: f64,
    /// Whether the verifier's replay gives this token.
    pub replayed: bool,
    /// Gonka's distance of the prover's largest logprobs from the verifier's; `None` where the prover's are not known.
    pub logprob_distance: Option<f64>,
}

/// What Assay's own checks say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Own {
    /// The verdict.
    pub verdict: Verdict,
    /// Codes of the checks that did not pass.
    pub codes: Vec<String>,
    /// The profile whose limits were used.
    pub profile: Option<String>,
}

/// How the prover's rows lean towards one suspect.
#[derive(Debug, Clone, PartialEq)]
pub struct Leaning {
    /// Over the whole trace.
    pub lean: Lean,
    /// Of each emitted token: numerator and denominator at the position that it was sampled from.
    pub tokens: Vec<[f64; 2]>,
}

/// Everything of one verification.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Rows of opened hidden states, position by position.
    pub rows: Vec<Row>,
    /// Emitted tokens.
    pub tokens: Vec<Token>,
    /// One for each suspect.
    pub leanings: Vec<Leaning>,
    /// Assay's own verdict, which no suspect has a part in.
    pub own: Own,
    /// Seconds of the verifier's run, without loading and without comparing.
    pub prefill_s: f64,
    /// Seconds of comparing.
    pub compare_s: f64,
}

/// Verifies `trace` on `engine`, whose model is the verifier's.
///
/// # Errors
/// The engine's; nothing in the trace causes one, once its sizes are the model's.
pub async fn observe(
    trace: &Trace<'_>,
    engine: &mut Engine,
    profile: Option<&Profile>,
    monitor: &mut dyn Monitor,
) -> Result<Observed, ExperimentError> {
    observe_with(trace, engine, profile, &[], &mut |_, _, _| {}, monitor).await
}

/// The same; `suspects` are runs over the trace's tokens, and `look` sees each emitted token (0 ..) with the verifier's logits, and may say more of it.
///
/// # Errors
/// Those of [`observe`].
pub async fn observe_with(
    trace: &Trace<'_>,
    engine: &mut Engine,
    profile: Option<&Profile>,
    suspects: &[SuspectRun],
    look: &mut dyn FnMut(usize, &[f32], &mut Token),
    monitor: &mut dyn Monitor,
) -> Result<Observed, ExperimentError> {
    let manifest = trace.manifest();
    let config = engine.config().clone();
    if manifest.model.hidden as usize != config.hidden
        || manifest.model.layers as usize != config.layers
        || manifest.model.vocab as usize != config.vocab
    {
        return Err(ExperimentError::Config(
            "the trace is of a model with other sizes than the verifier's".to_owned(),
        ));
    }
    let spec = sampler_spec(&manifest.sampler);
    let (profile, yardstick) = Emulated::for_profile(profile, trace, engine, monitor).await?;
    let yardstick = yardstick.as_ref();
    let mut states = StateCheck::new(trace, profile)
        .by(yardstick)
        .suspecting(suspects);
    let mut tokens = TokenCheck::new(trace, profile);
    let (mut rows, mut judged) = (Vec::new(), Vec::new());
    let mut compare_s = 0.0;
    let first = trace.prompt().len().saturating_sub(1);
    let begun = Instant::now();
    engine.reset();
    let sink = |outputs: Outputs| -> Result<(), ExperimentError> {
        let begun = Instant::now();
        states.add(&outputs, config.hidden);
        compare_rows(trace, yardstick, &outputs, config.hidden, &mut rows);
        for (row, own) in outputs.logits.chunks_exact(config.vocab).enumerate() {
            let position = outputs.logits_pos0 + row;
            let unit = yardstick.and_then(|emulated| emulated.unit_of_logits(&outputs, position));
            tokens.add_in(unit.unwrap_or(1.0), position, own);
            let Some(&token) = trace
                .tokens()
                .get(position + 1)
                .filter(|_| position >= first)
            else {
                continue;
            };
            let mut token = judge(&spec, own, position, token);
            look(position - first, own, &mut token);
            judged.push(token);
        }
        compare_s += begun.elapsed().as_secs_f64();
        Ok(())
    };
    let fed = trace.tokens().get(..trace.positions()).unwrap_or_default();
    let want = Want {
        logits_from: Some(first),
        ..Want::all_states(&config)
    };
    engine.prefill(fed, &want, monitor, sink).await?;
    let prefill_s = (begun.elapsed().as_secs_f64() - compare_s).max(0.0);
    let checks = [
        states.embedding_check(),
        states.state_check(),
        tokens.check(),
        tokens.agreement(),
        states.sequential_check(),
    ];
    let is = |outcome| checks.iter().any(|check| check.outcome == outcome);
    let verdict = if is(Outcome::Fail) {
        Verdict::Reject
    } else if is(Outcome::Inconclusive) {
        Verdict::Inconclusive
    } else {
        Verdict::Accept
    };
    let leanings = states.leans().into_iter().zip(states.lean_sums());
    let leanings = leanings.map(|(lean, sums)| Leaning {
        lean,
        tokens: judged
            .iter()
            .map(|token| sums.get(token.position).copied().flatten())
            .map(|sums| sums.map_or([0.0; 2], |(along, apart)| [along, apart]))
            .collect(),
    });
    let leanings = leanings.collect();
    let bad = |outcome| matches!(outcome, Outcome::Fail | Outcome::Inconclusive);
    Ok(Observed {
        rows,
        tokens: judged,
        leanings,
        own: Own {
            verdict,
            codes: checks
                .iter()
                .filter(|check| bad(check.outcome))
                .map(|check| check.code.to_owned())
                .collect(),
            profile: profile.map(|profile| profile.id.clone()),
        },
        prefill_s,
        compare_s,
    })
}

fn compare_rows(
    trace: &Trace<'_>,
    yardstick: Option<&Emulated>,
    outputs: &Outputs,
    hidden: usize,
    rows: &mut Vec<Row>,
) {
    let dtype: StateDtype = trace.manifest().state_dtype;
    for index in 0..outputs.rows {
        let position = outputs.pos0 + index;
        for &layer in trace.opened() {
            let own = outputs.states.get(layer as usize);
            let own = own.and_then(|states| states.get(index * hidden..(index + 1) * hidden));
            let (Some(own), Some(theirs)) = (own, trace.state_row(layer, position)) else {
                continue;
            };
            let stored = dtype.decode(&dtype.encode(own));
            let compared = statistics::compare_row(&theirs, own, &stored, dtype);
            let unit = yardstick.and_then(|emulated| emulated.unit(layer, position, own));
            // As `StateCheck` counts: what such a prover stores is what it had, so storing rounded nothing away.
            let distance = unit.map_or(compared.rel_l2, |unit| {
                statistics::rel_l2(&theirs, own, StateDtype::F32) / unit
            });
            rows.push(Row {
                position,
                layer,
                verillm: compared.verillm,
                rel_l2: compared.rel_l2,
                distance,
                fingerprint: compared.fingerprint,
            });
        }
    }
}

fn judge(spec: &SamplerSpec, own: &[f32], position: usize, token: u32) -> Token {
    // Positions are below 2^20. Without a tolerance the support is the nominal one.
    let judged = sampler::judge(spec, own, position as u32, token, 0.0);
    let in_logits = match *spec {
        SamplerSpec::Greedy => 1.0,
        SamplerSpec::Gumbel { temperature, .. } => temperature,
    };
    Token {
        position,
        margin: judged.margin * in_logits,
        is_outside: judged.support == Support::Outside,
        log_likelihood: judged.log_likelihood,
        replayed: judged.replay_matches,
        logprob_distance: None,
    }
}

/// Gonka's distance: mean over the prover's largest k logprobs a, with the verifier's b at the same ids, of
/// |a - b| / (2 (|a| + |b| + 1e-6)).
pub fn logprob_distance(theirs: &[f32], own: &[f32]) -> f64 {
    let log_sum = |logits: &[f32]| {
        let top = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = logits.iter().map(|l| f64::from(l - top).exp()).sum();
        f64::from(top) + sum.ln()
    };
    let (their_sum, own_sum) = (log_sum(theirs), log_sum(own));
    let mut ids: Vec<usize> = (0..theirs.len().min(own.len())).collect();
    let k = TOP_LOGPROBS.min(ids.len());
    if k == 0 {
        return 0.0;
    }
    ids.select_nth_unstable_by(k - 1, |&a, &b| theirs[b].total_cmp(&theirs[a]));
    let distance = |&id: &usize| {
        let (a, b) = (
            f64::from(theirs[id]) - their_sum,
            f64::from(own[id]) - own_sum,
        );
        (a - b).abs() / (2.0 * (a.abs() + b.abs() + 1e-6))
    };
    ids[..k].iter().map(distance).sum::<f64>() / k as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logprobs_do_not_see_a_constant() {
        let a: Vec<f32> = (0..50).map(|i| (i * 7 % 13) as f32 * 0.3).collect();
        let b: Vec<f32> = a.iter().map(|v| v + 4.0).collect();
        assert!(logprob_distance(&a, &b) < 1e-6);
        let c: Vec<f32> = a.iter().map(|v| v * 1.1).collect();
        assert!(logprob_distance(&a, &c) > 1e-3);
        assert_eq!(logprob_distance(&[], &[]), 0.0);
    }
}
