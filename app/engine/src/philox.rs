//! Philox4x32-10, the counter-based generator of Salmon et al. (SC 2011): noise that prover and verifier
//! compute for any (seed, position, token) without a state between them.

/// One block of the generator: four words from a 64-bit key and a 128-bit counter.
pub fn philox4x32(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    const M0: u64 = 0xD251_1F53;
    const M1: u64 = 0xCD9E_8D57;
    let [mut k0, mut k1] = key;
    let mut c = counter;
    for _ in 0..10 {
        let p0 = M0 * u64::from(c[0]);
        let p1 = M1 * u64::from(c[2]);
        c = [
            (p1 >> 32) as u32 ^ c[1] ^ k0,
            p1 as u32,
            (p0 >> 32) as u32 ^ c[3] ^ k1,
            p0 as u32,
        ];
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    c
}

/// A uniform number strictly between 0 and 1, with 53 bits, for `token` at `position` under `seed`.
///
/// key = seed (low word, high word); counter = (token, position, 0x41535359, 0); the first two words,
/// first word high, shifted right by 11, plus one half, over 2^53.
pub fn uniform(seed: u64, position: u32, token: u32) -> f64 {
    let [hi, lo, ..] = philox4x32(
        [seed as u32, (seed >> 32) as u32],
        [token, position, 0x4153_5359, 0],
    );
    let bits = (u64::from(hi) << 32 | u64::from(lo)) >> 11;
    (bits as f64 + 0.5) / (1u64 << 53) as f64
}

/// Gumbel noise -ln(-ln u) for `token` at `position` under `seed`.
///
/// The logarithm is `libm`'s, in software, so that every platform gets the same bits.
pub fn gumbel(seed: u64, position: u32, token: u32) -> f64 {
    -libm::log(-libm::log(uniform(seed, position, token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers published with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn random123_known_answers() {
        assert_eq!(
            philox4x32([0, 0], [0; 4]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 2], [u32::MAX; 4]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        assert_eq!(
            philox4x32(
                [0xa409_3822, 0x299f_31d0],
                [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344]
            ),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn noise_is_gumbel_distributed() {
        let n = 20_000u32;
        let draws: Vec<f64> = (0..n).map(|t| gumbel(7, 3, t)).collect();
        let mean = draws.iter().sum::<f64>() / f64::from(n);
        let var = draws.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / f64::from(n);
        // Euler's constant and pi^2/6; standard errors are 0.009 and 0.027.
        assert!((mean - 0.5772).abs() < 0.04, "mean {mean}");
        assert!((var - 1.6449).abs() < 0.11, "variance {var}");
    }
}
