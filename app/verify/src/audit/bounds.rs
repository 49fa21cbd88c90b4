//! How far an honest product may lie from the verifier's view of it, at most: bounds that hold whatever the order of addition, so
//! that what exceeds them is a *certified* reject. They are wide; the energy test is the sharp one (`energy`).
//!
//! For y = W x with inner length k, computed in f32 in any order and stored with unit roundoff u_out, and an input that may differ
//! from the derived one by dx:
//! ```text
//! |y_i - (W x)_i| <= gamma_k (|W||x|)_i + u_out |y_i| + (|W||dx|)_i        gamma_k = k u / (1 - k u)   (Higham, 3.1)
//! ```
//! u is 2^-23 for the prover, whose device may round either way (WGSL promises no more), and 2^-24 for the verifier's own sums,
//! which round to nearest. Summed against projections, |r_j . (y - W x)| <= gamma_k s.|x| + u_out r.|y| + ... with
//! s = |W|ᵀ max_j |r_j| and r = max_j |r_j|, which a key holds.

use assay_engine::Rounding;

/// Unit roundoff of the prover's f32 sums.
const U_PROVER: f64 = 1.0 / (1u64 << 23) as f64;
/// Unit roundoff of the verifier's.
const U_OWN: f64 = 1.0 / (1u64 << 24) as f64;

/// k u / (1 - k u); infinite where that says nothing any more.
pub(super) fn gamma(terms: usize, unit: f64) -> f64 {
    let ku = terms as f64 * unit;
    if ku < 1.0 {
        ku / (1.0 - ku)
    } else {
        f64::INFINITY
    }
}

/// Coefficients of one product's bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// On sums of |W||x|: both sides' summation, and an input that is off by a part of each of its elements.
    pub magnitude: f64,
    /// On |y|: how y is stored.
    pub output: f64,
    /// On sums of |r||y|: the verifier's own projection of y.
    pub projected: f64,
}

impl Bound {
    /// For a product of inner length `k` with `n` outputs, whose prover rounds so, and whose input's elements may each be off by
    /// `input` of themselves.
    pub fn new(k: usize, n: usize, rounding: Rounding, input: f64) -> Self {
        let summed = gamma(k + 1, U_PROVER) + gamma(k + 2, U_OWN) + U_OWN;
        Self {
            // Errors multiply: the cross terms are below a thousandth of their factors.
            magnitude: 1.001 * (summed + input),
            output: 1.001 * rounding.unit(),
            projected: 1.001 * gamma(n + 2, U_OWN),
        }
    }
}

/// How far an element of a norm's output may be off, relative to it: the sum of squares of `n` elements and its root on both sides,
/// and a last bit of the prover's precision that falls the other way twice.
pub(super) fn of_norm(n: usize, rounding: Rounding) -> f64 {
    gamma(n + 8, U_PROVER) + emulated(rounding)
}

/// The same for silu(gate) * up, both exact: the exponential, the quotient and the products on both sides.
pub(super) fn of_gated(rounding: Rounding) -> f64 {
    gamma(24, U_PROVER) + emulated(rounding)
}

/// How far an element of attention's output may be off, relative to the largest |v| that it averages: scores off by
/// `score_error` each (in absolute terms, before the exponential) over `positions`, and sums.
pub(super) fn of_attention(score_error: f64, positions: usize, rounding: Rounding) -> f64 {
    (2.0 * score_error).exp_m1()
        + gamma(2 * positions + 32, U_PROVER)
        + emulated(rounding)
        + rounding.unit()
}

/// How far a score q.k / sqrt(d) may be off: the sum of d products, the rotation, and a prover that keeps rotated q and k, and the
/// score itself, in its own precision. `norms` is |q||k| / sqrt(d), which no score exceeds.
pub(super) fn of_score(head_dim: usize, norms: f64, rounding: Rounding) -> f64 {
    let rotation = match rounding {
        Rounding::Keep => gamma(8, U_PROVER),
        // Angles, products and sum are each rounded; emulated, but any of them may fall the other way.
        other => 6.0 * other.unit(),
    };
    (gamma(head_dim + 4, U_PROVER) + 2.0 * rotation) * norms
}

/// Where the prover's precision is emulated, a value near a tie may be rounded the other way: one unit each way, twice.
fn emulated(rounding: Rounding) -> f64 {
    match rounding {
        Rounding::Keep => 0.0,
        other => 4.0 * other.unit(),
    }
}

/// How far h' = (h + o) + d may be off, element by element, given exact h, o and d: each side rounds both sums, and the biases of o
/// and d where there are any. `sums` is the magnitudes of all those sums together.
pub(super) fn of_sums(sums: f64, rounding: Rounding) -> f64 {
    2.001 * rounding.unit().max(U_PROVER) * sums + f64::from(f32::MIN_POSITIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gamma_grows_and_then_says_nothing() {
        assert!((gamma(1, U_OWN) - U_OWN).abs() < 1e-14);
        assert!(gamma(4096, U_PROVER) > 4096.0 * U_PROVER);
        assert_eq!(gamma(1 << 23, U_PROVER), f64::INFINITY);
    }

    #[test]
    fn coarser_provers_get_wider_bounds() {
        let bound = |how| Bound::new(4096, 4096, how, of_norm(4096, how));
        let [f32_, f16, bf16] = [Rounding::Keep, Rounding::F16, Rounding::Bf16].map(bound);
        assert!(f32_.output < f16.output && f16.output < bf16.output);
        assert!(f32_.magnitude < f16.magnitude && f16.magnitude < bf16.magnitude);
    }
}
