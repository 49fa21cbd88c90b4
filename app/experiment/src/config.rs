//! What experiments are made with: models, thresholds and prompts, from a TOML file over the defaults in this crate.

use std::collections::BTreeMap;

use assay_verify::verillm::{Rule, Thresholds, VeriLlm};
use serde::{Deserialize, Serialize};

use crate::ExperimentError;

/// Bytes that a configuration may have.
pub const MAX_BYTES: u64 = 4 << 20;

/// The whole configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which models.
    pub models: Models,
    /// How trials run.
    pub run: Run,
    /// What an accept rate must exceed, by experiment.
    pub accept_rate: BTreeMap<String, f64>,
    /// Thresholds of the reproduction's rule.
    pub repo: Limits,
    /// Thresholds of the paper's rule.
    pub paper: Limits,
    /// Prompts by their length's name.
    pub prompts: BTreeMap<String, Prompts>,
}

/// Models: a path, `demo`, or (quantised) `round:int4`, `round:int8`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    /// In full precision.
    pub full: String,
    /// Quantised.
    pub quantised: String,
}

/// How trials run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Trials of each experiment.
    pub trials: usize,
    /// Verifications of each trial.
    pub verifiers: usize,
    /// The sampler's temperature; 0 is greedy.
    pub temperature: f64,
    /// The sampler's top-p.
    pub top_p: f64,
    /// `every8` or `all`.
    pub layers: Layers,
    /// A key of `prompts`.
    pub prompts: String,
}

/// Which hidden states are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layers {
    /// 0, 8, 16, ... up to the number of layers: the seed's range(0, L + 1, 8).
    Every8,
    /// All.
    All,
}

/// Thresholds of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Most exponent mismatches, as a fraction.
    pub pe: f64,
    /// Least large deviations.
    pub pm: f64,
    /// Least small deviations.
    pub pw: f64,
    /// Largest mean error.
    pub mean: f64,
}

/// Prompts of one length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompts {
    /// Tokens to generate.
    pub max_tokens: usize,
    /// The prompts; trial i takes the i-th, from the first again after the last.
    pub texts: Vec<String>,
}

impl Config {
    /// The defaults: `defaults.toml`, as `build.rs` writes it.
    pub fn defaults() -> Self {
        include!(concat!(env!("OUT_DIR"), "/defaults.rs"))
    }

    /// The defaults, with what `file` says in place of them. Tables are merged; prompts of one length are replaced whole.
    ///
    /// # Errors
    /// A file that is no TOML, has unknown keys, or asks for what cannot be run.
    #[cfg(feature = "native")]
    pub fn read(file: Option<&str>) -> Result<Self, ExperimentError> {
        let wrong = |err: toml::de::Error| ExperimentError::Config(err.to_string());
        let mut table: toml::Table =
            toml::from_str(include_str!("../defaults.toml")).map_err(wrong)?;
        if let Some(file) = file {
            merge(&mut table, toml::from_str(file).map_err(wrong)?, 0);
        }
        let config: Self = table.try_into().map_err(wrong)?;
        config.check()?;
        Ok(config)
    }

    /// Refuses what cannot be run.
    ///
    /// # Errors
    /// Says what is wrong.
    pub fn check(&self) -> Result<(), ExperimentError> {
        let wrong = |what: String| Err(ExperimentError::Config(what));
        if self.run.trials == 0 || self.run.verifiers == 0 {
            return wrong("at least one trial and one verifier are needed".to_owned());
        }
        if !(self.run.temperature >= 0.0 && self.run.temperature <= 100.0) {
            return wrong(format!("run.temperature is {}", self.run.temperature));
        }
        if !(self.run.top_p > 0.0 && self.run.top_p <= 1.0) {
            return wrong(format!(
                "run.top_p is {}, want above 0, at most 1",
                self.run.top_p
            ));
        }
        let rates = self.accept_rate.iter();
        if let Some((name, rate)) = rates.into_iter().find(|(_, r)| !(0.0..=1.0).contains(*r)) {
            return wrong(format!("accept_rate.{name} is {rate}"));
        }
        let prompts = self.prompts()?;
        if prompts.texts.is_empty() || prompts.max_tokens == 0 {
            return wrong(format!("prompts.{} is empty", self.run.prompts));
        }
        Ok(())
    }

    /// The prompts of the chosen length.
    ///
    /// # Errors
    /// No such prompts.
    pub fn prompts(&self) -> Result<&Prompts, ExperimentError> {
        self.prompts.get(&self.run.prompts).ok_or_else(|| {
            let known: Vec<&str> = self.prompts.keys().map(String::as_str).collect();
            ExperimentError::Config(format!(
                "no prompts named `{}`: want one of {}",
                self.run.prompts,
                known.join(", ")
            ))
        })
    }

    /// Whether `rule`, with this configuration's thresholds, accepts a pair of rows.
    pub fn accepts(&self, rule: Rule, row: &VeriLlm) -> bool {
        let limits = match rule {
            Rule::Repo => self.repo,
            Rule::Paper => self.paper,
        };
        row.is_accepted_with(
            rule,
            Thresholds {
                pe: limits.pe,
                pm: limits.pm,
                pw: limits.pw,
                mean: limits.mean,
            },
        )
    }
}

impl Layers {
    /// The hidden states of a model with so many layers.
    pub fn of(self, layers: usize) -> Vec<u32> {
        let step = match self {
            Self::Every8 => 8,
            Self::All => 1,
        };
        (0..=layers as u32).step_by(step).collect()
    }
}

fn named(all: &[(&str, f64)]) -> BTreeMap<String, f64> {
    let mut rates = BTreeMap::new();
    for (name, rate) in all {
        rates.insert((*name).to_owned(), *rate);
    }
    rates
}

fn prompts(all: &[(&str, usize, &[&str])]) -> BTreeMap<String, Prompts> {
    let mut prompts = BTreeMap::new();
    for (name, max_tokens, texts) in all {
        let of = Prompts {
            max_tokens: *max_tokens,
            texts: texts.iter().map(|text| (*text).to_owned()).collect(),
        };
        prompts.insert((*name).to_owned(), of);
    }
    prompts
}

/// Puts what `new` says over `old`; below [prompts] a table is one thing.
#[cfg(feature = "native")]
fn merge(old: &mut toml::Table, new: toml::Table, depth: usize) {
    for (key, value) in new {
        match (old.get_mut(&key), value) {
            (Some(toml::Value::Table(old)), toml::Value::Table(new)) if depth == 0 => {
                merge(old, new, depth + 1);
            }
            (_, value) => {
                old.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "native")]
    #[test]
    fn a_file_says_only_what_is_other() {
        let plain = Config::read(None).unwrap();
        assert_eq!(plain, Config::defaults());
        assert_eq!(plain.accept_rate["exp4"], 0.70);
        let file = "[run]\ntrials = 20\n[accept_rate]\nexp1 = 0.99\n\
                    [prompts.mine]\nmax_tokens = 4\ntexts = [\"a\"]";
        let config = Config::read(Some(file)).unwrap();
        assert_eq!((config.run.trials, config.run.verifiers), (20, 3));
        assert_eq!(
            (config.accept_rate["exp1"], config.accept_rate["exp2"]),
            (0.99, 0.90)
        );
        assert_eq!(config.prompts["mine"].max_tokens, 4);
        assert_eq!(config.prompts["short"], plain.prompts["short"]);
        for wrong in [
            "[run]\ntrials = 0",
            "[run]\nprompts = \"none\"",
            "[run]\ntop_p = nan",
            "[run]\ntrails = 1",
            "[accept_rate]\nexp1 = 2.0",
            "no toml",
        ] {
            assert!(Config::read(Some(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn layers_are_those_of_the_seed() {
        assert_eq!(Layers::Every8.of(28), [0, 8, 16, 24]);
        assert_eq!(Layers::Every8.of(32), [0, 8, 16, 24, 32]);
        assert_eq!(Layers::Every8.of(8), [0, 8]);
        assert_eq!(Layers::All.of(2), [0, 1, 2]);
    }

    /// Whoever changes nothing gets the published rules.
    #[test]
    fn defaults_are_the_published_thresholds() {
        let config = Config::defaults();
        config.check().unwrap();
        for (rule, limits) in [(Rule::Repo, config.repo), (Rule::Paper, config.paper)] {
            let published = rule.thresholds();
            assert_eq!(
                (limits.pe, limits.pm, limits.pw, limits.mean),
                (published.pe, published.pm, published.pw, published.mean)
            );
        }
    }
}
