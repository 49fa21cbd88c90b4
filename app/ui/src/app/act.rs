//! Commands run, and what views asked for.

use std::sync::{Arc, PoisonError};

use assay_work::message::{DeviceChoice, Job, ModelSource, Sample, ToWorker};

use super::App;
use crate::command::Command;
use crate::export;
use crate::jobs::Purpose;
use crate::link::{self, Place};
use crate::settings::{Settings, ThemeChoice};
use crate::shell::Pick;
use crate::state::{Ask, Dialog, ModelInput, Page, Tab};

impl App {
    pub(super) fn fulfil(&mut self, ctx: &egui::Context, ask: Ask) {
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
                self.state.judged = None;
                self.open_model();
            }
            Ask::Unlock => self.unlock(),
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

    pub(super) fn select(&mut self, place: Place) {
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

    pub(super) fn step(&mut self, tokens: i64, layers: i64) {
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

    pub(super) fn run(&mut self, ctx: &egui::Context, command: Command) {
        if !self.state.can(command) {
            return;
        }
        let state = &mut self.state;
        match command {
            Command::VerifySample => self.sample(Sample::Honest),
            Command::SampleSwapped => self.sample(Sample::SwappedToken),
            Command::SampleFlipped => self.sample(Sample::FlippedByte),
            Command::OpenFiles | Command::OpenKey => self.shell.pick(Pick::Files),
            Command::OpenFolder => self.shell.pick(Pick::Folder),
            Command::DemoModel => self.set_model(ModelSource::Demo),
            Command::Verify if state.page == Page::Ask => self.ask_prover(),
            Command::Verify => self.verify(),
            Command::Edit => {
                let judged = state.judged.take();
                state.page = match judged.and_then(|judged| judged.live) {
                    Some(_) => Page::Ask,
                    None => Page::Verify,
                };
            }
            Command::Prove => state.page = Page::Prove,
            Command::Experiments => state.page = Page::Study,
            Command::RunExperiment => self.experiment(),
            Command::RunProve => self.prove(),
            Command::Strict => {
                state.prove.strict = !state.prove.strict;
                state.page = Page::Prove;
            }
            Command::Ask => state.page = Page::Ask,
            Command::RunAsk => self.ask_prover(),
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
            Command::ShowAudit => self.show(Tab::Audit),
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
            Command::SaveSheet => {
                let sheet = state.study.as_ref().map(|sheet| export::sheet(sheet));
                match sheet {
                    Some(Ok(file)) => self.save(file),
                    Some(Err(why)) => state.toast(why, true),
                    None => {}
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
                if let Some(kept) = state.kept() {
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

    pub(super) fn save(&mut self, file: export::File) {
        self.shell.save(&file.name, file.mime, file.bytes);
    }

    pub(super) fn show(&mut self, tab: Tab) {
        self.state.page = Page::Verify;
        self.state.tab = tab;
    }

    pub(super) fn toggle(&mut self, dialog: Dialog) {
        self.state.dialog = if self.state.dialog == Some(dialog) {
            None
        } else {
            Some(dialog)
        };
    }

    pub(super) fn cancel(&mut self) {
        if self.state.dialog.take().is_some() {
            return;
        }
        for id in self.state.jobs.cancel() {
            self.shell.send(ToWorker::Cancel { id });
        }
    }

    pub(super) fn set_theme(&mut self, ctx: &egui::Context, choice: ThemeChoice) {
        self.state.settings.theme = choice;
        self.apply_settings(ctx);
    }

    pub(super) fn zoom(&mut self, ctx: &egui::Context, by: f32) {
        let zoom = self.state.settings.zoom() + by;
        self.state.settings.zoom = (zoom * 10.0).round() / 10.0;
        self.state.settings.zoom = self.state.settings.zoom();
        self.apply_settings(ctx);
    }

    pub(super) fn apply_settings(&mut self, ctx: &egui::Context) {
        ctx.set_theme(self.state.settings.theme.preference());
        ctx.set_zoom_factor(self.state.settings.zoom());
        self.is_dark = ctx.theme() == egui::Theme::Dark;
    }

    pub(super) fn take_picture(&mut self, ctx: &egui::Context) {
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
