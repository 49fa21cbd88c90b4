// Rotary position embedding of q (in place) and k (into the cache), and v into the cache.
//
// Formula    (a, b) -> (a cos - b sin, b cos + a sin) for the pair (i, i + d/2), or (2i, 2i + 1) with
//            INTERLEAVED; angles from a table made on the CPU (WGSL's sin and cos are too loose)
// Shapes     q f32 [rows, heads * d]; k, v f32 [rows, kv_heads * d]; table vec2(cos, sin) [capacity, d/2];
//            with STACKED q, k and v in one f32 [rows, (heads + 2 kv_heads) * d], and the rotated q elsewhere;
//            k_cache, v_cache f32 [_, kv_heads * d], rows row0 .. row0 + rows written: the caches, or what kv_write takes
// Bindings   0 params, 1 table, 2 k (or q, k and v), 3 v (not with STACKED), 4 q, 5 k_cache, 6 v_cache
// Dispatch   workgroup 64; x over ceil((heads + 2 kv_heads) d/2 / 64), y over rows
// Order      two products, then one sum
// Twin       engine/src/kernels/rope_kv.rs
struct Params {
    zero: u32,      // always 0, unknown to the compiler
    rows: u32,      // tokens in this chunk
    heads: u32,     // query heads
    kv_heads: u32,  // key and value heads
    half: u32,      // head_dim / 2
    pos0: u32,      // position of the chunk's first token
    row0: u32,      // row of the caches for it
    unused0: u32,
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> table: array<vec2<f32>>;
#if STACKED
@group(0) @binding(2) var<storage, read> qkv: array<f32>;
#else
@group(0) @binding(2) var<storage, read> k: array<f32>;
@group(0) @binding(3) var<storage, read> v: array<f32>;
#endif
@group(0) @binding(4) var<storage, read_write> q: array<f32>;
@group(0) @binding(5) var<storage, read_write> k_cache: array<f32>;
@group(0) @binding(6) var<storage, read_write> v_cache: array<f32>;

#include "numerics"
#include "rounding"

fn rotate(a: f32, b: f32, t: vec2<f32>) -> vec2<f32> {
    return vec2<f32>(
        rnd(opq(rnd(opq(a * t.x)) - rnd(opq(b * t.y)))),
        rnd(opq(rnd(opq(b * t.x)) + rnd(opq(a * t.y)))),
    );
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if (id.y >= params.rows || id.x >= (params.heads + 2u * params.kv_heads) * params.half) { return; }
    let head = id.x / params.half;
    let i = id.x % params.half;
#if INTERLEAVED
    let ia = 2u * i;
    let ib = 2u * i + 1u;
#else
    let ia = i;
    let ib = i + params.half;
#endif
    let d = 2u * params.half;
    let t = table[(params.pos0 + id.y) * params.half + i];
    if (head < params.heads) {
        let base = id.y * params.heads * d + head * d;
#if STACKED
        let source = (id.y * (params.heads + 2u * params.kv_heads) + head) * d;
        let r = rotate(qkv[source + ia], qkv[source + ib], t);
#else
        let r = rotate(q[base + ia], q[base + ib], t);
#endif
        q[base + ia] = r.x;
        q[base + ib] = r.y;
        return;
    }
    let kv_head = (head - params.heads) % params.kv_heads;
#if STACKED
    let src = (id.y * (params.heads + 2u * params.kv_heads) + head) * d;
    let a = qkv[src + ia];
    let b = qkv[src + ib];
#else
    let src = id.y * params.kv_heads * d + kv_head * d;
    let is_key = head < params.heads + params.kv_heads;
    let a = select(v[src + ia], k[src + ia], is_key);
    let b = select(v[src + ib], k[src + ib], is_key);
#endif
    let dst = (params.row0 + id.y) * params.kv_heads * d + kv_head * d;
    if (head < params.heads + params.kv_heads) {
        let r = rotate(a, b, t);
        k_cache[dst + ia] = r.x;
        k_cache[dst + ib] = r.y;
    } else {
        v_cache[dst + ia] = a;
        v_cache[dst + ib] = b;
    }
}
