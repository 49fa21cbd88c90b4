//! Asking a live prover: the exchange, then the same judges as for a file.

use std::sync::Arc;

use assay_live::{Address, Answer, Ask, ExchangeError, Failed, Wanted, exchange};
use assay_trace::{Digest, SparseClaim};
use assay_verify::{Options, Verified};

use super::{Worker, activations, claims, report, skipped, suspects};
use crate::live::{self, SUSPICIOUS};
use crate::message::{
    AskPrompt, AskRequest, Asked, DeviceChoice, Failure, JobId, LiveNews, ModelSource, News,
    Outcome, ProverAt, Source, Stage,
};
use crate::monitor::{JobMonitor, in_words};
use crate::opened::Against;
use crate::platform::{Platform, Prover as _};

impl<P: Platform> Worker<P> {
    pub(super) async fn ask(
        &mut self,
        id: JobId,
        prover: ProverAt,
        model: ModelSource,
        request: AskRequest,
        device: DeviceChoice,
    ) -> Result<Outcome, Failure> {
        // What cannot be asked is told before a model is read for it.
        let address = address(&prover)?;
        drop(self.platform.prover(id, &address, &prover)?);
        let sampler = request.sampler;
        let stated = sampler.stated().map_err(|_err| {
            Failure::new("request", "a number of the sampler is out of its range")
        })?;
        let against = self.open(id, &model).await?.against.clone();
        let prompt = prompt(&request.prompt, &against)?;
        let suspects = suspects(&request.suspects, &against)?;
        let (root, layers) = self.known(id, &against).await?;
        let wanted = Wanted {
            prompt,
            max_tokens: request.max_tokens,
            sampler: stated,
            ignore_eos: request.ignore_eos,
            root: Some(root),
            ask: Ask {
                among: layers,
                layers: request.layers,
                logits: request.logits,
            },
            max_bytes: self.platform.max_trace_bytes().min(live::MAX_BYTES),
        };
        // Its clock runs from here: reading the model was no fault of the prover's.
        let mut way = self.platform.prover(id, &address, &prover)?;
        let exchanged = self.exchange(id, &mut way, &wanted, &against).await;
        match exchanged {
            Ok(answer) => {
                let options = Options {
                    sparse: match request.skips {
                        true => skipped(&answer.trace)?,
                        false => None,
                    },
                    expect_compute: request.arithmetic.compute,
                    activations: activations(request.arithmetic, &against),
                    suspects,
                    ..live::expected(&answer, wanted.prompt.clone(), sampler)
                };
                let verified = self
                    .judge(id, &answer.trace, &against, &options, &device)
                    .await?;
                self.answered(&verified, answer, wanted.prompt.len(), &against)
            }
            Err(failed) if failed.error.is_verdict() => {
                // A report on no bytes at all says who the verifier is.
                let nothing = Options::default();
                let verified = self.judge(id, &[], &against, &nothing, &device).await?;
                self.rejected(verified, failed)
            }
            Err(failed) => Err(trouble(&failed, way.advice())),
        }
    }

    /// The root that a receipt must name, and the layers that can be judged; all of them if `None`.
    async fn known(
        &mut self,
        id: JobId,
        against: &Against,
    ) -> Result<(Digest, Option<Vec<u32>>), Failure> {
        match against {
            Against::Model(model) => {
                let model = Arc::clone(model);
                Ok((self.root(id, &model).await?, None))
            }
            Against::Key(open) => Ok((open.key.model_root(), Some(open.key.layers().to_vec()))),
        }
    }

    async fn exchange(
        &self,
        id: JobId,
        way: &mut P::Prover,
        wanted: &Wanted,
        against: &Against,
    ) -> Result<Answer, Failed> {
        let mut monitor = JobMonitor::new(&self.platform, id).with_tokenizer(against.tokenizer());
        drop(monitor.tell(Stage::Connect, 0, 0));
        let mut random = |bytes: &mut [u8; 32]| self.platform.random(bytes);
        let mut tell = |news: assay_live::News<'_>| tell(&mut monitor, wanted, &news);
        // A cancel is the way's to hear.
        exchange(way, wanted, &mut random, &mut tell).await
    }

    fn answered(
        &mut self,
        verified: &Verified,
        answer: Answer,
        prompt: usize,
        against: &Against,
    ) -> Result<Outcome, Failure> {
        let output = answer.tokens.get(prompt..).unwrap_or_default();
        let text = in_words(output, against.tokenizer());
        let json = report(verified)?;
        let next = self.next_kept;
        let claims = claims(&answer.trace, &Source::Kept(next))?;
        Ok(Outcome::Asked(Asked {
            report: json,
            details: Box::new(verified.details.clone()),
            text,
            receipt: Some(answer.receipt.to_string()),
            kept: Some(self.keep(answer.trace)),
            claims: Some(claims),
        }))
    }

    fn rejected(&mut self, mut verified: Verified, failed: Failed) -> Result<Outcome, Failure> {
        verified.report = live::rejection(verified.report, &failed);
        let json = report(&verified)?;
        let is_there = !failed.opened.is_empty();
        Ok(Outcome::Asked(Asked {
            report: json,
            details: Box::new(verified.details),
            text: String::new(),
            receipt: failed.receipt.map(|receipt| receipt.to_string()),
            // What the prover sent in place of an opening is evidence.
            kept: is_there.then(|| self.keep(failed.opened)),
            claims: None,
        }))
    }
}

fn address(prover: &ProverAt) -> Result<Address, Failure> {
    prover.address.trim().parse().map_err(|err| {
        Failure::new("request", format!("this is no prover’s address: {err}"))
            .with_next("an address looks like http://127.0.0.1:8737 or https://prover.example.org")
    })
}

fn prompt(prompt: &AskPrompt, against: &Against) -> Result<Vec<u32>, Failure> {
    match (prompt, against.tokenizer()) {
        (AskPrompt::Ids(ids), _) => Ok(ids.clone()),
        (AskPrompt::Text(text), Some(tokenizer)) => Ok(tokenizer.encode(text)?),
        (AskPrompt::Text(_), None) => {
            let whose = match against {
                Against::Model(_) => "this checkpoint",
                Against::Key(_) => "a key",
            };
            Err(Failure::new(
                "request",
                format!("{whose} has no tokenizer, so a prompt cannot be sent as text"),
            )
            .with_next("give it as token ids, such as 1,2,3"))
        }
    }
}

/// From the exchange's news to a face's.
fn tell<P: Platform>(
    monitor: &mut JobMonitor<'_, P>,
    wanted: &Wanted,
    news: &assay_live::News<'_>,
) {
    let most = u64::from(wanted.max_tokens);
    // The exchange hears of a cancel where it waits, so nobody asks for it here.
    let stage = |monitor: &mut JobMonitor<'_, P>, stage, done, total| {
        drop(monitor.tell(stage, done, total));
    };
    match news {
        assay_live::News::Info(info) => {
            monitor.say(News::Live(LiveNews::Prover {
                producer: info.producer.clone(),
                adapter: info.adapter.clone(),
                rule: info.sparse.as_ref().map(SparseClaim::in_words),
            }));
            stage(monitor, Stage::Answer, 0, most);
        }
        assay_live::News::Token(token) => {
            monitor.answer(*token);
            stage(monitor, Stage::Answer, monitor.tokens(), most);
        }
        assay_live::News::Committed(receipt) => {
            monitor.say_text();
            stage(monitor, Stage::Receipt, 1, 1);
            let digest = receipt.to_string();
            monitor.say(News::Live(LiveNews::Receipt { digest }));
        }
        assay_live::News::Challenged(opening) => {
            stage(monitor, Stage::Challenge, 1, 1);
            monitor.say(News::Live(LiveNews::Challenge {
                layers: opening.layers.clone(),
                states: match opening.is_of_states() {
                    true => opening.states.clone(),
                    false => Vec::new(),
                },
                logits: u32::try_from(opening.logits.len()).unwrap_or(u32::MAX),
            }));
        }
        assay_live::News::Opening { got, of } => stage(monitor, Stage::Opening, *got, *of),
    }
}

/// Why nothing was judged, and what to do.
fn trouble(failed: &Failed, advice: Option<String>) -> Failure {
    if failed.error == ExchangeError::Cancelled {
        return Failure::cancelled();
    }
    let failure = Failure::new(failed.error.code(), failed.error.to_string());
    if failed.challenged {
        return failure.with_next(SUSPICIOUS.replace('\n', " "));
    }
    let next = match &failed.error {
        ExchangeError::Unreachable(_) => {
            advice.unwrap_or_else(|| "check the address, and that the prover runs".to_owned())
        }
        ExchangeError::Refused(_) => {
            "it committed to nothing: try again in a while, or ask whoever runs it".to_owned()
        }
        ExchangeError::Stalled(_) | ExchangeError::Cut(_) => {
            "it committed to nothing: try again".to_owned()
        }
        ExchangeError::Protocol(_) => {
            "is this the address of a live prover? `assay serve` is one".to_owned()
        }
        ExchangeError::TooLarge { .. } => {
            "ask for fewer tokens, layers or rows of logits".to_owned()
        }
        ExchangeError::Request(_) => "ask for what this prover takes".to_owned(),
        _ => "nothing was judged".to_owned(),
    };
    failure.with_next(next)
}
