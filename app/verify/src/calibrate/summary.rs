//! From distances to limits: maxima, spreads, leave-one-out rejections, and what cheats the limits let through.

use std::collections::{BTreeMap, BTreeSet};

use assay_trace::{Digest, Manifest};

use super::{CalibrateError, Kind, Measured, Plan};
use crate::profile::{DepthLimit, Honest, Limits, NearestCheat, Profile, Provenance, Scope, Unit};
use crate::sequential::{FLOOR, SequentialState};

/// Where nothing differed, honest traces are taken to differ by this: a few roundings of f32 in a row of sums.
const LEAST_REL_L2: f64 = 1e-6;
/// The same of logits, relative to their root mean square.
const LEAST_TAU_REL: f64 = 1e-6;
/// Rows averaged when measuring how correlated neighbours are.
const BLOCK: usize = 8;

/// The profile that measured traces come to.
pub(super) fn summarise(
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
    let mut units = honest.iter().map(|m| Unit::of(m.manifest.numerics.compute));
    let unit = units.next().unwrap_or_default();
    if units.any(|other| other != unit) {
        return Err(CalibrateError::Mixed);
    }
    let limits = Limits {
        unit,
        headroom: plan.headroom,
        rel_l2: depths,
        tau_abs: LEAST_TAU_REL,
        tau_rel: plan.logit_headroom * tau_rel.max(LEAST_TAU_REL),
    };
    // One file verified on several devices is one trace: its cases are not independent.
    let files: BTreeSet<_> = honest.iter().map(|m| m.file).collect();
    let rejected = files
        .iter()
        .filter(|file| is_rejected_by_others(&honest, **file, plan));
    let false_rejects = rejected.count();
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
            traces: files.len() as u64,
            rows: sum(|m| m.rows.values().map(|rows| rows.len() as u64).sum()),
        },
        limits,
        honest: Honest {
            traces: files.len() as u64,
            false_rejects: false_rejects as u64,
            tokens: sum(|m| m.tokens),
            replay_mismatches: sum(|m| m.replay_mismatches),
        },
        null_forgery: BTreeMap::new(),
        hides: plan.hides.clone(),
        nearest_cheat: None,
    };
    let drifted = files.iter().filter(|file| {
        let of_file = honest.iter().filter(|m| m.file == **file);
        of_file.map(|m| drift(&profile, m)).fold(0.0, f64::max) > 1.0
            && !is_rejected_by_others(&honest, **file, plan)
    });
    profile.honest.false_rejects += drifted.count() as u64;
    add_cheats(&mut profile, all);
    profile.hide_what_passed();
    Ok(profile)
}

/// Tries the limits on every forgery and cheat.
pub(super) fn add_cheats(profile: &mut Profile, all: &[Measured]) {
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
            let by_rows = worst(profile, &mut largest);
            tried.push((name.clone(), by_rows.max(drift(profile, measured))));
        }
    }
    for (name, times_limit) in tried {
        let count = profile.null_forgery.entry(name.clone()).or_default();
        count.of += 1;
        count.accepted += u64::from(times_limit <= 1.0);
        if profile.hides.contains(&name) {
            continue;
        }
        if profile
            .nearest_cheat
            .as_ref()
            .is_none_or(|nearest| times_limit < nearest.times_limit)
        {
            profile.nearest_cheat = Some(NearestCheat { name, times_limit });
        }
    }
}

/// What the sequential test comes to over all positions, over its limit.
fn drift(profile: &Profile, measured: &Measured) -> f64 {
    let test = profile.sequential();
    let mut state = SequentialState::default();
    let positions = measured.rows.values().map(Vec::len).max().unwrap_or(0);
    for position in 0..positions {
        let shifts = measured.rows.iter().filter_map(|(layer, rows)| {
            let mean = profile.depth(*layer)?.log10_mean;
            Some(rows.get(position)?.max(FLOOR).log10() - mean)
        });
        let shifts: Vec<f64> = shifts.collect();
        if !shifts.is_empty() {
            test.add(&mut state, shifts.iter().sum::<f64>() / shifts.len() as f64);
        }
    }
    state.log_ratio_max / test.limit()
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

/// Would limits from the other traces reject this one, on any device that it was verified on?
fn is_rejected_by_others(honest: &[&Measured], file: Digest, plan: &Plan) -> bool {
    let (ones, others): (Vec<&Measured>, Vec<&Measured>) =
        honest.iter().copied().partition(|m| m.file == file);
    if others.is_empty() {
        return false;
    }
    let limits = depth_limits(&others, plan.headroom);
    // A layer deeper than any other trace's is outside what those cover: that would be no verdict at all.
    let limit_of = |layer: u32| {
        limits
            .iter()
            .find(|depth| depth.to_layer >= layer)
            .map_or(f64::MAX, |depth| depth.rel_l2)
    };
    let tau = others
        .iter()
        .filter_map(|m| m.tau_rel)
        .reduce(f64::max)
        .map(|tau| plan.logit_headroom * tau.max(LEAST_TAU_REL));
    ones.iter().any(|one| {
        let by_state = one
            .rows
            .iter()
            .any(|(&layer, rows)| max_of(rows) > limit_of(layer));
        by_state || one.tau_rel.zip(tau).is_some_and(|(got, limit)| got > limit)
    })
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
    use assay_engine::Numerics;

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
            file: Digest::of(&seed.to_le_bytes()),
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
            logit_headroom: 8.0,
            hides: Vec::new(),
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
