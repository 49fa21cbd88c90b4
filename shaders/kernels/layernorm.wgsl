// Layer norm of each row, with weight and bias.
//
// Formula    m = mean_c(x[r, c]); d[r, c] = x[r, c] - m; y[r, c] = d[r, c] * rsqrt(mean_c(d[r, c]^2) + eps) * weight[c] + bias[c]
// Shapes     x, y f32 [rows, n]; weight, bias f32 [n]; reads rows x_row .. x_row + rows of x, writes rows 0 ..
// Bindings   0 params, 1 x, 2 weight, 3 y, 4 bias
// Dispatch   workgroup 64, one per row; x over rows
// Order      both sums: lane i adds columns i, i + 64, ... ascending; then a tree of strides 32 .. 1
// Twin       engine/src/kernels/layernorm.rs
struct Params {
    zero: u32,    // always 0, unknown to the compiler
    rows: u32,    // rows to norm
    n: u32,       // columns
    x_row: u32,   // first row of x
    inv_n: f32,   // 1 / n, rounded on the host
    eps: f32,     // added to the variance
    unused0: u32,
    unused1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> weight: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;

#include "numerics"
#include "lane_tree"

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = (params.x_row + group.x) * params.n;
    var sum = 0.0;
    for (var c = lane; c < params.n; c = c + 64u) { sum = opq(sum + x[base + c]); }
    let mean = opq(lane_tree(sum, lane) * params.inv_n);
    workgroupBarrier();
    var energy = 0.0;
    for (var c = lane; c < params.n; c = c + 64u) {
        let d = opq(x[base + c] - mean);
        energy = madd(energy, d, d);
    }
    let scale = rsqrt_(opq(opq(lane_tree(energy, lane) * params.inv_n) + params.eps));
    let out = group.x * params.n;
    for (var c = lane; c < params.n; c = c + 64u) {
        y[out + c] = opq(opq(opq(opq(x[base + c] - mean) * scale) * weight[c]) + bias[c]);
    }
}
