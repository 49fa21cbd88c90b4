//! What boot.js holds: starts the app on a canvas, hands it files and commands, and shows its state to scripts.

use std::cell::RefCell;
use std::rc::Rc;

use assay_ui::{App, Input, ModelSource, Settings, Source, Start};
use eframe::wasm_bindgen;
use eframe::wasm_bindgen::prelude::*;

use crate::shell::{Inbox, WebShell};

/// Key of the settings in local storage.
const SETTINGS: &str = "assay-settings";

/// The running page.
#[wasm_bindgen]
pub struct Page {
    runner: eframe::WebRunner,
    inbox: Rc<RefCell<Inbox>>,
}

#[wasm_bindgen]
impl Page {
    /// Nothing runs yet. Panics are recorded from here on.
    #[wasm_bindgen(constructor)]
    #[allow(clippy::new_without_default, reason = "scripts call it")]
    pub fn new() -> Self {
        eframe::WebLogger::init(log::LevelFilter::Warn).ok();
        Self {
            runner: eframe::WebRunner::new(),
            inbox: Rc::default(),
        }
    }

    /// Runs the app on `canvas`, until the page ends.
    pub async fn start(&self, canvas: web_sys::HtmlCanvasElement) -> Result<(), JsValue> {
        let inbox = Rc::clone(&self.inbox);
        let start = start_of_address();
        let make = move |cc: &eframe::CreationContext<'_>| -> Result<Box<dyn eframe::App>, _> {
            let ctx = cc.egui_ctx.clone();
            let shell = WebShell::new(inbox, ctx.clone())?;
            let settings = cc
                .storage
                .and_then(|storage| storage.get_string(SETTINGS))
                .and_then(|text| serde_json::from_str::<Settings>(&text).ok())
                .unwrap_or_default();
            let app = App::new(&ctx, Box::new(shell), settings, start);
            Ok(Box::new(Frame { app }))
        };
        let options = eframe::WebOptions::default();
        self.runner.start(canvas, options, Box::new(make)).await
    }

    /// Whether the module has panicked: nothing works after.
    pub fn has_panicked(&self) -> bool {
        self.runner.has_panicked()
    }

    /// The panic's words.
    pub fn panic_message(&self) -> Option<String> {
        let summary = self.runner.panic_summary()?;
        Some(format!("{}\n\n{}", summary.message(), summary.callstack()))
    }

    /// Files that the user chose or dropped, each with its path inside what was chosen.
    pub fn offer_files(&self, files: js_sys::Array, paths: js_sys::Array) {
        let chosen = files.iter().zip(paths.iter()).filter_map(|(file, path)| {
            Some((file.dyn_into::<web_sys::File>().ok()?, path.as_string()?))
        });
        let chosen: Vec<_> = chosen.collect();
        self.inbox.borrow_mut().offer(chosen);
    }

    /// So many files hover over the page.
    pub fn dragging(&self, count: usize) {
        self.inbox.borrow_mut().push(Input::Dragging(count));
    }

    /// A command by its stable name.
    pub fn command(&self, name: &str) {
        self.inbox
            .borrow_mut()
            .push(Input::Command(name.to_owned()));
    }

    /// The address changed to this fragment.
    pub fn link(&self, fragment: &str) {
        let fragment = fragment.trim_start_matches('#').to_owned();
        self.inbox.borrow_mut().push(Input::Link(fragment));
    }

    /// The app's state as JSON; empty before it runs and after a panic.
    pub fn state(&self) -> String {
        self.app(|app| app.state_json()).unwrap_or_default()
    }

    /// The report as `assay --verify --json` prints it, once there is one.
    pub fn report(&self) -> Option<String> {
        self.app(|app| app.report_json().map(str::to_owned))
            .flatten()
    }
}

impl Page {
    fn app<T>(&self, look: impl FnOnce(&App) -> T) -> Option<T> {
        let frame = self.runner.app_mut::<Frame>()?;
        Some(look(&frame.app))
    }
}

/// `?trace=URL&model=URL#layer=..`, or `key=URL` in the model's place, as full addresses; and `prover=URL`, which is only filled in.
fn start_of_address() -> Start {
    let mut start = Start::default();
    let Some(window) = web_sys::window() else {
        return start;
    };
    let location = window.location();
    let here = location.href().unwrap_or_default();
    let full = |address: String| {
        web_sys::Url::new_with_base(&address, &here).map_or(address, |url| url.href())
    };
    let search = location.search().unwrap_or_default();
    if let Ok(query) = web_sys::UrlSearchParams::new_with_str(&search) {
        start.trace = query.get("trace").map(|url| Source::Url(full(url)));
        let model = query.get("model").map(|url| match url.as_str() {
            "demo" => ModelSource::Demo,
            _ => ModelSource::Url(full(url)),
        });
        let key = query.get("key").map(|url| Source::Url(full(url)));
        start.model = key.map(ModelSource::key).or(model);
        start.prover = query.get("prover");
    }
    let hash = location.hash().unwrap_or_default();
    start.link = Some(hash.trim_start_matches('#').to_owned()).filter(|link| !link.is_empty());
    start
}

/// The app in eframe's frame.
struct Frame {
    app: App,
}

impl eframe::App for Frame {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        self.app.logic(ctx);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        self.app.ui(ui);
    }

    fn as_any_mut(&mut self) -> Option<&mut dyn std::any::Any> {
        Some(self)
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        if let Ok(text) = serde_json::to_string(self.app.settings()) {
            storage.set_string(SETTINGS, text);
        }
    }

    fn persist_egui_memory(&self) -> bool {
        // What is open and where one has scrolled belongs to a trace, not to the next visit.
        false
    }
}
