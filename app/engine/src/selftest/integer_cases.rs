//! Cases of products whose inputs are rounded to 8 bits.

use super::Case;
use super::cases::{Seeded, bytes, zeros};
use crate::kernels::matmul::Epilogue;
use crate::kernels::round8::{self, Blocks, Blocks8};
use crate::kernels::{fixed_sums, matmul_fixed, matmul_i8, round_heads, scale_sums};
use crate::{CacheFormat, Numerics};
use assay_model::{Dtype, FIXED_COLUMNS};
use assay_trace::NO_SUM;

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
        texel_row: None,
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
        texel_row: None,
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

/// Keys or values of `rows` tokens from position `pos0` on, in a cache with room for one more; none for a cache that rounds nothing.
pub fn round_heads(
    numerics: Numerics,
    format: CacheFormat,
    rows: usize,
    heads: usize,
    d: usize,
    pos0: usize,
) -> Option<Case> {
    let width = heads * d;
    let before = uneven((pos0 + rows + 1) * heads, d);
    let mut after = before.clone();
    let chunk = after.get_mut(pos0 * width..(pos0 + rows) * width)?;
    round_heads::cpu(format, chunk, d);
    let [rows, heads, d, pos0] = [rows, heads, d, pos0].map(|n| n as u32);
    let (params, grid) = round_heads::dispatch(rows, heads, d, pos0);
    Some(Case {
        texel_row: None,
        key: round_heads::key(format, numerics)?,
        params,
        grid,
        buffers: vec![(1, bytes(&before))],
        expected: vec![(1, after)],
    })
}

/// Rows rounded in blocks.
pub fn round_blocks(numerics: Numerics, blocks: Blocks, rows: usize, k: usize) -> Case {
    // Blocks, not rows, have one size.
    let x = uneven(rows * k / blocks.columns(), blocks.columns());
    let mut y = vec![0.0; x.len()];
    round8::blocks_cpu(blocks, &x, &mut y);
    let (params, grid) = round8::dispatch_blocks(blocks, rows as u32, k as u32);
    Case {
        texel_row: None,
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
    let wide: Vec<i64> = z.iter().copied().map(i64::from).collect();
    let (s, w) = (seeded.floats(rows), seeded.floats(width));
    let (bias, residual) = (seeded.floats(width), seeded.floats(rows * width));
    let mut y = vec![0.0; rows * width];
    scale_sums::cpu(
        &wide,
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
        texel_row: None,
        key: scale_sums::key(epilogue, numerics),
        params,
        grid,
        buffers,
        expected: vec![(6, y)],
    }
}

/// Words as a case holds them.
fn as_floats(bytes: &[u8]) -> Vec<f32> {
    let (words, _) = bytes.as_chunks();
    words.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

fn words_of(scales: &[u16]) -> Vec<u8> {
    let scales = scales.iter().copied().map(u32::from);
    scales.flat_map(u32::to_le_bytes).collect()
}

/// Rows of so many blocks of 32 to integers and f16 scales: of all sizes that those have, and beyond.
pub fn quantize_blocks(numerics: Numerics, rows: usize, count: usize) -> Case {
    let k = count * FIXED_COLUMNS;
    let mut x = uneven(rows * count, FIXED_COLUMNS);
    for (i, block) in x.chunks_exact_mut(FIXED_COLUMNS).enumerate() {
        // Scales that are subnormal, the least, none, and beyond the largest.
        let size = [1.0, 1e-3, 1e-5, 1e-7, 1e9, 1e34][i % 6];
        block.iter_mut().for_each(|x| *x *= size);
        if i == 13 {
            block[7] = f32::NAN;
        }
    }
    let blocks = round8::integer_blocks_cpu(&x);
    let (params, grid) = round8::dispatch_blocks(Blocks::Q8_0, rows as u32, k as u32);
    Case {
        texel_row: None,
        key: round8::integers_key(numerics),
        params,
        grid,
        buffers: vec![
            (1, bytes(&x)),
            (2, zeros(x.len() / 4)),
            (3, zeros(rows * count)),
        ],
        expected: vec![
            (2, as_floats(bytemuck::cast_slice(&blocks.values))),
            (3, as_floats(&words_of(&blocks.scales))),
        ],
    }
}

/// A product in fixed point with a shard of a matrix of this type, so that z has 5 columns more, 3 of them before the shard's. Scales of
/// both are of every size: sums are small, large, and none.
pub fn matmul_fixed(
    dtype: Dtype,
    packed_dot: bool,
    one_row: bool,
    m: usize,
    n: usize,
    k: usize,
) -> Case {
    let mut seeded = Seeded((m * 59 + n * 7 + k) as u64);
    let mut w = dtype.noise(n, k, &mut || seeded.next());
    let row_bytes = dtype.row_bytes(k);
    let count = k / FIXED_COLUMNS;
    let mut x = Blocks8 {
        values: (0..m * k)
            .map(|_| (seeded.next() as i8).max(-127))
            .collect(),
        scales: Vec::with_capacity(m * count),
    };
    for i in 0..m * count {
        // Of rows, one in three has scales of any size, to the largest; those of others are as inputs are.
        let bits = seeded.next() as u16;
        x.scales.push(match (i / count) % 3 {
            2 => bits % 0x7C00,
            1 if i % 5 == 0 => bits % 0x400,
            _ => 0x1400 + bits % 0x1000,
        });
    }
    // A scale that is no number, and a row of the matrix with the largest scale, which every type but int4 has in its first or last word.
    if m > 4 {
        x.scales[3 * count] = 0x7E00;
    }
    if n > 4 {
        let row = &mut w[3 * row_bytes..4 * row_bytes];
        let at = if dtype == Dtype::Q6K { 208 } else { 0 };
        row[at..at + 2].copy_from_slice(&0xFBFF_u16.to_le_bytes());
    }
    let mut own = vec![0; m * n];
    let row = |c: usize| &w[c * row_bytes..][..row_bytes];
    matmul_fixed::cpu(&x, dtype, row, n, k, &mut own);
    let stride = n + 5;
    let mut z = vec![0i64; m * stride];
    for (z, own) in z.chunks_exact_mut(stride).zip(own.chunks_exact(n)) {
        z[3..3 + n].copy_from_slice(own);
    }
    let shape = matmul_fixed::Shape {
        dtype,
        one_row,
        n: n as u32,
        k: k as u32,
        stride: stride as u32,
        n0: 3,
    };
    let (params, grid) = matmul_fixed::dispatch(m as u32, shape);
    Case {
        texel_row: None,
        key: matmul_fixed::key(dtype, packed_dot, one_row),
        params,
        grid,
        buffers: vec![
            (1, bytemuck::cast_slice(&x.values).to_vec()),
            (2, w),
            (3, zeros(2 * z.len())),
            (4, words_of(&x.scales)),
        ],
        expected: vec![(3, as_floats(bytemuck::cast_slice(&z)))],
    }
}

/// Sums in fixed point to numbers: of every size, ties among them.
pub fn fixed_sums(numerics: Numerics, epilogue: Epilogue, rows: usize, width: usize) -> Case {
    let mut seeded = Seeded((rows * 71 + width) as u64);
    let mut z: Vec<i64> = (0..rows * width)
        .map(|i| match i % 3 {
            // 25 bits, the last of them set, and zeros: halfway between two numbers.
            0 => (((1 << 24) + (seeded.next() as i64 & 0xFF_FFFF)) | 1) << (i % 38),
            _ => (seeded.next() as i64) >> (i % 64),
        })
        .collect();
    let ends = [i64::MAX, -i64::MAX, 0, 1, -1, i64::MAX - (1 << 38), 1 << 62];
    z.iter_mut().rev().zip(ends).for_each(|(z, end)| *z = end);
    if epilogue == Epilogue::default() {
        z[0] = NO_SUM;
    }
    let (bias, residual) = (seeded.floats(width), seeded.floats(rows * width));
    let mut y = vec![0.0; rows * width];
    fixed_sums::cpu(
        &z,
        width,
        epilogue.bias.then_some(&bias[..]),
        epilogue.residual.then_some(&residual[..]),
        &mut y,
    );
    let (params, grid) = fixed_sums::dispatch(rows as u32, width as u32);
    let mut buffers = vec![(1, bytemuck::cast_slice(&z).to_vec()), (6, zeros(y.len()))];
    if epilogue.bias {
        buffers.push((4, bytes(&bias)));
    }
    if epilogue.residual {
        buffers.push((5, bytes(&residual)));
    }
    Case {
        texel_row: None,
        key: fixed_sums::key(epilogue, numerics),
        params,
        grid,
        buffers,
        expected: vec![(6, y)],
    }
}
