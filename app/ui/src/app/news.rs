//! News from outside taken in: what a job came to, what was chosen or dropped, where a link leads.

use assay_sheet::Sheet;
use assay_trace::Manifest;
use assay_verify::Details;
use assay_work::message::{
    Asked, Claims, Event, Failure, Job, JobId, ModelSource, News, Outcome, Source,
};

use super::App;
use crate::jobs::{Live, Purpose};
use crate::judged::{Judged, LiveFacts};
use crate::shell::Input;
use crate::state::{Lock, ModelInput, Page, Tab, TraceInput, Trouble};
use crate::{link, text, views};

impl App {
    pub(super) fn take(&mut self, ctx: &egui::Context, input: Input) {
        match input {
            Input::Event(Event { id, news }) => self.hear(id, news),
            Input::Chosen(files) => {
                self.state.dragging = 0;
                self.state.dialog = None;
                if !files.is_empty() {
                    self.start(Purpose::Sort, Job::Sort { files });
                }
            }
            Input::Dragging(n) => self.state.dragging = n,
            Input::Command(name) => {
                self.command(&name);
            }
            Input::Link(fragment) => {
                if let Some(place) = link::parse(&fragment) {
                    self.link = Some(place);
                    self.follow_link();
                }
            }
            Input::Saved(Ok(to)) => {
                let to = text::plain(&to, 120);
                self.state.toast(format!("Saved {to}"), false);
            }
            Input::Saved(Err(why)) => {
                let why = text::plain(&why, text::SHOWN);
                self.state.toast(format!("Not saved: {why}"), true);
            }
            Input::Notice(why) => {
                let why = text::plain(&why, text::SHOWN);
                self.shell.announce(&why, true);
                self.state.toast(why, true);
            }
            Input::WorkerDied(words) => {
                let lost = self.state.jobs.clear();
                if let Some(job) = lost.iter().find(|job| job.purpose.is_awaited()) {
                    let failure = Failure::new("internal", format!("the worker stopped: {words}"))
                        .with_next("Try again. If it happens every time, please report it with these words.");
                    self.fail(job, failure);
                }
            }
        }
        ctx.request_repaint();
    }

    pub(super) fn hear(&mut self, id: JobId, news: News) {
        match news {
            News::Progress { stage, done, total } => {
                let Some(job) = self.state.jobs.get(id) else {
                    return;
                };
                if job.progress(stage, done, total) && job.purpose.is_long() {
                    let label = job.steps().get(job.step()).map(|step| step.label);
                    if let Some(label) = label {
                        self.shell.announce(label, false);
                    }
                }
            }
            News::Text { text } => match self.state.jobs.get(id).map(|job| &job.purpose) {
                Some(Purpose::Prove) => self.state.prove.text = text,
                Some(purpose) if purpose.asks() => self.state.asking.told.text = text,
                _ => {}
            },
            News::Live(news) => {
                let asks = |job: &mut Live| job.purpose.asks();
                if self.state.jobs.get(id).is_some_and(asks) {
                    self.state.asking.told.take(news);
                }
            }
            News::Done(ended) => {
                let Some(job) = self.state.jobs.finish(id) else {
                    return;
                };
                match ended {
                    Ok(outcome) => self.succeed(&job, *outcome),
                    Err(failure) => self.fail(&job, failure),
                }
            }
        }
    }

    pub(super) fn succeed(&mut self, job: &Live, outcome: Outcome) {
        match outcome {
            Outcome::Adapters {
                found,
                chosen,
                fault,
            } => {
                self.state.adapters = crate::state::Adapters {
                    found,
                    chosen,
                    fault,
                    is_known: true,
                };
            }
            Outcome::Sorted {
                traces,
                model,
                sheets,
                ignored,
            } => self.sorted(traces, model, sheets, &ignored),
            Outcome::Inspected(claims) => {
                if self.inspecting == Some(job.id) {
                    self.inspected(claims);
                }
            }
            Outcome::Model(facts) => {
                if self.opening == Some(job.id) {
                    self.state.model.facts = Some(facts);
                    self.state.model.lock = None;
                    self.opening = None;
                    self.verify_if_eager();
                }
            }
            Outcome::Verified { report, details } => self.verified(report, *details, None),
            Outcome::Asked(asked) => self.asked(asked),
            Outcome::Proved(proved) => {
                self.shell.announce(
                    &format!(
                        "Generated {}; the trace is ready",
                        text::count(u64::from(proved.tokens), "token")
                    ),
                    true,
                );
                self.state.prove.text.clone_from(&proved.text);
                self.state.prove.done = Some(proved);
            }
            Outcome::Sheet(text) => self.studied(&text),
            Outcome::Hashes(hashes) => self.state.hashes = Some(hashes),
            Outcome::Bytes(bytes) => {
                if let Purpose::Save(name) = &job.purpose {
                    self.shell.save(name, "application/octet-stream", bytes);
                }
            }
            Outcome::Cache(entries) => self.state.cache = Some(entries),
        }
    }

    pub(super) fn fail(&mut self, job: &Live, failure: Failure) {
        if failure.is_cancelled() {
            if job.purpose.is_awaited() {
                self.state.toast("Cancelled", false);
                self.shell.announce("Cancelled", false);
            }
            self.is_eager = false;
            return;
        }
        if !job.purpose.is_awaited() {
            if job.purpose == Purpose::Adapters {
                self.state.adapters.fault = Some(failure);
                self.state.adapters.is_known = true;
            } else {
                let message = text::plain(&failure.message, text::SHOWN);
                self.state.toast(message, true);
            }
            return;
        }
        let is_key = self.state.model.source.is_key();
        if failure.asks_passphrase() && is_key {
            self.ask_passphrase(job, &failure);
            return;
        }
        self.is_eager = false;
        let during = match job.purpose {
            Purpose::Verify | Purpose::Audit => "verifying",
            Purpose::Prove => "generating",
            Purpose::Experiment => "running experiments",
            Purpose::Ask | Purpose::AskWithKey => "asking the prover",
            Purpose::Inspect => "reading the trace",
            Purpose::Sheet => "reading the study",
            Purpose::OpenModel if is_key => "opening the key",
            Purpose::OpenModel => "opening the model",
            _ => "opening files",
        };
        if job.purpose == Purpose::OpenModel && self.opening == Some(job.id) {
            self.state.model = ModelInput::default();
            self.opening = None;
        }
        if job.purpose.asks() {
            self.state.page = Page::Ask;
        }
        let next = failure.next.as_deref().unwrap_or_default();
        let words = text::plain(&format!("Error: {}. {next}", failure.message), 2000);
        self.shell.announce(&words, true);
        self.state.trouble = Some(Trouble { failure, during });
    }

    /// No trouble, but a question. Whatever was to be done with the key is done once it is open.
    fn ask_passphrase(&mut self, job: &Live, failure: &Failure) {
        if job.purpose == Purpose::OpenModel && self.opening != Some(job.id) {
            return;
        }
        self.opening = None;
        // The Ask page has a field for it as well.
        if self.state.page != Page::Ask {
            self.state.page = Page::Verify;
        }
        self.state.model.facts = None;
        self.state.model.asks = true;
        self.state.model.lock = Some(if failure.code == Failure::KEY_PASSPHRASE {
            Lock::Wrong
        } else {
            Lock::Shut
        });
        let next = failure.next.as_deref().unwrap_or_default();
        self.shell
            .announce(&format!("{}; {next}", failure.message), true);
    }

    pub(super) fn sorted(
        &mut self,
        traces: Vec<Source>,
        model: Option<ModelSource>,
        sheets: Vec<Source>,
        ignored: &[String],
    ) {
        if let Some(sheet) = sheets.into_iter().next() {
            self.set_study(sheet);
            if traces.is_empty() && model.is_none() {
                return;
            }
        }
        if traces.is_empty() && model.is_none() {
            let names = ignored
                .iter()
                .take(3)
                .map(|name| text::plain(name, 60))
                .collect::<Vec<_>>()
                .join(", ");
            let failure = Failure::new("unsupported", format!("neither a trace nor a model nor a key nor a study: {names}"))
                .with_next("A trace is a .bin file that a prover wrote. A model is a Hugging Face folder with safetensors, or a llama2.c .bin file. A key is what `assay keygen` wrote.");
            self.shell
                .announce(&format!("Error: {}", failure.message), true);
            self.state.trouble = Some(Trouble {
                failure,
                during: "opening files",
            });
            return;
        }
        let many = traces.len();
        let others = ignored.len() as u64;
        // A model that is opened to ask with is no reason to leave.
        if self.state.page != Page::Ask || many > 0 {
            self.state.page = Page::Verify;
        }
        if others > 0 && model.as_ref().is_some_and(ModelSource::is_key) {
            let not_used = text::count(others, "other file");
            self.state
                .toast(format!("The key was taken; {not_used} not used"), false);
        }
        if let Some(model) = model {
            self.set_model(model);
        }
        if let Some(trace) = traces.into_iter().next() {
            self.set_trace(trace);
        }
        if many > 1 {
            self.state
                .toast(format!("The first of {many} traces was taken"), false);
        }
    }

    /// A study's sheet was read.
    fn studied(&mut self, text: &str) {
        // The worker has held it to the rules; here it is read again because it came as bytes.
        match Sheet::parse(text.as_bytes()) {
            Ok(sheet) => {
                let title = text::plain(&sheet.title, 120);
                self.shell.announce(&format!("Study: {title}"), true);
                self.state.study = Some(Box::new(sheet));
                self.state.page = Page::Study;
            }
            Err(err) => self.state.toast(err.to_string(), true),
        }
    }

    pub(super) fn inspected(&mut self, claims: Claims) {
        self.inspecting = None;
        let Some(trace) = &mut self.state.trace else {
            return;
        };
        trace.manifest = manifest(&claims);
        trace.claims = Some(claims);
        // Not after one that could not be opened: its error is what there is to see.
        if self.state.model.facts.is_none()
            && self.state.model.lock.is_none()
            && self.opening.is_none()
            && self.state.trouble.is_none()
        {
            self.open_model();
        }
        self.verify_if_eager();
    }

    /// Judges what came with the address, once it is known that the model at hand is the one that is meant.
    pub(super) fn verify_if_eager(&mut self) {
        let is_read = self
            .state
            .trace
            .as_ref()
            .is_some_and(|trace| trace.claims.is_some());
        if !self.is_eager || !is_read || self.state.model.facts.is_none() {
            return;
        }
        self.is_eager = false;
        let is_malformed = self
            .state
            .trace
            .as_ref()
            .is_some_and(|trace| trace.manifest.is_none());
        if self.state.model.is_chosen || is_malformed || self.state.model_fits() == Some(true) {
            self.verify();
        }
    }

    /// A live prover's answer, or conduct, has its verdict.
    fn asked(&mut self, asked: Asked) {
        let Asked {
            report,
            details,
            text,
            receipt,
            kept,
            claims,
        } = asked;
        if !text.is_empty() {
            self.state.asking.told.text = text;
        }
        // What it opened is a trace like any other from here on: its hashes can be looked at.
        self.state.trace = claims.zip(kept).map(|(claims, kept)| TraceInput {
            source: Source::Kept(kept),
            manifest: manifest(&claims),
            claims: Some(claims),
        });
        self.inspecting = None;
        self.is_eager = false;
        self.verified(report, *details, Some(LiveFacts { receipt, kept }));
    }

    fn verified(&mut self, report: String, details: Details, live: Option<LiveFacts>) {
        let (trace, model) = self.verifying.take().unwrap_or_default();
        let judged = Judged::new(report, details, trace, model);
        match judged {
            Ok(mut judged) => {
                judged.live = live;
                let code = judged
                    .decisive()
                    .map(|check| format!(", {}", check.code))
                    .unwrap_or_default();
                let words = format!(
                    "{}{code}. {}",
                    views::banner::word(judged.report.verdict),
                    judged.sentence()
                );
                self.shell.announce(&words, true);
                self.state.view = crate::state::ViewState {
                    statistic: self.state.view.statistic,
                    ..Default::default()
                };
                self.state.selected = None;
                self.state.hashes = None;
                self.state.trouble = None;
                self.state.tab = Tab::Overview;
                self.state.page = Page::Verify;
                self.state.judged = Some(Box::new(judged));
                self.follow_link();
            }
            Err(why) => {
                let failure = Failure::new("internal", format!("the report cannot be read: {why}"));
                self.shell
                    .announce(&format!("Error: {}", failure.message), true);
                self.state.trouble = Some(Trouble {
                    failure,
                    during: "verifying",
                });
            }
        }
    }

    pub(super) fn follow_link(&mut self) {
        if self.state.judged.is_some()
            && let Some(place) = self.link.take()
        {
            self.select(place);
            self.state.tab = Tab::Tokens;
        }
    }
}

/// The manifest that a trace claims, if it has one.
fn manifest(claims: &Claims) -> Option<Manifest> {
    serde_json::from_str(claims.manifest.as_deref()?).ok()
}
