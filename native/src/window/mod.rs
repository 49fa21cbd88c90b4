//! The window: the same app as in the browser, with a thread for a worker.

mod adapter;
mod experiment;
mod platform;
mod script;
mod shell;

use std::path::Path;
use std::sync::Arc;

use assay_ui::{App, ModelSource, Settings, Source, Start};
use eframe::egui;
use eframe::egui_wgpu::WgpuSetup;

pub use script::Script;
use shell::NativeShell;

/// Names the folder of its settings, and the window to a desktop.
pub const APP_ID: &str = "assay";
/// Key of the settings in storage.
const SETTINGS: &str = "assay-settings";

/// What to do where no window opens.
pub const INSTEAD: &str =
    "verify in the terminal with `assay --verify trace.bin`; `assay --help` has the rest";

/// Opens the window, with a trace and a model or a key if they are named, until it is closed.
pub fn run(
    trace: Option<&Path>,
    model: Option<&Path>,
    key: Option<&Path>,
    script: Script,
) -> anyhow::Result<()> {
    let absolute = |path: &Path| {
        let path = std::path::absolute(path).unwrap_or_else(|_err| path.to_owned());
        path.to_string_lossy().into_owned()
    };
    let start = Start {
        trace: trace.map(|path| Source::Path(absolute(path))),
        model: match key {
            Some(key) => Some(ModelSource::key(Source::Path(absolute(key)))),
            None => model.map(|path| ModelSource::Path(absolute(path))),
        },
        prover: None,
        link: None,
    };
    let viewport = egui::ViewportBuilder::default()
        .with_app_id(APP_ID)
        .with_title("Assay")
        .with_inner_size([1280.0, 800.0])
        .with_min_inner_size([390.0, 480.0])
        .with_drag_and_drop(true);
    let mut options = eframe::NativeOptions {
        viewport,
        ..Default::default()
    };
    if let WgpuSetup::CreateNew(setup) = &mut options.wgpu_options.wgpu_setup {
        setup.native_adapter_selector = Some(Arc::new(adapter::choose));
    }
    let make = move |cc: &eframe::CreationContext<'_>| -> Result<Box<dyn eframe::App>, _> {
        let ctx = cc.egui_ctx.clone();
        let settings = cc
            .storage
            .and_then(|storage| storage.get_string(SETTINGS))
            .and_then(|text| serde_json::from_str::<Settings>(&text).ok())
            .unwrap_or_default();
        let (shell, outside) = NativeShell::new(ctx.clone());
        let app = App::new(&ctx, Box::new(shell), settings, start);
        Ok(Box::new(Window {
            app,
            outside,
            script,
            hovering: 0,
        }))
    };
    eframe::run_native(APP_ID, options, Box::new(make)).map_err(|err| {
        let why = err.to_string().replace('\n', " ");
        anyhow::anyhow!("the window cannot be opened: {why}\n{INSTEAD}")
    })
}

/// The app in eframe's frame.
struct Window {
    app: App,
    outside: shell::Outside,
    script: Script,
    hovering: usize,
}

impl eframe::App for Window {
    fn logic(&mut self, ctx: &egui::Context, _frame: &mut eframe::Frame) {
        let (hovering, dropped) = ctx.input(|input| {
            let dropped = input.raw.dropped_files.iter();
            let paths: Vec<_> = dropped.map(|file| file.path().to_owned()).collect();
            (input.raw.hovered_files.len(), paths)
        });
        if hovering != self.hovering {
            self.hovering = hovering;
            self.outside.dragging(hovering);
        }
        self.outside.chosen(dropped);
        self.app.logic(ctx);
    }

    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let ctx = ui.ctx().clone();
        self.script.command(&ctx, &mut self.app);
        self.app.ui(ui);
        self.script.tell(&ctx, &self.app);
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        if let Ok(text) = serde_json::to_string(self.app.settings()) {
            storage.set_string(SETTINGS, text);
        }
    }

    fn on_exit(&mut self) {
        // A job that still runs holds a device; ending the process under it is for drivers to survive, and not all do.
        self.outside.stop();
    }

    fn persist_egui_memory(&self) -> bool {
        // What is open and where one has scrolled belongs to a trace, not to the next time.
        false
    }
}
