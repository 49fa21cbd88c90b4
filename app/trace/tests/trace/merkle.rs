//! The fast tree against RFC 6962's own words, its published vectors, and tampered proofs.

use assay_trace::Digest;
use assay_trace::merkle::{inclusion_proof, leaf_hash, node_hash, root, verify_inclusion};

/// Inputs of Certificate Transparency's reference tests, in hex.
const CT_LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

/// Roots over the first 1 to 8 of them.
const CT_ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

/// RFC 6962, 2.1: the largest power of two smaller than n.
fn split_point(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// RFC 6962, 2.1: MTH(D[n]), over leaf hashes.
fn mth(leaves: &[Digest]) -> Digest {
    if let [leaf] = leaves {
        return *leaf;
    }
    let k = split_point(leaves.len());
    node_hash(mth(&leaves[..k]), mth(&leaves[k..]))
}

/// RFC 6962, 2.1.1: PATH(m, D[n]).
fn path(m: usize, leaves: &[Digest]) -> Vec<Digest> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let k = split_point(leaves.len());
    let (mut proof, other) = if m < k {
        (path(m, &leaves[..k]), mth(&leaves[k..]))
    } else {
        (path(m - k, &leaves[k..]), mth(&leaves[..k]))
    };
    proof.push(other);
    proof
}

fn leaves(n: usize) -> Vec<Digest> {
    (0..n).map(|i| leaf_hash(&[i as u8])).collect()
}

#[test]
fn certificate_transparency_vectors() {
    let bytes = |hex: &str| -> Vec<u8> {
        (0..hex.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
            .collect()
    };
    let leaves: Vec<Digest> = CT_LEAVES.iter().map(|hex| leaf_hash(&bytes(hex))).collect();
    for (n, want) in (1..).zip(CT_ROOTS) {
        assert_eq!(root(&leaves[..n]).unwrap().to_string(), want, "{n} leaves");
    }
}

#[test]
fn empty_tree_has_no_root() {
    assert_eq!(root(&[]), None);
    assert_eq!(inclusion_proof(&[], 0), None);
    assert!(!verify_inclusion(Digest::ZERO, 0, 0, &[], Digest::ZERO));
}

#[test]
fn equals_the_rfc_recursion_up_to_40() {
    for n in 1..=40 {
        let leaves = leaves(n);
        let top = mth(&leaves);
        assert_eq!(root(&leaves), Some(top), "{n} leaves");
        for index in 0..n {
            let proof = inclusion_proof(&leaves, index).unwrap();
            assert_eq!(proof, path(index, &leaves), "leaf {index} of {n}");
            assert!(
                verify_inclusion(leaves[index], index, n, &proof, top),
                "leaf {index} of {n}"
            );
        }
        assert_eq!(inclusion_proof(&leaves, n), None);
    }
}

#[test]
fn tampered_proofs_fail_up_to_20() {
    for n in 1..=20 {
        let leaves = leaves(n);
        let top = root(&leaves).unwrap();
        for index in 0..n {
            let proof = inclusion_proof(&leaves, index).unwrap();
            let holds =
                |index, proof: &[Digest]| verify_inclusion(leaves[index % n], index, n, proof, top);
            assert!(!holds(index + n, &proof), "index beyond size");
            for other in (0..n).filter(|&other| other != index) {
                assert!(
                    !verify_inclusion(leaves[index], other, n, &proof, top),
                    "leaf {index} as {other} of {n}"
                );
                assert!(
                    !verify_inclusion(leaves[other], index, n, &proof, top),
                    "leaf {other} for {index} of {n}"
                );
            }
            let garbage = Digest::of(b"garbage");
            assert!(
                !holds(index, &[proof.as_slice(), &[garbage]].concat()),
                "trailing garbage"
            );
            assert!(
                !holds(index, &[&[garbage], proof.as_slice()].concat()),
                "preceding garbage"
            );
            for at in 0..proof.len() {
                let mut flipped = proof.clone();
                flipped[at].0[4] ^= 1;
                assert!(!holds(index, &flipped), "bit flipped in node {at}");
                let mut short = proof.clone();
                short.remove(at);
                assert!(!holds(index, &short), "node {at} removed");
            }
        }
    }
}

/// What a proof does not show: a larger size can have the same path. The manifest's counts bind the size.
#[test]
fn size_changes_the_verdict_or_is_bound_elsewhere() {
    let leaves = leaves(6);
    let (top, proof) = (root(&leaves).unwrap(), inclusion_proof(&leaves, 5).unwrap());
    assert!(verify_inclusion(leaves[5], 5, 6, &proof, top));
    assert!(!verify_inclusion(leaves[5], 5, 8, &proof, top));
    assert!(!verify_inclusion(leaves[5], 5, 5, &proof, top));
}
