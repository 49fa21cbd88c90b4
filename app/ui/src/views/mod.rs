//! Everything that is drawn. A view reads the state, changes forms in it, and asks for the rest.

mod about;
mod adapter;
mod ask;
mod audit;
pub(crate) mod banner;
mod bar;
mod checks;
mod claims;
mod coverage;
mod curves;
mod evidence;
mod expect;
mod figures;
pub(crate) mod heatmap;
mod help;
mod histogram;
mod key;
mod palette;
mod place;
mod plot;
mod profile;
mod prove;
mod result;
mod running;
mod start;
mod storage;
pub(crate) mod strip;
mod study;
mod toast;
mod token;
mod trials;

use egui::{Align, Id, Layout, Margin, Ui, vec2};

use crate::state::{Dialog, Page, State};
use crate::theme;

/// Widest that the column of content gets.
const COLUMN: f32 = 1120.0;

/// Draws the app.
pub(crate) fn draw(ui: &mut Ui, state: &mut State) {
    let is_narrow = theme::is_narrow(ui.ctx());
    if is_narrow {
        theme::fit_touch(ui);
    }
    state.view.plot = None;
    let ground = theme::of(ui).ground;
    let behind = ui.ctx().layer_painter(egui::LayerId::background());
    behind.rect_filled(ui.ctx().content_rect(), 0.0, ground);
    bar::show(ui, state, is_narrow);
    let frame = egui::Frame::new().fill(theme::of(ui).ground);
    egui::CentralPanel::no_frame().frame(frame).show(ui, |ui| {
        let page = match (state.page, state.judged.is_some()) {
            (Page::Prove, _) => "prove",
            (Page::Ask, _) => "ask",
            (Page::Study, _) => "study",
            (Page::Verify, true) => "result",
            (Page::Verify, false) => "verify",
        };
        egui::ScrollArea::vertical()
            .id_salt(page)
            .auto_shrink([false, false])
            .show(ui, |ui| {
                column(ui, is_narrow, |ui| content(ui, state));
            });
    });
    state.view.reset_plots = false;
    dialogs(ui, state);
    toast::show(ui, state);
    drop_overlay(ui, state);
}

/// The content, in the middle, with room around it.
fn column(ui: &mut Ui, is_narrow: bool, content: impl FnOnce(&mut Ui)) {
    let side = if is_narrow { 16.0 } else { 32.0 };
    let spare = ((ui.available_width() - 2.0 * side - COLUMN) / 2.0).max(0.0) + side;
    let margin = Margin {
        left: spare as i8,
        right: spare as i8,
        top: 0,
        bottom: 0,
    };
    // Margins are small integers; what is beyond is put in by hand.
    if spare > 120.0 {
        ui.horizontal_top(|ui| {
            ui.add_space(spare);
            let size = vec2(COLUMN, ui.available_height());
            ui.allocate_ui_with_layout(size, Layout::top_down(Align::Min), |ui| {
                ui.set_width(COLUMN);
                padded(ui, is_narrow, content);
            });
        });
    } else {
        egui::Frame::new()
            .inner_margin(margin)
            .show(ui, |ui| padded(ui, is_narrow, content));
    }
}

fn padded(ui: &mut Ui, is_narrow: bool, content: impl FnOnce(&mut Ui)) {
    let room = if is_narrow { 16.0 } else { 24.0 };
    ui.add_space(room);
    content(ui);
    ui.add_space(room * 2.0);
}

fn content(ui: &mut Ui, state: &mut State) {
    ui.spacing_mut().item_spacing = vec2(12.0, 12.0);
    if state.page == Page::Prove {
        prove::show(ui, state);
        return;
    }
    if state.page == Page::Ask {
        ask::show(ui, state);
        return;
    }
    if state.page == Page::Study {
        study::show(ui, state);
        return;
    }
    if state.jobs.long().is_some_and(|job| job.purpose.judges()) {
        running::show(ui, state);
    } else if state.trouble.is_some() && state.judged.is_none() {
        banner::trouble(ui, state);
        if state.trace.is_some() {
            claims::show(ui, state);
        } else {
            start::show(ui, state);
        }
    } else if state.judged.is_some() {
        if state.trouble.is_some() {
            banner::trouble(ui, state);
        }
        result::show(ui, state);
    } else if state.trace.is_some() || state.model.is_chosen {
        claims::show(ui, state);
    } else {
        start::show(ui, state);
    }
}

fn dialogs(ui: &mut Ui, state: &mut State) {
    let Some(dialog) = state.dialog else { return };
    let screen = ui.ctx().content_rect();
    let width = (screen.width() - 32.0).min(if dialog == Dialog::Help { 760.0 } else { 560.0 });
    let colors = theme::of(ui);
    let frame = egui::Frame::new()
        .fill(colors.card)
        .stroke(egui::Stroke::new(1.0, colors.border))
        .corner_radius(theme::RADIUS + 4)
        .shadow(ui.visuals().window_shadow)
        .inner_margin(Margin::same(20));
    let is_narrow = theme::is_narrow(ui.ctx());
    let id = Id::unique(("dialog", dialog));
    // An area is no higher than it was first thought to be.
    let modal = egui::Modal::new(id)
        .area(egui::Modal::default_area(id).default_size(vec2(width, screen.height())))
        .frame(frame)
        .backdrop_color(egui::Color32::from_black_alpha(120));
    let response = modal.show(ui.ctx(), |ui| {
        if is_narrow {
            theme::fit_touch(ui);
        }
        ui.set_width(width - 40.0);
        ui.spacing_mut().item_spacing = vec2(12.0, 10.0);
        let height = screen.height() - 120.0;
        match dialog {
            Dialog::Palette => palette::show(ui, state, height),
            Dialog::Help => help::show(ui, state, height),
            Dialog::About => about::show(ui, state),
            Dialog::Storage => storage::show(ui, state, height),
            Dialog::Devices => adapter::choose(ui, state, height),
        }
    });
    if response.backdrop_response.clicked() && state.dialog == Some(dialog) {
        state.dialog = None;
    }
}

/// What shows while files hover over the app.
fn drop_overlay(ui: &mut Ui, state: &State) {
    if state.dragging == 0 {
        return;
    }
    let colors = theme::of(ui);
    let screen = ui.ctx().content_rect();
    let layer = egui::LayerId::new(egui::Order::Tooltip, Id::unique("drop"));
    let painter = ui.ctx().layer_painter(layer);
    let veil = colors.ground.gamma_multiply(0.95);
    painter.rect_filled(screen, 0.0, veil);
    let inner = screen.shrink(24.0);
    painter.rect_stroke(
        inner,
        16.0,
        egui::Stroke::new(2.0, colors.accent),
        egui::StrokeKind::Inside,
    );
    let words = if state.dragging == 1 {
        "Drop to open".to_owned()
    } else {
        format!("Drop to open {} files", state.dragging)
    };
    painter.text(
        inner.center(),
        egui::Align2::CENTER_CENTER,
        words,
        theme::fonts::bold(theme::fonts::LARGE),
        colors.text,
    );
    let below = inner.center() + vec2(0.0, 32.0);
    painter.text(
        below,
        egui::Align2::CENTER_CENTER,
        "a trace, a model, a key or a study, or several: they stay on this machine",
        theme::fonts::body(),
        colors.muted,
    );
}
