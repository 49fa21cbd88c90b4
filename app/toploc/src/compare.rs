//! A proof against a verifier's own activations.

use serde::Serialize;

use crate::error::ToplocError;
use crate::proof::Proof;
use crate::top::split;

/// How a chunk compares.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Compared {
    /// Activations compared.
    pub n: usize,
    /// Different exponents.
    pub exponent_mismatches: usize,
    /// Equal exponents, other sign: the package does not look at signs, so that it takes the negative of every activation.
    pub sign_mismatches: usize,
    /// Mean difference of mantissas (of 7 bits) where exponents agree; 2^64 where none does, as in the package.
    pub mantissa_mean: f64,
    /// Median of the same, the upper one of two, as in the package's C++.
    pub mantissa_median: f64,
    /// Activations that tie for the last places, and how many of these places there are. Which are taken is settled in the proof's favour.
    pub tied: usize,
    /// See `tied`.
    pub tied_places: usize,
    /// Own indices that the proof's modulus cannot tell apart.
    pub folded: usize,
}

/// What a chunk may show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Thresholds {
    /// Most different exponents, of 128.
    pub exponent_mismatches: usize,
    /// Largest mean.
    pub mantissa_mean: f64,
    /// Largest median.
    pub mantissa_median: f64,
}

impl Thresholds {
    /// TOPLOC's own (arXiv:2501.16007 and the package's validation script: at least 90 of 128 exponents, mean at most 10, median at
    /// most 8). Theirs, measured on their models and GPUs; nothing here confirms them.
    pub const PUBLISHED: Self = Self {
        exponent_mismatches: 38,
        mantissa_mean: 10.0,
        mantissa_median: 8.0,
    };

    /// Whether a chunk stays within them as TOPLOC judges: signs left out.
    pub fn admit(&self, compared: &Compared) -> bool {
        self.admit_exponents(compared.exponent_mismatches, compared)
    }

    /// The same with a wrong sign counted as a wrong exponent.
    pub fn admit_signed(&self, compared: &Compared) -> bool {
        self.admit_exponents(
            compared.exponent_mismatches + compared.sign_mismatches,
            compared,
        )
    }

    fn admit_exponents(&self, mismatches: usize, compared: &Compared) -> bool {
        // The limit is a share of 128; a chunk of fewer activations has fewer to miss.
        let most = self.exponent_mismatches * compared.n.min(128) / 128;
        compared.n > 0
            && mismatches <= most
            && compared.mantissa_mean <= self.mantissa_mean
            && compared.mantissa_median <= self.mantissa_median
    }
}

/// Compares at the `top` largest activations of `chunk` (bf16 bits).
pub fn compare(proof: &Proof, chunk: &[u16], top: usize) -> Result<Compared, ToplocError> {
    proof.check_modulus(chunk.len())?;
    let (mut taken, mut tied, places) = split(chunk, top);
    let at = |index: &usize| chunk.get(*index).copied().unwrap_or_default();
    let n_tied = tied.len();
    if n_tied > places {
        // A prover's torch may have taken any of these: those that fit its polynomial best are what it took.
        tied.sort_by_key(|index| distance(proof.value(*index), at(index)));
        tied.truncate(places);
    }
    taken.extend(tied);
    let mut compared = Compared {
        n: taken.len(),
        exponent_mismatches: 0,
        sign_mismatches: 0,
        mantissa_mean: 0.0,
        mantissa_median: 0.0,
        tied: if n_tied > places { n_tied } else { 0 },
        tied_places: if n_tied > places { places } else { 0 },
        folded: folded(&taken, proof.modulus()),
    };
    let mut mantissas = Vec::with_capacity(taken.len());
    for index in &taken {
        let (theirs, own) = (proof.value(*index), at(index));
        if (theirs ^ own) & 0x7f80 != 0 {
            compared.exponent_mismatches += 1;
            continue;
        }
        compared.sign_mismatches += usize::from((theirs ^ own) & 0x8000 != 0);
        mantissas.push((theirs & 0x7f).abs_diff(own & 0x7f));
    }
    mantissas.sort_unstable();
    match mantissas.get(mantissas.len() / 2) {
        Some(median) => {
            let sum: u32 = mantissas.iter().copied().map(u32::from).sum();
            compared.mantissa_mean = f64::from(sum) / mantissas.len() as f64;
            compared.mantissa_median = f64::from(*median);
        }
        None => {
            compared.mantissa_mean = 2f64.powi(64);
            compared.mantissa_median = 2f64.powi(64);
        }
    }
    Ok(compared)
}

/// Other exponent, then other mantissa, then other sign: smaller fits better.
fn distance(a: u16, b: u16) -> (bool, u16, bool) {
    let apart = a ^ b;
    (
        apart & 0x7f80 != 0,
        (a & 0x7f).abs_diff(b & 0x7f),
        apart & 0x8000 != 0,
    )
}

fn folded(indices: &[usize], modulus: u16) -> usize {
    let mut reduced: Vec<usize> = indices.iter().map(|i| i % usize::from(modulus)).collect();
    reduced.sort_unstable();
    reduced.dedup();
    indices.len() - reduced.len()
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
