//! What happens when: news from the worker taken in, commands run, jobs started.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use assay_trace::Manifest;
use assay_verify::{Details, Verdict};
use assay_work::message::ModelSource;
use assay_work::message::{
    Claims, DeviceChoice, Event, Expect, Failure, Job, JobId, News, Outcome, ProveRequest, Sample,
    Source, ToWorker,
};
use egui::ColorImage;
use serde_json::{Value, json};
use web_time::Instant;

use crate::command::Command;
use crate::export;
use crate::jobs::{Live, Purpose};
use crate::judged::Judged;
use crate::link::{self, Place};
use crate::meter::Meter;
use crate::settings::{self, Settings, ThemeChoice};
use crate::shell::{Input, Pick, Shell};
use crate::state::{Ask, Dialog, ModelInput, Page, State, Tab, TraceInput, Trouble};
use crate::{text, theme, views};

/// What the app is to open at once: from the command line, or from `?trace=` and `&model=`.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// A trace.
    pub trace: Option<Source>,
    /// A model.
    pub model: Option<ModelSource>,
    /// `layer=..&token=..`.
    pub link: Option<String>,
}

/// A picture of the window, when it comes.
type Picture = Arc<Mutex<Option<Arc<ColorImage>>>>;

/// The app.
pub struct App {
    shell: Box<dyn Shell>,
    state: State,
    meter: Meter,
    /// A place that was linked to before there was a result.
    link: Option<Place>,
    /// Judge as soon as trace and model are known to fit: the user gave both with the address.
    is_eager: bool,
    /// The jobs whose claims and facts are still wanted.
    inspecting: Option<JobId>,
    opening: Option<JobId>,
    /// What was given to the job that verifies: names of trace and model.
    verifying: Option<(String, String)>,
    picture: Picture,
    picture_of: Option<(egui::Rect, &'static str)>,
    glyphs: RefCell<BTreeMap<char, bool>>,
    has_drawn: bool,
    is_dark: bool,
}

impl App {
    /// Installs fonts and style, and opens what `start` names.
    pub fn new(
        ctx: &egui::Context,
        shell: Box<dyn Shell>,
        settings: Settings,
        start: Start,
    ) -> Self {
        theme::install(ctx);
        let state = State::new(shell.platform().clone(), settings);
        let mut app = Self {
            shell,
            state,
            meter: Meter::default(),
            link: start.link.as_deref().and_then(link::parse),
            is_eager: start.trace.is_some(),
            inspecting: None,
            opening: None,
            verifying: None,
            picture: Picture::default(),
            picture_of: None,
            glyphs: RefCell::default(),
            has_drawn: false,
            is_dark: true,
        };
        app.apply_settings(ctx);
        let device = app.state.settings.device.clone();
        app.start(Purpose::Adapters, Job::Adapters { device });
        if let Some(model) = start.model {
            app.set_model(model);
        }
        if let Some(trace) = start.trace {
            app.set_trace(trace);
        }
        app
    }

    /// Takes in what happened and starts what follows from it. Cheap; also called while nothing is drawn.
    pub fn logic(&mut self, ctx: &egui::Context) {
        let start = Instant::now();
        for input in self.shell.receive() {
            self.take(ctx, input);
        }
        self.take_picture(ctx);
        if let Some(toast) = &self.state.toast {
            if toast.since.elapsed().as_secs_f32() > 5.0 {
                self.state.toast = None;
            } else {
                ctx.request_repaint_after_secs(1.0);
            }
        }
        if self.state.jobs.awaited().is_some() {
            // Rates and remaining times go on between news.
            ctx.request_repaint_after_secs(0.1);
        }
        self.meter.add(start);
    }

    /// Draws.
    pub fn ui(&mut self, ui: &mut egui::Ui) {
        let start = Instant::now();
        self.is_dark = ui.visuals().dark_mode;
        for command in Command::pressed(ui.ctx()) {
            if self.state.can(command) {
                self.state.run(command);
            }
        }
        views::draw(ui, &mut self.state);
        let ctx = ui.ctx().clone();
        self.has_drawn = true;
        // An ask may lead to others.
        for _ in 0..4 {
            let asks = std::mem::take(&mut self.state.asks);
            if asks.is_empty() {
                break;
            }
            ctx.request_repaint();
            for ask in asks {
                self.fulfil(&ctx, ask);
            }
        }
        self.meter.add(start);
        self.meter.end(self.state.jobs.long().is_some());
    }

    /// What the platform keeps for the next start.
    pub fn settings(&self) -> &Settings {
        &self.state.settings
    }

    /// Runs a command by its stable name, in the next frame. `false` if there is none, or it makes no sense now.
    pub fn command(&mut self, name: &str) -> bool {
        let Some(command) = Command::named(name).filter(|command| self.state.can(*command)) else {
            return false;
        };
        self.state.run(command);
        true
    }

    /// The report's JSON as the worker gave it.
    pub fn report_json(&self) -> Option<&str> {
        self.state
            .judged
            .as_ref()
            .map(|judged| judged.text.as_str())
    }

    /// What is going on, for tests and for the page around the canvas.
    pub fn state_json(&self) -> String {
        let state = &self.state;
        let job = state.jobs.awaited();
        let phase = match (&job, &state.trouble, &state.judged) {
            (Some(_), _, _) => "working",
            (None, Some(_), _) => "error",
            (None, None, Some(_)) => "done",
            (None, None, None) => "idle",
        };
        let judged = state.judged.as_ref();
        let claims = state.trace.as_ref().and_then(|trace| trace.claims.as_ref());
        let manifest = |claims: &Claims| {
            claims
                .manifest
                .as_deref()
                .and_then(|text| serde_json::from_str::<Value>(text).ok())
        };
        json!({
            "phase": phase,
            "job": job.map(|job| job.purpose.word()),
            "stage": job.and_then(|job| job.stage).map(|stage| format!("{stage:?}").to_lowercase()),
            "done": job.map(|job| job.done),
            "total": job.map(|job| job.total),
            "verdict": judged.map(|judged| verdict_word(judged.report.verdict)),
            "code": judged.and_then(|judged| judged.decisive()).map(|check| check.code),
            "error": state.trouble.as_ref().map(|trouble| json!({
                "code": trouble.failure.code,
                "message": trouble.failure.message,
                "next": trouble.failure.next,
            })),
            "trace": state.trace.as_ref().map(|trace| trace.source.name()),
            "model": state.model.source.name(),
            "claims": claims.map(|claims| json!({
                "name": claims.name,
                "bytes": claims.bytes,
                "sha256": claims.sha256,
                "fault": claims.fault,
                "manifest": manifest(claims),
            })),
            "theme": if self.is_dark { "dark" } else { "light" },
            "zoom": state.settings.zoom(),
            "page": match state.page { Page::Verify => "verify", Page::Prove => "prove" },
            "tab": format!("{:?}", state.tab).to_lowercase(),
            "dialog": state.dialog.map(|dialog| format!("{dialog:?}").to_lowercase()),
            "selected": state.selected.map(|place| json!({ "layer": place.layer, "position": place.position })),
            "adapter": judged.map(|judged| judged.report.adapter.name.clone()).or_else(|| state.adapters.chosen.as_ref().map(|info| info.name.clone())),
            "proved": state.prove.done.as_ref().map(|proved| json!({ "root": proved.root, "tokens": proved.tokens, "bytes": proved.bytes })),
            "text": state.prove.text,
            "toast": state.toast.as_ref().map(|toast| toast.text.clone()),
            "worst_frame_ms": self.meter.worst_ms(),
            "frames": self.meter.frames(),
        })
        .to_string()
    }

    // News

    fn take(&mut self, ctx: &egui::Context, input: Input) {
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
                let to = text::plain(&to, 120, &|_| true);
                self.state.toast(format!("Saved {to}"), false);
            }
            Input::Saved(Err(why)) => {
                let why = text::plain(&why, text::SHOWN, &|_| true);
                self.state.toast(format!("Not saved: {why}"), true);
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

    fn hear(&mut self, id: JobId, news: News) {
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
            News::Text { text } => {
                if self
                    .state
                    .jobs
                    .get(id)
                    .is_some_and(|job| job.purpose == Purpose::Prove)
                {
                    self.state.prove.text = text;
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

    fn succeed(&mut self, job: &Live, outcome: Outcome) {
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
                ignored,
            } => self.sorted(traces, model, &ignored),
            Outcome::Inspected(claims) => {
                if self.inspecting == Some(job.id) {
                    self.inspected(claims);
                }
            }
            Outcome::Model(facts) => {
                if self.opening == Some(job.id) {
                    self.state.model.facts = Some(facts);
                    self.opening = None;
                    self.verify_if_eager();
                }
            }
            Outcome::Verified { report, details } => self.verified(report, *details),
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
            Outcome::Hashes(hashes) => self.state.hashes = Some(hashes),
            Outcome::Bytes(bytes) => {
                if let Purpose::Save(name) = &job.purpose {
                    self.shell.save(name, "application/octet-stream", bytes);
                }
            }
            Outcome::Cache(entries) => self.state.cache = Some(entries),
        }
    }

    fn fail(&mut self, job: &Live, failure: Failure) {
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
                let message = text::plain(&failure.message, text::SHOWN, &|_| true);
                self.state.toast(message, true);
            }
            return;
        }
        self.is_eager = false;
        let during = match job.purpose {
            Purpose::Verify => "verifying",
            Purpose::Prove => "generating",
            Purpose::Inspect => "reading the trace",
            Purpose::OpenModel => "opening the model",
            _ => "opening files",
        };
        if job.purpose == Purpose::OpenModel && self.opening == Some(job.id) {
            self.state.model = ModelInput::default();
            self.opening = None;
        }
        let next = failure.next.as_deref().unwrap_or_default();
        self.shell
            .announce(&format!("Error: {}. {next}", failure.message), true);
        self.state.trouble = Some(Trouble { failure, during });
    }

    fn sorted(&mut self, traces: Vec<Source>, model: Option<ModelSource>, ignored: &[String]) {
        if traces.is_empty() && model.is_none() {
            let names = ignored
                .iter()
                .take(3)
                .map(|name| text::plain(name, 60, &|_| true))
                .collect::<Vec<_>>()
                .join(", ");
            let failure = Failure::new("unsupported", format!("neither a trace nor a model: {names}"))
                .with_next("A trace is a .bin file that a prover wrote. A model is a Hugging Face folder with safetensors, or a llama2.c .bin file.");
            self.shell
                .announce(&format!("Error: {}", failure.message), true);
            self.state.trouble = Some(Trouble {
                failure,
                during: "opening files",
            });
            return;
        }
        let many = traces.len();
        self.state.page = Page::Verify;
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

    fn inspected(&mut self, claims: Claims) {
        self.inspecting = None;
        let Some(trace) = &mut self.state.trace else {
            return;
        };
        trace.manifest = claims
            .manifest
            .as_deref()
            .and_then(|text| serde_json::from_str::<Manifest>(text).ok());
        trace.claims = Some(claims);
        if self.state.model.facts.is_none() && self.opening.is_none() {
            self.open_model();
        }
        self.verify_if_eager();
    }

    /// Judges what came with the address, once it is known that the model at hand is the one that is meant.
    fn verify_if_eager(&mut self) {
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

    fn verified(&mut self, report: String, details: Details) {
        let (trace, model) = self.verifying.take().unwrap_or_default();
        let judged = {
            let has_glyph = self.has_glyph();
            Judged::new(report, details, trace, model, &has_glyph)
        };
        match judged {
            Ok(judged) => {
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

    /// Whether our fonts have a picture of a character. Asked once for each.
    fn has_glyph(&self) -> impl Fn(char) -> bool + '_ {
        let fonts = self.glyph_source();
        move |c: char| {
            if c.is_ascii() {
                return c.is_ascii_graphic() || c == ' ';
            }
            *self.glyphs.borrow_mut().entry(c).or_insert_with(|| {
                fonts.as_ref().is_some_and(|ctx| {
                    ctx.fonts_mut(|fonts| fonts.has_glyph(&theme::fonts::mono(), c))
                })
            })
        }
    }

    fn glyph_source(&self) -> Option<egui::Context> {
        self.state.ctx.clone().filter(|_| self.has_drawn)
    }

    fn follow_link(&mut self) {
        if self.state.judged.is_some()
            && let Some(place) = self.link.take()
        {
            self.select(place);
            self.state.tab = Tab::Tokens;
        }
    }

    // Jobs

    fn start(&mut self, purpose: Purpose, job: Job) -> JobId {
        if purpose.is_long() {
            self.meter.reset();
            self.shell.announce(crate::jobs::title(&job), false);
        }
        if purpose.is_awaited() {
            self.state.trouble = None;
        }
        let id = self.state.jobs.start(purpose);
        self.shell.send(ToWorker::Start { id, job });
        id
    }

    fn set_trace(&mut self, source: Source) {
        self.state.page = Page::Verify;
        self.state.judged = None;
        self.state.selected = None;
        self.state.hashes = None;
        self.state.trace = Some(TraceInput {
            source: source.clone(),
            claims: None,
            manifest: None,
        });
        self.inspecting = Some(self.start(Purpose::Inspect, Job::Inspect { trace: source }));
    }

    fn set_model(&mut self, source: ModelSource) {
        self.state.model = ModelInput {
            source,
            facts: None,
            is_chosen: true,
        };
        self.open_model();
    }

    fn open_model(&mut self) {
        let model = self.state.model.source.clone();
        self.opening = Some(self.start(Purpose::OpenModel, Job::OpenModel { model }));
    }

    fn verify(&mut self) {
        let Some(trace) = self.state.trace.as_ref().map(|trace| trace.source.clone()) else {
            return;
        };
        let expect = match expectation(&self.state.expect) {
            Ok(expect) => expect,
            Err(why) => {
                self.state.expect.is_open = true;
                self.state.judged = None;
                self.state.toast(why, true);
                return;
            }
        };
        let model = self.state.model.source.clone();
        let name = text::plain(&trace.name(), 80, &|_| true);
        self.verifying = Some((name, text::plain(&model.name(), 80, &|_| true)));
        self.state.judged = None;
        self.state.page = Page::Verify;
        let device = self.state.settings.device.clone();
        self.start(
            Purpose::Verify,
            Job::Verify {
                trace,
                model,
                expect,
                device,
            },
        );
    }

    fn prove(&mut self) {
        let form = &self.state.prove;
        let request = (|| {
            let max_tokens = form.max_tokens.trim().parse().ok().filter(|n| *n > 0);
            Ok::<_, String>(ProveRequest {
                prompt: if form.prompt.is_empty() {
                    return Err("a prompt is needed".to_owned());
                } else {
                    form.prompt.clone()
                },
                max_tokens: max_tokens
                    .ok_or("the number of tokens must be a whole number above 0")?,
                sampler: self.state.settings.sampler.spec()?,
                nonce: settings::nonce(&form.nonce)?,
                ignore_eos: false,
            })
        })();
        match request {
            Ok(request) => {
                self.state.settings.max_tokens = request.max_tokens;
                self.state.page = Page::Prove;
                self.state.prove.text.clear();
                self.state.prove.done = None;
                let (model, device) = (
                    self.state.model.source.clone(),
                    self.state.settings.device.clone(),
                );
                self.start(
                    Purpose::Prove,
                    Job::Prove {
                        model,
                        request,
                        device,
                    },
                );
            }
            Err(why) => self.state.toast(why, true),
        }
    }

    // Asks and commands

    fn fulfil(&mut self, ctx: &egui::Context, ask: Ask) {
        match ask {
            Ask::Command(command) => self.run(ctx, command),
            Ask::Trace(source) => self.set_trace(source),
            Ask::DropTrace => {
                self.state.trace = None;
                self.inspecting = None;
                self.state.judged = None;
            }
            Ask::DropModel => {
                self.state.model = ModelInput::default();
                self.open_model();
            }
            Ask::Select(place) => self.select(place),
            Ask::Start(purpose, job) => {
                if !self.state.jobs.has(&purpose) {
                    self.start(purpose, *job);
                }
            }
            Ask::Copy(text, what) => {
                ctx.copy_text(text);
                self.state.toast(format!("Copied the {what}"), false);
            }
            Ask::Dice => {
                let bytes = self.shell.random();
                // Nine digits: short enough to read aloud.
                let seed = bytes
                    .iter()
                    .take(8)
                    .fold(0u64, |seed, byte| seed << 8 | u64::from(*byte))
                    % 1_000_000_000;
                self.state.settings.sampler.seed = seed.to_string();
            }
            Ask::DiceNonce => {
                self.state.prove.nonce = self
                    .shell
                    .random()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect();
            }
            Ask::Device(device) => {
                self.state.settings.device = device.clone();
                self.start(Purpose::Adapters, Job::Adapters { device });
            }
            Ask::Dismiss => self.state.trouble = None,
        }
    }

    fn sample(&mut self, sample: Sample) {
        self.state.model = ModelInput {
            source: ModelSource::Demo,
            facts: None,
            is_chosen: false,
        };
        self.opening = None;
        self.state.expect = Default::default();
        self.is_eager = false;
        self.set_trace(Source::Sample(sample));
        // Before the long job, so that nothing is left to do once there is a verdict.
        self.open_model();
        self.verify();
    }

    fn select(&mut self, place: Place) {
        let Some(judged) = &self.state.judged else {
            return;
        };
        let details = &judged.details;
        let last_token = details
            .tokens
            .len()
            .max(details.positions)
            .saturating_sub(1);
        let last_layer = u32::try_from(details.layers_total.saturating_sub(1)).unwrap_or(u32::MAX);
        let place = Place {
            layer: place.layer.min(last_layer),
            position: place.position.min(last_token),
        };
        if self.state.selected != Some(place) {
            self.state.selected = Some(place);
            self.state.view.scroll_to_selection = true;
            self.shell.set_link(&link::format(place));
        }
    }

    fn step(&mut self, tokens: i64, layers: i64) {
        let Some(judged) = &self.state.judged else {
            return;
        };
        let details = &judged.details;
        let Some(place) = self.state.selected else {
            let layer = details.layers.last().copied().unwrap_or(0);
            self.select(Place {
                layer,
                position: details.prompt_tokens,
            });
            return;
        };
        let index = match details.layers.binary_search(&place.layer) {
            Ok(index) | Err(index) => index,
        };
        let moved = |index: usize, by: i64, len: usize| {
            (index as i64 + by).clamp(0, len.saturating_sub(1) as i64) as usize
        };
        let layer = if layers == 0 {
            place.layer
        } else {
            details
                .layers
                .get(moved(index, layers, details.layers.len()))
                .copied()
                .unwrap_or(place.layer)
        };
        let position = moved(
            place.position,
            tokens,
            details.tokens.len().max(details.positions),
        );
        self.select(Place { layer, position });
    }

    fn run(&mut self, ctx: &egui::Context, command: Command) {
        if !self.state.can(command) {
            return;
        }
        let state = &mut self.state;
        match command {
            Command::VerifySample => self.sample(Sample::Honest),
            Command::SampleSwapped => self.sample(Sample::SwappedToken),
            Command::SampleFlipped => self.sample(Sample::FlippedByte),
            Command::OpenFiles => self.shell.pick(Pick::Files),
            Command::OpenFolder => self.shell.pick(Pick::Folder),
            Command::DemoModel => self.set_model(ModelSource::Demo),
            Command::Verify => self.verify(),
            Command::Prove => state.page = Page::Prove,
            Command::RunProve => self.prove(),
            Command::Cancel => self.cancel(),
            Command::StartOver => {
                state.page = Page::Verify;
                state.trace = None;
                state.judged = None;
                state.trouble = None;
                state.selected = None;
                state.expect = Default::default();
                self.inspecting = None;
            }
            Command::ShowOverview => self.show(Tab::Overview),
            Command::ShowTokens => self.show(Tab::Tokens),
            Command::ShowFigures => self.show(Tab::Figures),
            Command::ShowEvidence => self.show(Tab::Evidence),
            Command::NextToken => self.step(1, 0),
            Command::PreviousToken => self.step(-1, 0),
            Command::NextLayer => self.step(0, 1),
            Command::PreviousLayer => self.step(0, -1),
            Command::NextProblem => {
                let Some(judged) = &state.judged else { return };
                let after = state.selected.map_or(0, |place| place.position + 1);
                let next = judged
                    .problems
                    .iter()
                    .find(|index| **index >= after)
                    .or(judged.problems.first());
                if let Some(&position) = next {
                    let layer = state.selected.map_or_else(
                        || judged.details.layers.last().copied().unwrap_or(0),
                        |place| place.layer,
                    );
                    state.tab = Tab::Tokens;
                    self.select(Place { layer, position });
                }
            }
            Command::ResetPlot => state.view.reset_plots = true,
            Command::SaveReport => {
                if let Some(judged) = &state.judged {
                    let file = export::report(judged);
                    self.save(file);
                }
            }
            Command::SaveStatement => {
                if let Some(judged) = &state.judged {
                    match export::statement(judged, &state.platform.build) {
                        Ok(file) => self.save(file),
                        Err(why) => state.toast(why, true),
                    }
                }
            }
            Command::SaveCsv => {
                if let Some(judged) = &state.judged {
                    let file = export::csv(judged);
                    self.save(file);
                }
            }
            Command::SavePlot => {
                self.picture_of = state.view.plot;
                let (slot, ctx2) = (Arc::clone(&self.picture), ctx.clone());
                let callback = egui::ScreenshotCallback::new(move |image| {
                    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(image);
                    ctx2.request_repaint();
                });
                ctx.send_viewport_cmd(egui::ViewportCommand::Screenshot(callback));
            }
            Command::SaveTrace => {
                if let Some(proved) = &state.prove.done {
                    let kept = proved.kept;
                    self.start(Purpose::Save("trace.bin".to_owned()), Job::Bytes { kept });
                }
            }
            Command::CopyReport => {
                if let Some(judged) = &state.judged {
                    let text = judged.text.clone();
                    state.ask(Ask::Copy(text, "report"));
                }
            }
            Command::Palette => {
                state.palette = crate::state::Palette {
                    is_fresh: true,
                    ..Default::default()
                };
                self.toggle(Dialog::Palette);
            }
            Command::Help => self.toggle(Dialog::Help),
            Command::Devices => {
                let device = state.settings.device.clone();
                if !state.jobs.has(&Purpose::Adapters) && state.jobs.long().is_none() {
                    self.start(Purpose::Adapters, Job::Adapters { device });
                }
                self.toggle(Dialog::Devices);
            }
            Command::Storage => {
                self.start(Purpose::Cache, Job::Cache);
                self.toggle(Dialog::Storage);
            }
            Command::About => self.toggle(Dialog::About),
            Command::ThemeSystem => self.set_theme(ctx, ThemeChoice::System),
            Command::ThemeDark => self.set_theme(ctx, ThemeChoice::Dark),
            Command::ThemeLight => self.set_theme(ctx, ThemeChoice::Light),
            Command::ZoomIn => self.zoom(ctx, 0.1),
            Command::ZoomOut => self.zoom(ctx, -0.1),
            Command::ZoomReset => {
                state.settings.zoom = 1.0;
                self.apply_settings(ctx);
            }
            Command::ResetSettings => {
                let is_device = state.settings.device != DeviceChoice::Best;
                state.settings = Settings::default();
                state.toast("Settings are as at the first start", false);
                self.apply_settings(ctx);
                if is_device {
                    self.start(
                        Purpose::Adapters,
                        Job::Adapters {
                            device: DeviceChoice::Best,
                        },
                    );
                }
            }
        }
    }

    fn save(&mut self, file: export::File) {
        self.shell.save(&file.name, file.mime, file.bytes);
    }

    fn show(&mut self, tab: Tab) {
        self.state.page = Page::Verify;
        self.state.tab = tab;
    }

    fn toggle(&mut self, dialog: Dialog) {
        self.state.dialog = if self.state.dialog == Some(dialog) {
            None
        } else {
            Some(dialog)
        };
    }

    fn cancel(&mut self) {
        if self.state.dialog.take().is_some() {
            return;
        }
        for id in self.state.jobs.cancel() {
            self.shell.send(ToWorker::Cancel { id });
        }
    }

    fn set_theme(&mut self, ctx: &egui::Context, choice: ThemeChoice) {
        self.state.settings.theme = choice;
        self.apply_settings(ctx);
    }

    fn zoom(&mut self, ctx: &egui::Context, by: f32) {
        let zoom = self.state.settings.zoom() + by;
        self.state.settings.zoom = (zoom * 10.0).round() / 10.0;
        self.state.settings.zoom = self.state.settings.zoom();
        self.apply_settings(ctx);
    }

    fn apply_settings(&mut self, ctx: &egui::Context) {
        self.state.ctx = Some(ctx.clone());
        ctx.set_theme(self.state.settings.theme.preference());
        ctx.set_zoom_factor(self.state.settings.zoom());
    }

    fn take_picture(&mut self, ctx: &egui::Context) {
        let picture = self
            .picture
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let (Some(image), Some((rect, name))) = (picture, self.picture_of) {
            match export::png(&image, rect, ctx.pixels_per_point(), name) {
                Ok(file) => self.save(file),
                Err(why) => self.state.toast(why, true),
            }
        }
    }
}

/// As in the report.
fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Reject => "reject",
        Verdict::Inconclusive => "inconclusive",
    }
}

/// What the user says was asked for, or which field is wrong.
fn expectation(form: &crate::state::ExpectForm) -> Result<Expect, String> {
    Ok(Expect {
        nonce: settings::nonce(&form.nonce)?,
        prompt: (!form.prompt.is_empty()).then(|| form.prompt.clone()),
        sampler: if form.with_sampler {
            Some(form.sampler.spec()?)
        } else {
            None
        },
    })
}
