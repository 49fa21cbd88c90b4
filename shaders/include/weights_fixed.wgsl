// Loaders of block formats as integers: of 32 columns the sum of integer weights times inputs, and the scale as f16 bits. One a stored
// type, of rows in row form (model/src/packed.rs); twin: model/src/packed/fixed.rs. `x` is eight words of signed bytes, `ones` the sum of
// the first sixteen inputs and of the last.
//   fixed_sum(base, block, x, ones)  the integer sum of a block; with Q4_K and Q6_K times the integer scales inside, below 2^24 always
//   fixed_scale(base, block)         the scale, f16 bits
//   fixed_least(base, block, ones)   Q4_K only (LEAST): the integer sum of what is taken away, and fixed_least_scale its scale
// Needs dot4.
struct Inputs { a: vec4<u32>, b: vec4<u32> }

// The sum of eight words of weights, signed bytes, with the inputs.
fn dot16(x: vec4<u32>, q: vec4<u32>) -> i32 {
    return dot4(x.x, q.x) + dot4(x.y, q.y) + dot4(x.z, q.z) + dot4(x.w, q.w);
}
fn w4u(at: u32) -> vec4<u32> { return vec4<u32>(w[at], w[at + 1u], w[at + 2u], w[at + 3u]); }
const NIBBLES: vec4<u32> = vec4<u32>(0x0F0F0F0Fu);
#if W_Q8_0
fn fixed_sum(base: u32, block: u32, x: Inputs, ones: vec2<i32>) -> i32 {
    let at = base + (block >> 1u) * 17u + 1u + (block & 1u) * 8u;
    return dot16(x.a, w4u(at)) + dot16(x.b, w4u(at + 4u));
}
fn fixed_scale(base: u32, block: u32) -> u32 { return w[base + (block >> 1u) * 17u] >> ((block & 1u) * 16u); }
#endif
#if W_Q4_0
fn fixed_sum(base: u32, block: u32, x: Inputs, ones: vec2<i32>) -> i32 {
    let q = w4u(base + (block >> 1u) * 9u + 1u + (block & 1u) * 4u);
    return dot16(x.a, q & NIBBLES) + dot16(x.b, (q >> vec4<u32>(4u)) & NIBBLES) - 8 * (ones.x + ones.y);
}
fn fixed_scale(base: u32, block: u32) -> u32 { return w[base + (block >> 1u) * 9u] >> ((block & 1u) * 16u); }
#endif
#if W_Q5_0
// Four bits to the fifth bit of each byte.
fn fifth(bits: u32) -> u32 {
    return ((bits & 1u) << 4u) | ((bits & 2u) << 11u) | ((bits & 4u) << 18u) | ((bits & 8u) << 25u);
}
fn fifths(bits: u32) -> vec4<u32> {
    return vec4<u32>(fifth(bits), fifth(bits >> 4u), fifth(bits >> 8u), fifth(bits >> 12u));
}
fn fixed_sum(base: u32, block: u32, x: Inputs, ones: vec2<i32>) -> i32 {
    let at = base + (block >> 1u) * 11u + 1u + (block & 1u) * 5u;
    let q = w4u(at + 1u);
    let first = (q & NIBBLES) | fifths(w[at]);
    let last = ((q >> vec4<u32>(4u)) & NIBBLES) | fifths(w[at] >> 16u);
    return dot16(x.a, first) + dot16(x.b, last) - 16 * (ones.x + ones.y);
}
fn fixed_scale(base: u32, block: u32) -> u32 { return w[base + (block >> 1u) * 11u] >> ((block & 1u) * 16u); }
#endif
#if W_Q4_K
fn scale_byte(at: u32, i: u32) -> u32 { return (w[at + 1u + (i >> 2u)] >> ((i & 3u) * 8u)) & 255u; }
fn fixed_sum(base: u32, block: u32, x: Inputs, ones: vec2<i32>) -> i32 {
    let at = base + (block >> 3u) * 36u;
    let j = block & 7u;
    let low = scale_byte(at, j) & 63u;
    let high = (scale_byte(at, j + 4u) & 15u) | ((scale_byte(at, (j | 4u) - 4u) >> 6u) << 4u);
    let q = at + 4u + (j >> 1u) * 8u;
    let shift = vec4<u32>((j & 1u) * 4u);
    let sum = dot16(x.a, (w4u(q) >> shift) & NIBBLES) + dot16(x.b, (w4u(q + 4u) >> shift) & NIBBLES);
    return i32(select(high, low, j < 4u)) * sum;
}
fn fixed_scale(base: u32, block: u32) -> u32 { return w[base + (block >> 3u) * 36u]; }
fn fixed_least(base: u32, block: u32, ones: vec2<i32>) -> i32 {
    let at = base + (block >> 3u) * 36u;
    let j = block & 7u;
    let low = scale_byte(at, (j & 3u) + 4u) & 63u;
    let high = (scale_byte(at, j + 4u) >> 4u) | ((scale_byte(at, j) >> 6u) << 4u);
    return i32(select(high, low, j < 4u)) * (ones.x + ones.y);
}
fn fixed_least_scale(base: u32, block: u32) -> u32 { return w[base + (block >> 3u) * 36u] >> 16u; }
#endif
#if W_Q6_K
fn fixed_sum(base: u32, block: u32, x: Inputs, ones: vec2<i32>) -> i32 {
    let at = base + (block >> 3u) * 53u;
    let half = (block >> 2u) & 1u;
    let quarter = block & 3u;
    let low = at + half * 16u + (quarter & 1u) * 8u;
    let high = at + 32u + half * 8u;
    let of_low = vec4<u32>((quarter >> 1u) * 4u);
    let of_high = vec4<u32>(quarter * 2u);
    let twos = vec4<u32>(0x03030303u);
    let up = vec4<u32>(4u);
    let first = ((w4u(low) >> of_low) & NIBBLES) | (((w4u(high) >> of_high) & twos) << up);
    let last = ((w4u(low + 4u) >> of_low) & NIBBLES) | (((w4u(high + 4u) >> of_high) & twos) << up);
    // Two scales of sixteen columns, side by side in one word.
    let s = half * 8u + 2u * quarter;
    let pair = w[at + 48u + (s >> 2u)] >> ((s & 2u) * 8u);
    let of_first = i32(pair << 24u) >> 24u;
    let of_last = i32(pair << 16u) >> 24u;
    return of_first * (dot16(x.a, first) - 32 * ones.x) + of_last * (dot16(x.b, last) - 32 * ones.y);
}
fn fixed_scale(base: u32, block: u32) -> u32 { return w[base + (block >> 3u) * 53u + 52u]; }
#endif
#if W_INT4
fn head_at(base: u32, block: u32) -> u32 { return base + (block * 32u / ${GROUP}u) * ${GROUP_WORDS}u; }
// Four nibbles to four bytes.
fn spread(nibbles: u32) -> u32 {
    let pairs = (nibbles | (nibbles << 8u)) & 0x00FF00FFu;
    return (pairs | (pairs << 4u)) & 0x0F0F0F0Fu;
}
fn eight(q: u32) -> vec2<u32> { return vec2<u32>(spread(q & 0xFFFFu), spread(q >> 16u)); }
fn fixed_sum(base: u32, block: u32, x: Inputs, ones: vec2<i32>) -> i32 {
    let at = head_at(base, block);
    let q = w4u(at + 1u + ((block * 32u % ${GROUP}u) >> 3u));
    let first = vec4<u32>(eight(q.x), eight(q.y));
    let last = vec4<u32>(eight(q.z), eight(q.w));
    return dot16(x.a, first) + dot16(x.b, last) - i32((w[at] >> 16u) & 255u) * (ones.x + ones.y);
}
fn fixed_scale(base: u32, block: u32) -> u32 { return w[head_at(base, block)]; }
#endif
