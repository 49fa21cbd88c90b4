// Rounds an f32 to what a prover of another precision keeps, as f32 again: to nearest, ties to even, by integers, so that it is the
// same everywhere. ROUND_BF16 or ROUND_F16; without either the identity. Finite values only; beyond f16's largest number the
// largest. Twin: Rounding in engine/src/numerics.rs.
#if ROUND_BF16
fn rnd(x: f32) -> f32 {
    let u = bitcast<u32>(x);
    return bitcast<f32>((u + 0x7FFFu + ((u >> 16u) & 1u)) & 0xFFFF0000u);
}
#else
#if ROUND_F16
fn rnd(x: f32) -> f32 {
    let u = bitcast<u32>(x);
    let a = u & 0x7FFFFFFFu;
    let normal = min((a + 0xFFFu + ((a >> 13u) & 1u)) & 0xFFFFE000u, 0x477FE000u);
    // Below 2^-14 f16 counts in steps of 2^-24; `round` takes ties to even.
    let subnormal = bitcast<u32>(round(bitcast<f32>(a) * 16777216.0) * 5.9604644775390625e-8);
    return bitcast<f32>(select(normal, subnormal, a < 0x38800000u) | (u & 0x80000000u));
}
#else
fn rnd(x: f32) -> f32 { return x; }
#endif
#endif
