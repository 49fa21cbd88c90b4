// Keys or values of a chunk, in the cache, as a cheaper cache would hold them: rounded and decoded again, in place.
//
// Formula    FP8: the nearest number of e4m3 (scale 1), ties to even; beyond 448, that. Else, over the components of one head,
//            a = max |x|, y = clamp(round(x * (L / a)), -L, L) * (a / L) with L = LEVELS (127: 8 bits, 7: 4 bits); both quotients correctly
//            rounded, ties of `round` to even; a < 2^-100: y = 0; a no number: y = x
// Shapes     cache f32 [capacity, heads * d], rows pos0 .. pos0 + rows
// Bindings   0 params, 1 cache
// Dispatch   workgroup 64, one per head and row; x over heads, y over rows
// Order      a maximum: any
// Twin       engine/src/kernels/round_heads.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // tokens in this chunk
    heads: u32,  // key and value heads
    d: u32,      // components of a head
    pos0: u32,   // position of the chunk's first token
    unused0: u32,
    unused1: u32,
    unused2: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> cache: array<f32>;

#include "numerics"
#include "round8"

#if FP8
fn fp8(x: f32) -> f32 {
    let u = bitcast<u32>(x);
    let a = u & 0x7FFFFFFFu;
    let normal = min((a + 0x7FFFFu + ((a >> 20u) & 1u)) & 0xFFF00000u, 0x43E00000u);
    // Below 2^-6 e4m3 counts in steps of 2^-9.
    let subnormal = bitcast<u32>(round(bitcast<f32>(a) * 512.0) * 0.001953125);
    let rounded = select(normal, subnormal, a < 0x3C800000u);
    return bitcast<f32>(select(rounded, a, a >= INFINITE) | (u & 0x80000000u));
}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = ((params.pos0 + group.y) * params.heads + group.x) * params.d;
    for (var c = lane; c < params.d; c = c + 64u) { cache[base + c] = fp8(cache[base + c]); }
}
#else
const LEVELS: f32 = ${LEVELS}.0;
var<workgroup> sh_top: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let base = ((params.pos0 + group.y) * params.heads + group.x) * params.d;
    var most = 0u;
    for (var c = lane; c < params.d; c = c + 64u) { most = max(most, magnitude_bits(cache[base + c])); }
    sh_top[lane] = most;
    workgroupBarrier();
    for (var stride = 32u; stride > 0u; stride = stride >> 1u) {
        if (lane < stride) { sh_top[lane] = max(sh_top[lane], sh_top[lane + stride]); }
        workgroupBarrier();
    }
    let top = sh_top[0];
    if (top >= INFINITE) { return; }
    let inverse = div_(LEVELS, divisor(top));
    let scale = scale_of(div_(divisor(top), LEVELS), top);
    for (var c = lane; c < params.d; c = c + 64u) {
        let level = clamp(round(opq(cache[base + c] * inverse)), -LEVELS, LEVELS);
        cache[base + c] = select(0.0, opq(level * scale), is_some(top));
    }
}
#endif
