//! The prover's side: positions go in one by one as the model runs, a sealed trace comes out.
//!
//! The builder keeps 32 bytes a hidden state (or a layer's linear outputs) and position, and the rows that are to be
//! opened, or could be; with the stream `masks` all masks; nothing else. It refuses what a reader would refuse, at the
//! position where it happens.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::body::Body;
use crate::limits::MAX_TOKENS;
use crate::manifest::{FORMAT, VERSION, streams};
use crate::plan::{KeptLogits, Plan};
use crate::validate::indices;
use crate::{
    BuildError, Challenge, Digest, FinishedTrace, Keep, LinearsClaim, LinearsSpec, Manifest,
    ModelClaim, NumericsClaim, OutputClaim, PositionInput, PositionRecord, PromptClaim, RecordPlan,
    Sampler, SealedTrace, SparseClaim, StateDtype, StopReason, TraceError, commit,
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
    /// The stream `linears`, if the trace is to be audited without weights.
    pub linears: Option<LinearsSpec>,
    /// The model.
    pub model: ModelClaim,
    /// The verifier's nonce, if there is one.
    pub nonce: Option<Digest>,
    /// How the prover computes.
    pub numerics: NumericsClaim,
    /// Hidden states to open whatever else is, ascending; [`Manifest::default_opened`] is the usual choice.
    pub opened: Vec<u32>,
    /// The program that writes the trace; see [`Manifest::printable`].
    pub producer: String,
    /// Prompt ids, at least one.
    pub prompt: Vec<u32>,
    /// How tokens are chosen.
    pub sampler: Sampler,
    /// The stream `masks`, if the MLPs are sparse.
    pub sparse: Option<SparseClaim>,
    /// Element type of hidden states.
    pub state_dtype: StateDtype,
    /// Digest of the tokenizer's file.
    pub tokenizer: Option<Digest>,
}

/// Collects positions in order.
#[derive(Debug, Clone)]
pub struct TraceBuilder {
    /// Valid but for the digests and `output`, which `seal` sets. Its `opened` is the spec's; no linear outputs are open.
    manifest: Manifest,
    prompt: Vec<u32>,
    keep: Option<Keep>,
    plan: RecordPlan,
    body: Body,
}

impl TraceBuilder {
    /// Starts a trace.
    ///
    /// # Errors
    /// [`BuildError::Structure`] if the spec breaks a rule of the format.
    pub fn new(spec: TraceSpec) -> Result<Self, BuildError> {
        let prompt_tokens = u32::try_from(spec.prompt.len()).unwrap_or(u32::MAX); // validate() refuses that many
        let streams = streams(spec.linears.is_some(), spec.sparse.is_some());
        let linears = spec.linears.map(|linears| {
            let claim = LinearsClaim {
                challenge: Challenge::default(),
                layers: Vec::new(),
                logits: Vec::new(),
                products: linears.products,
            };
            (claim, linears.keep)
        });
        let (claim, keep) = linears.unzip();
        let manifest = Manifest {
            adapter: spec.adapter,
            eos: spec.eos,
            format: FORMAT.into(),
            ignore_eos: spec.ignore_eos,
            linears: claim,
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
            sparse: spec.sparse,
            state_dtype: spec.state_dtype,
            streams,
            tokenizer: spec.tokenizer,
            version: VERSION,
        };
        manifest.validate()?;
        let plan = plan(&manifest, keep.as_ref())?;
        let builder = Self {
            body: empty_body(&plan),
            plan: RecordPlan(Arc::new(plan)),
            manifest,
            prompt: spec.prompt,
            keep,
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

    /// How to compute the positions' records, for [`PositionRecord::compute`] on any thread.
    pub fn plan(&self) -> RecordPlan {
        self.plan.clone()
    }

    /// Adds the next position of a trace without linear outputs and masks: the token at it, its layers + 1 hidden states
    /// (`hidden` channels each, state 0 first) and, from the prompt's last position on, the logits that the next token
    /// was chosen from.
    ///
    /// # Errors
    /// A [`BuildError`] that names the position; the builder is unchanged.
    pub fn push(
        &mut self,
        token: u32,
        states: &[&[f32]],
        logits: Option<&[f32]>,
    ) -> Result<(), BuildError> {
        let input = PositionInput {
            states,
            logits,
            ..PositionInput::default()
        };
        self.push_position(token, input)
    }

    /// Adds the next position: the token at it, and everything that was computed there.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn push_position(
        &mut self,
        token: u32,
        input: PositionInput<'_>,
    ) -> Result<(), BuildError> {
        let position = self.positions() as u32; // at most MAX_TOKENS were taken
        self.push_record(token, PositionRecord::compute(&self.plan, position, input))
    }

    /// Adds the next position from a record that was computed elsewhere by this builder's [`plan`](Self::plan).
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
        if record.plan != self.plan {
            return Err(BuildError::RecordMismatch { position });
        }
        if record.position as usize != position {
            let got = record.position;
            return Err(BuildError::RecordPosition { position, got });
        }
        if let Some(fault) = record.fault {
            return Err(fault);
        }
        let body = &mut self.body;
        body.tokens.push(token);
        let flat = |digests: Vec<Digest>| digests.into_iter().flat_map(|digest| digest.0);
        body.state_digests.extend(flat(record.state_digests));
        body.linear_digests.extend(flat(record.linear_digests));
        body.logits_digests
            .extend(record.logits_digest.into_iter().flat_map(|digest| digest.0));
        body.masks.extend(record.masks);
        for (rows, row) in body.states.values_mut().zip(record.states) {
            rows.push(row);
        }
        for (rows, row) in body.linears.values_mut().zip(record.linears) {
            rows.push(row);
        }
        body.logits.extend(record.logits);
        Ok(())
    }

    /// Ends the run: from here on the root is fixed. `last_token` was chosen from the last position's logits and never
    /// entered the model.
    ///
    /// # Errors
    /// [`BuildError::Unfinished`] before the prompt is complete, [`BuildError::Structure`] for a last token outside
    /// the vocabulary.
    pub fn seal(mut self, last_token: u32, stop: StopReason) -> Result<SealedTrace, BuildError> {
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
        commit::bind(&mut self.manifest, &self.body);
        Ok(SealedTrace::new(self.manifest, self.body, self.keep))
    }

    /// [`seal`](Self::seal), then opens what the spec said: its hidden states, and what it had kept of linear outputs
    /// and logits. The challenge is `all` if that is all of it, and else `chosen`.
    ///
    /// # Errors
    /// As [`seal`](Self::seal), and [`BuildError::Structure`] for a file above
    /// [`MAX_FILE_BYTES`](crate::limits::MAX_FILE_BYTES).
    pub fn finish(self, last_token: u32, stop: StopReason) -> Result<FinishedTrace, BuildError> {
        let sealed = self.seal(last_token, stop)?;
        sealed.open(&sealed.planned())
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

/// Sizes from a valid manifest, and what to keep: what the spec opens, and what that needs.
fn plan(manifest: &Manifest, keep: Option<&Keep>) -> Result<Plan, TraceError> {
    let layers = manifest.model.layers;
    let mut states: BTreeSet<u32> = manifest.opened.iter().copied().collect();
    let (linears, logits) = match keep {
        None => (Vec::new(), KeptLogits::Only(Vec::new())),
        Some(Keep::Everything) => {
            states.extend(0..=layers);
            ((0..layers).collect(), KeptLogits::All)
        }
        Some(Keep::Only {
            layers: linears,
            logits,
        }) => {
            indices("linears.layers", linears, layers - 1)?; // at least one layer: the manifest is valid
            indices("linears.logits", logits, u32::MAX)?; // how many there will be is not known
            states.extend(linears.iter().flat_map(|&layer| [layer, layer + 1]));
            states.extend((!logits.is_empty()).then_some(layers));
            (linears.clone(), KeptLogits::Only(logits.clone()))
        }
    };
    Ok(Plan {
        state_dtype: manifest.state_dtype,
        linear_dtype: manifest.linear_dtype(),
        hidden: manifest.model.hidden as usize,
        layers: layers as usize,
        vocab: manifest.model.vocab as usize,
        n_prompt: manifest.prompt.tokens as usize,
        products: manifest
            .linears
            .as_ref()
            .map(|claim| claim.products.clone()),
        sparse: manifest.sparse.clone(),
        states: states.into_iter().collect(),
        linears,
        logits,
    })
}

/// No positions yet, but a list for all that will be kept of them.
fn empty_body(plan: &Plan) -> Body {
    let lists = |kept: &[u32]| kept.iter().map(|&index| (index, Vec::new())).collect();
    Body {
        states: lists(&plan.states),
        linears: lists(&plan.linears),
        ..Body::default()
    }
}
