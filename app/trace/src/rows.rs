//! Digests, opened rows and masks of a trace, by position.

use crate::commit::LOGITS_DTYPE;
use crate::{Digest, Linear, LinearsClaim, MaskName, SparseClaim, Trace};

impl<'a> Trace<'a> {
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
        row(self.raw_states(layer)?, self.positions(), position)
    }

    /// An opened row as f32, `[hidden]`; `None` as for [`raw_state_row`](Self::raw_state_row).
    pub fn state_row(&self, layer: u32, position: usize) -> Option<Vec<f32>> {
        Some(self.decode(self.raw_state_row(layer, position)?))
    }

    /// The stored bytes of a hidden state at all positions, `[P, hidden]`; `None` if `layer` is not opened.
    pub fn raw_states(&self, layer: u32) -> Option<&'a [u8]> {
        self.states.get(&layer).copied()
    }

    /// A hidden state at all positions as f32, `[P * hidden]`, position by position; `None` if `layer` is not opened.
    pub fn states(&self, layer: u32) -> Option<Vec<f32>> {
        Some(self.decode(self.raw_states(layer)?))
    }

    /// What the trace says of linear outputs; `None` without that stream.
    pub fn linears(&self) -> Option<&LinearsClaim> {
        self.manifest.linears.as_ref()
    }

    /// Committed digest of the linear outputs of `layer` (0..layers) at `position`; [`Digest::ZERO`] outside the trace
    /// or without the stream.
    pub fn linear_digest(&self, layer: u32, position: usize) -> Digest {
        let (layer, layers) = (layer as usize, self.manifest.model.layers as usize);
        if layer >= layers || position >= self.positions() {
            return Digest::ZERO;
        }
        digest_at(self.linear_digests, position * layers + layer).unwrap_or_default()
    }

    /// The stored bytes of what a product put out at all positions, `[P, width]` in the state dtype, or as
    /// `I32` or `I64` where they are integer sums; `None` if `layer` is not open or has no such product.
    pub fn raw_linears(&self, layer: u32, linear: Linear) -> Option<&'a [u8]> {
        self.linears.get(&(layer, linear)).copied()
    }

    /// The stored bytes of what a product put out at `position`, `[width]` elements; `None` as for
    /// [`raw_linears`](Self::raw_linears) or if `position` is outside the trace.
    pub fn raw_linear_row(&self, layer: u32, linear: Linear, position: usize) -> Option<&'a [u8]> {
        row(self.raw_linears(layer, linear)?, self.positions(), position)
    }

    /// What a product put out at `position` as f32, `[width]`; `None` as for
    /// [`raw_linear_row`](Self::raw_linear_row), and where they are integer sums.
    pub fn linear_row(&self, layer: u32, linear: Linear, position: usize) -> Option<Vec<f32>> {
        let row = self.raw_linear_row(layer, linear, position)?;
        (!self.manifest.has_sums()).then(|| self.decode(row))
    }

    /// The integer sums of a product at `position`, `[width]`; `None` as for [`raw_linear_row`](Self::raw_linear_row),
    /// and where they are values.
    pub fn linear_sums(&self, layer: u32, linear: Linear, position: usize) -> Option<Vec<i64>> {
        let row = self.raw_linear_row(layer, linear, position)?;
        Some(self.manifest.sum_dtype()?.decode(row))
    }

    /// What a product put out at all positions as f32, `[P * width]`, position by position; `None` as for
    /// [`raw_linears`](Self::raw_linears), and where they are integer sums.
    pub fn linear_values(&self, layer: u32, linear: Linear) -> Option<Vec<f32>> {
        let rows = self.raw_linears(layer, linear)?;
        (!self.manifest.has_sums()).then(|| self.decode(rows))
    }

    /// The stored bytes of row `i` of the open logits, `[vocab]` as f32: those of output token `linears.logits[i]`.
    pub fn raw_logits_row(&self, i: usize) -> Option<&'a [u8]> {
        row(self.logits, self.linears()?.logits.len(), i)
    }

    /// Row `i` of the open logits, `[vocab]`: those of output token `linears.logits[i]`.
    pub fn logits_row(&self, i: usize) -> Option<Vec<f32>> {
        Some(LOGITS_DTYPE.decode(self.raw_logits_row(i)?))
    }

    /// What the trace says of sparse MLPs; `None` if it claims to be dense.
    pub fn sparse(&self) -> Option<&SparseClaim> {
        self.manifest.sparse.as_ref()
    }

    /// The masks of all layers at `position`, `[layers, bytes]` with [`SparseClaim::layer_bytes`] each; `None` without
    /// the stream or outside the trace.
    pub fn position_masks(&self, position: usize) -> Option<&'a [u8]> {
        self.sparse()?;
        row(self.masks, self.positions(), position)
    }

    /// The masks of `layer` (0..layers) at `position`, one after another, [`SparseClaim::layer_bytes`] in all; `None`
    /// as for [`position_masks`](Self::position_masks).
    pub fn masks(&self, position: usize, layer: u32) -> Option<&'a [u8]> {
        let layers = self.manifest.model.layers as usize;
        row(self.position_masks(position)?, layers, layer as usize)
    }

    /// One mask of `layer` at all positions, `[P, ceil(width / 8)]`; bit i of a row is bit i mod 8 of its byte i / 8,
    /// and those beyond the width are zero. `None` without the stream, without that mask, or outside the trace.
    pub fn layer_masks(&self, layer: u32, mask: MaskName) -> Option<Vec<u8>> {
        let range = self.sparse()?.range(mask)?;
        let mut rows = Vec::with_capacity(self.positions() * range.len()); // at most the file's own bytes
        for position in 0..self.positions() {
            rows.extend_from_slice(self.masks(position, layer)?.get(range.clone())?);
        }
        Some(rows)
    }

    fn decode(&self, bytes: &[u8]) -> Vec<f32> {
        self.manifest.state_dtype.decode(bytes)
    }
}

/// Row `index` of a tensor of `count` rows that are not empty; `None` outside it.
fn row(tensor: &[u8], count: usize, index: usize) -> Option<&[u8]> {
    let bytes = tensor.len().checked_div(count)?;
    tensor.chunks_exact(bytes.max(1)).nth(index)
}

fn digest_at(digests: &[u8], index: usize) -> Option<Digest> {
    let start = index.checked_mul(Digest::LEN)?;
    Digest::first_of(digests.get(start..)?)
}
