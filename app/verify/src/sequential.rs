//! A sequential test for a shift of the whole trace that stays below every single limit.
//!
//! One number a position: x = mean over opened layers of (log10 relative L2 - that depth's calibrated mean). Under the null an
//! honest trace's x has a mean of at most `null_mean` (three deviations between traces, plus the headroom of the limits, since
//! other hardware shifts every row alike) and deviation `sd`. Under the alternative the mean is `shift` higher. The
//! log-likelihood ratio of the two normals,
//!
//!   L += d / sd^2 * (x - null_mean) - d^2 / (2 sd^2),   d = shift,
//!
//! is a supermartingale under the null, so by Ville's inequality it *ever* exceeds ln(1 / alpha) with probability at most
//! alpha. That holds for independent normal rows; rows of one trace are not independent, so `sd` is the calibrated deviation
//! times the square root of a measured variance inflation.

use serde::{Deserialize, Serialize};

/// Distances below this count as this: log10 of zero has no place in a mean.
pub const FLOOR: f64 = 1e-10;

/// The test's parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sequential {
    /// Largest mean of an honest trace, decades above the calibrated one.
    pub null_mean: f64,
    /// Deviation of one position's number.
    pub sd: f64,
    /// Decades above `null_mean` that the test looks for.
    pub shift: f64,
    /// Probability of ever rejecting an honest trace.
    pub alpha: f64,
}

/// Where the test stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SequentialState {
    /// Positions seen.
    pub n: usize,
    /// Mean of x, decades above the calibrated mean.
    pub mean: f64,
    /// The log-likelihood ratio now.
    pub log_ratio: f64,
    /// Its largest value so far.
    pub log_ratio_max: f64,
}

impl Sequential {
    /// ln(1 / alpha): above it the trace is rejected.
    pub fn limit(&self) -> f64 {
        -self.alpha.ln()
    }

    /// Adds one position's number.
    pub fn add(&self, state: &mut SequentialState, x: f64) {
        let variance = self.sd * self.sd;
        state.n += 1;
        state.mean += (x - state.mean) / state.n as f64;
        state.log_ratio += self.shift / variance * (x - self.null_mean)
            - self.shift * self.shift / (2.0 * variance);
        state.log_ratio_max = state.log_ratio_max.max(state.log_ratio);
    }

    /// Whether the test has rejected.
    pub fn is_rejected(&self, state: &SequentialState) -> bool {
        state.log_ratio_max > self.limit()
    }
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

    /// Normal draws from splitmix64 by Box and Muller: fixed, so that the measured rates are.
    struct Draws(u64);

    impl Draws {
        fn uniform(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 + 1e-17
        }

        fn normal(&mut self) -> f64 {
            (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
        }
    }

    fn rejected(mean: f64, traces: usize, positions: usize) -> usize {
        let mut draws = Draws(42);
        (0..traces)
            .filter(|_| {
                let mut state = SequentialState::default();
                (0..positions).for_each(|_| TEST.add(&mut state, mean + TEST.sd * draws.normal()));
                TEST.is_rejected(&state)
            })
            .count()
    }

    #[test]
    fn false_rejects_stay_below_alpha() {
        // At the very edge of the null: 4000 traces, expected at most 40, five deviations above is 72.
        let edge = rejected(TEST.null_mean, 4000, 300);
        println!(
            "false rejects at the edge of the null: {edge} of 4000 (alpha {})",
            TEST.alpha
        );
        assert!(edge <= 72, "{edge}");
        // Where honest traces of the calibration lie.
        assert_eq!(rejected(0.0, 2000, 300), 0);
    }

    #[test]
    fn a_shift_is_found_within_thirty_positions() {
        assert!(rejected(TEST.null_mean + TEST.shift, 1000, 30) >= 950);
    }

    #[test]
    fn floor_and_mean_are_reported() {
        let mut state = SequentialState::default();
        [1.0, 2.0].iter().for_each(|&x| TEST.add(&mut state, x));
        assert_eq!((state.n, state.mean), (2, 1.5));
    }
}
