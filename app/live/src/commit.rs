//! First part: ask, take tokens, judge the receipt.

use assay_trace::{Digest, Manifest, Sampler, SparseClaim, StopReason, prompt_digest};

use crate::open::Challenged;
use crate::{Ask, ExchangeError, Info, Line, ReceiptLine, RunId, RunRequest};

/// What a verifier wants of a prover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Prompt ids.
    pub prompt: Vec<u32>,
    /// Most tokens to generate.
    pub max_tokens: u32,
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Go on after an end-of-sequence id.
    pub ignore_eos: bool,
    /// The model's root; whichever the prover says if `None`.
    pub root: Option<Digest>,
    /// What to have opened.
    pub ask: Ask,
    /// Largest opening to take, bytes. It will be in memory.
    pub max_bytes: u64,
}

/// A run that has been asked for.
#[derive(Debug)]
pub struct Commit<'a> {
    wanted: &'a Wanted,
    info: Info,
    nonce: Digest,
    streamed: Vec<u32>,
}

/// What a line said.
#[derive(Debug)]
pub enum Step<'a> {
    /// Nothing: the prover is still there.
    Alive,
    /// The next token.
    Token(u32),
    /// The end, and it is a receipt for what was asked.
    Committed(Box<Committed<'a>>),
}

/// A run whose receipt is what it should be. From here on the prover cannot change what it says.
#[derive(Debug)]
pub struct Committed<'a> {
    wanted: &'a Wanted,
    id: RunId,
    receipt: Manifest,
    tokens: Vec<u32>,
}

impl<'a> Commit<'a> {
    /// Looks at what the prover says of itself. `nonce` must be random and used once.
    ///
    /// # Errors
    /// [`ExchangeError::Model`] for another model than is wanted, [`ExchangeError::Request`] for more than the prover takes.
    pub fn new(wanted: &'a Wanted, info: Info, nonce: [u8; 32]) -> Result<Self, ExchangeError> {
        if let Some(root) = wanted.root
            && root != info.model.root
        {
            let got = info.model.root;
            return Err(ExchangeError::Model(format!(
                "the prover serves the model {got}, wanted is {root}"
            )));
        }
        let commit = Self {
            wanted,
            nonce: Digest(nonce),
            streamed: Vec::new(),
            info,
        };
        let request = commit.request();
        request
            .check(&commit.info.limits, commit.info.model.vocab)
            .map_err(|err| ExchangeError::Request(err.to_string()))?;
        Ok(commit)
    }

    /// What to send.
    pub fn request(&self) -> RunRequest {
        RunRequest {
            prompt: self.wanted.prompt.clone(),
            max_tokens: self.wanted.max_tokens,
            sampler: self.wanted.sampler,
            ignore_eos: self.wanted.ignore_eos,
            nonce: self.nonce,
        }
    }

    /// Most bytes that a line may have.
    pub fn max_line_bytes(&self) -> usize {
        Line::max_bytes(self.wanted.prompt.len() + self.wanted.max_tokens as usize)
    }

    /// Takes a line, without its line break. Nothing may be taken after an error, or after the receipt.
    ///
    /// # Errors
    /// The prover's conduct, its refusal, or [`ExchangeError::Protocol`].
    pub fn take(&mut self, line: &[u8]) -> Result<Step<'a>, ExchangeError> {
        if line.is_empty() {
            return Ok(Step::Alive);
        }
        let line = crate::json::read(line)
            .map_err(|err| ExchangeError::protocol("a line of the run", &err))?;
        match line {
            Line::Token(id) => {
                if self.streamed.len() >= self.wanted.max_tokens as usize {
                    let asked = self.wanted.max_tokens;
                    return Err(ExchangeError::Tokens(format!(
                        "more were sent than the {asked} asked for"
                    )));
                }
                self.streamed.push(id);
                Ok(Step::Token(id))
            }
            Line::Receipt(line) => self.judge(*line),
            Line::Error(fault) => Err(ExchangeError::Refused(fault.to_string())),
        }
    }

    fn judge(&mut self, line: ReceiptLine) -> Result<Step<'a>, ExchangeError> {
        let receipt = Manifest::parse(&line.manifest)
            .map_err(|err| ExchangeError::Receipt(err.to_string()))?;
        match receipt.receipt() {
            None => {
                return Err(ExchangeError::Receipt(
                    "it does not commit to linear outputs".to_owned(),
                ));
            }
            Some(nothing_open) if nothing_open != receipt => {
                return Err(ExchangeError::Receipt(
                    "it says what is open, which is not the prover's to say".to_owned(),
                ));
            }
            Some(_) => {}
        }
        if receipt.nonce != Some(self.nonce) {
            return Err(ExchangeError::Nonce { got: receipt.nonce });
        }
        self.judge_request(&receipt)?;
        self.judge_model(&receipt)?;
        self.judge_length(&receipt)?;
        self.judge_tokens(&receipt, &line.tokens)?;
        Ok(Step::Committed(Box::new(Committed {
            wanted: self.wanted,
            id: line.id,
            receipt,
            tokens: line.tokens,
        })))
    }

    fn judge_request(&self, receipt: &Manifest) -> Result<(), ExchangeError> {
        let wanted = self.wanted;
        let (got, want) = (receipt.prompt.tokens as usize, wanted.prompt.len());
        if got != want {
            return Err(ExchangeError::Prompt(format!(
                "it has {got} tokens, the one that was sent {want}"
            )));
        }
        if receipt.prompt.digest != prompt_digest(&wanted.prompt) {
            return Err(ExchangeError::Prompt("its digest differs".to_owned()));
        }
        if receipt.sampler != wanted.sampler {
            return Err(ExchangeError::Sampler(format!(
                "{:?}, asked for was {:?}",
                receipt.sampler, wanted.sampler
            )));
        }
        if receipt.ignore_eos != wanted.ignore_eos {
            return Err(ExchangeError::Sampler(format!(
                "ignore_eos is {}, asked for was {}",
                receipt.ignore_eos, wanted.ignore_eos
            )));
        }
        Ok(())
    }

    fn judge_model(&self, receipt: &Manifest) -> Result<(), ExchangeError> {
        // `info` has the wanted root, if there is one.
        let (said, got) = (&self.info.model, &receipt.model);
        if said.root != got.root {
            return Err(ExchangeError::Model(format!(
                "the receipt is of the model {}, the prover said that it serves {}",
                got.root, said.root
            )));
        }
        if said != got {
            return Err(ExchangeError::Model(
                "the receipt has other sizes of the model than the prover said".to_owned(),
            ));
        }
        // A model that skips neurons is another function. Whether this one was wanted is for the verdict to say.
        let (said, got) = (&self.info.sparse, &receipt.sparse);
        if said != got {
            let words = |claim: Option<&SparseClaim>| match claim {
                Some(claim) => format!("sparse MLPs ({})", claim.in_words()),
                None => "dense MLPs".to_owned(),
            };
            return Err(ExchangeError::Model(format!(
                "the receipt is of {}, the prover said that it runs {}",
                words(got.as_ref()),
                words(said.as_ref())
            )));
        }
        Ok(())
    }

    fn judge_length(&self, receipt: &Manifest) -> Result<(), ExchangeError> {
        let (got, asked) = (receipt.output.tokens, self.wanted.max_tokens);
        if got > asked {
            return Err(ExchangeError::Receipt(format!(
                "{got} tokens, {asked} were asked for"
            )));
        }
        if got < asked && receipt.output.stop == StopReason::Length {
            return Err(ExchangeError::Receipt(format!(
                "it says that all tokens are there, but has {got} of the {asked} asked for"
            )));
        }
        Ok(())
    }

    fn judge_tokens(&self, receipt: &Manifest, tokens: &[u32]) -> Result<(), ExchangeError> {
        let fault = |reason: String| Err(ExchangeError::Tokens(reason));
        let (got, want) = (tokens.len(), receipt.total_tokens());
        if got != want {
            return fault(format!("{got} beside a receipt for {want}"));
        }
        let (prompt, output) = tokens
            .split_at_checked(self.wanted.prompt.len())
            .unwrap_or_default();
        if prompt != self.wanted.prompt {
            return Err(ExchangeError::Prompt(
                "its tokens are not those that were sent".to_owned(),
            ));
        }
        let vocab = receipt.model.vocab;
        if let Some(id) = output.iter().find(|id| **id >= vocab) {
            return fault(format!("id {id} is beyond the vocabulary of {vocab}"));
        }
        let (streamed, output_len) = (self.streamed.len(), output.len());
        if streamed != output_len {
            return fault(format!(
                "{streamed} were sent, {output_len} are committed to"
            ));
        }
        match (self.streamed.iter().zip(output)).position(|(sent, kept)| sent != kept) {
            Some(index) => fault(format!("another was sent as number {index}")),
            None => Ok(()),
        }
    }
}

impl<'a> Committed<'a> {
    /// The receipt.
    pub fn receipt(&self) -> &Manifest {
        &self.receipt
    }

    /// Its digest: what a verifier may keep, or publish.
    pub fn digest(&self) -> Digest {
        self.receipt.commitment()
    }

    /// Prompt, then output.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Draws what is to be opened. `seed` must be random bytes that were drawn after the receipt was here.
    ///
    /// # Errors
    /// [`ExchangeError::TooLarge`] if the verifier asked for more than it takes.
    pub fn challenge(self, seed: [u8; 32]) -> Result<Challenged, ExchangeError> {
        let request = self.wanted.ask.draw(&self.receipt, seed);
        Challenged::new(
            self.id,
            self.receipt,
            self.tokens,
            request,
            self.wanted.max_bytes,
        )
    }
}
