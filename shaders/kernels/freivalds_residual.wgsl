// What a product claims against what it must be, both seen through secret projections.
//
// Formula    e[r, j] = yr[r, j] - xv[r, first + j];  out[r] = sum_j e[r, j]^2,  out[rows + r] = max_j |e[r, j]|,
//            out[2 rows + j] = sum_r e[r, j]^2
// Shapes     yr f32 [rows, projections] = y R; xv f32 [rows, stride] = x (W^T R) among other columns; out f32 [2 rows + projections]
// Bindings   0 params, 1 yr, 2 xv, 3 out
// Dispatch   workgroup 64; x over ceil(max(rows, projections) / 64): invocation i has row i and projection i
// Order      j ascending in a row, r ascending in a projection
// Twin       engine/src/kernels/residual.rs
struct Params {
    zero: u32,         // always 0, unknown to the compiler
    rows: u32,         // rows
    projections: u32,  // projections
    stride: u32,       // elements between rows of xv
    first: u32,        // first column of xv
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> yr: array<f32>;
@group(0) @binding(2) var<storage, read> xv: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

#include "numerics"

fn residual(r: u32, j: u32) -> f32 {
    return opq(yr[r * params.projections + j] - xv[r * params.stride + params.first + j]);
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if (i < params.rows) {
        var sum = 0.0;
        var top = 0.0;
        for (var j = 0u; j < params.projections; j = j + 1u) {
            let e = residual(i, j);
            sum = madd(sum, e, e);
            top = max(top, abs(e));
        }
        out[i] = sum;
        out[params.rows + i] = top;
    }
    if (i < params.projections) {
        var sum = 0.0;
        for (var r = 0u; r < params.rows; r = r + 1u) {
            let e = residual(r, i);
            sum = madd(sum, e, e);
        }
        out[2u * params.rows + i] = sum;
    }
}
