//! Everything that can go wrong between a verifier and a live prover, and whose fault it is.

use assay_trace::Digest;

use crate::fault::shown;
use crate::{Fault, TransportError};

/// Why there is no answer to judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeError {
    /// The receipt has another nonce, or none: it is not about this request.
    #[error("the receipt does not answer this request: it has {}", match .got {
        Some(nonce) => format!("the nonce {nonce}"),
        None => "no nonce".to_owned(),
    })]
    Nonce {
        /// What it has.
        got: Option<Digest>,
    },
    /// Another prompt.
    #[error("the receipt is for another prompt: {0}")]
    Prompt(String),
    /// Another sampler, or another rule for ends of sequences.
    #[error("the receipt is for another sampler: {0}")]
    Sampler(String),
    /// Another model than the verifier wants, or than the prover itself said.
    #[error("{0}")]
    Model(String),
    /// What should be a receipt is none.
    #[error("this is no receipt: {0}")]
    Receipt(String),
    /// The tokens that were streamed are not those committed to.
    #[error("the tokens are not those of the receipt: {0}")]
    Tokens(String),
    /// The opening is of another run than the receipt.
    #[error("the prover changed its story after the challenge: {0}")]
    Changed(String),
    /// Something other than what was asked for was opened.
    #[error("the opening is not what was asked for: {0}")]
    Opening(String),
    /// The prover would not open what it had committed to.
    #[error("the prover refused to open what it had committed to: {0}")]
    Withheld(String),
    /// The prover refused before it had committed to anything.
    #[error("the prover refused: {0}")]
    Refused(String),
    /// Too slow, or silent.
    #[error("{0}")]
    Stalled(TransportError),
    /// No connection.
    #[error("{0}")]
    Unreachable(TransportError),
    /// The connection was lost.
    #[error("{0}")]
    Cut(TransportError),
    /// What came is not this exchange.
    #[error("this is not the exchange of a live prover: {0}")]
    Protocol(String),
    /// The opening would be larger than the verifier takes.
    #[error("the opening would have up to {bytes} bytes, the limit here is {max}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The verifier's limit.
        max: u64,
    },
    /// The verifier's own request is none that this prover could take.
    #[error("the request cannot be made: {0}")]
    Request(String),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
    /// The user stopped it.
    #[error("cancelled")]
    Cancelled,
}

impl ExchangeError {
    /// The stable word, as docs/prover-api.md lists them.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Nonce { .. } => "live-nonce",
            Self::Prompt(_) => "live-prompt",
            Self::Sampler(_) => "live-sampler",
            Self::Model(_) => "live-model",
            Self::Receipt(_) => "live-receipt",
            Self::Tokens(_) => "live-tokens",
            Self::Changed(_) => "live-changed",
            Self::Opening(_) => "live-opening",
            Self::Withheld(_) => "live-withheld",
            Self::Refused(_) => "live-refused",
            Self::Stalled(_) => "live-stalled",
            Self::Unreachable(_) => "live-unreachable",
            Self::Cut(_) => "live-cut",
            Self::Protocol(_) => "live-protocol",
            Self::TooLarge { .. } => "live-too-large",
            Self::Request(_) => "live-request",
            Self::Random(_) => "live-random",
            Self::Cancelled => "live-cancelled",
        }
    }

    /// Every code, verdicts first, with whether it is one.
    pub const CODES: [(&str, bool); 18] = [
        ("live-nonce", true),
        ("live-prompt", true),
        ("live-sampler", true),
        ("live-model", true),
        ("live-receipt", true),
        ("live-tokens", true),
        ("live-changed", true),
        ("live-opening", true),
        ("live-withheld", true),
        ("live-refused", false),
        ("live-stalled", false),
        ("live-unreachable", false),
        ("live-cut", false),
        ("live-protocol", false),
        ("live-too-large", false),
        ("live-request", false),
        ("live-random", false),
        ("live-cancelled", false),
    ];

    /// Whether this is the prover's conduct, hence a rejection. All else is trouble, and no verdict.
    pub fn is_verdict(&self) -> bool {
        matches!(
            self,
            Self::Nonce { .. }
                | Self::Prompt(_)
                | Self::Sampler(_)
                | Self::Model(_)
                | Self::Receipt(_)
                | Self::Tokens(_)
                | Self::Changed(_)
                | Self::Opening(_)
                | Self::Withheld(_)
        )
    }

    /// `what` came, and is no JSON of its kind.
    pub(crate) fn protocol(what: &str, err: &serde_json::Error) -> Self {
        Self::Protocol(format!("{what}: {}", shown(&err.to_string(), 160)))
    }

    /// An answer that is no success.
    pub(crate) fn refusal(status: u16, fault: Option<&Fault>, challenged: bool) -> Self {
        match fault {
            Some(fault) if challenged => Self::Withheld(format!("{fault} (status {status})")),
            Some(fault) => Self::Refused(format!("{fault} (status {status})")),
            // Not the prover's words: a proxy's, perhaps.
            None => Self::Protocol(format!("status {status} without a reason")),
        }
    }
}

impl From<TransportError> for ExchangeError {
    fn from(err: TransportError) -> Self {
        match err {
            TransportError::Unreachable(_) => Self::Unreachable(err),
            TransportError::Cut(_) => Self::Cut(err),
            TransportError::Silent { .. } | TransportError::Slow { .. } => Self::Stalled(err),
            TransportError::Protocol(reason) => Self::Protocol(reason),
            TransportError::Cancelled => Self::Cancelled,
        }
    }
}

/// An exchange that came to nothing, with what there is of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Why.
    pub error: ExchangeError,
    /// Whether the prover knew by then what it was to open. If it did, an error counts against it: a prover that cheats in one place
    /// would rather be silent than open that place, and a verifier that simply asks again lets it.
    pub challenged: bool,
    /// The receipt's digest, if there was one.
    pub receipt: Option<Digest>,
    /// What came in place of an opening, if all of it came.
    pub opened: Vec<u8>,
}

impl Failed {
    /// Before there was a receipt.
    pub(crate) fn early(error: impl Into<ExchangeError>) -> Self {
        Self {
            error: error.into(),
            challenged: false,
            receipt: None,
            opened: Vec::new(),
        }
    }
}
