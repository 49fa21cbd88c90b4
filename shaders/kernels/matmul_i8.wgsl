// Product of 8-bit integers with 32-bit sums: exact, so every adapter gives the same numbers whatever the order.
//
// Formula    z[r, n0 + c] = sum_k x[r, k] * w[c, k]
// Shapes     x i8 [m, 4 words], w i8 [n, 4 words], both four to a word, zeros in x beyond its columns; rows of w are w_row words
//            apart, and w_first words stand before each (a scale, in row form); z i32 [m, stride];
//            |z| <= k 128^2, so k below 131072 cannot overflow
// Bindings   0 params, 1 x, 2 w, 3 z
// Dispatch   workgroup (8, 8); x over ceil(n / (8 TILE)), y over ceil(m / 8): an invocation makes TILE columns of one row.
//            ONE_ROW: workgroup (64, 1); x over ceil(n / (64 TILE))
// Order      k ascending; integer sums do not depend on it. DOT4: the packed dot product, where WGSL has it
// Twin       engine/src/kernels/matmul_i8.rs
struct Params {
    zero: u32,     // always 0, unknown to the compiler
    m: u32,        // rows of x and z
    n: u32,        // rows of w in this shard
    words: u32,    // words of a row of x
    stride: u32,   // elements between rows of z
    n0: u32,       // first column of z that this shard writes
    w_row: u32,    // words between rows of w
    w_first: u32,  // words before a row's integers
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;
@group(0) @binding(3) var<storage, read_write> z: array<i32>;

#include "dot4"

#if ONE_ROW
@compute @workgroup_size(64)
#else
@compute @workgroup_size(8, 8)
#endif
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let col0 = id.x * ${TILE}u;
    if (id.y >= params.m || col0 >= params.n) { return; }
    let row = id.y * params.words;
#for J 0 TILE
    let b${J} = min(col0 + ${J}u, params.n - 1u) * params.w_row + params.w_first;
    var sum${J} = 0;
#endfor
    for (var i = 0u; i < params.words; i = i + 1u) {
        let a = x[row + i];
#for J 0 TILE
        sum${J} = sum${J} + dot4(a, w[b${J} + i]);
#endfor
    }
    let at = id.y * params.stride + params.n0 + col0;
#for J 0 TILE
    if (col0 + ${J}u < params.n) { z[at + ${J}u] = sum${J}; }
#endfor
}
