//! A short message at the bottom that goes away by itself.

use egui::{Align2, Id, Margin, Order, RichText, Stroke, Ui};

use crate::state::State;
use crate::theme::{self, fonts};

pub(super) fn show(ui: &Ui, state: &State) {
    let Some(toast) = &state.toast else { return };
    let colors = theme::of(ui);
    let line = if toast.is_error {
        colors.unsure
    } else {
        colors.border
    };
    let frame = egui::Frame::new()
        .fill(colors.card)
        .stroke(Stroke::new(1.0, line))
        .corner_radius(theme::RADIUS)
        .shadow(ui.visuals().popup_shadow)
        .inner_margin(Margin::symmetric(16, 10));
    let width = (ui.ctx().content_rect().width() - 48.0).min(520.0);
    let area = egui::Area::new(Id::unique("toast"))
        .anchor(Align2::CENTER_BOTTOM, egui::vec2(0.0, -20.0))
        .order(Order::Tooltip)
        .interactable(false);
    area.show(ui.ctx(), |ui| {
        frame.show(ui, |ui| {
            ui.set_max_width(width);
            ui.add(
                egui::Label::new(
                    RichText::new(&toast.text)
                        .size(fonts::BODY)
                        .color(colors.text),
                )
                .wrap(),
            );
        });
    });
}
