//! Rounding to 8 bits with one scale. Kernels: `shaders/kernels/quantize_rows.wgsl` (a row to integers) and `round_blocks.wgsl` (blocks,
//! as llama.cpp rounds, to f32 again or as integers); both include `shaders/include/round8.wgsl`.

use super::{Grid, ParamBytes, for_each, rounded, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{Numerics, Rounding};
use assay_model::{FIXED_COLUMNS, f16_units};
use bytemuck::{Pod, Zeroable};
use half::f16;

/// The bits of an f16 that is no number.
const NO_HALF: u16 = 0x7E00;

/// Magnitudes below stand for zeros.
const LEAST: f32 = 1.0 / (1u128 << 100) as f32;

/// The uniform of both kernels, padded to the common size.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub k: u32,
    /// Words of a row of integers, or blocks of a row.
    pub units: u32,
    /// Zeros.
    pub unused: [u32; 4],
}

/// Blocks as ggml has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blocks {
    /// Of 32, with an f16 scale.
    Q8_0,
    /// Of 256, with an f32 scale.
    Q8K,
}

impl Blocks {
    /// Columns of a block.
    pub fn columns(self) -> usize {
        match self {
            Self::Q8_0 => 32,
            Self::Q8K => 256,
        }
    }
}

/// The pipeline of rows to integers.
pub fn rows_key(numerics: Numerics) -> PipelineKey {
    PipelineKey {
        kernel: "quantize_rows",
        defines: strict(numerics),
    }
}

/// The pipeline of blocks.
pub fn blocks_key(blocks: Blocks, numerics: Numerics) -> PipelineKey {
    let defines = strict(numerics).with("BLOCK", blocks.columns() as i64);
    PipelineKey {
        kernel: "round_blocks",
        defines: match blocks {
            Blocks::Q8_0 => rounded(defines, Rounding::F16),
            Blocks::Q8K => defines.flag("Q8_K", true),
        },
    }
}

/// The pipeline of blocks of 32 that stay integers.
pub fn integers_key(numerics: Numerics) -> PipelineKey {
    let key = blocks_key(Blocks::Q8_0, numerics);
    PipelineKey {
        defines: key.defines.flag("INTEGERS", true),
        ..key
    }
}

/// Words of a row of `k` 8-bit integers.
pub fn words(k: usize) -> usize {
    k.div_ceil(4)
}

/// Parameters and workgroups of rows to integers.
pub fn dispatch_rows(rows: u32, k: u32) -> (ParamBytes, Grid) {
    (params(rows, k, k.div_ceil(4)), [rows, 1, 1])
}

/// Parameters and workgroups of blocks.
pub fn dispatch_blocks(blocks: Blocks, rows: u32, k: u32) -> (ParamBytes, Grid) {
    let count = k / blocks.columns() as u32;
    (params(rows, k, count), [count.div_ceil(2), rows, 1])
}

fn params(rows: u32, k: u32, units: u32) -> ParamBytes {
    bytemuck::cast(Params {
        zero: 0,
        rows,
        k,
        units,
        unused: [0; 4],
    })
}

/// Rows as 8-bit integers: x is about `scales[r] * values[r, c]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows8 {
    /// [rows, k]
    pub values: Vec<i8>,
    /// [rows]; NaN for a row that has a number which is none.
    pub scales: Vec<f32>,
}

/// Rows as 8-bit integers in blocks of 32: x is about `scale * values[r, c]`, with the scale of its block.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Blocks8 {
    /// [rows, k]
    pub values: Vec<i8>,
    /// The bits of an f16, 0 or more, [rows, k / 32]; NaN for a block that has a number which is none.
    pub scales: Vec<u16>,
}

impl Blocks8 {
    /// The same in units of 2^-24, [rows, k]; `None` if a scale is no number.
    pub fn units(&self) -> Option<Vec<i64>> {
        let mut units = Vec::with_capacity(self.values.len());
        for (values, scale) in self.values.chunks(FIXED_COLUMNS).zip(&self.scales) {
            let scale = f16_units(*scale)?;
            units.extend(values.iter().map(|x| scale * i64::from(*x)));
        }
        Some(units)
    }
}

/// The twin of `round_blocks` with integers, over any whole number of blocks of 32.
pub fn integer_blocks_cpu(x: &[f32]) -> Blocks8 {
    let mut blocks = Blocks8 {
        values: vec![0; x.len()],
        scales: vec![0; x.len() / FIXED_COLUMNS],
    };
    let values = blocks.values.chunks_exact_mut(FIXED_COLUMNS);
    let tasks: Vec<_> = values.zip(&mut blocks.scales).collect();
    for_each(tasks, |block, (values, scale)| {
        let x = &x[block * FIXED_COLUMNS..(block + 1) * FIXED_COLUMNS];
        let top = Top::of(x);
        let d = top.kept(Rounding::F16.of(top.divisor() / 127.0));
        *scale = match d.is_nan() {
            true => NO_HALF,
            false => f16::from_f32(d).to_bits(),
        };
        if top.is_some() {
            let inverse = 127.0 / top.divisor();
            for (q, x) in values.iter_mut().zip(x) {
                *q = quant(*x, inverse) as i8;
            }
        }
    });
    blocks
}

/// The twin of `quantize_rows`, over rows of `k` columns.
pub fn rows_cpu(x: &[f32], k: usize) -> Rows8 {
    let mut rows = Rows8 {
        values: vec![0; x.len()],
        scales: vec![0.0; x.len() / k],
    };
    let tasks = rows.values.chunks_exact_mut(k).zip(&mut rows.scales);
    for_each(tasks.collect::<Vec<_>>(), |r, (values, scale)| {
        let x = &x[r * k..(r + 1) * k];
        let top = Top::of(x);
        *scale = top.kept(top.divisor() / 127.0);
        if top.is_some() {
            let inverse = 127.0 / top.divisor();
            for (q, x) in values.iter_mut().zip(x) {
                *q = quant(*x, inverse) as i8;
            }
        }
    });
    rows
}

/// The twin of `round_blocks`, over any whole number of blocks.
pub fn blocks_cpu(blocks: Blocks, x: &[f32], y: &mut [f32]) {
    let columns = blocks.columns();
    let tasks: Vec<&mut [f32]> = y.chunks_exact_mut(columns).collect();
    for_each(tasks, |block, y| {
        let x = &x[block * columns..(block + 1) * columns];
        let top = Top::of(x);
        let inverse = 127.0 / top.divisor();
        let d = top.kept(match blocks {
            Blocks::Q8_0 => Rounding::F16.of(top.divisor() / 127.0),
            Blocks::Q8K => 1.0 / inverse,
        });
        for (y, x) in y.iter_mut().zip(x) {
            *y = d * quant(*x, inverse);
        }
    });
}

fn quant(x: f32, inverse: f32) -> f32 {
    let q = (x * inverse).round_ties_even();
    // NaN stays: its scale is one.
    q.clamp(-127.0, 127.0)
}

/// The largest magnitude of some numbers.
pub(super) enum Top {
    /// All are about zero.
    Nothing,
    Some(f32),
    /// One is no number.
    Invalid,
}

impl Top {
    pub(super) fn of(x: &[f32]) -> Self {
        let top = x.iter().fold(0.0f32, |top, x| match x.is_finite() {
            true => top.max(x.abs()),
            false => f32::INFINITY,
        });
        match top {
            _ if top.is_infinite() => Self::Invalid,
            _ if top < LEAST => Self::Nothing,
            top => Self::Some(top),
        }
    }

    pub(super) fn is_some(&self) -> bool {
        matches!(self, Self::Some(_))
    }

    pub(super) fn is_no_number(&self) -> bool {
        matches!(self, Self::Invalid)
    }

    pub(super) fn divisor(&self) -> f32 {
        match self {
            Self::Some(top) => *top,
            _ => 1.0,
        }
    }

    /// The scale that is kept.
    pub(super) fn kept(&self, scale: f32) -> f32 {
        match self {
            Self::Nothing => 0.0,
            Self::Some(_) => scale,
            Self::Invalid => f32::NAN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_round_to_nearest_with_ties_to_even() {
        let x = [127.0, 0.5, 1.5, -2.5, -126.6, 0.0];
        let rows = rows_cpu(&x, 6);
        assert_eq!(rows.values, [127, 0, 2, -2, -127, 0]);
        assert_eq!(rows.scales, [1.0]);
    }

    #[test]
    fn zeros_and_what_is_no_number() {
        let x = [0.0, 1e-38, 1.0, f32::NAN, f32::INFINITY, 1.0];
        let rows = rows_cpu(&x, 2);
        assert_eq!(rows.values, [0; 6]);
        assert_eq!(rows.scales[0], 0.0);
        assert!(rows.scales[1].is_nan() && rows.scales[2].is_nan());
        let mut y = [1.0; 64];
        let mut x = [0.0; 64];
        x[40] = f32::NAN;
        blocks_cpu(Blocks::Q8_0, &x, &mut y);
        assert!(y[..32].iter().all(|y| *y == 0.0) && y[32..].iter().all(|y| y.is_nan()));
    }

    /// Integers and scales are those whose products `blocks_cpu` gives, subnormal and largest scales included.
    #[test]
    fn integers_of_blocks_are_what_blocks_are_rounded_to() {
        let mut x: Vec<f32> = (0..256).map(|i| (i as f32 * 0.7).sin()).collect();
        let sizes = [1.0, 1e-3, 1e-5, 1e-8, 1e7, 3e38, 0.0, 1e-37];
        for (block, size) in x.chunks_mut(32).zip(sizes) {
            block.iter_mut().for_each(|x| *x *= size);
        }
        let blocks = integer_blocks_cpu(&x);
        let mut y = vec![0.0; 256];
        blocks_cpu(Blocks::Q8_0, &x, &mut y);
        let units = blocks.units().unwrap();
        for (units, y) in units.iter().zip(&y) {
            assert_eq!(*units as f64 / f64::from(1 << 24), f64::from(*y));
        }
        // 1e-5 / 127 is subnormal, 1e-8 / 127 is below the least f16, 3e38 / 127 beyond the largest.
        assert!((1..0x400).contains(&blocks.scales[2]));
        assert_eq!((blocks.scales[3], blocks.scales[5]), (0, 0x7BFF));
        assert_eq!(blocks.scales[6..], [0, 0]);
        x[33] = f32::NAN;
        assert_eq!(integer_blocks_cpu(&x).scales[1], NO_HALF);
        assert_eq!(integer_blocks_cpu(&x).units(), None);
    }

    /// ggml's reference rows, written once more from its text: `quantize_row_q8_0` with the scale's quotient, `quantize_row_q8_K` with its
    /// signed largest number.
    #[test]
    fn blocks_are_ggmls() {
        let mut state = 9u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 20) as f32 - 8.0
        };
        let x: Vec<f32> = (0..512).map(|_| next()).collect();
        let mut y = vec![0.0; 512];
        blocks_cpu(Blocks::Q8_0, &x, &mut y);
        for (x, y) in x.chunks(32).zip(y.chunks(32)) {
            let amax = x.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let d = f16::from_f32(amax / 127.0).to_f32();
            for (x, y) in x.iter().zip(y) {
                assert_eq!(*y, d * (x * (127.0 / amax)).round_ties_even());
            }
        }
        blocks_cpu(Blocks::Q8K, &x, &mut y);
        for (x, y) in x.chunks(256).zip(y.chunks(256)) {
            let max = x
                .iter()
                .fold(0.0f32, |m, x| if x.abs() > m.abs() { *x } else { m });
            let iscale = -127.0 / max;
            let d = 1.0 / iscale;
            for (x, y) in x.iter().zip(y) {
                let q = (iscale * x).round_ties_even().min(127.0);
                assert_eq!(*y, d * q);
            }
        }
    }
}
