//! Seeded cases of the kernels of a sparse MLP.
//!
//! A case compares floats, and masks are integers: few bits are set, so that no word of them is a NaN.

use super::cases::{Case, Seeded, TexelRow, bytes, zeros};
use crate::kernels::matmul::{Epilogue, Stored};
use crate::kernels::sparse::{Mask, Path, Tile, index, rows, sum, threshold, topk};
use crate::{Numerics, kernels::Grid, kernels::ParamBytes};
use assay_model::Dtype;

/// Neurons: more than one segment, and no whole word.
const N: usize = 301;
/// Rows, each with a list of its own.
const ROWS: usize = 3;

/// A mask of a few neurons a row, with its lists.
struct Few {
    mask: Mask,
    bits: Vec<u32>,
    list: Vec<u32>,
    starts: Vec<u32>,
}

impl Few {
    fn new(seeded: &mut Seeded) -> Self {
        let mask = Mask {
            rows: ROWS as u32,
            n: N as u32,
            tile: Tile::One,
        };
        let words = mask.words() as usize;
        let mut bits = vec![0_u32; ROWS * words];
        for row in bits.chunks_exact_mut(words) {
            for _ in 0..20 {
                let j = (seeded.next() % N as u64) as usize;
                row[j / 32] |= 1 << (j % 32);
            }
        }
        let mut list = vec![0; ROWS * N];
        let mut starts = vec![0; ROWS * (mask.segments() as usize + 1)];
        index::cpu(mask, &bits, &mut list, &mut starts);
        Self {
            mask,
            bits,
            list,
            starts,
        }
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    bytemuck::cast_slice(words).to_vec()
}

fn as_floats(words: &[u32]) -> Vec<f32> {
    words.iter().map(|w| f32::from_bits(*w)).collect()
}

fn case(
    key: crate::gpu::PipelineKey,
    (params, grid): (ParamBytes, Grid),
    buffers: Vec<(u32, Vec<u8>)>,
    expected: Vec<(u32, Vec<f32>)>,
) -> Case {
    Case {
        texel_row: None,
        key,
        params,
        grid,
        buffers,
        expected,
    }
}

/// Lists from a mask.
pub fn sparse_index() -> Case {
    let few = Few::new(&mut Seeded(71));
    let (list, starts) = (as_floats(&few.list), as_floats(&few.starts));
    case(
        index::key(Tile::One),
        index::dispatch(few.mask),
        vec![
            (1, words(&few.bits)),
            (2, zeros(list.len())),
            (3, zeros(starts.len())),
        ],
        vec![(2, list), (3, starts)],
    )
}

/// The largest entries of each row.
pub fn sparse_topk(measure: topk::Measure) -> Case {
    let v = Seeded(73).floats(ROWS * N);
    let mut bits = vec![0; ROWS * N.div_ceil(32)];
    topk::cpu(measure, &v, N, 9, &mut bits);
    case(
        topk::key(measure),
        topk::dispatch(ROWS as u32, N as u32, 9, 0),
        vec![(1, bytes(&v)), (2, zeros(bits.len()))],
        vec![(2, as_floats(&bits))],
    )
}

/// The entries of each row above a threshold; none is near it.
pub fn sparse_threshold(numerics: Numerics, measure: threshold::Measure) -> Case {
    let mut seeded = Seeded(79);
    let large = |v: f32| if v > 0.9 { 4.0 * v } else { 0.25 * v };
    let v: Vec<f32> = seeded.floats(ROWS * N).into_iter().map(large).collect();
    let mut bits = vec![0; ROWS * N.div_ceil(32)];
    threshold::cpu(measure, &v, N, 1.0, &mut bits);
    case(
        threshold::key(measure, numerics),
        threshold::dispatch(ROWS as u32, N as u32, 1.0, 0),
        vec![(1, bytes(&v)), (2, zeros(bits.len()))],
        vec![(2, as_floats(&bits))],
    )
}

/// Products with selected neurons of `k` inputs.
pub fn sparse_rows(
    numerics: Numerics,
    path: Path,
    mode: rows::Mode,
    dtype: Dtype,
    bias: bool,
    k: usize,
) -> Case {
    let mut seeded = Seeded((83 + k) as u64);
    let few = Few::new(&mut seeded);
    let x = seeded.floats(ROWS * k);
    let (up, gate) = (seeded.stored(dtype, N * k), seeded.stored(dtype, N * k));
    let values = seeded.floats(ROWS * N);
    let biases = seeded.floats(match mode {
        rows::Mode::Gated => 2 * N,
        rows::Mode::WithGate | rows::Mode::Relu => N,
    });
    let stored = |bytes| Stored {
        dtype,
        bytes,
        n: N,
        k,
    };
    let mut y = vec![0.0; ROWS * N];
    rows::cpu(
        few.mask,
        &x,
        match mode {
            rows::Mode::Gated => rows::Gate::Weights(stored(&gate)),
            rows::Mode::WithGate => rows::Gate::Values(&values),
            rows::Mode::Relu => rows::Gate::None,
        },
        stored(&up),
        bias.then_some(&biases[..]),
        &few.list,
        &few.starts,
        &mut y,
    );
    let variant = rows::Variant {
        path,
        tile: Tile::One,
        mode,
        dtype,
        bias,
        slots: false,
    };
    let mut buffers = vec![
        (1, bytes(&x)),
        (2, up),
        (6, words(&few.list)),
        (7, words(&few.starts)),
        (8, zeros(y.len())),
    ];
    match mode {
        rows::Mode::Gated => buffers.push((3, gate)),
        rows::Mode::WithGate => buffers.push((4, bytes(&values))),
        rows::Mode::Relu => {}
    }
    if bias {
        buffers.push((5, bytes(&biases)));
    }
    let dispatch = rows::dispatch(variant, few.mask, k as u32, 0);
    Case {
        texel_row: (path == Path::Texels).then(|| TexelRow::of(dtype, k)),
        ..case(
            rows::key(variant, k, numerics),
            dispatch,
            buffers,
            vec![(8, y)],
        )
    }
}

/// A sum of selected rows of `d` columns.
pub fn sparse_sum(
    numerics: Numerics,
    path: Path,
    dtype: Dtype,
    epilogue: Epilogue,
    d: usize,
) -> Case {
    let mut seeded = Seeded((89 + d) as u64);
    let few = Few::new(&mut seeded);
    let a = seeded.floats(ROWS * N);
    let w = seeded.stored(dtype, N * d);
    let (bias, residual) = (seeded.floats(d), seeded.floats(ROWS * d));
    let mut y = vec![0.0; ROWS * d];
    sum::cpu(
        few.mask,
        &a,
        Stored {
            dtype,
            bytes: &w,
            n: N,
            k: d,
        },
        &few.bits,
        &few.list,
        &few.starts,
        epilogue.bias.then_some(&bias[..]),
        epilogue.residual.then_some(&residual[..]),
        &mut y,
    );
    let variant = sum::Variant {
        path,
        tile: Tile::One,
        dtype,
        epilogue,
        slots: false,
    };
    let mut buffers = vec![
        (1, bytes(&a)),
        (2, w),
        (6, words(&few.list)),
        (7, words(&few.starts)),
        (8, zeros(y.len())),
    ];
    if epilogue.bias {
        buffers.push((4, bytes(&bias)));
    }
    if epilogue.residual {
        buffers.push((5, bytes(&residual)));
    }
    let dispatch = sum::dispatch(path, few.mask, d as u32, 0);
    Case {
        texel_row: (path == Path::Texels).then(|| TexelRow::of(dtype, d)),
        ..case(
            sum::key(variant, d, numerics),
            dispatch,
            buffers,
            vec![(8, y)],
        )
    }
}
