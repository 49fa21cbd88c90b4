use super::*;
use crate::{Activations, TOP};

/// Rows with no ties: magnitudes that all differ would take more than bf16 has, so a few hundred of mixed signs.
fn rows(seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..4 * 192).map(|_| 8.0 * next() * next()).collect()
}

fn prove(values: &[f32]) -> (Activations, Proof) {
    let activations = Activations::from_f32(values, 192, 4, 32).unwrap();
    let proof = activations.prove(TOP).unwrap().remove(0);
    (activations, proof)
}

#[test]
fn own_activations_agree_whatever_ties() {
    for seed in 0..20 {
        let (activations, proof) = prove(&rows(seed));
        assert_eq!(proof.to_bytes().len(), 258);
        let compared = compare(&proof, activations.chunks()[0], TOP).unwrap();
        assert_eq!(compared.n, TOP);
        assert_eq!(
            (compared.exponent_mismatches, compared.sign_mismatches),
            (0, 0)
        );
        assert_eq!((compared.mantissa_mean, compared.folded), (0.0, 0));
        assert!(Thresholds::PUBLISHED.admit_signed(&compared));
    }
}

/// Torch may take other ones among equals than we do: the proof must not suffer for it.
#[test]
fn ties_are_settled_in_the_proofs_favour() {
    let mut bits = vec![0x3f80; 10];
    bits[0] = 0x4000;
    let last_three = Proof::of(&[(0, 0x4000), (8, 0x3f80), (9, 0x3f80)]).unwrap();
    let compared = compare(&last_three, &bits, 3).unwrap();
    assert_eq!(
        (compared.exponent_mismatches, compared.mantissa_mean),
        (0, 0.0)
    );
    assert_eq!((compared.tied, compared.tied_places), (9, 2));
}

#[test]
fn the_negative_of_everything_passes_the_package_and_not_us() {
    let values = rows(3);
    let (_, proof) = prove(&values.iter().map(|v| -v).collect::<Vec<f32>>());
    let (own, _) = prove(&values);
    let compared = compare(&proof, own.chunks()[0], TOP).unwrap();
    assert_eq!(
        (compared.exponent_mismatches, compared.sign_mismatches),
        (0, TOP)
    );
    assert!(Thresholds::PUBLISHED.admit(&compared));
    assert!(!Thresholds::PUBLISHED.admit_signed(&compared));
}

#[test]
fn other_activations_and_nothing_fail() {
    let (own, _) = prove(&rows(4));
    let (_, other) = prove(&rows(5));
    let compared = compare(&other, own.chunks()[0], TOP).unwrap();
    assert!(compared.exponent_mismatches > 38, "{compared:?}");
    assert!(!Thresholds::PUBLISHED.admit(&compared));
    let nothing = compare(&other, &[], TOP).unwrap();
    assert_eq!(nothing.n, 0);
    assert!(!Thresholds::PUBLISHED.admit(&nothing));
}

#[test]
fn small_differences_are_counted_in_steps() {
    let proof = Proof::of(&[(0, 0x4001), (1, 0x3f80), (2, 0x3f83)]).unwrap();
    let compared = compare(&proof, &[0x4005, 0x3f81, 0x4083], 3).unwrap();
    // 4 and 1 steps; the third has another exponent.
    assert_eq!(compared.exponent_mismatches, 1);
    assert_eq!(
        (compared.mantissa_mean, compared.mantissa_median),
        (2.5, 4.0)
    );
}

#[test]
fn a_needless_modulus_is_refused() {
    let mut bytes = prove(&rows(1)).1.to_bytes();
    bytes[1] -= 1;
    let folded = Proof::parse(&bytes, TOP).unwrap();
    let (own, _) = prove(&rows(1));
    assert!(matches!(
        compare(&folded, own.chunks()[0], TOP),
        Err(ToplocError::NeedlessModulus { got: 65496, .. })
    ));
}
