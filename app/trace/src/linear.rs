//! The stream `linears` in the manifest: which products a layer has, and which of their outputs are in the file.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dtype::LinearDtype;

/// A linear product y = W x of a decoder layer, in the order in which a forward pass computes them. A row of it is
/// what the product put out at one position: before any bias, before the rotation of positions (`Q`, `K`), before the
/// residual is added (`O`, `Down`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Linear {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// From attention back to the residual stream.
    O,
    /// What the MLP's activation is applied to, in models whose MLP has a gate.
    Gate,
    /// Into the MLP.
    Up,
    /// From the MLP back to the residual stream.
    Down,
}

impl Linear {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// The word in the manifest and in tensor names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::O => "o",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
        }
    }

    /// Whether a model may lack it: an MLP without a gate is one.
    pub(crate) fn is_optional(self) -> bool {
        self == Self::Gate
    }

    /// Whether its output is added to the residual stream, hence as wide.
    pub(crate) fn ends_in_residual(self) -> bool {
        matches!(self, Self::O | Self::Down)
    }
}

impl fmt::Display for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who picked what is open. The word says how; whether it is true of `interactive` and `chosen`, no file can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Challenge {
    /// Nobody: every layer and every output token's logits are open.
    All,
    /// The prover. Nothing follows for what is not open.
    #[default]
    Chosen,
    /// A verifier, after it had the [receipt](crate::Manifest::receipt).
    Interactive,
    /// The root, by [`challenge`](crate::challenge). A prover can try roots until the draw suits it.
    Offline,
}

impl Challenge {
    /// The word in the manifest.
    pub fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Chosen => "chosen",
            Self::Interactive => "interactive",
            Self::Offline => "offline",
        }
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A product that the model's layers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProductClaim {
    /// Which.
    pub name: Linear,
    /// Channels of its output, 1 to [`MAX_PRODUCT_WIDTH`](crate::limits::MAX_PRODUCT_WIDTH).
    pub width: u32,
}

/// What the trace says of linear outputs: all are committed to, some are in the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearsClaim {
    /// Who picked the two lists below.
    pub challenge: Challenge,
    /// Layers (0..layers) whose linear outputs are in the file, ascending.
    pub layers: Vec<u32>,
    /// Output tokens (0..`output.tokens`) whose logits are in the file, ascending.
    pub logits: Vec<u32>,
    /// The products of every layer, in order; all but `gate` must be there.
    pub products: Vec<ProductClaim>,
}

impl LinearsClaim {
    /// Where `product` stands, in bytes, in a row of all products' outputs one after another; `None` if it is not
    /// listed.
    pub(crate) fn range(&self, product: Linear, dtype: LinearDtype) -> Option<Range<usize>> {
        let bytes = |claim: &ProductClaim| claim.width as usize * dtype.bytes();
        let index = self
            .products
            .iter()
            .position(|claim| claim.name == product)?;
        let (before, rest) = self.products.split_at(index);
        let start = before.iter().map(bytes).sum();
        Some(start..start + rest.first().map_or(0, bytes))
    }
}
