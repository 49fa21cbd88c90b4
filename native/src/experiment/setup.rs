//! The flags of experiments, and what they come to: models, devices, prompts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use assay_engine::sampler::SamplerSpec;
use assay_experiment::config::{self, Config, Layers};
use assay_experiment::trial::ClaimOf;
use assay_experiment::{Experiment, Precision};
use assay_model::Model;
use assay_trace::Digest;
use assay_verify::Profiles;

use super::devices;
use crate::device_arg::DeviceArgs;
use crate::model_arg::{self, ModelArgs};
use crate::output::Output;
use crate::progress::Progress;

/// Flags that experiments and calibration share.
#[derive(Debug, clap::Args)]
pub struct SetupArgs {
    #[command(flatten)]
    pub model: ModelArgs,

    /// The quantised model: a path, or round:int4 or round:int8 for the full one's weights, rounded in memory [default: round:int4]
    #[arg(long, value_name = "PATH")]
    pub quantized: Option<String>,

    /// Trials of each experiment [default: 3]
    #[arg(long, value_name = "N")]
    pub trials: Option<usize>,

    /// Verifications of each trial [default: 3]
    #[arg(long, value_name = "N")]
    pub verifiers: Option<usize>,

    /// Which prompts: short, medium, long, or a name of your configuration's [default: short]
    #[arg(long, value_name = "NAME")]
    pub prompts: Option<String>,

    /// Tokens to generate [default: as the prompts say]
    #[arg(short = 'n', value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(1..))]
    pub n_tokens: Option<u32>,

    /// Hidden states to compare: every8 as the seed does, or all
    #[arg(long, value_name = "WHICH", value_parser = ["every8", "all"])]
    pub layers: Option<String>,

    /// Where provers run: part of an adapter's name, or cpu [default: --adapter, else the best one]
    #[arg(long, value_name = "NAME")]
    pub prover_adapter: Option<String>,

    /// Where verifiers run in heterogeneous experiments; several, with commas, take turns [default: another one than the prover's]
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub verifier_adapter: Vec<String>,

    /// Configuration of models, thresholds and prompts, over the defaults
    #[arg(long, value_name = "FILE.toml")]
    pub config: Option<PathBuf>,

    /// Calibration profiles to use before the shipped ones
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,

    /// Folder for trials, summaries and report.html; finished trials in it are kept
    #[arg(long, value_name = "DIR", default_value = "experiments")]
    pub out: PathBuf,
}

/// A model with what it is called and claims.
pub struct Named {
    pub model: Model,
    pub name: String,
    pub root: Digest,
    pub claim: ClaimOf,
}

/// Everything that trials need.
pub struct Setup {
    pub config: Config,
    pub full: Named,
    pub quantised: Option<Named>,
    pub prover: String,
    pub verifiers: Vec<String>,
    /// Whether the user named the verifiers' devices.
    pub verifiers_were_named: bool,
    pub profiles: Profiles,
    pub out: PathBuf,
    pub n_tokens: Option<u32>,
}

impl SetupArgs {
    /// The configuration with the flags over it.
    pub fn config(&self) -> anyhow::Result<Config> {
        let text = self.config.as_deref().map(read_config).transpose()?;
        let mut config = Config::read(text.as_deref()).with_context(|| match &self.config {
            Some(path) => format!("cannot use {}", path.display()),
            None => "cannot use the defaults".to_owned(),
        })?;
        let run = &mut config.run;
        run.trials = self.trials.unwrap_or(run.trials);
        run.verifiers = self.verifiers.unwrap_or(run.verifiers);
        if let Some(prompts) = &self.prompts {
            run.prompts.clone_from(prompts);
        }
        match self.layers.as_deref() {
            Some("all") => run.layers = Layers::All,
            Some(_) => run.layers = Layers::Every8,
            None => {}
        }
        if let Some(quantised) = &self.quantized {
            config.models.quantised.clone_from(quantised);
        }
        if let Some(model) = &self.model.model {
            config.models.full = model.display().to_string();
        }
        config.check()?;
        Ok(config)
    }

    /// Opens models, and finds out which devices.
    pub async fn open(
        &self,
        experiments: &[Experiment],
        device: &DeviceArgs,
        output: &Output,
        progress: &mut Progress,
    ) -> anyhow::Result<Setup> {
        let config = self.config()?;
        let model = match config.models.full.as_str() {
            "demo" => Model::demo()?,
            path => ModelArgs {
                model: Some(path.into()),
                tokenizer: self.model.tokenizer.clone(),
            }
            .open(output, false)?,
        };
        let mut hash = |model: &Model| model_arg::root(model, progress);
        let (full, quantised) = models(&config, model, experiments, &mut hash)?;
        let prover = self.prover_adapter.clone();
        let prover = prover.or_else(|| device.adapter.clone());
        let (prover, verifiers) = devices::pair(prover, &self.verifier_adapter).await;
        Ok(Setup {
            config,
            full,
            quantised,
            prover,
            verifiers,
            verifiers_were_named: !self.verifier_adapter.is_empty(),
            profiles: profiles(self.profile.as_deref())?,
            out: self.out.clone(),
            n_tokens: self.n_tokens,
        })
    }
}

/// Gives a model's root: whoever asks knows how to say how far it is.
pub type Hash<'a> = dyn FnMut(&Model) -> anyhow::Result<Digest> + 'a;

/// The full model and, where `experiments` need one, its quantised form.
pub fn models(
    config: &Config,
    full: Model,
    experiments: &[Experiment],
    hash: &mut Hash<'_>,
) -> anyhow::Result<(Named, Option<Named>)> {
    let full = named(full, config.models.full.clone(), hash)?;
    let needs = experiments
        .iter()
        .any(|one| [one.prover(), one.verifier()].contains(&Precision::Quantised));
    if !needs {
        return Ok((full, None));
    }
    let other = quantised(&full.model, &config.models.quantised, hash)?;
    let (a, b) = (full.model.config(), other.model.config());
    ensure!(
        (a.hidden, a.layers, a.vocab) == (b.hidden, b.layers, b.vocab),
        "{} is no form of {}: the sizes differ",
        other.name,
        full.name
    );
    Ok((full, Some(other)))
}

impl Setup {
    /// A model by its precision.
    pub fn model(&self, precision: Precision) -> anyhow::Result<&Named> {
        match precision {
            Precision::Full => Ok(&self.full),
            Precision::Quantised => self.quantised.as_ref().context("no quantised model"),
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
    pub fn prompt(&self, trial: usize) -> anyhow::Result<(String, Vec<u32>, usize)> {
        let prompts = self.config.prompts()?;
        let text = prompts.texts[trial % prompts.texts.len()].clone();
        let tokenizer = self.full.model.tokenizer();
        let ids = tokenizer
            .context("this checkpoint has no tokenizer\ngive it with --tokenizer FILE")?
            .encode(&text)?;
        let n = self.n_tokens.map_or(prompts.max_tokens, |n| n as usize);
        let context = self.full.model.config().context;
        ensure!(
            ids.len() + n <= context,
            "prompt {trial} and {n} tokens do not fit the model's context of {context}\nuse shorter prompts, or -n"
        );
        Ok((text, ids, n))
    }

    /// Positions that any trial needs.
    pub fn capacity(&self) -> anyhow::Result<usize> {
        let prompts = self.config.prompts()?.texts.len();
        let mut most = 1;
        for trial in 0..prompts.min(self.config.run.trials) {
            let (_, ids, n) = self.prompt(trial)?;
            most = most.max(ids.len() + n);
        }
        Ok(most)
    }
}

/// Profiles of a file before the shipped ones, each named after the file so that a report tells whose word it is.
pub fn profiles(file: Option<&Path>) -> anyhow::Result<Profiles> {
    let Some(path) = file else {
        return Ok(Profiles::embedded());
    };
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let mut profiles = Profiles::from_json(&text).with_context(|| {
        format!("{shown} holds no profiles\n`assay calibrate --apply FILE` makes such files")
    })?;
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    for profile in &mut profiles.0 {
        if let Some(fault) = profile.fault() {
            bail!(
                "{shown}: profile `{}` must not be used: {fault}",
                profile.id
            );
        }
        profile.id = format!("{} ({name})", profile.id);
    }
    profiles.0.extend(Profiles::embedded().0);
    Ok(profiles)
}

fn read_config(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    ensure!(
        bytes <= config::MAX_BYTES,
        "{shown} has {bytes} bytes, want at most {}",
        config::MAX_BYTES
    );
    std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))
}

fn named(model: Model, name: String, hash: &mut Hash<'_>) -> anyhow::Result<Named> {
    let root = hash(&model)?;
    Ok(Named {
        claim: ClaimOf::new(&model, root),
        model,
        name,
        root,
    })
}

fn quantised(full: &Model, what: &str, hash: &mut Hash<'_>) -> anyhow::Result<Named> {
    named(model_arg::variant(full, what)?, what.to_owned(), hash)
}
