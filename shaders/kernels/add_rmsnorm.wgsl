// Sum of two rows, and the root-mean-square norm of it: `add` and `rmsnorm` in one dispatch, with their bits.
//
// Formula    sum[r, c] = round(a[r, c] + b[r, c])
//            y[r, c] = round(round(sum[r, c] * rsqrt(mean_c(sum[r, c]^2) + eps)) * weight[c]); rounding: include/rounding.wgsl
// Shapes     a, b, sum, y f32 [rows, n]; weight f32 [n]
// Bindings   0 params, 1 a, 2 b (with IN_PLACE none: b lies in y), 3 weight, 4 sum, 5 y
// Dispatch   workgroup 64, one per row; x over rows
// Order      one sum; lane i adds the squares of columns i, i + 64, ... ascending; then a tree of strides 32 .. 1
// Twin       engine/src/kernels/add_rmsnorm.rs
struct Params {
    zero: u32,    // always 0, unknown to the compiler
    rows: u32,    // rows
    n: u32,       // columns
    unused0: u32,
    inv_n: f32,   // 1 / n, rounded on the host
    eps: f32,     // added to the mean square
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
#if IN_PLACE
#else
@group(0) @binding(2) var<storage, read> b: array<f32>;
#endif
@group(0) @binding(3) var<storage, read> weight: array<f32>;
@group(0) @binding(4) var<storage, read_write> sum: array<f32>;
@group(0) @binding(5) var<storage, read_write> y: array<f32>;

#include "numerics"
#include "rounding"
#include "lane_tree"

#if IN_PLACE
fn addend(i: u32) -> f32 { return y[i]; }
#else
fn addend(i: u32) -> f32 { return b[i]; }
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.x * params.n;
    var squares = 0.0;
    for (var c = lane; c < params.n; c = c + 64u) {
        let v = rnd(opq(a[base + c] + addend(base + c)));
        sum[base + c] = v;
        squares = madd(squares, v, v);
    }
    let energy = lane_tree(squares, lane);
    let scale = rsqrt_(opq(opq(energy * params.inv_n) + params.eps));
    // A lane reads what it wrote itself, so nothing has to wait.
    for (var c = lane; c < params.n; c = c + 64u) {
        y[base + c] = rnd(opq(rnd(opq(sum[base + c] * scale)) * weight[c]));
    }
}
