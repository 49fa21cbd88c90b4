//! Distributions over many trials, and the thresholds that VeriLLM's optimiser makes of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::plan::Experiment;
use crate::trial::{PairFigures, Trial, layer_of, token_of};

/// The form of an analysis.
pub const SCHEMA: &str = "assay-threshold-optimization-1";

/// A distribution in figures; percentiles are interpolated linearly, the deviation is that of the values at hand, as numpy has both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "the names say it")]
pub struct Moments {
    pub mean: f64,
    pub std: f64,
    pub min: f64,
    pub max: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
    pub p99: f64,
    pub count: usize,
}

impl Moments {
    /// Of values that need not be sorted; all zero for none.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (Some(&min), Some(&max)) = (sorted.first(), sorted.last()) else {
            return Self::default();
        };
        let n = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / n;
        let variance = sorted.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        Self {
            mean,
            std: variance.sqrt(),
            min,
            max,
            p50: percentile(&sorted, 0.50),
            p90: percentile(&sorted, 0.90),
            p95: percentile(&sorted, 0.95),
            p99: percentile(&sorted, 0.99),
            count: sorted.len(),
        }
    }
}

/// The value below which a share of `sorted` lies, interpolated; 0 for none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    let (low, rest) = (at.floor() as usize, at.fract());
    let value = |i: usize| sorted.get(i).copied();
    match (value(low), value(low + 1)) {
        (Some(a), Some(b)) => a + rest * (b - a),
        (Some(a), None) => a,
        _ => 0.0,
    }
}

/// The six figures that the seed pools.
pub const POOLED: [&str; 6] = ["Pe", "Pm", "Pw", "mean_error", "max_error", "accept_rate"];

/// All values of an experiment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pooled {
    /// By the names of [`POOLED`]: one value a pair of rows, but `accept_rate`: one a verifier.
    pub values: BTreeMap<String, Vec<f64>>,
    /// Assay's distance by `layer_J/tokens_A-B`, the embedding left out.
    pub rel_l2: BTreeMap<String, Vec<f64>>,
    /// The other figures by the same keys: `Pe`, `Pm`, `Pw`, `mean_error`.
    pub by_place: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
}

/// Generated tokens in buckets of doubling length: 0 to 15, 16 to 31, 32 to 63, ...
fn bucket(token: usize) -> String {
    let mut to = 16;
    while token >= to {
        to *= 2;
    }
    let from = if to == 16 { 0 } else { to / 2 };
    format!("{from}-{}", to - 1)
}

impl Pooled {
    /// Pools trials.
    pub fn of(trials: &[Trial]) -> Self {
        let mut pooled = Self::default();
        for verification in trials.iter().flat_map(|trial| &trial.verifications) {
            pooled.push("accept_rate", verification.summary.accept_rate);
            for (key, pair) in &verification.per_layer {
                for (name, value) in named(pair) {
                    pooled.push(name, value);
                }
                if let (Some(layer), Some(token)) = (layer_of(key), token_of(key)) {
                    pooled.place(layer, token, pair);
                }
            }
        }
        pooled
    }

    fn push(&mut self, name: &str, value: f64) {
        self.values.entry(name.to_owned()).or_default().push(value);
    }

    fn place(&mut self, layer: u32, token: usize, pair: &PairFigures) {
        if layer == 0 {
            return;
        }
        let place = format!("layer_{layer}/tokens_{}", bucket(token));
        self.rel_l2
            .entry(place.clone())
            .or_default()
            .push(pair.rel_l2);
        let figures = self.by_place.entry(place).or_default();
        for (name, value) in named(pair) {
            figures.entry(name.to_owned()).or_default().push(value);
        }
    }

    /// Values of one figure.
    pub fn of_figure(&self, name: &str) -> &[f64] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }
}

fn named(pair: &PairFigures) -> [(&'static str, f64); 5] {
    [
        ("Pe", pair.Pe),
        ("Pm", pair.Pm),
        ("Pw", pair.Pw),
        ("mean_error", pair.mean_error),
        ("max_error", pair.max_error),
    ]
}

/// Thresholds as the seed recommends them.
#[allow(
    non_snake_case,
    missing_docs,
    reason = "the names of the reproduction's files"
)]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recommended {
    pub Pe_max: f64,
    pub Pm_min: f64,
    pub Pw_min: f64,
    pub mean_error_max: f64,
    pub accept_rate_min: f64,
}

impl Recommended {
    /// The reproduction's formulas (`optimize_thresholds.py`), by the keywords in an experiment's long name. Experiment 5 has neither
    /// `homogeneous` nor `heterogeneous` in its name and keeps the general ones; so does 6.
    pub fn by_seed(experiment: Experiment, pooled: &Pooled) -> Self {
        let of = |name| Moments::of(pooled.of_figure(name));
        let (pe, accept) = (of("Pe"), of("accept_rate"));
        let mut thresholds = Self {
            Pe_max: (pe.p95 * 1.2).min(0.10),
            Pm_min: (of("Pm").p50 * 0.8).max(0.50),
            Pw_min: (of("Pw").p50 * 0.8).max(0.30),
            mean_error_max: (of("mean_error").p95 * 1.2).min(0.10),
            accept_rate_min: (accept.p50 * 0.9).max(0.70),
        };
        let name = experiment.long_name();
        let has = |word| name.contains(word);
        let (rate, most) = match (has("quantized"), has("homogeneous"), has("heterogeneous")) {
            (false, true, _) => ((0.95 * accept.p50).max(0.95), pe.p90.min(0.02)),
            (false, _, true) => ((0.90 * accept.p50).max(0.90), pe.p95.min(0.05)),
            (true, true, _) => ((0.85 * accept.p50).max(0.80), pe.p95.min(0.10)),
            (true, _, true) => ((0.80 * accept.p50).max(0.70), pe.p99.min(0.15)),
            _ => return thresholds,
        };
        thresholds.accept_rate_min = rate;
        thresholds.Pe_max = most;
        thresholds
    }
}

/// An analysis as a file: the reproduction's four parts, and ours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Analysis {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its long name.
    pub experiment: String,
    /// RFC 3339.
    pub timestamp: String,
    /// Every value.
    pub raw_statistics: BTreeMap<String, Vec<f64>>,
    /// In figures.
    pub analysis: BTreeMap<String, Moments>,
    /// By the reproduction's formulas.
    pub recommended_thresholds: Recommended,
    /// Figures by layer and position bucket, the embedding left out.
    pub by_layer_and_position: BTreeMap<String, BTreeMap<String, Moments>>,
}

impl Analysis {
    /// Of pooled values.
    pub fn of(experiment: Experiment, pooled: &Pooled, timestamp: String) -> Self {
        let mut places: BTreeMap<String, BTreeMap<String, Moments>> = BTreeMap::new();
        for (place, figures) in &pooled.by_place {
            let moments =
                |(name, values): (&String, &Vec<f64>)| (name.clone(), Moments::of(values));
            places
                .entry(place.clone())
                .or_default()
                .extend(figures.iter().map(moments));
        }
        for (place, values) in &pooled.rel_l2 {
            let figures = places.entry(place.clone()).or_default();
            figures.insert("rel_l2".to_owned(), Moments::of(values));
        }
        Self {
            schema: SCHEMA.to_owned(),
            experiment: experiment.long_name().to_owned(),
            timestamp,
            raw_statistics: pooled.values.clone(),
            analysis: POOLED
                .iter()
                .map(|name| ((*name).to_owned(), Moments::of(pooled.of_figure(name))))
                .collect(),
            recommended_thresholds: Recommended::by_seed(experiment, pooled),
            by_layer_and_position: places,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// numpy.percentile, mean and std of 1..=10, and of one value.
    #[test]
    fn figures_are_those_of_numpy() {
        let m = Moments::of(&(1..=10).rev().map(f64::from).collect::<Vec<_>>());
        assert_eq!(
            (m.mean, m.min, m.max, m.p50, m.count),
            (5.5, 1.0, 10.0, 5.5, 10)
        );
        assert!((m.std - 2.872_281_323_269_014_3).abs() < 1e-12);
        assert!((m.p90 - 9.1).abs() < 1e-12 && (m.p95 - 9.55).abs() < 1e-12);
        assert!((m.p99 - 9.91).abs() < 1e-12);
        assert_eq!(Moments::of(&[2.0]).p99, 2.0);
        assert_eq!(Moments::of(&[]), Moments::default());
    }

    #[test]
    fn formulas_follow_the_name() {
        let pooled = |pe: f64, rate: f64| {
            let mut pooled = Pooled::default();
            for name in POOLED {
                pooled.push(name, if name == "accept_rate" { rate } else { pe });
            }
            pooled
        };
        let small = pooled(0.015, 0.99);
        let one = Recommended::by_seed(Experiment::Exp1, &small);
        assert_eq!((one.Pe_max, one.Pm_min, one.Pw_min), (0.015, 0.5, 0.3));
        assert!((one.accept_rate_min - 0.95).abs() < 1e-12 && one.mean_error_max == 0.015 * 1.2);
        let large = pooled(0.5, 0.4);
        let most = |experiment| {
            let r = Recommended::by_seed(experiment, &large);
            (r.Pe_max, r.accept_rate_min)
        };
        assert_eq!(most(Experiment::Exp1), (0.02, 0.95));
        assert_eq!(most(Experiment::Exp2), (0.05, 0.90));
        assert_eq!(most(Experiment::Exp3), (0.10, 0.80));
        assert_eq!(most(Experiment::Exp4), (0.15, 0.70));
        assert_eq!(most(Experiment::Exp5), (0.10, 0.70));
    }

    #[test]
    fn buckets_double() {
        let all: Vec<String> = [0, 15, 16, 31, 32, 63, 64]
            .into_iter()
            .map(bucket)
            .collect();
        assert_eq!(
            all,
            ["0-15", "0-15", "16-31", "16-31", "32-63", "32-63", "64-127"]
        );
    }
}
