//! What suspects find: leans of honest runs and of the cheats that were suspected.
//!
//! The lean of a window is the sum of its tokens' numerators over that of their denominators. Thresholds and rates are made as those of all
//! statistics; beside them stands what the limits say that `assay --verify --suspect` ships with.

use assay_verify::suspects::{Finding, Lean};
use serde::{Deserialize, Serialize};

use super::cheat::Cheat;
use super::lab::Measured;
use super::suspected::Leaned;
use super::table::{RATES, Rate, split};
use super::window::{Run, above, enough, sizes, threshold, windows};

/// One suspect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suspicion {
    /// What it would have done: the name of a cheat.
    pub suspect: String,
    /// Honest runs of both halves.
    pub honest: Leans,
    /// Runs that did it.
    pub guilty: Leans,
    /// On held-out honest runs, one window a run, for each of [`RATES`].
    pub false_positives: Vec<Rate>,
    /// True positives over one run's tokens, for each of [`RATES`].
    pub true_positives: [f64; 2],
    /// Tokens from which on 99 % are found at the false-positive rate 1e-3; `None`: more than were tried.
    pub tokens_for_99: Option<usize>,
}

/// Leans of some runs, prompt and answer, and what the shipped limits say of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leans {
    /// The least and the largest.
    pub range: [f64; 2],
    /// The largest standard error.
    pub error: f64,
    /// Runs that are rejected for it.
    pub rejected: Rate,
    /// Runs of which nothing can be said.
    pub inconclusive: usize,
}

impl Leans {
    fn of(leans: &[&Lean]) -> Self {
        let counted = |wanted: &[Finding]| {
            let found = leans.iter().filter(|l| wanted.contains(&l.finding()));
            found.count()
        };
        let over = |start, better: fn(f64, f64) -> f64, of: fn(&Lean) -> f64| {
            leans.iter().map(|l| of(l)).fold(start, better)
        };
        Self {
            range: [
                over(f64::INFINITY, f64::min, |l| l.lean),
                over(f64::NEG_INFINITY, f64::max, |l| l.lean),
            ],
            error: over(0.0, f64::max, |l| l.error),
            rejected: Rate::of(counted(&[Finding::Match, Finding::Leaning]), leans.len()),
            inconclusive: counted(&[Finding::Unclear, Finding::Same]),
        }
    }
}

/// What suspecting `cheat` finds; `None` where no honest run, or none of its own, was held against it.
pub(super) fn of(
    measured: &[Measured],
    cheat: Cheat,
    is_bf16: bool,
    tokens: usize,
) -> Option<Suspicion> {
    let [calibration, held_out, guilty] = split(measured, cheat, is_bf16);
    let [calibration, held_out, guilty] =
        [calibration, held_out, guilty].map(|runs| leaned(&runs, cheat));
    if calibration.is_empty() || held_out.is_empty() || guilty.is_empty() {
        return None;
    }
    let sizes = sizes(tokens);
    let scores = |runs: &[(&str, &Leaned)], n: usize, seed: u64| -> Vec<f64> {
        let runs: Vec<Run<'_, 2>> = runs
            .iter()
            .map(|&(devices, leaned)| Run {
                devices,
                tokens: &leaned.tokens,
            })
            .collect();
        let means = windows(&runs, n, tokens, seed);
        let lean = |[along, apart]: &[f64; 2]| along / apart.max(f64::MIN_POSITIVE);
        means.iter().map(lean).collect()
    };
    let found = |runs: &[(&str, &Leaned)], n: usize, seed: u64| -> [(usize, usize); 2] {
        let honest = scores(&calibration, n, 1);
        let scores = scores(runs, n, seed);
        RATES.map(|rate| (above(&scores, threshold(&honest, rate)), scores.len()))
    };
    let share = |(k, n): (usize, usize)| k as f64 / n.max(1) as f64;
    // Of each size, for each of RATES; a run's own length is among them.
    let by_size: Vec<[f64; 2]> = sizes
        .iter()
        .map(|&n| found(&guilty, n, 3).map(share))
        .collect();
    let at_run = sizes.iter().position(|n| *n == tokens)?;
    let strict: Vec<f64> = by_size.iter().map(|found| found[1]).collect();
    let leans = |runs: &[(&str, &Leaned)]| {
        let leans: Vec<&Lean> = runs.iter().map(|(_, leaned)| &leaned.lean).collect();
        Leans::of(&leans)
    };
    Some(Suspicion {
        suspect: cheat.name(),
        honest: leans(&[&calibration[..], &held_out[..]].concat()),
        guilty: leans(&guilty),
        false_positives: found(&held_out, tokens, 2)
            .map(|(k, n)| Rate::of(k, n))
            .to_vec(),
        true_positives: by_size[at_run],
        tokens_for_99: enough(&sizes, &strict),
    })
}

/// The runs that were held against this suspect, with their devices.
fn leaned<'m>(runs: &[&'m Measured], suspect: Cheat) -> Vec<(&'m str, &'m Leaned)> {
    let one = |m: &&'m Measured| {
        let leaned = m.leans.iter().find(|l| l.suspect == suspect)?;
        Some((m.devices.as_str(), leaned))
    };
    runs.iter().filter_map(one).collect()
}
