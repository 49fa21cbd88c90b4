//! The secret of a key, and the stream of words that follows from it.
//!
//! Everything random in a key comes from 32 bytes, so a key need not hold the projections themselves:
//! block b of a stream is SHA-256("assay/key/v1\0" || seed || u32le(layer) || u32le(role) || u32le(purpose) || u32le(b)), four
//! little-endian u64. Without the seed the streams of two matrices, or of two purposes, have nothing in common.

use std::fmt;

use sha2::{Digest as _, Sha256};
use zeroize::Zeroize as _;

use crate::field::Field;
use crate::{KeyError, Part};

const DOMAIN: &[u8] = b"assay/key/v1\0";

/// The 32 secret bytes that a key's randomness comes from. Whoever has them can forge what the key would accept.
///
/// Wiped from memory when dropped; `Debug` shows nothing of it.
pub struct Seed([u8; 32]);

impl Seed {
    /// A fresh one from the operating system or the browser.
    ///
    /// # Errors
    /// [`KeyError::Randomness`] if it has none to give.
    pub fn from_os() -> Result<Self, KeyError> {
        let mut seed = Self([0; 32]);
        getrandom::fill(&mut seed.0).map_err(|source| KeyError::Randomness { source })?;
        Ok(seed)
    }

    /// A given one: for tests. A seed that anybody can guess makes a key that anybody can deceive.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The words for one purpose of one matrix; `None` for a role that is no matrix.
    pub(crate) fn stream(&self, part: Part, purpose: Purpose) -> Option<Stream<'_>> {
        let (layer, role) = part.numbers()?;
        Some(Stream {
            seed: self,
            layer,
            role,
            purpose,
        })
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(secret)")
    }
}

/// What words are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// R of a matrix.
    Projections = 0,
    /// Which rows of a matrix are kept.
    Rows = 1,
    /// G of the embedding; numbered as the head's.
    Sketch = 2,
    /// What a projection from elsewhere is tried with.
    Probe = 3,
    /// r of a matrix of integers.
    Field = 4,
}

impl Stream<'_> {
    /// The first `count` residues of a field: words in order (of two-word residues the lower one first), those that are none passed over.
    pub fn residues<F: Field>(&self, count: usize) -> Vec<F::Residue> {
        let mut words = (0..u32::MAX).flat_map(|block| self.block(block));
        let mut word = || words.next().unwrap_or_default();
        (0..count).map(|_| F::uniform(&mut word)).collect()
    }
}

/// Words for one purpose of one matrix, each block by its index.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    seed: &'a Seed,
    layer: u32,
    role: u32,
    purpose: Purpose,
}

impl Stream<'_> {
    /// The four words of block `index`.
    pub fn block(&self, index: u32) -> [u64; 4] {
        let mut hasher = Sha256::new();
        hasher.update(DOMAIN);
        hasher.update(self.seed.0);
        for number in [self.layer, self.role, self.purpose as u32, index] {
            hasher.update(number.to_le_bytes());
        }
        let digest: [u8; 32] = hasher.finalize().into();
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(digest.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        words
    }
}
