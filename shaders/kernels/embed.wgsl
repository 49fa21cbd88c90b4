// Embedding lookup from one shard of the table. Rows that lie in other shards are left alone.
//
// Formula    y[r, c] = table[ids[r], c]
// Shapes     ids u32 [rows], w (the table's shard) stored type [count, hidden], y f32 [rows, hidden]
// Bindings   0 params, 1 ids, 2 w (with TEXELS a texture), 3 y
// Dispatch   workgroup 64; x over ceil(hidden / 64), y over rows
// Order      none: a copy: one value for each stored weight
// Twin       engine/src/kernels/embed.rs
struct Params {
    zero: u32,     // always 0, unknown to the compiler
    rows: u32,     // tokens in this chunk
    hidden: u32,   // columns of the table
    first: u32,    // id of this shard's first row
    count: u32,    // rows in this shard
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
#include "weights_binding"
@group(0) @binding(3) var<storage, read_write> y: array<f32>;

#include "numerics"
#include "weights"

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.hidden || id.y >= params.rows) { return; }
    let row = ids[id.y] - params.first;
    if (row >= params.count) { return; }
    y[id.y * params.hidden + id.x] = w1(w_row(row, params.hidden), id.x);
}
