//! The flags of experiments, and what they come to: models, devices, prompts.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use assay_engine::GpuOptions;
use assay_experiment::config::{self, Config, Layers};
use assay_experiment::{Devices, Experiment, Named, Precision, Setup};
use assay_model::Model;
use assay_verify::Profiles;

use crate::device_arg::DeviceArgs;
use crate::model_arg::{self, ModelArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::tune_file;

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
        let mut named = |model: Model, name: &str| -> anyhow::Result<Named> {
            let root = model_arg::root(&model, progress)?;
            Ok(Named::new(model, name, root))
        };
        let full = named(model, &config.models.full)?;
        let needs = |one: &Experiment| one.needs(Precision::Quantised);
        let quantised = match experiments.iter().any(needs) {
            true => {
                let name = &config.models.quantised;
                Some(named(model_arg::variant(&full.model, name)?, name)?)
            }
            false => None,
        };
        let prover = self.prover_adapter.clone();
        let prover = prover.or_else(|| device.adapter.clone());
        let (prover, verifiers) = devices().pair(prover, &self.verifier_adapter).await;
        let setup = Setup {
            config,
            full,
            quantised,
            prover,
            verifiers,
            verifiers_were_named: !self.verifier_adapter.is_empty(),
            profiles: profiles(self.profile.as_deref())?,
            n_tokens: self.n_tokens,
            remarks: Vec::new(),
        };
        setup.check()?;
        Ok(setup)
    }
}

/// This machine's devices.
pub fn devices() -> Devices {
    Devices::new(GpuOptions {
        tunings: tune_file::tunings(),
        ..GpuOptions::default()
    })
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
