//! The energy test: how much of an error k secret Gaussian projections show.
//!
//! For an error e that was fixed before the projections r_1 .. r_k (independent standard normals) were known, q = sum_j (r_j . e)^2
//! is |e|^2 times a chi-squared variable with k degrees of freedom, *exactly*, whatever e looks like. So with an honest error norm of
//! at most E, q > E^2 chi2(k, 1 - alpha) happens by chance in a fraction alpha of rows, and an error of norm D passes with
//! probability F_k(chi2(k, 1 - alpha) E^2 / D^2). E is calibrated, so this reject is statistical; `bounds` has the certified one.
//!
//! Ji, Mascagni and Li (arXiv 1705.10449) for Gaussian projections; the +-1 and 0/1 vectors of Freivalds' own test miss a pair of
//! opposite errors with probability 1/2 each, whatever their size.

use statrs::distribution::{ChiSquared, ContinuousCDF as _};

/// The test for some number of projections at some significance.
#[derive(Debug, Clone)]
pub struct Energy {
    distribution: ChiSquared,
    quantile: f64,
}

impl Energy {
    /// `projections` is at least 1; `alpha` is the chance that one honest row of error norm E fails.
    pub fn new(projections: usize, alpha: f64) -> Self {
        let distribution = chi_squared(projections.max(1) as f64);
        // The upper tail through its own function: 1 - alpha is 1 in f64 where alpha is small.
        let quantile = upper_quantile(&distribution, alpha);
        Self {
            distribution,
            quantile,
        }
    }

    /// chi2(k, 1 - alpha): the largest energy over E^2 that passes.
    pub fn quantile(&self) -> f64 {
        self.quantile
    }

    /// Chance that an error of `times` E passes.
    pub fn false_accept(&self, times: f64) -> f64 {
        self.distribution.cdf(self.quantile / (times * times))
    }

    /// The error, in units of E, that passes with probability `chance` only.
    pub fn detects(&self, chance: f64) -> f64 {
        (self.quantile / self.distribution.inverse_cdf(chance)).sqrt()
    }
}

#[allow(
    clippy::expect_used,
    reason = "defined for every positive number of degrees of freedom"
)]
fn chi_squared(degrees: f64) -> ChiSquared {
    ChiSquared::new(degrees).expect("degrees of freedom are positive")
}

/// The x with P(X > x) = alpha, by bisection on the survival function, which keeps its precision far out.
fn upper_quantile(distribution: &ChiSquared, alpha: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while distribution.sf(high) > alpha {
        high *= 2.0;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if distribution.sf(middle) > alpha {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Quantiles from tables (NIST/SEMATECH e-Handbook, 1.3.6.7.4) and, far out, from the known asymptotics of the tail.
    #[test]
    fn quantiles_are_those_of_tables() {
        for (k, alpha, want) in [
            (1, 0.05, 3.841),
            (16, 0.01, 32.000),
            (8, 0.001, 26.124),
            (32, 0.001, 62.487),
        ] {
            let got = Energy::new(k, alpha).quantile();
            assert!((got - want).abs() < 1e-3, "{k} {alpha}: {got}");
        }
        let far = Energy::new(16, 1e-12).quantile();
        assert!(far > 90.0 && far < 110.0, "{far}");
    }

    /// The table of the reference (peers.md, d): W8 per row against an honest error of 0.14, k = 16, alpha 1e-6.
    #[test]
    fn false_accepts_are_those_of_the_published_simulation() {
        let energy = Energy::new(16, 1e-6);
        let fa = energy.false_accept(0.71 / 0.14);
        assert!((1e-6..1e-4).contains(&fa), "{fa:e}");
        assert!(energy.false_accept(1.0) > 0.999_998);
        let times = energy.detects(1e-9);
        assert!((energy.false_accept(times) / 1e-9 - 1.0).abs() < 1e-3);
    }
}
