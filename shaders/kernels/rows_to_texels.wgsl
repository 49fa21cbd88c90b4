// Activations as texels: rows of a buffer into a storage texture, for products that take them from there (X_TEXELS in
// include/matmul_bindings.wgsl). On llvmpipe a load from a buffer costs many times what one from a texture does, and a product loads
// each activation once for every 64 of its columns.
//
// Formula    y[c, r] = x[r, 4 c .. 4 c + 3], and zeros beyond a row
// Shapes     x f32 [rows, k], with VEC k a multiple of 4; y of texels of four words, 2 ceil(k / 8) a row: as many as products load
// Bindings   0 params, 1 x, 2 y, a texture
// Dispatch   workgroup 64; x over ceil(2 ceil(k / 8) / 64), y over rows
// Order      none: a copy
// Twin       engine/src/kernels/rows_to_texels.rs
struct Params {
    zero: u32,  // always 0, unknown to the compiler
    rows: u32,  // rows of x and y
    k: u32,     // columns of x and, but for the last texels, of y
}
@group(0) @binding(0) var<uniform> params: Params;
#if VEC
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
#else
@group(0) @binding(1) var<storage, read> x: array<f32>;
#endif
@group(0) @binding(2) var y: texture_storage_2d<rgba32uint, write>;

// Four columns of a row from column c on, zero beyond it.
fn four(row: u32, c: u32) -> vec4<f32> {
    let last = params.k - 1u;
    let base = row * params.k;
#if VEC
    let v = x[(base + min(c, last)) >> 2u];
#else
    let v = vec4<f32>(x[base + min(c, last)], x[base + min(c + 1u, last)], x[base + min(c + 2u, last)], x[base + min(c + 3u, last)]);
#endif
    return select(vec4<f32>(0.0), v, vec4<u32>(c, c + 1u, c + 2u, c + 3u) <= vec4<u32>(last));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let texels = ((params.k + 7u) >> 3u) << 1u;
    if (id.x >= texels || id.y >= params.rows) { return; }
    textureStore(y, id.xy, bitcast<vec4<u32>>(four(id.y, 4u * id.x)));
}
