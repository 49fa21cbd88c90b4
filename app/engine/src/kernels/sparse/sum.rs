//! Sums of selected rows, each times a factor: the down product of a sparse MLP, or a product whose inputs are sparse. Kernels:
//! `sparse_sum`, `sparse_sum_lanes` and `sparse_sum_texels`; one twin.

use super::super::{Grid, ParamBytes, for_each, stored, strict};
use super::{Mask, Path, Tile, bit, is_wide};
use crate::gpu::PipelineKey;
use crate::kernels::matmul::{Epilogue, SEGMENT, Stored};
use crate::numerics::Numerics;
use assay_model::Dtype;
use bytemuck::{Pod, Zeroable};

/// Columns that one task of the twin owns.
const TASK_COLUMNS: usize = 128;

/// Which pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// How the sums are laid out.
    pub path: Path,
    /// Rows that share a list.
    pub tile: Tile,
    /// Stored type of the rows.
    pub dtype: Dtype,
    /// What is added at the end.
    pub epilogue: Epilogue,
    /// Whether the rows are a cache's slots: then the list holds pairs (neuron, slot).
    pub slots: bool,
}

/// The kernels' uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows of a and y.
    pub rows: u32,
    /// Columns of a, rows of w.
    pub n: u32,
    /// Columns of w and y.
    pub d: u32,
    /// Segments of rows of w.
    pub segments: u32,
    /// Words of a row of bits.
    pub words: u32,
    /// First row of a.
    pub a_row: u32,
    /// Zero.
    pub unused: u32,
}

/// Invocations of a workgroup of `sparse_sum`: a CPU's vector, so that few columns still make many workgroups.
const LANES: u32 = 8;

/// Half of how many times four columns an invocation of `sparse_sum` makes, of rows of `d` columns. On llvmpipe 64 columns of one row
/// take half the time a column that 16 take, because a lane that reads on waits less; with more rows the same number of sums does.
fn half_quads(tile: Tile, d: usize) -> u32 {
    match tile {
        _ if !d.is_multiple_of(4) => 1,
        Tile::One => 8,
        Tile::Two => 4,
        Tile::Four | Tile::Eight => 2,
    }
}

/// Eights of columns that an invocation of `sparse_sum_texels` makes: as many sums as registers and stack take well, whatever the rows.
fn span(tile: Tile) -> u32 {
    match tile {
        Tile::One => 4,
        Tile::Two | Tile::Four | Tile::Eight => 2,
    }
}

/// List entries that `sparse_sum_texels` takes at a time.
const ENTRIES: u32 = 4;

/// The pipeline for rows of `d` columns. Bindings: 1 factors, 2 rows, 3 bits (unless the tile is one row), 4 bias, 5 residual, 6 list,
/// 7 starts, 8 y.
pub fn key(variant: Variant, d: usize, numerics: Numerics) -> PipelineKey {
    let defines = stored(strict(numerics), variant.dtype, d)
        .with("ROWS", variant.tile.rows().into())
        .flag("SHARED", variant.tile != Tile::One)
        .flag("VEC", d.is_multiple_of(4))
        .flag("BIAS", variant.epilogue.bias)
        .flag("RESIDUAL", variant.epilogue.residual)
        .flag("SLOTS", variant.slots);
    match variant.path {
        Path::Registers => PipelineKey {
            kernel: "sparse_sum",
            defines: defines
                .flag("WIDE", is_wide(variant.dtype, d))
                .with("LANES", LANES.into())
                .with("QUADS", (2 * half_quads(variant.tile, d)).into())
                .with("HALF_QUADS", half_quads(variant.tile, d).into()),
        },
        Path::Lanes => PipelineKey {
            kernel: "sparse_sum_lanes",
            defines,
        },
        Path::Texels => PipelineKey {
            kernel: "sparse_sum_texels",
            defines: defines
                .flag("TEXELS", true)
                .with("SPAN", span(variant.tile).into())
                .with("ENTRIES", ENTRIES.into()),
        },
    }
}

/// Parameters and workgroups.
pub fn dispatch(path: Path, mask: Mask, d: u32, a_row: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows: mask.rows,
        n: mask.n,
        d,
        segments: mask.segments(),
        words: mask.words(),
        a_row,
        unused: 0,
    };
    let groups = match path {
        Path::Registers => d.div_ceil(8 * half_quads(mask.tile, d as usize) * LANES),
        Path::Lanes => d.div_ceil(32),
        Path::Texels => d.div_ceil(64 * span(mask.tile)),
    };
    (bytemuck::cast(params), [groups, mask.tiles(), 1])
}

/// The twin: `y[r, c] = sum_j a[r, j] w[j, c] (+ bias[c]) (+ residual[r, c])` over the neurons whose bit is set in row r; a is
/// [rows, n], w is [n, d] (`w.n` rows of `w.k` columns), y is [rows, d].
pub fn cpu(
    mask: Mask,
    a: &[f32],
    w: Stored<'_>,
    bits: &[u32],
    list: &[u32],
    starts: &[u32],
    bias: Option<&[f32]>,
    residual: Option<&[f32]>,
    y: &mut [f32],
) {
    let (n, d, words) = (mask.n as usize, w.k, mask.words() as usize);
    let (size, rows) = (w.dtype.row_bytes(1), mask.rows as usize);
    // Column-major blocks, so that tasks own contiguous memory: [block][row][column].
    let mut blocks = vec![0.0_f32; rows * d];
    let tasks: Vec<&mut [f32]> = blocks.chunks_mut(TASK_COLUMNS * rows).collect();
    for_each(tasks, |task, totals| {
        let (c0, width) = (task * TASK_COLUMNS, totals.len() / rows);
        let mut stored = Vec::with_capacity(width);
        let mut sums = vec![0.0_f32; totals.len()];
        for t in 0..mask.tiles() as usize {
            let list = mask.list_of(list, starts, t);
            let own = mask.rows_of(t).start * width..mask.rows_of(t).end * width;
            for segment in list.chunk_by(|i, j| *i as usize / SEGMENT == *j as usize / SEGMENT) {
                sums[own.clone()].fill(0.0);
                for j in segment.iter().map(|j| *j as usize) {
                    stored.clear();
                    let at = (j * d + c0) * size;
                    w.dtype.decode(&w.bytes[at..at + width * size], &mut stored);
                    for r in mask.rows_of(t) {
                        if !bit(&bits[r * words..(r + 1) * words], j) {
                            continue;
                        }
                        let factor = a[r * n + j];
                        for (sum, w) in sums[r * width..(r + 1) * width].iter_mut().zip(&stored) {
                            *sum += factor * w;
                        }
                    }
                }
                for (total, sum) in totals[own.clone()].iter_mut().zip(&sums[own.clone()]) {
                    *total += sum;
                }
            }
        }
    });
    for (task, totals) in blocks.chunks(TASK_COLUMNS * rows).enumerate() {
        let (c0, width) = (task * TASK_COLUMNS, totals.len() / rows);
        for (r, totals) in totals.chunks_exact(width).enumerate() {
            for (i, total) in totals.iter().enumerate() {
                let (c, mut total) = (c0 + i, *total);
                if let Some(bias) = bias {
                    total += bias[c];
                }
                if let Some(residual) = residual {
                    total += residual[r * d + c];
                }
                y[r * d + c] = total;
            }
        }
    }
}
