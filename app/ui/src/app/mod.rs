//! The app as a platform sees it: made, asked to think, asked to draw, asked what is going on.

mod act;
pub(crate) mod begin;
mod facts;
mod news;

use std::sync::{Arc, Mutex};

use assay_work::message::{Job, JobId, ModelSource, Source};
use egui::ColorImage;
use web_time::Instant;

use crate::command::Command;
use crate::jobs::Purpose;
use crate::link::{self, Place};
use crate::meter::Meter;
use crate::settings::{Settings, ThemeChoice};
use crate::shell::Shell;
use crate::state::{Page, State};
use crate::{theme, views};

/// What the app is to open at once: from the command line, or from `?trace=`, `&model=` and `&prover=`.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// A trace.
    pub trace: Option<Source>,
    /// A model, or a key in its place.
    pub model: Option<ModelSource>,
    /// The address of a live prover to be asked. Nothing is sent to it before the user says so.
    pub prover: Option<String>,
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
            is_dark: true,
        };
        app.apply_settings(ctx);
        if let (ThemeChoice::System, Some(theme)) =
            (app.state.settings.theme, app.state.platform.theme)
        {
            // egui hears of it with the first frame.
            app.is_dark = theme == egui::Theme::Dark;
        }
        let device = app.state.settings.device.clone();
        app.start(Purpose::Adapters, Job::Adapters { device });
        if let Some(model) = start.model {
            app.set_model(model);
        }
        if let Some(prover) = start.prover {
            app.state.asking.address = prover;
            app.state.page = Page::Ask;
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
            ctx.request_repaint_after(self.state.frame_gap());
        }
        self.meter.add(start);
    }

    /// Draws.
    pub fn ui(&mut self, ui: &mut egui::Ui) {
        let start = Instant::now();
        self.is_dark = ui.visuals().dark_mode;
        for command in Command::pressed(ui.ctx(), |command| self.state.can(command)) {
            self.state.run(command);
        }
        views::draw(ui, &mut self.state);
        let ctx = ui.ctx().clone();
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
}
