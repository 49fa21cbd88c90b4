//! Binomial tails and the Clopper-Pearson bound: every stated rate comes with its count.

/// ln of n choose k.
fn ln_choose(n: u64, k: u64) -> f64 {
    libm::lgamma(n as f64 + 1.0) - libm::lgamma(k as f64 + 1.0) - libm::lgamma((n - k) as f64 + 1.0)
}

/// P(X = k) for X ~ Binomial(n, p).
fn mass(n: u64, k: u64, p: f64) -> f64 {
    if p <= 0.0 {
        return f64::from(u8::from(k == 0));
    }
    if p >= 1.0 {
        return f64::from(u8::from(k == n));
    }
    (ln_choose(n, k) + k as f64 * p.ln() + (n - k) as f64 * (-p).ln_1p()).exp()
}

/// P(X <= k).
fn at_most(n: u64, k: u64, p: f64) -> f64 {
    (0..=k.min(n)).map(|i| mass(n, i, p)).sum::<f64>().min(1.0)
}

/// P(X >= k), for X ~ Binomial(n, p).
pub fn at_least(n: u64, k: u64, p: f64) -> f64 {
    (k..=n).map(|i| mass(n, i, p)).sum::<f64>().min(1.0)
}

/// Clopper-Pearson upper bound of a rate of which `k` in `n` were seen: the rate at which so few have probability
/// 1 - `confidence`. 1 where nothing was tried.
pub fn upper_bound(n: u64, k: u64, confidence: f64) -> f64 {
    if k >= n {
        return 1.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..100 {
        let middle = (low + high) / 2.0;
        if at_most(n, k, middle) > 1.0 - confidence {
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

    #[test]
    fn none_of_n_follows_the_closed_form() {
        for n in [1, 10, 59, 3000] {
            let want = 1.0 - 0.05f64.powf(1.0 / n as f64);
            assert!((upper_bound(n, 0, 0.95) - want).abs() < 1e-9, "{n}");
        }
        assert_eq!(
            (upper_bound(0, 0, 0.95), upper_bound(5, 5, 0.95)),
            (1.0, 1.0)
        );
    }

    #[test]
    fn known_interval() {
        // One-sided 97.5 % bound of 10 in 100: the upper end of the usual 95 % interval, 0.1762.
        assert!((upper_bound(100, 10, 0.975) - 0.176_22).abs() < 1e-4);
    }

    #[test]
    fn tails_add_up() {
        assert!((at_least(20, 0, 0.3) - 1.0).abs() < 1e-9);
        assert!((at_least(20, 5, 0.3) + at_most(20, 4, 0.3) - 1.0).abs() < 1e-9);
        assert_eq!((at_least(10, 1, 0.0), at_least(10, 10, 1.0)), (0.0, 1.0));
    }
}
