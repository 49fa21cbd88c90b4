// Rows rounded to 8 bits in blocks, as llama.cpp rounds what its quantised products take: Q8_0 (blocks of 32) or, with Q8_K, of 256.
//
// Formula    a = max |x| of a block; q = clamp(round(x * (127 / a)), -127, 127); y = d * q
//            Q8_0: d = f16(a / 127), the largest f16 beyond its range; Q8_K: d = 1 / (127 / a), f32
//            quotients correctly rounded, ties of `round` to even; a < 2^-100: y = 0; a no number: y = NaN
// Shapes     x, y f32 [rows, k], k a multiple of BLOCK
// Bindings   0 params, 1 x, 2 y
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
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

#include "numerics"
#include "rounding"
#include "round8"

var<workgroup> sh_top: array<u32, 64>;

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
    if (block < params.blocks) {
        for (var c = within; c < ${BLOCK}u; c = c + 32u) { y[base + c] = opq(d * quant(x[base + c], inverse)); }
    }
}
