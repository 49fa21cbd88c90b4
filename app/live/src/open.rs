//! Last part: take the opening, and hold it against the receipt.

use assay_trace::{Digest, Manifest, Trace};

use crate::size::max_file_bytes;
use crate::{ExchangeError, OpeningRequest, RunId};

/// A run that is to be opened.
#[derive(Debug)]
pub struct Challenged {
    id: RunId,
    receipt: Manifest,
    tokens: Vec<u32>,
    request: OpeningRequest,
    expected: Manifest,
    max_bytes: u64,
}

/// A trace that answers this request and this challenge. Nothing in it has been judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The file.
    pub trace: Vec<u8>,
    /// The nonce that it answers: the verifier's own.
    pub nonce: [u8; 32],
    /// Digest of the receipt.
    pub receipt: Digest,
    /// Prompt, then output.
    pub tokens: Vec<u32>,
    /// What was drawn, and is open.
    pub opening: OpeningRequest,
}

impl Challenged {
    pub(crate) fn new(
        id: RunId,
        receipt: Manifest,
        tokens: Vec<u32>,
        request: OpeningRequest,
        max: u64,
    ) -> Result<Self, ExchangeError> {
        let expected = request.manifest(&receipt);
        let max_bytes = max_file_bytes(&expected);
        if max_bytes > max {
            let bytes = max_bytes;
            return Err(ExchangeError::TooLarge { bytes, max });
        }
        Ok(Self {
            id,
            receipt,
            tokens,
            request,
            expected,
            max_bytes,
        })
    }

    /// The run.
    pub fn id(&self) -> RunId {
        self.id
    }

    /// What to send.
    pub fn request(&self) -> &OpeningRequest {
        &self.request
    }

    /// Digest of the receipt.
    pub fn receipt_digest(&self) -> Digest {
        self.receipt.commitment()
    }

    /// More than an honest opening can have.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The error for an opening with more bytes than that.
    pub fn too_long(&self) -> ExchangeError {
        let max = self.max_bytes;
        ExchangeError::Opening(format!(
            "it has more than the {max} bytes that it could have"
        ))
    }

    /// Whether `trace` is of the run that the receipt is of, and opens what was asked for and nothing else.
    ///
    /// Its hashes are for the verifier to check, which it does first.
    ///
    /// # Errors
    /// [`ExchangeError::Opening`] or [`ExchangeError::Changed`].
    pub fn check(&self, trace: &[u8]) -> Result<(), ExchangeError> {
        let trace = Trace::parse(trace)
            .map_err(|err| ExchangeError::Opening(format!("it is no trace: {err}")))?;
        let got = trace.manifest();
        let changed = |what: &str| Err(ExchangeError::Changed(what.to_owned()));
        match got.receipt() {
            Some(receipt) if receipt == self.receipt => {}
            Some(receipt) => return changed(&difference(&self.receipt, &receipt)),
            None => return changed("the trace does not commit to what the receipt does"),
        }
        if trace.tokens() != self.tokens {
            return changed("it has other tokens");
        }
        if *got == self.expected {
            return Ok(());
        }
        let (want, got) = (&self.expected, got);
        let (want_linears, got_linears) = (want.linears.as_ref(), got.linears.as_ref());
        let what = if want_linears.map(|l| l.challenge) != got_linears.map(|l| l.challenge) {
            "it says that somebody else picked what is open".to_owned()
        } else if want_linears.map(|l| &l.layers) != got_linears.map(|l| &l.layers) {
            "other layers are open".to_owned()
        } else if want_linears.map(|l| &l.logits) != got_linears.map(|l| &l.logits) {
            "other rows of logits are open".to_owned()
        } else {
            "other hidden states are open".to_owned()
        };
        Err(ExchangeError::Opening(what))
    }

    /// The answer, after [`check`](Self::check).
    pub(crate) fn into_answer(self, trace: Vec<u8>) -> Answer {
        Answer {
            trace,
            nonce: self.receipt.nonce.unwrap_or_default().0, // a receipt without it was rejected
            receipt: self.receipt.commitment(),
            tokens: self.tokens,
            opening: self.request,
        }
    }
}

/// The first thing that two receipts differ in, in words.
fn difference(want: &Manifest, got: &Manifest) -> String {
    let pairs = [
        ("another nonce", want.nonce == got.nonce),
        ("another model", want.model == got.model),
        ("another prompt", want.prompt == got.prompt),
        ("another sampler", want.sampler == got.sampler),
        ("another number of tokens", want.output == got.output),
        ("other streams", want.streams == got.streams),
        ("another rule for sparse MLPs", want.sparse == got.sparse),
        ("another root", want.root == got.root),
    ];
    let first = pairs.iter().find(|(_, same)| !same);
    first
        .map_or("another manifest", |(what, _)| what)
        .to_owned()
}
