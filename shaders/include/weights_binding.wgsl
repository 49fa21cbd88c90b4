// Binding 2: weights in row form, row major. With VEC every row of floats starts at a multiple of four elements; with TEXELS it is a row of
// texels, four words each, of a texture.
#if TEXELS
@group(0) @binding(2) var w: texture_storage_2d<rgba32uint, read>;
#else
#if W_PACKED
@group(0) @binding(2) var<storage, read> w: array<u32>;
#else
#if W_F32
#if VEC
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;
#else
@group(0) @binding(2) var<storage, read> w: array<f32>;
#endif
#else
#if VEC
@group(0) @binding(2) var<storage, read> w: array<vec2<u32>>;
#else
@group(0) @binding(2) var<storage, read> w: array<u32>;
#endif
#endif
#endif
#endif
