//! Error rates of the sequential test: by simulation, and on measured runs.
//!
//! The test stops at the first position whose log-likelihood ratio exceeds ln(1 / alpha). Its bound (Ville) holds for independent
//! normal numbers with the assumed deviation; simulation shows how much room there is, and what neighbours that resemble each other
//! do to it.

use assay_engine::philox;
use assay_verify::sequential::{Sequential, SequentialState};
use serde::{Deserialize, Serialize};

use crate::pooled::percentile;

/// What came of some runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stopped {
    /// Runs that the test rejected.
    pub rejected: usize,
    /// Runs.
    pub runs: usize,
    /// Median of the positions that rejected runs took; `None` if none was.
    pub median_tokens: Option<f64>,
    /// The 90th percentile.
    pub p90_tokens: Option<f64>,
}

/// Runs the test over each series until it rejects.
pub fn on_series(test: &Sequential, series: impl Iterator<Item = Vec<f64>>) -> Stopped {
    let (mut runs, mut stops) = (0, Vec::new());
    for values in series {
        runs += 1;
        let mut state = SequentialState::default();
        for x in values {
            test.add(&mut state, x);
            if test.is_rejected(&state) {
                stops.push(state.n as f64);
                break;
            }
        }
    }
    stops.sort_by(f64::total_cmp);
    let at = |share| (!stops.is_empty()).then(|| percentile(&stops, share));
    Stopped {
        rejected: stops.len(),
        runs,
        median_tokens: at(0.5),
        p90_tokens: at(0.9),
    }
}

/// One line of the simulation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulated {
    /// Decades that the mean lies above the largest honest one.
    pub above_null: f64,
    /// Deviation over the one that the test assumes.
    pub sd_ratio: f64,
    /// Correlation of neighbours.
    pub correlation: f64,
    /// Positions of a run.
    pub positions: usize,
    /// What came of it.
    pub stopped: Stopped,
}

/// Runs of normal numbers with this mean (decades above the null's edge), deviation and correlation of neighbours.
pub fn simulate(
    test: &Sequential,
    above_null: f64,
    sd_ratio: f64,
    correlation: f64,
    runs: usize,
    positions: usize,
) -> Simulated {
    let key = above_null.to_bits()
        ^ sd_ratio.to_bits().rotate_left(17)
        ^ correlation.to_bits().rotate_left(31);
    let rest = (1.0 - correlation * correlation).max(0.0).sqrt();
    let series = (0..runs).map(|run| {
        let mut before: Option<f64> = None;
        let one = |position: usize| {
            let fresh = normal(key, run as u32, position as u32);
            let z = match before {
                Some(before) => correlation * before + rest * fresh,
                None => fresh,
            };
            before = Some(z);
            test.null_mean + above_null + sd_ratio * test.sd * z
        };
        (0..positions).map(one).collect::<Vec<f64>>()
    });
    Simulated {
        above_null,
        sd_ratio,
        correlation,
        positions,
        stopped: on_series(test, series),
    }
}

fn normal(key: u64, run: u32, position: u32) -> f64 {
    let u = |half: u32| philox::uniform(key, run, 2 * position + half);
    (-2.0 * u(0).ln()).sqrt() * (std::f64::consts::TAU * u(1)).cos()
}

/// The table that is stated: the edge of the null, honest traces, and shifts, for independent and for correlated neighbours.
pub fn table(test: &Sequential, runs: usize, positions: usize) -> Vec<Simulated> {
    let cases = [
        (-test.null_mean, 1.0, 0.0),
        (0.0, 1.0, 0.0),
        (0.0, 1.0, 0.5),
        (0.0, 1.5, 0.0),
        (test.shift / 2.0, 1.0, 0.0),
        (test.shift, 1.0, 0.0),
        (2.0 * test.shift, 1.0, 0.0),
        (4.0 * test.shift, 1.0, 0.0),
    ];
    cases
        .into_iter()
        .map(|(above, sd, correlation)| simulate(test, above, sd, correlation, runs, positions))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEST: Sequential = Sequential {
        null_mean: 0.9,
        sd: 0.3,
        shift: 0.3,
        alpha: 0.01,
    };

    #[test]
    fn the_bound_holds_at_the_edge_and_shifts_are_found() {
        // Expected at most 20 of 2000; five deviations above is 43.
        let edge = simulate(&TEST, 0.0, 1.0, 0.0, 2000, 200);
        assert!(edge.stopped.rejected <= 43, "{edge:?}");
        assert!(
            edge.stopped.rejected > 0,
            "alpha of 0.01 is nearly reached: {edge:?}"
        );
        let honest = simulate(&TEST, -TEST.null_mean, 1.0, 0.0, 500, 200);
        assert_eq!(
            (honest.stopped.rejected, honest.stopped.median_tokens),
            (0, None)
        );
        let shifted = simulate(&TEST, TEST.shift, 1.0, 0.0, 500, 200);
        assert_eq!(shifted.stopped.rejected, 500);
        let median = shifted.stopped.median_tokens.unwrap();
        // Wald: ln(1/alpha) over the drift shift^2 / (2 sd^2) = 4.6 / 0.5.
        assert!((7.0..12.0).contains(&median), "{median}");
    }

    #[test]
    fn correlated_neighbours_break_the_bound() {
        // What the profile's inflation of the deviation is for.
        let bad = simulate(&TEST, 0.0, 1.0, 0.5, 2000, 200);
        assert!(bad.stopped.rejected > 60, "{bad:?}");
        let inflated = Sequential {
            sd: 0.3 * 3f64.sqrt(),
            ..TEST
        };
        let good = simulate(&inflated, 0.0, 1.0 / 3f64.sqrt(), 0.5, 2000, 200);
        assert!(good.stopped.rejected <= 43, "{good:?}");
    }
}
