// Keys and values of a chunk into the cache, where nothing rotates them (learned positions).
//
// Formula    k_cache[pos0 + r, c] = k[r, c]; v_cache[pos0 + r, c] = v[r, c]
// Shapes     k, v f32 [rows, width]; k_cache, v_cache f32 [capacity, width]
// Bindings   0 params, 1 k, 2 v, 3 k_cache, 4 v_cache
// Dispatch   workgroup 64; x over ceil(width / 64), y over rows
// Order      none: a copy
// Twin       engine/src/kernels/kv_write.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // tokens in this chunk
    width: u32,  // kv_heads * head_dim
    pos0: u32,   // position of the chunk's first token
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<f32>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.width || id.y >= params.rows) { return; }
    let source = id.y * params.width + id.x;
    let row = (params.pos0 + id.y) * params.width + id.x;
    k_cache[row] = k[source];
    v_cache[row] = v[source];
}
