// Rows to 8-bit integers, one scale a row: inputs of integer products.
//
// Formula    a = max_c |x[r, c]|, s[r] = a / 127, q[r, c] = clamp(round(x[r, c] * (127 / a)), -127, 127)
//            both quotients correctly rounded, ties of `round` to even; a < 2^-100: s = 0 and q = 0; a no number: s = NaN and q = 0
// Shapes     x f32 [rows, k], q i8 [rows, 4 words], four to a word, zeros beyond k; s f32 [rows]
// Bindings   0 params, 1 x, 2 q, 3 s
// Dispatch   workgroup 64, one per row; x over rows
// Order      a maximum: any
// Twin       engine/src/kernels/round8.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // rows
    k: u32,      // columns of x
    words: u32,  // ceil(k / 4)
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> q: array<u32>;
@group(0) @binding(3) var<storage, read_write> s: array<f32>;

#include "numerics"
#include "round8"

var<workgroup> sh_top: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = group.x * params.k;
    var most = 0u;
    for (var c = lane; c < params.k; c = c + 64u) { most = max(most, magnitude_bits(x[base + c])); }
    sh_top[lane] = most;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride = stride >> 1u) {
        if (lane < stride) { sh_top[lane] = max(sh_top[lane], sh_top[lane + stride]); }
        workgroupBarrier();
    }
    let top = sh_top[0];
    let inverse = div_(127.0, divisor(top));
    if (lane == 0u) { s[group.x] = scale_of(div_(divisor(top), 127.0), top); }
    for (var i = lane; i < params.words; i = i + 64u) {
        var word = 0u;
        for (var b = 0u; b < 4u; b = b + 1u) {
            let c = 4u * i + b;
            if (c < params.k && is_some(top)) {
                word = word | ((u32(i32(quant(x[base + c], inverse))) & 255u) << (8u * b));
            }
        }
        q[group.x * params.words + i] = word;
    }
}
