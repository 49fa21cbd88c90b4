// Bindings and epilogue that every matrix product shares (matmul_tile, matmul_subgroup, matmul_shared, matvec).
//   0 params    uniform
//   1 x         f32  [m, k]        activations; X_TEXELS (matmul_subgroup): a texture that rows_to_texels made of them
//   2 w         any  [n, k]        weights in their stored type, row major (this shard's rows); TEXELS (matmul_subgroup): a texture
//   3 bias      f32  [n]           read only with BIAS
//   4 residual  f32  [m, stride]   read only with RESIDUAL
//   5 y         f32  [m, stride]   written at columns n0 .. n0 + n
// ROUND_BF16 or ROUND_F16 (include/rounding.wgsl): a product is rounded behind its bias, and its sum with the residual once more. Not with
// GATED, whose kernels keep what lies between.
// With GATED, w holds 2 n rows, those of gate and then those of up, bias 2 n numbers, and y is silu(gate) * up.
struct Params {
    zero: u32,     // always 0, unknown to the compiler
    m: u32,        // rows of x and y
    n: u32,        // rows of w in this shard
    k: u32,        // columns of x and w
    stride: u32,   // elements between rows of y
    n0: u32,       // first column of y that this shard writes
    x_row: u32,    // first row of x
    w_row0: u32,   // first row of this shard in w, which may hold other matrices before it
}
@group(0) @binding(0) var<uniform> params: Params;
#if X_TEXELS
@group(0) @binding(1) var x: texture_storage_2d<rgba32uint, read>;
#else
#if X_SCALAR
@group(0) @binding(1) var<storage, read> x: array<f32>;
#else
#if VEC
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#endif
#endif
#endif
#include "weights_binding"
@group(0) @binding(3) var<storage, read> bias: array<f32>;
@group(0) @binding(4) var<storage, read> residual: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

// The canonical order: k in segments of SEGMENT, ascending inside a segment, then segments ascending,
// then bias, then residual. It names no tile, so every kernel and every batch gives the same bits.
const SEGMENT: u32 = 256u;

#include "numerics"
#include "rounding"
#include "weights"

// With ABS, magnitudes of x are multiplied: sum_k |x[r, k]| w[c, k], which bounds what rounding can do.
#if ABS
fn seen(x: vec4<f32>) -> vec4<f32> { return abs(x); }
#else
fn seen(x: vec4<f32>) -> vec4<f32> { return x; }
#endif

#if X_TEXELS
// Four activations of a row from column k on, a multiple of four; beyond the row zeros stand there, as far as eight columns go.
fn x4_at(row: u32, k: u32) -> vec4<f32> {
    return seen(bitcast<vec4<f32>>(textureLoad(x, vec2<u32>(k >> 2u, params.x_row + row))));
}
#else
#if X_SCALAR
// One activation of a row; zero beyond it, so that a ragged tail adds nothing.
fn x_at(row: u32, k: u32) -> f32 {
    let v = seen(vec4<f32>(x[(params.x_row + row) * params.k + k])).x;
    return select(0.0, v, k < params.k);
}
#else
// Four activations of a row from column k on; zero beyond the row, so that a ragged tail adds nothing.
fn x4(row: u32, k: u32) -> vec4<f32> {
    let i = (params.x_row + row) * params.k + k;
#if VEC
    return seen(x[i >> 2u]);
#else
    let last = params.k - 1u;
    return seen(vec4<f32>(
        x[i],
        select(0.0, x[i + 1u], k + 1u <= last),
        select(0.0, x[i + 2u], k + 2u <= last),
        select(0.0, x[i + 3u], k + 3u <= last),
    ));
#endif
}
#endif
#endif

// Where the weights of column `col` begin; beyond the last column those of the last, which are never used.
fn w_of(col: u32) -> u32 { return w_row(params.w_row0 + min(col, params.n - 1u), params.k); }
#if GATED
fn up_of(col: u32) -> u32 { return w_row(params.w_row0 + params.n + min(col, params.n - 1u), params.k); }

// As `end`, for the sums of gate and up: both as if they were products of their own, then silu_mul's product.
fn end_gated(row: u32, col: u32, gate_sum: f32, up_sum: f32) {
    var gate = gate_sum;
    var up = up_sum;
#if BIAS
    gate = opq(gate + bias[params.n0 + col]);
    up = opq(up + bias[params.n0 + params.n + col]);
#endif
    y[row * params.stride + params.n0 + col] = opq(silu_(gate) * up);
}
#endif

// The sum of all segments so far with one more; the first starts it.
fn chained(total: f32, sum: f32, first: bool) -> f32 { return select(opq(total + sum), sum, first); }

// Writes output (row, col), whose segments make `sum`.
fn end(row: u32, col: u32, sum: f32) {
    let at = row * params.stride + params.n0 + col;
    var total = sum;
#if BIAS
    total = opq(total + bias[params.n0 + col]);
#endif
    total = rnd(total);
#if RESIDUAL
    total = rnd(opq(residual[at] + total));
#endif
    y[at] = total;
}
