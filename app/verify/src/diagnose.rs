//! What a failing hidden state looks like, as a stable code. The limits decide; this only names.
//!
//! Evidence is gathered row by row while the verifier's own rows stream by. Only a bounded sample of own rows is kept (to ask
//! whether a row belongs to another position), so memory does not grow with the trace.

use assay_trace::StateDtype;

use crate::statistics::{self, RowComparison};

/// Hidden states of which own rows are kept.
const KEPT_LAYERS: usize = 8;
/// Positions of which own rows are kept.
const KEPT_POSITIONS: usize = 256;
/// A row that is this much nearer to another position's own row is out of order.
const ORDER_FACTOR: f64 = 0.25;
/// Lower precision keeps rows this near. Measured: int4 with groups moves deep rows by 0.1 to 0.3.
const PRECISION_REL_L2: f64 = 0.35;
/// Fraction of rows that must look alike for a name to fit.
const MOST: f64 = 0.8;

/// A row beyond its limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FailedRow {
    /// Hidden state.
    pub layer: u32,
    /// Position.
    pub position: usize,
    /// Its distance.
    pub rel_l2: f64,
    /// The limit there.
    pub limit: f64,
}

/// Everything that failing rows have in common.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Rows compared, without hidden state 0.
    compared: usize,
    failed: usize,
    constant: usize,
    sign: usize,
    near: usize,
    first: Option<FailedRow>,
    worst: Option<FailedRow>,
    /// Failed rows as the prover stored them, of kept layers and positions.
    suspects: Vec<(FailedRow, Vec<f32>)>,
    kept: Vec<KeptLayer>,
}

#[derive(Debug)]
struct KeptLayer {
    layer: u32,
    /// By position.
    rows: Vec<Vec<f32>>,
}

/// What the evidence comes to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Diagnosis {
    /// The stable word.
    pub code: &'static str,
    /// What it means, for people.
    pub meaning: &'static str,
    /// First failing row.
    pub first: FailedRow,
    /// The one furthest beyond its limit.
    pub worst: FailedRow,
    /// Rows beyond their limit.
    pub failed: usize,
    /// Rows compared.
    pub compared: usize,
}

impl Evidence {
    /// Adds a compared row of a hidden state other than the embedding. Without a `limit` nothing can fail.
    pub fn add(
        &mut self,
        layer: u32,
        position: usize,
        p: &[f32],
        v: &[f32],
        row: &RowComparison,
        limit: Option<f64>,
    ) {
        self.compared += 1;
        self.keep(layer, position, v);
        let Some(limit) = limit else { return };
        if row.rel_l2 <= limit {
            return;
        }
        let failed = FailedRow {
            layer,
            position,
            rel_l2: row.rel_l2,
            limit,
        };
        self.failed += 1;
        self.constant += usize::from(row.is_constant);
        self.sign += usize::from(row.cosine < -0.9);
        self.near += usize::from(row.rel_l2 < PRECISION_REL_L2 && row.cosine > 0.9);
        self.first.get_or_insert(failed);
        let times = |row: FailedRow| row.rel_l2 / row.limit.max(f64::MIN_POSITIVE);
        if self.worst.is_none_or(|worst| times(failed) > times(worst)) {
            self.worst = Some(failed);
        }
        if position < KEPT_POSITIONS && self.kept.iter().any(|kept| kept.layer == layer) {
            self.suspects.push((failed, p.to_vec()));
        }
    }

    fn keep(&mut self, layer: u32, position: usize, v: &[f32]) {
        if position >= KEPT_POSITIONS {
            return;
        }
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.layer == layer) {
            kept.rows.push(v.to_vec());
        } else if self.kept.len() < KEPT_LAYERS {
            self.kept.push(KeptLayer {
                layer,
                rows: vec![v.to_vec()],
            });
        }
    }

    /// Rows compared, without hidden state 0.
    pub fn compared(&self) -> usize {
        self.compared
    }

    /// Whether a row lies beyond its limit.
    pub fn has_failed(&self) -> bool {
        self.failed > 0
    }

    /// A name for what failed; `None` if nothing did.
    pub fn diagnose(&self, dtype: StateDtype) -> Option<Diagnosis> {
        let (first, worst) = (self.first?, self.worst?);
        let most = |count: usize, of: usize| count as f64 >= MOST * of.max(1) as f64;
        let (code, meaning) = if most(self.constant, self.failed) {
            ("state-degenerate", "rows are constant, as no model's are")
        } else if most(self.sign, self.failed) {
            ("state-sign", "rows are the negatives of the verifier's own")
        } else if self.is_out_of_order(dtype) {
            ("state-order", "rows are those of other positions")
        } else if most(self.near, self.failed) && most(self.failed, self.compared) {
            (
                "state-precision",
                "every position is near, none is near enough: lower precision, or a near variant of the model",
            )
        } else {
            (
                "state-mismatch",
                "rows are not those of this model on these tokens",
            )
        };
        Some(Diagnosis {
            code,
            meaning,
            first,
            worst,
            failed: self.failed,
            compared: self.compared,
        })
    }

    /// Whether half of the suspects lie far nearer to another position's own row than to theirs.
    fn is_out_of_order(&self, dtype: StateDtype) -> bool {
        // A sample keeps this below a few hundred million operations.
        let step = self.suspects.len().div_ceil(64).max(1);
        let sample: Vec<_> = self.suspects.iter().step_by(step).collect();
        let elsewhere = |(failed, p): &&&(FailedRow, Vec<f32>)| {
            self.kept
                .iter()
                .filter(|kept| kept.layer == failed.layer)
                .any(|kept| {
                    kept.rows.iter().enumerate().any(|(position, v)| {
                        position != failed.position
                            && statistics::rel_l2(p, v, dtype) < ORDER_FACTOR * failed.rel_l2
                    })
                })
        };
        !sample.is_empty() && 2 * sample.iter().filter(elsewhere).count() >= sample.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Own rows at eight positions of one layer, each in its own direction.
    fn own() -> Vec<Vec<f32>> {
        (0..8)
            .map(|position| {
                (0..64)
                    .map(|i| ((i * 7 + position * 13) as f32 * 0.37).sin() + 0.05)
                    .collect()
            })
            .collect()
    }

    fn named(rows: &[Vec<f32>]) -> Option<&'static str> {
        let mut evidence = Evidence::default();
        for (position, (p, v)) in rows.iter().zip(&own()).enumerate() {
            let row = statistics::compare_row(p, v, v, StateDtype::F32);
            evidence.add(4, position, p, v, &row, Some(1e-4));
        }
        evidence
            .diagnose(StateDtype::F32)
            .map(|diagnosis| diagnosis.code)
    }

    fn changed(change: impl Fn(usize, f32) -> f32) -> Vec<Vec<f32>> {
        own()
            .into_iter()
            .map(|row| {
                row.into_iter()
                    .enumerate()
                    .map(|(i, x)| change(i, x))
                    .collect()
            })
            .collect()
    }

    #[test]
    fn each_forgery_has_its_name() {
        assert_eq!(named(&own()), None);
        assert_eq!(named(&changed(|_, x| x * (1.0 + 1e-6))), None);
        assert_eq!(named(&changed(|_, _| 0.0)), Some("state-degenerate"));
        assert_eq!(named(&changed(|_, _| 3.0)), Some("state-degenerate"));
        assert_eq!(named(&changed(|_, x| -x)), Some("state-sign"));
        assert_eq!(
            named(&changed(|i, x| x + 0.01 * ((i * 31 % 7) as f32 - 3.0))),
            Some("state-precision")
        );
        assert_eq!(
            named(&changed(|i, _| ((i * i) as f32).cos())),
            Some("state-mismatch")
        );
        let mut rotated = own();
        rotated.rotate_left(3);
        assert_eq!(named(&rotated), Some("state-order"));
    }

    #[test]
    fn one_bad_row_is_a_mismatch_with_its_place() {
        let mut rows = own();
        rows[5][0] += 0.01;
        let mut evidence = Evidence::default();
        for (position, (p, v)) in rows.iter().zip(&own()).enumerate() {
            evidence.add(
                4,
                position,
                p,
                v,
                &statistics::compare_row(p, v, v, StateDtype::F32),
                Some(1e-4),
            );
        }
        let diagnosis = evidence.diagnose(StateDtype::F32).unwrap();
        assert_eq!(
            (diagnosis.code, diagnosis.failed, diagnosis.compared),
            ("state-mismatch", 1, 8)
        );
        assert_eq!((diagnosis.first.layer, diagnosis.first.position), (4, 5));
    }

    #[test]
    fn without_limits_nothing_fails() {
        let mut evidence = Evidence::default();
        let v = own();
        let row = statistics::compare_row(&[0.0; 64], &v[0], &v[0], StateDtype::F32);
        evidence.add(1, 0, &[0.0; 64], &v[0], &row, None);
        assert_eq!(evidence.diagnose(StateDtype::F32), None);
    }
}
