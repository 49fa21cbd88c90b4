// The two 16-bit weights of a word as f32, and eight of four words. bf16 is a shift; f16 goes through the driver's unpack, or, under STRICT
// and for scales, through integers, because a driver may flush f16 subnormals (WGSL 15.7.2), and scales often are. With TEXELS the driver's
// serves STRICT, too: those kernels are llvmpipe's, which converts exactly, and under STRICT nothing is promised before the very pipeline
// has given the twin's bits for weights of which some are subnormal (selftest::before_promise).
#if W_BF16
fn low16(u: u32) -> f32 { return bitcast<f32>(u << 16u); }
fn high16(u: u32) -> f32 { return bitcast<f32>(u & 0xFFFF0000u); }
#else
fn half_bits(h: u32) -> f32 {
    let magnitude = h & 0x7FFFu;
    let normal = (magnitude << 13u) + 0x38000000u;
    let subnormal = bitcast<u32>(f32(magnitude) * 5.9604644775390625e-8);
    return bitcast<f32>(select(normal, subnormal, magnitude < 0x400u) | ((h & 0x8000u) << 16u));
}
fn driver_low16(u: u32) -> f32 { return unpack2x16float(u).x; }
fn driver_high16(u: u32) -> f32 { return unpack2x16float(u).y; }
#if TEXELS
fn low16(u: u32) -> f32 { return driver_low16(u); }
fn high16(u: u32) -> f32 { return driver_high16(u); }
#else
#if STRICT
fn low16(u: u32) -> f32 { return half_bits(u & 0xFFFFu); }
fn high16(u: u32) -> f32 { return half_bits(u >> 16u); }
#else
fn low16(u: u32) -> f32 { return driver_low16(u); }
fn high16(u: u32) -> f32 { return driver_high16(u); }
#endif
#endif
#endif
fn first4(u: vec4<u32>) -> vec4<f32> { return vec4<f32>(low16(u.x), high16(u.x), low16(u.y), high16(u.y)); }
fn last4(u: vec4<u32>) -> vec4<f32> { return vec4<f32>(low16(u.z), high16(u.z), low16(u.w), high16(u.w)); }
