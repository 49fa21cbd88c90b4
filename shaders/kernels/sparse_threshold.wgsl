// Which neurons of each row are large: a mask by threshold.
//
// Formula    bit j of row r = |v[r, j]| >= t; with SILU |silu(v[r, j])| >= t; with RELU max(v[r, j], 0) >= t and > 0
// Shapes     v f32 [rows, n]; bits u32 [rows, words], least significant bit first, words = ceil(n / 32); bits beyond n are 0; t >= 0
// Bindings   0 params, 1 v, 2 bits
// Dispatch   workgroup 64, an invocation a word; x over ceil(words / 64), y over rows
// Order      none: comparisons
// Twin       engine/src/kernels/sparse/threshold.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // rows
    n: u32,      // columns of v
    words: u32,  // words of a row of bits
    t: f32,      // the threshold
    v_row: u32,  // first row of v
    unused0: u32,
    unused1: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> v: array<f32>;
@group(0) @binding(2) var<storage, read_write> bits: array<u32>;

#include "numerics"

fn is_large(x: f32) -> bool {
#if RELU
    return x > 0.0 && x >= params.t;
#else
#if SILU
    return abs(silu_(x)) >= params.t;
#else
    return abs(x) >= params.t;
#endif
#endif
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.words || id.y >= params.rows) { return; }
    let first = id.x * 32u;
    let base = (params.v_row + id.y) * params.n + first;
    let count = min(32u, params.n - first);
    var word = 0u;
    for (var i = 0u; i < count; i = i + 1u) {
        word = word | (select(0u, 1u, is_large(v[base + i])) << i);
    }
    bits[id.y * params.words + id.x] = word;
}
