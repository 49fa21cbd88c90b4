//! Keys and values of a chunk into the cache. Kernel: `shaders/kernels/kv_write.wgsl`.

use super::{Grid, ParamBytes, elementwise};
use crate::gpu::{PipelineKey, TEXEL_BYTES};
use assay_shaders::Defines;

/// Columns of a texel.
const COLUMNS: u32 = TEXEL_BYTES as u32 / 4;

/// Where the kernel puts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// A buffer, from this row on.
    Buffer(u32),
    /// A texture with 2^fold positions side by side in a row of texels.
    Texels {
        /// Position of the chunk's first token.
        pos0: u32,
        /// See [`fold`].
        fold: u32,
    },
}

/// The least `fold` with which `capacity` positions are not more than `most` rows of 2^fold.
pub fn fold(capacity: usize, most: usize) -> u32 {
    let side_by_side = capacity.div_ceil(most.max(1)).next_power_of_two();
    side_by_side.trailing_zeros()
}

/// The pipeline that writes buffers.
pub fn key() -> PipelineKey {
    PipelineKey {
        kernel: "kv_write",
        defines: Defines::new(),
    }
}

/// The pipeline that writes textures.
pub fn texels_key() -> PipelineKey {
    PipelineKey {
        kernel: "kv_write",
        defines: Defines::new().flag("TEXELS", true),
    }
}

/// Parameters and workgroups for `rows` tokens of `width` channels, a multiple of four for textures.
pub fn dispatch(rows: u32, width: u32, to: To) -> (ParamBytes, Grid) {
    match to {
        To::Buffer(first) => elementwise::dispatch(rows, width, first),
        To::Texels { pos0, fold } => {
            let params = elementwise::Params {
                zero: 0,
                rows,
                width,
                first: pos0,
                unused: [fold, 0, 0, 0],
            };
            let texels = width / COLUMNS;
            (bytemuck::cast(params), [texels.div_ceil(64), rows, 1])
        }
    }
}

/// The twin, for keys or for values: rows of `width` channels to where they stand in `cache`. Of a texture those are its texels' numbers, row
/// after row.
pub fn cpu(rows: &[f32], width: usize, pos0: usize, cache: &mut [f32]) {
    cache[pos0 * width..][..rows.len()].copy_from_slice(rows);
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn positions_are_folded_until_they_are_few_enough_rows() {
        let of = |capacity| fold(capacity, 16383);
        assert_eq!([of(1), of(16383), of(16384), of(32766)], [0, 0, 1, 1]);
        assert_eq!([of(32767), of(131_072)], [2, 4]);
        for capacity in [1_usize, 7, 100, 1000] {
            for most in [1, 3, 64] {
                assert!(capacity.div_ceil(1 << fold(capacity, most)) <= most);
            }
        }
    }
}
