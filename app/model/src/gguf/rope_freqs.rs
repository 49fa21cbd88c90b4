//! `rope_freqs.weight`: what each rotary frequency is divided by. Llama 3's converter computes these factors from the four numbers of
//! its scaling and then forgets the numbers, so they are found again here.
use crate::{ModelError, Rope, RopeScaling};
use std::f64::consts::PI;

pub(super) const NAME: &str = "rope_freqs.weight";
/// Turns below and above which Llama 3 divides a frequency in full or not at all; no model has others.
const LOW: f64 = 1.0;
const HIGH: f64 = 4.0;
/// Llama 3's own context in training first.
const ORIGINAL_CONTEXT: usize = 8192;
/// Of a factor as f32 arithmetic computes it: on the ramp, an error of one rounding is multiplied by the whole factor.
const ROUNDING: f64 = 2e-6;

/// The scaling that gives these factors.
pub(super) fn scaling(
    factors: &[f32],
    rope: &Rope,
    head_dim: usize,
) -> Result<RopeScaling, ModelError> {
    if factors.iter().all(|factor| *factor == 1.0) {
        return Ok(RopeScaling::None);
    }
    // The longest wavelength is divided in full.
    let factor = f64::from(factors.last().copied().unwrap_or(1.0));
    let frequencies = Rope {
        scaling: RopeScaling::None,
        ..*rope
    }
    .inverse_frequencies(head_dim);
    let fits = |original_context: usize| {
        let want = frequencies
            .iter()
            .map(|frequency| divisor(f64::from(*frequency), factor, original_context as f64));
        let close =
            |(got, want): (&f32, f64)| (f64::from(*got) - want).abs() <= want * ROUNDING * factor;
        frequencies.len() == factors.len() && factors.iter().zip(want).all(close)
    };
    let powers = (6..=20).map(|power| 1 << power);
    let found = [ORIGINAL_CONTEXT]
        .into_iter()
        .chain(powers)
        .find(|n| fits(*n));
    match found {
        Some(original_context) => Ok(RopeScaling::Llama3 {
            factor,
            low_freq_factor: LOW,
            high_freq_factor: HIGH,
            original_context,
        }),
        None => Err(ModelError::RopeFactors { longest: factor }),
    }
}

fn divisor(frequency: f64, factor: f64, original_context: f64) -> f64 {
    let turns = original_context * frequency / (2.0 * PI);
    let kept = ((turns - LOW) / (HIGH - LOW)).clamp(0.0, 1.0);
    1.0 / ((1.0 - kept) / factor + kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RopeLayout;

    /// As llama.cpp's converter computes them, in f32.
    fn converted(rope: &Rope, head_dim: usize, factor: f32, original: f32) -> Vec<f32> {
        let plain = Rope {
            scaling: RopeScaling::None,
            ..*rope
        };
        let of = |frequency: f32| {
            let wavelength = 2.0 * std::f32::consts::PI / frequency;
            if wavelength < original / 4.0 {
                1.0
            } else if wavelength > original {
                factor
            } else {
                let smooth = (original / wavelength - 1.0) / (4.0 - 1.0);
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        plain
            .inverse_frequencies(head_dim)
            .into_iter()
            .map(of)
            .collect()
    }

    fn rope(theta: f64) -> Rope {
        Rope {
            theta,
            scaling: RopeScaling::None,
            layout: RopeLayout::Interleaved,
        }
    }

    #[test]
    fn the_numbers_are_found_again() {
        for (factor, original, head_dim, theta) in [
            (8.0, 8192, 128, 500_000.0),
            (32.0, 8192, 64, 500_000.0),
            (32.0, 64, 64, 500_000.0),
            (4.0, 2048, 96, 10_000.0),
        ] {
            let rope = rope(theta);
            let factors = converted(&rope, head_dim, factor, original as f32);
            let want = RopeScaling::Llama3 {
                factor: factor.into(),
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: original,
            };
            assert_eq!(scaling(&factors, &rope, head_dim).unwrap(), want);
            // And with them the frequencies, within rounding.
            let scaled = Rope {
                scaling: want,
                ..rope
            };
            let plain = rope.inverse_frequencies(head_dim);
            for ((plain, factor), got) in plain
                .iter()
                .zip(&factors)
                .zip(scaled.inverse_frequencies(head_dim))
            {
                assert!((got * factor / plain - 1.0).abs() < 1e-5, "{got}");
            }
        }
        assert_eq!(
            scaling(&[1.0; 32], &rope(10_000.0), 64).unwrap(),
            RopeScaling::None
        );
    }

    #[test]
    fn factors_of_another_scaling_are_refused() {
        let rope = rope(500_000.0);
        let good = converted(&rope, 64, 32.0, 8192.0);
        for change in [
            |factors: &mut Vec<f32>| factors[0] = 1.001,
            |factors: &mut Vec<f32>| factors[31] = 31.0,
            |factors: &mut Vec<f32>| factors[20] *= 1.001,
            |factors: &mut Vec<f32>| factors[5] = f32::NAN,
            |factors: &mut Vec<f32>| factors[31] = f32::NAN,
            |factors: &mut Vec<f32>| factors[31] = f32::INFINITY,
            |factors: &mut Vec<f32>| factors[31] = 0.0,
            |factors: &mut Vec<f32>| factors.truncate(31),
            |factors: &mut Vec<f32>| factors.fill(2.0),
        ] {
            let mut factors = good.clone();
            change(&mut factors);
            assert!(matches!(
                scaling(&factors, &rope, 64),
                Err(ModelError::RopeFactors { .. })
            ));
        }
    }
}
