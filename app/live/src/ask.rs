//! How much to look at, and the draw.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use assay_trace::{Digest, Manifest, challenge};
use serde::{Deserialize, Serialize};

use crate::OpeningRequest;

/// How many of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Amount {
    /// Every one.
    All,
    /// So many, drawn; all of them if there are fewer.
    Count(u32),
}

/// The text is no amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("want a number, or `all`")]
pub struct AmountError;

impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        match text {
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::Count).map_err(|_| AmountError),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::Count(count) => write!(f, "{count}"),
        }
    }
}

/// What a verifier will want to see of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// The layers to draw from, strictly ascending, where the verifier can judge some only; any if `None`.
    pub among: Option<Vec<u32>>,
    /// Layers whose linear outputs to open, with the hidden states before and after; of a sparse run these states alone.
    pub layers: Amount,
    /// Output tokens whose logits to open; of a sparse run none can be.
    pub logits: Amount,
}

impl Ask {
    /// Layers to open where a user says nothing.
    pub const LAYERS: Amount = Amount::Count(4);
    /// Rows of logits, likewise.
    pub const LOGITS: Amount = Amount::Count(16);

    /// Draws. `seed` must be random, and must not have existed when the receipt was given. Hidden state 0 is always part of it:
    /// it ties a trace to its tokens. A run without linear outputs (sparse MLPs) has hidden states alone: those before and after each
    /// layer that is drawn.
    pub fn draw(&self, receipt: &Manifest, seed: [u8; 32]) -> OpeningRequest {
        let count = |amount, of: u32| match amount {
            Amount::All => of,
            Amount::Count(count) => count.min(of),
        };
        let (layers, outputs) = (receipt.model.layers, receipt.output.tokens);
        // The format's expander of a digest into a draw: here the digest is a secret of the verifier's.
        let seed = Digest(seed);
        let among: Vec<u32> = match &self.among {
            Some(list) => list.iter().copied().filter(|l| *l < layers).collect(),
            None => (0..layers).collect(),
        };
        let of = u32::try_from(among.len()).unwrap_or(u32::MAX);
        let drawn = challenge::draw_layers(seed, None, count(self.layers, of), of);
        let layers = drawn.iter().filter_map(|index| among.get(*index as usize));
        if receipt.linears.is_none() {
            let around = layers.flat_map(|layer| [*layer, layer.saturating_add(1)]);
            let states: BTreeSet<u32> = around.chain([0]).collect();
            return OpeningRequest {
                states: states.into_iter().collect(),
                layers: Vec::new(),
                logits: Vec::new(),
            };
        }
        OpeningRequest {
            states: vec![0],
            layers: layers.copied().collect(),
            logits: challenge::draw_logits(seed, None, count(self.logits, outputs), outputs),
        }
    }
}
