//! What a verifier asks to see of a run, once it has the receipt.

use std::collections::BTreeSet;

use assay_trace::{Manifest, Opening};
use serde::{Deserialize, Serialize};

/// The body of POST [`OPENING`](crate::routes::OPENING): three lists, each strictly ascending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpeningRequest {
    /// Hidden states, besides those that layers and logits call for.
    pub states: Vec<u32>,
    /// Layers whose linear outputs to open. Empty of a run that does not commit to them.
    pub layers: Vec<u32>,
    /// Output tokens whose logits to open, likewise.
    pub logits: Vec<u32>,
}

impl OpeningRequest {
    /// Most bytes of its JSON, for a run with so many layers and output tokens.
    pub fn max_bytes(layers: u32, outputs: u32) -> usize {
        (2 * layers as usize + outputs as usize + 1) * 11 + 128
    }

    /// Whether hidden states are all that it asks for, which is all that a sparse run has to open.
    pub fn is_of_states(&self) -> bool {
        self.states.len() > 1 && self.layers.is_empty() && self.logits.is_empty()
    }

    /// The manifest of the trace that answers it, of a run with this receipt.
    pub fn manifest(&self, receipt: &Manifest) -> Manifest {
        let mut manifest = receipt.clone();
        let mut opened: BTreeSet<u32> = self.states.iter().copied().collect();
        opened.extend(
            self.layers
                .iter()
                .flat_map(|&layer| [layer, layer.saturating_add(1)]),
        );
        opened.extend((!self.logits.is_empty()).then_some(receipt.model.layers));
        manifest.opened = opened.into_iter().collect();
        if let Some(claim) = &mut manifest.linears {
            claim.layers.clone_from(&self.layers);
            claim.logits.clone_from(&self.logits);
        }
        manifest
    }
}

impl From<OpeningRequest> for Opening {
    fn from(request: OpeningRequest) -> Self {
        Self {
            challenge: assay_trace::Challenge::Interactive,
            states: request.states,
            layers: request.layers,
            logits: request.logits,
        }
    }
}
