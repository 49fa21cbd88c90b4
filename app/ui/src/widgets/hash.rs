//! Hashes: in fixed width, with a button that copies, and a mark that tells equal from near from not looked at.

use egui::{Align2, Rect, Response, Role, Sense, Ui, WidgetInfo, vec2};

use crate::state::{Ask, State};
use crate::text;
use crate::theme::{self, Icon, fonts, icons};
use crate::widgets::icon_button;

/// How something of the prover's stands to the verifier's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Match {
    /// The same bits.
    Exact,
    /// Other bits, within the calibrated limit.
    Near,
    /// Beyond the limit.
    Beyond,
    /// Nobody compared.
    Unchecked,
}

impl Match {
    /// Shape, word, colour.
    pub fn look(self, colors: &theme::Colors) -> (Icon, &'static str, egui::Color32) {
        match self {
            Self::Exact => (Icon::Exact, "exact", colors.good),
            Self::Near => (Icon::Near, "within tolerance", colors.accent),
            Self::Beyond => (Icon::Reject, "beyond the limit", colors.bad),
            Self::Unchecked => (Icon::Skipped, "not checked", colors.muted),
        }
    }
}

/// Shape and word of a match.
fn match_mark(ui: &mut Ui, is: Match) -> Response {
    let (icon, word, color) = is.look(theme::of(ui));
    let galley = ui
        .painter()
        .layout_no_wrap(word.to_owned(), fonts::small(), color);
    let (rect, response) =
        ui.allocate_exact_size(vec2(galley.size().x + 22.0, 20.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, word));
    let place = Rect::from_min_size(rect.left_center() - vec2(0.0, 8.0), theme::square(16.0));
    icons::paint(ui.painter(), place, icon, color);
    let at = rect.left_center() + vec2(22.0, -galley.size().y / 2.0);
    ui.painter().galley(at, galley, color);
    response
}

/// A hash with its name, a mark and a copy button: on one line, or under each other where it is narrow.
pub(crate) fn hash_line(
    ui: &mut Ui,
    state: &mut State,
    label: &str,
    hash: &str,
    is: Option<Match>,
) {
    const LABELS: f32 = 132.0;
    const MARKS: f32 = 140.0;
    let colors = theme::of(ui);
    let mark = |ui: &mut Ui| {
        if let Some(is) = is {
            match_mark(ui, is);
        }
    };
    let char_width = ui.fonts_mut(|fonts| fonts.glyph_width(&fonts::mono(), '0'));
    let copy = |ui: &mut Ui, state: &mut State| {
        if icon_button(ui, Icon::Copy, &format!("Copy {label}")).clicked() {
            state.ask(Ask::Copy(hash.to_owned(), "hash"));
        }
    };
    let show = |ui: &mut Ui, room: f32| {
        let fits = hash.chars().count() as f32 * char_width <= room;
        let shown = if fits {
            hash.to_owned()
        } else {
            text::short_hash(hash)
        };
        ui.add(egui::Label::new(egui::RichText::new(shown).font(fonts::mono())).truncate())
            .on_hover_text(egui::RichText::new(hash).font(fonts::mono()));
    };
    if ui.available_width() < 560.0 {
        ui.spacing_mut().item_spacing.y = 2.0;
        ui.horizontal(|ui| {
            ui.label(
                egui::RichText::new(label)
                    .size(fonts::SMALL)
                    .color(colors.muted),
            );
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), mark);
        });
        ui.horizontal(|ui| {
            let room =
                ui.available_width() - ui.spacing().interact_size.y - ui.spacing().item_spacing.x;
            ui.allocate_ui(vec2(room, 32.0), |ui| {
                ui.set_min_width(room);
                show(ui, room);
            });
            copy(ui, state);
        });
    } else {
        ui.horizontal(|ui| {
            let (rect, response) =
                ui.allocate_exact_size(vec2(LABELS, ui.spacing().interact_size.y), Sense::hover());
            response.widget_info(|| WidgetInfo::labeled(Role::Label, true, label));
            ui.painter().text(
                rect.left_center(),
                Align2::LEFT_CENTER,
                label,
                fonts::small(),
                colors.muted,
            );
            ui.allocate_ui(vec2(MARKS, 24.0), |ui| {
                ui.set_min_width(MARKS);
                mark(ui);
            });
            let room =
                ui.available_width() - ui.spacing().interact_size.y - ui.spacing().item_spacing.x;
            show(ui, room);
            copy(ui, state);
        });
    }
}
