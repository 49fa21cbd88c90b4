//! The three hashes of the format, all SHA-256. None has a prefix that tells leaves from nodes; their lengths do (40 and 64 bytes).

use assay_trace::Digest;

/// SHA-256 over the logits as f32, little-endian.
pub fn logits_hash(logits: &[f32]) -> Digest {
    let bytes: Vec<u8> = logits
        .iter()
        .flat_map(|logit| logit.to_le_bytes())
        .collect();
    Digest::of(&bytes)
}

/// SHA-256 over position, token (both i32, little-endian) and the hash of the logits.
pub(crate) fn leaf_hash(position: i32, token: i32, logits: &Digest) -> Digest {
    let mut bytes = [0; 40];
    bytes[..4].copy_from_slice(&position.to_le_bytes());
    bytes[4..8].copy_from_slice(&token.to_le_bytes());
    bytes[8..].copy_from_slice(&logits.0);
    Digest::of(&bytes)
}

/// SHA-256 over two digests.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [0; 64];
    bytes[..32].copy_from_slice(&left.0);
    bytes[32..].copy_from_slice(&right.0);
    Digest::of(&bytes)
}
