//! What is hashed, byte for byte: domain tags stand beside the only functions that use them.

use crate::{Digest, merkle};

/// Starts every leaf. The zero byte ends the tag, so no tag is the beginning of another.
const POSITION_TAG: &[u8] = b"assay/position/v1\0";
const PROMPT_TAG: &[u8] = b"assay/prompt/v1\0";
const MANIFEST_TAG: &[u8] = b"assay/manifest/v1\0";

/// Stands for "the next token is part of the prompt": above every legal id.
const NO_NEXT_TOKEN: u32 = u32::MAX;

/// The bytes that the Merkle leaf of `position` hashes (after the tree's 0x00).
///
/// `next` and `logits` are `None` where the next token is part of the prompt. `states` are layers + 1 digests,
/// in order. Length: 18 + 4 + 4 + 4 + 32 + 32 × (layers + 1).
pub fn leaf_preimage(
    position: u32,
    token: u32,
    next: Option<u32>,
    logits: Option<Digest>,
    states: impl IntoIterator<Item = Digest>,
) -> Vec<u8> {
    let mut leaf = POSITION_TAG.to_vec();
    leaf.extend(position.to_le_bytes());
    leaf.extend(token.to_le_bytes());
    leaf.extend(next.unwrap_or(NO_NEXT_TOKEN).to_le_bytes());
    leaf.extend(logits.unwrap_or(Digest::ZERO).0);
    states.into_iter().for_each(|state| leaf.extend(state.0));
    leaf
}

/// SHA-256("assay/prompt/v1\0" || u32le count || u32le ids).
pub fn prompt_digest(ids: &[u32]) -> Digest {
    let count = ids.len() as u32; // a prompt has at most 2^20 tokens
    let bytes: Vec<u8> = [count]
        .iter()
        .chain(ids)
        .flat_map(|word| word.to_le_bytes())
        .collect();
    Digest::of_parts(&[PROMPT_TAG, &bytes])
}

/// SHA-256("assay/manifest/v1\0" || `json`).
pub(crate) fn manifest_digest(json: &str) -> Digest {
    Digest::of_parts(&[MANIFEST_TAG, json.as_bytes()])
}

/// Digest of one position's logits: their f32 bytes, little endian, in id order.
pub(crate) fn logits_digest(logits: &[f32]) -> Digest {
    let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
    Digest::of(&bytes)
}

/// Leaf hashes of all positions.
///
/// `tokens` has P + 1 entries of which the first `n_prompt` are the prompt; `logits` digests belong to positions
/// n_prompt - 1 onwards; `states` is [P, `state_rows`] digests as bytes.
pub(crate) fn leaf_hashes(
    tokens: &[u32],
    n_prompt: usize,
    logits: &[u8],
    states: &[u8],
    state_rows: usize,
) -> Vec<Digest> {
    let row_bytes = state_rows.max(1) * Digest::LEN;
    let mut logits = logits
        .chunks_exact(Digest::LEN)
        .filter_map(Digest::first_of);
    tokens
        .windows(2)
        .zip(states.chunks_exact(row_bytes))
        .enumerate()
        .map(|(position, (pair, row))| {
            let emits = position + 1 >= n_prompt;
            let token = pair.first().copied().unwrap_or_default();
            let next = pair.last().copied().filter(|_| emits);
            let logits = if emits { logits.next() } else { None };
            let states = row.chunks_exact(Digest::LEN).filter_map(Digest::first_of);
            merkle::leaf_hash(&leaf_preimage(position as u32, token, next, logits, states))
        })
        .collect()
}
