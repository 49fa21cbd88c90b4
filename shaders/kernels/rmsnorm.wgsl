// Root-mean-square norm of each row.
//
// Formula    y[r, c] = round(round(x[r, c] * rsqrt(mean_c(x[r, c]^2) + eps)) * weight[c]); rounding: include/rounding.wgsl
// Shapes     x, y f32 [rows, n]; weight f32 [n]; reads rows x_row .. x_row + rows of x, writes rows 0 ..
// Bindings   0 params, 1 x, 2 weight, 3 y
// Dispatch   workgroup 64, one per row; x over rows
// Order      lane i adds the squares of columns i, i + 64, ... ascending; then a tree of strides 32 .. 1
// Twin       engine/src/kernels/rmsnorm.rs
struct Params {
    zero: u32,    // always 0, unknown to the compiler
    rows: u32,    // rows to norm
    n: u32,       // columns
    x_row: u32,   // first row of x
    inv_n: f32,   // 1 / n, rounded on the host
    eps: f32,     // added to the mean square
    unused0: u32,
    unused1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

#include "numerics"
#include "rounding"
#include "lane_energy"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = (params.x_row + group.x) * params.n;
    let energy = lane_energy(base, params.n, lane);
    let scale = rsqrt_(opq(opq(energy * params.inv_n) + params.eps));
    let out = group.x * params.n;
    for (var c = lane; c < params.n; c = c + 64u) {
        y[out + c] = rnd(opq(rnd(opq(x[base + c] * scale)) * weight[c]));
    }
}
