//! All trials of an experiment, as VeriLLM sums them up and as they should be.

use std::collections::BTreeMap;

use assay_verify::{Verdict, binomial, profile::CONFIDENCE};
use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::plan::Experiment;
use crate::trial::{Trial, Verification};

/// The form of a summary's file.
pub const SCHEMA: &str = "assay-experiment-summary-1";

/// One experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// [`SCHEMA`].
    pub schema: String,
    /// `exp1` to `exp6`.
    pub experiment: Experiment,
    /// In words.
    pub title: String,
    /// What a trial's accept rate must exceed.
    pub accept_rate_threshold: f64,
    /// Everything together.
    pub aggregate: Aggregate,
    /// By direction, `prover -> verifiers`.
    pub directions: BTreeMap<String, Aggregate>,
    /// The seeds' two readings of an experiment whose sides have different weights.
    pub readings: Option<Readings>,
    /// What the seeds write; theirs, not measured here.
    pub seeds_say: String,
}

/// Figures of some trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aggregate {
    /// Trials.
    pub trials: usize,
    /// Verifications.
    pub verifications: usize,
    /// Pairs of rows.
    pub pairs: usize,
    /// By the reproduction's rule, the embedding included: what its tables call the accept rate.
    pub avg_accept_rate: f64,
    /// The smallest of a trial.
    pub min_accept_rate: f64,
    /// The largest of a trial.
    pub max_accept_rate: f64,
    /// Without the embedding, which always matches; `None` if a trial compared nothing else.
    pub avg_accept_rate_without_embedding: Option<f64>,
    /// By the paper's rule.
    pub avg_paper_accept_rate: f64,
    /// By the paper's rule, without the embedding.
    pub avg_paper_accept_rate_without_embedding: Option<f64>,
    /// Trials whose accept rate exceeds the threshold, by view.
    pub pass_rate: PassRates,
    /// Mean overhead in percent of generating.
    pub avg_overhead_percentage: f64,
    /// Mean tokens a second of the prover, with a KV cache.
    pub avg_tokens_per_second: f64,
    /// Mean share of tokens that a verifier's own replay gives.
    pub avg_replayed: f64,
    /// Largest relative L2 distance of a row.
    pub max_rel_l2: f64,
    /// Assay's own verdicts.
    pub own: OwnCounts,
}

/// Shares of trials that pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassRates {
    /// The reproduction's rule, as it counts.
    pub repo: f64,
    /// The same without the embedding.
    pub repo_without_embedding: Option<f64>,
    /// The paper's rule.
    pub paper: f64,
    /// The same without the embedding.
    pub paper_without_embedding: Option<f64>,
}

/// How often Assay said what.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnCounts {
    /// ACCEPT.
    pub accept: usize,
    /// REJECT.
    pub reject: usize,
    /// INCONCLUSIVE: no calibration profile covers the claim.
    pub inconclusive: usize,
    /// Codes of checks that did not pass, and how often.
    pub codes: BTreeMap<String, usize>,
}

/// The two readings of experiments 3 to 5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Readings {
    /// "Quantised should still pass": share of trials that pass by the reproduction's rule.
    pub should_pass: f64,
    /// Whether that is all of them.
    pub passes: bool,
    /// "Quantised must be caught": share of trials that do not pass by the reproduction's rule.
    pub caught: f64,
    /// Whether that exceeds the code's 0.8.
    pub is_caught: bool,
    /// The same by Assay's own verdict: share of verifications that end in REJECT.
    pub own_caught: f64,
    /// Lower bound of that share, 95 %, one-sided (Clopper-Pearson). The verifiers of a trial are not independent; trials are counted.
    pub own_caught_at_least: f64,
}

impl Summary {
    /// `None` without a trial.
    pub fn of(experiment: Experiment, trials: &[Trial], config: &Config) -> Option<Self> {
        let threshold = config
            .accept_rate
            .get(experiment.name())
            .copied()
            .unwrap_or(0.95);
        let all: Vec<&Trial> = trials.iter().collect();
        let aggregate = Aggregate::of(&all, threshold)?;
        let mut by_direction: BTreeMap<String, Vec<&Trial>> = BTreeMap::new();
        for trial in trials {
            by_direction
                .entry(direction(trial))
                .or_default()
                .push(trial);
        }
        let mut directions = BTreeMap::new();
        for (name, trials) in by_direction {
            if let Some(of) = Aggregate::of(&trials, threshold) {
                directions.insert(name, of);
            }
        }
        let readings = experiment.differs_in_weights().then(|| {
            let rejected = |trial: &&&Trial| {
                trial
                    .verifications
                    .iter()
                    .all(|one| one.own.verdict == Verdict::Reject)
            };
            let (n, caught) = (all.len(), all.iter().filter(rejected).count());
            let own = aggregate.own.reject as f64 / aggregate.verifications.max(1) as f64;
            Readings {
                should_pass: aggregate.pass_rate.repo,
                passes: aggregate.pass_rate.repo >= 1.0,
                caught: 1.0 - aggregate.pass_rate.repo,
                is_caught: 1.0 - aggregate.pass_rate.repo > 0.8,
                own_caught: own,
                own_caught_at_least: 1.0
                    - binomial::upper_bound(n as u64, (n - caught) as u64, CONFIDENCE),
            }
        });
        Some(Self {
            schema: SCHEMA.to_owned(),
            experiment,
            title: experiment.title().to_owned(),
            accept_rate_threshold: threshold,
            directions,
            aggregate,
            readings,
            seeds_say: experiment.seeds_say().to_owned(),
        })
    }
}

/// `prover -> verifiers`.
pub fn direction(trial: &Trial) -> String {
    let mut verifiers: Vec<&str> = Vec::new();
    for one in &trial.verifications {
        if !verifiers.contains(&one.verification_device.as_str()) {
            verifiers.push(&one.verification_device);
        }
    }
    format!(
        "{} -> {}",
        trial.proven.inference_device,
        verifiers.join(" + ")
    )
}

impl Aggregate {
    fn of(trials: &[&Trial], threshold: f64) -> Option<Self> {
        let n = trials.len();
        let all = || trials.iter().flat_map(|trial| &trial.verifications);
        let verifications = all().count();
        if n == 0 || trials.iter().any(|trial| trial.verifications.is_empty()) {
            return None;
        }
        let rates = |figure: fn(&Verification) -> Option<f64>| -> Option<Vec<f64>> {
            trials.iter().map(|trial| trial.mean(figure)).collect()
        };
        let repo = rates(|one| Some(one.summary.accept_rate))?;
        let paper = rates(|one| Some(one.summary.paper_accept_rate))?;
        let repo_without = rates(|one| one.summary.accept_rate_without_embedding);
        let paper_without = rates(|one| one.summary.paper_accept_rate_without_embedding);
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
        // Strictly above, as the seed has it.
        let passing = |values: &[f64]| {
            values.iter().filter(|rate| **rate > threshold).count() as f64 / n as f64
        };
        let over = |figure: fn(&Verification) -> f64| {
            all().map(figure).sum::<f64>() / verifications.max(1) as f64
        };
        let mut own = OwnCounts::default();
        for one in all() {
            match one.own.verdict {
                Verdict::Accept => own.accept += 1,
                Verdict::Reject => own.reject += 1,
                Verdict::Inconclusive => own.inconclusive += 1,
            }
            for code in &one.own.codes {
                *own.codes.entry(code.clone()).or_default() += 1;
            }
        }
        let speeds: Vec<f64> = trials
            .iter()
            .map(|t| t.proven.timing.tokens_per_second)
            .collect();
        Some(Self {
            trials: n,
            verifications,
            pairs: all().map(|one| one.summary.total_count).sum(),
            avg_accept_rate: mean(&repo),
            min_accept_rate: repo.iter().copied().fold(f64::INFINITY, f64::min),
            max_accept_rate: repo.iter().copied().fold(0.0, f64::max),
            avg_accept_rate_without_embedding: repo_without.as_deref().map(mean),
            avg_paper_accept_rate: mean(&paper),
            avg_paper_accept_rate_without_embedding: paper_without.as_deref().map(mean),
            pass_rate: PassRates {
                repo: passing(&repo),
                repo_without_embedding: repo_without.as_deref().map(passing),
                paper: passing(&paper),
                paper_without_embedding: paper_without.as_deref().map(passing),
            },
            avg_overhead_percentage: over(|one| one.overhead.percentage),
            avg_tokens_per_second: mean(&speeds),
            avg_replayed: over(|one| one.replayed),
            max_rel_l2: all()
                .flat_map(|one| one.per_layer.values())
                .map(|pair| pair.rel_l2)
                .fold(0.0, f64::max),
            own,
        })
    }
}
