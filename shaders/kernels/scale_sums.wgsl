// Integer sums to numbers: the end of an integer product.
//
// Formula    y[r, c] = f32(z[r, c]) * (s[r] * w[c])  (+ bias[c]) (+ residual[r, c])
// Shapes     z i32 [rows, width], s f32 [rows], w f32 [width], bias f32 [width], y and residual f32 [rows, width]
// Bindings   0 params, 1 z, 2 s, 3 w, 4 bias (BIAS), 5 residual (RESIDUAL), 6 y
// Dispatch   workgroup 64; x over ceil(width / 64), y over rows
// Order      the sum rounded to f32, the scales' product, their product, bias, residual: one rounding each
// Twin       engine/src/kernels/scale_sums.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // rows
    width: u32,  // columns
    unused: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<i32>;
@group(0) @binding(2) var<storage, read> s: array<f32>;
@group(0) @binding(3) var<storage, read> w: array<f32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

#include "numerics"

// An integer to the nearest f32, ties to even: from two halves that are exact, so that only the sum rounds, which no device does
// otherwise. (How a conversion rounds is not said by WGSL.)
fn nearest(i: i32) -> f32 { return opq(f32(i >> 12u) * 4096.0 + f32(i & 4095)); }

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.width || id.y >= params.rows) { return; }
    let i = id.y * params.width + id.x;
    var total = opq(nearest(z[i]) * opq(s[id.y] * w[id.x]));
#if BIAS
    total = opq(total + bias[id.x]);
#endif
#if RESIDUAL
    total = opq(residual[i] + total);
#endif
    y[i] = total;
}
