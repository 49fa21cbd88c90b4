//! The program's Merkle tree: neighbours are paired, an odd last node goes up unchanged, one leaf is its own root.

use assay_trace::Digest;

use crate::error::ProofError;
use crate::hash::node_hash;

/// Root over leaves; `None` over none.
pub fn root(leaves: &[Digest]) -> Option<Digest> {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = parents(&level);
    }
    level.first().copied()
}

fn parents(level: &[Digest]) -> Vec<Digest> {
    let parent = |pair: &[Digest]| match pair {
        [left, right] => node_hash(left, right),
        [odd, ..] => *odd,
        [] => Digest::ZERO, // `chunks` never yields an empty chunk
    };
    level.chunks(2).map(parent).collect()
}

/// On which side each sibling of leaf `index` stands in a tree of `count` leaves, from the leaf upwards: true for the right. Levels where
/// the node goes up alone have none. Empty unless `index < count`.
pub(crate) fn sides(index: u64, count: u64) -> Vec<bool> {
    let (mut node, mut nodes, mut sides) = (index, count, Vec::new());
    while nodes > 1 && node < nodes {
        if node ^ 1 < nodes {
            sides.push(node & 1 == 0);
        }
        node /= 2;
        nodes = nodes.div_ceil(2);
    }
    sides
}

/// Siblings of leaf `index` in a tree of `count` leaves: what its proof holds.
pub fn path_length(index: usize, count: usize) -> usize {
    sides(index as u64, count as u64).len()
}

/// A path from a leaf to a root, as llama2-rs stores it.
///
/// The index is only a label there, and the root is the prover's own: a proof is worth what its caller checks beside it
/// ([`StepProof`](crate::StepProof) does).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Which leaf.
    pub leaf_index: u64,
    /// Its hash.
    pub leaf_hash: Digest,
    /// Siblings from the leaf upwards, and whether each stands on the right.
    pub siblings: Vec<(Digest, bool)>,
    /// Where the path should end.
    pub root: Digest,
}

/// The proof of leaf `index`; `None` unless `index < leaves.len()`.
pub fn proof(leaves: &[Digest], index: usize) -> Option<Proof> {
    let leaf_hash = *leaves.get(index)?;
    let (mut level, mut node, mut siblings) = (leaves.to_vec(), index, Vec::new());
    while level.len() > 1 {
        if let Some(sibling) = level.get(node ^ 1) {
            siblings.push((*sibling, node & 1 == 0));
        }
        level = parents(&level);
        node /= 2;
    }
    Some(Proof {
        leaf_index: index as u64,
        leaf_hash,
        siblings,
        root: *level.first()?,
    })
}

impl Proof {
    /// Where the path ends.
    pub fn computed_root(&self) -> Digest {
        let step = |hash: Digest, (sibling, is_right): &(Digest, bool)| match is_right {
            true => node_hash(&hash, sibling),
            false => node_hash(sibling, &hash),
        };
        self.siblings.iter().fold(self.leaf_hash, step)
    }

    /// The bytes that the program would store: `48 + 33 siblings + 32`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.leaf_index.to_le_bytes().to_vec();
        bytes.extend(self.leaf_hash.0);
        bytes.extend((self.siblings.len() as u64).to_le_bytes());
        for (sibling, is_right) in &self.siblings {
            bytes.extend(sibling.0);
            bytes.push(u8::from(*is_right));
        }
        bytes.extend(self.root.0);
        bytes
    }

    /// Reads them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ProofError> {
        const SHORT: ProofError = ProofError::Bytes("it ends too early");
        let (index, rest) = bytes.split_first_chunk::<8>().ok_or(SHORT)?;
        let (leaf, rest) = rest.split_first_chunk::<32>().ok_or(SHORT)?;
        let (count, rest) = rest.split_first_chunk::<8>().ok_or(SHORT)?;
        let (path, root) = rest.split_last_chunk::<32>().ok_or(SHORT)?;
        let count = u64::from_le_bytes(*count);
        if count > 64 || path.len() as u64 != 33 * count {
            return Err(ProofError::Bytes("its length does not fit its siblings"));
        }
        let (pairs, _) = path.as_chunks::<33>();
        let sibling = |[hash @ .., side]: &[u8; 33]| match side {
            0 | 1 => Ok((Digest(*hash), *side == 1)),
            _ => Err(ProofError::Bytes("a side is neither 0 nor 1")),
        };
        Ok(Self {
            leaf_index: u64::from_le_bytes(*index),
            leaf_hash: Digest(*leaf),
            siblings: pairs.iter().map(sibling).collect::<Result<_, _>>()?,
            root: Digest(*root),
        })
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
