// Loads of a stored weight as f32 from the binding `w`, by element index. One loader for each stored type:
// W_F32, W_F16, W_BF16. With VEC every row starts at a multiple of four elements and `w4` is one load.
// bf16 is a shift; f16 goes through the driver's unpack, or, under STRICT, through integers, because a
// driver may flush f16 subnormals (WGSL 15.7.2).
#if W_F32
#if VEC
fn w4(i: u32) -> vec4<f32> { return w[i >> 2u]; }
fn w1(i: u32) -> f32 { return w[i >> 2u][i & 3u]; }
#else
fn w1(i: u32) -> f32 { return w[i]; }
fn w4(i: u32) -> vec4<f32> { return vec4<f32>(w1(i), w1(i + 1u), w1(i + 2u), w1(i + 3u)); }
#endif
#else
#if W_BF16
fn low16(u: u32) -> f32 { return bitcast<f32>(u << 16u); }
fn high16(u: u32) -> f32 { return bitcast<f32>(u & 0xFFFF0000u); }
#else
#if STRICT
fn half_bits(h: u32) -> f32 {
    let magnitude = h & 0x7FFFu;
    let normal = (magnitude << 13u) + 0x38000000u;
    let subnormal = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
    return bitcast<f32>(select(normal, subnormal, magnitude < 0x400u) | ((h & 0x8000u) << 16u));
}
fn low16(u: u32) -> f32 { return half_bits(u & 0xFFFFu); }
fn high16(u: u32) -> f32 { return half_bits(u >> 16u); }
#else
fn low16(u: u32) -> f32 { return unpack2x16float(u).x; }
fn high16(u: u32) -> f32 { return unpack2x16float(u).y; }
#endif
#endif
#if VEC
fn w4(i: u32) -> vec4<f32> {
    let u = w[i >> 2u];
    return vec4<f32>(low16(u.x), high16(u.x), low16(u.y), high16(u.y));
}
fn w1(i: u32) -> f32 {
    let u = w[i >> 2u][(i >> 1u) & 1u];
    return select(low16(u), high16(u), (i & 1u) == 1u);
}
#else
fn w1(i: u32) -> f32 {
    let u = w[i >> 1u];
    return select(low16(u), high16(u), (i & 1u) == 1u);
}
fn w4(i: u32) -> vec4<f32> { return vec4<f32>(w1(i), w1(i + 1u), w1(i + 2u), w1(i + 3u)); }
#endif
#endif
