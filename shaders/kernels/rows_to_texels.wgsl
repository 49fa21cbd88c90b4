// Activations as texels: rows of a buffer into a storage texture, for products that take them from there (X_TEXELS in
// include/matmul_bindings.wgsl). On llvmpipe a load from a buffer costs many times what one from a texture does, and a product loads
// each activation once for every 64 of its columns.
//
// Formula    y[c, r] = x[r, 4 c .. 4 c + 3], and zeros where 4 c is beyond a row
// Shapes     x f32 [rows, k], k a multiple of 4; y of texels of four words, 2 ceil(k / 8) a row: as many as products load
// Bindings   0 params, 1 x, 2 y, a texture
// Dispatch   workgroup 64; x over ceil(2 ceil(k / 8) / 64), y over rows
// Order      none: a copy
// Twin       engine/src/kernels/rows_to_texels.rs
struct Params {
    zero: u32,  // always 0, unknown to the compiler
    rows: u32,  // rows of x and y
    k: u32,     // columns of x
}
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var y: texture_storage_2d<rgba32uint, write>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let texels = ((params.k + 7u) >> 3u) << 1u;
    if (id.x >= texels || id.y >= params.rows) { return; }
    let of_row = params.k >> 2u;
    let v = bitcast<vec4<u32>>(x[id.y * of_row + min(id.x, of_row - 1u)]);
    textureStore(y, id.xy, select(vec4<u32>(0u), v, vec4<bool>(id.x < of_row)));
}
