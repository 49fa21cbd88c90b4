//! Products of integers in blocks, in fixed point. Kernel: `shaders/kernels/matmul_fixed.wgsl`.

use super::round8::{self, Blocks8};
use super::{Grid, ParamBytes, for_each, stored};
use crate::gpu::PipelineKey;
use assay_model::{Dtype, FIXED_COLUMNS, FixedBlock, f16_units};
use assay_shaders::Defines;
use assay_trace::NO_SUM;
use bytemuck::{Pod, Zeroable};

/// Columns that one invocation makes.
const TILE: u32 = 4;

/// The kernel's uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows of x and z.
    pub m: u32,
    /// Rows of w in this shard.
    pub n: u32,
    /// Words of a row of x.
    pub words: u32,
    /// Elements between rows of z.
    pub stride: u32,
    /// First column of z that this shard writes.
    pub n0: u32,
    /// Words between rows of w.
    pub w_row: u32,
    /// Zero.
    pub unused: u32,
}

/// The pipeline for weights of this type, with WGSL's packed dot product or without it, for one row or for any number.
pub fn key(dtype: Dtype, packed_dot: bool, one_row: bool) -> PipelineKey {
    PipelineKey {
        kernel: "matmul_fixed",
        // No fixed-point type has anything before its first row.
        defines: stored(Defines::new(), dtype, 0)
            .flag("LEAST", dtype == Dtype::Q4K)
            .flag("DOT4", packed_dot)
            .flag("ONE_ROW", one_row)
            .with("TILE", TILE.into()),
    }
}

/// A product [m, k] times a shard of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Stored type of the matrix.
    pub dtype: Dtype,
    /// Whether the pipeline is the one for one row.
    pub one_row: bool,
    /// Rows of the shard.
    pub n: u32,
    /// Columns.
    pub k: u32,
    /// Rows of the whole matrix: elements between rows of z.
    pub stride: u32,
    /// The shard's first row.
    pub n0: u32,
}

/// Parameters and workgroups.
pub fn dispatch(m: u32, shape: Shape) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        m,
        n: shape.n,
        words: round8::words(shape.k as usize) as u32,
        stride: shape.stride,
        n0: shape.n0,
        w_row: (shape.dtype.row_bytes(shape.k as usize) / 4) as u32,
        unused: 0,
    };
    let grid = match shape.one_row {
        true => [shape.n.div_ceil(64 * TILE), 1, 1],
        false => [shape.n.div_ceil(8 * TILE), m.div_ceil(8), 1],
    };
    (bytemuck::cast(params), grid)
}

/// The twin: z [m, n] in units of 2^-48, of x [m, k] and the n rows of a matrix in row form that `w` gives. [`NO_SUM`] where a sum does
/// not fit, or where a scale is no number.
pub fn cpu<'a>(
    x: &Blocks8,
    dtype: Dtype,
    w: impl Fn(usize) -> &'a [u8] + Sync,
    n: usize,
    k: usize,
    z: &mut [i64],
) {
    let scales: Vec<Option<i64>> = x.scales.iter().map(|bits| f16_units(*bits)).collect();
    let (rows, count) = (z.len() / n, k / FIXED_COLUMNS);
    // Column by column, so that each row of the matrix is decoded once.
    let mut turned = vec![NO_SUM; z.len()];
    for_each(
        turned.chunks_mut(rows.max(1)).collect::<Vec<_>>(),
        |c, column| {
            let mut blocks = Vec::with_capacity(count);
            if !dtype.fixed_row(w(c), k, &mut blocks) {
                return;
            }
            let x = x.values.chunks_exact(k).zip(scales.chunks_exact(count));
            for (z, (x, scales)) in column.iter_mut().zip(x) {
                *z = sum(&blocks, x, scales).unwrap_or(NO_SUM);
            }
        },
    );
    for (r, z) in z.chunks_exact_mut(n).enumerate() {
        for (z, column) in z.iter_mut().zip(turned.chunks_exact(rows)) {
            *z = column[r];
        }
    }
}

/// One sum, where there is one.
fn sum(blocks: &[FixedBlock], x: &[i8], scales: &[Option<i64>]) -> Option<i64> {
    let mut sum = 0i128;
    for ((block, x), scale) in blocks.iter().zip(x.chunks_exact(FIXED_COLUMNS)).zip(scales) {
        let products = block.quants.iter().zip(x);
        let products: i32 = products.map(|(q, x)| i32::from(*q) * i32::from(*x)).sum();
        let inputs: i32 = x.iter().map(|x| i32::from(*x)).sum();
        let weighted = i128::from(block.scale) * i128::from(products)
            - i128::from(block.least) * i128::from(inputs);
        sum += weighted * i128::from((*scale)?);
    }
    i64::try_from(sum).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row of Q8_0 whose weights are all the same, of `k` columns.
    fn row(scale: u16, q: i8, k: usize) -> Vec<u8> {
        let mut row = Vec::new();
        for _ in 0..k / 64 {
            row.extend([scale.to_le_bytes(), scale.to_le_bytes()].concat());
            row.extend([q as u8; 64]);
        }
        row
    }

    fn inputs(scale: u16, x: i8, k: usize) -> Blocks8 {
        Blocks8 {
            values: vec![x; k],
            scales: vec![scale; k / 32],
        }
    }

    fn sum_of(w: &[u8], x: &Blocks8) -> i64 {
        let mut z = [7];
        cpu(x, Dtype::Q8_0, |_| w, 1, x.values.len(), &mut z);
        z[0]
    }

    #[test]
    fn sums_are_exact_up_to_64_bits_and_none_beyond() {
        // The smallest f16 is one unit.
        assert_eq!(sum_of(&row(1, 3, 64), &inputs(1, -5, 64)), -960);
        // One and one: 2^24 units each.
        assert_eq!(
            sum_of(&row(0x3C00, 1, 64), &inputs(0x3C00, 1, 64)),
            64 << 48
        );
        // 2^15 is the first that does not fit: 512 columns of 64 and 1.
        assert_eq!(
            sum_of(&row(0x3C00, 64, 512), &inputs(0x3C00, 1, 512)),
            NO_SUM
        );
        let mut less = inputs(0x3C00, 1, 512);
        less.values[511] = 0;
        let fits = sum_of(&row(0x3C00, 64, 512), &less);
        assert_eq!(fits, (511 * 64) << 48);
        assert_eq!(sum_of(&row(0xBC00, 64, 512), &less), -fits);
        // -2^63 would fit 64 bits, and is what stands for none.
        assert_eq!(
            sum_of(&row(0xBC00, 64, 512), &inputs(0x3C00, 1, 512)),
            NO_SUM
        );
        // The largest of all, and one that cancels.
        assert_eq!(
            sum_of(&row(0x7BFF, 127, 64), &inputs(0x7BFF, 127, 64)),
            NO_SUM
        );
        let mut both = inputs(0x7BFF, 127, 64);
        both.values[32..].fill(-127);
        both.values[0] = 126;
        both.values[32] = -126;
        assert_eq!(sum_of(&row(0x7BFF, 127, 64), &both), 0);
    }

    #[test]
    fn a_scale_that_is_no_number_leaves_no_sum() {
        for bits in [0x7C00, 0x7E00] {
            assert_eq!(sum_of(&row(0x3C00, 0, 64), &inputs(bits, 0, 64)), NO_SUM);
        }
    }
}
