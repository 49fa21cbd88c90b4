//! Forging: traces that lie consistently, for attack tests and research.
//!
//! Anyone can recompute hashes, so a verifier must catch a liar whose file is perfectly sealed. This module makes
//! such files: take a trace apart, change anything, seal it again. It deliberately checks no rule but array lengths
//! (a forged file may well be rejected as a structure error, which is then what the test asserts). No honest prover
//! needs it; use [`TraceBuilder`](crate::TraceBuilder).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::body::Body;
use crate::commit::{self, LOGITS_DTYPE};
use crate::dtype::LinearDtype;
use crate::manifest::streams;
use crate::{Digest, FinishedTrace, ForgeError, Linear, LinearsClaim, Manifest, MaskName, Trace};

/// A trace taken apart. Every field may be changed; [`seal`](Self::seal) makes the hashes follow.
#[derive(Debug, Clone)]
pub struct EditableTrace {
    /// The claims. `seal` overwrites `opened`, `linears.layers`, `linears.logits`, `output.tokens`, `prompt.digest` and
    /// `root`. It leaves `linears.challenge` alone: with `offline`, another root draws others, so that a lie that is to
    /// pass says `chosen`, or [`open`](crate::SealedTrace::open)s anew.
    pub manifest: Manifest,
    /// `[T]` ids. `seal` counts those after `manifest.prompt.tokens` as output.
    pub tokens: Vec<u32>,
    /// `[output.tokens]`. `seal` overwrites those of open rows.
    pub logits_digests: Vec<Digest>,
    /// `[P * (layers + 1)]`, position by position. `seal` overwrites those of opened layers.
    pub state_digests: Vec<Digest>,
    /// `[P * layers]`, position by position; empty without the stream `linears`. `seal` overwrites those of open
    /// layers.
    pub linear_digests: Vec<Digest>,
    /// Hidden states by index, each `[P * hidden]`, position by position. Its keys become `opened`.
    pub states: BTreeMap<u32, Vec<f32>>,
    /// Linear outputs by layer and product, each `[P * width]`, position by position. Its layers become
    /// `linears.layers`, each of which must have all products of `manifest.linears`. Empty without the stream.
    pub linears: BTreeMap<(u32, Linear), Vec<f32>>,
    /// In place of `linears`, where the manifest says that products are integers: their sums.
    pub sums: BTreeMap<(u32, Linear), Vec<i64>>,
    /// Logits by output token, each `[vocab]`. Its keys become `linears.logits`. Empty without the stream `linears`.
    pub logits: BTreeMap<u32, Vec<f32>>,
    /// `[P, layers, bytes]` as in the file, with [`SparseClaim::layer_bytes`](crate::SparseClaim::layer_bytes) each.
    /// Empty without the stream `masks`.
    pub masks: Vec<u8>,
}

impl EditableTrace {
    /// Copies everything out of a trace.
    pub fn from_trace(trace: &Trace<'_>) -> Self {
        let digests = |bytes: &[u8]| {
            bytes
                .chunks_exact(Digest::LEN)
                .filter_map(Digest::first_of)
                .collect()
        };
        let dtype = trace.manifest().state_dtype;
        let open = trace.linears().map_or(&[][..], |claim| &claim.logits);
        Self {
            manifest: trace.manifest().clone(),
            tokens: trace.tokens().to_vec(),
            logits_digests: digests(trace.logits_digests),
            state_digests: digests(trace.state_digests),
            linear_digests: digests(trace.linear_digests),
            states: trace
                .states
                .iter()
                .map(|(&layer, bytes)| (layer, dtype.decode(bytes)))
                .collect(),
            linears: (trace.linears.iter())
                .filter(|_| !trace.manifest.has_sums())
                .map(|(&at, bytes)| (at, dtype.decode(bytes)))
                .collect(),
            sums: (trace.linears.iter())
                .filter_map(|(&at, bytes)| Some((at, trace.manifest.sum_dtype()?.decode(bytes))))
                .collect(),
            logits: open
                .iter()
                .enumerate()
                .map(|(i, &output)| (output, trace.logits_row(i).unwrap_or_default()))
                .collect(),
            masks: trace.masks.to_vec(),
        }
    }

    /// P, from the tokens as they are now.
    pub fn positions(&self) -> usize {
        self.tokens.len().saturating_sub(1)
    }

    /// Drops everything after the first `n_output` emitted tokens (at least 1), as a prover that stopped early would.
    pub fn truncate_output(&mut self, n_output: usize) {
        let n_tokens = self.manifest.prompt.tokens as usize + n_output;
        self.tokens.truncate(n_tokens);
        let positions = self.positions();
        let layers = self.manifest.model.layers as usize;
        self.logits_digests.truncate(n_output);
        self.state_digests
            .truncate(positions * self.manifest.state_rows());
        self.linear_digests.truncate(positions * layers);
        let hidden = self.manifest.model.hidden as usize;
        self.states
            .values_mut()
            .for_each(|rows| rows.truncate(positions * hidden));
        for product in self.manifest.linears.iter().flat_map(|c| &c.products) {
            for (_, rows) in
                (self.linears.iter_mut()).filter(|((_, name), _)| *name == product.name)
            {
                rows.truncate(positions * product.width as usize);
            }
            for (_, rows) in (self.sums.iter_mut()).filter(|((_, name), _)| *name == product.name) {
                rows.truncate(positions * product.width as usize);
            }
        }
        self.logits
            .retain(|&output, _| (output as usize) < n_output);
        self.masks
            .truncate(positions.saturating_mul(self.position_mask_bytes()));
    }

    /// Drops the stream `linears` and all that belongs to it, as a prover that hides it would.
    pub fn remove_linears(&mut self) {
        self.manifest.linears = None;
        self.manifest.streams = streams(false, self.manifest.sparse.is_some());
        self.linear_digests.clear();
        self.linears.clear();
        self.sums.clear();
        self.logits.clear();
    }

    /// Drops the stream `masks` and all that belongs to it, as a sparse prover that says it is dense would.
    pub fn remove_masks(&mut self) {
        self.manifest.sparse = None;
        self.manifest.streams = streams(self.manifest.linears.is_some(), false);
        self.masks.clear();
    }

    /// Says that unit `index` of a mask is active, or that it is not, and returns what was said before. `None` if there
    /// is no such bit; then nothing changes. Bits beyond the width can be set too, up to the byte's end.
    pub fn set_mask_bit(
        &mut self,
        position: usize,
        layer: u32,
        mask: MaskName,
        index: u32,
        active: bool,
    ) -> Option<bool> {
        let claim = self.manifest.sparse.as_ref()?;
        let (range, layers) = (claim.range(mask)?, self.manifest.model.layers);
        let at = range.start.checked_add(index as usize / 8)?;
        if layer >= layers || at >= range.end {
            return None;
        }
        let row = position.checked_mul(layers as usize)?;
        let row = row.checked_add(layer as usize)?;
        let at = row.checked_mul(claim.layer_bytes())?.checked_add(at)?;
        let (byte, bit) = (self.masks.get_mut(at)?, 1 << (index % 8));
        let was = *byte & bit != 0;
        *byte = if active { *byte | bit } else { *byte & !bit };
        Some(was)
    }

    /// Bytes of masks that the manifest calls for at each position.
    fn position_mask_bytes(&self) -> usize {
        let layers = self.manifest.model.layers as usize;
        let sparse = self.manifest.sparse.as_ref();
        sparse.map_or(0, |claim| layers.saturating_mul(claim.layer_bytes()))
    }

    /// Recomputes the digests of opened rows, prompt digest, root and commitment, and writes the file.
    ///
    /// # Errors
    /// [`ForgeError::Length`] if an array does not fit the counts; then there is no file to write.
    pub fn seal(mut self) -> Result<Vec<u8>, ForgeError> {
        let (n_prompt, positions) = (self.manifest.prompt.tokens as usize, self.positions());
        let n_output = self.tokens.len().saturating_sub(n_prompt);
        let rows = self.manifest.state_rows();
        expect("logits_digests", self.logits_digests.len(), n_output)?;
        expect("state_digests", self.state_digests.len(), positions * rows)?;
        let mask_bytes = positions.saturating_mul(self.position_mask_bytes());
        expect("masks", self.masks.len(), mask_bytes)?;
        self.manifest.output.tokens = n_output as u32;

        let states = self.seal_states()?;
        let linears = self.seal_linears()?;
        let logits = self.seal_logits()?;
        let flat = |digests: &[Digest]| digests.iter().flat_map(|digest| digest.0).collect();
        let body = Body {
            logits_digests: flat(&self.logits_digests),
            state_digests: flat(&self.state_digests),
            linear_digests: flat(&self.linear_digests),
            masks: self.masks,
            tokens: self.tokens,
            states,
            linears,
            logits,
        };
        commit::bind(&mut self.manifest, &body);
        Ok(FinishedTrace::new(self.manifest, Arc::new(body)).to_bytes())
    }

    /// Encodes the opened hidden states; their digests follow.
    fn seal_states(&mut self) -> Result<BTreeMap<u32, Vec<Vec<u8>>>, ForgeError> {
        let (positions, rows) = (self.positions(), self.manifest.state_rows());
        let hidden = self.manifest.model.hidden as usize;
        let dtype = self.manifest.state_dtype;
        self.manifest.opened = self.states.keys().copied().collect();
        let mut sealed = BTreeMap::new();
        for (&index, values) in &self.states {
            expect("states", values.len(), positions * hidden)?;
            let encoded = values.chunks_exact(hidden.max(1));
            let encoded: Vec<Vec<u8>> = encoded.map(|row| dtype.encode(row)).collect();
            rehash(&mut self.state_digests, rows, index, &encoded);
            sealed.insert(index, encoded);
        }
        Ok(sealed)
    }

    /// Encodes the open layers' linear outputs; their digests follow.
    fn seal_linears(&mut self) -> Result<BTreeMap<u32, Vec<Vec<u8>>>, ForgeError> {
        let layers = self.manifest.model.layers as usize;
        let positions = self.positions();
        let dtype = self.manifest.linear_dtype();
        let Some(claim) = &mut self.manifest.linears else {
            expect("linear_digests", self.linear_digests.len(), 0)?;
            expect("linears", self.linears.len() + self.sums.len(), 0)?;
            return Ok(BTreeMap::new());
        };
        expect(
            "linear_digests",
            self.linear_digests.len(),
            positions * layers,
        )?;
        let kept = self.linears.keys().chain(self.sums.keys());
        claim.layers = kept.map(|&(layer, _)| layer).collect();
        claim.layers.dedup();
        let all = claim.layers.len() * claim.products.len();
        expect("linears", self.linears.len() + self.sums.len(), all)?;
        let mut sealed = BTreeMap::new();
        for &layer in &claim.layers {
            let encoded = match dtype {
                LinearDtype::Values(dtype) => {
                    let encode = |row: &[f32], bytes: &mut Vec<u8>| dtype.encode_onto(row, bytes);
                    encode_layer(&self.linears, claim, layer, positions, encode)?
                }
                LinearDtype::Sums(dtype) => {
                    let encode = |row: &[i64], bytes: &mut Vec<u8>| dtype.encode_onto(row, bytes);
                    encode_layer(&self.sums, claim, layer, positions, encode)?
                }
            };
            rehash(&mut self.linear_digests, layers, layer, &encoded);
            sealed.insert(layer, encoded);
        }
        Ok(sealed)
    }

    /// Encodes the open logits; their digests follow.
    fn seal_logits(&mut self) -> Result<BTreeMap<u32, Vec<u8>>, ForgeError> {
        let Some(claim) = &mut self.manifest.linears else {
            expect("logits", self.logits.len(), 0)?;
            return Ok(BTreeMap::new());
        };
        claim.logits = self.logits.keys().copied().collect();
        let mut sealed = BTreeMap::new();
        for (&output, values) in &self.logits {
            expect("logits", values.len(), self.manifest.model.vocab as usize)?;
            let encoded = LOGITS_DTYPE.encode(values);
            if let Some(digest) = self.logits_digests.get_mut(output as usize) {
                *digest = Digest::of(&encoded);
            }
            sealed.insert(output, encoded);
        }
        Ok(sealed)
    }
}

/// One row a position: all products' outputs one after another.
fn encode_layer<T>(
    linears: &BTreeMap<(u32, Linear), Vec<T>>,
    claim: &LinearsClaim,
    layer: u32,
    positions: usize,
    encode: impl Fn(&[T], &mut Vec<u8>),
) -> Result<Vec<Vec<u8>>, ForgeError> {
    let mut encoded = vec![Vec::new(); positions];
    for product in &claim.products {
        let values = linears
            .get(&(layer, product.name))
            .map_or(&[][..], Vec::as_slice);
        let width = product.width as usize;
        expect("linears", values.len(), positions * width)?;
        for (bytes, row) in encoded.iter_mut().zip(values.chunks_exact(width.max(1))) {
            encode(row, bytes);
        }
    }
    Ok(encoded)
}

/// Puts the digests of `rows`, one a position, where column `index` of `count` has them.
fn rehash(digests: &mut [Digest], count: usize, index: u32, rows: &[Vec<u8>]) {
    for (position, row) in rows.iter().enumerate() {
        if let Some(digest) = digests.get_mut(position * count + index as usize) {
            *digest = Digest::of(row);
        }
    }
}

/// Takes `bytes` apart, lets `edit` lie, and seals the result.
///
/// # Errors
/// [`ForgeError::Structure`] if `bytes` is no trace, [`ForgeError::Length`] if the edit left arrays that do not fit.
pub fn reroot(bytes: &[u8], edit: impl FnOnce(&mut EditableTrace)) -> Result<Vec<u8>, ForgeError> {
    let mut editable = EditableTrace::from_trace(&Trace::parse(bytes)?);
    edit(&mut editable);
    editable.seal()
}

fn expect(array: &'static str, got: usize, want: usize) -> Result<(), ForgeError> {
    if got == want {
        Ok(())
    } else {
        Err(ForgeError::Length { array, got, want })
    }
}
