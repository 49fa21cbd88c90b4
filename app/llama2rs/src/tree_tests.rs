//! Published vectors (made with the program's own code), and every proof of small trees.

use super::*;

fn leaves(n: u8) -> Vec<Digest> {
    (0..n).map(|i| Digest([i; 32])).collect()
}

#[test]
fn roots_are_the_published_ones() {
    for (n, want) in [
        (
            2,
            "5c85955f709283ecce2b74f1b1552918819f390911816e7bb466805a38ab87f3",
        ),
        (
            3,
            "a7f2fad943905535b10ccf63c832802ed84eaffb15e4fb6bee86a817c35eb833",
        ),
        (
            5,
            "243937fe91b8afccf77951af4e946c993e21cfe134644fad15da302ef093ae68",
        ),
        (
            7,
            "eb094e74c37828f22829f4678d5cc66f4f927ea675078ed54c43d5e21ca61f43",
        ),
    ] {
        assert_eq!(root(&leaves(n)).unwrap().to_string(), want, "{n} leaves");
    }
    assert_eq!(root(&[]), None);
    assert_eq!(root(&leaves(1)), Some(Digest([0; 32])));
}

#[test]
fn proofs_have_the_published_shapes() {
    let siblings = |n: u8, index: usize| {
        let proof = proof(&leaves(n), index).unwrap();
        proof
            .siblings
            .iter()
            .map(|(_, right)| *right)
            .collect::<Vec<bool>>()
    };
    assert_eq!(siblings(5, 4), [false]);
    assert_eq!(siblings(7, 6), [false, false]);
    assert_eq!(siblings(100, 99).len(), 4);
    assert_eq!(siblings(100, 50).len(), 7);
    assert_eq!(proof(&leaves(100), 99).unwrap().to_bytes().len(), 212);
}

#[test]
fn every_proof_of_small_trees_leads_to_the_root_and_back_from_bytes() {
    for n in 1..=33 {
        let leaves = leaves(n);
        for index in 0..usize::from(n) {
            let proof = proof(&leaves, index).unwrap();
            assert_eq!(Some(proof.computed_root()), root(&leaves));
            assert_eq!(Proof::from_bytes(&proof.to_bytes()), Ok(proof.clone()));
            let stored: Vec<bool> = proof.siblings.iter().map(|(_, right)| *right).collect();
            assert_eq!(stored, sides(index as u64, n.into()), "{index} of {n}");
            for at in 0..proof.siblings.len() {
                let mut bent = proof.clone();
                bent.siblings[at].0.0[7] ^= 1;
                assert_ne!(Some(bent.computed_root()), root(&leaves));
            }
        }
        assert_eq!(proof(&leaves, n.into()), None);
    }
    assert!(sides(5, 5).is_empty() && sides(u64::MAX, u64::MAX).is_empty());
    assert_eq!(sides(0, u64::MAX).len(), 64);
}

#[test]
fn stored_proofs_are_hostile() {
    let bytes = proof(&leaves(7), 3).unwrap().to_bytes();
    for end in 0..bytes.len() {
        assert!(Proof::from_bytes(&bytes[..end]).is_err());
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    assert!(Proof::from_bytes(&longer).is_err());
    let mut count = bytes.clone();
    count[40..48].fill(0xff);
    assert!(Proof::from_bytes(&count).is_err());
    let mut side = bytes;
    side[80] = 2;
    assert!(Proof::from_bytes(&side).is_err());
}
