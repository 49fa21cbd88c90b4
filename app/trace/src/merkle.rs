//! RFC 6962 Merkle trees over SHA-256, level by level.
//!
//! Pairing neighbours and lifting an odd last node unchanged gives the RFC's tree (split at the largest
//! power of two below n); the tests compare it with a transcription of the RFC's recursion.
//! "Leaf" below always means a leaf *hash*, as [`leaf_hash`] returns it. A root says nothing about how
//! many leaves it has: keep the count beside it (in a trace, the manifest's counts).

use crate::Digest;

/// First byte hashed for a leaf; differs from [`NODE_PREFIX`], so a node can never pass for a leaf.
const LEAF_PREFIX: [u8; 1] = [0];
/// First byte hashed for an inner node.
const NODE_PREFIX: [u8; 1] = [1];

/// SHA-256(0x00 || `leaf`).
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of_parts(&[&LEAF_PREFIX, leaf])
}

/// SHA-256(0x01 || `left` || `right`).
pub fn node_hash(left: Digest, right: Digest) -> Digest {
    Digest::of_parts(&[&NODE_PREFIX, &left.0, &right.0])
}

/// Root over leaf hashes; `None` for no leaves (the RFC hashes the empty string there; we have no use for it).
pub fn root(leaves: &[Digest]) -> Option<Digest> {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = parents(&level);
    }
    level.first().copied()
}

/// The audit path of leaf `index`, from the leaf's sibling upwards; `None` unless `index < leaves.len()`.
pub fn inclusion_proof(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    leaves.get(index)?;
    let (mut level, mut index, mut proof) = (leaves.to_vec(), index, Vec::new());
    while level.len() > 1 {
        proof.extend(level.get(index ^ 1));
        level = parents(&level);
        index /= 2;
    }
    Some(proof)
}

/// Whether `proof` leads from `leaf` at `index` to `root` in a tree of `size` leaves (RFC 9162, 2.1.3.2).
///
/// Success proves membership for this `size` only: the caller must have bound `size` by other means.
pub fn verify_inclusion(
    leaf: Digest,
    index: usize,
    size: usize,
    proof: &[Digest],
    root: Digest,
) -> bool {
    if index >= size {
        return false;
    }
    // `node` and `last` are the indices, on the current level, of our node and of the rightmost node.
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(*sibling, hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(hash, *sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == root
}

fn parents(level: &[Digest]) -> Vec<Digest> {
    let parent = |pair: &[Digest]| match *pair {
        [left, right] => node_hash(left, right),
        [odd, ..] => odd,
        [] => Digest::ZERO, // `chunks` never yields an empty chunk
    };
    level.chunks(2).map(parent).collect()
}
