//! Everything of a trace that is not in its manifest: digests of all that was computed, and the rows that were kept.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::layout::Kind;
use crate::{Digest, Manifest};

/// The arrays of a trace. More may be kept than a file that is written from it opens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Body {
    /// [T]
    pub tokens: Vec<u32>,
    /// [output.tokens, 32]
    pub logits_digests: Vec<u8>,
    /// [P, layers + 1, 32]
    pub state_digests: Vec<u8>,
    /// [P, layers, 32]; empty without the stream `linears`.
    pub linear_digests: Vec<u8>,
    /// [P, layers, bytes of a layer's masks]; empty without the stream `masks`.
    pub masks: Vec<u8>,
    /// Hidden states that were kept: by index, [P] rows of [hidden] elements as bytes.
    pub states: BTreeMap<u32, Vec<Vec<u8>>>,
    /// Layers whose linear outputs were kept: [P] rows, each all products' outputs one after another, as bytes.
    pub linears: BTreeMap<u32, Vec<Vec<u8>>>,
    /// Logits that were kept: by output token, [vocab] elements as bytes.
    pub logits: BTreeMap<u32, Vec<u8>>,
}

impl Body {
    /// Bytes of kept rows, digests and masks.
    pub fn bytes(&self) -> u64 {
        let rows = self.states.values().chain(self.linears.values()).flatten();
        let kept: usize = rows.chain(self.logits.values()).map(Vec::len).sum();
        let digests =
            self.logits_digests.len() + self.state_digests.len() + self.linear_digests.len();
        (kept + digests + self.masks.len() + 4 * self.tokens.len()) as u64
    }

    /// Writes the data of a tensor of `manifest`. What was not kept writes nothing: callers see to it before.
    pub fn write(
        &self,
        manifest: &Manifest,
        commitment: Digest,
        kind: Kind,
        out: &mut impl Write,
    ) -> io::Result<()> {
        match kind {
            Kind::Commitment => out.write_all(&commitment.0),
            Kind::LinearDigests => out.write_all(&self.linear_digests),
            Kind::LogitsDigests => out.write_all(&self.logits_digests),
            Kind::StateDigests => out.write_all(&self.state_digests),
            Kind::Linears(layer, product) => {
                let claim = manifest.linears.as_ref();
                let range = claim.and_then(|claim| claim.range(product, manifest.linear_dtype()));
                let range = range.unwrap_or_default();
                let mut rows = self.linears.get(&layer).into_iter().flatten();
                rows.try_for_each(|row| out.write_all(row.get(range.clone()).unwrap_or_default()))
            }
            Kind::Logits => {
                let mut open = manifest.linears.iter().flat_map(|claim| &claim.logits);
                open.try_for_each(|output| {
                    out.write_all(self.logits.get(output).map_or(&[], Vec::as_slice))
                })
            }
            Kind::Masks => out.write_all(&self.masks),
            Kind::States(index) => {
                let mut rows = self.states.get(&index).into_iter().flatten();
                rows.try_for_each(|row| out.write_all(row))
            }
            Kind::Tokens => {
                let mut ids = self.tokens.iter();
                ids.try_for_each(|id| out.write_all(&id.to_le_bytes()))
            }
        }
    }
}
