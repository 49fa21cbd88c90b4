//! Row forms: how a matrix lies in the buffers of the kernels and of their CPU twins, for every stored type.
//!
//! Floats lie as they are stored. A quantised row is made of whole 32-bit words, with a scale right before what it scales, so that a
//! kernel finds both by the column alone and rows can be split among buffers. Nothing is decoded and nothing grows but by padding:
//!
//! | type | a row form's unit | words | columns | value |
//! |---|---|---|---|---|
//! | `Q8_0` | pair of blocks: two f16 scales, then 32 `i8` each | 17 (9 for a last single) | 64 | d q |
//! | `Q4_0` | pair of blocks: two f16 scales, then 16 bytes each | 9 (5) | 64 | d (q - 8) |
//! | `Q5_0` | pair of blocks: two f16 scales, then 4 + 16 bytes each | 11 (6) | 64 | d (q - 16) |
//! | `Q4K` | block as stored, 144 bytes | 36 | 256 | (d s) q - (dmin m) |
//! | `Q6K` | block as stored, 210 bytes, and 2 of padding | 53 | 256 | (d s) (q - 32) |
//! | `Int8` | f32 scale, then `i8` up to a whole word | 1 + ceil(group / 4) | group, or the row | d q |
//! | `Int4` | f16 scale, `u8` zero, one byte of padding, then nibbles | 1 + group / 8 | group | d (q - zero) |
//! | `Int4Ordered` | as `Int4`, but all heads first and no order of columns | groups + columns / 8 | the row | d (q - zero) |
//!
//! In textures rows are longer and decode sooner: texels.rs.
//!
//! Every product above is exact in f32 (an f16 scale has 11 bits, a quant or a product of scale and quant at most 13 more), but for
//! `Int8` with an f32 scale, which rounds once; `Q4K` rounds once, in its subtraction. So there is one value for each weight,
//! whatever the device, and it is llama.cpp's (`dequantize_row_*` in ggml-quants.c), AutoGPTQ's and AutoAWQ's in f32.
mod blocks;
mod fixed;
mod gather;
mod noise;
mod rows;
mod texels;

#[cfg(test)]
pub(crate) use blocks::stored_block_bytes;
pub use fixed::{FIXED_COLUMNS, FixedBlock, f16_units};
pub(crate) use gather::{Int4Layout, ScaleType};
pub use rows::Rows;
pub use texels::TexelForm;

use crate::Dtype;
use half::f16;

const WORD: usize = 4;

impl Dtype {
    /// Columns of a row that are stored together; a row has a whole number of these.
    pub fn block(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 | Self::Int8 { group: 0 } => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q5_0 => 32,
            Self::Q4K | Self::Q6K => 256,
            Self::Int8 { group } => group as usize,
            Self::Int4 { .. } | Self::Int4Ordered { .. } => 8,
        }
    }

    /// Bytes of a float; `None` for a quantised type, whose elements have no bytes of their own.
    pub fn element_bytes(self) -> Option<usize> {
        match self {
            Self::F32 => Some(4),
            Self::F16 | Self::BF16 => Some(2),
            _ => None,
        }
    }

    /// Whether values are floats as they are.
    pub fn is_float(self) -> bool {
        self.element_bytes().is_some()
    }

    /// Bytes of a row of `cols` columns in row form.
    pub fn row_bytes(self, cols: usize) -> usize {
        let pairs = |quants: usize| {
            let (pairs, single) = (cols / 64, cols / 32 % 2);
            pairs * (WORD + 2 * quants) + single * (WORD + quants)
        };
        match self {
            Self::F32 => 4 * cols,
            Self::F16 | Self::BF16 => 2 * cols,
            Self::Q8_0 => pairs(32),
            Self::Q4_0 => pairs(16),
            Self::Q5_0 => pairs(20),
            Self::Q4K => cols / 256 * 144,
            Self::Q6K => cols / 256 * 212,
            Self::Int8 { group: 0 } => WORD + cols.next_multiple_of(WORD),
            Self::Int8 { group } => cols / group as usize * (WORD + group as usize),
            Self::Int4 { group } => cols.div_ceil(group.max(1) as usize) * WORD + cols / 2,
            Self::Int4Ordered { groups } => groups as usize * WORD + cols / 2,
        }
    }

    /// Bytes before the first row in row form: which group each column is of, `u16` up to a whole word, where groups are in no order.
    pub fn prefix_bytes(self, cols: usize) -> usize {
        match self {
            Self::Int4Ordered { .. } => (2 * cols).next_multiple_of(WORD),
            _ => 0,
        }
    }

    /// Appends the elements of a *float* type in `bytes` (little-endian) to `out`; a rest shorter than an element is left out. A
    /// quantised type has no elements by themselves, and nothing is appended: use [`Dtype::decode_row`].
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F32 => out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b))),
            Self::F16 => out.extend(halves(bytes)),
            Self::BF16 => out.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| half::bf16::from_le_bytes(*b).to_f32()),
            ),
            _ => {}
        }
    }

    /// Appends row `row` of a matrix of `cols` columns in row form, its prefix included, to `out`. A row that is not there adds nothing.
    pub fn decode_row(self, matrix: &[u8], row: usize, cols: usize, out: &mut Vec<f32>) {
        let (prefix, bytes) = (self.prefix_bytes(cols), self.row_bytes(cols));
        let begin = prefix.saturating_add(row.saturating_mul(bytes));
        let Some(row) = matrix.get(begin..begin.saturating_add(bytes)) else {
            return;
        };
        match self {
            Self::F32 | Self::F16 | Self::BF16 => self.decode(row, out),
            Self::Q8_0 => blocks::decode_pairs(row, 32, out, blocks::q8_0),
            Self::Q4_0 => blocks::decode_pairs(row, 16, out, blocks::q4_0),
            Self::Q5_0 => blocks::decode_pairs(row, 20, out, blocks::q5_0),
            Self::Q4K => row.chunks_exact(144).for_each(|b| blocks::q4_k(b, out)),
            Self::Q6K => row.chunks_exact(212).for_each(|b| blocks::q6_k(b, out)),
            Self::Int8 { group } => {
                let group = if group == 0 { cols } else { group as usize };
                for unit in row.chunks_exact(WORD + group.next_multiple_of(WORD)) {
                    let d = f32::from_bits(word(unit, 0));
                    out.extend(
                        unit[WORD..WORD + group]
                            .iter()
                            .map(|q| d * f32::from(*q as i8)),
                    );
                }
            }
            Self::Int4 { group } => {
                for unit in row.chunks(WORD + group as usize / 2) {
                    let (scale, zero) = head(word(unit, 0));
                    out.extend(nibbles(&unit[WORD..]).map(|q| scale * (q - zero)));
                }
            }
            Self::Int4Ordered { groups } => {
                let (heads, quants) = row.split_at(groups as usize * WORD);
                let order = matrix[..prefix].as_chunks().0.iter();
                for (group, q) in order.map(|g| u16::from_le_bytes(*g)).zip(nibbles(quants)) {
                    let (scale, zero) = head(word(heads, group.into()));
                    out.push(scale * (q - zero));
                }
            }
        }
    }
}

/// The little-endian word at index `at`; 0 beyond the end.
fn word(bytes: &[u8], at: usize) -> u32 {
    let (words, _) = bytes.as_chunks();
    words.get(at).map_or(0, |word| u32::from_le_bytes(*word))
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    let (halves, _) = bytes.as_chunks();
    halves.iter().map(|half| f16::from_le_bytes(*half).to_f32())
}

/// Scale and zero of a group of 4-bit quants.
fn head(word: u32) -> (f32, f32) {
    let scale = f16::from_bits(word as u16).to_f32();
    (scale, f32::from((word >> 16) as u8))
}

/// The nibbles of each byte, the lower one first.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    let pair = |byte: &u8| [f32::from(byte & 15), f32::from(byte >> 4)];
    bytes.iter().flat_map(pair)
}

#[cfg(test)]
mod tests;
