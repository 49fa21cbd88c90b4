// Bindings and epilogue of the sums of selected rows (sparse_sum, sparse_sum_lanes, sparse_sum_texels).
//   0 params    uniform
//   1 a         f32 [rows, n]       factors; read only where the row's own bit is set
//   2 w         any [n, d]          rows to sum, stored type; with SLOTS [capacity, d], a slot a row; with TEXELS a texture [n, d / 8]
//                                   of eight 16-bit weights a texel
//   3 bits      u32 [rows, words]   the mask: read only where a tile has more than one row
//   4 bias      f32 [d]             BIAS
//   5 residual  f32 [rows, d]       RESIDUAL
//   6 list, 7 starts                include/sparse_list.wgsl
//   8 y         f32 [rows, d]
struct Params {
    zero: u32,      // always 0, unknown to the compiler
    rows: u32,      // rows of a and y
    n: u32,         // columns of a, rows of w
    d: u32,         // columns of w and y
    segments: u32,  // segments of 256 rows of w
    words: u32,     // words of a row of bits
    a_row: u32,     // first row of a
    unused: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;
#if WIDE
// Eight 16-bit weights a load, where rows start at multiples of eight: llvmpipe loads lane by lane, and most of what a load costs there
// does not depend on its width. Of include/weights.wgsl only first4 and last4 are for it: w4 and w1 count in another width.
@group(0) @binding(2) var<storage, read> w: array<vec4<u32>>;
#else
#include "weights_binding"
#endif
@group(0) @binding(3) var<storage, read> bits: array<u32>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
@group(0) @binding(8) var<storage, read_write> y: array<f32>;

#include "sparse_list"
#include "numerics"
#if TEXELS
#include "weights_halves"
#else
#include "weights"

#if WIDE
#else
// Four columns of a row of w, from element i, which is column c, on. What lies beyond the last column is not used.
fn columns(i: u32, c: u32) -> vec4<f32> {
#if VEC
    return w4(i, 0u);
#else
    let most = max(params.d, c + 1u) - 1u - c;
    return vec4<f32>(w1(i, 0u), w1(i, min(1u, most)), w1(i, min(2u, most)), w1(i, min(3u, most)));
#endif
}
#endif
#endif

// The factor of neuron j in `row`: 0 where only another row of the tile has it, and 0 * w changes nothing.
fn factor(row: u32, j: u32) -> f32 {
    let value = a[(params.a_row + row) * params.n + j];
#if SHARED
    let word = bits[row * params.words + (j >> 5u)];
    return select(0.0, value, ((word >> (j & 31u)) & 1u) == 1u);
#else
    return value;
#endif
}

fn finish(row: u32, c: u32, sum: vec4<f32>) {
#for C 0 4
    if (c + ${C}u < params.d) {
        let at = row * params.d + c + ${C}u;
        var total = sum[${C}];
#if BIAS
        total = opq(total + bias[c + ${C}u]);
#endif
#if RESIDUAL
        total = opq(residual[at] + total);
#endif
        y[at] = total;
    }
#endfor
}
