//! What kernels that see each element alone have in common: rows and columns.

use super::{Grid, ParamBytes};
use bytemuck::{Pod, Zeroable};

/// The uniform of such a kernel, padded to the common size.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows.
    pub rows: u32,
    /// Columns.
    pub width: u32,
    /// The row that the first one is elsewhere, where a kernel has such a place.
    pub first: u32,
    /// Zeros.
    pub unused: [u32; 4],
}

/// Parameters, and workgroups of 64 columns.
pub fn dispatch(rows: u32, width: u32, first: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        width,
        first,
        unused: [0; 4],
    };
    (bytemuck::cast(params), [width.div_ceil(64), rows, 1])
}
