//! What a prover did wrong: one variant a cause.

use crate::{Challenge, Linear, MaskName, TraceError};

/// A prover handed the builder something that no valid trace could hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// The finished file would be rejected by every reader.
    #[error(transparent)]
    Structure(#[from] TraceError),
    /// A pushed token contradicts the prompt.
    #[error("position {position} has token {got}, but the prompt has {want}")]
    PromptToken {
        /// Position.
        position: usize,
        /// The pushed token.
        got: u32,
        /// The prompt's.
        want: u32,
    },
    /// A position has too few or too many hidden states.
    #[error("position {position} has {got} hidden states, want {want}")]
    StateCount {
        /// Position.
        position: usize,
        /// Rows given.
        got: usize,
        /// layers + 1.
        want: usize,
    },
    /// A hidden state has the wrong width.
    #[error("hidden state {layer} at position {position} has {got} channels, want {want}")]
    StateWidth {
        /// Index of the hidden state.
        layer: usize,
        /// Position.
        position: usize,
        /// Channels given.
        got: usize,
        /// Width of the residual stream.
        want: usize,
    },
    /// A hidden state is, or became by rounding to the state dtype, infinite or NaN.
    #[error("hidden state {layer} is not finite at position {position}, channel {channel}")]
    NonFiniteState {
        /// Index of the hidden state.
        layer: usize,
        /// Position.
        position: usize,
        /// Channel.
        channel: usize,
    },
    /// A position has the linear outputs of too few or too many layers.
    #[error("position {position} has linear outputs of {got} layers, want {want}")]
    LinearCount {
        /// Position.
        position: usize,
        /// Layers given.
        got: usize,
        /// Layers of the model; 0 without the stream `linears`.
        want: usize,
    },
    /// A layer has too few or too many linear outputs.
    #[error("layer {layer} has {got} linear outputs at position {position}, want {want}")]
    ProductCount {
        /// The layer.
        layer: usize,
        /// Position.
        position: usize,
        /// Rows given.
        got: usize,
        /// Length of the spec's product list.
        want: usize,
    },
    /// A linear output has the wrong width.
    #[error(
        "output of `{product}` in layer {layer} at position {position} has {got} channels, want {want}"
    )]
    LinearWidth {
        /// The layer.
        layer: usize,
        /// The product.
        product: Linear,
        /// Position.
        position: usize,
        /// Channels given.
        got: usize,
        /// The spec's width.
        want: usize,
    },
    /// A linear output is, or became by rounding to the state dtype, infinite or NaN.
    #[error(
        "output of `{product}` in layer {layer} is not finite, or a sum that its type does not hold, at position {position}, channel {channel}"
    )]
    NonFiniteLinear {
        /// The layer.
        layer: usize,
        /// The product.
        product: Linear,
        /// Position.
        position: usize,
        /// Channel.
        channel: usize,
    },
    /// A position has too few or too many bytes of masks.
    #[error("position {position} has {got} bytes of masks, want {want}")]
    MaskBytes {
        /// Position.
        position: usize,
        /// Bytes given.
        got: usize,
        /// Layers times bytes of a layer's masks; 0 without the stream `masks`.
        want: usize,
    },
    /// A mask has a bit that stands for no unit.
    #[error("mask `{mask}` of layer {layer} at position {position} has a bit beyond its width")]
    StrayMaskBit {
        /// Position.
        position: usize,
        /// The layer.
        layer: usize,
        /// Which mask.
        mask: MaskName,
    },
    /// A position whose next token was generated came without logits.
    #[error("position {position} needs logits: its next token is an output")]
    MissingLogits {
        /// Position.
        position: usize,
    },
    /// A position inside the prompt came with logits.
    #[error("position {position} must not have logits: its next token is part of the prompt")]
    UnexpectedLogits {
        /// Position.
        position: usize,
    },
    /// The logits have the wrong length.
    #[error("logits at position {position} have {got} entries, want {want}")]
    LogitsWidth {
        /// Position.
        position: usize,
        /// Entries given.
        got: usize,
        /// Vocabulary entries.
        want: usize,
    },
    /// A logit is infinite or NaN.
    #[error("logits are not finite at position {position}, token {token}")]
    NonFiniteLogits {
        /// Position.
        position: usize,
        /// Token id.
        token: usize,
    },
    /// A record was computed by another builder's plan.
    #[error("record of position {position} was computed by the plan of another trace")]
    RecordMismatch {
        /// Position.
        position: usize,
    },
    /// A record was computed for another position than the next.
    #[error("record is of position {got}, but the next is {position}")]
    RecordPosition {
        /// The next position.
        position: usize,
        /// The record's.
        got: u32,
    },
    /// `seal` or `finish` came before the prompt was complete.
    #[error("only {got} positions were pushed, want at least the prompt's {want}")]
    Unfinished {
        /// Positions pushed.
        got: usize,
        /// Prompt tokens.
        want: usize,
    },
    /// Linear outputs or logits are to be opened in a trace that does not commit to them.
    #[error("trace has no stream `linears`, so no layer and no logits can be opened")]
    NoLinears,
    /// What is to be opened was not retained.
    #[error("{what} {index} cannot be opened: it was not kept")]
    NotKept {
        /// `hidden state`, `layer` or `output token`.
        what: &'static str,
        /// Which one.
        index: u32,
    },
    /// What is to be opened is not what its challenge calls for.
    #[error("{list} to open are not those that the challenge `{challenge}` calls for")]
    Challenge {
        /// The challenge.
        challenge: Challenge,
        /// `layers` or `logits`.
        list: &'static str,
    },
}
