//! Measuring a profile: honest traces and cheats go in, limits with their provenance come out.
//!
//! Limits are the largest honest distance times a stated headroom: real GPUs differ more than two software rasterisers do, so
//! the measured maximum alone would reject honest strangers. What the headroom costs is measured too: the null forgeries and
//! the cheats that the limits let through, and how near the nearest one came.

use std::collections::{BTreeMap, BTreeSet};

use assay_engine::{
    Device, Engine, EngineError, Monitor, Numerics, Outputs, Want, philox, sampler,
};
use assay_model::{Model, ModelError};
use assay_trace::{Manifest, StateDtype, Trace, TraceError};

use crate::claims::sampler_spec;
use crate::hidden::stored;
use crate::profile::{DepthLimit, Honest, Limits, NearestCheat, Profile, Provenance, Scope, rms};
use crate::sequential::FLOOR;
use crate::statistics;

/// Where nothing differed, honest traces are taken to differ by this: a few roundings of f32 in a row of sums.
const LEAST_REL_L2: f64 = 1e-6;
/// The same of logits, relative to their root mean square.
const LEAST_TAU_REL: f64 = 1e-6;
/// Rows averaged when measuring how correlated neighbours are.
const BLOCK: usize = 8;

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
    /// Where it was made: its logits are made there again, token by token, and compared. Needed once at least.
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
    /// Factor between the largest measured value and the limit; 8 is the usual one.
    pub headroom: f64,
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
    /// No honest trace whose prover's device is at hand.
    #[error("no honest case with a prover device: the logit tolerance cannot be measured")]
    NoLogits,
}

/// Largest distance of each hidden state but the embedding; index 0 is layer 1.
type ByLayer = Vec<f64>;

/// What one trace gave.
struct Measured {
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
    summarise(&all, plan, names.into_iter().map(str::to_owned).collect())
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
    let theirs = match case.prover.filter(|_| honest) {
        Some(prover) => Some(decoded_logits(prover, case.model, trace, numerics, monitor).await?),
        None => None,
    };
    let mut engine = Engine::load(
        case.verifier,
        case.model,
        trace.positions(),
        numerics,
        monitor,
    )
    .await?;
    let want = Want {
        logits_from: Some(first),
        ..Want::all_states(config)
    };
    let fed = trace.tokens().get(..trace.positions()).unwrap_or_default();
    let spec = sampler_spec(&manifest.sampler);
    let sink = |outputs: Outputs| -> Result<(), CalibrateError> {
        add_states(&mut measured, trace, &outputs, config.hidden, honest);
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
            if let Some(other) = theirs.as_ref().and_then(|rows| rows.get(position - first)) {
                let largest = logits
                    .iter()
                    .zip(other)
                    .map(|(a, b)| f64::from((a - b).abs()))
                    .fold(0.0, f64::max);
                let relative = largest / rms(logits).max(f64::MIN_POSITIVE);
                measured.tau_rel = Some(measured.tau_rel.unwrap_or(0.0).max(relative));
            }
        }
        Ok(())
    };
    engine.prefill(fed, &want, monitor, sink).await?;
    Ok(measured)
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
    let n_prompt = trace.prompt().len();
    let want = Want {
        states: Vec::new(),
        logits_from: Some(n_prompt.saturating_sub(1)),
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
    hidden: usize,
    honest: bool,
) {
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
            measured
                .rows
                .entry(layer)
                .or_default()
                .push(statistics::rel_l2(&p, v, dtype));
            if !honest {
                continue;
            }
            for (name, forged) in forgeries(trace, layer, position, &p, dtype) {
                let by_layer = measured
                    .forged
                    .entry(name)
                    .or_insert_with(|| vec![0.0; n_layers]);
                if let Some(largest) = by_layer.get_mut(layer as usize - 1) {
                    *largest = largest.max(statistics::rel_l2(&forged, v, dtype));
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

fn summarise(
    all: &[Measured],
    plan: &Plan,
    models: Vec<String>,
) -> Result<Profile, CalibrateError> {
    let honest: Vec<&Measured> = all.iter().filter(|m| m.kind == Kind::Honest).collect();
    let tau_rel = honest
        .iter()
        .filter_map(|m| m.tau_rel)
        .reduce(f64::max)
        .ok_or(CalibrateError::NoLogits)?;
    let depths = depth_limits(&honest, plan.headroom);
    let limits = Limits {
        headroom: plan.headroom,
        rel_l2: depths,
        tau_abs: LEAST_TAU_REL,
        tau_rel: plan.headroom * tau_rel.max(LEAST_TAU_REL),
    };
    let false_rejects = (0..honest.len())
        .filter(|&index| is_rejected_by_others(&honest, index, plan.headroom))
        .count();
    let sum = |f: fn(&Measured) -> u64| honest.iter().map(|m| f(m)).sum::<u64>();
    let adapters: BTreeSet<String> = honest.iter().filter_map(|m| m.adapters.clone()).collect();
    let mut profile = Profile {
        id: plan.id.clone(),
        scope: scope_of(&honest),
        provenance: Provenance {
            date: plan.date.clone(),
            command: plan.command.clone(),
            models,
            adapters: adapters.into_iter().collect(),
            traces: honest.len() as u64,
            rows: sum(|m| m.rows.values().map(|rows| rows.len() as u64).sum()),
        },
        limits,
        honest: Honest {
            traces: honest.len() as u64,
            false_rejects: false_rejects as u64,
            tokens: sum(|m| m.tokens),
            replay_mismatches: sum(|m| m.replay_mismatches),
        },
        null_forgery: BTreeMap::new(),
        nearest_cheat: None,
    };
    add_cheats(&mut profile, all);
    Ok(profile)
}

/// Tries the limits on every forgery and cheat.
fn add_cheats(profile: &mut Profile, all: &[Measured]) {
    let worst = |profile: &Profile, largest: &mut dyn Iterator<Item = (u32, f64)>| {
        largest
            .filter_map(|(layer, rel)| Some(rel / profile.depth(layer)?.rel_l2))
            .fold(0.0, f64::max)
    };
    let mut tried: Vec<(String, f64)> = Vec::new();
    for measured in all {
        for (name, by_layer) in &measured.forged {
            tried.push((
                (*name).to_owned(),
                worst(profile, &mut (1u32..).zip(by_layer.iter().copied())),
            ));
        }
        if let Kind::Cheat(name) = &measured.kind {
            let mut largest = measured
                .rows
                .iter()
                .map(|(&layer, rows)| (layer, max_of(rows)));
            tried.push((name.clone(), worst(profile, &mut largest)));
        }
    }
    for (name, times_limit) in tried {
        let count = profile.null_forgery.entry(name.clone()).or_default();
        count.of += 1;
        count.accepted += u64::from(times_limit <= 1.0);
        if profile
            .nearest_cheat
            .as_ref()
            .is_none_or(|nearest| times_limit < nearest.times_limit)
        {
            profile.nearest_cheat = Some(NearestCheat { name, times_limit });
        }
    }
}

fn scope_of(honest: &[&Measured]) -> Scope {
    fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
        let mut list = Vec::new();
        for item in items {
            if !list.contains(&item) {
                list.push(item);
            }
        }
        list
    }
    let manifests = || honest.iter().map(|m| &m.manifest);
    let most = |f: fn(&Manifest) -> u32| manifests().map(f).max().unwrap_or_default();
    Scope {
        families: distinct(manifests().map(|m| m.model.family.clone())),
        weight_dtypes: distinct(manifests().map(|m| m.model.dtype.clone())),
        state_dtypes: distinct(manifests().map(|m| m.state_dtype)),
        compute: distinct(manifests().map(|m| m.numerics.compute)),
        numerics: distinct(manifests().map(|m| m.numerics.class)),
        device_types: Vec::new(),
        max_layers: most(|m| m.model.layers),
        max_hidden: most(|m| m.model.hidden),
        max_positions: manifests()
            .map(Manifest::positions)
            .max()
            .unwrap_or_default(),
    }
}

fn max_of(values: &[f64]) -> f64 {
    values.iter().copied().fold(0.0, f64::max)
}

/// Last layers of the buckets: 1, 2, 4, 8, ... and the deepest measured.
fn buckets(honest: &[&Measured]) -> Vec<u32> {
    let deepest = honest
        .iter()
        .map(|m| m.manifest.model.layers)
        .max()
        .unwrap_or(1);
    let mut ends: Vec<u32> = std::iter::successors(Some(1u32), |end| end.checked_mul(2))
        .take_while(|end| *end < deepest)
        .collect();
    ends.push(deepest);
    ends
}

fn in_bucket<'m>(
    measured: &'m Measured,
    ends: &[u32],
    index: usize,
) -> impl Iterator<Item = &'m Vec<f64>> {
    let from = index
        .checked_sub(1)
        .and_then(|before| ends.get(before))
        .map_or(1, |end| end + 1);
    let to = ends.get(index).copied().unwrap_or(u32::MAX);
    measured.rows.range(from..=to).map(|(_, rows)| rows)
}

fn depth_limits(honest: &[&Measured], headroom: f64) -> Vec<DepthLimit> {
    let ends = buckets(honest);
    let mut deeper = 0.0f64;
    let mut list = Vec::with_capacity(ends.len());
    for (index, &to_layer) in ends.iter().enumerate() {
        let measured_max = honest
            .iter()
            .flat_map(|m| in_bucket(m, &ends, index))
            .map(|rows| max_of(rows))
            .fold(0.0, f64::max);
        // Errors grow with depth; a bucket that nobody opened takes what lies before it.
        deeper = deeper.max(measured_max);
        let rows = honest
            .iter()
            .flat_map(|m| in_bucket(m, &ends, index))
            .map(|rows| rows.len() as u64)
            .sum();
        let spread = Spread::of(honest.iter().map(|m| in_bucket(m, &ends, index)));
        list.push(DepthLimit {
            to_layer,
            rel_l2: headroom * deeper.max(LEAST_REL_L2),
            measured_max,
            rows,
            log10_mean: spread.mean,
            log10_sd_between: spread.between,
            log10_sd_within: spread.within,
            inflation: spread.inflation,
        });
    }
    list
}

/// Would limits from the other traces reject this one?
fn is_rejected_by_others(honest: &[&Measured], index: usize, headroom: f64) -> bool {
    let others: Vec<&Measured> = honest
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != index)
        .map(|(_, m)| *m)
        .collect();
    let Some(one) = honest.get(index).filter(|_| !others.is_empty()) else {
        return false;
    };
    let limits = depth_limits(&others, headroom);
    // A layer deeper than any other trace's is outside what those cover: that would be no verdict at all.
    let limit_of = |layer: u32| {
        limits
            .iter()
            .find(|depth| depth.to_layer >= layer)
            .map_or(f64::MAX, |depth| depth.rel_l2)
    };
    let by_state = one
        .rows
        .iter()
        .any(|(&layer, rows)| max_of(rows) > limit_of(layer));
    let tau = others
        .iter()
        .filter_map(|m| m.tau_rel)
        .reduce(f64::max)
        .map(|tau| headroom * tau.max(LEAST_TAU_REL));
    by_state || one.tau_rel.zip(tau).is_some_and(|(got, limit)| got > limit)
}

/// Mean and deviations of log10 distances. Rows that agree bit for bit are left out: they say nothing about those that do not.
struct Spread {
    mean: f64,
    between: f64,
    within: f64,
    inflation: f64,
}

impl Spread {
    fn of<'m>(traces: impl Iterator<Item = impl Iterator<Item = &'m Vec<f64>>>) -> Self {
        let (mut means, mut squares, mut n, mut blocks) = (Vec::new(), 0.0, 0usize, Vec::new());
        for layers in traces {
            let layers: Vec<Vec<f64>> = layers
                .map(|rows| {
                    rows.iter()
                        .filter(|x| **x > 0.0)
                        .map(|x| x.max(FLOOR).log10())
                        .collect()
                })
                .collect();
            let count: usize = layers.iter().map(Vec::len).sum();
            if count == 0 {
                continue;
            }
            let mean = layers.iter().flatten().sum::<f64>() / count as f64;
            means.push(mean);
            squares += layers
                .iter()
                .flatten()
                .map(|x| (x - mean).powi(2))
                .sum::<f64>();
            n += count;
            let block = |rows: &[f64]| rows.iter().sum::<f64>() / BLOCK as f64 - mean;
            blocks.extend(
                layers
                    .iter()
                    .flat_map(|rows| rows.chunks_exact(BLOCK).map(block)),
            );
        }
        if means.is_empty() {
            return Self {
                mean: LEAST_REL_L2.log10(),
                between: 0.0,
                within: 0.0,
                inflation: 1.0,
            };
        }
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        let between = means.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
            / means.len().saturating_sub(1).max(1) as f64;
        let within = squares / n.saturating_sub(means.len()).max(1) as f64;
        let block_variance = blocks.iter().map(|x| x * x).sum::<f64>() / blocks.len().max(1) as f64;
        let inflation = if within > 0.0 {
            (block_variance * BLOCK as f64 / within).max(1.0)
        } else {
            1.0
        };
        Self {
            mean,
            between: between.sqrt(),
            within: within.sqrt(),
            inflation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Tried;
    use crate::testing;

    fn measured(kind: Kind, scale: f64, seed: u64) -> Measured {
        let rows = |layer: u32| {
            testing::noise(seed + u64::from(layer), 40, 1.0)
                .iter()
                .map(|x| scale * (1.0 + f64::from(*x)))
                .collect()
        };
        Measured {
            manifest: testing::manifest(),
            kind,
            adapters: Some("a -> b".into()),
            rows: BTreeMap::from([(1, rows(1)), (4, rows(4))]),
            forged: BTreeMap::from([("zero", vec![1.0; 4])]),
            tau_rel: Some(scale),
            tokens: 10,
            replay_mismatches: 0,
        }
    }

    fn plan() -> Plan {
        Plan {
            id: "t".into(),
            date: "2026-01-01".into(),
            command: "test".into(),
            headroom: 8.0,
            numerics: Numerics::Fast,
        }
    }

    #[test]
    fn limits_are_the_maximum_times_the_headroom() {
        let all: Vec<_> = (0..20)
            .map(|i| measured(Kind::Honest, 1e-6, 10 * i))
            .collect();
        let profile = summarise(&all, &plan(), vec!["m".into()]).unwrap();
        let ends: Vec<u32> = profile
            .limits
            .rel_l2
            .iter()
            .map(|depth| depth.to_layer)
            .collect();
        assert_eq!(ends, [1, 2, 4]);
        let depth = profile.depth(4).unwrap();
        assert!((depth.rel_l2 - 8.0 * depth.measured_max).abs() < 1e-12 && depth.rows == 800);
        assert!(
            (depth.log10_mean + 6.0).abs() < 0.2
                && depth.log10_sd_within > 0.0
                && depth.inflation >= 1.0
        );
        // Layer 2 was opened nowhere: it takes the limit of layer 1.
        assert_eq!(
            profile.depth(2).unwrap().rel_l2,
            profile.depth(1).unwrap().rel_l2
        );
        assert_eq!(
            (
                profile.honest.traces,
                profile.honest.false_rejects,
                profile.honest.tokens
            ),
            (20, 0, 200)
        );
        assert_eq!(
            profile.null_forgery["zero"],
            Tried {
                accepted: 0,
                of: 20
            }
        );
        assert!(profile.covers(&testing::manifest(), &assay_engine::AdapterInfo::cpu()));
    }

    #[test]
    fn a_cheat_within_the_limits_is_printed() {
        let mut all: Vec<_> = (0..5)
            .map(|i| measured(Kind::Honest, 1e-6, 10 * i))
            .collect();
        all.push(measured(Kind::Cheat("int8".into()), 2e-6, 99));
        all.push(measured(Kind::Cheat("int4".into()), 1e-2, 99));
        let profile = summarise(&all, &plan(), Vec::new()).unwrap();
        assert_eq!(profile.null_forgery["int8"], Tried { accepted: 1, of: 1 });
        assert_eq!(profile.null_forgery["int4"], Tried { accepted: 0, of: 1 });
        let nearest = profile.nearest_cheat.unwrap();
        assert!(
            nearest.name == "int8" && nearest.times_limit < 1.0,
            "{nearest:?}"
        );
    }

    #[test]
    fn an_honest_outlier_counts_as_a_false_reject() {
        let mut all: Vec<_> = (0..5)
            .map(|i| measured(Kind::Honest, 1e-6, 10 * i))
            .collect();
        all.push(measured(Kind::Honest, 1e-4, 99));
        let profile = summarise(&all, &plan(), Vec::new()).unwrap();
        assert_eq!(
            (profile.honest.traces, profile.honest.false_rejects),
            (6, 1)
        );
    }

    #[test]
    fn without_a_provers_device_there_is_no_profile() {
        let mut one = measured(Kind::Honest, 1e-6, 1);
        one.tau_rel = None;
        assert!(matches!(
            summarise(&[one], &plan(), Vec::new()),
            Err(CalibrateError::NoLogits)
        ));
        assert!(matches!(
            summarise(&[], &plan(), Vec::new()),
            Err(CalibrateError::NoLogits)
        ));
    }

    #[test]
    fn rows_that_agree_to_the_bit_have_a_floor() {
        let mut one = measured(Kind::Honest, 0.0, 1);
        one.rows.values_mut().for_each(|rows| rows.fill(0.0));
        let profile = summarise(&[one], &plan(), Vec::new()).unwrap();
        assert!((profile.depth(1).unwrap().rel_l2 - 8e-6).abs() < 1e-15);
        assert!(profile.sequential().sd >= 0.05);
    }
}
