// Loads of floats from a texture, for include/weights.wgsl: a row of the matrix is a row of texels, of eight 16-bit weights or four f32
// each. llvmpipe loads a texel by one vector load a lane, so kernels there ask for eight weights at once.
fn w_row(row: u32, cols: u32) -> u32 { return row; }
#if W_F32
fn w4(base: u32, k: u32) -> vec4<f32> { return bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(k >> 2u, base))); }
fn w8(base: u32, k: u32, k4: u32) -> Eight { return Eight(w4(base, k), w4(base, k4)); }
fn w1(base: u32, k: u32) -> f32 { return w4(base, k)[k & 3u]; }
#else
fn w8(base: u32, k: u32, k4: u32) -> Eight {
    let u = textureLoad(w, vec2<u32>(k >> 3u, base));
    return Eight(first4(u), last4(u));
}
fn w1(base: u32, k: u32) -> f32 {
    let u = textureLoad(w, vec2<u32>(k >> 3u, base))[(k >> 1u) & 3u];
    return select(low16(u), high16(u), (k & 1u) == 1u);
}
#endif
