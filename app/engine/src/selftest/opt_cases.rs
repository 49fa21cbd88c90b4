//! Seeded cases of the kernels that only OPT has.

use super::cases::{Case, FOLD, Seeded, TexelRow, bytes, zeros};
use crate::kernels::kv_write::To;
use crate::{Numerics, kernels};
use assay_model::Dtype;

/// A layer norm of `rows` rows of `n` columns, whose mean is far from 0.
pub fn layernorm(numerics: Numerics, rows: usize, n: usize) -> Case {
    let mut seeded = Seeded((rows * 137 + n) as u64);
    let x: Vec<f32> = seeded.floats(rows * n).iter().map(|v| v + 3.0).collect();
    let (weight, bias) = (seeded.floats(n), seeded.floats(n));
    let mut y = vec![0.0; rows * n];
    kernels::layernorm::cpu(&x, &weight, &bias, 1e-5, &mut y);
    let (params, grid) = kernels::layernorm::dispatch(rows as u32, n as u32, 0, 1e-5);
    let buffers = vec![
        (1, bytes(&x)),
        (2, bytes(&weight)),
        (3, zeros(y.len())),
        (4, bytes(&bias)),
    ];
    Case {
        texel_row: None,
        key: kernels::layernorm::key(numerics),
        params,
        grid,
        buffers,
        expected: vec![(3, y)],
    }
}

/// Learned positions for `rows` tokens from the table's row `first` on.
pub fn add_position(
    numerics: Numerics,
    dtype: Dtype,
    rows: usize,
    hidden: usize,
    first: usize,
) -> Case {
    let mut seeded = Seeded((rows * 41 + hidden * 11 + first) as u64);
    let table = seeded.matrix(dtype, first + rows + 1, hidden);
    let y = seeded.floats(rows * hidden);
    let mut sum = y.clone();
    kernels::add_position::cpu(dtype, &table, hidden, first, &mut sum);
    let (params, grid) = kernels::add_position::dispatch(rows as u32, hidden as u32, first as u32);
    Case {
        texel_row: None,
        key: kernels::add_position::key(dtype, hidden, numerics),
        params,
        grid,
        buffers: vec![(2, table), (3, bytes(&y))],
        expected: vec![(3, sum)],
    }
}

/// Keys and values of `rows` tokens from position `pos0` on, into caches with room for two more.
pub fn kv_write(rows: usize, width: usize, pos0: usize) -> Case {
    written(rows, width, pos0, None)
}

/// The same into textures; `width` is a multiple of four.
pub fn kv_write_texels(rows: usize, width: usize, pos0: usize) -> Case {
    written(rows, width, pos0, Some(FOLD))
}

fn written(rows: usize, width: usize, pos0: usize, fold: Option<u32>) -> Case {
    let mut seeded = Seeded((rows * 43 + width + pos0) as u64);
    let (k, v) = (seeded.floats(rows * width), seeded.floats(rows * width));
    let capacity = (pos0 + rows + 2).next_multiple_of(1 << fold.unwrap_or(0));
    let mut caches = [0, 1].map(|_| vec![0.0; capacity * width]);
    kernels::kv_write::cpu(&k, width, pos0, &mut caches[0]);
    kernels::kv_write::cpu(&v, width, pos0, &mut caches[1]);
    let (pos0, key) = (pos0 as u32, kernels::kv_write::key());
    let (to, key) = match fold {
        Some(fold) => (To::Texels { pos0, fold }, kernels::kv_write::texels_key()),
        None => (To::Buffer(pos0), key),
    };
    let (params, grid) = kernels::kv_write::dispatch(rows as u32, width as u32, to);
    let [k_cache, v_cache] = caches;
    Case {
        texel_row: fold.map(|fold| TexelRow::of(Dtype::F32, width << fold)),
        key,
        params,
        grid,
        buffers: vec![
            (1, bytes(&k)),
            (2, bytes(&v)),
            (3, zeros(k_cache.len())),
            (4, zeros(v_cache.len())),
        ],
        expected: vec![(3, k_cache), (4, v_cache)],
    }
}

/// The activation of an MLP without a gate, over `rows` rows of `width` columns.
pub fn relu(rows: usize, width: usize) -> Case {
    let mut seeded = Seeded((rows * 47 + width) as u64);
    let x = seeded.floats(rows * width);
    let mut y = vec![0.0; x.len()];
    kernels::relu::cpu(&x, &mut y);
    let (params, grid) = kernels::relu::dispatch(rows as u32, width as u32);
    Case {
        texel_row: None,
        key: kernels::relu::key(),
        params,
        grid,
        buffers: vec![(1, bytes(&x)), (2, zeros(y.len()))],
        expected: vec![(2, y)],
    }
}
