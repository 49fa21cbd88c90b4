//! One trial: a prover's trace, and what each verifier says of it. Field names are those of VeriLLM's reproduction where it has them.

use std::collections::BTreeMap;

use assay_engine::{Engine, Monitor};
use assay_model::Model;
use assay_prove::{Request, Timings, prove_as};
use assay_trace::{Digest, ModelClaim, Trace};
use assay_verify::Profiles;
use assay_verify::verillm::Rule;
use serde::{Deserialize, Serialize};

use crate::ExperimentError;
use crate::config::Config;
use crate::observe::{Observed, Own, Row, observe};

/// The form of a trial's file.
pub const SCHEMA: &str = "assay-trial-1";

/// What a prover left behind for verifiers, beside its trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    /// [`SCHEMA`].
    pub schema: String,
    /// Digest of everything that this depends on: a resumed run keeps what has the same.
    pub key: Digest,
    /// `exp1` to `exp6`.
    pub experiment: String,
    /// 0, or 1 for the other direction of a heterogeneous experiment.
    pub direction: usize,
    /// Which trial.
    pub trial_id: usize,
    /// `short`, `medium` or `long`.
    pub input_category: String,
    /// The prover's weights.
    pub model: String,
    /// The prover's device.
    pub inference_device: String,
    /// The prompt.
    pub prompt: String,
    /// Ids of the answer.
    pub generated_tokens: Vec<u32>,
    /// Its text.
    pub generated_text: String,
    /// How long it took.
    pub timing: Timing,
    /// The trace's file name, beside this.
    pub hidden_states_file: String,
    /// SHA-256 of it.
    pub hidden_states_digest: Digest,
    /// Tokens of the answer.
    pub num_tokens_generated: usize,
    /// Hidden states that are compared.
    pub layers_sampled: Vec<u32>,
    /// Root of the weights that really ran.
    pub true_root: Digest,
    /// Root that the trace claims: the verifier's weights.
    pub claimed_root: Digest,
}

/// Wall-clock time of a prover.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timing {
    /// Seconds of the prompt and of decoding with a KV cache; reading hidden states back is in it, hashing them is not.
    pub total_time: f64,
    /// Generated tokens a second of decoding.
    pub tokens_per_second: f64,
    /// Seconds of hashing and recording, besides.
    pub commit_time: f64,
}

impl Timing {
    /// From a prover's.
    pub fn of(timings: &Timings) -> Self {
        Self {
            total_time: (timings.total_s - timings.commit_s).max(0.0),
            tokens_per_second: timings.tokens_per_s,
            commit_time: timings.commit_s,
        }
    }
}

/// A finished trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// The prover's half.
    pub proven: Proven,
    /// Digest of all that the verifiers' half depends on.
    pub key: Digest,
    /// What each verifier found.
    pub verifications: Vec<Verification>,
}

/// One verifier's word.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verification {
    /// 0, 1, ...
    pub verifier_id: usize,
    /// Its device.
    pub verification_device: String,
    /// Its weights.
    pub model: String,
    /// Figures by `token_I_layer_J`, for the I-th generated token that entered the model, and hidden state J.
    pub per_layer: BTreeMap<String, PairFigures>,
    /// Over all of them.
    pub summary: RateSummary,
    /// What verifying cost beside generating.
    pub overhead: Overhead,
    /// What Assay itself says of the trace.
    pub own: Own,
    /// Share of emitted tokens that this verifier's own replay gives.
    pub replayed: f64,
}

/// One pair of rows.
#[allow(
    non_snake_case,
    missing_docs,
    reason = "the names of the reproduction's files"
)]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairFigures {
    pub Pe: f64,
    pub Pm: f64,
    pub Pw: f64,
    pub mean_error: f64,
    pub max_error: f64,
    pub exact_match: usize,
    pub exp_match_small: usize,
    pub exp_match_large: usize,
    pub exp_mismatch_small: usize,
    pub exp_mismatch_large: usize,
    /// Conditioned on different exponents, as in the paper.
    pub paper_Pm: f64,
    /// Conditioned on equal exponents, as in the paper.
    pub paper_Pw: f64,
    /// The paper's mean, with signs.
    pub signed_mean: f64,
    /// Assay's distance.
    pub rel_l2: f64,
    /// The reproduction's rule.
    pub verdict: Word,
    /// The paper's rule.
    pub paper_verdict: Word,
}

/// A rule's word on a pair of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs, reason = "two words")]
pub enum Word {
    Accept,
    Reject,
}

/// Accept rates of one verifier, or their means.
#[allow(non_snake_case, reason = "the names of the reproduction's files")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateSummary {
    /// By the reproduction's rule, as it counts: the embedding, which always matches, included.
    pub accept_rate: f64,
    /// The same without the embedding; `None` if nothing else was compared.
    pub accept_rate_without_embedding: Option<f64>,
    /// By the paper's rule.
    pub paper_accept_rate: f64,
    /// The same without the embedding.
    pub paper_accept_rate_without_embedding: Option<f64>,
    /// Pairs that the reproduction's rule accepts.
    pub accept_count: usize,
    /// Pairs.
    pub total_count: usize,
    /// Mean of the mean errors.
    pub avg_mean_error: f64,
    /// Mean of Pe.
    pub avg_Pe: f64,
}

/// Times of a verification.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Overhead {
    /// The prover's seconds, decoding with a KV cache.
    pub inference_time: f64,
    /// The verifier's seconds: one prefill, and comparing.
    pub verification_time: f64,
    /// The latter over the former.
    pub ratio: f64,
    /// The same in percent.
    pub percentage: f64,
}

/// What a trial's trace claims: the verifier's model.
#[derive(Debug, Clone)]
pub struct ClaimOf {
    /// The claim.
    pub claim: ModelClaim,
}

impl ClaimOf {
    /// The claim of whoever really runs `model`, whose root is `root`.
    pub fn new(model: &Model, root: Digest) -> Self {
        Self {
            claim: assay_prove::claim(model, root),
        }
    }
}

/// Runs a prover on `model` and seals a trace that claims another.
///
/// # Errors
/// The prover's.
pub async fn run_prover(
    engine: &mut Engine,
    model: &Model,
    claim: &ClaimOf,
    request: &Request,
    monitor: &mut dyn Monitor,
) -> Result<(Vec<u8>, Vec<u32>, Timing), ExperimentError> {
    let proved = prove_as(engine, model, claim.claim.clone(), request, monitor).await?;
    let bytes = proved.trace.to_bytes();
    Ok((bytes, proved.output, Timing::of(&proved.timings)))
}

/// Verifies a trace, and counts as VeriLLM does: rows at the generated tokens that entered the model, at the sampled layers.
///
/// # Errors
/// The trace is damaged; the engine failed.
pub async fn run_verifier(
    trace: &[u8],
    engine: &mut Engine,
    profiles: &Profiles,
    config: &Config,
    monitor: &mut dyn Monitor,
) -> Result<(Observed, BTreeMap<String, PairFigures>, RateSummary), ExperimentError> {
    let trace = Trace::parse(trace)?;
    let profile = profiles.select(trace.manifest(), engine.info());
    let observed = observe(&trace, engine, profile, monitor).await?;
    let layers = config.run.layers.of(engine.config().layers);
    let n_prompt = trace.prompt().len();
    let mut per_layer = BTreeMap::new();
    for row in &observed.rows {
        let Some(token) = row.position.checked_sub(n_prompt) else {
            continue;
        };
        if layers.contains(&row.layer) {
            let key = format!("token_{token}_layer_{}", row.layer);
            per_layer.insert(key, figures(row, config));
        }
    }
    let summary = RateSummary::of(&per_layer);
    Ok((observed, per_layer, summary))
}

fn figures(row: &Row, config: &Config) -> PairFigures {
    let s = &row.verillm;
    let word = |rule| match config.accepts(rule, s) {
        true => Word::Accept,
        false => Word::Reject,
    };
    PairFigures {
        Pe: s.pe,
        Pm: s.pm,
        Pw: s.pw,
        mean_error: s.mean_error,
        max_error: s.max_error,
        exact_match: s.repo_classes.exact,
        exp_match_small: s.repo_classes.match_small,
        exp_match_large: s.repo_classes.match_large,
        exp_mismatch_small: s.repo_classes.mismatch_small,
        exp_mismatch_large: s.repo_classes.mismatch_large,
        paper_Pm: s.pm_mismatched,
        paper_Pw: s.pw_matched,
        signed_mean: s.signed_mean,
        rel_l2: row.rel_l2,
        verdict: word(Rule::Repo),
        paper_verdict: word(Rule::Paper),
    }
}

/// The layer in a key of `per_layer`.
pub fn layer_of(key: &str) -> Option<u32> {
    key.rsplit_once('_')?.1.parse().ok()
}

/// The generated token in a key of `per_layer`.
pub fn token_of(key: &str) -> Option<usize> {
    key.strip_prefix("token_")?.split_once('_')?.0.parse().ok()
}

impl RateSummary {
    /// Of one verification.
    pub fn of(pairs: &BTreeMap<String, PairFigures>) -> Self {
        let inner = || pairs.iter().filter(|(key, _)| layer_of(key) != Some(0));
        let inner_count = inner().count();
        let (n, accept) = (pairs.len().max(1) as f64, Word::Accept);
        let count = |word: fn(&PairFigures) -> Word| {
            pairs.values().filter(|pair| word(pair) == accept).count()
        };
        let inner_rate = |word: fn(&PairFigures) -> Word| {
            let accepted = inner().filter(|(_, pair)| word(pair) == accept).count();
            (inner_count > 0).then(|| accepted as f64 / inner_count as f64)
        };
        let accept_count = count(|pair| pair.verdict);
        Self {
            accept_rate: accept_count as f64 / n,
            accept_rate_without_embedding: inner_rate(|pair| pair.verdict),
            paper_accept_rate: count(|pair| pair.paper_verdict) as f64 / n,
            paper_accept_rate_without_embedding: inner_rate(|pair| pair.paper_verdict),
            accept_count,
            total_count: pairs.len(),
            avg_mean_error: pairs.values().map(|pair| pair.mean_error).sum::<f64>() / n,
            avg_Pe: pairs.values().map(|pair| pair.Pe).sum::<f64>() / n,
        }
    }
}

impl Overhead {
    /// From both sides' seconds.
    pub fn new(inference_time: f64, verification_time: f64) -> Self {
        let ratio = verification_time / inference_time.max(1e-9);
        Self {
            inference_time,
            verification_time,
            ratio,
            percentage: 100.0 * ratio,
        }
    }
}

impl Trial {
    /// The mean over verifiers of a figure that each must have.
    pub fn mean(&self, figure: impl Fn(&Verification) -> Option<f64>) -> Option<f64> {
        let values: Option<Vec<f64>> = self.verifications.iter().map(figure).collect();
        let values = values.filter(|values| !values.is_empty())?;
        Some(values.iter().sum::<f64>() / values.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(verdict: Word, paper_verdict: Word) -> PairFigures {
        PairFigures {
            Pe: 0.5,
            Pm: 0.0,
            Pw: 0.0,
            mean_error: 2.0,
            max_error: 0.0,
            exact_match: 0,
            exp_match_small: 0,
            exp_match_large: 0,
            exp_mismatch_small: 0,
            exp_mismatch_large: 0,
            paper_Pm: 0.0,
            paper_Pw: 0.0,
            signed_mean: 0.0,
            rel_l2: 0.0,
            verdict,
            paper_verdict,
        }
    }

    #[test]
    fn the_embedding_is_counted_apart() {
        use Word::{Accept, Reject};
        let pairs = BTreeMap::from([
            ("token_0_layer_0".to_owned(), pair(Accept, Accept)),
            ("token_0_layer_8".to_owned(), pair(Reject, Reject)),
            ("token_1_layer_0".to_owned(), pair(Accept, Accept)),
            ("token_1_layer_8".to_owned(), pair(Accept, Reject)),
        ]);
        let summary = RateSummary::of(&pairs);
        assert_eq!((summary.accept_count, summary.total_count), (3, 4));
        assert_eq!(summary.accept_rate, 0.75);
        assert_eq!(summary.accept_rate_without_embedding, Some(0.5));
        assert_eq!(summary.paper_accept_rate_without_embedding, Some(0.0));
        assert_eq!((summary.avg_mean_error, summary.avg_Pe), (2.0, 0.5));
        let only: BTreeMap<_, _> = pairs
            .into_iter()
            .filter(|(k, _)| layer_of(k) == Some(0))
            .collect();
        assert_eq!(RateSummary::of(&only).accept_rate_without_embedding, None);
        assert_eq!(
            (token_of("token_12_layer_8"), layer_of("token_12_layer_8")),
            (Some(12), Some(8))
        );
    }
}
