//! From the engine's progress to a face's news: not too often, and with the cancel in return.

use std::future::{Future, ready};
use std::pin::Pin;
use std::time::Duration;

use assay_engine::{Device, EngineError, Monitor, Phase};
use assay_model::Tokenizer;
use web_time::Instant;

use crate::message::{Event, Failure, JobId, News, Stage};
use crate::platform::Platform;

/// Between two pieces of news: each makes the face draw, with the same device where it is a GPU that both share.
const EVERY: Duration = Duration::from_millis(100);

/// Between two frames that show how far a job is. Where no GPU draws (`is_software`), a frame takes as long as the work of a second or
/// two, and the job would mostly wait for frames.
pub fn frame_gap(is_software: bool) -> Duration {
    match is_software {
        true => Duration::from_secs(1),
        false => EVERY,
    }
}

/// Between two chances for others on this thread: each costs a browser some milliseconds, whatever is to be done then.
const BREATH: Duration = Duration::from_millis(20);

/// Lets others run, not too often.
pub(crate) struct Breath<'a, P: Platform + ?Sized> {
    platform: &'a P,
    last: Instant,
}

impl<'a, P: Platform + ?Sized> Breath<'a, P> {
    pub(crate) fn new(platform: &'a P) -> Self {
        Self {
            platform,
            last: Instant::now(),
        }
    }

    /// At once, if others had their turn just now.
    pub(crate) fn take(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        if self.last.elapsed() < BREATH {
            return Box::pin(ready(()));
        }
        Box::pin(async {
            self.platform.breathe().await;
            self.last = Instant::now();
        })
    }
}

/// One job's voice and ear.
pub(crate) struct JobMonitor<'a, P: Platform + ?Sized> {
    platform: &'a P,
    id: JobId,
    breath: Breath<'a, P>,
    told: Option<(Stage, Instant)>,
    tokenizer: Option<&'a Tokenizer>,
    output: Vec<u32>,
    text_told: Option<Instant>,
    every: Duration,
}

impl<'a, P: Platform + ?Sized> JobMonitor<'a, P> {
    pub(crate) fn new(platform: &'a P, id: JobId) -> Self {
        Self {
            platform,
            id,
            breath: Breath::new(platform),
            told: None,
            tokenizer: None,
            output: Vec::new(),
            text_told: None,
            every: EVERY,
        }
    }

    /// Shows the text of generated tokens as they come.
    pub(crate) fn with_tokenizer(mut self, tokenizer: Option<&'a Tokenizer>) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// Speaks less often where the cores that compute also draw.
    pub(crate) fn on(mut self, device: &Device) -> Self {
        let is_software = matches!(device, Device::Gpu(gpu) if gpu.info.software);
        self.every = frame_gap(is_software);
        self
    }

    /// Tells of progress if it is time to, and asks whether to go on.
    pub(crate) fn tell(&mut self, stage: Stage, done: u64, total: u64) -> Result<(), Failure> {
        let now = Instant::now();
        let is_due = match self.told {
            Some((told, at)) => {
                told != stage || done >= total || now.duration_since(at) >= self.every
            }
            None => true,
        };
        if is_due {
            self.told = Some((stage, now));
            self.say(News::Progress { stage, done, total });
        }
        self.check()
    }

    pub(crate) fn check(&self) -> Result<(), Failure> {
        match self.platform.is_cancelled(self.id) {
            true => Err(Failure::cancelled()),
            false => Ok(()),
        }
    }

    /// Takes a live prover's token, and shows what there is if it is time to: ids, where there is no tokenizer.
    pub(crate) fn answer(&mut self, id: u32) {
        self.output.push(id);
        let now = Instant::now();
        if self
            .text_told
            .is_none_or(|at| now.duration_since(at) >= self.every)
        {
            self.text_told = Some(now);
            self.say_text();
        }
    }

    /// Shows all that there is, now.
    pub(crate) fn say_text(&self) {
        let text = in_words(&self.output, self.tokenizer);
        self.say(News::Text { text });
    }

    /// Tokens so far.
    pub(crate) fn tokens(&self) -> u64 {
        self.output.len() as u64
    }

    pub(crate) fn say(&self, news: News) {
        self.platform.say(Event { id: self.id, news });
    }
}

/// Tokens as text, or as ids between commas where there is no tokenizer.
pub(crate) fn in_words(tokens: &[u32], tokenizer: Option<&Tokenizer>) -> String {
    match tokenizer {
        Some(tokenizer) => tokenizer.decode(tokens),
        None => {
            let ids: Vec<String> = tokens.iter().map(u32::to_string).collect();
            ids.join(",")
        }
    }
}

impl<P: Platform + ?Sized> Monitor for JobMonitor<'_, P> {
    fn progress(&mut self, phase: Phase, done: u64, total: u64) -> Result<(), EngineError> {
        self.tell(phase.into(), done, total)
            .map_err(|_cancelled| EngineError::Cancelled)
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        self.check().map_err(|_cancelled| EngineError::Cancelled)
    }

    fn breathe(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        self.breath.take()
    }

    fn token(&mut self, id: u32) {
        self.output.push(id);
        let now = Instant::now();
        let is_due = self
            .text_told
            .is_none_or(|at| now.duration_since(at) >= self.every);
        if is_due && self.tokenizer.is_some() {
            self.text_told = Some(now);
            self.say_text();
        }
    }
}
