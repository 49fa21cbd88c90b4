// Product of integers in blocks whose scales are f16, in fixed point: exact, so every adapter gives the same numbers whatever the order.
//
// Formula    z[r, n0 + c] = sum over blocks b of 32 columns of  dx[r, b] (dw[c, b] (q . x) - dmin[c, b] (m . x)),  in units of 2^-48:
//            every f16 is an integer of 11 bits, shifted, in units of 2^-24; the second part is Q4_K's alone
// Shapes     x i8 [m, 4 words], four to a word, whole blocks of 8 words; d u32 [m, words / 8], f16 bits, 0 or more; w in row form,
//            [n, w_row words]; z i64 [m, stride], the lower word first
// Range      a term is below 2^104, so sums of 128 bits hold 2^23 of them; a sum beyond 2^63 - 1 in magnitude, or with a scale that is
//            no number, is -2^63, which stands for none
// Bindings   0 params, 1 x, 2 w, 3 z, 4 d
// Dispatch   workgroup (8, 8); x over ceil(n / (8 TILE)), y over ceil(m / 8): an invocation makes TILE columns of one row.
//            ONE_ROW: workgroup (64, 1); x over ceil(n / (64 TILE))
// Order      blocks ascending; integer sums do not depend on it. DOT4: the packed dot product, where WGSL has it
// Twin       engine/src/kernels/matmul_fixed.rs
struct Params {
    zero: u32,     // always 0, unknown to the compiler
    m: u32,        // rows of x and z
    n: u32,        // rows of w in this shard
    words: u32,    // words of a row of x
    stride: u32,   // elements between rows of z
    n0: u32,       // first column of z that this shard writes
    w_row: u32,    // words between rows of w
    unused: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> w: array<u32>;
@group(0) @binding(3) var<storage, read_write> z: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> d: array<u32>;

#include "dot4"
#include "weights_fixed"

// An f16 in units of 2^-24: an integer of 11 bits and a sign, and how far it is shifted. Not for infinities and NaNs.
struct Half { number: i32, shift: u32 }
fn half_parts(bits: u32) -> Half {
    let exponent = (bits >> 10u) & 31u;
    let number = i32((bits & 0x3FFu) | select(1024u, 0u, exponent == 0u));
    return Half(select(number, -number, (bits & 0x8000u) != 0u), max(exponent, 1u) - 1u);
}

// sum + a b 2^shift, of four words, the lowest first; |a| < 2^24, |b| < 2^22, shift at most 58.
fn add_product(sum: vec4<u32>, a: i32, b: i32, shift: u32) -> vec4<u32> {
    let ua = u32(abs(a));
    let ub = u32(abs(b));
    let low = (ua & 0xFFFFu) * (ub & 0xFFFFu);
    let middle = (ua & 0xFFFFu) * (ub >> 16u) + (ua >> 16u) * (ub & 0xFFFFu);
    let lo = low + (middle << 16u);
    let hi = (ua >> 16u) * (ub >> 16u) + (middle >> 16u) + select(0u, 1u, lo < low);
    // By less than a word, then by a whole one.
    let bits = shift & 31u;
    let t = vec3<u32>(lo << bits, (hi << bits) | ((lo >> 1u) >> (31u - bits)), (hi >> 1u) >> (31u - bits));
    let term = select(vec4<u32>(t, 0u), vec4<u32>(0u, t), vec4<bool>(shift >= 32u));
    // Taken away: all bits turned, and one more.
    let taken = select(0u, 1u, (a ^ b) < 0);
    let add = term ^ vec4<u32>(0u - taken);
    let x0 = sum.x + add.x;
    let y0 = x0 + taken;
    let x1 = sum.y + add.y;
    let y1 = x1 + select(0u, 1u, x0 < add.x || y0 < x0);
    let x2 = sum.z + add.z;
    let y2 = x2 + select(0u, 1u, x1 < add.y || y1 < x1);
    let y3 = sum.w + add.w + select(0u, 1u, x2 < add.z || y2 < x2);
    return vec4<u32>(y0, y1, y2, y3);
}

// What 64 bits hold of a sum, or what stands for none.
fn in_64_bits(sum: vec4<u32>, no_number: bool) -> vec2<u32> {
    let sign = select(0u, 0xFFFFFFFFu, (sum.y & 0x80000000u) != 0u);
    let fits = sum.z == sign && sum.w == sign && !no_number;
    return select(vec2<u32>(0u, 0x80000000u), sum.xy, vec2<bool>(fits));
}

#if ONE_ROW
@compute @workgroup_size(64)
#else
@compute @workgroup_size(8, 8)
#endif
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let col0 = id.x * ${TILE}u;
    if (id.y >= params.m || col0 >= params.n) { return; }
    let row = id.y * params.words;
    let blocks = params.words >> 3u;
    let scales = id.y * blocks;
#for J 0 TILE
    let b${J} = min(col0 + ${J}u, params.n - 1u) * params.w_row;
    var sum${J} = vec4<u32>(0u);
#endfor
    var no_number = false;
    for (var block = 0u; block < blocks; block = block + 1u) {
        let at = row + block * 8u;
        let inputs = Inputs(
            vec4<u32>(x[at], x[at + 1u], x[at + 2u], x[at + 3u]),
            vec4<u32>(x[at + 4u], x[at + 5u], x[at + 6u], x[at + 7u]),
        );
        let ones = vec2<i32>(dot16(inputs.a, vec4<u32>(0x01010101u)), dot16(inputs.b, vec4<u32>(0x01010101u)));
        let bits = d[scales + block];
        no_number = no_number || (bits & 0x7C00u) == 0x7C00u;
        let of_x = half_parts(bits);
#for J 0 TILE
        {
            let of_w = half_parts(fixed_scale(b${J}, block));
            let q = fixed_sum(b${J}, block, inputs, ones);
            sum${J} = add_product(sum${J}, q, of_w.number * of_x.number, of_w.shift + of_x.shift);
#if LEAST
            let of_least = half_parts(fixed_least_scale(b${J}, block));
            let least = fixed_least(b${J}, block, ones);
            sum${J} = add_product(sum${J}, -least, of_least.number * of_x.number, of_least.shift + of_x.shift);
#endif
        }
#endfor
    }
    let at = id.y * params.stride + params.n0 + col0;
#for J 0 TILE
    if (col0 + ${J}u < params.n) { z[at + ${J}u] = in_64_bits(sum${J}, no_number); }
#endfor
}
