// Sum of two matrices, or of a matrix and one row for all (BIAS).
//
// Formula    y[r, c] = round(a[r, c] + b[r, c]), with BIAS b[c]
// Shapes     a, y f32 [rows, width]; b f32 [rows, width] or, with BIAS, [width]
// Bindings   0 params, 1 a, 2 b, 3 y
// Dispatch   workgroup 64; x over ceil(width / 64), y over rows
// Order      one sum
// Twin       engine/src/kernels/add.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // rows
    width: u32,  // columns
    unused: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

#include "numerics"
#include "rounding"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.width || id.y >= params.rows) { return; }
    let i = id.y * params.width + id.x;
#if BIAS
    y[i] = rnd(opq(a[i] + b[id.x]));
#else
    y[i] = rnd(opq(a[i] + b[i]));
#endif
}
