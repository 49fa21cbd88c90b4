//! Intervals from Student's t.

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Confidence of all intervals.
pub const CONFIDENCE: f64 = 0.95;

/// Mean of independent values (trainings from several seeds) with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Upper end of the interval of the mean; `None` from one value.
    pub high: Option<f64>,
    /// Lower end.
    pub low: Option<f64>,
    /// Mean.
    pub mean: f64,
    /// How many values.
    pub n: u32,
    /// Standard deviation of the values (n - 1); `None` from one value.
    pub sd: Option<f64>,
}

impl Estimate {
    /// Of finite values; `None` without any.
    pub fn of(values: &[f64]) -> Option<Self> {
        if values.is_empty() || values.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        let sd = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
        let half = sd.and_then(|sd| Some(t_quantile(values.len() - 1)? * sd / n.sqrt()));
        Some(Self {
            high: half.map(|half| mean + half),
            low: half.map(|half| mean - half),
            mean,
            n: values.len() as u32,
            sd,
        })
    }
}

/// The quantile that leaves half of 1 - [`CONFIDENCE`] above it.
pub(crate) fn t_quantile(freedom: usize) -> Option<f64> {
    let t = StudentsT::new(0.0, 1.0, freedom as f64).ok()?;
    Some(t.inverse_cdf(0.5 + CONFIDENCE / 2.0)).filter(|q| q.is_finite())
}
