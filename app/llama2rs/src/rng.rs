//! The program's generator. Its source calls it xoshiro256**; it is not, and llama2.c's is another one still.

/// 64 bits of state.
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub u64);

impl Rng {
    fn next_u64(&mut self) -> u64 {
        let out = self.0.rotate_left(5).wrapping_mul(5).rotate_left(7);
        self.0 = self.0.rotate_left(23).wrapping_add(0x9E37_79B9_7F4A_7C15);
        out
    }

    /// In [0, 1), a multiple of 2^-24.
    pub(crate) fn next_f32(&mut self) -> f32 {
        (self.next_u64() >> 40) as f32 / (1u32 << 24) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_numbers() {
        // By hand from the formula: rotl(1, 5) = 32, times 5 = 160, rotl 7 = 20480; the state is rotl(1, 23) + the constant.
        let mut rng = Rng(1);
        assert_eq!(rng.next_u64(), 20480);
        assert_eq!(rng.0, 0x9E37_79B9_7FCA_7C15);
        let mut rng = Rng(u64::MAX);
        assert_eq!(rng.next_u64(), (-5i64 as u64).rotate_left(7));
        let mut rng = Rng(42);
        assert!((0..1000).all(|_| (0.0..1.0).contains(&rng.next_f32())));
    }
}
