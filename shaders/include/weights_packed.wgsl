// Loaders of quantised weights in row form; model/src/packed.rs has the same as a table, and the twin. `w4` gives four columns, from
// one word of quants (two words of Q5_0 and Q6_K) and one or two of scales; `w8` eight, which share their scale, so that it is loaded and
// decoded once. A value is hidden from the compiler under STRICT, so that no
// driver multiplies x by the scale first.
fn opq4(v: vec4<f32>) -> vec4<f32> { return vec4<f32>(opq(v.x), opq(v.y), opq(v.z), opq(v.w)); }
// Signed bytes, the lowest first.
fn bytes4(u: u32) -> vec4<f32> {
    return vec4<f32>((vec4<i32>(bitcast<i32>(u)) << vec4<u32>(24u, 16u, 8u, 0u)) >> vec4<u32>(24u));
}
// Four fields of 8 bits, unsigned.
fn fields4(u: u32) -> vec4<f32> {
    return vec4<f32>((vec4<u32>(u) >> vec4<u32>(0u, 8u, 16u, 24u)) & vec4<u32>(255u));
}
#if W_Q8_0
// Pairs of blocks: 17 words, of which the first holds both scales.
fn w_row(row: u32, cols: u32) -> u32 { return row * ((cols >> 6u) * 17u + ((cols >> 5u) & 1u) * 9u); }
fn w4(base: u32, k: u32) -> vec4<f32> {
    let at = base + (k >> 6u) * 17u;
    let d = half_bits((w[at] >> ((k >> 1u) & 16u)) & 0xFFFFu);
    return opq4(d * bytes4(w[at + 1u + ((k & 63u) >> 2u)]));
}
fn w8(base: u32, k: u32, k4: u32) -> Eight {
    let at = base + (k >> 6u) * 17u;
    let d = half_bits((w[at] >> ((k >> 1u) & 16u)) & 0xFFFFu);
    let i = at + 1u + ((k & 63u) >> 2u);
    return Eight(opq4(d * bytes4(w[i])), opq4(d * bytes4(w[i + 1u])));
}
#endif
#if W_Q4_0
// Pairs of blocks: 9 words. Columns 0 to 15 of a block are low nibbles, 16 to 31 high ones.
fn w_row(row: u32, cols: u32) -> u32 { return row * ((cols >> 6u) * 9u + ((cols >> 5u) & 1u) * 5u); }
fn w4(base: u32, k: u32) -> vec4<f32> {
    let at = base + (k >> 6u) * 9u;
    let block = (k >> 5u) & 1u;
    let d = half_bits((w[at] >> (block * 16u)) & 0xFFFFu);
    let quants = w[at + 1u + block * 4u + ((k & 15u) >> 2u)] >> ((k & 16u) >> 2u);
    return opq4(d * (fields4(quants & 0x0F0F0F0Fu) - 8.0));
}
fn w8(base: u32, k: u32, k4: u32) -> Eight {
    let at = base + (k >> 6u) * 9u;
    let block = (k >> 5u) & 1u;
    let d = half_bits((w[at] >> (block * 16u)) & 0xFFFFu);
    let i = at + 1u + block * 4u + ((k & 15u) >> 2u);
    let nibbles = (vec2<u32>(w[i], w[i + 1u]) >> vec2<u32>((k & 16u) >> 2u)) & vec2<u32>(0x0F0F0F0Fu);
    return Eight(opq4(d * (fields4(nibbles.x) - 8.0)), opq4(d * (fields4(nibbles.y) - 8.0)));
}
#endif
#if W_Q5_0
// Pairs of blocks: 11 words. Of a block one word of fifth bits, then nibbles as in Q4_0.
fn fifth4(bits: u32) -> vec4<f32> { return vec4<f32>(((vec4<u32>(bits) >> vec4<u32>(0u, 1u, 2u, 3u)) & vec4<u32>(1u)) << vec4<u32>(4u)); }
fn w_row(row: u32, cols: u32) -> u32 { return row * ((cols >> 6u) * 11u + ((cols >> 5u) & 1u) * 6u); }
fn w4(base: u32, k: u32) -> vec4<f32> {
    let at = base + (k >> 6u) * 11u;
    let block = (k >> 5u) & 1u;
    let d = half_bits((w[at] >> (block * 16u)) & 0xFFFFu);
    let fifth = fifth4(w[at + 1u + block * 5u] >> (k & 31u));
    let quants = w[at + 2u + block * 5u + ((k & 15u) >> 2u)] >> ((k & 16u) >> 2u);
    return opq4(d * (fields4(quants & 0x0F0F0F0Fu) + fifth - 16.0));
}
fn w8(base: u32, k: u32, k4: u32) -> Eight {
    let at = base + (k >> 6u) * 11u;
    let block = (k >> 5u) & 1u;
    let d = half_bits((w[at] >> (block * 16u)) & 0xFFFFu);
    let fifth = w[at + 1u + block * 5u] >> (k & 31u);
    let i = at + 2u + block * 5u + ((k & 15u) >> 2u);
    let nibbles = (vec2<u32>(w[i], w[i + 1u]) >> vec2<u32>((k & 16u) >> 2u)) & vec2<u32>(0x0F0F0F0Fu);
    return Eight(
        opq4(d * (fields4(nibbles.x) + fifth4(fifth) - 16.0)),
        opq4(d * (fields4(nibbles.y) + fifth4(fifth >> 4u) - 16.0)),
    );
}
#endif
#if W_Q4_K
// Blocks of 36 words: d and dmin, twelve bytes of scales and minima, 128 bytes of nibbles (32 low ones, then the 32 high ones of the
// same bytes).
fn w_row(row: u32, cols: u32) -> u32 { return row * ((cols >> 8u) * 36u); }
fn scale_byte(at: u32, i: u32) -> u32 { return (w[at + 1u + (i >> 2u)] >> ((i & 3u) * 8u)) & 255u; }
// Scale and minimum of the 32 columns that k is one of.
fn scale_least(at: u32, k: u32) -> vec2<f32> {
    let j = (k >> 5u) & 7u;
    var scale = scale_byte(at, j);
    var least = scale_byte(at, j + 4u);
    if (j < 4u) {
        scale = scale & 63u;
        least = least & 63u;
    } else {
        let both = least;
        least = (both >> 4u) | ((scale >> 6u) << 4u);
        scale = (both & 15u) | ((scale_byte(at, j - 4u) >> 6u) << 4u);
    }
    let d = w[at];
    return vec2<f32>(half_bits(d & 0xFFFFu) * f32(scale), half_bits(d >> 16u) * f32(least));
}
fn w4(base: u32, k: u32) -> vec4<f32> {
    let at = base + (k >> 8u) * 36u;
    let s = scale_least(at, k);
    let quants = w[at + 4u + ((k & 192u) >> 3u) + ((k & 31u) >> 2u)] >> ((k & 32u) >> 3u);
    return opq4(opq4(s.x * fields4(quants & 0x0F0F0F0Fu)) - s.y);
}
fn w8(base: u32, k: u32, k4: u32) -> Eight {
    let at = base + (k >> 8u) * 36u;
    let s = scale_least(at, k);
    let i = at + 4u + ((k & 192u) >> 3u) + ((k & 31u) >> 2u);
    let nibbles = (vec2<u32>(w[i], w[i + 1u]) >> vec2<u32>((k & 32u) >> 3u)) & vec2<u32>(0x0F0F0F0Fu);
    return Eight(opq4(opq4(s.x * fields4(nibbles.x)) - s.y), opq4(opq4(s.x * fields4(nibbles.y)) - s.y));
}
#endif
#if W_Q6_K
// Blocks of 53 words: 128 bytes of low nibbles, 64 bytes of two high bits each, sixteen i8 scales, d. A half of a block has 64 and 32 of
// those bytes, for four quarters of 32 columns.
fn w_row(row: u32, cols: u32) -> u32 { return row * ((cols >> 8u) * 53u); }
fn w4(base: u32, k: u32) -> vec4<f32> {
    let at = base + (k >> 8u) * 53u;
    let half = (k >> 7u) & 1u;
    let quarter = (k >> 5u) & 3u;
    let l = (k & 31u) >> 2u;
    let low = (w[at + half * 16u + (quarter & 1u) * 8u + l] >> ((quarter >> 1u) * 4u)) & 0x0F0F0F0Fu;
    let high = (w[at + 32u + half * 8u + l] >> (quarter * 2u)) & 0x03030303u;
    let s = half * 8u + (l >> 2u) + 2u * quarter;
    let scale = (bitcast<i32>(w[at + 48u + (s >> 2u)]) << ((3u - (s & 3u)) * 8u)) >> 24u;
    let d = half_bits(w[at + 52u] & 0xFFFFu) * f32(scale);
    return opq4(d * (fields4(low | (high << 4u)) - 32.0));
}
fn w8(base: u32, k: u32, k4: u32) -> Eight {
    let at = base + (k >> 8u) * 53u;
    let half = (k >> 7u) & 1u;
    let quarter = (k >> 5u) & 3u;
    let l = (k & 31u) >> 2u;
    let i = at + half * 16u + (quarter & 1u) * 8u + l;
    let j = at + 32u + half * 8u + l;
    let low = (vec2<u32>(w[i], w[i + 1u]) >> vec2<u32>((quarter >> 1u) * 4u)) & vec2<u32>(0x0F0F0F0Fu);
    let high = (vec2<u32>(w[j], w[j + 1u]) >> vec2<u32>(quarter * 2u)) & vec2<u32>(0x03030303u);
    let quants = low | (high << vec2<u32>(4u));
    // Sixteen columns share a scale.
    let s = half * 8u + (l >> 2u) + 2u * quarter;
    let scale = (bitcast<i32>(w[at + 48u + (s >> 2u)]) << ((3u - (s & 3u)) * 8u)) >> 24u;
    let d = half_bits(w[at + 52u] & 0xFFFFu) * f32(scale);
    return Eight(opq4(d * (fields4(quants.x) - 32.0)), opq4(d * (fields4(quants.y) - 32.0)));
}
#endif
#if W_INT8
#if GROUP
// Groups of GROUP columns, GROUP_WORDS each: an f32 scale, then GROUP bytes.
fn w_row(row: u32, cols: u32) -> u32 { return row * ((cols / ${GROUP}u) * ${GROUP_WORDS}u); }
fn w4(base: u32, k: u32) -> vec4<f32> {
    let at = base + (k / ${GROUP}u) * ${GROUP_WORDS}u;
    return opq4(bitcast<f32>(w[at]) * bytes4(w[at + 1u + ((k % ${GROUP}u) >> 2u)]));
}
// A group may end after four columns.
fn w8(base: u32, k: u32, k4: u32) -> Eight { return Eight(w4(base, k), w4(base, k4)); }
#else
// A row: an f32 scale, then bytes up to a whole word.
fn w_row(row: u32, cols: u32) -> u32 { return row * (((cols + 3u) >> 2u) + 1u); }
fn w4(base: u32, k: u32) -> vec4<f32> { return opq4(bitcast<f32>(w[base]) * bytes4(w[base + 1u + (k >> 2u)])); }
fn w8(base: u32, k: u32, k4: u32) -> Eight {
    let scale = bitcast<f32>(w[base]);
    return Eight(opq4(scale * bytes4(w[base + 1u + (k >> 2u)])), opq4(scale * bytes4(w[base + 1u + (k4 >> 2u)])));
}
#endif
#endif
#if W_INT4
// Groups of GROUP columns, GROUP_WORDS each, the last perhaps fewer: a word of scale (f16) and zero (8 bits), then nibbles.
fn w_row(row: u32, cols: u32) -> u32 {
    return row * ((cols / ${GROUP}u) * ${GROUP_WORDS}u + ((cols % ${GROUP}u + ${GROUP-1}u) / ${GROUP}u) + ((cols % ${GROUP}u) >> 3u));
}
fn w4(base: u32, k: u32) -> vec4<f32> {
    let at = base + (k / ${GROUP}u) * ${GROUP_WORDS}u;
    let head = w[at];
    let quants = w[at + 1u + ((k % ${GROUP}u) >> 3u)] >> ((k & 4u) << 2u);
    let q = vec4<f32>((vec4<u32>(quants) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u));
    return opq4(half_bits(head & 0xFFFFu) * (q - f32((head >> 16u) & 255u)));
}
fn w8(base: u32, k: u32, k4: u32) -> Eight {
    let at = base + (k / ${GROUP}u) * ${GROUP_WORDS}u;
    let head = w[at];
    let quants = w[at + 1u + ((k % ${GROUP}u) >> 3u)];
    let d = half_bits(head & 0xFFFFu);
    let zero = f32((head >> 16u) & 255u);
    let a = vec4<f32>((vec4<u32>(quants) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u));
    let b = vec4<f32>((vec4<u32>(quants) >> vec4<u32>(16u, 20u, 24u, 28u)) & vec4<u32>(15u));
    return Eight(opq4(d * (a - zero)), opq4(d * (b - zero)));
}
#endif
#if W_INT4_ORDERED
// Before all rows, which group each of PREFIX * 2 columns is of, 16 bits each. A row: GROUPS words of scale and zero, then nibbles.
fn w_row(row: u32, cols: u32) -> u32 { return ${PREFIX}u + row * (${GROUPS}u + (cols >> 3u)); }
fn w4(base: u32, k: u32) -> vec4<f32> {
    let order = vec4<u32>(w[k >> 1u] & 0xFFFFu, w[k >> 1u] >> 16u, w[(k >> 1u) + 1u] & 0xFFFFu, w[(k >> 1u) + 1u] >> 16u);
    let quants = w[base + ${GROUPS}u + (k >> 3u)] >> ((k & 4u) << 2u);
    let q = vec4<f32>((vec4<u32>(quants) >> vec4<u32>(0u, 4u, 8u, 12u)) & vec4<u32>(15u));
    let heads = vec4<u32>(w[base + order.x], w[base + order.y], w[base + order.z], w[base + order.w]);
    let scale = vec4<f32>(half_bits(heads.x & 0xFFFFu), half_bits(heads.y & 0xFFFFu), half_bits(heads.z & 0xFFFFu), half_bits(heads.w & 0xFFFFu));
    return opq4(scale * (q - vec4<f32>((heads >> vec4<u32>(16u)) & vec4<u32>(255u))));
}
fn w8(base: u32, k: u32, k4: u32) -> Eight { return Eight(w4(base, k), w4(base, k4)); }
#endif
fn w1(base: u32, k: u32) -> f32 { return w4(base, k & 0xFFFFFFFCu)[k & 3u]; }
