// Learned positions, added to the embeddings in place.
//
// Formula    y[r, c] = y[r, c] + table[first + r, c]
// Shapes     y f32 [rows, hidden]; w (the table) stored type [positions, hidden]
// Bindings   0 params, 2 w, 3 y
// Dispatch   workgroup 64; x over ceil(hidden / 64), y over rows
// Order      one sum
// Twin       engine/src/kernels/add_position.rs
struct Params {
    zero: u32,    // always 0, unknown to the compiler
    rows: u32,    // tokens in this chunk
    hidden: u32,  // columns of the table
    first: u32,   // the table's row for the chunk's first token
}
@group(0) @binding(0) var<uniform> params: Params;
#include "weights_binding"
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

#include "numerics"
#include "weights"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.hidden || id.y >= params.rows) { return; }
    let i = id.y * params.hidden + id.x;
    y[i] = opq(y[i] + w1(w_row(params.first + id.y, params.hidden), id.x));
}
