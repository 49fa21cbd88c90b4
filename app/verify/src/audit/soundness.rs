//! What opening some layers of many shows about the rest.

use serde::{Deserialize, Serialize};

/// A prover that cheats in some layers, and how often the opened ones miss all of them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Missed {
    /// Layers computed otherwise than claimed.
    pub cheated: usize,
    /// Chance that none of them is open: C(L - c, k) / C(L, k), if the opened ones were drawn after the prover had committed.
    pub chance: f64,
    /// log2 of the draws that a prover who may try again needs on average until none is open; null where no number suffices.
    pub bits: Option<f64>,
}

/// C(layers - cheated, opened) / C(layers, opened).
pub fn miss(layers: usize, cheated: usize, opened: usize) -> f64 {
    let honest = layers.saturating_sub(cheated);
    if opened > honest {
        return 0.0;
    }
    (0..opened)
        .map(|i| (honest - i) as f64 / (layers - i) as f64)
        .product()
}

/// For one cheated layer, a quarter of them, and all.
pub fn table(layers: usize, opened: usize) -> Vec<Missed> {
    let mut cases = vec![1, layers.div_ceil(4), layers];
    cases.dedup();
    cases
        .into_iter()
        .map(|cheated| {
            let chance = miss(layers, cheated, opened);
            Missed {
                cheated,
                chance,
                bits: (chance > 0.0).then(|| -chance.log2()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_are_the_hypergeometric_ones() {
        assert!((miss(32, 1, 2) - 30.0 / 32.0).abs() < 1e-12);
        assert!((miss(10, 3, 4) - 35.0 / 210.0).abs() < 1e-12); // C(7,4) / C(10,4)
        assert_eq!(miss(8, 1, 8), 0.0);
        assert_eq!(miss(8, 8, 1), 0.0);
        assert_eq!(miss(8, 3, 0), 1.0);
        let table = table(16, 4);
        assert_eq!(
            table.iter().map(|m| m.cheated).collect::<Vec<_>>(),
            [1, 4, 16]
        );
        assert_eq!(table[2].bits, None);
    }
}
