//! A matrix of integers on its way into a key: rows in row form become integers and, with r, sums over a field.

use assay_model::{Dtype, FIXED_COLUMNS, FixedBlock};

use crate::exact::{ExactSums, FactoredRow, FixedKey};
use crate::field::{Field, Mersenne61, Mersenne127, Words};
use crate::parallel;
use crate::seed::Stream;

/// Rows that are decoded to blocks at a time: a few MiB of them.
const DECODED_ROWS: usize = 64;

type ScaledSums = ExactSums<Mersenne61, 2>;
type FixedSums = ExactSums<Mersenne127, 4>;

/// Sums of a matrix [n, k] with its factors r.
pub(crate) enum Integers {
    /// Of 8-bit integers with one scale a row.
    Scaled {
        /// [n]
        r: Vec<u64>,
        k: usize,
        sums: ScaledSums,
    },
    /// Of fixed point.
    Fixed {
        /// [n]
        r: Vec<u128>,
        k: usize,
        dtype: Dtype,
        sums: FixedSums,
    },
}

impl Integers {
    /// Nothing yet, with factors from `stream`.
    pub fn new(dtype: Dtype, stream: &Stream<'_>, n: usize, k: usize) -> Self {
        match dtype {
            Dtype::Int8 { .. } => Self::Scaled {
                r: stream.residues::<Mersenne61>(n),
                k,
                sums: ScaledSums::new(k),
            },
            dtype => Self::Fixed {
                r: stream.residues::<Mersenne127>(n),
                k,
                dtype,
                sums: FixedSums::new(k),
            },
        }
    }

    /// Adds rows in row form, of which the first is number `first`. Gives their scales, if rows have one; `None` if one is no number.
    pub fn add(&mut self, bytes: &[u8], first: usize) -> Option<Vec<f32>> {
        match self {
            Self::Scaled { r, k, sums } => {
                let row_bytes = Dtype::Int8 { group: 0 }.row_bytes(*k);
                let rows: Vec<_> = bytes.chunks_exact(row_bytes).collect();
                let factors = r.get(first..)?.iter();
                let factors: Vec<_> = factors.map(|r| [[ScaledSums::limbs(*r), [0; 2]]]).collect();
                let mut scales = Vec::with_capacity(rows.len());
                let mut batch = Vec::with_capacity(rows.len());
                for (row, factors) in rows.into_iter().zip(&factors) {
                    let (scale, row) = row.split_first_chunk()?;
                    scales.push(f32::from_le_bytes(*scale));
                    let integers: &[i8] = bytemuck::cast_slice(row.get(..*k)?);
                    batch.push(FactoredRow { factors, integers });
                }
                sums.add(*k, &batch);
                scales.iter().all(|s| s.is_finite()).then_some(scales)
            }
            Self::Fixed { r, k, dtype, sums } => {
                let row_bytes = dtype.row_bytes(*k);
                let r = r.get(first..)?;
                let pieces = bytes.chunks(DECODED_ROWS * row_bytes);
                for (bytes, r) in pieces.zip(r.chunks(DECODED_ROWS)) {
                    let mut rows: Vec<_> =
                        bytes.chunks_exact(row_bytes).zip(r).map(decoded).collect();
                    parallel::for_each_chunk(&mut rows, 1, |_, rows| {
                        rows.iter_mut().for_each(|row| row.decode(*dtype, *k));
                    });
                    if !rows.iter().all(|row| row.is_decoded) {
                        return None;
                    }
                    let batch = rows.iter().map(|row| FactoredRow {
                        factors: &row.factors[..],
                        integers: &row.integers[..],
                    });
                    sums.add(FIXED_COLUMNS, &batch.collect::<Vec<_>>());
                }
                Some(Vec::new())
            }
        }
    }

    /// Writes Wᵀ r, little endian, to where it lies in a key.
    pub fn finish(self, to: &mut [u8]) {
        match self {
            Self::Scaled { sums, .. } => {
                for (slot, residue) in to.as_chunks_mut().0.iter_mut().zip(sums.finish()) {
                    *slot = residue.to_le_bytes();
                }
            }
            Self::Fixed { sums, .. } => {
                for (slot, residue) in to.as_chunks_mut().0.iter_mut().zip(sums.finish()) {
                    *slot = residue.to_le_bytes();
                }
            }
        }
    }
}

impl FixedKey {
    /// Reads a matrix [n, k] of a fixed-point type in row form once, and keeps k + n residues. `None` if it is not that.
    pub fn of_matrix(
        dtype: Dtype,
        matrix: &[u8],
        (n, k): (usize, usize),
        words: &mut dyn Words,
    ) -> Option<Self> {
        if !dtype.is_fixed_point(k) || matrix.len() != dtype.row_bytes(k).checked_mul(n)? {
            return None;
        }
        let r: Vec<u128> = (0..n).map(|_| Mersenne127::uniform(words)).collect();
        let mut integers = Integers::Fixed {
            r: r.clone(),
            k,
            dtype,
            sums: FixedSums::new(k),
        };
        integers.add(matrix, 0)?;
        let Integers::Fixed { sums, .. } = integers else {
            return None;
        };
        Self::from_parts(r, sums.finish())
    }
}

/// A row that becomes integers and the factors of its blocks.
struct Decoded<'a> {
    bytes: &'a [u8],
    r: u128,
    is_decoded: bool,
    factors: Vec<[[u32; 4]; 2]>,
    integers: Vec<i16>,
}

fn decoded<'a>((bytes, r): (&'a [u8], &u128)) -> Decoded<'a> {
    Decoded {
        bytes,
        r: *r,
        is_decoded: false,
        factors: Vec::new(),
        integers: Vec::new(),
    }
}

impl Decoded<'_> {
    fn decode(&mut self, dtype: Dtype, k: usize) {
        let mut blocks = Vec::with_capacity(k / FIXED_COLUMNS);
        self.is_decoded = dtype.fixed_row(self.bytes, k, &mut blocks);
        let of = |x: i64| match x {
            0 => [0; 4],
            x => FixedSums::limbs(Mersenne127::multiply(self.r, Mersenne127::integer(x))),
        };
        let factors = |block: &FixedBlock| [of(block.scale), of(block.least)];
        self.factors = blocks.iter().map(factors).collect();
        self.integers = blocks.iter().flat_map(|block| block.quants).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Purpose;
    use crate::{Part, Seed};
    use assay_model::LayerRole;

    fn noise(mut seed: u64) -> impl FnMut() -> u64 {
        move || {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let z = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }
    }

    /// Wᵀ r of every fixed-point type, against sums made weight by weight; rows in two batches, more than are decoded at a time.
    #[test]
    fn sums_are_those_of_each_weight() {
        let seed = Seed::from_bytes([4; 32]);
        let stream = seed.stream(Part::Layer(1, LayerRole::Up), Purpose::Field);
        let stream = stream.unwrap();
        for (dtype, n, k) in [
            (Dtype::Q8_0, 131, 96),
            (Dtype::Q4_0, 70, 1056),
            (Dtype::Q5_0, 5, 160),
            (Dtype::Q4K, 3, 512),
            (Dtype::Q6K, 3, 256),
            (Dtype::Int4 { group: 64 }, 5, 160),
        ] {
            let matrix = dtype.noise(n, k, &mut noise(3));
            let row_bytes = dtype.row_bytes(k);
            let mut integers = Integers::new(dtype, &stream, n, k);
            let (first, rest) = matrix.split_at(2 * row_bytes);
            assert_eq!(integers.add(first, 0), Some(Vec::new()));
            assert_eq!(integers.add(rest, 2), Some(Vec::new()));
            let mut written = vec![0; 16 * k];
            integers.finish(&mut written);
            let r = stream.residues::<Mersenne127>(n);
            let mut want = vec![0; k];
            for (row, r) in matrix.chunks_exact(row_bytes).zip(&r) {
                let mut blocks = Vec::new();
                assert!(dtype.fixed_row(row, k, &mut blocks));
                let weights = blocks.iter().flat_map(FixedBlock::weights);
                for (want, weight) in want.iter_mut().zip(weights) {
                    let term = Mersenne127::multiply(*r, Mersenne127::integer(weight));
                    *want = Mersenne127::add(*want, term);
                }
            }
            let (got, _) = written.as_chunks();
            let got = got.iter().map(|residue| u128::from_le_bytes(*residue));
            assert_eq!(got.collect::<Vec<_>>(), want, "{dtype:?}");
        }
    }

    #[test]
    fn a_scale_that_is_no_number_is_refused() {
        let seed = Seed::from_bytes([4; 32]);
        let stream = seed.stream(Part::Layer(0, LayerRole::Q), Purpose::Field);
        let mut integers = Integers::new(Dtype::Q8_0, &stream.unwrap(), 2, 64);
        let mut matrix = Dtype::Q8_0.noise(2, 64, &mut noise(5));
        matrix[70..72].copy_from_slice(&0x7C00u16.to_le_bytes());
        assert_eq!(integers.add(&matrix, 0), None);
    }
}
