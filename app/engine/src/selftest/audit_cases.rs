//! Cases of the kernels that only audits run.

use super::cases::{Case, Seeded, TexelRow, bytes, zeros};
use crate::gpu::MatmulKernel;
use crate::kernels::add::{self, Addend};
use crate::kernels::matmul::{self, Stored};
use crate::kernels::{add_rmsnorm, project, residual, row_energy};
use crate::{Numerics, Rounding};
use assay_model::Dtype;

/// A sum of `rows` rows of `width` columns with another, or with one bias.
pub fn add(
    numerics: Numerics,
    rounding: Rounding,
    addend: Addend,
    rows: usize,
    width: usize,
) -> Case {
    let mut seeded = Seeded((rows * 29 + width) as u64);
    let mut a = seeded.floats(rows * width);
    // Ties, subnormals of f16 and a number beyond it: where rounding is easily got wrong.
    for (a, odd) in a.iter_mut().zip([1.003_906_3, 5.9e-8, 2.98e-8, 7e4, -1.0]) {
        *a = odd;
    }
    let mut b = match addend {
        Addend::Rows => seeded.floats(rows * width),
        Addend::Bias => seeded.floats(width),
    };
    b.iter_mut().take(4).for_each(|b| *b = 0.0);
    let mut y = vec![0.0; a.len()];
    add::cpu(&a, &b, width, rounding, &mut y);
    let (params, grid) = add::dispatch(rows as u32, width as u32);
    Case {
        texel_row: None,
        key: add::key(addend, numerics, rounding),
        params,
        grid,
        buffers: vec![(1, bytes(&a)), (2, bytes(&b)), (3, zeros(y.len()))],
        expected: vec![(3, y)],
    }
}

/// A sum of `rows` rows of `n` columns with another, and its norm, which may take the other's place.
pub fn add_rmsnorm(
    in_place: bool,
    numerics: Numerics,
    rounding: Rounding,
    rows: usize,
    n: usize,
) -> Case {
    let mut seeded = Seeded((rows * 73 + n) as u64);
    let mut a = seeded.floats(rows * n);
    // As in `add`, but nothing beyond f16: one number of that size would hide the others from a norm.
    for (a, odd) in a.iter_mut().zip([1.003_906_3, 5.9e-8, 2.98e-8, -1.0]) {
        *a = odd;
    }
    let mut b = seeded.floats(rows * n);
    b.iter_mut().take(3).for_each(|b| *b = 0.0);
    let weight = seeded.floats(n);
    let (mut sum, mut y) = (vec![0.0; a.len()], vec![0.0; a.len()]);
    add_rmsnorm::cpu(&a, &b, &weight, 1e-5, rounding, &mut sum, &mut y);
    let (params, grid) = add_rmsnorm::dispatch(rows as u32, n as u32, 1e-5);
    let mut buffers = vec![(1, bytes(&a)), (3, bytes(&weight)), (4, zeros(sum.len()))];
    buffers.extend(match in_place {
        true => vec![(5, bytes(&b))],
        false => vec![(2, bytes(&b)), (5, zeros(y.len()))],
    });
    Case {
        texel_row: None,
        key: add_rmsnorm::key(in_place, numerics, rounding),
        params,
        grid,
        buffers,
        expected: vec![(4, sum), (5, y)],
    }
}

/// Energies of `rows` rows of `n` columns.
pub fn row_energy(numerics: Numerics, rows: usize, n: usize) -> Case {
    let x = Seeded((rows * 37 + n) as u64).floats(rows * n);
    let mut y = vec![0.0; rows];
    row_energy::cpu(&x, n, &mut y);
    let (params, grid) = row_energy::dispatch(rows as u32, n as u32);
    Case {
        texel_row: None,
        key: row_energy::key(numerics),
        params,
        grid,
        buffers: vec![(1, bytes(&x)), (2, zeros(rows))],
        expected: vec![(2, y)],
    }
}

/// Residuals of `rows` rows under `projections`, of an xv with `first` columns before and one behind them.
pub fn residual(numerics: Numerics, rows: usize, projections: usize, first: usize) -> Case {
    let mut seeded = Seeded((rows * 41 + projections) as u64);
    let stride = first + projections + 1;
    let yr = seeded.floats(rows * projections);
    let xv = seeded.floats(rows * stride);
    let mut out = vec![0.0; 2 * rows + projections];
    residual::cpu(&yr, &xv, projections, stride, first, &mut out);
    let (params, grid) =
        residual::dispatch(rows as u32, projections as u32, stride as u32, first as u32);
    Case {
        texel_row: None,
        key: residual::key(numerics),
        params,
        grid,
        buffers: vec![(1, bytes(&yr)), (2, bytes(&xv)), (3, zeros(out.len()))],
        expected: vec![(3, out)],
    }
}

/// Products of magnitudes: `m` rows with an f32 [n, k] matrix.
pub fn magnitudes(numerics: Numerics, path: MatmulKernel, m: usize, n: usize, k: usize) -> Case {
    let mut seeded = Seeded((m * 43 + n * 7 + k) as u64);
    let x = seeded.floats(m * k);
    let w = seeded.stored(Dtype::F32, n * k);
    let stored = Stored {
        dtype: Dtype::F32,
        bytes: &w,
        n,
        k,
    };
    let mut y = vec![0.0; m * n];
    matmul::magnitudes_cpu(&x, stored, &mut y);
    Case {
        texel_row: TexelRow::of_product(path, Dtype::F32, k),
        key: matmul::key_of_magnitudes(path, k, numerics),
        params: matmul::params(m as u32, n as u32, k as u32, n as u32, 0, 0),
        grid: matmul::grid(path, m as u32, n as u32),
        buffers: vec![(1, bytes(&x)), (2, w), (5, zeros(m * n))],
        expected: vec![(5, y)],
    }
}

/// `projections` of a stored [n, k] matrix, its first shard.
pub fn project(numerics: Numerics, dtype: Dtype, projections: usize, n: usize, k: usize) -> Case {
    let mut seeded = Seeded((projections * 47 + n * 3 + k) as u64);
    let r = seeded.floats(projections * n);
    let w = seeded.matrix(dtype, n, k);
    let mut v = vec![0.0; projections * k];
    let stored = Stored {
        dtype,
        bytes: &w,
        n,
        k,
    };
    project::cpu(&r, stored, &mut v);
    let (params, grid) = project::dispatch(n as u32, k as u32, n as u32, 0, projections as u32);
    Case {
        texel_row: None,
        key: project::key(dtype, k, true, numerics),
        params,
        grid,
        buffers: vec![(1, bytes(&r)), (2, w), (3, zeros(v.len()))],
        expected: vec![(3, v)],
    }
}
