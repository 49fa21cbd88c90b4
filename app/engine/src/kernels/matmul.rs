//! Matrix products with stored weights. Kernels: `matmul_tile`, `matmul_subgroup`, `matmul_shared` and `matvec`; one
//! twin, since all of them add in one order.

mod twin;

pub use twin::{cpu, cpu_keeping, gated_cpu, magnitudes_cpu};

use super::{Grid, ParamBytes, in_texels, rounded, rows_to_texels, stored, strict};
use crate::gpu::{MatmulKernel, PipelineKey, TEXEL_BYTES, Texels};
use crate::numerics::{Numerics, Rounding};
use crate::{EngineError, Gpu};
use assay_model::Dtype;
use assay_shaders::Defines;
use bytemuck::{Pod, Zeroable};

/// Length of a segment of the canonical order. The kernels' `SEGMENT`; a test compares the two.
pub const SEGMENT: usize = 256;

/// The kernels' uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows of x and y.
    pub m: u32,
    /// Rows of w in this shard.
    pub n: u32,
    /// Columns of x and w.
    pub k: u32,
    /// Elements between rows of y.
    pub stride: u32,
    /// First column of y that this shard writes.
    pub n0: u32,
    /// First row of x.
    pub x_row: u32,
    /// First row of this shard in w, which may hold other matrices before it.
    pub w_row0: u32,
}

/// What a product adds at its end, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epilogue {
    /// A bias for each column.
    pub bias: bool,
    /// A residual of y's shape.
    pub residual: bool,
}

/// The pipeline for weights of `dtype` with `k` columns.
pub fn key(
    path: MatmulKernel,
    dtype: Dtype,
    k: usize,
    epilogue: Epilogue,
    numerics: Numerics,
) -> PipelineKey {
    let defines = stored(strict(numerics), dtype, k)
        .flag("VEC", k.is_multiple_of(4))
        .flag("BIAS", epilogue.bias)
        .flag("RESIDUAL", epilogue.residual);
    by(path, dtype, staged(defines, path, dtype, numerics), 1)
}

/// Whether a matrix of `dtype` with `k` columns lies in textures on this device: where products read such, and a row is whole texels. How
/// many rows there are does not matter: what one texture does not hold is split. A row of activations must fit, too.
pub fn takes_texels(gpu: &Gpu, dtype: Dtype, k: usize) -> bool {
    let row = dtype.texel_row_bytes(k);
    gpu.info.variants.reads_texels()
        && row.is_some_and(|bytes| gpu.fits_texels(1, bytes))
        && gpu.fits_texels(1, rows_to_texels::row_bytes(k))
}

/// Room for `chunk` rows of what products take, of at most `widest` columns, where this device has that in a texture.
pub(crate) async fn rows_in_texels(
    gpu: &Gpu,
    chunk: usize,
    widest: usize,
) -> Result<Option<Texels>, EngineError> {
    if !gpu.info.variants.reads_texels() {
        return Ok(None);
    }
    // Of wider rows none are taken (`takes_texels`).
    let row_bytes = rows_to_texels::row_bytes(widest).min(gpu.most_texels() * TEXEL_BYTES);
    gpu.texels("activations", chunk, row_bytes).await.map(Some)
}

/// The pipeline of a prover that keeps less than f32 of what each product puts out, and of its sum with the residual.
pub fn key_keeping(
    path: MatmulKernel,
    dtype: Dtype,
    k: usize,
    epilogue: Epilogue,
    rounding: Rounding,
    numerics: Numerics,
) -> PipelineKey {
    let mut key = key(path, dtype, k, epilogue, numerics);
    key.defines = rounded(key.defines, rounding);
    key
}

/// The pipeline that makes `silu(gate) * up` of one matrix with the rows of both: `n` of gate's weights, then `n` of up's.
pub fn gated_key(
    path: MatmulKernel,
    dtype: Dtype,
    k: usize,
    bias: bool,
    numerics: Numerics,
) -> PipelineKey {
    let defines = stored(strict(numerics), dtype, k)
        .flag("VEC", k.is_multiple_of(4))
        .flag("BIAS", bias)
        .flag("GATED", true);
    by(path, dtype, staged(defines, path, dtype, numerics), 2)
}

/// Whether [`gated_key`]'s kernel takes scratch as long as y, at binding 6.
pub fn gated_takes_scratch(path: MatmulKernel) -> bool {
    matches!(path, MatmulKernel::Shared | MatmulKernel::SharedHalf)
}

/// Whether weights are staged as they are stored. Not under strict numerics: a driver may flush f16 subnormals.
fn staged(defines: Defines, path: MatmulKernel, dtype: Dtype, numerics: Numerics) -> Defines {
    let as_stored =
        path == MatmulKernel::SharedHalf && dtype == Dtype::F16 && numerics == Numerics::Fast;
    defines.flag("STAGE_F16", as_stored)
}

/// The kernel that goes `path`, of `sums` sums an output.
fn by(path: MatmulKernel, dtype: Dtype, defines: Defines, sums: u8) -> PipelineKey {
    let tile = |defines: Defines, m: u8, n: u8| {
        let columns = columns(n, sums);
        defines
            .with("TILE_M", m.into())
            .with("TILE_N", (columns * sums).into())
            .with("COLUMNS", columns.into())
    };
    let defines = match path.is_texels() {
        true => in_texels(defines, dtype),
        false => defines,
    };
    match path {
        MatmulKernel::Tile { m, n } => PipelineKey {
            kernel: "matmul_tile",
            defines: tile(defines, m, n),
        },
        MatmulKernel::Subgroup { m, n } | MatmulKernel::Texels { m, n } => PipelineKey {
            kernel: "matmul_subgroup",
            defines: tile(defines, m, n)
                .flag("X_SCALAR", !path.takes_texels())
                .flag("X_TEXELS", path.takes_texels())
                .flag("ONE_ROW", m == 1)
                .flag("BY_UNITS", m == 1 && path.is_texels() && !dtype.is_float()),
        },
        MatmulKernel::Shared | MatmulKernel::SharedHalf => PipelineKey {
            kernel: "matmul_shared",
            defines,
        },
        MatmulKernel::Vector => PipelineKey {
            kernel: "matvec",
            defines,
        },
    }
}

/// Columns that an invocation makes of a tile `n` wide, if each takes so many sums.
fn columns(n: u8, sums: u8) -> u8 {
    (n / sums).max(1)
}

/// The pipeline for `sum_k |x[r, k]| w[c, k]` with f32 weights of `k` columns.
pub fn key_of_magnitudes(path: MatmulKernel, k: usize, numerics: Numerics) -> PipelineKey {
    let mut key = key(path, Dtype::F32, k, Epilogue::default(), numerics);
    key.defines = key.defines.flag("ABS", true);
    key
}

/// Workgroups for an `m` x `n` output.
pub fn grid(path: MatmulKernel, m: u32, n: u32) -> Grid {
    grid_of(path, m, n, 1)
}

/// The same for [`gated_key`].
pub fn gated_grid(path: MatmulKernel, m: u32, n: u32) -> Grid {
    grid_of(path, m, n, 2)
}

fn grid_of(path: MatmulKernel, m: u32, n: u32, sums: u8) -> Grid {
    let wide = |tile: u8| u32::from(columns(tile, sums));
    match path {
        MatmulKernel::Subgroup { m: 1, n: tn } | MatmulKernel::Texels { m: 1, n: tn } => {
            [n.div_ceil(8 * wide(tn)), 1, 1]
        }
        MatmulKernel::Tile { m: tm, n: tn }
        | MatmulKernel::Subgroup { m: tm, n: tn }
        | MatmulKernel::Texels { m: tm, n: tn } => {
            [n.div_ceil(8 * wide(tn)), m.div_ceil(8 * u32::from(tm)), 1]
        }
        MatmulKernel::Shared | MatmulKernel::SharedHalf => {
            [n.div_ceil(wide(64)), m.div_ceil(64), 1]
        }
        MatmulKernel::Vector => [n.div_ceil(wide(8)), 1, 1],
    }
}

/// Parameters as bytes.
pub fn params(m: u32, n: u32, k: u32, stride: u32, n0: u32, x_row: u32) -> ParamBytes {
    bytemuck::cast(Params {
        zero: 0,
        m,
        n,
        k,
        stride,
        n0,
        x_row,
        w_row0: 0,
    })
}

/// The same with weights that begin at a later row of their buffer.
pub fn params_behind(m: u32, n: u32, k: u32, stride: u32, n0: u32, w_row0: u32) -> ParamBytes {
    bytemuck::cast(Params {
        zero: 0,
        m,
        n,
        k,
        stride,
        n0,
        x_row: 0,
        w_row0,
    })
}

/// A stored matrix, [n, k] row major.
#[derive(Debug, Clone, Copy)]
pub struct Stored<'a> {
    /// Stored type.
    pub dtype: Dtype,
    /// Its bytes in row form, with what stands before the rows.
    pub bytes: &'a [u8],
    /// Rows.
    pub n: usize,
    /// Columns.
    pub k: usize,
}
