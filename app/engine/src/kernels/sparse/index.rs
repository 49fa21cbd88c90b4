//! From masks to lists of active neurons. Kernel: `shaders/kernels/sparse_index.wgsl`.

use super::super::{Grid, ParamBytes};
use super::{Mask, Tile, bit};
use crate::gpu::PipelineKey;
use crate::kernels::matmul::SEGMENT;
use assay_shaders::Defines;
use bytemuck::{Pod, Zeroable};

/// The kernel's uniform, padded to the common size.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows of bits.
    pub rows: u32,
    /// Neurons.
    pub n: u32,
    /// Words of a row.
    pub words: u32,
    /// Segments of neurons.
    pub segments: u32,
    /// Zeros.
    pub unused: [u32; 3],
}

/// The pipeline. Bindings: 1 bits, 2 list, 3 starts.
pub fn key(tile: Tile) -> PipelineKey {
    PipelineKey {
        kernel: "sparse_index",
        defines: Defines::new().with("ROWS", tile.rows().into()),
    }
}

/// Parameters and workgroups.
pub fn dispatch(mask: Mask) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows: mask.rows,
        n: mask.n,
        words: mask.words(),
        segments: mask.segments(),
        unused: [0; 3],
    };
    (bytemuck::cast(params), [mask.tiles(), 1, 1])
}

/// The twin: bits [rows, words] to list [tiles, n] and starts [tiles, segments + 1]. Entries of `list` beyond a tile's count stay.
pub fn cpu(mask: Mask, bits: &[u32], list: &mut [u32], starts: &mut [u32]) {
    let (n, words) = (mask.n as usize, mask.words() as usize);
    let lists = list.chunks_exact_mut(n);
    let starts = starts.chunks_exact_mut(mask.segments() as usize + 1);
    for (t, (list, starts)) in lists.zip(starts).enumerate() {
        let bits = &bits[mask.rows_of(t).start * words..mask.rows_of(t).end * words];
        let mut count = 0;
        for j in 0..n {
            if j.is_multiple_of(SEGMENT) {
                starts[j / SEGMENT] = count;
            }
            if bits.chunks_exact(words).any(|row| bit(row, j)) {
                list[count as usize] = j as u32;
                count += 1;
            }
        }
        starts[mask.segments() as usize] = count;
    }
}
