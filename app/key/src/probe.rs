//! Whether a projection that was computed elsewhere (a GPU, say) is right: Freivalds' method, turned on our own helper.
//!
//! For a random z the difference V·z - R·(W·z) is normal with the deviation ‖V - R·W‖ of that projection. A helper that sums in f32 is
//! off by 1e-5 of ‖W‖ at most; a faulty one, or one that rounds its inputs to 10 bits, is found. Without this a driver's fault would become a
//! key that rejects honest traces.

use crate::normals::normals;
use crate::seed::{Purpose, Seed};
use crate::sums::Factors;
use crate::{KeyError, Part};

/// The most that may be missing, as a part of ‖W‖: twelve deviations of a careless sum in f32, one of TF32's rounding.
const MOST_OFF: f64 = 1.0 / 4096.0;

/// A projection from elsewhere, with what it is tried with.
pub(crate) struct Probe {
    /// V `[K, k]`.
    pub projected: Vec<f32>,
    /// z `[k]`.
    pub z: Vec<f64>,
    /// V·z - R·(W·z) `[K]`, as far as W was read.
    rest: Vec<f64>,
}

impl Probe {
    /// For `projections` rows of `projected`.
    pub fn new(seed: &Seed, part: Part, projected: Vec<f32>, projections: usize) -> Option<Self> {
        let k = projected.len() / projections.max(1);
        let z = normals(&seed.stream(part, Purpose::Probe)?, 0, k);
        let z: Vec<f64> = z.into_iter().map(f64::from).collect();
        let dot = |row: &[f32]| row.iter().zip(&z).map(|(v, z)| f64::from(*v) * z).sum();
        let rest = projected.chunks_exact(k.max(1)).map(dot).collect();
        Some(Self { projected, z, rest })
    }

    /// Takes off R·(W·z) of the next rows, whose W·z are `dots`.
    pub fn add(&mut self, factors: &Factors, dots: &[f64]) {
        for (row, dot) in dots.iter().enumerate() {
            for (rest, factor) in self.rest.iter_mut().zip(factors.row(row)) {
                *rest -= factor * dot;
            }
        }
    }

    /// Refuses a projection that is off by more than rounding.
    pub fn check(&self, part: Part, frobenius: f64) -> Result<(), KeyError> {
        let most = MOST_OFF * frobenius;
        // A NaN is not within anything.
        if self.rest.iter().all(|rest| rest.abs() <= most) {
            return Ok(());
        }
        let off = self
            .rest
            .iter()
            .fold(0.0_f64, |off, rest| off.max(rest.abs()));
        Err(KeyError::ProjectionWrong {
            part,
            off: off / frobenius.max(f64::MIN_POSITIVE),
            most: MOST_OFF,
        })
    }
}
