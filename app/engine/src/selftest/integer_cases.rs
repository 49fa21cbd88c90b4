//! Cases of products whose inputs are rounded to 8 bits.

use super::Case;
use super::cases::{Seeded, bytes, zeros};
use crate::Numerics;
use crate::kernels::matmul::Epilogue;
use crate::kernels::round8::{self, Blocks};
use crate::kernels::{matmul_i8, scale_sums};

/// A product of 8-bit integers: with a whole matrix, or, if its rows have `first` words before them, with a shard of one, so that z has 5
/// columns more, 3 of them before the shard's.
pub fn matmul_i8(
    packed_dot: bool,
    one_row: bool,
    first: usize,
    m: usize,
    n: usize,
    k: usize,
) -> Case {
    let mut seeded = Seeded((m * 53 + n * 5 + k) as u64);
    let mut integers =
        |count: usize| -> Vec<i8> { (0..count).map(|_| seeded.next() as i8).collect() };
    let (x, w) = (integers(m * k), integers(n * k));
    let mut own = vec![0i32; m * n];
    matmul_i8::cpu(&x, |c| &w[c * k..][..k], n, k, &mut own);
    // A shard of a matrix in row form, or a whole one without scales.
    let (stride, n0) = if first > 0 { (n + 5, 3) } else { (n, 0) };
    let mut z = vec![0i32; m * stride];
    for (z, own) in z.chunks_exact_mut(stride).zip(own.chunks_exact(n)) {
        z[n0..n0 + n].copy_from_slice(own);
    }
    // Whole words: zeros in x, and anything at all in w, since it meets those.
    let words = |row: &[i8], fill: u8| {
        let mut row: Vec<u8> = bytemuck::cast_slice(row).to_vec();
        row.resize(4 * round8::words(k), fill);
        row
    };
    let rows = x.chunks_exact(k).flat_map(|row| words(row, 0));
    let weights = w.chunks_exact(k);
    let weights = weights.flat_map(|row| [vec![0xC5; 4 * first], words(row, 0x5A)].concat());
    let shape = matmul_i8::Shape {
        one_row,
        n: n as u32,
        k: k as u32,
        stride: stride as u32,
        n0: n0 as u32,
        w_first: first as u32,
    };
    let (params, grid) = matmul_i8::dispatch(m as u32, shape);
    Case {
        key: matmul_i8::key(packed_dot, one_row),
        params,
        grid,
        buffers: vec![
            (1, rows.collect()),
            (2, weights.collect()),
            (3, zeros(z.len())),
        ],
        expected: vec![(3, bytemuck::cast_slice(&z).to_vec())],
    }
}

/// Rows of very different sizes, one of zeros and one of almost nothing where there are as many.
fn uneven(rows: usize, k: usize) -> Vec<f32> {
    let mut x = Seeded((rows * 61 + k) as u64).floats(rows * k);
    for (r, row) in x.chunks_exact_mut(k).enumerate() {
        let size = [1.0, 0.0, 3e4, 1e-35, 2e-3][r % 5];
        row.iter_mut().for_each(|x| *x *= size);
        // A tie, and the largest of a row twice.
        if r % 5 == 0 && k > 3 {
            row[..4].copy_from_slice(&[1.0, -1.0, 0.5 / 127.0, 1.5 / 127.0]);
        }
    }
    x
}

/// Rows to 8-bit integers.
pub fn quantize_rows(numerics: Numerics, rows: usize, k: usize) -> Case {
    let x = uneven(rows, k);
    let quantised = round8::rows_cpu(&x, k);
    let row = |row: &[i8]| {
        let mut row: Vec<u8> = bytemuck::cast_slice(row).to_vec();
        row.resize(4 * round8::words(k), 0);
        row
    };
    let words: Vec<u8> = quantised.values.chunks_exact(k).flat_map(row).collect();
    let (params, grid) = round8::dispatch_rows(rows as u32, k as u32);
    let as_floats = words.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b));
    let as_floats: Vec<f32> = as_floats.collect();
    Case {
        key: round8::rows_key(numerics),
        params,
        grid,
        buffers: vec![
            (1, bytes(&x)),
            (2, zeros(as_floats.len())),
            (3, zeros(rows)),
        ],
        expected: vec![(2, as_floats), (3, quantised.scales)],
    }
}

/// Rows rounded in blocks.
pub fn round_blocks(numerics: Numerics, blocks: Blocks, rows: usize, k: usize) -> Case {
    // Blocks, not rows, have one size.
    let x = uneven(rows * k / blocks.columns(), blocks.columns());
    let mut y = vec![0.0; x.len()];
    round8::blocks_cpu(blocks, &x, &mut y);
    let (params, grid) = round8::dispatch_blocks(blocks, rows as u32, k as u32);
    Case {
        key: round8::blocks_key(blocks, numerics),
        params,
        grid,
        buffers: vec![(1, bytes(&x)), (2, zeros(y.len()))],
        expected: vec![(2, y)],
    }
}

/// Integer sums to numbers.
pub fn scale_sums(numerics: Numerics, epilogue: Epilogue, rows: usize, width: usize) -> Case {
    let mut seeded = Seeded((rows * 67 + width) as u64);
    // Sums up to 2^31: more bits than an f32 has.
    let z: Vec<i32> = (0..rows * width)
        .map(|i| (seeded.next() as i32) >> (i % 20))
        .collect();
    let (s, w) = (seeded.floats(rows), seeded.floats(width));
    let (bias, residual) = (seeded.floats(width), seeded.floats(rows * width));
    let mut y = vec![0.0; rows * width];
    scale_sums::cpu(
        &z,
        &s,
        &w,
        epilogue.bias.then_some(&bias[..]),
        epilogue.residual.then_some(&residual[..]),
        &mut y,
    );
    let (params, grid) = scale_sums::dispatch(rows as u32, width as u32);
    let mut buffers = vec![
        (1, bytemuck::cast_slice(&z).to_vec()),
        (2, bytes(&s)),
        (3, bytes(&w)),
        (6, zeros(y.len())),
    ];
    if epilogue.bias {
        buffers.push((4, bytes(&bias)));
    }
    if epilogue.residual {
        buffers.push((5, bytes(&residual)));
    }
    Case {
        key: scale_sums::key(epilogue, numerics),
        params,
        grid,
        buffers,
        expected: vec![(6, y)],
    }
}
