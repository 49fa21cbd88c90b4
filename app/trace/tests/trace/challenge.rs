//! The offline draw: vectors from the Python reader, and what any fair draw has.

use assay_trace::Digest;
use assay_trace::challenge::{draw_layers, draw_logits};
use proptest::prelude::*;

/// Computed with `draw` of `provers/python/assay_trace.py` (the last with its words and a sparse list).
#[test]
fn vectors_of_the_python_reader() {
    let (root, nonce) = (Digest::of(b"root"), Some(Digest::of(b"nonce")));
    assert_eq!(draw_layers(root, None, 1, 2), [1]);
    assert_eq!(draw_layers(root, None, 4, 22), [11, 19, 20, 21]);
    assert_eq!(draw_layers(root, nonce, 4, 22), [0, 7, 13, 14]);
    assert_eq!(draw_layers(root, nonce, 3, 4), [0, 1, 3]);
    assert_eq!(draw_logits(root, None, 4, 22), [4, 13, 16, 17]);
    assert_eq!(
        draw_logits(root, nonce, 10, 1000),
        [164, 251, 266, 413, 567, 667, 706, 765, 946, 999]
    );
    assert_eq!(
        draw_logits(root, None, 5, 1 << 20),
        [20_265, 55_153, 429_369, 492_487, 962_694]
    );
    // Just above half of all words: three of them are skipped here.
    assert_eq!(
        draw_logits(root, None, 8, (1 << 31) + 1),
        [
            376_106_325,
            523_452_654,
            622_898_726,
            1_031_965_298,
            1_209_719_795,
            1_378_057_379,
            1_559_141_239,
            2_047_777_187
        ]
    );
}

#[test]
fn edges() {
    let root = Digest::of(b"root");
    assert!(draw_layers(root, None, 0, 22).is_empty());
    assert!(draw_layers(root, None, 5, 0).is_empty());
    assert_eq!(draw_layers(root, None, 1, 1), [0]);
    let all: Vec<u32> = (0..22).collect();
    assert_eq!(draw_layers(root, None, 22, 22), all);
    assert_eq!(draw_layers(root, None, u32::MAX, 22), all); // more than there are
    assert_eq!(draw_logits(root, None, 2, u32::MAX).len(), 2); // memory is for what is drawn, not for what of
}

/// 4 of 16, from 4000 roots: each number 1000 times, give or take; each pair 200 times.
#[test]
fn every_number_is_as_likely() {
    let (mut single, mut pairs) = ([0_u32; 16], [0_u32; 256]);
    for i in 0..4000_u32 {
        let drawn = draw_layers(Digest::of(&i.to_le_bytes()), None, 4, 16);
        for &a in &drawn {
            single[a as usize] += 1;
            for &b in drawn.iter().filter(|&&b| b > a) {
                pairs[(16 * a + b) as usize] += 1;
            }
        }
    }
    assert!(single.iter().all(|n| (870..1130).contains(n)), "{single:?}"); // 4.7 sigma
    let pairs: Vec<u32> = pairs.into_iter().filter(|&n| n > 0).collect();
    assert_eq!(pairs.len(), 120);
    assert!(pairs.iter().all(|n| (130..270).contains(n)), "{pairs:?}"); // 5 sigma
}

proptest! {
    #[test]
    fn distinct_sorted_and_bound_by_everything(root: [u8; 32], nonce: [u8; 32], count in 1_u32..40, of in 40_u32..100_000) {
        let (root, nonce) = (Digest(root), Digest(nonce));
        let drawn = draw_layers(root, Some(nonce), count, of);
        prop_assert_eq!(drawn.len(), count as usize);
        prop_assert!(drawn.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(drawn.iter().all(|&i| i < of));
        prop_assert_eq!(&draw_layers(root, Some(nonce), count, of), &drawn);
        prop_assert_eq!(draw_layers(root, Some(Digest::ZERO), count, of), draw_layers(root, None, count, of));
        if count >= 10 && of >= 1000 {
            prop_assert_ne!(&draw_logits(root, Some(nonce), count, of), &drawn);
            prop_assert_ne!(&draw_layers(root, None, count, of), &drawn);
            prop_assert_ne!(&draw_layers(nonce, Some(root), count, of), &drawn);
        }
    }
}
