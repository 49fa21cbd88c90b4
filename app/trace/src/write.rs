//! From counts and arrays to bytes: fills in the digests that depend on everything else, then writes in file order.

use std::io::{self, Write};

use crate::layout::{self, Kind};
use crate::{Digest, Manifest, commit, header, merkle};

/// The arrays of a trace, in the form in which the file holds them.
#[derive(Debug, Clone)]
pub(crate) struct Body {
    /// [T]
    pub tokens: Vec<u32>,
    /// [output.tokens, 32]
    pub logits_digests: Vec<u8>,
    /// [P, layers + 1, 32]
    pub state_digests: Vec<u8>,
    /// In the order of `manifest.opened`, each [P, hidden] elements as bytes.
    pub states: Vec<Vec<u8>>,
}

/// A trace ready to be written.
#[derive(Debug, Clone)]
pub struct FinishedTrace {
    manifest: Manifest,
    commitment: Digest,
    header: Vec<u8>,
    body: Body,
}

impl FinishedTrace {
    /// Computes prompt digest, root and commitment. The arrays' lengths must fit the manifest's counts.
    pub(crate) fn seal(mut manifest: Manifest, body: Body) -> Self {
        let n_prompt = manifest.prompt.tokens as usize;
        manifest.prompt.digest =
            commit::prompt_digest(body.tokens.get(..n_prompt).unwrap_or_default());
        let leaves = commit::leaf_hashes(
            &body.tokens,
            n_prompt,
            &body.logits_digests,
            &body.state_digests,
            manifest.state_rows(),
        );
        manifest.root = merkle::root(&leaves).unwrap_or(Digest::ZERO); // at least one position, so there is a root
        let header = header::canonical(&manifest.canonical_json(), &layout::tensors(&manifest));
        Self {
            commitment: manifest.commitment(),
            manifest,
            header,
            body,
        }
    }

    /// What the trace claims, root included.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Merkle root over the positions.
    pub fn root(&self) -> Digest {
        self.manifest.root
    }

    /// What a receipt signs: binds the manifest, and through it every tensor.
    pub fn commitment(&self) -> Digest {
        self.commitment
    }

    /// Length of the file in bytes.
    #[allow(clippy::len_without_is_empty, reason = "a trace is never empty")]
    pub fn len(&self) -> u64 {
        let data_end = layout::tensors(&self.manifest)
            .last()
            .map_or(0, |tensor| tensor.offsets[1]);
        8 + self.header.len() as u64 + data_end
    }

    /// Writes the file.
    ///
    /// # Errors
    /// What `out` reports.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&(self.header.len() as u64).to_le_bytes())?;
        out.write_all(&self.header)?;
        let mut states = self.body.states.iter(); // file order and `opened` order agree: names are zero-padded
        for tensor in layout::tensors(&self.manifest) {
            match tensor.kind {
                Kind::Commitment => out.write_all(&self.commitment.0)?,
                Kind::LogitsDigests => out.write_all(&self.body.logits_digests)?,
                Kind::StateDigests => out.write_all(&self.body.state_digests)?,
                Kind::States(_) => out.write_all(states.next().map_or(&[], Vec::as_slice))?,
                Kind::Tokens => {
                    let bytes: Vec<u8> = self
                        .body
                        .tokens
                        .iter()
                        .flat_map(|id| id.to_le_bytes())
                        .collect();
                    out.write_all(&bytes)?;
                }
            }
        }
        Ok(())
    }

    /// The file in memory.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // Cannot fail: writing to a `Vec` never does.
        let _ = self.write_to(&mut bytes);
        bytes
    }
}
