//! Windows of tokens: up to a run's length disjoint pieces of runs; longer ones are whole runs drawn with replacement (a bootstrap).
//!
//! The rates of longer ones say what several answers of one prover come to, and are as good as the runs are many. All runs of such a window
//! are of the same two devices: a mean over many tokens tells devices apart, and a cheat must not be found by the device it ran on.

use std::collections::BTreeMap;

use assay_engine::philox;

use super::score::window_means;

/// Longest window, in tokens.
const LONGEST: usize = 1024;
/// Draws of a window that is longer than a run.
const DRAWS: usize = 4000;

/// Some figures of each token of a run.
pub(super) struct Run<'m, const N: usize> {
    pub devices: &'m str,
    pub tokens: &'m [[f64; N]],
}

/// Lengths of windows over runs of `tokens` tokens, ascending.
pub(super) fn sizes(tokens: usize) -> Vec<usize> {
    std::iter::successors(Some(1), |n| Some(n * 2))
        .take_while(|n| *n < tokens)
        .chain(std::iter::successors(Some(tokens), |n| Some(n * 2)))
        .take_while(|n| *n <= LONGEST.max(tokens))
        .collect()
}

/// The smallest of `sizes` from which on every larger one finds 99 % too; `found` are their shares.
pub(super) fn enough(sizes: &[usize], found: &[f64]) -> Option<usize> {
    let good = found
        .iter()
        .rev()
        .take_while(|share| **share >= 0.99)
        .count();
    let first = sizes.len().checked_sub(good)?;
    sizes.get(first).copied()
}

/// Means of windows of `n` tokens; a run has `tokens`.
pub(super) fn windows<const N: usize>(
    runs: &[Run<'_, N>],
    n: usize,
    tokens: usize,
    seed: u64,
) -> Vec<[f64; N]> {
    if n <= tokens {
        return runs
            .iter()
            .flat_map(|run| run.tokens.chunks_exact(n))
            .map(window_means)
            .collect();
    }
    if runs.is_empty() {
        return Vec::new();
    }
    let mut by_devices: BTreeMap<&str, Vec<[f64; N]>> = BTreeMap::new();
    for run in runs {
        let means = window_means(run.tokens);
        by_devices.entry(run.devices).or_default().push(means);
    }
    let many = n.div_ceil(tokens);
    (0..DRAWS)
        .map(|draw| {
            let one_of = |n: usize, i: usize| {
                let u = philox::uniform(seed, draw as u32, i as u32);
                ((u * n as f64) as usize).min(n.saturating_sub(1))
            };
            // A run says which devices; the others are of the same ones.
            let devices = runs[one_of(runs.len(), 0)].devices;
            let same = &by_devices[devices];
            let pick = |i: usize| same[one_of(same.len(), i + 1)];
            window_means(&(0..many).map(pick).collect::<Vec<_>>())
        })
        .collect()
}

/// The smallest value that at most a share `rate` of `scores` exceeds.
pub(super) fn threshold(scores: &[f64], rate: f64) -> f64 {
    let mut sorted = scores.to_vec();
    sorted.sort_by(f64::total_cmp);
    let may_exceed = (rate * sorted.len() as f64).floor() as usize;
    let at = sorted.len().saturating_sub(1 + may_exceed);
    sorted.get(at).copied().unwrap_or(f64::INFINITY)
}

/// How many exceed it.
pub(super) fn above(scores: &[f64], threshold: f64) -> usize {
    scores.iter().filter(|score| **score > threshold).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_let_through_what_they_say() {
        let scores: Vec<f64> = (0..1000).map(f64::from).collect();
        for (rate, want) in [(1e-2, 10), (1e-3, 1), (1e-4, 0)] {
            assert_eq!(above(&scores, threshold(&scores, rate)), want);
        }
        assert_eq!(threshold(&[], 0.1), f64::INFINITY);
        // Ties count for nobody.
        assert_eq!(above(&[0.0; 50], threshold(&[0.0; 50], 1e-2)), 0);
    }

    #[test]
    fn what_is_enough_is_enough_from_there_on() {
        let sizes = sizes(32);
        assert_eq!(sizes, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]);
        let found = |from: usize| {
            sizes
                .iter()
                .map(|n| f64::from(u8::from(*n >= from)))
                .collect::<Vec<_>>()
        };
        assert_eq!(enough(&sizes, &found(8)), Some(8));
        assert_eq!(enough(&sizes, &found(2000)), None);
        let mut gap = found(8);
        gap[5] = 0.98;
        assert_eq!(enough(&sizes, &gap), Some(64));
    }
}
