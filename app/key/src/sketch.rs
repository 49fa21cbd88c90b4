//! The embedding's sketch: a few numbers for each token, by which a verifier without the table knows a hidden state 0 again.
//!
//! Row v of the sketch is G·e, e the embedding of v and G secret. A prover who returns another vector for v would have to hit the same
//! few real numbers without knowing G.

use assay_model::Dtype;

use crate::normals::normals;
use crate::parallel;
use crate::seed::Stream;

/// Numbers in registers.
const LANES: usize = 4;
/// Rows that one thread works on at a time.
const ROWS: usize = 256;

/// G, transposed.
pub(crate) struct Sketcher {
    width: usize,
    /// `[hidden, width / LANES]`, the last lanes zero where the width is no multiple.
    lanes: Vec<[f64; LANES]>,
}

impl Sketcher {
    /// G `[width, hidden]` of a stream.
    pub fn new(stream: &Stream, width: usize, hidden: usize) -> Self {
        let groups = width.div_ceil(LANES);
        let mut lanes = vec![[0.0; LANES]; hidden * groups];
        for (index, normal) in normals(stream, 0, width * hidden).into_iter().enumerate() {
            let (number, column) = (index / hidden, index % hidden);
            lanes[column * groups + number / LANES][number % LANES] = f64::from(normal);
        }
        Self { width, lanes }
    }

    /// Sketches of the embedding rows in `bytes`, f32 `[rows, width]`; each a sum in f64 over ascending channels, rounded once.
    pub fn sketch(&self, bytes: &[u8], dtype: Dtype) -> Vec<f32> {
        let groups = self.width.div_ceil(LANES);
        let row_bytes = dtype.row_bytes(self.lanes.len() / groups).max(1);
        let mut out = vec![0.0; bytes.len() / row_bytes * self.width];
        parallel::for_each_chunk(&mut out, ROWS * self.width, |chunk, out| {
            let rows = bytes.chunks_exact(row_bytes).skip(chunk * ROWS);
            let mut decoded = Vec::new();
            for (sketch, row) in out.chunks_exact_mut(self.width).zip(rows) {
                decoded.clear();
                dtype.decode(row, &mut decoded);
                for (group, numbers) in sketch.chunks_mut(LANES).enumerate() {
                    let mut sums = [0.0; LANES];
                    for (value, factors) in decoded
                        .iter()
                        .zip(self.lanes[group..].iter().step_by(groups))
                    {
                        for (sum, factor) in sums.iter_mut().zip(factors) {
                            *sum += factor * f64::from(*value);
                        }
                    }
                    for (number, sum) in numbers.iter_mut().zip(sums) {
                        *number = sum as f32;
                    }
                }
            }
        });
        out
    }
}
