//! What is hashed, byte for byte: domain tags stand beside the only functions that use them.

use crate::body::Body;
use crate::{Digest, Manifest, StateDtype, merkle};

/// Starts every leaf of a trace without linear outputs and masks. The zero byte ends the tag, so no tag is the beginning of
/// another.
const POSITION_TAG: &[u8] = b"assay/position/v1\0";
/// Starts every leaf of a trace with linear outputs and without masks.
const POSITION_WITH_LINEARS_TAG: &[u8] = b"assay/position/v2\0";
/// Starts every leaf of a trace with masks. What else the leaf binds, a byte of flags says.
const POSITION_WITH_MASKS_TAG: &[u8] = b"assay/position/v3\0";
/// In that byte: digests of linear outputs follow those of the states.
const FLAG_LINEARS: u8 = 1;
const PROMPT_TAG: &[u8] = b"assay/prompt/v1\0";
const MANIFEST_TAG: &[u8] = b"assay/manifest/v1\0";

/// Logits are hashed and stored as they are, whatever the state dtype.
pub(crate) const LOGITS_DTYPE: StateDtype = StateDtype::F32;

/// Stands for "the next token is part of the prompt": above every legal id.
const NO_NEXT_TOKEN: u32 = u32::MAX;

/// What the Merkle leaf of one position binds.
#[derive(Debug, Clone, Copy)]
pub struct Leaf<'a> {
    /// The position.
    pub position: u32,
    /// The token at it.
    pub token: u32,
    /// The token after it; `None` where that is part of the prompt.
    pub next: Option<u32>,
    /// Digest of the logits that chose it; `None` where it is part of the prompt.
    pub logits: Option<Digest>,
    /// Digests of the layers + 1 hidden states, in order, 32 bytes each.
    pub states: &'a [u8],
    /// Digests of the layers' linear outputs, in order, 32 bytes each; `None` without the stream.
    pub linears: Option<&'a [u8]>,
    /// Digest of all layers' masks, one after another; `None` without the stream.
    pub masks: Option<Digest>,
}

impl Leaf<'_> {
    /// The bytes that the leaf hashes (after the tree's 0x00).
    ///
    /// Length: 18 + 4 + 4 + 4 + 32 + 32 × (layers + 1), 32 × layers more with linear outputs, and 1 + 32 more with
    /// masks.
    pub fn preimage(&self) -> Vec<u8> {
        let tag = match (self.masks, self.linears) {
            (Some(_), _) => POSITION_WITH_MASKS_TAG,
            (None, Some(_)) => POSITION_WITH_LINEARS_TAG,
            (None, None) => POSITION_TAG,
        };
        let flags = if self.linears.is_some() {
            FLAG_LINEARS
        } else {
            0
        };
        let masks = self.masks.map(|digest| [&[flags][..], &digest.0].concat());
        [
            tag,
            &self.position.to_le_bytes(),
            &self.token.to_le_bytes(),
            &self.next.unwrap_or(NO_NEXT_TOKEN).to_le_bytes(),
            &self.logits.unwrap_or(Digest::ZERO).0,
            &masks.unwrap_or_default(),
            self.states,
            self.linears.unwrap_or_default(),
        ]
        .concat()
    }
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

/// Puts the prompt's digest and the root over `body`'s positions into `manifest`. Counts and lengths must fit.
pub(crate) fn bind(manifest: &mut Manifest, body: &Body) {
    let n_prompt = manifest.prompt.tokens as usize;
    let leaves = leaf_hashes(&Positions {
        tokens: &body.tokens,
        n_prompt,
        layers: manifest.model.layers as usize,
        logits: &body.logits_digests,
        states: &body.state_digests,
        linears: manifest
            .linears
            .as_ref()
            .map(|_| body.linear_digests.as_slice()),
        masks: manifest.sparse.as_ref().map(|claim| Masks {
            bytes: &body.masks,
            layer_bytes: claim.layer_bytes(),
        }),
    });
    manifest.prompt.digest = prompt_digest(body.tokens.get(..n_prompt).unwrap_or_default());
    manifest.root = merkle::root(&leaves).unwrap_or(Digest::ZERO); // at least one position, so there is a root
}

/// What all leaves together are made of.
pub(crate) struct Positions<'a> {
    /// [T]
    pub tokens: &'a [u32],
    /// How many of them are the prompt.
    pub n_prompt: usize,
    pub layers: usize,
    /// [output.tokens, 32]; the first is of position n_prompt - 1.
    pub logits: &'a [u8],
    /// [P, layers + 1, 32]
    pub states: &'a [u8],
    /// [P, layers, 32], with the stream `linears`.
    pub linears: Option<&'a [u8]>,
    /// With the stream `masks`.
    pub masks: Option<Masks<'a>>,
}

/// The masks of all positions.
pub(crate) struct Masks<'a> {
    /// [P, layers, layer_bytes]
    pub bytes: &'a [u8],
    pub layer_bytes: usize,
}

/// Leaf hashes of all positions.
pub(crate) fn leaf_hashes(positions: &Positions<'_>) -> Vec<Digest> {
    let mut logits = positions
        .logits
        .chunks_exact(Digest::LEN)
        .filter_map(Digest::first_of);
    positions
        .tokens
        .windows(2)
        .enumerate()
        .map(|(position, pair)| {
            let emits = position + 1 >= positions.n_prompt;
            let leaf = Leaf {
                position: position as u32,
                token: pair.first().copied().unwrap_or_default(),
                next: pair.last().copied().filter(|_| emits),
                logits: if emits { logits.next() } else { None },
                states: digests(positions.states, positions.layers + 1, position),
                linears: positions
                    .linears
                    .map(|bytes| digests(bytes, positions.layers, position)),
                masks: positions.masks.as_ref().map(|masks| {
                    let bytes = positions.layers.saturating_mul(masks.layer_bytes);
                    Digest::of(row(masks.bytes, bytes, position))
                }),
            };
            merkle::leaf_hash(&leaf.preimage())
        })
        .collect()
}

/// The digests of one position, of which each has `count`.
fn digests(all: &[u8], count: usize, position: usize) -> &[u8] {
    row(all, count * Digest::LEN, position)
}

/// Row `index` of rows of `bytes` bytes each.
fn row(all: &[u8], bytes: usize, index: usize) -> &[u8] {
    let mut rows = all.chunks_exact(bytes.max(1));
    rows.nth(index).unwrap_or_default()
}
