//! The replay beside the trace, step by step, and what is made of it.

use assay_model::Tokenizer;

use super::{Agreement, Check};
use crate::error::ReplayError;
use crate::forward::Transformer;
use crate::hash::logits_hash;
use crate::read::{Entry, Revision, Trace};
use crate::replay::{BOS, effective_steps, text_after};
use crate::sampler::{Choice, Sampler, SamplerSpec};

/// A difference at a position.
struct Difference {
    at: usize,
    expected: String,
    got: String,
}

pub(super) struct Replayed<'a> {
    trace: &'a Trace,
    n: usize,
    known: bool,
    pub sampler: SamplerSpec,
    pub agreement: Agreement,
    /// Tokens that went in.
    pub fed: Vec<u32>,
    pub logits: Vec<Vec<f32>>,
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
    pub(super) fn new(trace: &'a Trace, n: usize, sampler: Option<SamplerSpec>) -> Self {
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

    pub(super) fn run(
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
    pub(super) fn checks(&self, ran: bool, has_prompt: bool, known: bool) -> [Check; 3] {
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

    pub(super) fn stop(&self, ran: bool, context: usize) -> Check {
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
