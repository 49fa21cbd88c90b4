//! Matrix products in blocks of rows.
//!
//! Blocks are of one size whatever the machine, and within a block the library adds in one order of k, so a product has the same bits
//! with any number of threads. Other CPUs (other vector widths) may give other bits.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2, s};
use rayon::prelude::*;

/// Rows of the result that are computed at once.
const BLOCK: usize = 128;

/// a bᵀ: `[m, k]` and `[n, k]` to `[m, n]`.
pub(crate) fn times_transposed(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Vec<f32> {
    product(a, b.reversed_axes())
}

/// a b: `[m, k]` and `[k, n]` to `[m, n]`.
pub(crate) fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Vec<f32> {
    let mut out = vec![0.0; a.nrows() * b.ncols()];
    product_into(a, b, &mut out);
    out
}

/// As [`product`], into `out`, which has `m * n` values; other lengths leave it as it is.
pub(crate) fn product_into(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, out: &mut [f32]) {
    let columns = b.ncols();
    debug_assert_eq!((out.len(), a.ncols()), (a.nrows() * columns, b.nrows()));
    if columns == 0 || out.len() != a.nrows() * columns || a.ncols() != b.nrows() {
        return;
    }
    out.par_chunks_mut(BLOCK * columns)
        .enumerate()
        .for_each(|(block, out)| {
            let rows = out.len() / columns;
            let a = a.slice(s![block * BLOCK..block * BLOCK + rows, ..]);
            if let Ok(mut out) = ArrayViewMut2::from_shape((rows, columns), out) {
                general_mat_mul(1.0, &a, &b, 0.0, &mut out);
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Random};

    #[test]
    fn blocks_change_nothing() {
        let mut random = Random::new(5, Purpose::Weights, 0);
        for (m, k, n) in [
            (1, 1, 1),
            (127, 3, 5),
            (128, 300, 7),
            (129, 17, 64),
            (300, 5, 2),
        ] {
            let a: Vec<f32> = (0..m * k).map(|_| random.symmetric(1.0)).collect();
            let b: Vec<f32> = (0..n * k).map(|_| random.symmetric(1.0)).collect();
            let (va, vb) = (
                ArrayView2::from_shape((m, k), &a).unwrap(),
                ArrayView2::from_shape((n, k), &b).unwrap(),
            );
            let got = times_transposed(va, vb);
            let one = rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .build()
                .unwrap();
            let alone = one.install(|| times_transposed(va, vb));
            assert_eq!(got, alone, "threads change the result");
            for i in 0..m {
                for j in 0..n {
                    let want: f64 = (0..k)
                        .map(|t| f64::from(a[i * k + t]) * f64::from(b[j * k + t]))
                        .sum();
                    let off = (f64::from(got[i * n + j]) - want).abs();
                    assert!(off <= 1e-5 * (k as f64).sqrt(), "{m} {k} {n}: {off}");
                }
            }
        }
    }
}
