//! The CPU twin of all products.

use super::{SEGMENT, Stored};
use crate::kernels::lanes::{LANES, advance, pack};
use crate::kernels::{for_each, silu_mul};
use crate::numerics::Rounding;
use assay_model::Dtype;
use std::borrow::Cow;
use std::ops::Range;

/// Matrices with at most this many rows are divided among tasks by segments too: an audit's have 16 to 20, which is work for one core.
const FEW_ROWS: usize = 64;

/// Rows of w in a block where that makes fewer blocks: a default key's 16 projections and 4 sampled rows.
const WIDE: usize = 20;

/// The twin: `y[r, c] = sum_k x[r, k] w[c, k] (+ bias[c]) (+ residual[r, c])`; x is [m, k], y is [m, n].
pub fn cpu(
    x: &[f32],
    w: Stored<'_>,
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    y: &mut [f32],
) {
    product(x, w, false, y);
    for (r, y) in y.chunks_exact_mut(w.n).enumerate() {
        if let Some(bias) = bias {
            y.iter_mut().zip(bias).for_each(|(y, b)| *y += b);
        }
        if let Some(residual) = residual {
            let residual = &residual[r * w.n..];
            y.iter_mut().zip(residual).for_each(|(y, v)| *y += v);
        }
    }
}

/// The twin of [`key_keeping`](super::key_keeping).
pub fn cpu_keeping(
    x: &[f32],
    w: Stored<'_>,
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    rounding: Rounding,
    y: &mut [f32],
) {
    if rounding == Rounding::Keep {
        return cpu(x, w, bias, residual, y);
    }
    cpu(x, w, bias, None, y);
    rounding.all(y);
    if let Some(residual) = residual {
        y.iter_mut().zip(residual).for_each(|(y, r)| *y += r);
        rounding.all(y);
    }
}

/// The twin of [`gated_key`](super::gated_key): `y = silu(x gate^T) * (x up^T)`; `w` holds gate's rows and as many of up's, `bias` likewise; y is [m, w.n / 2].
pub fn gated_cpu(x: &[f32], w: Stored<'_>, bias: Option<&[f32]>, y: &mut [f32]) {
    let n = w.n / 2;
    let m = y.len() / n;
    let mut both = vec![0.0; m * w.n];
    cpu(x, w, bias, None, &mut both);
    for (both, y) in both.chunks_exact(w.n).zip(y.chunks_exact_mut(n)) {
        let (gate, up) = both.split_at(n);
        silu_mul::cpu(gate, up, Rounding::Keep, y);
    }
}

/// The twin of [`key_of_magnitudes`](super::key_of_magnitudes): `y[r, c] = sum_k |x[r, k]| w[c, k]`.
pub fn magnitudes_cpu(x: &[f32], w: Stored<'_>, y: &mut [f32]) {
    product(x, w, true, y);
}

/// The products of x, or of its magnitudes.
fn product(x: &[f32], w: Stored<'_>, magnitudes: bool, y: &mut [f32]) {
    if w.n.div_ceil(WIDE) < w.n.div_ceil(LANES) {
        product_by::<WIDE>(x, w, magnitudes, y);
    } else {
        product_by::<LANES>(x, w, magnitudes, y);
    }
}

/// The same with `L` rows of w in lanes: an element of x meets all of them at once.
fn product_by<const L: usize>(x: &[f32], w: Stored<'_>, magnitudes: bool, y: &mut [f32]) {
    let Stored { n, k, .. } = w;
    let (m, segments) = (y.len() / n, k.div_ceil(SEGMENT));
    // Without floats to borrow, each task of a block would decode all of it again.
    let parts = match floats(w) {
        Some(_) if n <= FEW_ROWS => segments.max(1),
        _ => 1,
    };
    // By block of w's rows, part of k, row of x.
    let mut sums = vec![[0.0; L]; n.div_ceil(L) * parts * m];
    let tasks: Vec<&mut [[f32; L]]> = sums.chunks_mut(m.max(1)).collect();
    for_each(tasks, |task, sums| {
        let (block, part) = (task / parts, task % parts);
        let first = block * L;
        let rows = rows(w, first..n.min(first + L));
        let rows = || (0..rows.len() / k).map(|i| &rows[i * k..(i + 1) * k]);
        let mut packed = [[0.0; L]; SEGMENT];
        for segment in part * segments / parts..(part + 1) * segments / parts {
            let span = segment * SEGMENT..k.min((segment + 1) * SEGMENT);
            pack(rows().map(|row| &row[span.clone()]), &mut packed);
            add_segment(&packed, x, k, span, magnitudes, sums);
        }
    });
    let parts_of = |block: usize| sums[block * parts * m..][..parts * m].chunks_exact(m);
    for (r, y) in y.chunks_exact_mut(n).enumerate() {
        for (block, y) in y.chunks_mut(L).enumerate() {
            let mut total = [0.0; L];
            for part in parts_of(block) {
                total.iter_mut().zip(part[r]).for_each(|(t, s)| *t += s);
            }
            y.copy_from_slice(&total[..y.len()]);
        }
    }
}

/// Adds the sums of one segment of k, for every row of x, to what the segments before it came to. (A sum that begins with +0 is never -0,
/// so beginning all of them with 0 changes no bit.)
fn add_segment<const L: usize>(
    packed: &[[f32; L]],
    x: &[f32],
    k: usize,
    span: Range<usize>,
    magnitudes: bool,
    totals: &mut [[f32; L]],
) {
    let mut positive = [0.0; SEGMENT];
    for (x, total) in x.chunks_exact(k).zip(totals) {
        let mut x = &x[span.clone()];
        if magnitudes {
            positive.iter_mut().zip(x).for_each(|(p, x)| *p = x.abs());
            x = &positive[..x.len()];
        }
        let mut sums = [0.0; L];
        advance(&packed[..x.len()], x, &mut sums);
        total.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
    }
}

/// The whole matrix, where it is stored as floats that can be read in place.
fn floats<'a>(w: Stored<'a>) -> Option<&'a [f32]> {
    match w.dtype {
        Dtype::F32 => bytemuck::try_cast_slice(w.bytes).ok(),
        _ => None,
    }
}

/// Some rows of w, one after another.
fn rows<'a>(w: Stored<'a>, range: Range<usize>) -> Cow<'a, [f32]> {
    if let Some(floats) = floats(w) {
        return Cow::Borrowed(&floats[range.start * w.k..range.end * w.k]);
    }
    let mut rows = Vec::with_capacity(range.len() * w.k);
    for row in range.clone() {
        w.dtype.decode_row(w.bytes, row, w.k, &mut rows);
    }
    Cow::Owned(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selftest::Seeded;

    /// The canonical order, a number at a time.
    fn plain(x: &[f32], w: &[f32]) -> f32 {
        let segments = x.chunks(SEGMENT).zip(w.chunks(SEGMENT));
        let sums = segments.map(|(x, w)| x.iter().zip(w).fold(0.0, |sum, (x, w)| sum + x * w));
        sums.reduce(|total, sum| total + sum).unwrap_or(0.0)
    }

    fn holds(m: usize, n: usize, k: usize, dtype: Dtype) {
        let mut seeded = Seeded((m * 1009 + n * 31 + k) as u64);
        let x = seeded.floats(m * k);
        let (bias, residual) = (seeded.floats(n), seeded.floats(m * n));
        let bytes = seeded.matrix(dtype, n, k);
        let w = Stored {
            dtype,
            bytes: &bytes,
            n,
            k,
        };
        let mut decoded = Vec::new();
        (0..n).for_each(|c| dtype.decode_row(&bytes, c, k, &mut decoded));
        let positive: Vec<f32> = x.iter().map(|x| x.abs()).collect();
        let row = |of: &[f32], i: usize| of[i * k..(i + 1) * k].to_vec();
        let (mut y, mut sums, mut of_magnitudes) = (
            vec![f32::NAN; m * n],
            vec![f32::NAN; m * n],
            vec![0.0; m * n],
        );
        cpu(&x, w, None, None, &mut y);
        cpu(&x, w, Some(&bias), Some(&residual), &mut sums);
        magnitudes_cpu(&x, w, &mut of_magnitudes);
        for i in 0..m * n {
            let (r, c) = (i / n, i % n);
            let want = plain(&row(&x, r), &row(&decoded, c));
            let all = want + bias[c] + residual[i];
            let magnitudes = plain(&row(&positive, r), &row(&decoded, c));
            let got = [y[i], sums[i], of_magnitudes[i]].map(f32::to_bits);
            let want = [want, all, magnitudes].map(f32::to_bits);
            assert_eq!(
                got, want,
                "{dtype:?}, {m} x {k} times {n} x {k}, at {r}, {c}"
            );
        }
    }

    #[test]
    fn bits_are_those_of_a_plain_loop() {
        for m in [1, 2, 15, 16, 17, 33] {
            for n in [1, 3, 16, 20, 36, 70] {
                for k in [1, 6, 255, 256, 258, 1027] {
                    holds(m, n, k, Dtype::F32);
                    holds(m, n, k, Dtype::BF16);
                }
                for k in [32, 544] {
                    holds(m, n, k, Dtype::Q8_0);
                    holds(m, n, k, Dtype::Int4 { group: 32 });
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_not_aligned_are_read_too() {
        let x = Seeded(1).floats(2 * 300);
        let bytes = Seeded(2).matrix(Dtype::F32, 5, 300);
        let moved = [&[0], &bytes[..]].concat();
        let [aligned, other] = [&bytes[..], &moved[1..]].map(|bytes| {
            let mut y = vec![0.0; 2 * 5];
            let w = Stored {
                dtype: Dtype::F32,
                bytes,
                n: 5,
                k: 300,
            };
            cpu(&x, w, None, None, &mut y);
            y
        });
        assert_eq!(aligned, other);
    }

    #[test]
    fn minus_zero_and_no_columns_at_all() {
        fn w(bytes: &[u8], k: usize) -> Stored<'_> {
            Stored {
                dtype: Dtype::F32,
                bytes,
                n: 1,
                k,
            }
        }
        let (minus_one, mut y) = ((-1.0_f32).to_le_bytes(), [1.0]);
        cpu(&[0.0], w(&minus_one, 1), None, None, &mut y);
        assert_eq!(y[0].to_bits(), 0, "a sum that begins with +0");
        cpu(&[], w(&[], 0), None, None, &mut y);
        assert_eq!(y[0].to_bits(), 0);
    }
}
