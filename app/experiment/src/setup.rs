//! Everything that trials need besides devices: models, prompts, thresholds, profiles.

use std::sync::Arc;

use assay_engine::sampler::SamplerSpec;
use assay_model::Model;
use assay_trace::Digest;
use assay_verify::Profiles;

use crate::ExperimentError;
use crate::config::Config;
use crate::plan::Precision;
use crate::trial::ClaimOf;

/// A model with what it is called and claims.
pub struct Named {
    /// The model.
    pub model: Arc<Model>,
    /// What it is called in reports.
    pub name: String,
    /// Its root.
    pub root: Digest,
    /// What an honest prover of it claims.
    pub claim: ClaimOf,
}

impl Named {
    /// `root` is the model's.
    pub fn new(model: impl Into<Arc<Model>>, name: impl Into<String>, root: Digest) -> Self {
        let model = model.into();
        Self {
            claim: ClaimOf::new(&model, root),
            model,
            name: name.into(),
            root,
        }
    }
}

/// Everything that trials need.
pub struct Setup {
    /// Thresholds, prompts, numbers of trials.
    pub config: Config,
    /// The model as it is.
    pub full: Named,
    /// Its quantised form, where an experiment needs one.
    pub quantised: Option<Named>,
    /// The prover's device.
    pub prover: String,
    /// The verifiers' devices in experiments of two; they take turns.
    pub verifiers: Vec<String>,
    /// Whether the user named them.
    pub verifiers_were_named: bool,
    /// Limits of Assay's own verdict.
    pub profiles: Profiles,
    /// Tokens to generate; `None` as the prompts say.
    pub n_tokens: Option<u32>,
    /// What a reader must know besides.
    pub remarks: Vec<String>,
}

impl Setup {
    /// Refuses two models of which one is no form of the other.
    ///
    /// # Errors
    /// Names both.
    pub fn check(&self) -> Result<(), ExperimentError> {
        let Some(quantised) = &self.quantised else {
            return Ok(());
        };
        let (a, b) = (self.full.model.config(), quantised.model.config());
        match (a.hidden, a.layers, a.vocab) == (b.hidden, b.layers, b.vocab) {
            true => Ok(()),
            false => Err(ExperimentError::OtherSizes {
                quantised: quantised.name.clone(),
                full: self.full.name.clone(),
            }),
        }
    }

    /// A model by its precision.
    ///
    /// # Errors
    /// There is none.
    pub fn model(&self, precision: Precision) -> Result<&Named, ExperimentError> {
        match precision {
            Precision::Full => Ok(&self.full),
            Precision::Quantised => self.quantised.as_ref().ok_or(ExperimentError::NoQuantised),
        }
    }

    /// The sampler of a trial: its seed is its number.
    pub fn sampler(&self, trial: usize) -> SamplerSpec {
        match self.config.run.temperature {
            0.0 => SamplerSpec::Greedy,
            temperature => SamplerSpec::Gumbel {
                seed: trial as u64,
                temperature,
                top_k: 0,
                top_p: self.config.run.top_p,
            },
        }
    }

    /// Prompt and number of tokens of a trial.
    ///
    /// # Errors
    /// There is no tokenizer, or no room.
    pub fn prompt(&self, trial: usize) -> Result<(String, Vec<u32>, usize), ExperimentError> {
        let prompts = self.config.prompts()?;
        let text = prompts.texts[trial % prompts.texts.len()].clone();
        let tokenizer = self.full.model.tokenizer();
        let ids = tokenizer
            .ok_or(ExperimentError::NoTokenizer)?
            .encode(&text)?;
        let tokens = self.n_tokens.map_or(prompts.max_tokens, |n| n as usize);
        let context = self.full.model.config().context;
        match ids.len().saturating_add(tokens) <= context {
            true => Ok((text, ids, tokens)),
            false => Err(ExperimentError::TooLong {
                trial,
                tokens,
                context,
            }),
        }
    }

    /// Positions that any trial needs.
    ///
    /// # Errors
    /// Those of [`prompt`](Self::prompt).
    pub fn capacity(&self) -> Result<usize, ExperimentError> {
        let prompts = self.config.prompts()?.texts.len();
        let mut most = 1;
        for trial in 0..prompts.min(self.config.run.trials) {
            let (_, ids, n) = self.prompt(trial)?;
            most = most.max(ids.len() + n);
        }
        Ok(most)
    }
}
