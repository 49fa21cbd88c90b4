//! Measuring a profile: honest traces and cheats go in, limits with their provenance come out.
//!
//! Limits are the largest honest distance times a stated headroom: real GPUs differ more than two software rasterisers do, so
//! the measured maximum alone would reject honest strangers. What the headroom costs is measured too: the null forgeries and
//! the cheats that the limits let through, and how near the nearest one came.

mod summary;

use std::collections::{BTreeMap, BTreeSet};

use assay_engine::{
    Device, Engine, EngineError, Monitor, Numerics, Outputs, Want, philox, sampler,
};
use assay_model::{Model, ModelError};
use assay_trace::{Digest, Manifest, StateDtype, Trace, TraceError};

use crate::claims::sampler_spec;
use crate::emulated::{self, Emulated};
use crate::hidden::stored;
use crate::profile::{Profile, rms};
use crate::statistics;

/// Whether a trace is what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// It is.
    Honest,
    /// It is not; the name of the cheat (`other_model`, `int8`, ...).
    Cheat(String),
}

/// A trace to measure.
pub struct Case<'a> {
    /// The file.
    pub trace: &'a [u8],
    /// The model that it claims.
    pub model: &'a Model,
    /// That model's name.
    pub model_name: &'a str,
    /// Where it is verified.
    pub verifier: &'a Device,
    /// Where it was made: its logits are made there again, token by token, and compared. Without one those that are open are
    /// compared. Some are needed once at least.
    pub prover: Option<&'a Device>,
    /// What it is.
    pub kind: Kind,
}

/// What cannot be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The profile's name.
    pub id: String,
    /// Today, ISO 8601.
    pub date: String,
    /// The command that measures.
    pub command: String,
    /// Cheats that are known to be no larger than honest rounding.
    pub hides: Vec<String>,
    /// Factor between the largest measured value and the limit; 8 is the usual one.
    pub headroom: f64,
    /// The same for the tolerance of logits.
    pub logit_headroom: f64,
    /// The verifier's kernels.
    pub numerics: Numerics,
}

/// Why there is no profile.
#[derive(Debug, thiserror::Error)]
pub enum CalibrateError {
    /// A device failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A model could not be read.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// A case is no trace.
    #[error("case {index} is no trace: {source}")]
    Trace {
        /// Which case.
        index: usize,
        /// Why not.
        source: TraceError,
    },
    /// A case is not of the model that stands beside it.
    #[error("case {index} claims other sizes than its model `{model}` has")]
    Shape {
        /// Which case.
        index: usize,
        /// The model.
        model: String,
    },
    /// Honest traces of more than one unit of distance.
    #[error(
        "honest cases compute in several precisions, whose distances are counted in several units"
    )]
    Mixed,
    /// No honest trace whose prover's device is at hand, or whose logits are open.
    #[error(
        "no honest case with a prover device or open logits: the logit tolerance cannot be measured"
    )]
    NoLogits,
}

/// Largest distance of each hidden state but the embedding; index 0 is layer 1.
type ByLayer = Vec<f64>;

/// What one trace gave.
struct Measured {
    /// The file's digest: cases of one file are not independent.
    file: Digest,
    manifest: Manifest,
    kind: Kind,
    adapters: Option<String>,
    /// Of each layer from 1 on that is opened, its distances by position.
    rows: BTreeMap<u32, Vec<f64>>,
    /// Of each forgery of this trace.
    forged: BTreeMap<&'static str, ByLayer>,
    /// Largest logit difference over the row's root mean square.
    tau_rel: Option<f64>,
    tokens: u64,
    replay_mismatches: u64,
}

/// Measures a profile.
///
/// # Errors
/// [`CalibrateError`]; no profile comes out of a part of the cases.
pub async fn measure(
    cases: &[Case<'_>],
    plan: &Plan,
    monitor: &mut dyn Monitor,
) -> Result<Profile, CalibrateError> {
    let mut all = Vec::with_capacity(cases.len());
    for (index, case) in cases.iter().enumerate() {
        let trace =
            Trace::parse(case.trace).map_err(|source| CalibrateError::Trace { index, source })?;
        if !is_of(trace.manifest(), case.model) {
            return Err(CalibrateError::Shape {
                index,
                model: case.model_name.to_owned(),
            });
        }
        all.push(run(case, &trace, plan.numerics, monitor).await?);
    }
    let names: BTreeSet<&str> = cases.iter().map(|case| case.model_name).collect();
    summary::summarise(&all, plan, names.into_iter().map(str::to_owned).collect())
}

/// Tries cheats on a profile that was measured before: what it said of cheats of these names is replaced. Those of `may_hide` that are
/// accepted become what it hides.
///
/// # Errors
/// As [`measure`].
pub async fn try_cheats(
    profile: &mut Profile,
    cases: &[Case<'_>],
    may_hide: &[String],
    numerics: Numerics,
    monitor: &mut dyn Monitor,
) -> Result<(), CalibrateError> {
    let mut all = Vec::with_capacity(cases.len());
    for (index, case) in cases.iter().enumerate() {
        let trace =
            Trace::parse(case.trace).map_err(|source| CalibrateError::Trace { index, source })?;
        all.push(run(case, &trace, numerics, monitor).await?);
    }
    profile.hides = may_hide.to_vec();
    profile.nearest_cheat = None;
    for measured in &all {
        if let Kind::Cheat(name) = &measured.kind {
            profile.null_forgery.remove(name);
        }
    }
    summary::add_cheats(profile, &all);
    profile.hide_what_passed();
    Ok(())
}

/// Distances of a trace's opened hidden states from a run of `model` on `device`, by layer and position, in the units that a profile of the
/// claim counts in.
///
/// # Errors
/// As [`measure`].
pub async fn distances(
    trace: &[u8],
    model: &Model,
    device: &Device,
    numerics: Numerics,
    monitor: &mut dyn Monitor,
) -> Result<BTreeMap<u32, Vec<f64>>, CalibrateError> {
    let bytes = trace;
    let trace = Trace::parse(bytes).map_err(|source| CalibrateError::Trace { index: 0, source })?;
    let model_name = model.config().family.as_str();
    if !is_of(trace.manifest(), model) {
        return Err(CalibrateError::Shape {
            index: 0,
            model: model_name.to_owned(),
        });
    }
    let case = Case {
        trace: bytes,
        model,
        model_name,
        verifier: device,
        prover: None,
        kind: Kind::Cheat(String::new()),
    };
    Ok(run(&case, &trace, numerics, monitor).await?.rows)
}

fn is_of(manifest: &Manifest, model: &Model) -> bool {
    let config = model.config();
    manifest.model.hidden as usize == config.hidden
        && manifest.model.layers as usize == config.layers
        && manifest.model.vocab as usize == config.vocab
        && manifest.total_tokens() <= config.context
}

async fn run(
    case: &Case<'_>,
    trace: &Trace<'_>,
    numerics: Numerics,
    monitor: &mut dyn Monitor,
) -> Result<Measured, CalibrateError> {
    let manifest = trace.manifest();
    let honest = case.kind == Kind::Honest;
    let config = case.model.config();
    let first = trace.prompt().len().saturating_sub(1);
    let mut measured = Measured {
        file: trace.file_digest(),
        manifest: manifest.clone(),
        kind: case.kind.clone(),
        adapters: case
            .prover
            .map(|prover| format!("{} -> {}", prover.info().name, case.verifier.info().name)),
        rows: BTreeMap::new(),
        forged: BTreeMap::new(),
        tau_rel: None,
        tokens: 0,
        replay_mismatches: 0,
    };
    let theirs = match case.prover {
        _ if !honest => Vec::new(),
        Some(prover) => decoded_logits(prover, case.model, trace, numerics, monitor).await?,
        None => opened_logits(trace),
    };
    let mut engine = Engine::load(
        case.verifier,
        case.model,
        trace.positions(),
        numerics,
        monitor,
    )
    .await?;
    let yardstick = Emulated::run(trace, &mut engine, monitor).await?;
    let yardstick = yardstick.as_ref();
    let want = Want {
        logits_from: Some(first),
        ..Want::all_states(config)
    };
    let fed = trace.tokens().get(..trace.positions()).unwrap_or_default();
    let spec = sampler_spec(&manifest.sampler);
    let sink = |outputs: Outputs| -> Result<(), CalibrateError> {
        add_states(&mut measured, trace, &outputs, yardstick, honest);
        for (row, logits) in outputs.logits.chunks_exact(config.vocab).enumerate() {
            let position = outputs.logits_pos0 + row;
            let Some(&token) = trace
                .tokens()
                .get(position + 1)
                .filter(|_| position >= first)
            else {
                continue;
            };
            measured.tokens += 1;
            measured.replay_mismatches +=
                u64::from(sampler::sample(&spec, logits, position as u32) != token);
            if let Some(other) = theirs.get(position - first) {
                let largest = logits
                    .iter()
                    .zip(other)
                    .map(|(a, b)| f64::from((a - b).abs()))
                    .fold(0.0, f64::max);
                let unit = yardstick.and_then(|e| e.unit_of_logits(&outputs, position));
                let norm = rms(logits) * unit.unwrap_or(1.0);
                let relative = largest / norm.max(f64::MIN_POSITIVE);
                measured.tau_rel = Some(measured.tau_rel.unwrap_or(0.0).max(relative));
            }
        }
        Ok(())
    };
    engine.prefill(fed, &want, monitor, sink).await?;
    Ok(measured)
}

/// The prover's logits of emitted tokens, if all of them are open.
fn opened_logits(trace: &Trace<'_>) -> Vec<Vec<f32>> {
    let all = trace.manifest().output.tokens as usize;
    let opened = trace.linears().map_or(0, |linears| linears.logits.len());
    let rows = (0..all).filter(|_| opened == all);
    rows.map_while(|i| trace.logits_row(i)).collect()
}

/// The prover's logits of emitted tokens, made as it made them: the prompt at once, then token by token.
async fn decoded_logits(
    device: &Device,
    model: &Model,
    trace: &Trace<'_>,
    numerics: Numerics,
    monitor: &mut dyn Monitor,
) -> Result<Vec<Vec<f32>>, CalibrateError> {
    let mut engine = Engine::load(device, model, trace.positions(), numerics, monitor).await?;
    engine.keep(emulated::rounding(trace)).await?;
    let n_prompt = trace.prompt().len();
    let want = Want {
        logits_from: Some(n_prompt.saturating_sub(1)),
        ..Want::default()
    };
    let mut rows = Vec::new();
    let keep = |outputs: Outputs| -> Result<(), CalibrateError> {
        rows.extend(
            outputs
                .logits
                .chunks_exact(model.config().vocab)
                .map(<[f32]>::to_vec),
        );
        Ok(())
    };
    engine.prefill(trace.prompt(), &want, monitor, keep).await?;
    for token in trace
        .tokens()
        .get(n_prompt..trace.positions())
        .unwrap_or_default()
    {
        rows.push(engine.run(&[*token], &want, monitor).await?.logits);
    }
    Ok(rows)
}

fn add_states(
    measured: &mut Measured,
    trace: &Trace<'_>,
    outputs: &Outputs,
    yardstick: Option<&Emulated>,
    honest: bool,
) {
    let hidden = trace.manifest().model.hidden as usize;
    let dtype = trace.manifest().state_dtype;
    let n_layers = trace.manifest().model.layers as usize;
    for &layer in trace.opened().iter().filter(|layer| **layer > 0) {
        let Some(states) = outputs.states.get(layer as usize) else {
            continue;
        };
        for (row, v) in states.chunks_exact(hidden).enumerate() {
            let position = outputs.pos0 + row;
            let Some(p) = trace.state_row(layer, position) else {
                continue;
            };
            let unit = yardstick.and_then(|e| e.unit(layer, position, v));
            let distance = |p: &[f32]| match unit {
                Some(unit) => statistics::rel_l2(p, v, StateDtype::F32) / unit,
                None => statistics::rel_l2(p, v, dtype),
            };
            let own = distance(&p);
            measured.rows.entry(layer).or_default().push(own);
            if !honest {
                continue;
            }
            for (name, forged) in forgeries(trace, layer, position, &p, dtype) {
                let by_layer = measured
                    .forged
                    .entry(name)
                    .or_insert_with(|| vec![0.0; n_layers]);
                if let Some(largest) = by_layer.get_mut(layer as usize - 1) {
                    *largest = largest.max(distance(&forged));
                }
            }
        }
    }
}

/// What a prover that never ran the model could commit to in place of row `p`.
fn forgeries(
    trace: &Trace<'_>,
    layer: u32,
    position: usize,
    p: &[f32],
    dtype: StateDtype,
) -> Vec<(&'static str, Vec<f32>)> {
    let scale = rms(p);
    // Uniform noise of the row's own size: sqrt(12) makes its deviation one.
    let random = (0u32..).take(p.len()).map(|i| {
        ((philox::uniform(u64::from(layer), position as u32, i) - 0.5) * 12f64.sqrt() * scale)
            as f32
    });
    let mut list = vec![
        ("zero", vec![0.0; p.len()]),
        ("random", stored(&random.collect::<Vec<_>>(), dtype)),
        ("sign_flipped", p.iter().map(|x| -x).collect()),
    ];
    let positions = trace.positions();
    if positions > 1
        && let Some(other) = trace.state_row(layer, (position + positions / 2) % positions)
    {
        list.push(("shuffled", other));
    }
    list
}
