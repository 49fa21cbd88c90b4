//! Sums side by side: what the twins of products and of attention spend their time in.
//!
//! A canonical sum is one chain of additions, which takes an addition's latency a term. So several chains run side by side, one in each lane of the
//! processor's vectors, and every chain keeps its order.

/// Sums to make side by side: enough to hide an addition's latency, and few enough for the registers of any processor.
pub(crate) const LANES: usize = 16;

/// Lays up to `L` rows beside each other: `out[i]` gets the rows' elements `i`. Lanes without a row keep what they have.
pub(crate) fn pack<'a, const L: usize>(
    rows: impl Iterator<Item = &'a [f32]>,
    out: &mut [[f32; L]],
) {
    for (lane, row) in rows.take(L).enumerate() {
        for (out, v) in out.iter_mut().zip(row) {
            out[lane] = *v;
        }
    }
}

/// `sums[lane] += packed[i][lane] * x[i]`, i ascending.
///
/// Four terms are added before a sum goes back to memory. Written so, and called rather than inlined, the loops over lanes become vector
/// instructions; sums in a local array become scalars first, and stay that: a sixth of the speed.
#[inline(never)]
pub(crate) fn advance<const L: usize>(packed: &[[f32; L]], x: &[f32], sums: &mut [f32; L]) {
    let (fours, rest) = packed.as_chunks::<4>();
    let (x_fours, x_rest) = x.as_chunks::<4>();
    for (packed, x) in fours.iter().zip(x_fours) {
        for (lane, total) in sums.iter_mut().enumerate() {
            let mut sum = *total;
            for (packed, x) in packed.iter().zip(x) {
                sum += packed[lane] * x;
            }
            *total = sum;
        }
    }
    for (packed, x) in rest.iter().zip(x_rest) {
        for (sum, packed) in sums.iter_mut().zip(packed) {
            *sum += packed * x;
        }
    }
}

/// `sums[c] += x[i] * rows(i)[c]`, i ascending: a sum of rows as wide as `sums`, each times a number.
pub(crate) fn add_rows<'a>(x: &[f32], rows: impl Fn(usize) -> &'a [f32], sums: &mut [f32]) {
    let (fours, rest) = x.as_chunks::<4>();
    for (at, x) in fours.iter().enumerate() {
        let [a, b, c, d] = std::array::from_fn(|i| rows(4 * at + i));
        for ((((sum, a), b), c), d) in sums.iter_mut().zip(a).zip(b).zip(c).zip(d) {
            *sum = *sum + x[0] * a + x[1] * b + x[2] * c + x[3] * d;
        }
    }
    for (at, x) in rest.iter().enumerate() {
        for (sum, row) in sums.iter_mut().zip(rows(4 * fours.len() + at)) {
            *sum += x * row;
        }
    }
}
