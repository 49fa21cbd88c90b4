// Keys and values of a chunk into the cache, which may be textures (TEXELS).
//
// Formula    k_cache[pos0 + r, c] = k[r, c]; v_cache[pos0 + r, c] = v[r, c]
// Shapes     k, v f32 [rows, width]; k_cache, v_cache f32 [capacity, width], with TEXELS by texels of four columns, 2^fold positions side
//            by side in a row of texels, so that no side is longer than a texture's may be; width a multiple of 4 then
// Bindings   0 params, 1 k, 2 v, 3 k_cache, 4 v_cache
// Dispatch   workgroup 64; x over ceil(width / 64), with TEXELS ceil(width / 256), y over rows
// Order      none: a copy
// Twin       engine/src/kernels/kv_write.rs
struct Params {
    zero: u32,   // always 0, unknown to the compiler
    rows: u32,   // tokens in this chunk
    width: u32,  // kv_heads * head_dim
    pos0: u32,   // position of the chunk's first token
    fold: u32,   // TEXELS
}
@group(0) @binding(0) var<uniform> params: Params;
#if TEXELS
@group(0) @binding(1) var<storage, read> k: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> v: array<vec4<f32>>;
@group(0) @binding(3) var k_cache: texture_storage_2d<rgba32uint, write>;
@group(0) @binding(4) var v_cache: texture_storage_2d<rgba32uint, write>;
#else
@group(0) @binding(1) var<storage, read> k: array<f32>;
@group(0) @binding(2) var<storage, read> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> k_cache: array<f32>;
@group(0) @binding(4) var<storage, read_write> v_cache: array<f32>;
#endif

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
#if TEXELS
    let texels = params.width >> 2u;
    if (id.x >= texels || id.y >= params.rows) { return; }
    let source = id.y * texels + id.x;
    let position = params.pos0 + id.y;
    let at = vec2<u32>((position & ((1u << params.fold) - 1u)) * texels + id.x, position >> params.fold);
    textureStore(k_cache, at, bitcast<vec4<u32>>(k[source]));
    textureStore(v_cache, at, bitcast<vec4<u32>>(v[source]));
#else
    if (id.x >= params.width || id.y >= params.rows) { return; }
    let source = id.y * params.width + id.x;
    let row = (params.pos0 + id.y) * params.width + id.x;
    k_cache[row] = k[source];
    v_cache[row] = v[source];
#endif
}
