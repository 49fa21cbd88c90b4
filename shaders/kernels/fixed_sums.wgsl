// Sums in fixed point to numbers: the end of a product of integers in blocks.
//
// Formula    y[r, c] = f32(z[r, c] 2^-48)  (+ bias[c]) (+ residual[r, c]);  z = -2^63, which stands for none: NaN
// Shapes     z i64 [rows, width], the lower word first; bias f32 [width], y and residual f32 [rows, width]
// Bindings   0 params, 1 z, 4 bias (BIAS), 5 residual (RESIDUAL), 6 y
// Dispatch   workgroup 64; x over ceil(width / 64), y over rows
// Order      the sum rounded to f32 (to nearest, ties to even, by integers), bias, residual: one rounding each
// Twin       engine/src/kernels/fixed_sums.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // rows
    width: u32,  // columns
    unused: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> z: array<vec2<u32>>;
@group(0) @binding(4) var<storage, read> bias: array<f32>;
@group(0) @binding(5) var<storage, read> residual: array<f32>;
@group(0) @binding(6) var<storage, read_write> y: array<f32>;

#include "numerics"

// The nearest f32. From 2^-48 to 2^15: no number here is subnormal.
fn nearest(z: vec2<u32>) -> f32 {
    let sign = z.y & 0x80000000u;
    let turned = vec2<u32>(~z.x + 1u, ~z.y + select(0u, 1u, z.x == 0u));
    let size = select(z, turned, sign != 0u);
    if (size.x == 0u && size.y == 0u) { return 0.0; }
    // The highest bit to the top of the upper word.
    let zeros = select(countLeadingZeros(size.y), 32u + countLeadingZeros(size.x), size.y == 0u);
    let whole = select(size, vec2<u32>(0u, size.x), zeros >= 32u);
    let bits = zeros & 31u;
    let top = (whole.y << bits) | ((whole.x >> 1u) >> (31u - bits));
    let rest = whole.x << bits;
    // 24 bits, of which the first is the exponent's; what is below decides.
    let kept = top >> 8u;
    let below = top & 255u;
    let is_more = below > 128u || (below == 128u && (rest != 0u || (kept & 1u) == 1u));
    // 2^63 in units of 2^-48 is 2^15, whose exponent is 142 in an f32.
    let exponent = 141u - zeros;
    let number = (exponent << 23u) + kept + select(0u, 1u, is_more);
    return bitcast<f32>(select(number | sign, 0x7FC00000u ^ params.zero, size.y == 0x80000000u));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.x >= params.width || id.y >= params.rows) { return; }
    let i = id.y * params.width + id.x;
    var total = nearest(z[i]);
#if BIAS
    total = opq(total + bias[id.x]);
#endif
#if RESIDUAL
    total = opq(residual[i] + total);
#endif
    y[i] = total;
}
