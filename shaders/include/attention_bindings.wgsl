// Bindings and constants that the attention kernels share.
//   0 params   uniform
//   1 q        f32 [rows, heads * d]        rotated queries
//   2 k_cache  f32 [capacity, kv_heads * d]
//   3 v_cache  f32 [capacity, kv_heads * d]; both are textures with TEXELS (attention_subgroup; kv_write says how positions lie in them)
//   4 y        f32 [rows, heads * d]
struct Params {
    zero: u32,      // always 0, unknown to the compiler
    rows: u32,      // queries in this chunk
    heads: u32,     // query heads; head h reads key-value head h / (heads / kv_heads)
    kv_heads: u32,  // key and value heads
    pos0: u32,      // position of the chunk's first query; it sees positions 0 ..= pos0 + row
    scale: f32,     // 1 / sqrt(d)
    fold: u32,      // TEXELS: 2^fold positions lie in a row of texels
    unused0: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> q: array<f32>;
#if TEXELS
@group(0) @binding(2) var k_cache: texture_storage_2d<rgba32uint, read>;
@group(0) @binding(3) var v_cache: texture_storage_2d<rgba32uint, read>;
// Where a position of so many texels begins.
fn cache_at(position: u32, texels: u32) -> vec2<u32> {
    return vec2<u32>((position & ((1u << params.fold) - 1u)) * texels, position >> params.fold);
}
fn four(cache: texture_storage_2d<rgba32uint, read>, at: vec2<u32>, texel: u32) -> vec4<f32> {
    return bitcast<vec4<f32>>(textureLoad(cache, vec2<u32>(at.x + texel, at.y)));
}
#else
@group(0) @binding(2) var<storage, read> k_cache: array<f32>;
@group(0) @binding(3) var<storage, read> v_cache: array<f32>;
#endif
@group(0) @binding(4) var<storage, read_write> y: array<f32>;

// The canonical order: positions in chunks of CHUNK. Inside a chunk the maximum, then the sum of
// exp(s - max) ascending and the weighted sum of v ascending; chunks are merged ascending into a running
// (max, sum, out), each side scaled by exp(its max - new max). A chunk never depends on the query tile,
// so prefill, decode and a later split over chunks give the same bits.
const CHUNK: u32 = 64u;
const D: u32 = ${HEAD_DIM}u;
// WGSL may assume that infinities do not occur.
const LOWEST: f32 = -3.0e38;

// Only the result is rounded: how a prover rounds inside attention differs from kernel to kernel.
#include "numerics"
#include "rounding"
