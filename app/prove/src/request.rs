//! What a prover is asked for, and what can be wrong with it.

use assay_engine::sampler::SamplerSpec;
use assay_engine::{Engine, EngineError, Numerics, Rounding, linear_widths};
use assay_model::{Model, ModelConfig};
use assay_trace::{
    BuildError, Challenge, Decimal, DecimalError, Digest, Keep, Linear, LinearsSpec, Manifest,
    ModelClaim, NumericsClaim, NumericsClass, Opening, ProductClaim, Sampler, SealedTrace,
    StateDtype, TraceSpec, challenge,
};

/// One inference.
#[derive(Debug, Clone)]
pub struct Request {
    /// Prompt ids, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens to generate, at least one.
    pub max_tokens: usize,
    /// How tokens are chosen. Temperature and top-p are rounded to nine decimal places, which is what a
    /// trace can state.
    pub sampler: SamplerSpec,
    /// Go on after an end-of-sequence token.
    pub ignore_eos: bool,
    /// The verifier's nonce.
    pub nonce: Option<[u8; 32]>,
    /// Hidden states to put into the file; every eighth and the last if `None`.
    pub opened: Option<Vec<u32>>,
    /// Whether to commit to linear outputs, for audits without weights, and what to open of them.
    pub audit: Option<Open>,
}

/// What of a trace's linear outputs is opened, once its root is fixed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Open {
    /// Every layer, and the logits of every output token.
    All,
    /// These layers, and the logits of every output token: the prover's choice, so nothing follows for the others.
    Layers(Vec<u32>),
    /// So many layers and output tokens, drawn from the root and the nonce.
    Draw {
        /// Layers.
        layers: u32,
        /// Output tokens whose logits are opened.
        logits: u32,
    },
    /// Whatever a verifier asks for after it has the receipt: everything is kept until then.
    Later,
}

/// Why there is no trace.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// The engine failed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The trace could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// Temperature or top-p is no number that a trace can state.
    #[error("`{name}` is {value}: {source}")]
    Sampler {
        /// Which number.
        name: &'static str,
        /// Its value.
        value: f64,
        /// Why not.
        source: DecimalError,
    },
    /// No prompt.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
    /// Nothing to generate.
    #[error("at least one token must be generated")]
    NoTokens,
    /// The prompt leaves no room in the context.
    #[error("the prompt has {got} tokens; with one to generate, the context has room for {limit}")]
    PromptTooLong {
        /// Tokens in the prompt.
        got: usize,
        /// Most that fit.
        limit: usize,
    },
    /// A prompt id that the model does not have.
    #[error("prompt id {id} is beyond the vocabulary of {vocab}")]
    PromptId {
        /// The id.
        id: u32,
        /// Vocabulary size.
        vocab: usize,
    },
}

impl Request {
    /// Refuses what cannot be run, before a model is loaded for it.
    pub fn check(&self, config: &ModelConfig) -> Result<(), ProveError> {
        if self.prompt.is_empty() {
            return Err(ProveError::EmptyPrompt);
        }
        if self.max_tokens == 0 {
            return Err(ProveError::NoTokens);
        }
        if self.prompt.len() >= config.context {
            return Err(ProveError::PromptTooLong {
                got: self.prompt.len(),
                limit: config.context - 1,
            });
        }
        match self.prompt.iter().find(|id| **id as usize >= config.vocab) {
            Some(id) => Err(ProveError::PromptId {
                id: *id,
                vocab: config.vocab,
            }),
            None => Ok(()),
        }
    }

    /// Tokens that prompt and output may have together: positions an engine must have room for.
    pub fn capacity(&self, config: &ModelConfig) -> usize {
        self.prompt
            .len()
            .saturating_add(self.max_tokens)
            .min(config.context)
    }

    /// The sampler as the trace states it, and as it must therefore be run.
    pub(crate) fn sampler(&self) -> Result<(Sampler, SamplerSpec), ProveError> {
        let SamplerSpec::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        } = self.sampler
        else {
            return Ok((Sampler::Greedy, SamplerSpec::Greedy));
        };
        let decimal = |name, value| {
            Decimal::from_f64(value).map_err(|source| ProveError::Sampler {
                name,
                value,
                source,
            })
        };
        let (temperature, top_p) = (
            decimal("temperature", temperature)?,
            decimal("top-p", top_p)?,
        );
        let run = SamplerSpec::Gumbel {
            seed,
            temperature: temperature.to_f64(),
            top_k,
            top_p: top_p.to_f64(),
        };
        Ok((
            Sampler::Gumbel {
                seed,
                temperature,
                top_k,
                top_p,
            },
            run,
        ))
    }

    /// What to commit to besides hidden states, and what to keep of it.
    fn linears(&self, config: &ModelConfig) -> Option<LinearsSpec> {
        let every = |count: usize| (0..count as u32).collect::<Vec<u32>>();
        let logits = every(self.max_tokens.min(config.context));
        let keep = match self.audit.as_ref()? {
            Open::All => Keep::Only {
                layers: every(config.layers),
                logits,
            },
            Open::Layers(layers) => Keep::Only {
                layers: layers.clone(),
                logits,
            },
            Open::Draw { .. } | Open::Later => Keep::Everything,
        };
        let widths = linear_widths(config);
        let products = Linear::ALL.into_iter().zip(widths);
        Some(LinearsSpec {
            products: products
                .map(|(name, width)| ProductClaim {
                    name,
                    width: width as u32,
                })
                .collect(),
            keep,
        })
    }

    /// What to open of `sealed`. The embedding's output is always part of it: it ties a trace to its tokens.
    pub(crate) fn opening(&self, config: &ModelConfig, sealed: &SealedTrace) -> Opening {
        let every = |count: u32| (0..count).collect::<Vec<u32>>();
        let outputs = sealed.output_tokens();
        let all_layers = config.layers as u32;
        let nonce = self.nonce.map(Digest);
        let (challenge, layers, logits) = match &self.audit {
            None | Some(Open::Later) => (Challenge::Interactive, Vec::new(), Vec::new()),
            Some(Open::All) => (Challenge::All, every(all_layers), every(outputs)),
            Some(Open::Layers(layers)) => (Challenge::Chosen, layers.clone(), every(outputs)),
            Some(Open::Draw { layers, logits }) => (
                Challenge::Offline,
                challenge::draw_layers(sealed.root(), nonce, (*layers).min(all_layers), all_layers),
                challenge::draw_logits(sealed.root(), nonce, (*logits).min(outputs), outputs),
            ),
        };
        Opening {
            challenge,
            states: self.kept_states(config),
            layers,
            logits,
        }
    }

    /// Hidden states that the trace keeps whatever is opened later.
    fn kept_states(&self, config: &ModelConfig) -> Vec<u32> {
        let mut states = self.states(config);
        if self.audit.is_some() {
            states.push(0);
            states.sort_unstable();
            states.dedup();
        }
        states
    }

    fn states(&self, config: &ModelConfig) -> Vec<u32> {
        self.opened
            .clone()
            .unwrap_or_else(|| Manifest::default_opened(config.layers as u32))
    }

    /// What a trace of this request, run on `engine`, begins with.
    pub(crate) fn spec(
        &self,
        model: &Model,
        claim: ModelClaim,
        engine: &Engine,
        sampler: Sampler,
    ) -> TraceSpec {
        let config = model.config();
        TraceSpec {
            adapter: Manifest::printable(&engine.info().name),
            eos: config.eos.clone(),
            ignore_eos: self.ignore_eos,
            model: claim,
            nonce: self.nonce.map(Digest),
            numerics: NumericsClaim {
                activations: engine.activations().claim(),
                class: match (engine.numerics(), engine.activations()) {
                    // An emulation gives its own bits, and those of no prover that really computes so.
                    _ if engine.rounding() != Rounding::Keep => NumericsClass::Fast,
                    (Numerics::Fast, _) => NumericsClass::Fast,
                    (Numerics::Strict, activations) if activations.is_integer() => {
                        NumericsClass::Exact
                    }
                    (Numerics::Strict, _) => NumericsClass::Strict,
                },
                compute: engine.rounding().into(),
            },
            opened: self.kept_states(config),
            producer: Manifest::printable(crate::PRODUCER),
            linears: self.linears(config),
            prompt: self.prompt.clone(),
            sampler,
            sparse: engine.sparse().map(|sparse| sparse.claim(config)),
            state_dtype: match engine.rounding() {
                Rounding::Keep => StateDtype::F32,
                Rounding::Bf16 => StateDtype::Bf16,
                Rounding::F16 => StateDtype::F16,
            },
            tokenizer: model.tokenizer().map(assay_model::Tokenizer::digest),
        }
    }
}
