// Rows rounded to 8 bits in blocks, as llama.cpp rounds what its quantised products take: Q8_0 (blocks of 32) or, with Q8_K, of 256.
// Numbers again, or with INTEGERS (Q8_0 only) the integers and scales: inputs of products in fixed point.
//
// Formula    a = max |x| of a block; q = clamp(round(x * (127 / a)), -127, 127); y = d * q
//            Q8_0: d = f16(a / 127), the largest f16 beyond its range; Q8_K: d = 1 / (127 / a), f32
//            quotients correctly rounded, ties of `round` to even; a < 2^-100: y = 0; a no number: y = NaN
//            INTEGERS: q and the bits of d as f16, in place of y; a < 2^-100: d = 0 and q = 0; a no number: d = NaN and q = 0
// Shapes     x, y f32 [rows, k], k a multiple of BLOCK; q i8 [rows, k], four to a word; d u32 [rows, k / BLOCK]
// Bindings   0 params, 1 x, 2 y (INTEGERS: q), 3 d (INTEGERS)
// Dispatch   workgroup 64, two blocks each; x over ceil(blocks of a row / 2), y over rows
// Order      a maximum: any
// Twin       engine/src/kernels/round8.rs; ggml: quantize_row_q8_0 and quantize_row_q8_K (ggml-cpu/arch/x86/quants.c, ggml-quants.c)
struct Params {
    zero: u32,    // always 0, unknown to the compiler
    rows: u32,    // rows
    k: u32,       // columns
    blocks: u32,  // k / BLOCK
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
#if INTEGERS
@group(0) @binding(2) var<storage, read_write> q: array<u32>;
@group(0) @binding(3) var<storage, read_write> d_bits: array<u32>;
#else
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
#endif

#include "numerics"
#include "rounding"
#include "round8"

var<workgroup> sh_top: array<u32, 64>;

#if INTEGERS
// The bits of a number that an f16 has, 0 or more: not by a packing of the driver's, which may flush subnormals.
fn half_of(x: f32) -> u32 {
    let u = bitcast<u32>(x);
    return select((u - 0x38000000u) >> 13u, u32(x * 16777216.0), u < 0x38800000u);
}
#endif

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    // 32 lanes a block.
    let block = group.x * 2u + (lane >> 5u);
    let within = lane & 31u;
    let base = group.y * params.k + block * ${BLOCK}u;
    var most = 0u;
    if (block < params.blocks) {
        for (var c = within; c < ${BLOCK}u; c = c + 32u) { most = max(most, magnitude_bits(x[base + c])); }
    }
    sh_top[lane] = most;
    workgroupBarrier();
    for (var stride = 16u; stride > 0u; stride = stride >> 1u) {
        if (within < stride) { sh_top[lane] = max(sh_top[lane], sh_top[lane + stride]); }
        workgroupBarrier();
    }
    let top = sh_top[lane & 32u];
    let inverse = div_(127.0, divisor(top));
#if Q8_K
    let d = scale_of(div_(1.0, inverse), top);
#else
    let d = scale_of(rnd(div_(divisor(top), 127.0)), top);
#endif
#if INTEGERS
    if (block < params.blocks && within < 8u) {
        var word = 0u;
        for (var b = 0u; b < 4u; b = b + 1u) {
            let c = base + 4u * within + b;
            if (is_some(top)) { word = word | ((u32(i32(quant(x[c], inverse))) & 255u) << (8u * b)); }
        }
        q[(base >> 2u) + within] = word;
        if (within == 0u) {
            d_bits[group.y * params.blocks + block] = select(half_of(d), 0x7E00u, top >= INFINITE);
        }
    }
#else
    if (block < params.blocks) {
        for (var c = within; c < ${BLOCK}u; c = c + 32u) { y[base + c] = opq(d * quant(x[base + c], inverse)); }
    }
#endif
}
