//! The device that did the work, and the choice of another.

use assay_engine::AdapterInfo;
use assay_work::message::DeviceChoice;
use egui::{Rect, Sense, Ui, vec2};

use crate::state::{Ask, State};
use crate::text;
use crate::theme::{self, Icon, fonts};
use crate::widgets::{self, Kind};

/// All that is known of a device.
pub(super) fn show(ui: &mut Ui, info: &AdapterInfo) {
    let words = |text: &str| text::plain(text, 120);
    widgets::card_title(ui, "Device");
    let is_cpu = info.backend == "Cpu";
    if is_cpu {
        widgets::muted(
            ui,
            "Assay’s own CPU kernels: right, but slow. No GPU was involved.",
        );
    } else if info.software {
        warning(ui);
    }
    let variants = &info.variants;
    let mut rows = vec![
        ("name", words(&info.name)),
        ("backend", words(&info.backend)),
        ("type", words(&info.device_type)),
        ("driver", words(&info.driver)),
    ];
    if !is_cpu {
        let kernels = [
            ("prefill", variant(&variants.matmul)),
            ("decode", variant(&variants.single)),
            ("attention", variant(&variants.attention)),
        ];
        let kernels = kernels
            .map(|(what, which)| format!("{what} {which}"))
            .join(", ");
        let (binding, buffer) = (text::bytes(info.max_binding), text::bytes(info.max_buffer));
        let shared = text::bytes(u64::from(info.max_workgroup_memory));
        let features = match info.features.as_slice() {
            [] => "none beyond the portable ones".to_owned(),
            all => words(&all.join(", ")),
        };
        rows.extend([
            ("kernels", kernels),
            ("chunk", format!("{} tokens", variants.chunk)),
            ("binding", format!("{binding} at most, buffer {buffer}")),
            (
                "bindings",
                format!("{} storage buffers a stage", info.max_storage_buffers),
            ),
            (
                "workgroup",
                format!("{} invocations, {shared} shared", info.max_invocations),
            ),
            ("features", features),
        ]);
    }
    widgets::facts(ui, rows);
}

/// A kernel variant as the report spells it.
fn variant(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(serde_json::Value::Object(map)) => map
            .into_iter()
            .map(|(name, value)| {
                let sizes: Vec<String> = value
                    .as_object()
                    .into_iter()
                    .flat_map(|sizes| sizes.values().map(ToString::to_string))
                    .collect();
                format!("{name} {}", sizes.join("×"))
            })
            .collect(),
        _ => String::new(),
    }
}

fn warning(ui: &mut Ui) {
    let color = theme::of(ui).unsure;
    ui.horizontal_top(|ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(20.0, 22.0), Sense::hover());
        theme::icons::paint(
            ui.painter(),
            Rect::from_center_size(rect.center(), theme::square(18.0)),
            Icon::Error,
            color,
        );
        let words = "A software rasteriser: right, but slow, and no evidence about real GPUs.";
        ui.add(
            egui::Label::new(
                egui::RichText::new(words)
                    .size(14.0)
                    .line_height(Some(22.0))
                    .color(color),
            )
            .wrap(),
        );
    });
}

/// The dialog in which a device is chosen.
pub(super) fn choose(ui: &mut Ui, state: &mut State, height: f32) {
    widgets::heading(ui, "Devices", fonts::TITLE);
    let adapters = state.adapters.clone();
    if let Some(fault) = &adapters.fault {
        super::expect::problem(ui, &text::plain(&fault.message, 200));
        if let Some(next) = &fault.next {
            widgets::muted(ui, next.clone());
        }
    }
    let mut choice = state.settings.device.clone();
    egui::ScrollArea::vertical()
        .max_height(height - 120.0)
        .show(ui, |ui| {
            let mut option = |ui: &mut Ui, device: DeviceChoice, label: &str, about: &str| {
                let is_chosen = choice == device;
                ui.spacing_mut().item_spacing.y = 0.0;
                if ui.radio(is_chosen, label).clicked() && !is_chosen {
                    choice = device;
                }
                ui.horizontal(|ui| {
                    ui.add_space(14.0);
                    widgets::muted(ui, about);
                });
                ui.add_space(8.0);
            };
            option(
                ui,
                DeviceChoice::Best,
                "The best there is",
                "A real GPU before a software rasteriser.",
            );
            for info in &adapters.found {
                let name = text::plain(&info.name, 100);
                let about = format!(
                    "{}, {}{}",
                    info.backend,
                    info.device_type,
                    if info.software {
                        ": software, slow"
                    } else {
                        ""
                    }
                );
                option(
                    ui,
                    DeviceChoice::Named(info.name.clone()),
                    &name,
                    &text::plain(&about, 100),
                );
            }
            option(
                ui,
                DeviceChoice::Cpu,
                "Assay’s own CPU kernels",
                "Needs no GPU. For small models.",
            );
        });
    if choice != state.settings.device {
        state.ask(Ask::Device(choice));
    }
    if let Some(chosen) = &adapters.chosen {
        widgets::hairline(ui);
        widgets::muted(
            ui,
            format!("Computes on: {}", text::plain(&chosen.name, 100)),
        );
    }
    if widgets::button(ui, Kind::Normal, None, "Close").clicked() {
        state.dialog = None;
    }
}
