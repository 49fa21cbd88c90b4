//! Rotary positions, rounded as transformers rounds them.
//!
//! transformers computes the inverse frequencies in f32, one rounding an operation, and `scalar / tensor` as
//! `reciprocal(tensor) * scalar`; so does this file. Where a library function is involved (pow, cos, sin) we evaluate in f64 by
//! `libm`, the same code on every platform, and round once: the tables are equal in a browser and on a server, and within one unit
//! in the last place of torch's.
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How the frequencies of a longer context are derived from those of training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// At least 1.
        factor: f64,
    },
    /// Llama 3.1's: long wavelengths divided by `factor`, short ones kept, a ramp between.
    Llama3 {
        /// At least 1.
        factor: f64,
        /// Turns within the original context below which a frequency is divided.
        low_freq_factor: f64,
        /// Turns above which it is kept; larger than `low_freq_factor`.
        high_freq_factor: f64,
        /// Positions that the model was first trained on.
        original_context: usize,
    },
}

/// Which two components of a head form a rotated pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeLayout {
    /// Components i and i + head_dim / 2 (Hugging Face).
    RotateHalf,
    /// Components 2i and 2i + 1 (llama2.c, Meta).
    Interleaved,
}

impl RopeLayout {
    /// The name used in canonical configs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RotateHalf => "rotate_half",
            Self::Interleaved => "interleaved",
        }
    }
}

/// Everything that rotary positions depend on, but for the head's size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rope {
    /// Base of the geometric series of wavelengths.
    pub theta: f64,
    /// What was done for longer contexts.
    pub scaling: RopeScaling,
    /// Which components are rotated together.
    pub layout: RopeLayout,
}

impl Rope {
    /// Radians a position turns each pair: f32 `[head_dim / 2]`.
    pub fn inverse_frequencies(&self, head_dim: usize) -> Vec<f32> {
        let base = f64::from(self.theta as f32);
        let plain = (0..head_dim / 2).map(|pair| {
            let exponent = (2 * pair) as f32 / head_dim as f32;
            1.0 / (libm::pow(base, f64::from(exponent)) as f32)
        });
        plain
            .map(|frequency| self.scaling.apply(frequency))
            .collect()
    }

    /// Cosines and sines for each of `positions`: two tables of f32 `[positions, head_dim / 2]`.
    pub fn cos_sin_tables(&self, head_dim: usize, positions: Range<usize>) -> (Vec<f32>, Vec<f32>) {
        let frequencies = self.inverse_frequencies(head_dim);
        let capacity = positions.len().saturating_mul(frequencies.len());
        let (mut cos, mut sin) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
        for position in positions {
            for frequency in &frequencies {
                let angle = f64::from(position as f32 * frequency);
                cos.push(libm::cos(angle) as f32);
                sin.push(libm::sin(angle) as f32);
            }
        }
        (cos, sin)
    }
}

impl RopeScaling {
    fn apply(self, frequency: f32) -> f32 {
        match self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor as f32,
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_context,
            } => {
                let original = original_context as f64;
                let wavelength = (1.0 / frequency) * (2.0 * std::f64::consts::PI) as f32;
                let low_wavelength = (original / low_freq_factor) as f32;
                let high_wavelength = (original / high_freq_factor) as f32;
                if wavelength > low_wavelength {
                    frequency / factor as f32
                } else if wavelength < high_wavelength {
                    frequency
                } else {
                    let turns = (1.0 / wavelength) * original as f32;
                    let smooth = (turns - low_freq_factor as f32)
                        / (high_freq_factor - low_freq_factor) as f32;
                    (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LLAMA_32: Rope = Rope {
        theta: 500_000.0,
        scaling: RopeScaling::Llama3 {
            factor: 32.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        },
        layout: RopeLayout::RotateHalf,
    };

    /// The same formulas in f64, written apart: what the f32 rounding may cost.
    fn exact(rope: &Rope, head_dim: usize) -> Vec<f64> {
        (0..head_dim / 2)
            .map(|i| {
                let inv = rope.theta.powf(-(2.0 * i as f64) / head_dim as f64);
                match rope.scaling {
                    RopeScaling::None => inv,
                    RopeScaling::Linear { factor } => inv / factor,
                    RopeScaling::Llama3 {
                        factor,
                        low_freq_factor: low,
                        high_freq_factor: high,
                        original_context,
                    } => {
                        let turns = original_context as f64 * inv / (2.0 * std::f64::consts::PI);
                        let blend = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                        inv * (blend + (1.0 - blend) / factor)
                    }
                }
            })
            .collect()
    }

    #[test]
    fn frequencies_are_within_f32_rounding_of_the_formula() {
        let linear = Rope {
            scaling: RopeScaling::Linear { factor: 4.0 },
            theta: 10_000.0,
            ..LLAMA_32
        };
        let plain = Rope {
            scaling: RopeScaling::None,
            ..linear
        };
        for rope in [LLAMA_32, linear, plain] {
            for head_dim in [2, 40, 64, 128] {
                let got = rope.inverse_frequencies(head_dim);
                let want = exact(&rope, head_dim);
                assert_eq!(got.len(), head_dim / 2);
                for (g, w) in got.iter().zip(&want) {
                    // The exponent is rounded to f32 before pow, which costs ln(theta) half-units; the ramp cancels a little more.
                    assert!(((f64::from(*g) - w) / w).abs() < 2e-6, "{g} {w} {rope:?}");
                }
            }
        }
    }

    #[test]
    fn tables_start_at_the_first_position() {
        let (cos, sin) = LLAMA_32.cos_sin_tables(64, 0..5);
        assert_eq!((cos.len(), sin.len()), (160, 160));
        assert!(cos[..32].iter().all(|c| *c == 1.0) && sin[..32].iter().all(|s| *s == 0.0));
        assert_eq!(cos[32], 1.0f64.cos() as f32);
        let (later, _) = LLAMA_32.cos_sin_tables(64, 3..5);
        assert_eq!(later, cos[96..]);
        assert_eq!(LLAMA_32.cos_sin_tables(64, 4..4).0.len(), 0);
    }

    /// Bits of a few entries: the tables must not change with the platform or the toolchain.
    #[test]
    fn known_bits() {
        let inv = LLAMA_32.inverse_frequencies(64);
        let (cos, sin) = LLAMA_32.cos_sin_tables(64, 1000..1001);
        let sum = |v: &[f32]| v.iter().fold(0u32, |a, x| a.rotate_left(5) ^ x.to_bits());
        assert_eq!(
            [sum(&inv), sum(&cos), sum(&sin)],
            KNOWN,
            "{:08x?}",
            [sum(&inv), sum(&cos), sum(&sin)]
        );
    }
    const KNOWN: [u32; 3] = [0xe71f_15a0, 0x51e2_16c5, 0x29db_d42e];
}
