//! Rows of matrices that lie in several tensors: 8-bit quants with scales, and 4-bit ones whose words run along other axes than rows.
use super::{WORD, word};
use half::{bf16, f16};

/// Which words hold a matrix of 4-bit quants `[n, k]`, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Int4Layout {
    /// `qweight` i32 `[k / 8, n]`: eight consecutive columns a word, lowest nibble first. `qzeros` i32 `[groups, n / 8]`: eight
    /// consecutive rows a word, holding zero minus `offset`.
    Gptq { offset: u8 },
    /// `qweight` i32 `[k, n / 8]` and `qzeros` i32 `[groups, n / 8]`: eight rows a word, interleaved.
    Awq,
}

/// The nibble in which AWQ keeps row 8 w + i of word w. (Nibble s holds row `[0, 2, 4, 6, 1, 3, 5, 7][s]`.)
pub(crate) const AWQ_NIBBLE: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// The whole tensors of a matrix of 4-bit quants.
pub(super) struct Int4<'a> {
    pub layout: Int4Layout,
    pub n: usize,
    pub k: usize,
    pub groups: usize,
    /// Columns of a group where they are consecutive; `None` where `g_idx` says which group a column is of.
    pub group: Option<usize>,
    pub quants: &'a [u8],
    pub zeros: &'a [u8],
    /// f16 `[groups, n]`.
    pub scales: &'a [u8],
}

impl Int4<'_> {
    /// Appends row `row` in row form. False if a scale is not finite.
    pub fn row(&self, row: usize, out: &mut Vec<u8>) -> bool {
        let words = (0..self.k / 8).map(|at| self.quants(row, at).to_le_bytes());
        let mut fine = true;
        let mut heads = (0..self.groups).map(|group| {
            let (head, finite) = self.head(row, group);
            fine &= finite;
            head.to_le_bytes()
        });
        match self.group {
            None => {
                out.extend(heads.flatten());
                out.extend(words.flatten());
            }
            Some(group) => {
                for (at, word) in words.enumerate() {
                    if at % (group / 8) == 0 {
                        out.extend(heads.next().unwrap_or_default());
                    }
                    out.extend(word);
                }
            }
        }
        fine
    }

    /// Columns 8 at .. 8 at + 8 of a row, lowest nibble first.
    fn quants(&self, row: usize, at: usize) -> u32 {
        match self.layout {
            Int4Layout::Gptq { .. } => word(self.quants, at * self.n + row),
            Int4Layout::Awq => (0..8).fold(0, |all, column| {
                let q = self.of_eight_rows(self.quants, 8 * at + column, row, AWQ_NIBBLE[row % 8]);
                all | (q << (4 * column))
            }),
        }
    }

    fn of_eight_rows(&self, words: &[u8], line: usize, row: usize, nibble: u32) -> u32 {
        (word(words, line * (self.n / 8) + row / 8) >> (4 * nibble)) & 15
    }

    fn head(&self, row: usize, group: usize) -> (u32, bool) {
        let zero = match self.layout {
            Int4Layout::Gptq { offset } => {
                self.of_eight_rows(self.zeros, group, row, (row % 8) as u32) + u32::from(offset)
            }
            Int4Layout::Awq => self.of_eight_rows(self.zeros, group, row, AWQ_NIBBLE[row % 8]),
        };
        let (scales, _) = self.scales.as_chunks();
        let scale = scales
            .get(group * self.n + row)
            .copied()
            .unwrap_or_default();
        let scale = u16::from_le_bytes(scale);
        (
            u32::from(scale) | (zero << 16),
            f16::from_bits(scale).is_finite(),
        )
    }
}

/// Type of 8-bit quants' scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ScaleType {
    F32,
    F16,
    BF16,
}

impl ScaleType {
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The scale at index `at`; 0 beyond the end.
    pub fn read(self, scales: &[u8], at: usize) -> f32 {
        let half = || {
            let halves = scales.as_chunks::<2>().0;
            u16::from_le_bytes(halves.get(at).copied().unwrap_or_default())
        };
        match self {
            Self::F32 => f32::from_bits(word(scales, at)),
            Self::F16 => f16::from_bits(half()).to_f32(),
            Self::BF16 => bf16::from_bits(half()).to_f32(),
        }
    }
}

/// Appends the row form of a row of 8-bit `quants`, of which each `unit` shares the scale that `scale` gives for its first column. False
/// if one is not finite.
pub(super) fn int8_row(
    quants: &[u8],
    unit: usize,
    scale: impl Fn(usize) -> f32,
    out: &mut Vec<u8>,
) -> bool {
    let mut fine = true;
    for (at, quants) in quants.chunks(unit.max(1)).enumerate() {
        let scale = scale(at * unit);
        fine &= scale.is_finite();
        out.extend(scale.to_le_bytes());
        out.extend(quants);
        out.resize(out.len().next_multiple_of(WORD), 0);
    }
    fine
}
