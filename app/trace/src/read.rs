//! The verifier's side: an attacker's bytes become a view whose every access is already known to be in bounds.
//!
//! Order: length caps, header, manifest, tensors against the manifest, canonical header, file length, values.
//! Nothing is allocated from a declared size before the real length was compared with it.

use std::collections::BTreeMap;
use std::fmt;

use crate::commit::{self, Masks, Positions};
use crate::dtype::words;
use crate::header::{self, RawHeader};
use crate::layout::{self, Kind, Tensor};
use crate::limits::MAX_HEADER_BYTES;
use crate::write::check_file_len;
use crate::{Digest, Linear, Manifest, TraceError, merkle};

/// A well-formed trace over borrowed bytes.
///
/// It is well formed, not honest: its hashes are unchecked until [`check_commitment`](Self::check_commitment), and
/// what it claims about a model is for the verifier to judge.
pub struct Trace<'a> {
    bytes: &'a [u8],
    pub(crate) manifest: Manifest,
    tokens: Vec<u32>,
    commitment: Digest,
    /// [output.tokens, 32]
    pub(crate) logits_digests: &'a [u8],
    /// [P, layers + 1, 32]
    pub(crate) state_digests: &'a [u8],
    /// [P, layers, 32]; empty without the stream `linears`.
    pub(crate) linear_digests: &'a [u8],
    /// By hidden state, each `[P, hidden]`.
    pub(crate) states: BTreeMap<u32, &'a [u8]>,
    /// By layer and product, each `[P, width]`.
    pub(crate) linears: BTreeMap<(u32, Linear), &'a [u8]>,
    /// `[linears.logits' length, vocab]`
    pub(crate) logits: &'a [u8],
    /// [P, layers, bytes of a layer's masks]; empty without the stream `masks`.
    pub(crate) masks: &'a [u8],
}

impl<'a> Trace<'a> {
    /// Reads a file.
    ///
    /// # Errors
    /// The first [`TraceError`]; any two files that both parse and hold the same values are the same bytes.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TraceError> {
        let (header, data) = split(bytes)?;
        let (manifest, tensors) = read_header(header, data.len() as u64)?;
        let trace = Self::place(bytes, data, manifest, tensors);
        trace.check_values()?;
        Ok(trace)
    }

    /// Bytes at the beginning of a file that [`check_head`](Self::check_head) must see, given its first eight and its length: so that a
    /// file can be refused before all of it was read.
    ///
    /// # Errors
    /// A [`TraceError`] that [`parse`](Self::parse) would give as well.
    pub fn head_bytes(first: [u8; 8], file_bytes: u64) -> Result<usize, TraceError> {
        check_file_len(file_bytes)?;
        let header = check_header_len(first, file_bytes.saturating_sub(8))?;
        Ok(8 + header)
    }

    /// Everything that [`parse`](Self::parse) checks but values, for a file of `file_bytes` bytes that begins with `head`.
    ///
    /// # Errors
    /// The first [`TraceError`].
    pub fn check_head(head: &[u8], file_bytes: u64) -> Result<(), TraceError> {
        let header = split(head)?.0;
        let data_bytes = file_bytes.saturating_sub(8 + header.len() as u64);
        read_header(header, data_bytes).map(drop)
    }

    /// Cuts `data` into the tensors that end exactly where it does.
    fn place(bytes: &'a [u8], data: &'a [u8], manifest: Manifest, tensors: Vec<Tensor>) -> Self {
        let mut trace = Self {
            bytes,
            manifest,
            tokens: Vec::new(),
            commitment: Digest::ZERO,
            logits_digests: &[],
            state_digests: &[],
            linear_digests: &[],
            states: BTreeMap::new(),
            linears: BTreeMap::new(),
            logits: &[],
            masks: &[],
        };
        for tensor in tensors {
            // Both ends lie within `data`, whose length is a usize, as `parse` has compared.
            let [start, end] = tensor.offsets.map(|offset| offset as usize);
            let section = data.get(start..end).unwrap_or_default();
            match tensor.kind {
                Kind::Commitment => {
                    trace.commitment = Digest::first_of(section).unwrap_or_default();
                }
                Kind::LinearDigests => trace.linear_digests = section,
                Kind::Linears(layer, product) => {
                    trace.linears.insert((layer, product), section);
                }
                Kind::Logits => trace.logits = section,
                Kind::Masks => trace.masks = section,
                Kind::LogitsDigests => trace.logits_digests = section,
                Kind::StateDigests => trace.state_digests = section,
                Kind::States(index) => {
                    trace.states.insert(index, section);
                }
                Kind::Tokens => trace.tokens = words(section).collect(),
            }
        }
        trace
    }

    /// What the trace claims.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// All T ids: prompt, then output.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The prompt's ids.
    pub fn prompt(&self) -> &[u32] {
        self.tokens
            .get(..self.manifest.prompt.tokens as usize)
            .unwrap_or_default()
    }

    /// The emitted ids.
    pub fn output(&self) -> &[u32] {
        self.tokens
            .get(self.manifest.prompt.tokens as usize..)
            .unwrap_or_default()
    }

    /// P: positions that were run, one less than [`tokens`](Self::tokens).
    pub fn positions(&self) -> usize {
        self.manifest.positions()
    }

    /// Indices of the hidden states in the file, ascending, each in 0..=layers.
    pub fn opened(&self) -> &[u32] {
        &self.manifest.opened
    }

    /// The commitment as the file states it.
    pub fn commitment(&self) -> Digest {
        self.commitment
    }

    /// Leaf hashes of all P positions, for [`merkle::inclusion_proof`].
    pub fn leaves(&self) -> Vec<Digest> {
        commit::leaf_hashes(&Positions {
            tokens: &self.tokens,
            n_prompt: self.manifest.prompt.tokens as usize,
            layers: self.manifest.model.layers as usize,
            logits: self.logits_digests,
            states: self.state_digests,
            linears: self.linears().map(|_| self.linear_digests),
            masks: self.sparse().map(|claim| Masks {
                bytes: self.masks,
                layer_bytes: claim.layer_bytes(),
            }),
        })
    }

    /// Root over [`leaves`](Self::leaves), which an honest manifest repeats.
    pub(crate) fn computed_root(&self) -> Digest {
        merkle::root(&self.leaves()).unwrap_or_default() // P is at least 1
    }

    /// SHA-256 of the whole file.
    pub fn file_digest(&self) -> Digest {
        Digest::of(self.bytes)
    }
}

impl fmt::Debug for Trace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace")
            .field("manifest", &self.manifest)
            .finish_non_exhaustive()
    }
}

/// The manifest and where its tensors lie, from a header that is followed by `data_bytes` bytes.
fn read_header(header: &[u8], data_bytes: u64) -> Result<(Manifest, Vec<Tensor>), TraceError> {
    let text = str::from_utf8(header).map_err(|err| TraceError::HeaderUtf8 {
        offset: err.valid_up_to(),
    })?;
    let raw = RawHeader::parse(text)?;
    let manifest = Manifest::parse(&raw.manifest)?;
    let tensors = layout::tensors(&manifest);
    raw.expect_tensors(&tensors)?;
    let canonical = header::canonical(&raw.manifest, &tensors);
    if canonical != header {
        let offset = canonical
            .iter()
            .zip(header)
            .take_while(|(want, got)| want == got)
            .count();
        return Err(TraceError::HeaderNotCanonical { offset });
    }
    let want = tensors.last().map_or(0, |tensor| tensor.offsets[1]);
    if data_bytes != want {
        let got = data_bytes;
        return Err(TraceError::DataLength { got, want });
    }
    Ok((manifest, tensors))
}

/// Header and data of a file, under the caps.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), TraceError> {
    check_file_len(bytes.len() as u64)?;
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Err(TraceError::TooShort {
            got: bytes.len() as u64,
        });
    };
    let header_len = check_header_len(*length, rest.len() as u64)?;
    rest.split_at_checked(header_len)
        .ok_or(TraceError::HeaderPastEnd {
            got: header_len as u64,
            have: rest.len() as u64,
        })
}

/// Length of the header by the file's first eight bytes, which `have` bytes follow.
fn check_header_len(length: [u8; 8], have: u64) -> Result<usize, TraceError> {
    let got = u64::from_le_bytes(length);
    if got > MAX_HEADER_BYTES {
        let max = MAX_HEADER_BYTES;
        return Err(TraceError::HeaderTooLarge { got, max });
    }
    usize::try_from(got)
        .ok()
        .filter(|_| got <= have)
        .ok_or(TraceError::HeaderPastEnd { got, have })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_FILE_BYTES;

    /// No test can hold such a file, so this asks the function that `parse` asks first.
    #[test]
    fn file_too_large() {
        let (got, max) = (MAX_FILE_BYTES + 1, MAX_FILE_BYTES);
        assert_eq!(
            check_file_len(got),
            Err(TraceError::FileTooLarge { got, max })
        );
        assert_eq!(check_file_len(max), Ok(()));
    }
}
