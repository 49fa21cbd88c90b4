//! The prover's side: positions go in one by one as the model runs, a sealed trace comes out.
//!
//! The builder keeps 32 bytes a hidden state and position, and the rows of opened layers; nothing else.
//! It refuses what a reader would refuse, at the position where it happens.

use crate::limits::MAX_TOKENS;
use crate::manifest::{FORMAT, STREAMS, VERSION};
use crate::read::check_file_len;
use crate::write::Body;
use crate::{
    BuildError, Digest, FinishedTrace, Manifest, ModelClaim, NumericsClaim, OutputClaim,
    PositionRecord, PromptClaim, Sampler, StateDtype, StopReason, TraceError,
};

/// What is known before the first position runs. Fields mean what they mean in [`Manifest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceSpec {
    /// The device, in the prover's words; see [`Manifest::printable`].
    pub adapter: String,
    /// Ids that end a sequence, ascending.
    pub eos: Vec<u32>,
    /// Whether generation goes on after such an id.
    pub ignore_eos: bool,
    /// The model.
    pub model: ModelClaim,
    /// The verifier's nonce, if there is one.
    pub nonce: Option<Digest>,
    /// How the prover computes.
    pub numerics: NumericsClaim,
    /// Hidden states to keep, ascending; [`Manifest::default_opened`] is the usual choice.
    pub opened: Vec<u32>,
    /// The program that writes the trace; see [`Manifest::printable`].
    pub producer: String,
    /// Prompt ids, at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// Element type of hidden states.
    pub state_dtype: StateDtype,
    /// Digest of the tokenizer's file.
    pub tokenizer: Option<Digest>,
}

/// Collects positions in order.
#[derive(Debug, Clone)]
pub struct TraceBuilder {
    /// Valid but for the digests and `output`, which `finish` sets.
    manifest: Manifest,
    prompt: Vec<u32>,
    body: Body,
}

impl TraceBuilder {
    /// Starts a trace.
    ///
    /// # Errors
    /// [`BuildError::Structure`] if the spec breaks a rule of the format.
    pub fn new(spec: TraceSpec) -> Result<Self, BuildError> {
        let prompt_tokens = u32::try_from(spec.prompt.len()).unwrap_or(u32::MAX); // validate() refuses that many
        let states = vec![Vec::new(); spec.opened.len()];
        let manifest = Manifest {
            adapter: spec.adapter,
            eos: spec.eos,
            format: FORMAT.into(),
            ignore_eos: spec.ignore_eos,
            model: spec.model,
            nonce: spec.nonce,
            numerics: spec.numerics,
            opened: spec.opened,
            output: OutputClaim {
                stop: StopReason::Length,
                tokens: 1,
            },
            producer: spec.producer,
            prompt: PromptClaim {
                digest: Digest::ZERO,
                tokens: prompt_tokens,
            },
            root: Digest::ZERO,
            sampler: spec.sampler,
            state_dtype: spec.state_dtype,
            streams: STREAMS.map(String::from).to_vec(),
            tokenizer: spec.tokenizer,
            version: VERSION,
        };
        manifest.validate()?;
        let body = Body {
            tokens: Vec::new(),
            logits_digests: Vec::new(),
            state_digests: Vec::new(),
            states,
        };
        let builder = Self {
            manifest,
            prompt: spec.prompt,
            body,
        };
        for (index, &id) in builder.prompt.iter().enumerate() {
            builder.check_token(index, id)?;
        }
        Ok(builder)
    }

    /// Positions pushed so far.
    pub fn positions(&self) -> usize {
        self.body.tokens.len()
    }

    /// Adds the next position: the token at it, its layers + 1 hidden states (`hidden` channels each, state 0 first)
    /// and, from the prompt's last position on, the logits that the next token was chosen from.
    ///
    /// # Errors
    /// A [`BuildError`] that names the position; the builder is unchanged.
    pub fn push(
        &mut self,
        token: u32,
        states: &[&[f32]],
        logits: Option<&[f32]>,
    ) -> Result<(), BuildError> {
        let record = PositionRecord::compute(
            self.manifest.state_dtype,
            &self.manifest.opened,
            states,
            logits,
        );
        self.push_record(token, record)
    }

    /// Adds the next position from a record that was computed elsewhere, with this trace's state dtype and opened
    /// layers.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_record(&mut self, token: u32, record: PositionRecord) -> Result<(), BuildError> {
        let position = self.positions();
        self.check_token(position, token)?;
        match self.prompt.get(position) {
            Some(&want) if want != token => {
                return Err(BuildError::PromptToken {
                    position,
                    got: token,
                    want,
                });
            }
            _ => {}
        }
        if record.state_dtype != self.manifest.state_dtype || record.opened != self.manifest.opened
        {
            return Err(BuildError::RecordMismatch { position });
        }
        let model = &self.manifest.model;
        record.check(
            position,
            self.manifest.state_rows(),
            model.hidden as usize,
            model.vocab as usize,
        )?;
        let emits = position + 1 >= self.prompt.len();
        match (&record.logits, emits) {
            (None, true) => return Err(BuildError::MissingLogits { position }),
            (Some(_), false) => return Err(BuildError::UnexpectedLogits { position }),
            (Some(logits), true) => self.body.logits_digests.extend(logits.digest.0),
            (None, false) => {}
        }
        self.body.tokens.push(token);
        self.body
            .state_digests
            .extend(record.digests.iter().flat_map(|digest| digest.0));
        for (rows, row) in self.body.states.iter_mut().zip(record.kept) {
            rows.extend(row);
        }
        Ok(())
    }

    /// Seals the trace. `last_token` was chosen from the last position's logits and never entered the model.
    ///
    /// # Errors
    /// [`BuildError::Unfinished`] before the prompt is complete, [`BuildError::Structure`] for a last token outside
    /// the vocabulary or a file above [`MAX_FILE_BYTES`](crate::limits::MAX_FILE_BYTES).
    pub fn finish(
        mut self,
        last_token: u32,
        stop: StopReason,
    ) -> Result<FinishedTrace, BuildError> {
        let (got, want) = (self.positions(), self.prompt.len());
        if got < want {
            return Err(BuildError::Unfinished { got, want });
        }
        self.check_token(got, last_token)?;
        self.body.tokens.push(last_token);
        self.manifest.output = OutputClaim {
            stop,
            tokens: u32::try_from(got + 1 - want).unwrap_or(u32::MAX),
        };
        self.manifest.validate()?;
        let finished = FinishedTrace::seal(self.manifest, self.body);
        check_file_len(finished.len())?;
        Ok(finished)
    }

    fn check_token(&self, index: usize, got: u32) -> Result<(), TraceError> {
        let vocab = self.manifest.model.vocab;
        if index >= MAX_TOKENS as usize {
            let (got, max) = (index as u64 + 1, u64::from(MAX_TOKENS));
            return Err(TraceError::Range {
                field: "prompt.tokens + output.tokens",
                got,
                min: 2,
                max,
            });
        }
        if got < vocab {
            Ok(())
        } else {
            Err(TraceError::TokenRange { index, got, vocab })
        }
    }
}
