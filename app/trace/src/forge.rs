//! Forging: traces that lie consistently, for attack tests and research.
//!
//! Anyone can recompute hashes, so a verifier must catch a liar whose file is perfectly sealed. This module makes
//! such files: take a trace apart, change anything, seal it again. It deliberately checks no rule but array lengths
//! (a forged file may well be rejected as a structure error, which is then what the test asserts). No honest prover
//! needs it; use [`TraceBuilder`](crate::TraceBuilder).

use std::collections::BTreeMap;

use crate::write::Body;
use crate::{Digest, FinishedTrace, ForgeError, Manifest, Trace};

/// A trace taken apart. Every field may be changed; [`seal`](Self::seal) makes the hashes follow.
#[derive(Debug, Clone)]
pub struct EditableTrace {
    /// The claims. `seal` overwrites `opened`, `output.tokens`, `prompt.digest` and `root`.
    pub manifest: Manifest,
    /// `[T]` ids. `seal` counts those after `manifest.prompt.tokens` as output.
    pub tokens: Vec<u32>,
    /// `[output.tokens]`
    pub logits_digests: Vec<Digest>,
    /// `[P * (layers + 1)]`, position by position. `seal` overwrites those of opened layers.
    pub state_digests: Vec<Digest>,
    /// Hidden states by index, each `[P * hidden]`, position by position. Its keys become `opened`.
    pub states: BTreeMap<u32, Vec<f32>>,
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
        Self {
            manifest: trace.manifest().clone(),
            tokens: trace.tokens().to_vec(),
            logits_digests: digests(trace.logits_digests),
            state_digests: digests(trace.state_digests),
            states: trace
                .opened()
                .iter()
                .map(|&layer| (layer, trace.states(layer).unwrap_or_default()))
                .collect(),
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
        self.logits_digests.truncate(n_output);
        self.state_digests
            .truncate(positions * self.manifest.state_rows());
        let hidden = self.manifest.model.hidden as usize;
        self.states
            .values_mut()
            .for_each(|rows| rows.truncate(positions * hidden));
    }

    /// Recomputes the digests of opened rows, prompt digest, root and commitment, and writes the file.
    ///
    /// # Errors
    /// [`ForgeError::Length`] if an array does not fit the counts; then there is no file to write.
    pub fn seal(mut self) -> Result<Vec<u8>, ForgeError> {
        let (n_prompt, positions) = (self.manifest.prompt.tokens as usize, self.positions());
        let n_output = self.tokens.len().saturating_sub(n_prompt);
        let (rows, hidden) = (
            self.manifest.state_rows(),
            self.manifest.model.hidden as usize,
        );
        expect("logits_digests", self.logits_digests.len(), n_output)?;
        expect("state_digests", self.state_digests.len(), positions * rows)?;
        self.manifest.output.tokens = n_output as u32;
        self.manifest.opened = self.states.keys().copied().collect();

        let mut states = Vec::with_capacity(self.states.len());
        for (&layer, values) in &self.states {
            expect("states", values.len(), positions * hidden)?;
            let bytes = self.manifest.state_dtype.encode(values);
            let row_bytes = (hidden * self.manifest.state_dtype.bytes()).max(1);
            for (position, row) in bytes.chunks_exact(row_bytes).enumerate() {
                if let Some(digest) = self.state_digests.get_mut(position * rows + layer as usize) {
                    *digest = Digest::of(row);
                }
            }
            states.push(bytes);
        }
        let flat = |digests: &[Digest]| digests.iter().flat_map(|digest| digest.0).collect();
        let (logits_digests, state_digests) =
            (flat(&self.logits_digests), flat(&self.state_digests));
        let body = Body {
            tokens: self.tokens,
            logits_digests,
            state_digests,
            states,
        };
        Ok(FinishedTrace::seal(self.manifest, body).to_bytes())
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
