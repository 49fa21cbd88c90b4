// Sum of squares of each row: the scale that Freivalds residuals are judged by.
//
// Formula    y[r] = sum_c x[r, c]^2
// Shapes     x f32 [rows, n], y f32 [rows]
// Bindings   0 params, 1 x, 2 y
// Dispatch   workgroup 64, one per row; x over rows
// Order      lane i adds the squares of columns i, i + 64, ... ascending; then a tree of strides 32 .. 1
// Twin       engine/src/kernels/row_energy.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // rows
    n: u32,      // columns
    unused: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

#include "numerics"
#include "lane_energy"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.x * params.n;
    let energy = lane_energy(base, params.n, lane);
    if (lane == 0u) { y[group.x] = energy; }
}
