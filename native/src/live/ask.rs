//! The exchange, and what the user is told of it.

use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use assay_live::{Address, ExchangeError, Failed, News, Wanted, exchange};
use assay_trace::Digest;
use assay_work::live;

use super::args::LiveArgs;
use super::client::Client;
use crate::atomic_file::AtomicFile;
use crate::output::{Output, Style};
use crate::progress::Progress;
use crate::token_file::Token;
use crate::{interrupt, text};

/// What came of an exchange.
pub enum Asked {
    /// A trace to judge.
    Answered(Box<Answered>),
    /// The prover's conduct is the verdict.
    Rejected(Failed),
}

/// A trace, and what it must say.
pub struct Answered {
    /// The file's bytes.
    pub trace: Vec<u8>,
    /// Nonce, prompt, sampler and opening that were asked for.
    pub expected: assay_verify::Options,
    /// Prompt, then output.
    pub tokens: Vec<u32>,
}

/// What the verifier knows of the model.
pub struct Known {
    /// The prompt's ids.
    pub prompt: Vec<u32>,
    /// The model's root.
    pub root: Digest,
    /// Layers that can be judged; all if `None`.
    pub layers: Option<Vec<u32>>,
}

/// Asks the prover at `address` to run that model on that prompt. Errors are trouble, never a verdict.
pub fn ask(
    address: &str,
    options: &LiveArgs,
    known: Known,
    output: &Output,
    quiet: bool,
) -> anyhow::Result<Asked> {
    let token = options.token_file.as_deref().map(Token::read).transpose()?;
    let total = Duration::from_secs(u64::from(options.seconds()));
    let save = options
        .save
        .as_deref()
        .map(AtomicFile::create)
        .transpose()?;
    let spec = options.sampler.spec()?;
    let stated = spec
        .stated()
        .context("a sampler's number is out of range")?;
    let base: Address = address.parse().with_context(|| {
        let shown = text::quoted(address);
        format!("not the address of a prover: {shown}")
    })?;
    let wanted = Wanted {
        prompt: known.prompt,
        max_tokens: options.n_tokens(),
        sampler: stated,
        ignore_eos: options.ignore_eos,
        root: Some(known.root),
        ask: options.ask(known.layers),
        max_bytes: options.max_bytes(),
    };
    for flag in options.sampler.ignored() {
        output.note(format_args!(
            "{} {flag} has no effect: without --temperature the choice is greedy",
            output.paint_note(Style::Warn, "note:")
        ));
    }
    interrupt::listen();
    let token = token.as_ref().map(Token::secret);
    let mut client = Client::new(base, token, total, Rc::new(interrupt::requested));
    let mut random = |bytes: &mut [u8; 32]| getrandom::fill(bytes).map_err(|err| err.to_string());
    let mut teller = Teller {
        output,
        quiet,
        progress: Progress::start(!quiet),
        tokens: 0,
        max_tokens: wanted.max_tokens,
    };
    let mut tell = |news: News<'_>| teller.tell(&news);
    let asked = exchange(&mut client, &wanted, &mut random, &mut tell);
    let asked = pollster::block_on(asked);
    drop(teller);
    let answer = match asked {
        Ok(answer) => answer,
        Err(failed) => return rejected(failed, save),
    };
    if let Some(file) = save {
        file.finish(|file| file.write_all(&answer.trace))?;
    }
    Ok(Asked::Answered(Box::new(Answered {
        expected: live::expected(&answer, wanted.prompt, spec),
        trace: answer.trace,
        tokens: answer.tokens,
    })))
}

/// A verdict, or an error for people. Evidence is kept where there is any.
fn rejected(failed: Failed, save: Option<AtomicFile>) -> anyhow::Result<Asked> {
    if failed.error.is_verdict() {
        if let Some(file) = save.filter(|_| !failed.opened.is_empty()) {
            file.finish(|file| file.write_all(&failed.opened))?;
        }
        return Ok(Asked::Rejected(failed));
    }
    let next = match &failed.error {
        _ if failed.challenged => live::SUSPICIOUS,
        ExchangeError::Unreachable(_) => "check the address, and that the prover runs",
        ExchangeError::Stalled(_) => "--timeout gives it more time",
        ExchangeError::TooLarge { .. } => {
            "ask for fewer tokens, --layers or --logits, or give --max-mib"
        }
        _ => "nothing was judged",
    };
    let code = failed.error.code();
    Err(anyhow!("{code}: {}\n{next}", failed.error))
}

/// Says what goes on, on stderr.
struct Teller<'a> {
    output: &'a Output,
    quiet: bool,
    progress: Progress,
    tokens: u64,
    max_tokens: u32,
}

impl Teller<'_> {
    fn tell(&mut self, news: &News<'_>) {
        use assay_engine::{Monitor as _, Phase};
        match news {
            News::Info(info) => {
                self.say(
                    "prover",
                    format_args!(
                        "{} on {}",
                        text::plain(&info.producer),
                        text::plain(&info.adapter)
                    ),
                );
                if let Some(sparse) = &info.sparse {
                    let words = format_args!("sparse ({}), it says", sparse.in_words());
                    self.say("MLPs", words);
                }
            }
            News::Token(_) => {
                self.tokens += 1;
                let total = u64::from(self.max_tokens);
                // Ctrl-C is the client's to hear.
                drop(self.progress.progress(Phase::Decode, self.tokens, total));
            }
            News::Committed(receipt) => self.say("receipt", format_args!("{receipt}")),
            News::Challenged(opening) => {
                let list = |list: &[u32]| {
                    let words: Vec<String> = list.iter().map(u32::to_string).collect();
                    if words.is_empty() {
                        "none".to_owned()
                    } else {
                        words.join(" ")
                    }
                };
                if opening.is_of_states() {
                    let states = list(&opening.states);
                    return self.say("challenge", format_args!("hidden states {states}"));
                }
                self.say(
                    "challenge",
                    format_args!(
                        "layers {}; logits of {}",
                        list(&opening.layers),
                        text::count(opening.logits.len() as u64, "token")
                    ),
                );
            }
            News::Opening { .. } => {}
        }
    }

    fn say(&mut self, label: &str, value: std::fmt::Arguments<'_>) {
        if !self.quiet {
            self.progress.clear();
            self.output
                .note_field(label, self.output.paint_note(Style::Strong, value));
        }
    }
}
