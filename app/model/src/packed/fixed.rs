//! Block formats as fixed point. Every f16 is an integer times 2^-24, so every weight of a format whose scales are f16 is one, too: what
//! products of such weights with inputs that are rounded likewise add up to is one integer, without any rounding.

use super::{WORD, blocks, word};
use crate::Dtype;

/// Columns that share a scale here, whatever the format's own blocks are.
pub const FIXED_COLUMNS: usize = 32;

/// The weights of [`FIXED_COLUMNS`] columns: weight i is `scale * quants[i] - least`, in units of 2^-24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedBlock {
    /// At most 4096 in magnitude: of Q6_K with the scale of sixteen columns in them.
    pub quants: [i16; FIXED_COLUMNS],
    /// Below 2^46 in magnitude.
    pub scale: i64,
    /// Below 2^46 in magnitude; 0 but for Q4_K.
    pub least: i64,
}

impl FixedBlock {
    /// Its weights, in units of 2^-24.
    pub fn weights(&self) -> [i64; FIXED_COLUMNS] {
        self.quants.map(|q| self.scale * i64::from(q) - self.least)
    }
}

/// An f16 in units of 2^-24, below 2^40 in magnitude; `None` for an infinity or a NaN.
pub fn f16_units(bits: u16) -> Option<i64> {
    let (exponent, fraction) = ((bits >> 10) & 31, i64::from(bits & 0x3FF));
    let magnitude = match exponent {
        31 => return None,
        0 => fraction,
        _ => (fraction + 1024) << (exponent - 1),
    };
    Some(match bits >> 15 {
        0 => magnitude,
        _ => -magnitude,
    })
}

impl Dtype {
    /// Whether rows of `cols` columns are fixed point: of a type with f16 scales, each for whole blocks of [`FIXED_COLUMNS`].
    pub fn is_fixed_point(self, cols: usize) -> bool {
        let whole = cols > 0 && cols.is_multiple_of(FIXED_COLUMNS);
        match self {
            Self::Q8_0 | Self::Q4_0 | Self::Q5_0 => whole,
            Self::Q4K | Self::Q6K => cols > 0 && cols.is_multiple_of(256),
            Self::Int4 { group } => {
                whole && group > 0 && (group as usize).is_multiple_of(FIXED_COLUMNS)
            }
            _ => false,
        }
    }

    /// Appends the blocks of one row in row form to `out`. False, and then nothing is known of what was appended, if the type is not
    /// [fixed point](Self::is_fixed_point), the row is shorter than its columns take, or a scale is no number.
    pub fn fixed_row(self, row: &[u8], cols: usize, out: &mut Vec<FixedBlock>) -> bool {
        if !self.is_fixed_point(cols) || row.len() < self.row_bytes(cols) {
            return false;
        }
        let row = &row[..self.row_bytes(cols)];
        let begin = out.len();
        match self {
            Self::Q8_0 => pairs(row, 32, out, |bytes| {
                std::array::from_fn(|i| i16::from(bytes[i] as i8))
            }),
            Self::Q4_0 => pairs(row, 16, out, |bytes| nibbles(bytes).map(|q| q - 8)),
            Self::Q5_0 => pairs(row, 20, out, |bytes| {
                let (high, low) = (word(bytes, 0), nibbles(&bytes[WORD..]));
                std::array::from_fn(|i| (low[i] | (((high >> i) & 1) as i16) << 4) - 16)
            }),
            Self::Q4K => row.chunks_exact(144).for_each(|block| q4_k(block, out)),
            Self::Q6K => row.chunks_exact(212).for_each(|block| q6_k(block, out)),
            Self::Int4 { group } => {
                for unit in row.chunks(WORD + group as usize / 2) {
                    int4(unit, out);
                }
            }
            _ => {}
        }
        out.len() - begin == cols / FIXED_COLUMNS
    }
}

/// Adds a block, unless a scale is no number.
fn push(
    out: &mut Vec<FixedBlock>,
    quants: [i16; FIXED_COLUMNS],
    scale: Option<i64>,
    least: Option<i64>,
) {
    if let (Some(scale), Some(least)) = (scale, least) {
        out.push(FixedBlock {
            quants,
            scale,
            least,
        });
    }
}

/// The f16 at byte `at`.
fn units(bytes: &[u8], at: usize) -> Option<i64> {
    f16_units(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

/// Sixteen bytes: low nibbles are the first half of a block, high ones the second.
fn nibbles(bytes: &[u8]) -> [i16; FIXED_COLUMNS] {
    std::array::from_fn(|i| i16::from((bytes[i & 15] >> (4 * (i >> 4))) & 15))
}

/// Pairs of blocks with `bytes` each beside their scale.
fn pairs(
    row: &[u8],
    bytes: usize,
    out: &mut Vec<FixedBlock>,
    quants: impl Fn(&[u8]) -> [i16; FIXED_COLUMNS],
) {
    for pair in row.chunks(WORD + 2 * bytes) {
        for (i, block) in pair[WORD..].chunks_exact(bytes).enumerate() {
            push(out, quants(block), units(pair, 2 * i), Some(0));
        }
    }
}

fn q4_k(block: &[u8], out: &mut Vec<FixedBlock>) {
    let (d, dmin) = (units(block, 0), units(block, 2));
    for j in 0..8 {
        let (scale, least) = blocks::scale_and_min(&block[WORD..16], j);
        let bytes = &block[16 + 32 * (j / 2)..][..32];
        push(
            out,
            std::array::from_fn(|i| i16::from((bytes[i] >> (4 * (j & 1))) & 15)),
            d.map(|d| d * i64::from(scale)),
            dmin.map(|dmin| dmin * i64::from(least)),
        );
    }
}

fn q6_k(block: &[u8], out: &mut Vec<FixedBlock>) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    for j in 0..8 {
        let (half, quarter) = (j >> 2, j & 3);
        let quant = |l: usize| {
            let nibble = (low[half * 64 + (quarter & 1) * 32 + l] >> (4 * (quarter >> 1))) & 15;
            let two = (high[half * 32 + l] >> (2 * quarter)) & 3;
            let scale = scales[half * 8 + (l >> 4) + 2 * quarter] as i8;
            i16::from(scale) * (i16::from(nibble | (two << 4)) - 32)
        };
        push(out, std::array::from_fn(quant), units(block, 208), Some(0));
    }
}

fn int4(unit: &[u8], out: &mut Vec<FixedBlock>) {
    let zero = i16::from(unit[2]);
    for bytes in unit[WORD..].chunks_exact(FIXED_COLUMNS / 2) {
        let quant = |i: usize| i16::from((bytes[i / 2] >> (4 * (i & 1))) & 15) - zero;
        push(out, std::array::from_fn(quant), units(unit, 0), Some(0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise() -> impl FnMut() -> u64 {
        let mut seed = 11u64;
        move || {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }
    }

    #[test]
    fn every_f16_is_a_whole_number_of_units() {
        for bits in 0..=u16::MAX {
            let value = half::f16::from_bits(bits);
            match f16_units(bits) {
                None => assert!(!value.is_finite()),
                Some(units) => assert_eq!(value.to_f64(), units as f64 / f64::from(1 << 24)),
            }
        }
        assert_eq!(f16_units(0x7BFF), Some(65504 << 24));
    }

    /// Against the decoders to f32, which are ggml's and GPTQ's: equal, but for Q4_K, whose f32 rounds once.
    #[test]
    fn weights_are_those_that_are_decoded() {
        let cases = [
            (Dtype::Q8_0, 96),
            (Dtype::Q8_0, 128),
            (Dtype::Q4_0, 96),
            (Dtype::Q5_0, 160),
            (Dtype::Q4K, 512),
            (Dtype::Q6K, 768),
            (Dtype::Int4 { group: 32 }, 96),
            (Dtype::Int4 { group: 128 }, 320),
            (Dtype::Int4 { group: 64 }, 64),
        ];
        let mut next = noise();
        for (dtype, cols) in cases {
            let matrix = dtype.noise(5, cols, &mut next);
            for (row, bytes) in matrix.chunks_exact(dtype.row_bytes(cols)).enumerate() {
                let (mut blocks, mut floats) = (Vec::new(), Vec::new());
                assert!(dtype.fixed_row(bytes, cols, &mut blocks), "{dtype:?}");
                dtype.decode_row(&matrix, row, cols, &mut floats);
                let weights = blocks.iter().flat_map(FixedBlock::weights);
                let weights: Vec<i64> = weights.collect();
                assert_eq!(weights.len(), cols);
                for (weight, float) in weights.iter().zip(floats) {
                    let exact = *weight as f64 / f64::from(1 << 24);
                    assert_eq!(exact as f32, float, "{dtype:?}");
                    assert!(dtype == Dtype::Q4K || exact == f64::from(float));
                }
            }
        }
    }

    #[test]
    fn what_is_no_fixed_point_is_refused() {
        let mut out = Vec::new();
        for dtype in [
            Dtype::F32,
            Dtype::F16,
            Dtype::BF16,
            Dtype::Int8 { group: 0 },
            Dtype::Int8 { group: 32 },
            Dtype::Int4Ordered { groups: 2 },
            Dtype::Int4 { group: 16 },
            Dtype::Int4 { group: 0 },
        ] {
            assert!(!dtype.is_fixed_point(256), "{dtype:?}");
            assert!(!dtype.fixed_row(&[0; 4096], 256, &mut out));
        }
        assert!(!Dtype::Int4 { group: 32 }.is_fixed_point(40));
        assert!(!Dtype::Q8_0.is_fixed_point(0));
        // Too short, and a scale that is an infinity.
        let mut row = Dtype::Q8_0.noise(1, 64, &mut noise());
        assert!(!Dtype::Q8_0.fixed_row(&row[1..], 64, &mut out));
        row[2..4].copy_from_slice(&0x7C00u16.to_le_bytes());
        assert!(!Dtype::Q8_0.fixed_row(&row, 64, &mut out));
    }
}
