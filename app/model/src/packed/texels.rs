//! Texel form: how a matrix lies in textures, whose rows are whole texels of four words, for kernels that load a texel at once.
//!
//! Floats lie as in row form. A quantised row is cut into *units* of 32 columns; units that share a texel of scales follow it:
//!
//! | type | scales of a unit | quants of a unit | value |
//! |---|---|---|---|
//! | `Q8_0`, `Q5_0`, `Int8` | s | 32 `i8` | s q |
//! | `Q6K` | s and t | 32 `i8` | s q, of the last sixteen columns t q |
//! | `Q4_0` | s | 32 signed nibbles | s q |
//! | `Q4K` | s and t | 32 nibbles | s q - t |
//! | `Int4` | s and t | 32 nibbles | s (q - t) |
//!
//! Scales are f32, products of scales of two levels made (they are exact): four units share a texel where there is one scale, two where
//! there are two. Values are those of row form to the last bit. A row takes 5 bits a weight in place of `Q4_0`'s 4.5, 6 in place of
//! `Q4K`'s 4.5, 9 in place of `Q8_0`'s 8.5 and `Q5_0`'s 5.5, 10 in place of `Q6K`'s 6.6: decoding is what it saves.
//!
//! Four columns one after another lie at one place in the four words of a texel, so that shifts by one number decode them: byte b of word
//! j is column 4 b + j of the sixteen columns of its texel, nibble b of word j column 4 b + j of the 32.
use super::{WORD, blocks, halves, head, word};
use crate::Dtype;
use half::f16;

/// Columns of a unit.
const UNIT: usize = 32;

/// Bytes of a texel.
const TEXEL: usize = 16;

/// What a row of a quantised type is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TexelForm {
    /// Quants take a byte; else a nibble.
    pub bytes: bool,
    /// A unit has two scales; else one.
    pub pairs: bool,
}

impl TexelForm {
    fn units_a_group(self) -> usize {
        if self.pairs { 2 } else { 4 }
    }

    fn unit_bytes(self) -> usize {
        if self.bytes { 2 * TEXEL } else { TEXEL }
    }

    fn group_bytes(self) -> usize {
        TEXEL + self.units_a_group() * self.unit_bytes()
    }
}

/// Scales and quants of 32 columns.
struct Unit {
    scales: [f32; 2],
    quants: [i8; UNIT],
}

impl Dtype {
    /// The texel form of a quantised type; `None` for floats, and for those whose scales change inside a unit.
    pub fn texel_form(self) -> Option<TexelForm> {
        let (bytes, pairs) = match self {
            Self::Q8_0 | Self::Q5_0 => (true, false),
            Self::Int8 { group } if (group as usize).is_multiple_of(UNIT) => (true, false),
            Self::Q6K => (true, true),
            Self::Q4_0 => (false, false),
            Self::Q4K => (false, true),
            Self::Int4 { group } if group > 0 && (group as usize).is_multiple_of(UNIT) => {
                (false, true)
            }
            _ => return None,
        };
        Some(TexelForm { bytes, pairs })
    }

    /// Bytes of a row of `cols` columns in texel form; `None` where a row is no whole number of texels.
    pub fn texel_row_bytes(self, cols: usize) -> Option<usize> {
        if self.is_float() {
            let bytes = self.row_bytes(cols);
            return bytes.is_multiple_of(TEXEL).then_some(bytes);
        }
        let form = self.texel_form()?;
        let groups = cols.div_ceil(UNIT).div_ceil(form.units_a_group());
        Some(groups * form.group_bytes())
    }

    /// Bytes of a row where it is: in texel form if it has one and lies `in_texels`, else in row form.
    pub fn row_bytes_in(self, cols: usize, in_texels: bool) -> usize {
        let texels = self.texel_row_bytes(cols).filter(|_| in_texels);
        texels.unwrap_or_else(|| self.row_bytes(cols))
    }

    /// Appends the texel form of whole `rows` in row form to `out`. Nothing is appended where there is none.
    pub fn texel_rows(self, rows: &[u8], cols: usize, out: &mut Vec<u8>) {
        let row_bytes = self.row_bytes(cols);
        let (Some(form), false) = (self.texel_form(), row_bytes == 0) else {
            if self.is_float() {
                out.extend_from_slice(rows);
            }
            return;
        };
        out.reserve(rows.len() / row_bytes * self.texel_row_bytes(cols).unwrap_or(0));
        for row in rows.chunks_exact(row_bytes) {
            let begin = out.len();
            let groups = cols.div_ceil(UNIT).div_ceil(form.units_a_group());
            out.resize(begin + groups * form.group_bytes(), 0);
            let (row_out, mut at) = (&mut out[begin..], 0);
            self.units(row, cols, &mut |unit| {
                put(form, &unit, row_out, at);
                at += 1;
            });
        }
    }

    /// Every unit of a row in row form, in order.
    fn units(self, row: &[u8], cols: usize, each: &mut dyn FnMut(Unit)) {
        match self {
            Self::Q8_0 => pairs(row, 32, each, |block, quants| {
                for (to, from) in quants.iter_mut().zip(block) {
                    *to = *from as i8;
                }
            }),
            Self::Q4_0 => pairs(row, 16, each, |block, quants| {
                for (i, byte) in block.iter().enumerate() {
                    (quants[i], quants[i + 16]) = ((byte & 15) as i8 - 8, (byte >> 4) as i8 - 8);
                }
            }),
            Self::Q5_0 => pairs(row, 20, each, |block, quants| {
                let fifth = word(block, 0);
                for (i, byte) in block[WORD..].iter().enumerate() {
                    let of = |at: usize| ((fifth >> at) as u8 & 1) << 4;
                    quants[i] = (byte & 15 | of(i)) as i8 - 16;
                    quants[i + 16] = (byte >> 4 | of(i + 16)) as i8 - 16;
                }
            }),
            Self::Q4K => row.chunks_exact(144).for_each(|block| q4_k(block, each)),
            Self::Q6K => row.chunks_exact(212).for_each(|block| q6_k(block, each)),
            Self::Int8 { group } => {
                let group = if group == 0 { cols } else { group as usize };
                for bytes in row.chunks_exact(WORD + group.next_multiple_of(WORD)) {
                    let s = f32::from_bits(word(bytes, 0));
                    // What pads a row to a whole word is no column.
                    for columns in bytes[WORD..][..group].chunks(UNIT) {
                        let mut quants = [0; UNIT];
                        for (to, from) in quants.iter_mut().zip(columns) {
                            *to = *from as i8;
                        }
                        each(Unit {
                            scales: [s, 0.0],
                            quants,
                        });
                    }
                }
            }
            Self::Int4 { group } => {
                for bytes in row.chunks(WORD + group as usize / 2) {
                    let (scale, zero) = head(word(bytes, 0));
                    for columns in bytes[WORD..].chunks(UNIT / 2) {
                        let mut quants = [0; UNIT];
                        for (i, byte) in columns.iter().enumerate() {
                            (quants[2 * i], quants[2 * i + 1]) =
                                ((byte & 15) as i8, (byte >> 4) as i8);
                        }
                        each(Unit {
                            scales: [scale, zero],
                            quants,
                        });
                    }
                }
            }
            _ => {}
        }
    }
}

/// Pairs of blocks with `bytes` each beside their scale.
fn pairs(
    row: &[u8],
    bytes: usize,
    each: &mut dyn FnMut(Unit),
    decode: impl Fn(&[u8], &mut [i8; UNIT]),
) {
    for pair in row.chunks(WORD + 2 * bytes) {
        let (scales, blocks) = pair.split_at(WORD);
        for (s, block) in halves(scales).zip(blocks.chunks_exact(bytes)) {
            let mut quants = [0; UNIT];
            decode(block, &mut quants);
            each(Unit {
                scales: [s, 0.0],
                quants,
            });
        }
    }
}

fn q4_k(block: &[u8], each: &mut dyn FnMut(Unit)) {
    let [d, dmin] = [0, 2].map(|at| half(block, at));
    for j in 0..8 {
        let (scale, least) = blocks::scale_and_min(&block[WORD..16], j);
        let bytes = &block[16 + 32 * (j / 2)..][..UNIT];
        let mut quants = [0; UNIT];
        for (to, byte) in quants.iter_mut().zip(bytes) {
            *to = ((byte >> (4 * (j & 1))) & 15) as i8;
        }
        each(Unit {
            scales: [d * f32::from(scale), dmin * f32::from(least)],
            quants,
        });
    }
}

fn q6_k(block: &[u8], each: &mut dyn FnMut(Unit)) {
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    let d = half(block, 208);
    for j in 0..8 {
        let (side, quarter) = (j >> 2, j & 3);
        let low = &low[side * 64 + (quarter & 1) * 32..][..UNIT];
        let high = &high[side * 32..][..UNIT];
        let mut quants = [0; UNIT];
        for ((to, low), high) in quants.iter_mut().zip(low).zip(high) {
            let nibble = (low >> (4 * (quarter >> 1))) & 15;
            *to = (nibble | ((high >> (2 * quarter)) & 3) << 4) as i8 - 32;
        }
        let scale = |i: usize| d * f32::from(scales[side * 8 + i + 2 * quarter] as i8);
        each(Unit {
            scales: [scale(0), scale(1)],
            quants,
        });
    }
}

/// The f16 at byte `at`.
fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Writes unit `at` of a row.
fn put(form: TexelForm, unit: &Unit, row: &mut [u8], at: usize) {
    let group = at / form.units_a_group() * form.group_bytes();
    let within = at % form.units_a_group();
    let Some(group) = row.get_mut(group..group + form.group_bytes()) else {
        return;
    };
    let (heads, quants) = group.split_at_mut(TEXEL);
    let scales = if form.pairs { 2 } else { 1 };
    let heads = heads[within * scales * WORD..].chunks_exact_mut(WORD);
    for (to, scale) in heads.zip(&unit.scales[..scales]) {
        to.copy_from_slice(&scale.to_le_bytes());
    }
    let quants = &mut quants[within * form.unit_bytes()..][..form.unit_bytes()];
    let q = &unit.quants;
    if form.bytes {
        for (texel, q) in quants.chunks_exact_mut(TEXEL).zip(q.chunks_exact(TEXEL)) {
            for (i, byte) in texel.iter_mut().enumerate() {
                *byte = q[i % WORD * 4 + i / WORD] as u8;
            }
        }
    } else {
        for (j, word) in quants.chunks_exact_mut(WORD).enumerate() {
            for (b, byte) in word.iter_mut().enumerate() {
                *byte = (q[8 * b + j] & 15) as u8 | ((q[8 * b + 4 + j] & 15) as u8) << 4;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What docs say that a column's value is, read from the texel form.
    fn value(dtype: Dtype, row: &[u8], col: usize) -> f32 {
        let form = dtype.texel_form().unwrap();
        let (unit, o) = (col / UNIT, col % UNIT);
        let (group, within) = (unit / form.units_a_group(), unit % form.units_a_group());
        let group = &row[group * form.group_bytes()..][..form.group_bytes()];
        let scale = |i: usize| f32::from_bits(word(group, i));
        let (s, t) = match form.pairs {
            true => (scale(2 * within), scale(2 * within + 1)),
            false => (scale(within), 0.0),
        };
        let quants = &group[TEXEL + within * form.unit_bytes()..][..form.unit_bytes()];
        let q = match form.bytes {
            true => {
                let word = word(quants, o / 16 * 4 + o % 4);
                f32::from((word >> (o % 16 / 4 * 8)) as u8 as i8)
            }
            false => {
                let nibble = (word(quants, o % 4) >> (o / 4 * 4)) & 15;
                match dtype {
                    Dtype::Q4_0 => f32::from((nibble as i8) << 4 >> 4),
                    _ => nibble as f32,
                }
            }
        };
        match dtype {
            Dtype::Q6K => (if o < 16 { s } else { t }) * q,
            Dtype::Q4K => s * q - t,
            Dtype::Int4 { .. } => s * (q - t),
            _ => s * q,
        }
    }

    #[test]
    fn values_are_those_of_row_form() {
        let mut state = 7_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            state ^ (state >> 29)
        };
        for (dtype, cols) in [
            (Dtype::Q8_0, 352),
            (Dtype::Q4_0, 96),
            (Dtype::Q5_0, 160),
            (Dtype::Q4K, 768),
            (Dtype::Q6K, 512),
            (Dtype::Int8 { group: 0 }, 301),
            (Dtype::Int8 { group: 64 }, 192),
            (Dtype::Int4 { group: 128 }, 312),
        ] {
            let rows = dtype.noise(3, cols, &mut next);
            let mut texels = vec![0xEE];
            dtype.texel_rows(&rows, cols, &mut texels);
            let row_bytes = dtype.texel_row_bytes(cols).unwrap();
            assert_eq!(texels.len(), 1 + 3 * row_bytes, "{dtype:?}");
            assert!(row_bytes.is_multiple_of(TEXEL));
            for row in 0..3 {
                let mut wanted = Vec::new();
                dtype.decode_row(&rows, row, cols, &mut wanted);
                let texels = &texels[1 + row * row_bytes..][..row_bytes];
                for (col, wanted) in wanted.iter().enumerate() {
                    let got = value(dtype, texels, col);
                    assert_eq!(got.to_bits(), wanted.to_bits(), "{dtype:?}, {row}, {col}");
                }
            }
        }
    }

    #[test]
    fn what_has_no_texel_form_stays_as_it_is() {
        for dtype in [
            Dtype::Int8 { group: 20 },
            Dtype::Int4 { group: 8 },
            Dtype::Int4 { group: 0 },
            Dtype::Int4Ordered { groups: 3 },
        ] {
            assert_eq!(dtype.texel_row_bytes(320), None, "{dtype:?}");
            assert_eq!(dtype.row_bytes_in(320, true), dtype.row_bytes(320));
            let mut out = Vec::new();
            dtype.texel_rows(&[1; 640], 320, &mut out);
            assert!(out.is_empty());
        }
        assert_eq!(Dtype::BF16.texel_row_bytes(12), None);
        assert_eq!(Dtype::BF16.texel_row_bytes(16), Some(32));
        let mut out = Vec::new();
        Dtype::BF16.texel_rows(&[1; 64], 16, &mut out);
        assert_eq!(out, [1; 64]);
    }
}
