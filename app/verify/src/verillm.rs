//! VeriLLM's statistics of one pair of rows, by both of its rules; they are reported and never decide a verdict.
//!
//! The published reproduction and the paper disagree, so both are here under their names ([`Rule`]):
//!
//! - the reproduction counts over *all* elements with absolute tolerances, takes the unsigned mean error, and its middle rule
//!   (mean and Pe alone) is implied by its last one, so that Pm and Pw never decide;
//! - the paper conditions Pm on elements whose exponents differ and Pw on those whose exponents agree, takes the signed mean,
//!   and wants all four. Its two tolerances are not published: the reproduction's stand in for them.

use serde::Serialize;

/// Above this absolute difference a deviation is large (the reproduction's number).
pub const LARGE: f32 = 1e-5;
/// Below this absolute difference a deviation is small (the reproduction's number).
pub const SMALL: f32 = 1e-7;
/// Border of the classes of elements with equal exponents.
pub const EQUAL_BORDER: f32 = 0.2;
/// Border of the classes of elements with different exponents.
pub const DIFFER_BORDER: f32 = 5.0;

/// Which of the two published rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Rule {
    /// The reproduction: mean < 1e-6, or mean < 0.01 and Pe < 0.05, or the four together.
    Repo,
    /// The paper: Pe < 0.05, Pm > 0.75, Pw > 0.80, |signed mean| <= 0.01.
    Paper,
}

/// The numbers of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    /// Most exponent mismatches, as a fraction.
    pub pe: f64,
    /// Least large deviations.
    pub pm: f64,
    /// Least small deviations.
    pub pw: f64,
    /// Largest mean error.
    pub mean: f64,
}

impl Rule {
    /// The thresholds as published.
    pub fn thresholds(self) -> Thresholds {
        match self {
            Self::Repo => Thresholds {
                pe: 0.05,
                pm: 0.75,
                pw: 0.5,
                mean: 0.01,
            },
            Self::Paper => Thresholds {
                pe: 0.05,
                pm: 0.75,
                pw: 0.8,
                mean: 0.01,
            },
        }
    }
}

/// Counts of elements by size of the difference.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Classes {
    /// No difference.
    pub exact: usize,
    /// "Match", at most (conditioned: below) 0.2.
    pub match_small: usize,
    /// "Match", beyond it.
    pub match_large: usize,
    /// "Mismatch", at most (conditioned: below) 5.
    pub mismatch_small: usize,
    /// "Mismatch", beyond it.
    pub mismatch_large: usize,
}

/// The statistics of one pair of rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct VeriLlm {
    /// Elements.
    pub n: usize,
    /// Fraction whose 8-bit exponents differ.
    pub pe: f64,
    /// Fraction of all elements that deviate by more than [`LARGE`].
    pub pm: f64,
    /// Fraction of all elements that deviate by less than [`SMALL`].
    pub pw: f64,
    /// Mean of |prover - verifier|.
    pub mean_error: f64,
    /// Largest |prover - verifier|.
    pub max_error: f64,
    /// Mean of prover - verifier.
    pub signed_mean: f64,
    /// [`Self::pm`] among elements whose exponents differ; 1 where there are none.
    pub pm_mismatched: f64,
    /// [`Self::pw`] among elements whose exponents agree; 1 where there are none.
    pub pw_matched: f64,
    /// The reproduction's classes. Its words "match" and "mismatch" are by size alone: 0 < d <= 0.2 and d > 0.2 are its
    /// match classes, 0.2 < d <= 5 and d > 5 its mismatch classes, so an element may be in two.
    pub repo_classes: Classes,
    /// The paper's classes, by whether the exponents are equal.
    pub paper_classes: Classes,
}

fn exponent(x: f32) -> u32 {
    (x.to_bits() & 0x7F80_0000) >> 23
}

/// Compares two rows element by element; what the longer one has beyond the other is ignored.
pub fn compare(prover: &[f32], verifier: &[f32]) -> VeriLlm {
    let mut s = VeriLlm::default();
    let (mut mismatched, mut large, mut small, mut large_mismatched, mut small_matched) =
        (0, 0, 0, 0, 0);
    let (mut sum, mut signed) = (0.0, 0.0);
    for (&p, &v) in prover.iter().zip(verifier) {
        s.n += 1;
        let differ = exponent(p) != exponent(v);
        let d = (p - v).abs();
        mismatched += usize::from(differ);
        large += usize::from(d > LARGE);
        small += usize::from(d < SMALL);
        large_mismatched += usize::from(differ && d > LARGE);
        small_matched += usize::from(!differ && d < SMALL);
        sum += f64::from(d);
        signed += f64::from(p) - f64::from(v);
        s.max_error = s.max_error.max(f64::from(d));
        count(&mut s.repo_classes, &mut s.paper_classes, d, differ);
    }
    let of = |count: usize, n: usize, empty: f64| {
        if n == 0 {
            empty
        } else {
            count as f64 / n as f64
        }
    };
    s.pe = of(mismatched, s.n, 0.0);
    s.pm = of(large, s.n, 0.0);
    s.pw = of(small, s.n, 0.0);
    s.pm_mismatched = of(large_mismatched, mismatched, 1.0);
    s.pw_matched = of(small_matched, s.n - mismatched, 1.0);
    s.mean_error = sum / s.n.max(1) as f64;
    s.signed_mean = signed / s.n.max(1) as f64;
    s
}

fn count(repo: &mut Classes, paper: &mut Classes, d: f32, differ: bool) {
    if d == 0.0 {
        repo.exact += 1;
        paper.exact += 1;
        return;
    }
    repo.match_small += usize::from(d <= EQUAL_BORDER);
    repo.match_large += usize::from(d > EQUAL_BORDER);
    repo.mismatch_small += usize::from(d > EQUAL_BORDER && d <= DIFFER_BORDER);
    repo.mismatch_large += usize::from(d > DIFFER_BORDER);
    match differ {
        false if d < EQUAL_BORDER => paper.match_small += 1,
        false => paper.match_large += 1,
        true if d < DIFFER_BORDER => paper.mismatch_small += 1,
        true => paper.mismatch_large += 1,
    }
}

impl VeriLlm {
    /// What `rule` would say of this pair.
    pub fn is_accepted_by(&self, rule: Rule) -> bool {
        self.is_accepted_with(rule, rule.thresholds())
    }

    /// The same with other thresholds than the published ones.
    pub fn is_accepted_with(&self, rule: Rule, limit: Thresholds) -> bool {
        match rule {
            Rule::Repo => {
                // Its third alternative, all four statistics together, implies the second: Pm and Pw never decide.
                self.mean_error < 1e-6 || self.mean_error < limit.mean && self.pe < limit.pe
            }
            Rule::Paper => {
                self.pe < limit.pe
                    && self.pm_mismatched > limit.pm
                    && self.pw_matched > limit.pw
                    && self.signed_mean.abs() <= limit.mean
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_rows_are_accepted_by_both() {
        let s = compare(&[1.0, -2.0, 0.5], &[1.0, -2.0, 0.5]);
        assert_eq!(
            (s.n, s.pe, s.pm, s.pw, s.repo_classes.exact),
            (3, 0.0, 0.0, 1.0, 3)
        );
        assert!(s.is_accepted_by(Rule::Repo) && s.is_accepted_by(Rule::Paper));
    }

    #[test]
    fn classes_are_conditioned_only_for_the_paper() {
        // Exponents: equal, equal, differ, differ.
        let s = compare(&[1.0, 1.9, 0.9, 20.0], &[1.1, 1.0, 1.0, 1.0]);
        assert_eq!(
            s.paper_classes,
            Classes {
                exact: 0,
                match_small: 1,
                match_large: 1,
                mismatch_small: 1,
                mismatch_large: 1
            }
        );
        assert_eq!(
            s.repo_classes,
            Classes {
                exact: 0,
                match_small: 2,
                match_large: 2,
                mismatch_small: 1,
                mismatch_large: 1
            }
        );
        assert_eq!(s.pe, 0.5);
    }

    #[test]
    fn signed_errors_cancel_where_unsigned_do_not() {
        let s = compare(&[1.5, 1.0], &[1.25, 1.25]);
        assert_eq!((s.signed_mean, s.mean_error), (0.0, 0.25));
    }

    #[test]
    fn empty_rows_have_no_nan() {
        let s = compare(&[], &[]);
        assert!(s.pe == 0.0 && s.mean_error == 0.0 && s.pw_matched == 1.0);
    }

    /// The seed's own numbers on the same vectors.
    #[test]
    fn statistics_equal_those_of_the_reproduction() {
        let folder = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../../shared/data/verillm-statistics"
        );
        let (Ok(expected), Ok(vectors)) = (
            std::fs::read(format!("{folder}/expected.json")),
            std::fs::read(format!("{folder}/vectors.safetensors")),
        ) else {
            println!("skipped: ../shared/data/verillm-statistics is absent");
            return;
        };
        let expected: serde_json::Value = serde_json::from_slice(&expected).unwrap();
        for case in expected.as_array().unwrap() {
            let name = case["case"].as_str().unwrap();
            let (p, v) = (
                tensor(&vectors, &format!("{name}.prover")),
                tensor(&vectors, &format!("{name}.verifier")),
            );
            let s = compare(&p, &v);
            let want = &case["statistics"];
            let c = s.repo_classes;
            let counts = [
                (c.exact, "exact_match"),
                (c.match_small, "exp_match_small"),
                (c.match_large, "exp_match_large"),
                (c.mismatch_small, "exp_mismatch_small"),
                (c.mismatch_large, "exp_mismatch_large"),
            ];
            counts.iter().for_each(|(got, key)| {
                assert_eq!(*got as u64, want[key].as_u64().unwrap(), "{name} {key}");
            });
            for (got, key) in [
                (s.pe, "Pe"),
                (s.pm, "Pm"),
                (s.pw, "Pw"),
                (s.max_error, "max_error"),
            ] {
                assert!(
                    (got - want[key].as_f64().unwrap()).abs() < 1e-12,
                    "{name} {key}: {got}"
                );
            }
            // Their mean is summed in f32.
            let mean = want["mean_error"].as_f64().unwrap();
            assert!(
                (s.mean_error - mean).abs() <= 1e-5 * mean,
                "{name} mean: {} {mean}",
                s.mean_error
            );
            assert_eq!(
                s.is_accepted_by(Rule::Repo),
                case["accepted"].as_bool().unwrap(),
                "{name}"
            );
        }
    }

    fn tensor(file: &[u8], name: &str) -> Vec<f32> {
        let n = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let header: serde_json::Value = serde_json::from_slice(&file[8..8 + n]).unwrap();
        let at = |i: usize| header[name]["data_offsets"][i].as_u64().unwrap() as usize + 8 + n;
        file[at(0)..at(1)]
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }
}
