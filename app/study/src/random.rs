//! Numbers from a seed. ChaCha8 with rules of our own on top: the same seed gives the same training with any later version.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// What a stream of numbers is for. Each purpose has a stream of its own, so that one never shifts another.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// First weights of a layer.
    Weights,
    /// Order of a training's rows.
    Shuffle,
    /// The random reference predictor.
    Reference,
    /// Which documents of a block are held out.
    Split,
}

/// A generator for `purpose`; `index` is the layer, the row or the block that it serves.
pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64, purpose: Purpose, index: u64) -> Self {
        let purpose: u64 = match purpose {
            Purpose::Weights => 1,
            Purpose::Shuffle => 2,
            Purpose::Reference => 3,
            Purpose::Split => 4,
        };
        let mut key = [0; 32];
        let (chunks, _) = key.as_chunks_mut::<8>();
        for (chunk, word) in chunks.iter_mut().zip([seed, purpose, index]) {
            *chunk = word.to_le_bytes();
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Uniform below `bound`, which is at least 1. The bias of a 64-bit product is below 2^-32 for bounds of 32 bits.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u32
    }

    /// Uniform in [-limit, limit).
    pub(crate) fn symmetric(&mut self, limit: f32) -> f32 {
        let unit = (self.0.next_u32() >> 8) as f32 / (1u32 << 24) as f32;
        (2.0 * unit - 1.0) * limit
    }

    /// Puts a uniformly chosen ordered selection of `first` elements at the front of `items` (Fisher and Yates).
    pub(crate) fn shuffle_front(&mut self, items: &mut [u32], first: usize) {
        for at in 0..first.min(items.len()) {
            let rest = (items.len() - at) as u32;
            items.swap(at, at + self.below(rest) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Purpose, Random};

    #[test]
    fn streams_are_fixed_and_apart() {
        let mut first = Random::new(1, Purpose::Shuffle, 0);
        let drawn: Vec<u32> = (0..4).map(|_| first.below(1000)).collect();
        let mut again = Random::new(1, Purpose::Shuffle, 0);
        assert_eq!(drawn, (0..4).map(|_| again.below(1000)).collect::<Vec<_>>());
        for mut other in [
            Random::new(1, Purpose::Weights, 0),
            Random::new(2, Purpose::Shuffle, 0),
            Random::new(1, Purpose::Shuffle, 1),
        ] {
            assert_ne!(drawn, (0..4).map(|_| other.below(1000)).collect::<Vec<_>>());
        }
        // Pinned: a change here would silently make another training of an old seed.
        assert_eq!(drawn, PINNED);
    }

    const PINNED: [u32; 4] = [329, 276, 477, 239];

    #[test]
    fn a_shuffle_is_uniform_and_loses_nothing() {
        let mut random = Random::new(3, Purpose::Shuffle, 0);
        let mut first = [0u32; 5];
        for _ in 0..5000 {
            let mut items = [0, 1, 2, 3, 4];
            random.shuffle_front(&mut items, 5);
            first[items[0] as usize] += 1;
            items.sort_unstable();
            assert_eq!(items, [0, 1, 2, 3, 4]);
        }
        // 1000 wanted each, standard deviation 28.
        assert!(first.iter().all(|&n| (850..1150).contains(&n)), "{first:?}");
        assert!((0..1000).all(|_| {
            let x = random.symmetric(0.5);
            (-0.5..0.5).contains(&x)
        }));
    }
}
