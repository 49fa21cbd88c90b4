//! A proof: modulus, then coefficients, each two bytes, the larger first.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::ToplocError;
use crate::field::{self, PRIME};

/// The smallest modulus taken. The package's Python looks no further down, its C++ goes to 1, where all indices are one.
pub const LEAST_MODULUS: u16 = 1 << 15;

/// A polynomial and what indices are reduced by before it is evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    modulus: u16,
    coefficients: Vec<u16>,
}

impl Proof {
    /// Reads a proof of `top` points. The null proof of a prover in trouble has modulus 0, and is refused as any other bad modulus is.
    pub fn parse(bytes: &[u8], top: usize) -> Result<Self, ToplocError> {
        let (pairs, rest) = bytes.as_chunks::<2>();
        let [modulus, coefficients @ ..] = pairs else {
            return Err(ToplocError::Length {
                got: bytes.len(),
                want: top,
            });
        };
        if !rest.is_empty() || coefficients.len() != top {
            return Err(ToplocError::Length {
                got: bytes.len(),
                want: top,
            });
        }
        let modulus = u16::from_be_bytes(*modulus);
        if !(LEAST_MODULUS..=PRIME).contains(&modulus) {
            return Err(ToplocError::Modulus {
                got: modulus,
                least: LEAST_MODULUS,
                most: PRIME,
            });
        }
        let coefficients: Vec<u16> = coefficients
            .iter()
            .map(|c| u16::from_be_bytes(*c))
            .collect();
        if let Some(index) = coefficients.iter().position(|c| *c >= PRIME) {
            return Err(ToplocError::Coefficient {
                index,
                got: coefficients.get(index).copied().unwrap_or_default(),
                prime: PRIME,
            });
        }
        Ok(Self {
            modulus,
            coefficients,
        })
    }

    /// The same from base64.
    pub fn from_base64(text: &str, top: usize) -> Result<Self, ToplocError> {
        let bytes = STANDARD
            .decode(text)
            .map_err(|err| ToplocError::Base64(err.to_string()))?;
        Self::parse(&bytes, top)
    }

    /// The proof through `points` (index in the chunk, bf16 bits), in any order.
    pub fn of(points: &[(usize, u16)]) -> Result<Self, ToplocError> {
        let mut indices: Vec<usize> = points.iter().map(|(index, _)| *index).collect();
        indices.sort_unstable();
        if let Some([index, _]) = indices.array_windows().find(|[a, b]| a == b) {
            return Err(ToplocError::SamePoint { index: *index });
        }
        let modulus = (LEAST_MODULUS..=PRIME)
            .rev()
            .find(|modulus| keeps_apart(&indices, *modulus))
            .ok_or(ToplocError::NoModulus {
                points: points.len(),
            })?;
        let reduced = |(index, bits): &(usize, u16)| {
            ((index % usize::from(modulus)) as u32, u32::from(*bits))
        };
        let reduced: Vec<(u32, u32)> = points.iter().map(reduced).collect();
        Ok(Self {
            modulus,
            coefficients: field::interpolate(&reduced),
        })
    }

    /// Its bytes: 258 for 128 points.
    pub fn to_bytes(&self) -> Vec<u8> {
        let words = std::iter::once(&self.modulus).chain(&self.coefficients);
        words.flat_map(|word| word.to_be_bytes()).collect()
    }

    /// The same in base64.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.to_bytes())
    }

    /// What it says that the bits at an index are. At an index that is none of its points, that is as good as random.
    pub fn value(&self, index: usize) -> u16 {
        field::evaluate(
            &self.coefficients,
            (index % usize::from(self.modulus)) as u32,
        )
    }

    /// What indices are reduced by.
    pub fn modulus(&self) -> u16 {
        self.modulus
    }

    /// Refuses a modulus that an honest prover of a chunk of `elements` could not have had: all indices are below the largest one, so
    /// that one is always taken. A smaller one would let a prover fold indices onto each other.
    pub fn check_modulus(&self, elements: usize) -> Result<(), ToplocError> {
        if elements <= usize::from(PRIME) && self.modulus != PRIME {
            return Err(ToplocError::NeedlessModulus {
                got: self.modulus,
                elements,
                want: PRIME,
            });
        }
        Ok(())
    }
}

fn keeps_apart(indices: &[usize], modulus: u16) -> bool {
    let mut reduced: Vec<usize> = indices.iter().map(|i| i % usize::from(modulus)).collect();
    reduced.sort_unstable();
    reduced.array_windows().all(|[a, b]| a != b)
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
