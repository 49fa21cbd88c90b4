//! Thresholds from honest runs on even prompts; false and true positives from runs on odd ones.

use std::collections::BTreeMap;

use assay_verify::profile::CONFIDENCE;
use assay_verify::{Profile, Verdict, binomial};
use serde::{Deserialize, Serialize};

use super::cheat::Cheat;
use super::lab::Measured;
use super::leans::{self, Suspicion};
use super::score::{Figures, Statistic};
use super::window::{Run, above, enough, sizes, threshold, windows};
use crate::ExperimentError;
use crate::pooled::percentile;
use crate::stopping::{self, Stopped};

/// The form of the table's file.
pub const SCHEMA: &str = "assay-detection-2";
/// False-positive rates that thresholds are made for.
pub const RATES: [f64; 2] = [1e-2, 1e-3];
/// An accept rate above this passes in experiment 1.
const PASSES: f64 = 0.95;
/// The combination's name in tables.
pub const COMBINATION: &str = "combination";

/// Everything.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Detection {
    /// [`SCHEMA`].
    pub schema: String,
    /// The model.
    pub model: String,
    /// Tokens of a run.
    pub tokens_per_run: usize,
    /// Provers of one kind each.
    pub classes: Vec<Class>,
}

/// Provers that compute alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    /// `f32` or `bf16`.
    pub name: String,
    /// Honest runs that thresholds come from.
    pub calibration_runs: usize,
    /// Honest runs that false positives are counted on.
    pub held_out_runs: usize,
    /// Honest runs by `prover -> verifier`.
    pub devices: BTreeMap<String, usize>,
    /// Of each statistic, on held-out honest runs, one window a run.
    pub honest: Vec<FalsePositives>,
    /// What was tried.
    pub cheats: Vec<Row>,
    /// What suspects find, where they were asked about.
    pub suspicions: Vec<Suspicion>,
    /// The sequential test on honest runs; `None` where no profile covers them.
    pub stopping: Option<Stopped>,
    /// Honest held-out runs that Assay's own verdict rejects, and those that it calls inconclusive.
    pub own_false_rejects: [usize; 2],
}

/// False positives of one statistic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FalsePositives {
    /// Its name.
    pub statistic: String,
    /// One for each of [`RATES`].
    pub rates: Vec<Rate>,
}

/// A rate with its count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// So many.
    pub k: usize,
    /// Of so many.
    pub n: usize,
    /// Upper bound of the rate, 95 %, one-sided (Clopper-Pearson).
    pub at_most: f64,
}

impl Rate {
    pub(super) fn of(k: usize, n: usize) -> Self {
        Self {
            k,
            n,
            at_most: binomial::upper_bound(n as u64, k as u64, CONFIDENCE),
        }
    }
}

/// One cheat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Its name.
    pub cheat: String,
    /// Whether it is a forgery without a run.
    pub is_null: bool,
    /// Runs, all on held-out prompts.
    pub runs: usize,
    /// Runs that Assay's own verdict rejects, and those that it calls inconclusive.
    pub own: [usize; 2],
    /// Runs that pass VeriLLM's published rules at an accept rate above 0.95, the embedding left out: the reproduction's, the paper's.
    pub passes_published: [usize; 2],
    /// By statistic.
    pub found: Vec<Found>,
    /// The sequential test; `None` where no profile covers the claim.
    pub stopping: Option<Stopped>,
}

/// What one statistic finds of one cheat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Found {
    /// Its name.
    pub statistic: String,
    /// True positives over one run's tokens, for each of [`RATES`].
    pub true_positives: [f64; 2],
    /// Tokens from which on 99 % are found at the false-positive rate 1e-3; `None`: more than were tried.
    pub tokens_for_99: Option<usize>,
    /// The same at 1e-2.
    pub tokens_for_99_at_1e_2: Option<usize>,
}

/// From windows' means to scores, as the honest calibration runs have them.
struct Scale {
    centre: Figures,
    /// Of each combined statistic: median and spread (99th percentile less median).
    combined: [(f64, f64); Statistic::COMBINED.len()],
}

impl Scale {
    fn of(windows: &[Figures]) -> Self {
        let mut centre = [0.0; Statistic::COUNT];
        for (i, centre) in centre.iter_mut().enumerate() {
            *centre = windows.iter().map(|w| w[i]).sum::<f64>() / windows.len().max(1) as f64;
        }
        let combined = Statistic::COMBINED.map(|statistic| {
            let mut values: Vec<f64> = windows.iter().map(|w| w[statistic as usize]).collect();
            values.sort_by(f64::total_cmp);
            let (middle, top) = (percentile(&values, 0.5), percentile(&values, 0.99));
            (middle, (top - middle).max(1e-9))
        });
        Self { centre, combined }
    }

    fn score(&self, statistic: Statistic, means: &Figures) -> f64 {
        let value = means[statistic as usize];
        match statistic.is_two_sided() {
            true => (value - self.centre[statistic as usize]).abs(),
            false => value,
        }
    }

    /// The largest excess of the combined statistics, each in units of its own honest spread.
    fn combination(&self, means: &Figures) -> f64 {
        let excess = Statistic::COMBINED
            .into_iter()
            .zip(self.combined)
            .map(|(s, (middle, spread))| (means[s as usize] - middle) / spread);
        excess.fold(f64::MIN, f64::max)
    }

    /// Scores of all statistics in their order, the combination last.
    fn all(&self, means: &Figures) -> Vec<f64> {
        let each = Statistic::ALL.into_iter().map(|s| self.score(s, means));
        each.chain([self.combination(means)]).collect()
    }
}

/// Names in the order of [`Scale::all`].
pub fn names() -> Vec<&'static str> {
    let each = Statistic::ALL.into_iter().map(Statistic::name);
    each.chain([COMBINATION]).collect()
}

/// Scores by statistic of honest held-out and of one cheat's windows, for ROC curves.
pub struct Curves {
    /// [statistic][window], honest.
    pub honest: Vec<Vec<f64>>,
    /// [statistic][window], the cheat's.
    pub cheat: Vec<Vec<f64>>,
}

/// Scores of windows of `n` tokens of one cheat beside honest ones.
pub fn curves(measured: &[Measured], cheat: Cheat, is_bf16: bool, n: usize) -> Curves {
    let tokens = measured.first().map_or(1, |m| m.tokens.len());
    let [calibration, held_out, of_cheat] = split(measured, cheat, is_bf16);
    let scale = Scale::of(&windows(&figures(&calibration), n, tokens, 1));
    let scores = |runs: &[&Measured], seed| {
        let all: Vec<Vec<f64>> = windows(&figures(runs), n, tokens, seed)
            .iter()
            .map(|w| scale.all(w))
            .collect();
        transposed(&all)
    };
    Curves {
        honest: scores(&held_out, 2),
        cheat: scores(&of_cheat, 3),
    }
}

fn figures<'m>(runs: &[&'m Measured]) -> Vec<Run<'m, { Statistic::COUNT }>> {
    let run = |m: &&'m Measured| Run {
        devices: &m.devices,
        tokens: &m.tokens,
    };
    runs.iter().map(run).collect()
}

fn transposed(rows: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let columns = Statistic::COUNT + 1;
    (0..columns)
        .map(|i| rows.iter().map(|row| row[i]).collect())
        .collect()
}

/// Honest runs for thresholds, honest runs for rates, and a cheat's runs on held-out prompts.
pub(super) fn split(measured: &[Measured], cheat: Cheat, is_bf16: bool) -> [Vec<&Measured>; 3] {
    let of = |cheat: Cheat, odd: bool| -> Vec<&Measured> {
        let fits =
            |m: &&Measured| m.cheat == cheat && m.is_bf16 == is_bf16 && (m.prompt % 2 == 1) == odd;
        measured.iter().filter(fits).collect()
    };
    [
        of(Cheat::Honest, false),
        of(Cheat::Honest, true),
        of(cheat, true),
    ]
}

/// The table.
///
/// # Errors
/// No honest runs on both halves of the prompts, or runs of different lengths.
pub fn detect(
    measured: &[Measured],
    model: String,
    profile: Option<&Profile>,
) -> Result<Detection, ExperimentError> {
    let tokens = measured.first().map_or(0, |m| m.tokens.len());
    if tokens == 0 || measured.iter().any(|m| m.tokens.len() != tokens) {
        return Err(ExperimentError::TooFew("tokens a run"));
    }
    let mut classes = Vec::new();
    for is_bf16 in [false, true] {
        if measured.iter().any(|m| m.is_bf16 == is_bf16) {
            classes.push(class(
                measured,
                is_bf16,
                tokens,
                profile.filter(|_| !is_bf16),
            )?);
        }
    }
    Ok(Detection {
        schema: SCHEMA.to_owned(),
        model,
        tokens_per_run: tokens,
        classes,
    })
}

fn class(
    measured: &[Measured],
    is_bf16: bool,
    tokens: usize,
    profile: Option<&Profile>,
) -> Result<Class, ExperimentError> {
    let [calibration, held_out, _] = split(measured, Cheat::Honest, is_bf16);
    if calibration.is_empty() || held_out.is_empty() {
        return Err(ExperimentError::TooFew(
            "honest runs on both halves of the prompts",
        ));
    }
    let sizes = sizes(tokens);
    // By size: the scale, thresholds [rate][statistic].
    let mut fitted = BTreeMap::new();
    for &n in &sizes {
        let honest = windows(&figures(&calibration), n, tokens, 1);
        let scale = Scale::of(&honest);
        let scores = transposed(&honest.iter().map(|w| scale.all(w)).collect::<Vec<_>>());
        let thresholds = RATES.map(|rate| {
            scores
                .iter()
                .map(|scores| threshold(scores, rate))
                .collect::<Vec<f64>>()
        });
        fitted.insert(n, (scale, thresholds));
    }
    let rates = |runs: &[&Measured], n: usize, seed: u64| -> [Vec<(usize, usize)>; 2] {
        let Some((scale, thresholds)) = fitted.get(&n) else {
            return [Vec::new(), Vec::new()];
        };
        let means = windows(&figures(runs), n, tokens, seed);
        let scores = transposed(&means.iter().map(|w| scale.all(w)).collect::<Vec<_>>());
        [0, 1].map(|r| {
            let each = scores.iter().zip(&thresholds[r]);
            each.map(|(scores, t)| (above(scores, *t), scores.len()))
                .collect()
        })
    };
    let of_honest = rates(&held_out, tokens, 2);
    let honest = names()
        .into_iter()
        .enumerate()
        .map(|(i, name)| FalsePositives {
            statistic: name.to_owned(),
            rates: of_honest.iter().map(|r| Rate::of(r[i].0, r[i].1)).collect(),
        })
        .collect();
    let mut cheats: Vec<Cheat> = Vec::new();
    for m in measured
        .iter()
        .filter(|m| m.is_bf16 == is_bf16 && m.cheat != Cheat::Honest)
    {
        if !cheats.contains(&m.cheat) {
            cheats.push(m.cheat);
        }
    }
    let row = |cheat: Cheat| {
        let [_, _, runs] = split(measured, cheat, is_bf16);
        let by_size: Vec<_> = sizes.iter().map(|&n| rates(&runs, n, 3)).collect();
        let at_run = sizes.iter().position(|n| *n == tokens).unwrap_or(0);
        let share = |(k, n): (usize, usize)| k as f64 / n.max(1) as f64;
        let needed = |r: usize, i: usize| {
            let found: Vec<f64> = by_size.iter().map(|rates| share(rates[r][i])).collect();
            enough(&sizes, &found)
        };
        let found = names()
            .into_iter()
            .enumerate()
            .map(|(i, name)| Found {
                statistic: name.to_owned(),
                true_positives: [0, 1].map(|r| share(by_size[at_run][r][i])),
                tokens_for_99: needed(1, i),
                tokens_for_99_at_1e_2: needed(0, i),
            })
            .collect();
        Row {
            cheat: cheat.name(),
            is_null: cheat.is_null(),
            runs: runs.len(),
            own: verdicts(&runs),
            passes_published: [0, 1]
                .map(|rule| runs.iter().filter(|m| m.accepted[rule] > PASSES).count()),
            found,
            stopping: profile.map(|profile| stopped(&runs, profile)),
        }
    };
    let mut devices = BTreeMap::new();
    for run in calibration.iter().chain(&held_out) {
        *devices.entry(run.devices.clone()).or_default() += 1;
    }
    Ok(Class {
        name: if is_bf16 { "bf16" } else { "f32" }.to_owned(),
        calibration_runs: calibration.len(),
        held_out_runs: held_out.len(),
        devices,
        honest,
        suspicions: cheats
            .iter()
            .filter_map(|cheat| leans::of(measured, *cheat, is_bf16, tokens))
            .collect(),
        cheats: cheats.into_iter().map(row).collect(),
        stopping: profile.map(|profile| {
            let all: Vec<&Measured> = calibration.iter().chain(&held_out).copied().collect();
            stopped(&all, profile)
        }),
        own_false_rejects: verdicts(&held_out),
    })
}

fn verdicts(runs: &[&Measured]) -> [usize; 2] {
    [Verdict::Reject, Verdict::Inconclusive]
        .map(|verdict| runs.iter().filter(|m| m.verdict == verdict).count())
}

/// The sequential test over each run's tokens.
fn stopped(runs: &[&Measured], profile: &Profile) -> Stopped {
    let layers = profile
        .limits
        .rel_l2
        .last()
        .map_or(0, |depth| depth.to_layer);
    let test = profile.sequential();
    // A token's figure is the mean over all layers of log10; what it is held against is the mean of their calibrated means.
    let series = runs.iter().map(|run| {
        let n = run.layers.min(layers).max(1);
        let means = (1..=n)
            .filter_map(|l| profile.depth(l))
            .map(|depth| depth.log10_mean);
        let centre = means.sum::<f64>() / f64::from(n);
        let tokens = run.tokens.iter();
        tokens
            .map(move |t| t[Statistic::RelL2 as usize] - centre)
            .collect::<Vec<f64>>()
    });
    stopping::on_series(&test, series)
}

#[cfg(test)]
mod tests {
    use assay_engine::philox;

    use super::*;

    fn run(cheat: Cheat, prompt: usize, level: f64) -> Measured {
        let token = |i: usize| {
            let u = philox::uniform(7, prompt as u32, i as u32);
            [level + u; Statistic::COUNT]
        };
        Measured {
            cheat,
            is_bf16: false,
            layers: 8,
            prompt,
            devices: "a -> b".to_owned(),
            tokens: (0..16).map(token).collect(),
            verdict: Verdict::Accept,
            leans: Vec::new(),
            accepted: [1.0, 0.0],
        }
    }

    #[test]
    fn a_shift_is_found_and_nothing_is_not() {
        let mut measured: Vec<_> = (0..400).map(|i| run(Cheat::Honest, i, 0.0)).collect();
        measured.extend((400..440).map(|i| run(Cheat::Seed, i, 1.0)));
        measured.extend((440..480).map(|i| run(Cheat::TopP(90), i, 0.0)));
        let table = detect(&measured, "m".to_owned(), None).unwrap();
        let class = &table.classes[0];
        assert_eq!((class.calibration_runs, class.held_out_runs), (200, 200));
        for honest in &class.honest {
            assert!(honest.rates[0].k <= 10, "{honest:?}");
        }
        let [seed, top_p] = [&class.cheats[0], &class.cheats[1]];
        assert_eq!((seed.runs, top_p.runs), (20, 20));
        for (a, b) in seed.found.iter().zip(&top_p.found) {
            assert_eq!(a.true_positives, [1.0; 2], "{a:?}");
            assert!(a.tokens_for_99 <= Some(2), "{a:?}");
            assert!(
                b.true_positives[1] <= 0.1 && b.tokens_for_99.is_none(),
                "{b:?}"
            );
        }
        assert_eq!(seed.passes_published, [20, 0]);
    }

    /// Honest provers of two devices, and a \"cheat\" that changes nothing and runs on one of them only.
    #[test]
    fn a_device_is_no_cheat() {
        let on = |cheat, prompt: usize, device: usize| Measured {
            devices: format!("{device} -> 0"),
            ..run(cheat, prompt, 0.3 * device as f64)
        };
        let honest = (0..400).map(|i| on(Cheat::Honest, i, i / 2 % 2));
        let other = (400..480).map(|i| on(Cheat::Seed, i, 1));
        let measured: Vec<_> = honest.chain(other).collect();
        let table = detect(&measured, String::new(), None).unwrap();
        for found in &table.classes[0].cheats[0].found {
            let two_sided = Statistic::ALL
                .iter()
                .any(|s| s.name() == found.statistic && s.is_two_sided());
            assert!(two_sided || found.tokens_for_99.is_none(), "{found:?}");
        }
    }

    #[test]
    fn without_honest_runs_there_is_no_table() {
        let only = [run(Cheat::Honest, 0, 0.0)];
        assert!(matches!(
            detect(&only, String::new(), None),
            Err(ExperimentError::TooFew(_))
        ));
        assert!(detect(&[], String::new(), None).is_err());
    }
}
