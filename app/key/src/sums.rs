//! The sums over one matrix: R·W, Σ|W|·max|R| and ΣW², each in f64.
//!
//! Every sum runs over the rows of W in ascending order, one addition after another, whatever the batches and the threads: threads
//! share the columns. A product of two f32 is exact in f64, so only additions round, and fused or not they give the same bits. For n rows
//! the sum is within n·2^-53·Σ|R||W| of the true one; rounding it to f32 costs 2^-24 of it, usually far more.

use assay_model::Dtype;

use crate::normals::normals;
use crate::parallel;
use crate::seed::Stream;

/// Columns that one thread works on at a time.
const WIDTH: usize = 256;
/// Rows decoded, and added to each sum, at a time: that many fewer loads and stores of sums.
const BLOCK: usize = 8;

/// Sums over a matrix `[n, k]` on their way.
pub(crate) struct Sums {
    k: usize,
    stripes: Vec<Stripe>,
}

/// The sums of some columns.
struct Stripe {
    width: usize,
    /// R·W `[K, WIDTH]`; empty where that comes from elsewhere.
    projected: Vec<[f64; WIDTH]>,
    bound: [f64; WIDTH],
    squares: [f64; WIDTH],
    /// W·z of this batch's rows over this stripe's columns; empty without a probe.
    dots: Vec<f64>,
}

/// Rows of a matrix with what multiplies them.
pub(crate) struct Batch<'a> {
    /// The rows' bytes as stored.
    pub bytes: &'a [u8],
    /// Their type.
    pub dtype: Dtype,
    /// `[rows]`.
    pub factors: &'a Factors,
    /// z `[k]`, to multiply the rows with; empty for none.
    pub probe: &'a [f64],
}

/// R of some rows, transposed.
pub(crate) struct Factors {
    projections: usize,
    rows: usize,
    /// `[rows / BLOCK, K, BLOCK]`, zeros behind the last row.
    blocks: Vec<[f64; BLOCK]>,
    /// `[rows / BLOCK, BLOCK]`: max over the projections of |R|.
    largest: Vec<[f64; BLOCK]>,
}

impl Factors {
    /// Those of the rows `first..first + rows` of a matrix of `n`, `[K, n]` in the stream.
    pub fn new(stream: &Stream, projections: usize, n: usize, first: usize, rows: usize) -> Self {
        let n_blocks = rows.div_ceil(BLOCK);
        let mut blocks = vec![[0.0; BLOCK]; n_blocks * projections];
        let mut largest = vec![[0.0_f64; BLOCK]; n_blocks];
        for projection in 0..projections {
            let start = (projection * n) as u64 + first as u64;
            for (row, normal) in normals(stream, start, rows).into_iter().enumerate() {
                let (normal, block, lane) = (f64::from(normal), row / BLOCK, row % BLOCK);
                blocks[block * projections + projection][lane] = normal;
                largest[block][lane] = largest[block][lane].max(normal.abs());
            }
        }
        Self {
            projections,
            rows,
            blocks,
            largest,
        }
    }

    /// R of one row in all projections.
    pub fn row(&self, row: usize) -> impl Iterator<Item = f64> + '_ {
        let first = row / BLOCK * self.projections;
        self.blocks[first..first + self.projections]
            .iter()
            .map(move |block| block[row % BLOCK])
    }
}

impl Sums {
    /// For a matrix of `k` columns; with no `projections`, only what does not need R·W.
    pub fn new(k: usize, projections: usize) -> Self {
        let stripe = |first| Stripe {
            width: WIDTH.min(k - first),
            projected: vec![[0.0; WIDTH]; projections],
            bound: [0.0; WIDTH],
            squares: [0.0; WIDTH],
            dots: Vec::new(),
        };
        let stripes = (0..k).step_by(WIDTH).map(stripe).collect();
        Self { k, stripes }
    }

    /// Adds the next rows.
    pub fn add(&mut self, batch: &Batch) {
        let k = self.k;
        parallel::for_each_chunk(&mut self.stripes, 1, |index, stripes| {
            for stripe in stripes {
                stripe.add(batch, k, index * WIDTH);
            }
        });
    }

    /// W·z of the rows that were added last, `[rows]`.
    pub fn dots(&self) -> Vec<f64> {
        let mut dots = Vec::new();
        for stripe in &self.stripes {
            dots.resize(stripe.dots.len(), 0.0);
            for (sum, dot) in dots.iter_mut().zip(&stripe.dots) {
                *sum += dot;
            }
        }
        dots
    }

    /// Row `projection` of R·W, `[k]`, rounded to f32.
    pub fn projected(&self, projection: usize) -> impl Iterator<Item = f32> + '_ {
        self.stripes.iter().flat_map(move |stripe| {
            let row = stripe.projected.get(projection).into_iter();
            row.flatten().take(stripe.width).map(|sum| *sum as f32)
        })
    }

    /// s `[k]`, never below the true sum over n rows.
    pub fn bound(&self, n: usize) -> impl Iterator<Item = f32> + '_ {
        // Products are exact and each of n additions may lose 2^-53; twice that covers the margin's own rounding.
        let margin = 1.0 + n as f64 * f64::EPSILON;
        self.stripes.iter().flat_map(move |stripe| {
            stripe.bound[..stripe.width]
                .iter()
                .map(move |sum| round_up(sum * margin))
        })
    }

    /// ‖W‖, the root of the sum of all squares. Not finite if a weight is not.
    pub fn frobenius(&self) -> f64 {
        let squares = self
            .stripes
            .iter()
            .flat_map(|stripe| &stripe.squares[..stripe.width]);
        libm::sqrt(squares.sum())
    }
}

/// The least f32 that is not below `value`.
fn round_up(value: f64) -> f32 {
    let near = value as f32;
    if f64::from(near) < value {
        near.next_up()
    } else {
        near
    }
}

impl Stripe {
    fn add(&mut self, batch: &Batch, k: usize, first: usize) {
        let Batch {
            bytes,
            dtype,
            factors,
            probe,
        } = *batch;
        let (row_bytes, size) = (dtype.row_bytes(k), dtype.row_bytes(1));
        let columns = first * size..(first + self.width) * size;
        let probe = probe.get(first..first + self.width).unwrap_or_default();
        let mut panel = [[0.0; WIDTH]; BLOCK];
        let mut scratch = Vec::with_capacity(WIDTH);
        self.dots.clear();
        let by_block = factors.blocks.chunks_exact(factors.projections);
        let blocks = bytes
            .chunks(BLOCK * row_bytes)
            .zip(by_block)
            .zip(&factors.largest);
        for ((block, normals), largest) in blocks {
            let rows = block.chunks_exact(row_bytes);
            if rows.len() < BLOCK {
                // Zeros times the factors' zeros, where there are no rows.
                panel = [[0.0; WIDTH]; BLOCK];
            }
            for (weights, row) in panel.iter_mut().zip(rows) {
                decode(&row[columns.clone()], dtype, weights, &mut scratch);
            }
            for (sums, normals) in self.projected.iter_mut().zip(normals) {
                project(sums, &panel, normals);
            }
            measure(&mut self.bound, &mut self.squares, &panel, largest);
            if !probe.is_empty() {
                self.dots
                    .extend(panel.iter().map(|weights| dot(weights, probe)));
            }
        }
        if !probe.is_empty() {
            self.dots.truncate(factors.rows);
        }
    }
}

/// Adds to each column's sum the products of a block's rows, one after another. The loop over columns is the one that becomes vector
/// instructions, so it is the inner one, over arrays of a known length.
fn project(sums: &mut [f64; WIDTH], panel: &[[f64; WIDTH]; BLOCK], normals: &[f64; BLOCK]) {
    let [a, b, c, d, e, f, g, h] = panel;
    for (column, slot) in sums.iter_mut().enumerate() {
        let mut sum = *slot;
        sum += normals[0] * a[column];
        sum += normals[1] * b[column];
        sum += normals[2] * c[column];
        sum += normals[3] * d[column];
        sum += normals[4] * e[column];
        sum += normals[5] * f[column];
        sum += normals[6] * g[column];
        sum += normals[7] * h[column];
        *slot = sum;
    }
}

/// Adds to the bounds and the squares.
fn measure(
    bounds: &mut [f64; WIDTH],
    squares: &mut [f64; WIDTH],
    panel: &[[f64; WIDTH]; BLOCK],
    largest: &[f64; BLOCK],
) {
    let [a, b, c, d, e, f, g, h] = panel;
    for (column, slot) in bounds.iter_mut().enumerate() {
        let mut bound = *slot;
        bound += largest[0] * a[column].abs();
        bound += largest[1] * b[column].abs();
        bound += largest[2] * c[column].abs();
        bound += largest[3] * d[column].abs();
        bound += largest[4] * e[column].abs();
        bound += largest[5] * f[column].abs();
        bound += largest[6] * g[column].abs();
        bound += largest[7] * h[column].abs();
        *slot = bound;
    }
    for (column, slot) in squares.iter_mut().enumerate() {
        let mut square = *slot;
        square += a[column] * a[column];
        square += b[column] * b[column];
        square += c[column] * c[column];
        square += d[column] * d[column];
        square += e[column] * e[column];
        square += f[column] * f[column];
        square += g[column] * g[column];
        square += h[column] * h[column];
        *slot = square;
    }
}

/// A product in eight partial sums: of the probe only, whose order is nobody's business.
fn dot(weights: &[f64; WIDTH], probe: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (weights, probe) in weights.chunks(8).zip(probe.chunks(8)) {
        for ((sum, weight), z) in sums.iter_mut().zip(weights).zip(probe) {
            *sum += weight * z;
        }
    }
    sums.iter().sum()
}

/// Stored elements as f64, exactly. bf16 is half of an f32's bits; saying so here, without a branch for NaN, keeps this from taking
/// as long as the sums.
fn decode(bytes: &[u8], dtype: Dtype, out: &mut [f64], scratch: &mut Vec<f32>) {
    match dtype {
        Dtype::BF16 => {
            for (slot, half) in out.iter_mut().zip(bytes.as_chunks().0) {
                let bits = u32::from(u16::from_le_bytes(*half)) << 16;
                *slot = f64::from(f32::from_bits(bits));
            }
        }
        _ => {
            scratch.clear();
            dtype.decode(bytes, scratch);
            for (slot, value) in out.iter_mut().zip(&*scratch) {
                *slot = f64::from(*value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_up_and_no_further() {
        assert_eq!(round_up(0.0), 0.0);
        assert_eq!(round_up(1.0), 1.0);
        assert_eq!(round_up(1.0 + 1e-12), 1.0 + f32::EPSILON);
        assert_eq!(round_up(1.0 - 1e-12), 1.0);
        assert_eq!(round_up(1e-60), f32::from_bits(1));
        assert_eq!(round_up(1e300), f32::INFINITY);
        assert!(round_up(f64::NAN).is_nan());
    }
}
