// Loads of quantised weights from a texture, for include/weights.wgsl: the texel form of model/src/packed/texels.rs. A unit is 32 columns;
// units that share a texel of scales follow it: four of one f32 each, or two of two (PAIRS). A texel of quants holds
//   BYTES       sixteen signed bytes: byte b of word j is column 4 b + j, so that a unit has two
//   else        32 nibbles: nibble b of word j is column 4 b + j
// so that four columns one after another lie at one place in all words. What a value is made of, with scales (s, t):
//   W_Q8_0, W_Q5_0, W_INT8   s q                 W_Q6_K      s q, the last sixteen columns t q
//   W_Q4_0                   s q, q signed       W_INT4      s (q - t)
//   W_Q4_K                   s q - t, rounded twice
// Values are hidden from the compiler under STRICT, as in include/weights_packed.wgsl, and are the same to the last bit.
fn opq4(v: vec4<f32>) -> vec4<f32> { return vec4<f32>(opq(v.x), opq(v.y), opq(v.z), opq(v.w)); }
fn w_row(row: u32, cols: u32) -> u32 { return row; }
// Where the units are in a row, texels, that share scales with column k's; and which of them is its unit.
#if PAIRS
#if BYTES
fn group_of(k: u32) -> u32 { return (k >> 6u) * 5u; }
#else
fn group_of(k: u32) -> u32 { return (k >> 6u) * 3u; }
#endif
fn unit_of(k: u32) -> u32 { return (k >> 5u) & 1u; }
#else
#if BYTES
fn group_of(k: u32) -> u32 { return (k >> 7u) * 9u; }
#else
fn group_of(k: u32) -> u32 { return (k >> 7u) * 5u; }
#endif
fn unit_of(k: u32) -> u32 { return (k >> 5u) & 3u; }
#endif
// The scales of column k's unit.
fn scales_of(base: u32, k: u32) -> vec2<f32> {
    let heads = bitcast<vec4<f32>>(textureLoad(w, vec2<u32>(group_of(k), base)));
#if PAIRS
    return select(heads.xy, heads.zw, vec2<bool>(unit_of(k) == 1u));
#else
    return vec2<f32>(heads[unit_of(k)], 0.0);
#endif
}
// The texel of quants that column k is in.
fn quants_of(base: u32, k: u32) -> vec4<u32> {
#if BYTES
    return textureLoad(w, vec2<u32>(group_of(k) + 1u + 2u * unit_of(k) + ((k >> 4u) & 1u), base));
#else
    return textureLoad(w, vec2<u32>(group_of(k) + 1u + unit_of(k), base));
#endif
}
// Eight columns from column k on, from their scales and their texel.
fn eight_of(scales: vec2<f32>, q: vec4<u32>, k: u32) -> Eight {
#if BYTES
    let o = (k & 8u) << 1u;
    let a = vec4<f32>(bitcast<vec4<i32>>(q << vec4<u32>(24u - o)) >> vec4<u32>(24u));
    let b = vec4<f32>(bitcast<vec4<i32>>(q << vec4<u32>(16u - o)) >> vec4<u32>(24u));
#else
    let o = k & 24u;
#if W_Q4_0
    let a = vec4<f32>(bitcast<vec4<i32>>(q << vec4<u32>(28u - o)) >> vec4<u32>(28u));
    let b = vec4<f32>(bitcast<vec4<i32>>(q << vec4<u32>(24u - o)) >> vec4<u32>(28u));
#else
    let a = vec4<f32>((q >> vec4<u32>(o)) & vec4<u32>(15u));
    let b = vec4<f32>((q >> vec4<u32>(o + 4u)) & vec4<u32>(15u));
#endif
#endif
#if W_Q4_K
    return Eight(opq4(opq4(scales.x * a) - scales.y), opq4(opq4(scales.x * b) - scales.y));
#else
#if W_INT4
    return Eight(opq4(scales.x * (a - scales.y)), opq4(scales.x * (b - scales.y)));
#else
#if W_Q6_K
    let s = select(scales.x, scales.y, (k & 16u) == 16u);
    return Eight(opq4(s * a), opq4(s * b));
#else
    return Eight(opq4(scales.x * a), opq4(scales.x * b));
#endif
#endif
#endif
}
fn w8(base: u32, k: u32, k4: u32) -> Eight { return eight_of(scales_of(base, k), quants_of(base, k), k); }
fn w1(base: u32, k: u32) -> f32 {
    let eight = w8(base, k & 0xFFFFFFF8u, k);
    return select(eight.a, eight.b, vec4<bool>((k & 4u) == 4u))[k & 3u];
}
