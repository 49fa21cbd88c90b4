//! Products with an MLP's selected neurons, and their activation. Kernels: `sparse_rows`, `sparse_rows_lanes` and
//! `sparse_rows_texels`; one twin, since all add in one order, and that is the dense products'.

use super::super::{Grid, ParamBytes, stored, strict};
use super::{Mask, Path, Tile, is_wide};
use crate::gpu::PipelineKey;
use crate::kernels::matmul::{self, Stored};
use crate::numerics::{Numerics, silu};
use assay_model::Dtype;
use bytemuck::{Pod, Zeroable};

/// What a neuron computes from its products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// `silu(x . gate) * (x . up)`: both products are sparse.
    Gated,
    /// `silu(gate) * (x . up)` with the gate's values made densely, because the mask was made from them.
    WithGate,
    /// `max(x . up, 0)`: an MLP without a gate.
    Relu,
}

/// Which pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Variant {
    /// How the products are laid out.
    pub path: Path,
    /// Rows that share a list.
    pub tile: Tile,
    /// What is computed.
    pub mode: Mode,
    /// Stored type of the weights.
    pub dtype: Dtype,
    /// Whether there are biases: [n] of `up`; [2, n] with [`Mode::Gated`], the gate's first.
    pub bias: bool,
    /// Whether the weights are a cache's slots: then the list holds pairs (neuron, slot).
    pub slots: bool,
}

/// The kernels' uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Rows of y.
    pub rows: u32,
    /// Neurons.
    pub n: u32,
    /// Columns of x and of the weights.
    pub k: u32,
    /// Segments of neurons.
    pub segments: u32,
    /// First row of x.
    pub x_row: u32,
    /// Zeros.
    pub unused: [u32; 2],
}

/// Invocations of a workgroup of `sparse_rows`: few, so that a short list still makes many workgroups.
const LANES: u32 = 16;

/// Neurons that one invocation of `sparse_rows` makes. Eight rows of weights for one row of x are what llvmpipe does fastest; with
/// more rows of x fewer, since drivers take long over longer texts. From textures two are enough: loads cost less.
fn neurons(variant: Variant) -> u32 {
    match (variant.path, variant.mode, variant.tile) {
        (Path::Texels, ..) => 2,
        (_, Mode::WithGate | Mode::Relu, Tile::One) => 8,
        _ => 4,
    }
}

/// List entries that a workgroup takes.
pub fn per_group(variant: Variant) -> u32 {
    match variant.path {
        Path::Registers => LANES * neurons(variant),
        Path::Lanes => 8,
        Path::Texels => 8 * neurons(variant),
    }
}

/// The pipeline for weights of `k` columns. Bindings: 1 x, 2 weights of `up`, 3 weights of the gate ([`Mode::Gated`]), 4 the gate's
/// values ([`Mode::WithGate`]), 5 bias (`bias`), 6 list, 7 starts, 8 y.
pub fn key(variant: Variant, k: usize, numerics: Numerics) -> PipelineKey {
    let wide = is_wide(variant.dtype, k);
    let defines = stored(strict(numerics), variant.dtype, k)
        .with("ROWS", variant.tile.rows().into())
        .flag("VEC", k.is_multiple_of(4))
        .flag("BIAS", variant.bias)
        .flag("SLOTS", variant.slots)
        .flag("GATED", variant.mode == Mode::Gated)
        .flag("WITH_GATE", variant.mode == Mode::WithGate);
    match variant.path {
        Path::Registers => PipelineKey {
            kernel: "sparse_rows",
            defines: defines
                .flag("WIDE", wide)
                .with("QUADS", if wide { 2 } else { 1 })
                .with("NEURONS", neurons(variant).into())
                .with("LANES", LANES.into()),
        },
        Path::Lanes => PipelineKey {
            kernel: "sparse_rows_lanes",
            defines,
        },
        Path::Texels => PipelineKey {
            kernel: "sparse_rows_texels",
            defines: defines
                .flag("TEXELS", true)
                .flag("ONE_ROW", variant.tile == Tile::One)
                .flag("EIGHT_ROWS", variant.tile == Tile::Eight)
                .with("NEURONS", neurons(variant).into()),
        },
    }
}

/// Parameters, and the workgroups of a dispatch without [`super::grid`]: enough for full lists.
pub fn dispatch(variant: Variant, mask: Mask, k: u32, x_row: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows: mask.rows,
        n: mask.n,
        k,
        segments: mask.segments(),
        x_row,
        unused: [0; 2],
    };
    let grid = [mask.n.div_ceil(per_group(variant)), mask.tiles(), 1];
    (bytemuck::cast(params), grid)
}

/// The gate of the twin.
#[derive(Debug, Clone, Copy)]
pub enum Gate<'a> {
    /// [`Mode::Gated`]: weights, a neuron a row.
    Weights(Stored<'a>),
    /// [`Mode::WithGate`]: values [rows, n].
    Values(&'a [f32]),
    /// [`Mode::Relu`].
    None,
}

/// The twin: x [rows, k], weights [n, k], list and starts as [`super::index`] makes them, y [rows, n]; columns that are not in a row's
/// list stay. A neuron is its own slot: where its weights lie changes nothing.
pub fn cpu(
    mask: Mask,
    x: &[f32],
    gate: Gate<'_>,
    up: Stored<'_>,
    bias: Option<&[f32]>,
    list: &[u32],
    starts: &[u32],
    y: &mut [f32],
) {
    let n = mask.n as usize;
    for t in 0..mask.tiles() as usize {
        let rows = mask.rows_of(t);
        let list = mask.list_of(list, starts, t);
        let x = &x[rows.start * up.k..rows.end * up.k];
        let up_bias = bias.map(|b| match gate {
            Gate::Weights(_) => &b[n..],
            Gate::Values(_) | Gate::None => b,
        });
        let ups = products(x, up, up_bias, list);
        let gates = match gate {
            Gate::Weights(w) => products(x, w, bias, list),
            Gate::Values(_) | Gate::None => Vec::new(),
        };
        for (i, row) in rows.enumerate() {
            for (e, j) in list.iter().enumerate() {
                let (at, of) = (row * n + *j as usize, i * list.len() + e);
                let u = ups[of];
                y[at] = match gate {
                    Gate::Weights(_) => silu(gates[of]) * u,
                    Gate::Values(values) => silu(values[at]) * u,
                    Gate::None if u > 0.0 => u,
                    Gate::None => 0.0,
                };
            }
        }
    }
}

/// The dense product with the listed rows of `w` [., k], their biases added: [rows of x, list].
fn products(x: &[f32], w: Stored<'_>, bias: Option<&[f32]>, list: &[u32]) -> Vec<f32> {
    if list.is_empty() {
        return Vec::new();
    }
    let row_bytes = w.dtype.row_bytes(w.k);
    let mut bytes = Vec::with_capacity(list.len() * row_bytes);
    for j in list {
        bytes.extend_from_slice(&w.bytes[*j as usize * row_bytes..][..row_bytes]);
    }
    let bias: Option<Vec<f32>> = bias.map(|bias| list.iter().map(|j| bias[*j as usize]).collect());
    let mut y = vec![0.0; x.len() / w.k * list.len()];
    let listed = Stored {
        dtype: w.dtype,
        bytes: &bytes,
        n: list.len(),
        k: w.k,
    };
    matmul::cpu(x, listed, bias.as_deref(), None, &mut y);
    y
}
