// The gated MLP's product.
//
// Formula    y[i] = round(round(gate[i] * sigmoid(gate[i])) * up[i]); rounding: include/rounding.wgsl
// Shapes     gate, up, y f32 [n], flattened
// Bindings   0 params, 1 gate, 2 up, 3 y
// Dispatch   workgroup 64; x over ceil(width / 64), y over rows (n = rows * width)
// Order      SiLU, then one product
// Twin       engine/src/kernels/silu_mul.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // rows
    width: u32,  // columns
    unused: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> gate: array<f32>;
@group(0) @binding(2) var<storage, read> up: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

#include "numerics"
#include "rounding"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.width || id.y >= params.rows) { return; }
    let i = id.y * params.width + id.x;
    y[i] = rnd(opq(rnd(silu_(gate[i])) * up[i]));
}
