//! The report: the JSON contract of `docs/report.schema.json`. Field order here is the order in the file.
//!
//! What a prover wrote stands only under `prover_says`; everything else is the verifier's own word.

use std::collections::BTreeMap;

use assay_engine::{ActivationType, AdapterInfo};
use assay_trace::{Compute, Manifest, NumericsClass, Sampler, StateDtype, StopReason};
use serde::{Deserialize, Serialize};

use crate::audit::AuditReport;
use crate::masks::MaskReport;
use crate::profile::{NearestCheat, Tried, Unit};
use crate::sequential::SequentialState;
use crate::statistics::LayerStatistics;
use crate::suspects::Lean;
use crate::word::{self, Word};

/// Version of the report's form.
pub const SCHEMA_VERSION: u32 = 1;

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every check passed. Not a proof: `coverage.not_covered` says what remains open.
    Accept,
    /// At least one check failed.
    Reject,
    /// Nothing failed, but something could not be judged.
    Inconclusive,
}

/// How a verdict was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The verifier ran the model itself, with the weights.
    Replay,
    /// The verifier checked opened layers by projections, with a key instead of the weights.
    Audit,
}

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing against it.
    Pass,
    /// The trace contradicts it.
    Fail,
    /// Cannot be judged here.
    Inconclusive,
    /// Not run: an earlier check failed, or nothing was asked for.
    Skipped,
}

/// Where a check found what it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Where {
    /// Index of a hidden state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<u32>,
    /// Position in prompt plus output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// Token id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<u32>,
    /// Byte offset, in what `detail` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub byte: Option<u64>,
    /// Step of a forward pass, as a stable word of `docs/checks.md`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "word::read_if_any"
    )]
    pub step: Option<Word>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Which check: stable.
    #[serde(deserialize_with = "word::read")]
    pub id: Word,
    /// How it ended.
    pub outcome: Outcome,
    /// The reason as a stable word of `docs/checks.md`; `ok` for a pass, `skipped` for a check that did not run.
    #[serde(deserialize_with = "word::read")]
    pub code: Word,
    /// What was measured, if it is a number.
    pub measured: Option<f64>,
    /// What it was held against.
    pub limit: Option<f64>,
    /// Where.
    #[serde(rename = "where", default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Where>,
    /// A sentence for people. The verifier's words; a prover's are escaped and quoted.
    pub detail: String,
    /// The system that the check comes from.
    #[serde(deserialize_with = "word::read")]
    pub source: Word,
}

impl Check {
    /// A check that ended with `outcome` and `code`.
    pub fn new(
        id: &'static str,
        outcome: Outcome,
        code: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        let source = source_of(id);
        Self {
            id,
            outcome,
            code,
            measured: None,
            limit: None,
            place: None,
            detail: detail.into(),
            source,
        }
    }

    /// A pass.
    pub fn pass(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Outcome::Pass, "ok", detail)
    }

    /// A fail.
    pub fn fail(id: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Outcome::Fail, code, detail)
    }

    /// One that did not run.
    pub fn skipped(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Outcome::Skipped, "skipped", detail)
    }

    /// Adds the numbers. What is not finite (a tolerance that does not exist, say) is left out: JSON has no word for it.
    pub fn numbers(mut self, measured: f64, limit: f64) -> Self {
        self.measured = Some(measured).filter(|x| x.is_finite());
        self.limit = Some(limit).filter(|x| x.is_finite());
        self
    }

    /// Adds the place.
    pub fn at(mut self, place: Where) -> Self {
        self.place = Some(place);
        self
    }
}

/// Every check's id in the order in which they run, with its source.
pub const CHECKS: [(&str, &str); 27] = [
    ("live", "VeriLLM commit, challenge, reveal; Verathos nonces"),
    ("structure", "assay; CommitLLM fail-closed parsing"),
    ("commitment", "llama2-rs Merkle trace; CommitLLM; VeriLLM"),
    ("nonce", "Verathos, GRAIL freshness"),
    ("model-root", "CommitLLM weight identity"),
    ("tokenizer", "CommitLLM"),
    ("model-shape", "assay"),
    ("sparsity", "llama-skip; CATS; TEAL; Deja Vu"),
    ("precision", "Token-DiFR; VeriLLM FP16 and INT4 provers"),
    ("activations", "CommitLLM W8A8; llama.cpp Q8 products"),
    ("prompt", "CommitLLM, GRAIL prompt binding"),
    ("sampler", "CommitLLM sampler binding"),
    ("context", "assay"),
    ("profile", "agentcoin versioned thresholds; OGONG"),
    ("self-test", "assay"),
    ("challenge", "CommitLLM; VeriLLM sampled openings"),
    ("embedding", "VeriLLM layer 0"),
    ("hidden-states", "VeriLLM; TOPLOC; DiFR"),
    ("masks", "llama-skip; CATS; TEAL; Deja Vu"),
    (
        "linear-layers",
        "verified_llm Freivalds; SLALOM; CommitLLM; Ji, Mascagni, Li",
    ),
    ("layer-transition", "CommitLLM; verified_llm"),
    ("tokens", "Token-DiFR"),
    ("token-agreement", "Token-DiFR exact-match rate"),
    ("stop-reason", "CommitLLM"),
    ("sequential", "OGONG sequential test (Ville)"),
    ("suspects", "assay"),
    ("strict", "llama2-rs hashes, made portable"),
];

fn source_of(id: &str) -> &'static str {
    CHECKS
        .iter()
        .find(|(known, _)| *known == id)
        .map_or("assay", |(_, source)| source)
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceReport {
    /// Of all its bytes.
    pub sha256: String,
    /// Merkle root over positions, once recomputed and found equal.
    pub root: Option<String>,
}

/// The verifier's own model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReport {
    /// Its root; absent where the verdict fell before it was hashed.
    pub root: Option<String>,
    /// Architecture.
    pub family: String,
    /// Stored type.
    pub dtype: String,
    /// Weights.
    pub parameters: u64,
}

/// Whether the trace is known to answer this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Freshness {
    /// It holds the nonce that was asked for.
    Nonce,
    /// No nonce was asked for: it may be old.
    None,
}

/// How much was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// Positions whose opened hidden states were compared.
    pub positions: usize,
    /// Positions of the trace.
    pub positions_total: usize,
    /// Hidden states opened and compared.
    pub layers: Vec<u32>,
    /// Hidden states at each position: layers + 1.
    pub layers_total: usize,
    /// Emitted tokens judged.
    pub tokens: usize,
    /// Committed digests (hidden states of every layer and logits) that equal the verifier's own, as a fraction.
    pub exact_fraction: f64,
    /// The same, of the logits alone.
    pub exact_logits_fraction: f64,
    /// Numbers in opened hidden states that were compared.
    pub opened_values: u64,
    /// Freshness.
    pub freshness: Freshness,
    /// What this verdict does not say, a sentence each.
    pub not_covered: Vec<String>,
}

/// Fractions of rows that VeriLLM's rules accept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AcceptRate {
    /// The reproduction's rule.
    pub repo: f64,
    /// The paper's.
    pub paper: f64,
    /// Without hidden state 0, which matches whenever the tokens do. Null if nothing else was opened.
    pub repo_without_layer0: Option<f64>,
    /// The same by the paper's rule.
    pub paper_without_layer0: Option<f64>,
}

/// Statistics over emitted tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct TokenStatistics {
    /// Tokens judged.
    pub n: usize,
    /// Tokens that the verifier's own replay gives.
    pub replayed: usize,
    /// How many of them an unrelated seed would be expected to give.
    pub replayed_by_chance: f64,
    /// Largest margin, over its limit.
    pub worst_margin_over_limit: f64,
    /// Mean of min(margin, 0.5), as Token-DiFR scores.
    pub mean_margin: f64,
    /// Mean ln likelihood at the sampler's temperature.
    pub mean_log_likelihood: f64,
}

/// Numbers behind the checks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// What the relative L2 distances of layers are counted in: `norm`, or `emulated` of provers in half precision.
    pub distance_unit: Unit,
    /// By opened hidden state.
    pub per_layer: Vec<LayerStatistics>,
    /// VeriLLM's accept rates; null if nothing was compared.
    pub accept_rate: Option<AcceptRate>,
    /// Tokens; null if none was judged.
    pub tokens: Option<TokenStatistics>,
    /// The sequential test; null without a profile.
    pub sequential: Option<SequentialState>,
    /// Masks of a sparse MLP; absent for a dense one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub masks: Option<MaskReport>,
    /// How the hidden states lean towards the models that were suspected; absent where none was named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspects: Vec<Lean>,
}

/// The profile that the limits come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProfileReport {
    /// Its name.
    pub id: String,
    /// Day it was measured.
    pub date: String,
    /// Honest traces it rests on.
    pub honest_traces: u64,
    /// Of those, rejected by limits from the others.
    pub false_rejects: u64,
    /// 95 % upper bound (Clopper-Pearson) of the false-reject rate.
    pub false_reject_upper_bound: f64,
    /// Forged commitments that its limits accepted, by kind.
    pub null_forgery: BTreeMap<String, Tried>,
    /// The cheat that came closest.
    pub nearest_cheat: Option<NearestCheat>,
}

/// Who computed how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumericsReport {
    /// The verifier's own kernels: `fast` or `strict`.
    #[serde(deserialize_with = "word::read")]
    pub verifier: Word,
    /// How the verdict compares: `exact`, where a strict trace's digests decide and no tolerance does, or `tolerance`.
    #[serde(deserialize_with = "word::read")]
    pub comparison: Word,
}

/// The prover's words: claims that nothing here confirms unless a check says so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProverSays {
    /// Its device.
    pub adapter: String,
    /// Its program.
    pub producer: String,
    /// What it rounded the inputs of linear products to.
    pub activations: ActivationType,
    /// Its arithmetic.
    pub numerics_class: NumericsClass,
    /// What it rounded activations to.
    pub compute: Compute,
    /// How hidden states are stored.
    pub state_dtype: StateDtype,
    /// Its sampler.
    pub sampler: Sampler,
    /// Why it stopped.
    pub stop: StopReason,
    /// Architecture.
    pub model_family: String,
    /// Stored type of its weights.
    pub model_dtype: String,
}

impl ProverSays {
    /// Copies a manifest's claims.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            adapter: manifest.adapter.clone(),
            producer: manifest.producer.clone(),
            activations: ActivationType::of(manifest.numerics.activations),
            numerics_class: manifest.numerics.class,
            compute: manifest.numerics.compute,
            state_dtype: manifest.state_dtype,
            sampler: manifest.sampler,
            stop: manifest.output.stop,
            model_family: manifest.model.family.clone(),
            model_dtype: manifest.model.dtype.clone(),
        }
    }
}

/// Wall-clock times.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Self-test and weights onto the device.
    pub load_s: f64,
    /// The model's run, without comparing.
    pub prefill_s: f64,
    /// Everything else: hashing, comparing, judging.
    pub checks_s: f64,
    /// From first to last.
    pub total_s: f64,
    /// Positions over `prefill_s`; 0 if nothing ran.
    pub prefill_tokens_per_s: f64,
}

/// The whole report.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// How it was found.
    pub method: Method,
    /// The answer.
    pub verdict: Verdict,
    /// It in a sentence.
    pub summary: String,
    /// The file.
    pub trace: TraceReport,
    /// The verifier's model.
    pub model: ModelReport,
    /// How much was looked at.
    pub coverage: Coverage,
    /// Every check, in order.
    pub checks: Vec<Check>,
    /// Numbers behind them.
    pub statistics: Statistics,
    /// What an audit saw of linear layers; null for a replay.
    pub audit: Option<AuditReport>,
    /// Where limits come from; null where no profile covers the claim.
    pub profile: Option<ProfileReport>,
    /// The verifier's device.
    pub adapter: AdapterInfo,
    /// Arithmetic.
    pub numerics: NumericsReport,
    /// The prover's words; null if the file is no trace.
    pub prover_says: Option<ProverSays>,
    /// Times.
    pub timings: Timings,
}

impl Report {
    /// The JSON object.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }

    /// The reverse, for whoever receives a report from a worker of its own.
    pub fn from_json(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Codes of the checks that failed, in order, each once.
    pub fn failed_codes(&self) -> Vec<&'static str> {
        codes(&self.checks, Outcome::Fail)
    }
}

fn codes(checks: &[Check], outcome: Outcome) -> Vec<&'static str> {
    let mut codes: Vec<&'static str> = Vec::new();
    for check in checks.iter().filter(|check| check.outcome == outcome) {
        if !codes.contains(&check.code) {
            codes.push(check.code);
        }
    }
    codes
}

/// The verdict that `checks` come to, and it in a sentence. Accepting takes a passed comparison of what the `method` compares, and
/// of tokens: where nothing was checked there is nothing to accept.
pub fn conclude(method: Method, checks: &[Check]) -> (Verdict, String) {
    let first = |outcome| checks.iter().find(|check| check.outcome == outcome);
    if let Some(check) = first(Outcome::Fail) {
        let also: Vec<_> = codes(checks, Outcome::Fail)
            .into_iter()
            .filter(|code| *code != check.code)
            .collect();
        let also = if also.is_empty() {
            String::new()
        } else {
            format!(" (also: {})", also.join(", "))
        };
        return (
            Verdict::Reject,
            format!("rejected, {}: {}{also}", check.code, check.detail),
        );
    }
    if let Some(check) = first(Outcome::Inconclusive) {
        return (
            Verdict::Inconclusive,
            format!("inconclusive, {}: {}", check.code, check.detail),
        );
    }
    let passed = |id: &str| {
        checks
            .iter()
            .any(|check| check.id == id && check.outcome == Outcome::Pass)
    };
    let compared: &[&str] = match method {
        Method::Replay => &["hidden-states", "tokens"],
        Method::Audit => &["embedding", "linear-layers", "layer-transition", "tokens"],
    };
    if passed("commitment") && passed("model-root") && compared.iter().all(|id| passed(id)) {
        let n = checks
            .iter()
            .filter(|check| check.outcome == Outcome::Pass)
            .count();
        (
            Verdict::Accept,
            format!("accepted: {n} checks passed, none failed"),
        )
    } else {
        (
            Verdict::Reject,
            "rejected, nothing-checked: no comparison took place".to_owned(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(ids: &[&'static str]) -> Vec<Check> {
        ids.iter().map(|id| Check::pass(id, "")).collect()
    }

    const NEEDED: [&str; 4] = ["commitment", "model-root", "hidden-states", "tokens"];

    #[test]
    fn nothing_checked_is_rejected() {
        assert_eq!(conclude(Method::Replay, &[]).0, Verdict::Reject);
        assert_eq!(
            conclude(
                Method::Replay,
                &passes(&["structure", "commitment", "model-root"])
            )
            .0,
            Verdict::Reject
        );
        let all_skipped: Vec<Check> = CHECKS
            .iter()
            .map(|(id, _)| Check::skipped(id, ""))
            .collect();
        assert_eq!(conclude(Method::Replay, &all_skipped).0, Verdict::Reject);
        for missing in NEEDED {
            let rest: Vec<_> = NEEDED.into_iter().filter(|id| *id != missing).collect();
            assert_eq!(
                conclude(Method::Replay, &passes(&rest)).0,
                Verdict::Reject,
                "{missing}"
            );
        }
        assert_eq!(
            conclude(Method::Replay, &passes(&NEEDED)).0,
            Verdict::Accept
        );
    }

    #[test]
    fn a_fail_outweighs_everything() {
        let mut checks = passes(&NEEDED);
        checks.push(Check::new(
            "profile",
            Outcome::Inconclusive,
            "no-profile",
            "none",
        ));
        assert_eq!(conclude(Method::Replay, &checks).0, Verdict::Inconclusive);
        checks.push(Check::fail("tokens", "token-margin", "bad"));
        let (verdict, summary) = conclude(Method::Replay, &checks);
        assert_eq!(verdict, Verdict::Reject);
        assert!(summary.contains("token-margin"), "{summary}");
    }

    #[test]
    fn numbers_without_a_json_form_are_left_out() {
        let check = Check::pass("tokens", "").numbers(f64::NAN, f64::INFINITY);
        assert_eq!((check.measured, check.limit), (None, None));
    }
}
