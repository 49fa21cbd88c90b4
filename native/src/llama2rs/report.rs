//! The JSON contract of `docs/llama2-rs.schema.json`. What the prover wrote stands only under `prover_says`.

use assay_engine::AdapterInfo;
use assay_llama2rs::check::{Agreement, Check, Checked, Outcome, Verdict};
use assay_llama2rs::{Metadata, ReadError, Revision, SamplerSpec, Trace};
use assay_model::{Model, Tokenizer};
use assay_trace::Digest;
use serde::Serialize;

#[derive(Serialize)]
pub struct Report {
    pub schema_version: u32,
    pub kind: &'static str,
    pub verdict: Verdict,
    /// What an acceptance says: every bit, by a replay on the CPU.
    pub class: &'static str,
    pub summary: String,
    pub trace: TraceFacts,
    pub model: ModelFacts,
    pub sampler: SamplerFacts,
    /// The step that was asked for; null for all.
    pub iteration: Option<usize>,
    /// Whose arithmetic.
    pub arithmetic: String,
    pub checks: Vec<Check>,
    pub agreement: Agreement,
    pub claim: Option<Digest>,
    /// How far an adapter is from the replay; null if none was named. It decides nothing.
    pub adapter: Option<AdapterDistance>,
    pub prover_says: Option<Metadata>,
    pub not_covered: Vec<String>,
    pub timings: Timings,
}

#[derive(Serialize)]
pub struct TraceFacts {
    pub sha256: Digest,
    pub bytes: u64,
    pub revision: Option<Revision>,
    pub iterations: usize,
    /// Over the entries, as recomputed.
    pub root: Option<Digest>,
}

#[derive(Serialize)]
pub struct ModelFacts {
    pub root: Digest,
    pub dtype: &'static str,
    pub parameters: u64,
    pub tokenizer: Option<Digest>,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SamplerFacts {
    Unknown,
    Greedy,
    Seeded {
        temperature: f32,
        top_p: f32,
        /// A string: JSON numbers lose 64-bit integers.
        seed: String,
    },
}

#[derive(Serialize)]
pub struct AdapterDistance {
    pub adapter: AdapterInfo,
    pub runs: Vec<Distance>,
}

/// Of an adapter's logits from the replay's.
#[derive(Debug, Clone, Serialize)]
pub struct Distance {
    pub numerics: &'static str,
    pub positions: usize,
    /// Hashes of logits that are the trace's: what a bit-exact claim would need of all.
    pub hashes_equal: usize,
    pub rel_l2_max: f64,
    pub rel_l2_mean: f64,
    pub max_abs: f64,
    /// Tokens that the sampler gives for the adapter's logits, and how many of them are the replay's.
    pub tokens_equal: usize,
    pub tokens: usize,
}

#[derive(Serialize, Default)]
pub struct Timings {
    pub replay_s: f64,
    pub adapter_s: f64,
    pub total_s: f64,
}

/// What a report is about.
pub struct Subject<'a> {
    pub bytes: &'a [u8],
    pub model: &'a Model,
    pub model_root: Digest,
    pub sampler: Option<SamplerSpec>,
    pub iteration: Option<usize>,
    pub root_given: bool,
    pub prompt_given: bool,
    pub claim_given: bool,
}

impl Report {
    pub fn of(subject: &Subject<'_>, trace: &Trace, checked: &Checked) -> Self {
        Self {
            verdict: checked.verdict,
            summary: summary(checked),
            trace: TraceFacts {
                revision: Some(trace.revision),
                iterations: trace.entries.len(),
                root: checked.root,
                ..file(subject.bytes)
            },
            checks: checked.checks.clone(),
            agreement: checked.agreement,
            claim: checked.claim,
            prover_says: Some(trace.metadata.clone()),
            not_covered: not_covered(subject),
            ..Self::empty(subject)
        }
    }

    /// Of a file that has such a trace's head and no more.
    pub fn of_malformed(subject: &Subject<'_>, err: &ReadError) -> Self {
        let check = Check::fail("structure", "structure", err.to_string());
        Self {
            summary: format!("rejected, structure: {err}"),
            checks: vec![check],
            ..Self::empty(subject)
        }
    }

    fn empty(subject: &Subject<'_>) -> Self {
        let model = subject.model;
        Self {
            schema_version: 1,
            kind: "llama2-rs",
            verdict: Verdict::Reject,
            class: "exact",
            summary: String::new(),
            trace: file(subject.bytes),
            model: ModelFacts {
                root: subject.model_root,
                dtype: model.dtype(),
                parameters: model.parameters(),
                tokenizer: model.tokenizer().map(Tokenizer::digest),
            },
            sampler: match subject.sampler {
                None => SamplerFacts::Unknown,
                Some(SamplerSpec::Greedy) => SamplerFacts::Greedy,
                Some(SamplerSpec::Seeded {
                    temperature,
                    top_p,
                    seed,
                }) => SamplerFacts::Seeded {
                    temperature,
                    top_p,
                    seed: seed.to_string(),
                },
            },
            iteration: subject.iteration,
            arithmetic: format!(
                "sequential f32 on the CPU; exp, pow, sin and cos of {}-{}",
                std::env::consts::ARCH,
                std::env::consts::OS
            ),
            checks: Vec::new(),
            agreement: Agreement::default(),
            claim: None,
            adapter: None,
            prover_says: None,
            not_covered: Vec::new(),
            timings: Timings::default(),
        }
    }
}

fn file(bytes: &[u8]) -> TraceFacts {
    TraceFacts {
        sha256: Digest::of(bytes),
        bytes: bytes.len() as u64,
        revision: None,
        iterations: 0,
        root: None,
    }
}

/// The check that a verdict rests on.
pub fn decisive(checks: &[Check], verdict: Verdict) -> Option<&Check> {
    let outcome = match verdict {
        Verdict::Accept => return None,
        Verdict::Reject => Outcome::Fail,
        Verdict::Inconclusive => Outcome::Inconclusive,
    };
    checks.iter().find(|check| check.outcome == outcome)
}

fn summary(checked: &Checked) -> String {
    let Agreement {
        positions,
        hashes_equal,
        tokens_judged,
        tokens_equal,
        ..
    } = checked.agreement;
    let word = match checked.verdict {
        Verdict::Accept => {
            return format!(
                "accepted: {hashes_equal} of {positions} hashes and {tokens_equal} of {tokens_judged} chosen tokens are this model's, bit for bit"
            );
        }
        Verdict::Reject => "rejected",
        Verdict::Inconclusive => "inconclusive",
    };
    match decisive(&checked.checks, checked.verdict) {
        Some(check) => format!("{word}, {}: {}", check.code, check.detail),
        None => word.to_owned(),
    }
}

fn not_covered(subject: &Subject<'_>) -> Vec<String> {
    let mut list = Vec::new();
    if subject.iteration.is_some() {
        list.push("steps after the one asked for, and the leaves of all of them");
    }
    if !subject.root_given && !subject.claim_given {
        list.push("whether this is the trace that was committed to: its root is its own, and no other was given");
    }
    if !subject.prompt_given && !subject.claim_given {
        list.push("the prompt: it is the file's own, which no hash binds, not compared with what was asked");
    }
    list.push("freshness: the format has no nonce, so the trace may have been made before, or for somebody else");
    list.push("other machines: a bit-exact claim compares equal arithmetic only, and an honest trace of another platform may come out inconclusive");
    list.push("who ran the model, where and when: whoever has the weights can make this trace");
    list.into_iter().map(str::to_owned).collect()
}
