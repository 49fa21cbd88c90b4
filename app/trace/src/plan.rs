//! What a prover keeps of each position until it knows what to open.

use std::sync::Arc;

use crate::dtype::LinearDtype;
use crate::{ProductClaim, SparseClaim, StateDtype};

/// What linear outputs a trace commits to, and what is retained until it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinearsSpec {
    /// The products of every layer, in order, as in [`LinearsClaim::products`](crate::LinearsClaim::products).
    pub products: Vec<ProductClaim>,
    /// What to retain.
    pub keep: Keep,
}

/// What to retain of linear outputs, hidden states and logits. All of it is in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keep {
    /// Every layer, all hidden states and all rows of logits: for a challenge that comes later.
    Everything,
    /// What is known in advance to be opened.
    Only {
        /// Layers, ascending. The hidden states around them are kept too, besides `TraceSpec::opened`.
        layers: Vec<u32>,
        /// Output tokens whose logits to keep, ascending; the last hidden state is kept too. Those that are never
        /// generated are dropped.
        logits: Vec<u32>,
    },
}

/// How a builder's positions are computed: sizes, and what to keep. Cheap to clone; works on any thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordPlan(pub(crate) Arc<Plan>);

/// The inside of a [`RecordPlan`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub state_dtype: StateDtype,
    pub linear_dtype: LinearDtype,
    pub hidden: usize,
    pub layers: usize,
    pub vocab: usize,
    /// Prompt tokens, at least 1.
    pub n_prompt: usize,
    /// `None` without the stream `linears`.
    pub products: Option<Vec<ProductClaim>>,
    /// `None` without the stream `masks`.
    pub sparse: Option<SparseClaim>,
    /// Hidden states to keep, ascending.
    pub states: Vec<u32>,
    /// Layers whose linear outputs to keep, ascending.
    pub linears: Vec<u32>,
    pub logits: KeptLogits,
}

/// Output tokens whose logits to keep.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KeptLogits {
    All,
    /// Ascending.
    Only(Vec<u32>),
}

impl KeptLogits {
    pub fn has(&self, output: u32) -> bool {
        match self {
            Self::All => true,
            Self::Only(list) => list.binary_search(&output).is_ok(),
        }
    }
}
