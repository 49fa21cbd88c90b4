//! The verifier's side: an attacker's bytes become a view whose every access is already known to be in bounds.
//!
//! Order: length caps, header, manifest, tensors against the manifest, canonical header, file length, values.
//! Nothing is allocated from a declared size before the real length was compared with it.

use std::fmt;

use crate::dtype::words;
use crate::header::{self, RawHeader};
use crate::layout::{self, Kind, Tensor};
use crate::limits::{MAX_FILE_BYTES, MAX_HEADER_BYTES};
use crate::{Digest, Manifest, TraceError, commit, merkle};

/// A well-formed trace over borrowed bytes.
///
/// It is well formed, not honest: its hashes are unchecked until [`check_commitment`](Self::check_commitment), and
/// what it claims about a model is for the verifier to judge.
pub struct Trace<'a> {
    bytes: &'a [u8],
    manifest: Manifest,
    tokens: Vec<u32>,
    commitment: Digest,
    /// [output.tokens, 32]
    pub(crate) logits_digests: &'a [u8],
    /// [P, layers + 1, 32]
    pub(crate) state_digests: &'a [u8],
    /// In the order of `manifest.opened`, each `[P, hidden]`.
    states: Vec<&'a [u8]>,
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
            states: Vec::new(),
        };
        for tensor in tensors {
            // Both ends lie within `data`, whose length is a usize, as `parse` has compared.
            let [start, end] = tensor.offsets.map(|offset| offset as usize);
            let section = data.get(start..end).unwrap_or_default();
            match tensor.kind {
                Kind::Commitment => {
                    trace.commitment = Digest::first_of(section).unwrap_or_default();
                }
                Kind::LogitsDigests => trace.logits_digests = section,
                Kind::StateDigests => trace.state_digests = section,
                Kind::States(_) => trace.states.push(section),
                Kind::Tokens => trace.tokens = words(section).collect(),
            }
        }
        trace
    }

    fn check_values(&self) -> Result<(), TraceError> {
        let model = &self.manifest.model;
        if let Some((index, &got)) = self
            .tokens
            .iter()
            .enumerate()
            .find(|&(_, &id)| id >= model.vocab)
        {
            return Err(TraceError::TokenRange {
                index,
                got,
                vocab: model.vocab,
            });
        }
        for (&layer, section) in self.manifest.opened.iter().zip(&self.states) {
            if let Some(element) = self.manifest.state_dtype.first_non_finite(section) {
                let hidden = model.hidden as usize; // at least 1
                return Err(TraceError::NonFinite {
                    layer,
                    position: element / hidden,
                    channel: element % hidden,
                });
            }
        }
        Ok(())
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

    /// Committed digest of hidden state `layer` (0..=layers) at `position`; [`Digest::ZERO`] outside the trace.
    pub fn state_digest(&self, layer: u32, position: usize) -> Digest {
        let (layer, rows) = (layer as usize, self.manifest.state_rows());
        if layer >= rows || position >= self.positions() {
            return Digest::ZERO;
        }
        digest_at(self.state_digests, position * rows + layer).unwrap_or_default()
    }

    /// Committed digest of the logits at `position`; `None` before the prompt's last position and after the trace.
    pub fn logits_digest(&self, position: usize) -> Option<Digest> {
        let row = position
            .checked_add(1)?
            .checked_sub(self.manifest.prompt.tokens as usize)?;
        digest_at(self.logits_digests, row)
    }

    /// The stored bytes of an opened row, `[hidden]` in the state dtype; `None` if `layer` is not opened or `position`
    /// is outside the trace.
    pub fn raw_state_row(&self, layer: u32, position: usize) -> Option<&'a [u8]> {
        let row_bytes = self.manifest.model.hidden as usize * self.manifest.state_dtype.bytes();
        self.raw_states(layer)?
            .chunks_exact(row_bytes)
            .nth(position)
    }

    /// An opened row as f32, `[hidden]`; `None` as for [`raw_state_row`](Self::raw_state_row).
    pub fn state_row(&self, layer: u32, position: usize) -> Option<Vec<f32>> {
        Some(
            self.manifest
                .state_dtype
                .decode(self.raw_state_row(layer, position)?),
        )
    }

    /// The stored bytes of a hidden state at all positions, `[P, hidden]`; `None` if `layer` is not opened.
    pub fn raw_states(&self, layer: u32) -> Option<&'a [u8]> {
        let index = self.manifest.opened.binary_search(&layer).ok()?;
        self.states.get(index).copied()
    }

    /// A hidden state at all positions as f32, `[P * hidden]`, position by position; `None` if `layer` is not opened.
    pub fn states(&self, layer: u32) -> Option<Vec<f32>> {
        Some(self.manifest.state_dtype.decode(self.raw_states(layer)?))
    }

    /// The commitment as the file states it.
    pub fn commitment(&self) -> Digest {
        self.commitment
    }

    /// Leaf hashes of all P positions, for [`merkle::inclusion_proof`].
    pub fn leaves(&self) -> Vec<Digest> {
        let n_prompt = self.manifest.prompt.tokens as usize;
        let rows = self.manifest.state_rows();
        commit::leaf_hashes(
            &self.tokens,
            n_prompt,
            self.logits_digests,
            self.state_digests,
            rows,
        )
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

/// Refuses a length above the cap; the builder asks the same question.
pub(crate) fn check_file_len(got: u64) -> Result<(), TraceError> {
    if got > MAX_FILE_BYTES {
        let max = MAX_FILE_BYTES;
        return Err(TraceError::FileTooLarge { got, max });
    }
    Ok(())
}

fn digest_at(digests: &[u8], index: usize) -> Option<Digest> {
    let start = index.checked_mul(Digest::LEN)?;
    Digest::first_of(digests.get(start..)?)
}

#[cfg(test)]
mod tests {
    use super::*;

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
