//! All that the app knows, and what views may ask for. Views change forms and what is shown; anything that reaches the
//! platform or the worker they ask for, and [`App`](crate::App) does it after the frame.

use std::time::Duration;

use assay_engine::AdapterInfo;
use assay_sheet::Sheet;
use assay_trace::Manifest;
use assay_verify::suspects::Cheaper;
use assay_work::message::{
    Arithmetic, CacheEntry, Claims, DeviceChoice, Failure, Hashes, Job, KeptId, KeyFacts,
    ModelFacts, ModelSource, Proved, Secret, Source,
};
use web_time::Instant;

use crate::asking::Asking;
use crate::command::Command;
use crate::jobs::{Jobs, Purpose};
use crate::judged::Judged;
use crate::link::Place;
use crate::settings::{SamplerForm, Settings};
use crate::shell::Platform;
use crate::trials::TrialsForm;

/// Something for the app to do once the frame is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    /// As if it were chosen on a menu.
    Command(Command),
    /// Choose this trace.
    Trace(Source),
    /// Put the trace away.
    DropTrace,
    /// Put the model or the key away: back to the demo model.
    DropModel,
    /// Open the key with the passphrase that was typed.
    Unlock,
    /// Look at this place.
    Select(Place),
    /// Give it to the worker.
    Start(Purpose, Box<Job>),
    /// Put text on the clipboard; what it is.
    Copy(String, &'static str),
    /// A random seed for proving.
    Dice,
    /// A random nonce for proving.
    DiceNonce,
    /// Compute there.
    Device(DeviceChoice),
    /// Forget an error.
    Dismiss,
}

/// Which page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Page {
    #[default]
    Verify,
    Prove,
    Ask,
    /// A form for experiments, and what a study found.
    Study,
}

/// Which part of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) enum Tab {
    #[default]
    Overview,
    Audit,
    Tokens,
    Figures,
    Evidence,
}

impl Tab {
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Overview, "Overview"),
        (Self::Audit, "Audit"),
        (Self::Tokens, "Text and states"),
        (Self::Figures, "Distributions"),
        (Self::Evidence, "Hashes and device"),
    ];
}

/// Which dialog is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dialog {
    Palette,
    Help,
    About,
    Storage,
    Devices,
}

/// A chosen trace.
#[derive(Debug, Clone)]
pub(crate) struct TraceInput {
    pub source: Source,
    /// What it claims, once it was looked at.
    pub claims: Option<Claims>,
    /// The same, read.
    pub manifest: Option<Manifest>,
}

/// A chosen model, or a key in its place.
#[derive(Debug, Clone)]
pub(crate) struct ModelInput {
    /// Never with a passphrase: the worker keeps an open key.
    pub source: ModelSource,
    pub facts: Option<ModelFacts>,
    /// Whether the user chose it; otherwise it is the demo model, for want of another.
    pub is_chosen: bool,
    /// What an encrypted key waits for.
    pub lock: Option<Lock>,
    /// Whether the field for it should take the focus in the next frame.
    pub asks: bool,
    /// As it is typed; gone once it is sent.
    pub passphrase: Secret,
}

/// Why an encrypted key is not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Lock {
    /// Its passphrase is needed.
    Shut,
    /// Another one was given.
    Wrong,
}

impl Default for ModelInput {
    fn default() -> Self {
        let mut demo = Self::chosen(ModelSource::Demo);
        demo.is_chosen = false;
        demo
    }
}

impl ModelInput {
    /// What the user chose, not yet open.
    pub fn chosen(source: ModelSource) -> Self {
        Self {
            source,
            facts: None,
            is_chosen: true,
            lock: None,
            asks: false,
            passphrase: Secret::default(),
        }
    }
}

/// What the user says was asked of the prover.
#[derive(Debug, Clone, Default)]
pub(crate) struct ExpectForm {
    pub is_open: bool,
    pub nonce: String,
    pub prompt: String,
    pub with_sampler: bool,
    pub sampler: SamplerForm,
    /// Whether skipping by the trace's own rule was asked for.
    pub skips: bool,
    pub arithmetic: Arithmetic,
    pub suspects: Vec<Cheaper>,
}

/// A request of the Prove page.
#[derive(Debug, Clone)]
pub(crate) struct ProveForm {
    pub prompt: String,
    pub max_tokens: String,
    pub nonce: String,
    /// Whether to promise the same bits on every device.
    pub strict: bool,
    /// Text as it comes.
    pub text: String,
    pub done: Option<Proved>,
}

/// A short message that goes away.
#[derive(Debug, Clone)]
pub(crate) struct Toast {
    pub text: String,
    pub is_error: bool,
    pub since: Instant,
}

/// A failure, and what was tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub failure: Failure,
    pub during: &'static str,
}

/// The devices there are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Adapters {
    pub found: Vec<AdapterInfo>,
    pub chosen: Option<AdapterInfo>,
    pub fault: Option<Failure>,
    pub is_known: bool,
}

/// Everything.
pub(crate) struct State {
    pub platform: Platform,
    pub settings: Settings,
    pub page: Page,
    pub tab: Tab,
    pub dialog: Option<Dialog>,
    pub palette: Palette,
    pub trace: Option<TraceInput>,
    pub model: ModelInput,
    pub expect: ExpectForm,
    pub prove: ProveForm,
    pub asking: Asking,
    pub study: Option<Box<Sheet>>,
    pub trials: TrialsForm,
    pub jobs: Jobs,
    pub judged: Option<Box<Judged>>,
    pub trouble: Option<Trouble>,
    pub selected: Option<Place>,
    pub hashes: Option<Hashes>,
    pub adapters: Adapters,
    pub cache: Option<Vec<CacheEntry>>,
    pub toast: Option<Toast>,
    pub dragging: usize,
    pub view: ViewState,
    pub asks: Vec<Ask>,
}

/// The palette's line and choice.
#[derive(Debug, Clone, Default)]
pub(crate) struct Palette {
    pub text: String,
    pub index: usize,
    pub is_fresh: bool,
}

/// What the result's views keep between frames.
#[derive(Debug, Default)]
pub(crate) struct ViewState {
    /// Statistic of the heat map.
    pub statistic: crate::grid::Statistic,
    /// Layer whose histogram is shown; follows the selection until it is chosen.
    pub histogram_layer: Option<u32>,
    /// Checks that are unfolded, by id.
    pub unfolded: std::collections::BTreeSet<&'static str>,
    /// Where the plot is that a picture would show, and its name.
    pub plot: Option<(egui::Rect, &'static str)>,
    /// Show all of every plot in the next frame.
    pub reset_plots: bool,
    /// Scroll the strip to the selection in the next frame.
    pub scroll_to_selection: bool,
    /// Lines of the token strip, for a width.
    pub strip: crate::views::strip::Lines,
    /// The heat map's texture.
    pub texture: Option<crate::views::heatmap::Texture>,
}

impl State {
    pub fn new(platform: Platform, settings: Settings) -> Self {
        let max_tokens = settings.max_tokens.to_string();
        let asking = Asking::new(settings.prover.clone(), max_tokens.clone());
        let trials = settings.experiments.as_ref().map(TrialsForm::of);
        Self {
            platform,
            settings,
            page: Page::default(),
            tab: Tab::default(),
            dialog: None,
            palette: Palette::default(),
            trace: None,
            model: ModelInput::default(),
            expect: ExpectForm::default(),
            prove: ProveForm {
                prompt: "To be, or not".to_owned(),
                max_tokens,
                nonce: String::new(),
                strict: false,
                text: String::new(),
                done: None,
            },
            asking,
            study: None,
            trials: trials.unwrap_or_default(),
            jobs: Jobs::default(),
            judged: None,
            trouble: None,
            selected: None,
            hashes: None,
            adapters: Adapters::default(),
            cache: None,
            toast: None,
            dragging: 0,
            view: ViewState::default(),
            asks: Vec::new(),
        }
    }

    /// Between frames that show how far a job is.
    pub fn frame_gap(&self) -> Duration {
        let chosen = self.adapters.chosen.as_ref();
        assay_work::frame_gap(chosen.is_some_and(|info| info.software))
    }

    /// Has the app do `ask` once the frame is drawn.
    pub fn ask(&mut self, ask: Ask) {
        self.asks.push(ask);
    }

    /// The same for a command.
    pub fn run(&mut self, command: Command) {
        self.ask(Ask::Command(command));
    }

    /// Shows a short message.
    pub fn toast(&mut self, text: impl Into<String>, is_error: bool) {
        self.toast = Some(Toast {
            text: text.into(),
            is_error,
            since: Instant::now(),
        });
    }

    /// Whether `command` makes sense now. Menus and the palette grey out the rest.
    pub fn can(&self, command: Command) -> bool {
        let is_busy = self.jobs.long().is_some();
        let has_details = self
            .judged
            .as_ref()
            .is_some_and(|judged| !judged.details.tokens.is_empty());
        let has_audit = self
            .judged
            .as_ref()
            .is_some_and(|judged| judged.report.audit.is_some());
        let live = self.judged.as_ref().and_then(|judged| judged.live.as_ref());
        match command {
            Command::Verify if self.page == Page::Ask => self.can(Command::RunAsk),
            // A live prover's answer is judged once: as a file it would show less.
            Command::Verify => {
                self.trace.is_some() && !is_busy && self.model.lock.is_none() && live.is_none()
            }
            Command::Edit => {
                (self.trace.is_some() || live.is_some()) && self.judged.is_some() && !is_busy
            }
            Command::VerifySample | Command::SampleSwapped | Command::SampleFlipped => !is_busy,
            Command::RunProve => !is_busy && !self.model.source.is_key(),
            Command::Strict => !is_busy,
            Command::RunExperiment => {
                !is_busy && !self.model.source.is_key() && self.trials.request().is_ok()
            }
            Command::RunAsk => !is_busy && self.model.lock.is_none(),
            Command::Cancel => self.jobs.awaited().is_some() || self.dialog.is_some(),
            Command::StartOver => {
                self.trace.is_some() || self.judged.is_some() || self.trouble.is_some()
            }
            Command::ShowOverview
            | Command::ShowEvidence
            | Command::SaveReport
            | Command::SaveStatement
            | Command::CopyReport => self.judged.is_some() && !is_busy,
            Command::ShowAudit => has_audit && !is_busy,
            Command::SaveCsv => (has_details || has_audit) && !is_busy,
            Command::ShowTokens
            | Command::ShowFigures
            | Command::NextToken
            | Command::PreviousToken
            | Command::NextLayer
            | Command::PreviousLayer
            | Command::ResetPlot => has_details && !is_busy,
            Command::NextProblem => self
                .judged
                .as_ref()
                .is_some_and(|judged| !judged.problems.is_empty()),
            Command::SaveSheet => self.study.is_some(),
            Command::SavePlot => self.view.plot.is_some(),
            Command::SaveTrace => self.kept().is_some(),
            _ => true,
        }
    }

    /// The trace that can be saved: the prover's own on its page, elsewhere what a live prover opened before it.
    pub fn kept(&self) -> Option<KeptId> {
        let proved = self.prove.done.as_ref().map(|proved| proved.kept);
        let judged = self.judged.as_ref();
        let live = judged.and_then(|judged| judged.live.as_ref()?.kept);
        match self.page {
            Page::Prove => proved,
            Page::Verify | Page::Ask | Page::Study => live.or(proved),
        }
    }

    /// What there is to know of the key, if there is one and it is open.
    pub fn key(&self) -> Option<&KeyFacts> {
        self.model.facts.as_ref()?.key.as_ref()
    }

    /// Whether the model's identity or else its sizes are those that the trace names; `None` where that cannot be told.
    pub fn model_fits(&self) -> Option<bool> {
        let manifest = self.trace.as_ref()?.manifest.as_ref()?;
        let facts = self.model.facts.as_ref()?;
        if let Some(root) = &facts.root {
            return Some(*root == manifest.model.root.to_string());
        }
        let claim = &manifest.model;
        Some(
            claim.family == facts.family
                && claim.layers == facts.layers
                && claim.hidden == facts.hidden
                && claim.vocab == facts.vocab
                && claim.parameters == facts.parameters,
        )
    }
}
