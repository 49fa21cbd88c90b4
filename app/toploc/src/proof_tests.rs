use super::*;

#[test]
fn a_small_proof_by_hand() {
    // 3 + 2x + x^2 through x = 0, 1, 5, whatever the order of points.
    let proof = Proof::of(&[(5, 38), (0, 3), (1, 6)]).unwrap();
    assert_eq!(proof.to_bytes(), [0xff, 0xd9, 0, 3, 0, 2, 0, 1]);
    assert_eq!(proof.to_base64(), "/9kAAwACAAE=");
    assert_eq!(Proof::from_base64("/9kAAwACAAE=", 3), Ok(proof.clone()));
    assert_eq!((proof.value(5), proof.value(1)), (38, 6));
}

#[test]
fn colliding_indices_ask_for_a_smaller_modulus() {
    let proof = Proof::of(&[(5, 1), (5 + 65497, 2), (9, 3), (9 + 65496, 4)]).unwrap();
    assert_eq!(proof.modulus(), 65495);
    for (index, bits) in [(5, 1), (65502, 2), (9, 3), (65505, 4)] {
        assert_eq!(proof.value(index), bits);
    }
    assert!(proof.check_modulus(200_000).is_ok());
    assert_eq!(
        proof.check_modulus(65497),
        Err(ToplocError::NeedlessModulus {
            got: 65495,
            elements: 65497,
            want: 65497
        })
    );
    let same = Proof::of(&[(7, 1), (7, 2)]);
    assert_eq!(same, Err(ToplocError::SamePoint { index: 7 }));
}

#[test]
fn bytes_are_hostile() {
    let honest = Proof::of(&[(0, 3), (1, 6)]).unwrap().to_bytes();
    for end in 0..honest.len() {
        assert!(matches!(
            Proof::parse(&honest[..end], 2),
            Err(ToplocError::Length { .. })
        ));
    }
    for modulus in [0u16, 1, 32767, 65498, 65535] {
        let mut bytes = honest.clone();
        bytes[..2].copy_from_slice(&modulus.to_be_bytes());
        let got = Proof::parse(&bytes, 2);
        assert!(matches!(got, Err(ToplocError::Modulus { .. })), "{modulus}");
    }
    let mut bytes = honest.clone();
    bytes[4..6].copy_from_slice(&65497u16.to_be_bytes());
    assert!(matches!(
        Proof::parse(&bytes, 2),
        Err(ToplocError::Coefficient {
            index: 1,
            got: 65497,
            ..
        })
    ));
    assert!(matches!(
        Proof::from_base64("/9k*", 1),
        Err(ToplocError::Base64(_))
    ));
    assert!(Proof::parse(&honest, 3).is_err() && Proof::parse(&honest, usize::MAX).is_err());
}

proptest::proptest! {
    #[test]
    fn what_parses_has_one_form(bytes in proptest::collection::vec(proptest::num::u8::ANY, 6)) {
        if let Ok(proof) = Proof::parse(&bytes, 2) {
            proptest::prop_assert_eq!(proof.to_bytes(), bytes);
            proof.value(usize::MAX);
        }
    }
}
