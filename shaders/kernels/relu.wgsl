// The activation of an MLP without a gate.
//
// Formula    y[r, c] = max(x[r, c], 0)
// Shapes     x, y f32 [rows, width]
// Bindings   0 params, 1 x, 2 y
// Dispatch   workgroup 64; x over ceil(width / 64), y over rows
// Order      none: a choice
// Twin       engine/src/kernels/relu.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // rows
    width: u32,  // columns
    unused: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.width || id.y >= params.rows) { return; }
    let i = id.y * params.width + id.x;
    y[i] = select(0.0, x[i], x[i] > 0.0);
}
