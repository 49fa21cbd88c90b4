//! A trace against a replay: every check that is made, what agrees, and the first place where something does not.
//!
//! The replay goes the trace's own way. Where a token is not the one that the sampler gives, the sampler's is tried first: if the logits'
//! hash is *its* hash, the token was changed after the run, and the replay stays on the run's path; else the claimed one goes in,
//! so that one wrong token does not hide all that follows.

mod file;
mod replayed;

use assay_model::{Model, Tokenizer};
use assay_trace::Digest;
use serde::Serialize;

use crate::claim::Claim;
use crate::error::ReplayError;
use crate::forward::Transformer;
use crate::read::Trace;
use crate::sampler::SamplerSpec;
use replayed::Replayed;

/// How one check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing against it.
    Pass,
    /// The trace contradicts it.
    Fail,
    /// Cannot be judged here.
    Inconclusive,
    /// Not made.
    Skipped,
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Every bit agrees.
    Accept,
    /// Something does not.
    Reject,
    /// Nothing failed, but something could not be judged.
    Inconclusive,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which: stable.
    pub id: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// The reason as a stable word; `ok` and `skipped` say nothing more.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: String,
    /// Position of the first place.
    pub position: Option<usize>,
    /// What should be there.
    pub expected: Option<String>,
    /// What is.
    pub got: Option<String>,
}

impl Check {
    fn new(id: &'static str, outcome: Outcome, code: &'static str, detail: String) -> Self {
        Self {
            id,
            outcome,
            code,
            detail,
            position: None,
            expected: None,
            got: None,
        }
    }

    /// A pass.
    pub fn pass(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Outcome::Pass, "ok", detail.into())
    }

    /// A fail.
    pub fn fail(id: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Outcome::Fail, code, detail.into())
    }

    /// One that cannot be judged.
    pub fn open(id: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Outcome::Inconclusive, code, detail.into())
    }

    /// One that is not made.
    pub fn skipped(id: &'static str, detail: impl Into<String>) -> Self {
        Self::new(id, Outcome::Skipped, "skipped", detail.into())
    }

    /// Adds where, and the two sides.
    pub fn between(mut self, at: usize, expected: impl ToString, got: impl ToString) -> Self {
        self.position = Some(at);
        self.sides(expected, got)
    }

    /// Adds the two sides.
    pub fn sides(mut self, expected: impl ToString, got: impl ToString) -> Self {
        self.expected = Some(expected.to_string());
        self.got = Some(got.to_string());
        self
    }
}

/// What the verifier knows from elsewhere.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// The sampler; without one, only a greedy run can be told.
    pub sampler: Option<SamplerSpec>,
    /// The prompt's ids, in place of the ones that the file's own prompt has.
    pub prompt: Option<Vec<u32>>,
    /// The root.
    pub root: Option<Digest>,
    /// The claim's digest.
    pub claim: Option<Digest>,
    /// Only the steps up to this one, and its proof.
    pub iteration: Option<usize>,
}

/// How much agreed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Agreement {
    /// Positions that were replayed.
    pub positions: usize,
    /// Positions of the trace.
    pub positions_total: usize,
    /// Hashes of logits that are the replay's.
    pub hashes_equal: usize,
    /// Tokens that the sampler had to give.
    pub tokens_judged: usize,
    /// Those that it gave.
    pub tokens_equal: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Checked {
    /// The answer.
    pub verdict: Verdict,
    /// Every check, in order.
    pub checks: Vec<Check>,
    /// How much agreed.
    pub agreement: Agreement,
    /// The root over the entries.
    pub root: Option<Digest>,
    /// Digest of the claim that the verifier's own knowledge makes of it, where it knows all that is bound.
    pub claim: Option<Digest>,
    /// The sampler that tokens were held against.
    pub sampler: SamplerSpec,
    /// Tokens that went into the replay.
    pub tokens: Vec<u32>,
    /// The replay's logits by position, if they were asked for.
    pub logits: Vec<Vec<f32>>,
}

/// A verifier's side: its model, with the root that it computed.
pub struct Verifier<'a> {
    /// The model.
    pub model: &'a Model,
    /// Root of its weights.
    pub model_root: Digest,
    /// Whether to keep all logits.
    pub keep_logits: bool,
}

impl Verifier<'_> {
    /// Holds `trace` against `expect` and a replay. Progress is told by position; an answer of false ends it with
    /// [`ReplayError::Cancelled`].
    pub fn check(
        &self,
        trace: &Trace,
        expect: &Expect,
        mut on: impl FnMut(usize, usize) -> bool,
    ) -> Result<Checked, ReplayError> {
        let total = trace.entries.len();
        let n = expect
            .iteration
            .map_or(total, |last| total.min(last.saturating_add(1)));
        let mut checks = vec![file::structure(trace)];
        checks.push(file::positions(trace, n));
        checks.push(file::leaves(trace, n));
        checks.extend(file::roots(trace, expect));
        let transformer = Transformer::load(self.model)?;
        let sizes = file::sizes(trace, n, expect, &transformer);
        let runs = sizes.outcome == Outcome::Pass;
        checks.push(sizes);
        let tokenizer = self.model.tokenizer();
        let prompt = self.prompt(trace, expect)?;
        checks.push(file::prompt(trace, n, expect, prompt.as_deref()));

        let mut replayed = Replayed::new(trace, n, expect.sampler);
        if runs {
            let keep = self.keep_logits;
            replayed.run(transformer, prompt.as_deref(), tokenizer, keep, &mut on)?;
        }
        checks.extend(replayed.checks(runs, prompt.is_some(), expect.sampler.is_some()));
        checks.push(match expect.iteration {
            None => replayed.stop(runs, self.model.config().context),
            Some(_) => Check::skipped("stop", "only some steps were asked for"),
        });
        checks.push(file::proof(trace, expect));
        let claim = self.claim(trace, expect, replayed.sampler);
        checks.push(file::claim(claim, expect));
        Ok(Checked {
            verdict: conclude(&checks),
            checks,
            agreement: replayed.agreement,
            root: trace.computed_root(),
            claim,
            sampler: replayed.sampler,
            tokens: replayed.fed,
            logits: replayed.logits,
        })
    }

    fn prompt(&self, trace: &Trace, expect: &Expect) -> Result<Option<Vec<u32>>, ReplayError> {
        match (&expect.prompt, self.model.tokenizer()) {
            (Some(ids), _) => Ok(Some(ids.clone())),
            (None, Some(tokenizer)) => Ok(Some(tokenizer.encode(&trace.metadata.prompt)?)),
            (None, None) => Ok(None),
        }
    }

    fn claim(&self, trace: &Trace, expect: &Expect, sampler: SamplerSpec) -> Option<Digest> {
        // With some steps only, the rest of the root is not the verifier's own word.
        if expect.iteration.is_some() {
            return None;
        }
        let claim = Claim {
            root: trace.computed_root()?,
            count: trace.entries.len() as u64,
            steps: trace.metadata.steps,
            prompt: &trace.metadata.prompt,
            model: self.model_root,
            tokenizer: self.model.tokenizer().map(Tokenizer::digest),
            sampler,
        };
        Some(claim.digest())
    }
}

/// Rejected if anything failed, inconclusive if anything could not be judged, accepted only if logits were compared and agree.
fn conclude(checks: &[Check]) -> Verdict {
    let any = |outcome| checks.iter().any(|check| check.outcome == outcome);
    let compared = |id| {
        let passed = |check: &Check| check.id == id && check.outcome == Outcome::Pass;
        checks.iter().any(passed)
    };
    if any(Outcome::Fail) {
        Verdict::Reject
    } else if any(Outcome::Inconclusive) || !compared("logits") || !compared("tokens") {
        Verdict::Inconclusive
    } else {
        Verdict::Accept
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
