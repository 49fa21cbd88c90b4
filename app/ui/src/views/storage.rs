//! What is kept on disk, how large it is, and buttons that delete it.

use assay_work::message::Job;
use egui::Ui;

use crate::jobs::Purpose;
use crate::state::{Ask, State};
use crate::text;
use crate::theme::{Icon, fonts};
use crate::widgets::{self, Kind};

pub(super) fn show(ui: &mut Ui, state: &mut State, height: f32) {
    widgets::heading(ui, "Storage", fonts::TITLE);
    widgets::muted(
        ui,
        "Weights that were fetched stay on this machine, so that they need not be fetched again.",
    );
    let mut clear = None;
    match state.cache.clone() {
        None => {
            widgets::muted(ui, "Looking…");
        }
        Some(entries) if entries.is_empty() => {
            widgets::paragraph(ui, "Nothing is kept.");
        }
        Some(entries) => {
            let total: u64 = entries.iter().map(|entry| entry.bytes).sum();
            egui::ScrollArea::vertical()
                .max_height(height - 200.0)
                .auto_shrink([false, true])
                .show(ui, |ui| {
                    for entry in &entries {
                        let origin = text::plain(&entry.origin, 120);
                        ui.horizontal(|ui| {
                            ui.vertical(|ui| {
                                ui.set_width(ui.available_width() - 52.0);
                                ui.spacing_mut().item_spacing.y = 2.0;
                                widgets::fit_text(ui, &origin);
                                let part = if entry.complete {
                                    ""
                                } else {
                                    ", not all of it"
                                };
                                widgets::muted(ui, format!("{}{part}", text::bytes(entry.bytes)));
                            });
                            if widgets::icon_button(ui, Icon::Close, &format!("Delete {origin}"))
                                .clicked()
                            {
                                clear = Some(Some(entry.key.clone()));
                            }
                        });
                        widgets::hairline(ui);
                    }
                });
            ui.horizontal(|ui| {
                widgets::muted(ui, format!("{} in all", text::bytes(total)));
                if widgets::button(ui, Kind::Normal, None, "Delete all").clicked() {
                    clear = Some(None);
                }
            });
        }
    }
    if let Some(key) = clear {
        state.ask(Ask::Start(
            Purpose::Cache,
            Box::new(Job::ClearCache { key }),
        ));
    }
    if widgets::button(ui, Kind::Normal, None, "Close").clicked() {
        state.dialog = None;
    }
}
