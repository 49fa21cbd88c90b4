//! How a prover says no.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a prover does not do what it was asked: the body of every answer that is no success, and the last line of a run that
/// failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// A stable word, one of [`FaultCode`] where the prover is Assay's.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

/// The words that `assay serve` uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultCode {
    /// The body is not what the route takes (400), or it names something that the run does not have.
    BadRequest,
    /// No bearer token, or a wrong one (401).
    Unauthorized,
    /// A page of an origin that is not allowed (403).
    Origin,
    /// No such route, or no such run (any more) (404).
    NotFound,
    /// Another method (405).
    Method,
    /// The body did not come in time (408), or the run took too long.
    Timeout,
    /// More than this prover takes (413).
    TooLarge,
    /// The body is not declared as JSON (415).
    MediaType,
    /// Too many requests wait (503): try again.
    Busy,
    /// Too many finished runs are kept (503): try again.
    Full,
    /// The prover is being stopped (503).
    Stopping,
    /// The device failed (500).
    Device,
    /// A bug (500).
    Internal,
}

impl FaultCode {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Origin,
        Self::NotFound,
        Self::Method,
        Self::Timeout,
        Self::TooLarge,
        Self::MediaType,
        Self::Busy,
        Self::Full,
        Self::Stopping,
        Self::Device,
        Self::Internal,
    ];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::Unauthorized => "unauthorized",
            Self::Origin => "origin",
            Self::NotFound => "not-found",
            Self::Method => "method",
            Self::Timeout => "timeout",
            Self::TooLarge => "too-large",
            Self::MediaType => "media-type",
            Self::Busy => "busy",
            Self::Full => "full",
            Self::Stopping => "stopping",
            Self::Device => "device",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Unauthorized => 401,
            Self::Origin => 403,
            Self::NotFound => 404,
            Self::Method => 405,
            Self::Timeout => 408,
            Self::TooLarge => 413,
            Self::MediaType => 415,
            Self::Busy | Self::Full | Self::Stopping => 503,
            Self::Device | Self::Internal => 500,
        }
    }
}

impl Fault {
    /// Most bytes of its JSON that a verifier reads.
    pub const MAX_BYTES: usize = 4 << 10;

    /// One of ours.
    pub fn new(code: FaultCode, message: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            message: message.into(),
        }
    }
}

/// Both fields escaped and cut: they are a stranger's.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}",
            shown(&self.code, 40),
            shown(&self.message, 240)
        )
    }
}

/// A stranger's text, fit for a terminal or a page.
pub(crate) fn shown(text: &str, max_chars: usize) -> String {
    let mut shown: String = text
        .chars()
        .take(max_chars)
        .flat_map(|c| match c {
            ' '..='~' => c.to_string().chars().collect::<Vec<_>>(),
            _ => c.escape_default().collect(),
        })
        .collect();
    if text.chars().nth(max_chars).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_serde() {
        for code in FaultCode::ALL {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.as_str()));
        }
    }

    #[test]
    fn a_strangers_text_is_escaped_and_cut() {
        let fault = Fault {
            code: "x\u{1b}[2J".to_owned(),
            message: "\u{202e}y".repeat(500),
        };
        let shown = fault.to_string();
        assert!(
            shown.bytes().all(|byte| matches!(byte, b' '..=b'~')),
            "{shown}"
        );
        assert!(shown.len() < 2500 && shown.ends_with("..."), "{shown}");
    }
}
