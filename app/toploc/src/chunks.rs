//! Which rows make a chunk: the prompt's are the first, whole; the decode steps follow in groups.

use half::bf16;

use crate::error::ToplocError;
use crate::proof::Proof;
use crate::top::top_indices;

/// Decode steps in a chunk.
pub const BATCH: usize = 32;

/// The last hidden states of a run, after the final norm: a row for each token that went in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activations {
    bits: Vec<u16>, // [rows, width], bf16
    width: usize,
    prompt_rows: usize,
    batch: usize,
}

impl Activations {
    /// Takes bf16 bits, `[rows, width]`, of which the first `prompt_rows` are the prompt's (0: there is no prefill chunk).
    pub fn from_bits(
        bits: Vec<u16>,
        width: usize,
        prompt_rows: usize,
        batch: usize,
    ) -> Result<Self, ToplocError> {
        if width == 0 || !bits.len().is_multiple_of(width) {
            return Err(ToplocError::Shape {
                values: bits.len(),
                width,
            });
        }
        let rows = bits.len() / width;
        if prompt_rows > rows {
            return Err(ToplocError::Range {
                name: "number of prompt rows",
                got: prompt_rows,
                want: "no more than there are rows",
            });
        }
        if batch == 0 {
            return Err(ToplocError::Range {
                name: "rows of a chunk",
                got: batch,
                want: "1 or more",
            });
        }
        // Exponent 255: infinities and NaN, which have no place among magnitudes.
        if let Some(index) = bits.iter().position(|bits| bits & 0x7f80 == 0x7f80) {
            return Err(ToplocError::NonFinite { index });
        }
        Ok(Self {
            bits,
            width,
            prompt_rows,
            batch,
        })
    }

    /// Rounds f32 to bf16 first, to nearest even: proofs are of bf16 bits, and raw f32 mantissas compare with nothing.
    pub fn from_f32(
        values: &[f32],
        width: usize,
        prompt_rows: usize,
        batch: usize,
    ) -> Result<Self, ToplocError> {
        let bits = values.iter().map(|value| bf16::from_f32(*value).to_bits());
        Self::from_bits(bits.collect(), width, prompt_rows, batch)
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.bits.len() / self.width
    }

    /// Values of a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of the prompt.
    pub fn prompt_rows(&self) -> usize {
        self.prompt_rows
    }

    /// Chunks as bits, flattened by rows: an index is row times width plus column.
    pub fn chunks(&self) -> Vec<&[u16]> {
        let (prompt, decode) = self.bits.split_at(self.prompt_rows * self.width);
        let first = (!prompt.is_empty()).then_some(prompt);
        let rest = decode.chunks(self.batch * self.width);
        first.into_iter().chain(rest).collect()
    }

    /// A proof for each chunk, over its `top` largest activations, the lower index first among equals.
    pub fn prove(&self, top: usize) -> Result<Vec<Proof>, ToplocError> {
        let prove = |chunk: &&[u16]| {
            let point = |index: usize| (index, chunk.get(index).copied().unwrap_or_default());
            let points: Vec<_> = top_indices(chunk, top).into_iter().map(point).collect();
            Proof::of(&points)
        };
        self.chunks().iter().map(prove).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_is_one_chunk_and_steps_come_in_groups() {
        let rows = |n: usize| vec![0x3f80; n * 2];
        let lengths = |n, prompt, batch| {
            let activations = Activations::from_bits(rows(n), 2, prompt, batch).unwrap();
            activations
                .chunks()
                .iter()
                .map(|c| c.len() / 2)
                .collect::<Vec<_>>()
        };
        assert_eq!(lengths(112, 17, 32), [17, 32, 32, 31]);
        assert_eq!(lengths(5, 5, 32), [5]);
        assert_eq!(lengths(5, 0, 2), [2, 2, 1]);
        assert!(lengths(0, 0, 2).is_empty());
    }

    #[test]
    fn shapes_and_values_are_checked() {
        let new = Activations::from_bits;
        assert!(matches!(
            new(vec![0; 5], 2, 0, 1),
            Err(ToplocError::Shape { .. })
        ));
        assert!(matches!(
            new(vec![0; 4], 0, 0, 1),
            Err(ToplocError::Shape { .. })
        ));
        assert!(matches!(
            new(vec![0; 4], 2, 3, 1),
            Err(ToplocError::Range { .. })
        ));
        assert!(matches!(
            new(vec![0; 4], 2, 1, 0),
            Err(ToplocError::Range { .. })
        ));
        for bits in [0x7f80, 0xff80, 0x7fc0] {
            let got = new(vec![0, bits], 2, 1, 1);
            assert_eq!(got, Err(ToplocError::NonFinite { index: 1 }));
        }
        let rounded = Activations::from_f32(&[1.0, -1.004], 2, 1, 1).unwrap();
        assert_eq!(rounded.chunks(), [[0x3f80, 0xbf81].as_slice()]);
    }
}
