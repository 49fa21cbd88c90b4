// Four products of signed bytes and their sum: the packed dot product, or with its parts where WGSL has none.
#if DOT4
fn dot4(a: u32, b: u32) -> i32 { return dot4I8Packed(a, b); }
#else
fn signed(a: u32, lane: u32) -> i32 { return i32(a << (24u - 8u * lane)) >> 24u; }
fn dot4(a: u32, b: u32) -> i32 {
    return signed(a, 0u) * signed(b, 0u) + signed(a, 1u) * signed(b, 1u)
        + signed(a, 2u) * signed(b, 2u) + signed(a, 3u) * signed(b, 3u);
}
#endif
