//! A trace against a replay: every check that is made, what agrees, and the first place where something does not.
//!
//! The replay goes the trace's own way. Where a token is not the one that the sampler gives, the sampler's is tried first: if the logits'
//! hash is *its* hash, the token was changed after the run, and the replay stays on the run's path; else the claimed one goes in,
//! so that one wrong token does not hide all that follows.

use assay_model::{Model, Tokenizer};
use assay_trace::Digest;
use serde::Serialize;

use crate::claim::Claim;
use crate::error::ReplayError;
use crate::forward::Transformer;
use crate::hash::logits_hash;
use crate::proof::StepProof;
use crate::read::{Entry, Revision, Trace};
use crate::replay::{BOS, effective_steps, text_after};
use crate::sampler::{Choice, Sampler, SamplerSpec};
use crate::tree;

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
        let mut checks = vec![structure(trace)];
        checks.push(positions(trace, n));
        checks.push(leaves(trace, n));
        checks.extend(roots(trace, expect));
        let transformer = Transformer::load(self.model)?;
        let sizes = sizes(trace, n, expect, &transformer);
        let runs = sizes.outcome == Outcome::Pass;
        checks.push(sizes);
        let tokenizer = self.model.tokenizer();
        let prompt = self.prompt(trace, expect)?;
        checks.push(prompt_check(trace, n, expect, prompt.as_deref()));

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
        checks.push(proof(trace, expect));
        let claim = self.claim(trace, expect, replayed.sampler);
        checks.push(claim_check(claim, expect));
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

fn structure(trace: &Trace) -> Check {
    let form = match trace.revision {
        Revision::A => "revision A (977305a), without text",
        Revision::B => "revision B (5b6eb95), with text",
    };
    if trace.entries.is_empty() {
        return Check::fail(
            "structure",
            "nothing-checked",
            "the trace has no step: there is nothing to check",
        );
    }
    Check::pass("structure", format!("{form}, every byte used"))
}

fn positions(trace: &Trace, n: usize) -> Check {
    let wrong = |(index, entry): &(usize, &Entry)| usize::try_from(entry.position) != Ok(*index);
    match trace.entries.iter().take(n).enumerate().find(wrong) {
        None => Check::pass("positions", "each entry has the position of its place"),
        Some((index, entry)) => Check::fail(
            "positions",
            "position",
            format!(
                "entry {index} says that it is at position {}",
                entry.position
            ),
        )
        .between(index, index, entry.position),
    }
}

fn leaves(trace: &Trace, n: usize) -> Check {
    let pairs = trace.entries.iter().zip(&trace.leaves).take(n);
    let computed = pairs.map(|(entry, leaf)| (entry.leaf(), *leaf));
    let wrong: Vec<(usize, (Digest, Digest))> = computed
        .enumerate()
        .filter(|(_, (own, stored))| own != stored)
        .collect();
    match wrong.first() {
        None => Check::pass("leaves", "each leaf is the hash of its entry"),
        Some((index, (own, stored))) => Check::fail(
            "leaves",
            "leaf",
            format!(
                "{} of {n} leaves are not the hashes of their entries, first at position {index}",
                wrong.len()
            ),
        )
        .between(*index, own, stored),
    }
}

/// The root over the entries against the stored one, and the stored one against the one from elsewhere.
fn roots(trace: &Trace, expect: &Expect) -> [Check; 2] {
    let own = match expect.iteration {
        None => trace.computed_root(),
        // The other leaves are taken as they are: a proof shows one step.
        Some(_) => tree::root(&trace.leaves),
    };
    let shown = |root: Option<Digest>| root.map_or("none".to_owned(), |root| root.to_string());
    let stored = if own == trace.root {
        Check::pass(
            "root",
            "the tree over all leaves has the root that the file names",
        )
    } else {
        Check::fail(
            "root",
            "merkle-root",
            "the tree over all leaves has another root than the file names",
        )
        .sides(shown(own), shown(trace.root))
    };
    let given = match expect.root {
        None => Check::skipped("given-root", "no root was given to compare with"),
        Some(root) if own == Some(root) => {
            Check::pass("given-root", "it is the root that was given")
        }
        Some(root) => Check::fail(
            "given-root",
            "root-mismatch",
            "it is not the root that was given",
        )
        .sides(root, shown(own)),
    };
    [stored, given]
}

fn sizes(trace: &Trace, n: usize, expect: &Expect, transformer: &Transformer) -> Check {
    let (total, context) = (trace.entries.len(), transformer.context());
    if let Some(last) = expect.iteration
        && last >= total
    {
        let detail = format!("there is no iteration {last}: the trace has {total}");
        return Check::fail("sizes", "no-such-iteration", detail).sides(last, total);
    }
    if total > context {
        let detail = format!("{total} steps do not fit the model's context of {context}");
        return Check::fail("sizes", "context", detail).sides(context, total);
    }
    let vocab = transformer.vocab();
    let outside = |entry: &Entry| !usize::try_from(entry.token).is_ok_and(|token| token < vocab);
    match trace.entries.iter().take(n).position(outside) {
        None if n == 0 => Check::skipped("sizes", "there is no step"),
        None => Check::pass("sizes", "steps fit the context, tokens the vocabulary"),
        Some(index) => {
            let got = trace.entries.get(index).map_or(0, |entry| entry.token);
            let detail = format!("token {got} is beyond the model's vocabulary of {vocab}");
            Check::fail("sizes", "vocabulary", detail).between(index, format!("below {vocab}"), got)
        }
    }
}

fn prompt_check(trace: &Trace, n: usize, expect: &Expect, prompt: Option<&[u32]>) -> Check {
    let Some(prompt) = prompt else {
        return Check::open(
            "prompt",
            "no-tokenizer",
            "without a tokenizer or the prompt's ids it is unknown which tokens were given and which were chosen",
        );
    };
    let from = match expect.prompt {
        Some(_) => "that was given",
        None => "of the file, which no hash binds",
    };
    let pairs = trace.entries.iter().take(n).zip(prompt);
    let wrong = pairs
        .enumerate()
        .find(|(_, (entry, id))| u32::try_from(entry.token) != Ok(**id));
    if let Some((index, (entry, id))) = wrong {
        let detail = format!(
            "the prompt {from} has token {id} at position {index}, the trace {}",
            entry.token
        );
        return Check::fail("prompt", "prompt-mismatch", detail).between(index, id, entry.token);
    }
    let short = if trace.entries.len() < prompt.len() {
        ", cut by the number of steps"
    } else {
        ""
    };
    Check::pass(
        "prompt",
        format!("the trace begins with the prompt {from}{short}"),
    )
}

fn proof(trace: &Trace, expect: &Expect) -> Check {
    let Some(index) = expect.iteration else {
        return Check::skipped("proof", "every leaf was recomputed");
    };
    if index >= trace.entries.len() {
        return Check::skipped("proof", "there is no such step");
    }
    // The path over the leaves as stored, from the leaf as recomputed.
    let path = tree::proof(&trace.leaves, index).zip(StepProof::of(trace, index));
    let own = path.and_then(|(stored, own)| {
        let siblings = stored.siblings.into_iter().map(|(hash, _)| hash).collect();
        StepProof { siblings, ..own }.root()
    });
    let want = expect.root.or(trace.root);
    if own.is_some() && own == want {
        return Check::pass(
            "proof",
            format!("the path of step {index} leads to the root"),
        );
    }
    let shown = |root: Option<Digest>| root.map_or("none".to_owned(), |root| root.to_string());
    Check::fail(
        "proof",
        "proof",
        format!("the path of step {index} does not lead to the root"),
    )
    .between(index, shown(want), shown(own))
}

fn claim_check(claim: Option<Digest>, expect: &Expect) -> Check {
    match (expect.claim, claim) {
        (None, _) => Check::skipped("claim", "no claim was given to compare with"),
        (Some(_), None) => Check::open("claim", "claim-open", "a claim is over all steps"),
        (Some(want), Some(got)) if want == got => Check::pass(
            "claim",
            "root, steps, prompt, weights, tokenizer and sampler are what was claimed",
        ),
        (Some(want), Some(got)) => Check::fail(
            "claim",
            "claim",
            "root, steps, prompt, weights, tokenizer or sampler are not what was claimed",
        )
        .sides(want, got),
    }
}

/// A difference at a position.
struct Difference {
    at: usize,
    expected: String,
    got: String,
}

struct Replayed<'a> {
    trace: &'a Trace,
    n: usize,
    known: bool,
    sampler: SamplerSpec,
    agreement: Agreement,
    fed: Vec<u32>,
    logits: Vec<Vec<f32>>,
    /// By position: whether the hash is the replay's.
    agreed: Vec<bool>,
    /// First hash that is not.
    hash: Option<Difference>,
    /// First token that was changed after the run: the logits are those of another.
    changed: Option<Difference>,
    /// First token that the sampler does not give.
    token: Option<Difference>,
    /// First that it might give, if equals were sorted otherwise.
    tie: Option<Difference>,
    /// First text that is not the token's.
    text: Option<Difference>,
    texts: usize,
    /// The token that the sampler gives after the last step, and after that one too where the run is no longer.
    last: Vec<u32>,
}

impl<'a> Replayed<'a> {
    fn new(trace: &'a Trace, n: usize, sampler: Option<SamplerSpec>) -> Self {
        Self {
            trace,
            n,
            known: sampler.is_some(),
            sampler: sampler.unwrap_or(SamplerSpec::Greedy),
            agreement: Agreement {
                positions_total: trace.entries.len(),
                ..Agreement::default()
            },
            fed: Vec::new(),
            logits: Vec::new(),
            agreed: Vec::new(),
            hash: None,
            changed: None,
            token: None,
            tie: None,
            text: None,
            texts: 0,
            last: Vec::new(),
        }
    }

    fn run(
        &mut self,
        mut transformer: Transformer,
        prompt: Option<&[u32]>,
        tokenizer: Option<&Tokenizer>,
        keep: bool,
        on: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<(), ReplayError> {
        let mut sampler = Sampler::new(self.sampler);
        // What must go in at a position: of the prompt, or chosen at the one before it.
        let mut own: Option<Choice> = None;
        let given = |position: usize| prompt.and_then(|ids| ids.get(position)).copied();
        for (position, entry) in self.trace.entries.iter().enumerate().take(self.n) {
            if !on(position, self.n) {
                return Err(ReplayError::Cancelled);
            }
            let claimed = u32::try_from(entry.token).unwrap_or_default(); // `sizes` passed
            let wanted = given(position).or(own.as_ref().map(|choice| choice.token));
            let chosen = given(position).is_none();
            let (token, logits) = self.step(&mut transformer, position, entry, claimed, wanted)?;
            if let (true, Some(choice)) = (chosen, &own) {
                self.judge(position, claimed, token, choice);
            }
            if let (Some(previous), Some(tokenizer)) = (self.fed.last(), tokenizer) {
                self.read_text(position - 1, &text_after(tokenizer, *previous, token));
            }
            self.fed.push(token);
            self.agreement.positions += 1;
            let hash = logits_hash(&logits);
            self.agreed.push(hash == entry.logits);
            if hash == entry.logits {
                self.agreement.hashes_equal += 1;
            } else {
                note(&mut self.hash, position, &hash, &entry.logits);
            }
            // With the prompt unknown, nobody knows where coins begin to be taken.
            own = match (prompt, given(position + 1)) {
                (Some(_), None) => Some(sampler.choose(&logits)),
                _ => None,
            };
            if keep {
                self.logits.push(logits);
            }
        }
        let Some(next) = own else { return Ok(()) };
        self.last.push(next.token);
        // What came out last stands in no entry, so its text speaks only where the sampler is known to give it.
        let sure = self.known && next.ties.is_empty();
        if let (Some(previous), Some(tokenizer), true) = (self.fed.last(), tokenizer, sure) {
            let at = self.fed.len() - 1;
            self.read_text(at, &text_after(tokenizer, *previous, next.token));
        }
        // A revision might leave out the step at which BOS was chosen; then one step more tells.
        if next.token != BOS && self.fed.len() < transformer.context() {
            let logits = transformer.forward(next.token)?;
            self.last.push(sampler.choose(&logits).token);
        }
        Ok(())
    }

    /// Takes a step with the token that must go in, if the logits say so, else with the claimed one.
    fn step(
        &mut self,
        transformer: &mut Transformer,
        position: usize,
        entry: &Entry,
        claimed: u32,
        wanted: Option<u32>,
    ) -> Result<(u32, Vec<f32>), ReplayError> {
        if let Some(wanted) = wanted.filter(|wanted| *wanted != claimed) {
            let logits = transformer.forward(wanted)?;
            if logits_hash(&logits) == entry.logits {
                note(&mut self.changed, position, &wanted, &claimed);
                return Ok((wanted, logits));
            }
            transformer.step_back();
        }
        Ok((claimed, transformer.forward(claimed)?))
    }

    fn judge(&mut self, position: usize, claimed: u32, fed: u32, choice: &Choice) {
        self.agreement.tokens_judged += 1;
        if claimed == choice.token {
            self.agreement.tokens_equal += 1;
        } else if fed == choice.token {
            // Already noted as changed.
        } else if choice.ties.contains(&claimed) {
            note(&mut self.tie, position, &choice.token, &claimed);
        } else {
            note(&mut self.token, position, &choice.token, &claimed);
        }
    }

    fn read_text(&mut self, position: usize, own: &str) {
        let entry = self.trace.entries.get(position);
        let Some(stored) = entry.and_then(|entry| entry.text.as_deref()) else {
            return;
        };
        // How the program shows half a character is its own affair.
        if own.is_empty() || own.contains('\u{fffd}') || own.starts_with("<s>") {
            return;
        }
        self.texts += 1;
        if stored != own {
            note(
                &mut self.text,
                position,
                &format!("{own:?}"),
                &format!("{stored:?}"),
            );
        }
    }

    /// Logits, tokens and text.
    fn checks(&self, ran: bool, has_prompt: bool, known: bool) -> [Check; 3] {
        if !ran {
            return ["logits", "tokens", "text"]
                .map(|id| Check::skipped(id, "not run: the trace does not fit the model"));
        }
        [
            self.logits_check(),
            self.tokens(has_prompt, known),
            self.texts(),
        ]
    }

    fn logits_check(&self) -> Check {
        let Agreement {
            positions,
            hashes_equal,
            ..
        } = self.agreement;
        let Some(first) = &self.hash else {
            return Check::pass(
                "logits",
                format!("all {positions} hashes are those of the replay's logits, bit for bit"),
            );
        };
        let what = format!(
            "{} of {positions} hashes are not of the replay's logits, first at position {}",
            positions - hashes_equal,
            first.at
        );
        let check = if self.resumes(first.at) || self.contradicted() {
            Check::fail("logits", "logits-hash", what)
        } else {
            Check::open(
                "logits",
                "other-arithmetic",
                format!(
                    "{what}, and nothing else speaks against the trace: other weights, or a machine whose exp, sin or cos differ in the \
                     last bit; a file of hashes cannot say which"
                ),
            )
        };
        check.between(first.at, &first.expected, &first.got)
    }

    /// Whether the hashes after the first difference mostly agree again. A machine that rounds otherwise carries its difference on in keys
    /// and values, so that hardly any later hash agrees; where they do, the one that does not was made otherwise than the rest.
    fn resumes(&self, first: usize) -> bool {
        let after = self.agreed.get(first + 1..).unwrap_or_default();
        let again = after.iter().filter(|agreed| **agreed).count();
        2 * again >= after.len() && self.agreed.len() > 1
    }

    /// Whether a token or the prompt speaks against this model and sampler.
    fn contradicted(&self) -> bool {
        self.changed.is_some() || self.token.is_some() && self.known
    }

    fn tokens(&self, has_prompt: bool, known: bool) -> Check {
        let Agreement {
            tokens_judged,
            tokens_equal,
            ..
        } = self.agreement;
        let missed = tokens_judged - tokens_equal;
        if let Some(first) = &self.changed {
            return Check::fail(
                "tokens",
                "token",
                format!(
                    "the token at position {} was changed after the run: the logits are those of {}",
                    first.at, first.expected
                ),
            )
            .between(first.at, &first.expected, &first.got);
        }
        if !has_prompt {
            return Check::open(
                "tokens",
                "no-tokenizer",
                "it is unknown where the prompt ends",
            );
        }
        if let Some(first) = &self.token {
            let check = if known {
                Check::fail(
                    "tokens",
                    "token",
                    format!(
                        "{missed} of {tokens_judged} tokens are not what the sampler gives, first at position {}",
                        first.at
                    ),
                )
            } else {
                Check::open(
                    "tokens",
                    "sampler-unknown",
                    format!(
                        "the token at position {} is not the greedy one, and no sampler was given to hold it against",
                        first.at
                    ),
                )
            };
            return check.between(first.at, &first.expected, &first.got);
        }
        if let Some(first) = &self.tie {
            return Check::open(
                "tokens",
                "token-tie",
                format!(
                    "the token at position {} has exactly the probability of the one that the sampler gives here; which comes first is \
                     the sort's choice",
                    first.at
                ),
            )
            .between(first.at, &first.expected, &first.got);
        }
        let how = match self.sampler {
            SamplerSpec::Greedy => "the greedy one",
            SamplerSpec::Seeded { .. } => "what the sampler gives",
        };
        Check::pass(
            "tokens",
            match tokens_judged {
                0 => "all tokens are the prompt's".to_owned(),
                n => format!("each of {n} chosen tokens is {how}"),
            },
        )
    }

    fn texts(&self) -> Check {
        if self.trace.revision == Revision::A {
            return Check::skipped("text", "this revision has none");
        }
        match &self.text {
            Some(first) => Check::fail(
                "text",
                "text",
                format!("the text at position {} is not that of its token", first.at),
            )
            .between(first.at, &first.expected, &first.got),
            None if self.texts == 0 => {
                Check::skipped("text", "there is nothing to compare it with")
            }
            None => Check::pass(
                "text",
                format!("{} texts are those of their tokens", self.texts),
            ),
        }
    }

    fn stop(&self, ran: bool, context: usize) -> Check {
        let (got, want) = (
            self.trace.entries.len(),
            effective_steps(self.trace.metadata.steps, context),
        );
        if !ran {
            return Check::skipped("stop", "not run: the trace does not fit the model");
        }
        if got == want {
            return Check::pass("stop", format!("it has all {want} steps asked for"));
        }
        if got < want && self.last.contains(&BOS) {
            return Check::pass("stop", "it ends where the model chose BOS");
        }
        if got < want && (self.last.is_empty() || !self.known) {
            return Check::open(
                "stop",
                "sampler-unknown",
                "without the sampler, its end is unexplained",
            );
        }
        let detail =
            format!("it has {got} of {want} steps asked for, and the model did not end it");
        Check::fail("stop", "stop-reason", detail).sides(want, got)
    }
}

fn note(first: &mut Option<Difference>, at: usize, expected: &impl ToString, got: &impl ToString) {
    if first.is_none() {
        *first = Some(Difference {
            at,
            expected: expected.to_string(),
            got: got.to_string(),
        });
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
