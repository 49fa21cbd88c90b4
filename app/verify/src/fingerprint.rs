//! TOPLOC's comparison of the largest activations, with the sign that it leaves out; reported, never deciding.
//!
//! Both rows are rounded to bf16. At the indices of the verifier's own k largest magnitudes (ties to the lower index) the
//! exponents must agree; where they do, mantissas (7 bits) are compared. TOPLOC accepts at most 38 of 128 exponent mismatches,
//! mean <= 10 and median <= 8: a row with every sign flipped passes, hence [`Fingerprint::sign_mismatches`].

use half::bf16;
use serde::Serialize;

/// Activations in a fingerprint.
pub const TOP: usize = 128;

/// How the largest activations compare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Fingerprint {
    /// Activations compared.
    pub n: usize,
    /// Different exponents.
    pub exponent_mismatches: usize,
    /// Mean mantissa difference where exponents agree.
    pub mantissa_mean: f64,
    /// Median of the same (the upper one of two).
    pub mantissa_median: u16,
    /// Different signs, whatever the exponents.
    pub sign_mismatches: usize,
}

/// Compares at the verifier's `TOP` largest elements.
pub fn compare(prover: &[f32], verifier: &[f32]) -> Fingerprint {
    let bits = |x: f32| bf16::from_f32(x).to_bits();
    let mut own: Vec<(u16, usize)> = verifier
        .iter()
        .zip(0..prover.len())
        .map(|(&x, at)| (bits(x), at))
        .collect();
    let larger_first = |a: &(u16, usize), b: &(u16, usize)| {
        (b.0 & 0x7fff).cmp(&(a.0 & 0x7fff)).then(a.1.cmp(&b.1))
    };
    if own.len() > TOP {
        own.select_nth_unstable_by(TOP, larger_first);
        own.truncate(TOP);
    }
    let mut result = Fingerprint {
        n: own.len(),
        ..Fingerprint::default()
    };
    let mut mantissas = Vec::with_capacity(own.len());
    for (v, at) in own {
        let p = bits(prover.get(at).copied().unwrap_or_default());
        result.sign_mismatches += usize::from((p ^ v) & 0x8000 != 0);
        if (p ^ v) & 0x7f80 == 0 {
            mantissas.push((p & 0x7f).abs_diff(v & 0x7f));
        } else {
            result.exponent_mismatches += 1;
        }
    }
    mantissas.sort_unstable();
    let sum: u32 = mantissas.iter().copied().map(u32::from).sum();
    result.mantissa_mean = f64::from(sum) / mantissas.len().max(1) as f64;
    result.mantissa_median = mantissas
        .get(mantissas.len() / 2)
        .copied()
        .unwrap_or_default();
    result
}

impl Fingerprint {
    /// TOPLOC's own thresholds, in proportion where there are fewer than 128 activations. Blind to signs, as published.
    pub fn is_accepted_by_toploc(&self) -> bool {
        self.exponent_mismatches * 128 <= 38 * self.n
            && self.mantissa_mean <= 10.0
            && self.mantissa_median <= 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize) -> Vec<f32> {
        (0..n)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0 + 0.01)
            .collect()
    }

    #[test]
    fn equal_rows_agree() {
        let f = compare(&row(500), &row(500));
        assert_eq!(
            f,
            Fingerprint {
                n: 128,
                ..Fingerprint::default()
            }
        );
        assert!(f.is_accepted_by_toploc());
    }

    #[test]
    fn flipped_signs_pass_toploc_and_are_counted_here() {
        let flipped: Vec<f32> = row(500).iter().map(|x| -x).collect();
        let f = compare(&flipped, &row(500));
        assert!(f.is_accepted_by_toploc());
        assert_eq!(f.sign_mismatches, 128);
    }

    #[test]
    fn zeros_differ_in_every_exponent() {
        let f = compare(&[0.0; 500], &row(500));
        assert_eq!((f.n, f.exponent_mismatches), (128, 128));
        assert!(!f.is_accepted_by_toploc());
    }

    #[test]
    fn short_and_unequal_rows_are_no_trouble() {
        assert_eq!(compare(&[], &[]).n, 0);
        assert_eq!(compare(&[1.0], &[1.0, 2.0]).n, 1);
        assert_eq!(compare(&row(20), &row(20)).n, 20);
    }

    #[test]
    fn one_mantissa_step_is_one() {
        let v = [1.0f32; 3];
        let p = [1.0 + 1.0 / 128.0, 1.0, 1.0];
        let f = compare(&p, &v);
        assert_eq!((f.mantissa_mean, f.mantissa_median), (1.0 / 3.0, 0));
    }
}
