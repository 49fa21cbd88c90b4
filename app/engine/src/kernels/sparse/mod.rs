//! MLPs of which only some neurons run: masks, lists of active neurons, products with them, and a cache of their weights.
//!
//! A *mask* has a bit for each neuron and row. Rows go through the products in tiles of a few: a tile's *list* holds the neurons that
//! any of its rows has. Results depend neither on tiles nor on lists: everything is added in an order that the neuron's own index
//! names, so a sparse MLP has the bits of the dense one with masked activations (under strict numerics, with finite weights).
//!
//! | step | module | kernel |
//! |---|---|---|
//! | values to a mask | [`topk`], [`threshold`] | `sparse_topk`, `sparse_threshold` |
//! | mask to lists | [`index`] | `sparse_index` |
//! | size of the dispatch | [`grid`] | `sparse_grid` |
//! | gate, up and activation | [`rows`] | `sparse_rows`, `sparse_rows_lanes`, `sparse_rows_texels` |
//! | down, or a product whose inputs are sparse | [`sum`] | `sparse_sum`, `sparse_sum_lanes`, `sparse_sum_texels` |
//! | weights of the active neurons only | [`cache`] | |

pub mod cache;
pub mod grid;
pub mod index;
pub mod rows;
pub mod sum;
pub mod threshold;
pub mod topk;

use super::matmul::SEGMENT;
use crate::Gpu;
use crate::gpu::{MatmulKernel, Variants};
use assay_model::Dtype;

/// Rows and neurons of a mask, and how many rows share a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mask {
    /// Rows.
    pub rows: u32,
    /// Neurons: bits of a row.
    pub n: u32,
    /// How many rows share a list.
    pub tile: Tile,
}

impl Mask {
    /// Words of a row of bits.
    pub fn words(self) -> u32 {
        self.n.div_ceil(32)
    }

    /// Segments of the canonical order.
    pub fn segments(self) -> u32 {
        self.n.div_ceil(SEGMENT as u32)
    }

    /// Tiles of rows, and so lists.
    pub fn tiles(self) -> u32 {
        self.rows.div_ceil(self.tile.rows())
    }

    /// Bytes of the bits: u32 [rows, words].
    pub fn bits_bytes(self) -> u64 {
        u64::from(self.rows) * u64::from(self.words()) * 4
    }

    /// Bytes of the lists: u32 [tiles, n]. Pairs of a [`cache`] take twice that.
    pub fn list_bytes(self) -> u64 {
        u64::from(self.tiles()) * u64::from(self.n) * 4
    }

    /// Bytes of the segments' starts: u32 [tiles, segments + 1].
    pub fn starts_bytes(self) -> u64 {
        u64::from(self.tiles()) * (u64::from(self.segments()) + 1) * 4
    }

    /// The rows of tile `t`.
    fn rows_of(self, t: usize) -> std::ops::Range<usize> {
        let first = t * self.tile.rows() as usize;
        first..(first + self.tile.rows() as usize).min(self.rows as usize)
    }

    /// Tile `t`'s active neurons, as [`index`] made them.
    fn list_of<'a>(self, list: &'a [u32], starts: &[u32], t: usize) -> &'a [u32] {
        let count = starts[(t + 1) * (self.segments() as usize + 1) - 1];
        &list[t * self.n as usize..][..count as usize]
    }
}

/// Rows that share a list: the kernels unroll them, so there are few choices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Tile {
    /// A list a row: masks that differ.
    #[default]
    One,
    /// Two.
    Two,
    /// Four.
    Four,
    /// Eight: masks that are shared or nearly so.
    Eight,
}

impl Tile {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::One, Self::Two, Self::Four, Self::Eight];

    /// How many rows.
    pub fn rows(self) -> u32 {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }
}

/// How the products are laid out. All have one order of addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Path {
    /// An invocation makes whole sums: for adapters that are CPUs.
    Registers,
    /// Segments in parallel lanes: for GPUs.
    Lanes,
    /// Whole sums, weights from a storage texture, what lanes share handed out in subgroups of 8: for llvmpipe.
    Texels,
}

impl Path {
    /// What an adapter takes, of weights in buffers.
    pub fn of(variants: &Variants) -> Self {
        variants.sparse
    }

    /// Whether a matrix [n, k], or where it is `turned` its transpose, should be a texture on this device.
    pub fn takes_texels(gpu: &Gpu, dtype: Dtype, (n, k): (usize, usize), turned: bool) -> bool {
        let (rows, width) = if turned { (k, n) } else { (n, k) };
        matches!(
            gpu.info.variants.single,
            MatmulKernel::Subgroup { .. } | MatmulKernel::Texels { .. }
        ) && is_wide(dtype, width)
            && gpu.fits_texels(rows, dtype.row_bytes(width))
    }
}

/// Whether rows of `width` weights are loaded eight at a time.
fn is_wide(dtype: Dtype, width: usize) -> bool {
    matches!(dtype, Dtype::F16 | Dtype::BF16) && width.is_multiple_of(8)
}

/// Whether bit `j` of a row of bits is set.
fn bit(row: &[u32], j: usize) -> bool {
    row[j / 32] >> (j % 32) & 1 == 1
}
