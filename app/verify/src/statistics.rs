//! How one committed hidden state differs from the verifier's own, and what a layer's rows come to.
//!
//! The deciding number is [`RowComparison::rel_l2`]: the distance from the verifier's f32 row to the nearest row that the
//! prover's stored values could have been rounded from, over the norm of the verifier's. So rounding to bf16 or f16 for
//! storage costs an honest prover nothing, and one limit serves every state dtype.

use assay_trace::StateDtype;
use serde::{Deserialize, Serialize};

use crate::fingerprint::{self, Fingerprint};
use crate::verillm::{self, Rule, VeriLlm};

/// One pair of rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowComparison {
    /// |p - v| / |v| less what storage rounding explains; see the module. `f64::MAX` where v is zero and p is not.
    pub rel_l2: f64,
    /// Cosine of the angle between the rows; 0 where one is zero.
    pub cosine: f64,
    /// Largest |p - v| as stored.
    pub max_abs: f64,
    /// Whether every element of p is the same (zero, say).
    pub is_constant: bool,
    /// VeriLLM's statistics, both rows in the state dtype.
    pub verillm: VeriLlm,
    /// The largest activations.
    pub fingerprint: Fingerprint,
}

/// Half the spacing of `dtype`'s numbers around `x`: as far as a value may lie from where it was rounded to.
fn half_ulp(x: f32, dtype: StateDtype) -> f64 {
    // Smallest exponent of a normal number and bits after the point.
    let (least, bits) = match dtype {
        StateDtype::F32 => return 0.0, // the prover's own values were f32: nothing was rounded away
        StateDtype::Bf16 => (-126, 7),
        StateDtype::F16 => (-14, 10),
    };
    let exponent = (((x.to_bits() >> 23) & 0xff) as i32 - 127).max(least);
    f64::from(2.0f32).powi(exponent - bits - 1)
}

/// Relative distance of `v` from the rows that round to `p` in `dtype`.
pub fn rel_l2(p: &[f32], v: &[f32], dtype: StateDtype) -> f64 {
    let (mut error, mut norm) = (0.0, 0.0);
    for (&p, &v) in p.iter().zip(v) {
        let gap = (f64::from(p) - f64::from(v)).abs() - half_ulp(p, dtype);
        error += gap.max(0.0).powi(2);
        norm += f64::from(v).powi(2);
    }
    relative(error, norm)
}

fn relative(error_squared: f64, norm_squared: f64) -> f64 {
    match (error_squared, norm_squared) {
        (0.0, _) => 0.0,
        (_, 0.0) => f64::MAX,
        (error, norm) => (error / norm).sqrt(),
    }
}

/// Compares the prover's decoded row `p` with the verifier's own `v` (f32) and `stored`, which is `v` rounded to `dtype`.
pub fn compare_row(p: &[f32], v: &[f32], stored: &[f32], dtype: StateDtype) -> RowComparison {
    let (mut dot, mut pp, mut vv) = (0.0, 0.0, 0.0);
    for (&p, &v) in p.iter().zip(v) {
        let (p, v) = (f64::from(p), f64::from(v));
        dot += p * v;
        pp += p * p;
        vv += v * v;
    }
    let norms = (pp * vv).sqrt();
    let verillm = verillm::compare(p, stored);
    RowComparison {
        rel_l2: rel_l2(p, v, dtype),
        cosine: if norms > 0.0 { dot / norms } else { 0.0 },
        max_abs: verillm.max_error,
        is_constant: p.windows(2).all(|pair| pair.first() == pair.last()),
        verillm,
        fingerprint: fingerprint::compare(p, stored),
    }
}

/// What the rows of one layer come to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerStatistics {
    /// Index of the hidden state; 0 is the embedding, which matches whenever the tokens do.
    pub layer: u32,
    /// Rows compared.
    pub rows: usize,
    /// Rows whose committed digest equals that of the verifier's own row.
    pub exact_rows: usize,
    /// Largest relative L2 distance.
    pub rel_l2_max: f64,
    /// Its mean.
    pub rel_l2_mean: f64,
    /// Smallest cosine.
    pub cosine_min: f64,
    /// Largest |p - v|.
    pub max_abs: f64,
    /// VeriLLM, mean over rows: exponent mismatches.
    pub pe: f64,
    /// VeriLLM, the reproduction's: deviations above 1e-5, of all elements.
    pub pm: f64,
    /// VeriLLM, the reproduction's: deviations below 1e-7, of all elements.
    pub pw: f64,
    /// VeriLLM, the paper's: Pm among elements with different exponents.
    pub pm_mismatched: f64,
    /// VeriLLM, the paper's: Pw among elements with equal exponents.
    pub pw_matched: f64,
    /// Mean of |p - v|.
    pub mean_error: f64,
    /// Mean of p - v.
    pub signed_mean: f64,
    /// Rows that the reproduction's rule accepts, as a fraction.
    pub accept_repo: f64,
    /// Rows that the paper's rule accepts, as a fraction.
    pub accept_paper: f64,
    /// Exponent mismatches among the largest activations, as a fraction (TOPLOC).
    pub top_exponent_mismatch: f64,
    /// Mean mantissa difference among them, bf16 steps (TOPLOC).
    pub top_mantissa_mean: f64,
    /// Sign mismatches among them, as a fraction (not in TOPLOC).
    pub top_sign_mismatch: f64,
}

/// Sums of one layer's rows.
#[derive(Debug, Clone, Default)]
pub struct LayerSums {
    sums: LayerStatistics,
    accepted: [usize; 2],
    top: usize,
}

impl LayerSums {
    /// Adds a row.
    pub fn add(&mut self, row: &RowComparison) {
        let s = &mut self.sums;
        s.cosine_min = if s.rows == 0 {
            row.cosine
        } else {
            s.cosine_min.min(row.cosine)
        };
        s.rows += 1;
        s.rel_l2_max = s.rel_l2_max.max(row.rel_l2);
        s.rel_l2_mean += row.rel_l2;
        s.max_abs = s.max_abs.max(row.max_abs);
        let VeriLlm {
            pe,
            pm,
            pw,
            pm_mismatched,
            pw_matched,
            mean_error,
            signed_mean,
            ..
        } = row.verillm;
        s.pe += pe;
        s.pm += pm;
        s.pw += pw;
        s.pm_mismatched += pm_mismatched;
        s.pw_matched += pw_matched;
        s.mean_error += mean_error;
        s.signed_mean += signed_mean;
        for (accepted, rule) in self.accepted.iter_mut().zip([Rule::Repo, Rule::Paper]) {
            *accepted += usize::from(row.verillm.is_accepted_by(rule));
        }
        self.top += row.fingerprint.n;
        s.top_exponent_mismatch += row.fingerprint.exponent_mismatches as f64;
        s.top_sign_mismatch += row.fingerprint.sign_mismatches as f64;
        s.top_mantissa_mean += row.fingerprint.mantissa_mean;
    }

    /// Rows added.
    pub fn rows(&self) -> usize {
        self.sums.rows
    }

    /// Rows accepted by the reproduction's and by the paper's rule.
    pub fn accepted(&self) -> [usize; 2] {
        self.accepted
    }

    /// The layer's statistics.
    pub fn finish(&self, layer: u32, exact_rows: usize) -> LayerStatistics {
        let n = self.sums.rows.max(1) as f64;
        let top = self.top.max(1) as f64;
        let s = &self.sums;
        let [repo, paper] = self.accepted.map(|accepted| accepted as f64 / n);
        LayerStatistics {
            layer,
            rows: s.rows,
            exact_rows,
            rel_l2_max: s.rel_l2_max,
            rel_l2_mean: s.rel_l2_mean / n,
            cosine_min: s.cosine_min,
            max_abs: s.max_abs,
            pe: s.pe / n,
            pm: s.pm / n,
            pw: s.pw / n,
            pm_mismatched: s.pm_mismatched / n,
            pw_matched: s.pw_matched / n,
            mean_error: s.mean_error / n,
            signed_mean: s.signed_mean / n,
            accept_repo: repo,
            accept_paper: paper,
            top_exponent_mismatch: s.top_exponent_mismatch / top,
            top_mantissa_mean: s.top_mantissa_mean / n,
            top_sign_mismatch: s.top_sign_mismatch / top,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(v: &[f32], dtype: StateDtype) -> Vec<f32> {
        dtype.decode(&dtype.encode(v))
    }

    #[test]
    fn distance_is_relative_and_exact_in_f32() {
        assert_eq!(rel_l2(&[3.0, 4.0], &[3.0, 4.0], StateDtype::F32), 0.0);
        assert!((rel_l2(&[3.0, 5.0], &[3.0, 4.0], StateDtype::F32) - 0.2).abs() < 1e-12);
        assert_eq!(rel_l2(&[0.0, 0.0], &[3.0, 4.0], StateDtype::F32), 1.0);
        assert_eq!(rel_l2(&[1.0], &[0.0], StateDtype::F32), f64::MAX);
        assert_eq!(rel_l2(&[0.0], &[0.0], StateDtype::F32), 0.0);
    }

    #[test]
    fn zeros_and_flipped_signs_are_seen() {
        let v: Vec<f32> = (1..50).map(|i| i as f32 * 0.1 - 2.0).collect();
        let zero = compare_row(&[0.0; 49], &v, &v, StateDtype::F32);
        assert!(zero.is_constant && zero.rel_l2 == 1.0 && zero.cosine == 0.0);
        let flipped: Vec<f32> = v.iter().map(|x| -x).collect();
        let flip = compare_row(&flipped, &v, &v, StateDtype::F32);
        assert!((flip.cosine + 1.0).abs() < 1e-12 && (flip.rel_l2 - 2.0).abs() < 1e-12);
        assert!(flip.fingerprint.sign_mismatches > 40);
    }

    #[test]
    fn layer_rates_are_means_over_rows() {
        let v = [1.0f32, 2.0, 3.0];
        let mut sums = LayerSums::default();
        sums.add(&compare_row(&v, &v, &v, StateDtype::F32));
        sums.add(&compare_row(&[0.0; 3], &v, &v, StateDtype::F32));
        let s = sums.finish(8, 1);
        assert_eq!(
            (s.layer, s.rows, s.exact_rows, s.accept_repo, s.pe),
            (8, 2, 1, 0.5, 0.5)
        );
        assert_eq!((s.rel_l2_max, s.rel_l2_mean, s.cosine_min), (1.0, 0.5, 0.0));
    }

    proptest! {
        /// Storage rounding alone is never counted against the prover.
        #[test]
        fn rounding_for_storage_costs_nothing(v in proptest::collection::vec(-100.0f32..100.0, 1..60)) {
            for dtype in [StateDtype::Bf16, StateDtype::F16, StateDtype::F32] {
                prop_assert_eq!(rel_l2(&stored(&v, dtype), &v, dtype), 0.0);
            }
        }

        /// The distance never exceeds that of the prover's values before they were rounded.
        #[test]
        fn distance_is_at_most_the_true_one(
            v in proptest::collection::vec(-100.0f32..100.0, 1..60), noise in -1e-2f32..1e-2,
        ) {
            let h: Vec<f32> = v.iter().enumerate().map(|(i, x)| x * (1.0 + noise * (i % 3) as f32)).collect();
            let truth = rel_l2(&h, &v, StateDtype::F32);
            for dtype in [StateDtype::Bf16, StateDtype::F16] {
                prop_assert!(rel_l2(&stored(&h, dtype), &v, dtype) <= truth + 1e-12);
            }
        }
    }
}
