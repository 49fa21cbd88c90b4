//! Every check with what was measured and allowed: a table, or cards where there is no room for one.

use assay_verify::{Check, Outcome};
use egui::{Align2, Rect, RichText, Role, Sense, Ui, WidgetInfo, vec2};

use crate::link::Place;
use crate::state::{Ask, State, Tab};
use crate::text;
use crate::theme::{self, Colors, Icon, fonts, icons};
use crate::widgets::{self, Kind};

/// Decades on each side of the limit that the bar shows.
const DECADES: f64 = 4.0;

fn look(outcome: Outcome, colors: &Colors) -> (Icon, &'static str, egui::Color32) {
    match outcome {
        Outcome::Pass => (Icon::Accept, "passed", colors.good),
        Outcome::Fail => (Icon::Reject, "failed", colors.bad),
        Outcome::Inconclusive => (Icon::Inconclusive, "unsure", colors.unsure),
        Outcome::Skipped => (Icon::Skipped, "not run", colors.muted),
    }
}

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let Some(judged) = &state.judged else { return };
    let checks = judged.report.checks.clone();
    let passed = checks
        .iter()
        .filter(|check| check.outcome == Outcome::Pass)
        .count();
    let failed = checks
        .iter()
        .filter(|check| check.outcome == Outcome::Fail)
        .count();
    widgets::card(ui, |ui| {
        ui.horizontal(|ui| {
            widgets::card_title(ui, "Checks");
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                widgets::muted(
                    ui,
                    format!("{passed} passed, {failed} failed, {} in all", checks.len()),
                );
            });
        });
        let is_narrow = theme::is_narrow(ui.ctx());
        ui.spacing_mut().item_spacing.y = 0.0;
        if !is_narrow {
            head(ui);
        }
        for check in checks.iter().filter(|check| !was_cut_off(check)) {
            widgets::hairline(ui);
            row(ui, state, check, is_narrow);
        }
        cut_off(ui, &checks);
    });
}

fn was_cut_off(check: &Check) -> bool {
    check.outcome == Outcome::Skipped && check.detail.starts_with("not run")
}

/// What an earlier failure cut off is one fact, not twelve.
fn cut_off(ui: &mut Ui, checks: &[Check]) {
    let names: Vec<&str> = checks
        .iter()
        .filter(|check| was_cut_off(check))
        .map(|check| check.id)
        .collect();
    if names.is_empty() {
        return;
    }
    widgets::hairline(ui);
    ui.add_space(8.0);
    let words = format!(
        "Not run, because an earlier check failed: {}.",
        names.join(", ")
    );
    widgets::muted(ui, words);
}

/// Where columns begin (outcome, check, bar) and end (measured, limit).
struct Columns {
    check: f32,
    measured: f32,
    limit: f32,
    bar: egui::Rangef,
    code: f32,
}

impl Columns {
    fn of(rect: Rect) -> Self {
        let at = |x: f32| rect.min.x + x;
        let bar = egui::Rangef::new(at(478.0), (rect.max.x - 250.0).max(at(540.0)));
        Self {
            check: at(104.0),
            measured: at(352.0),
            limit: at(454.0),
            bar,
            code: bar.max + 20.0,
        }
    }
}

fn head(ui: &mut Ui) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 28.0), Sense::hover());
    let columns = Columns::of(rect);
    let colors = theme::of(ui);
    let text = |x: f32, align: Align2, words: &str| {
        ui.painter().text(
            egui::pos2(x, rect.center().y),
            align,
            words,
            fonts::small(),
            colors.muted,
        );
    };
    text(rect.min.x, Align2::LEFT_CENTER, "outcome");
    text(columns.check, Align2::LEFT_CENTER, "check");
    text(columns.measured, Align2::RIGHT_CENTER, "measured");
    text(columns.limit, Align2::RIGHT_CENTER, "limit");
    text(
        columns.bar.min,
        Align2::LEFT_CENTER,
        "used of the limit, log scale",
    );
    text(columns.code, Align2::LEFT_CENTER, "code");
}

fn row(ui: &mut Ui, state: &mut State, check: &Check, is_narrow: bool) {
    let colors = theme::of(ui);
    let (icon, word, color) = look(check.outcome, colors);
    let is_plain = matches!(check.outcome, Outcome::Pass | Outcome::Skipped);
    // What did not pass is open from the start; a click turns it.
    let is_open = state.view.unfolded.contains(check.id) == is_plain;
    let height = if is_narrow { 60.0 } else { 40.0 };
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::click());
    let number = |value: Option<f64>| value.map(text::number).unwrap_or_default();
    let (measured, mut limit) = (number(check.measured), number(check.limit));
    if is_floor(check) && !limit.is_empty() {
        limit.insert_str(0, "≥ ");
    }
    response.widget_info(|| {
        let figures = if measured.is_empty() {
            String::new()
        } else {
            format!(", measured {measured}, limit {limit}")
        };
        WidgetInfo::selected(
            Role::DisclosureTriangle,
            true,
            is_open,
            format!("{}: {word}{figures}, code {}", check.id, check.code),
        )
    });
    if response.clicked() && !state.view.unfolded.remove(check.id) {
        state.view.unfolded.insert(check.id);
    }
    if ui.is_rect_visible(rect) {
        if response.hovered() {
            ui.painter()
                .rect_filled(rect.expand2(vec2(8.0, -1.0)), 4.0, colors.hover);
        }
        if response.has_focus() {
            ui.painter().rect_stroke(
                rect.expand2(vec2(8.0, -1.0)),
                4.0,
                egui::Stroke::new(2.0, colors.accent),
                egui::StrokeKind::Inside,
            );
        }
        let ink = if check.outcome == Outcome::Skipped {
            colors.muted
        } else {
            colors.text
        };
        if is_narrow {
            paint_card(ui, rect, check, (icon, word, color), ink, &measured, &limit);
        } else {
            paint_row(ui, rect, check, (icon, word, color), ink, &measured, &limit);
        }
        let fold = Rect::from_center_size(
            egui::pos2(
                rect.max.x - 9.0,
                if is_narrow {
                    rect.min.y + 20.0
                } else {
                    rect.center().y
                },
            ),
            theme::square(16.0),
        );
        icons::paint(
            ui.painter(),
            fold,
            if is_open { Icon::Down } else { Icon::Right },
            colors.faint,
        );
    }
    if is_open {
        detail(ui, state, check, is_narrow);
    }
}

fn paint_row(
    ui: &Ui,
    rect: Rect,
    check: &Check,
    look: (Icon, &str, egui::Color32),
    ink: egui::Color32,
    measured: &str,
    limit: &str,
) {
    let columns = Columns::of(rect);
    let colors = theme::of(ui);
    let painter = ui.painter();
    let y = rect.center().y;
    outcome(ui, egui::pos2(rect.min.x, y), look);
    painter.text(
        egui::pos2(columns.check, y),
        Align2::LEFT_CENTER,
        check.id,
        fonts::body(),
        ink,
    );
    painter.text(
        egui::pos2(columns.measured, y),
        Align2::RIGHT_CENTER,
        measured,
        fonts::mono(),
        ink,
    );
    painter.text(
        egui::pos2(columns.limit, y),
        Align2::RIGHT_CENTER,
        limit,
        fonts::mono(),
        colors.muted,
    );
    let groove = Rect::from_x_y_ranges(columns.bar, y - 3.0..=y + 3.0);
    bar(ui, groove, check, look.2);
    if matches!(check.outcome, Outcome::Fail | Outcome::Inconclusive) {
        painter.text(
            egui::pos2(columns.code, y),
            Align2::LEFT_CENTER,
            check.code,
            fonts::mono(),
            look.2,
        );
    } else if check.outcome == Outcome::Skipped {
        let room = rect.max.x - 28.0 - columns.measured;
        let words = text::plain(&check.detail, 120);
        let job = egui::text::LayoutJob {
            wrap: egui::text::TextWrapping::truncate_at_width(room),
            ..egui::text::LayoutJob::simple_singleline(words, fonts::small(), colors.muted)
        };
        let galley = painter.layout_job(job);
        painter.galley(
            egui::pos2(columns.measured - 60.0, y - galley.size().y / 2.0),
            galley,
            colors.muted,
        );
    }
}

fn paint_card(
    ui: &Ui,
    rect: Rect,
    check: &Check,
    look: (Icon, &str, egui::Color32),
    ink: egui::Color32,
    measured: &str,
    limit: &str,
) {
    let colors = theme::of(ui);
    let painter = ui.painter();
    let (first, second) = (rect.min.y + 20.0, rect.min.y + 42.0);
    icons::paint(
        painter,
        Rect::from_center_size(egui::pos2(rect.min.x + 9.0, first), theme::square(18.0)),
        look.0,
        look.2,
    );
    painter.text(
        egui::pos2(rect.min.x + 28.0, first),
        Align2::LEFT_CENTER,
        check.id,
        fonts::body(),
        ink,
    );
    painter.text(
        egui::pos2(rect.max.x - 28.0, first),
        Align2::RIGHT_CENTER,
        look.1,
        fonts::small(),
        look.2,
    );
    if !measured.is_empty() {
        let figures = if limit.is_empty() {
            measured.to_owned()
        } else {
            if is_floor(check) {
                format!("{measured} {limit}")
            } else {
                format!("{measured} of {limit}")
            }
        };
        painter.text(
            egui::pos2(rect.min.x + 28.0, second),
            Align2::LEFT_CENTER,
            figures,
            fonts::mono(),
            colors.muted,
        );
        let groove = Rect::from_x_y_ranges(
            rect.max.x - 110.0..=rect.max.x - 28.0,
            second - 3.0..=second + 3.0,
        );
        bar(ui, groove, check, look.2);
    } else {
        let words = text::plain(&check.detail, 120);
        let job = egui::text::LayoutJob {
            wrap: egui::text::TextWrapping::truncate_at_width(rect.width() - 56.0),
            ..egui::text::LayoutJob::simple_singleline(words, fonts::small(), colors.muted)
        };
        let galley = painter.layout_job(job);
        painter.galley(
            egui::pos2(rect.min.x + 28.0, second - galley.size().y / 2.0),
            galley,
            colors.muted,
        );
    }
}

fn outcome(ui: &Ui, at: egui::Pos2, (icon, word, color): (Icon, &str, egui::Color32)) {
    let place = Rect::from_center_size(at + vec2(9.0, 0.0), theme::square(18.0));
    icons::paint(ui.painter(), place, icon, color);
    ui.painter().text(
        at + vec2(28.0, 0.0),
        Align2::LEFT_CENTER,
        word,
        fonts::small(),
        color,
    );
}

/// Whether the measured value must be above its limit: a probability, which is bad when it is small.
fn is_floor(check: &Check) -> bool {
    check.id == "token-agreement"
}

/// Where the measured value lies between a ten-thousandth of the limit and ten thousand times it.
fn bar(ui: &Ui, groove: Rect, check: &Check, color: egui::Color32) {
    let (Some(measured), Some(limit)) = (check.measured, check.limit) else {
        return;
    };
    if limit <= 0.0 || check.outcome == Outcome::Skipped {
        return;
    }
    let colors = theme::of(ui);
    let painter = ui.painter();
    painter.rect_filled(groove, 3.0, colors.hairline);
    let over = match (measured > 0.0, is_floor(check)) {
        (true, false) => (measured / limit).log10(),
        (true, true) => (limit / measured).log10(),
        (false, false) => -DECADES,
        (false, true) => DECADES,
    };
    let part = ((over + DECADES) / (2.0 * DECADES)).clamp(0.015, 1.0) as f32;
    let mut filled = groove;
    filled.set_width(groove.width() * part);
    painter.rect_filled(filled, 3.0, color);
    painter.vline(
        groove.center().x,
        groove.min.y - 4.0..=groove.max.y + 4.0,
        egui::Stroke::new(1.5, colors.text),
    );
}

fn detail(ui: &mut Ui, state: &mut State, check: &Check, is_narrow: bool) {
    let indent = if is_narrow { 28.0 } else { 104.0 };
    ui.horizontal_top(|ui| {
        ui.add_space(indent);
        ui.vertical(|ui| {
            ui.spacing_mut().item_spacing.y = 4.0;
            if !check.detail.is_empty() {
                widgets::fit_text(ui, &text::plain(&check.detail, 1200));
            }
            ui.horizontal_wrapped(|ui| {
                ui.label(
                    RichText::new(format!("code {}", check.code))
                        .font(fonts::mono())
                        .color(theme::of(ui).muted),
                );
                ui.label(
                    RichText::new(format!("after {}", check.source))
                        .size(fonts::SMALL)
                        .color(theme::of(ui).muted),
                );
            });
            let has_details = state
                .judged
                .as_ref()
                .is_some_and(|judged| !judged.details.tokens.is_empty());
            if let Some(place) = check.place
                && (place.position.is_some() || place.layer.is_some())
                && has_details
            {
                let layer = place
                    .layer
                    .or_else(|| state.judged.as_ref()?.details.layers.last().copied())
                    .unwrap_or(0);
                let at = Place {
                    layer,
                    position: place.position.unwrap_or(0),
                };
                let words = match place.layer {
                    Some(layer) => format!("Look at layer {layer}, position {}", at.position),
                    None => format!("Look at position {}", at.position),
                };
                if widgets::button(ui, Kind::Normal, Some(Icon::Search), &words).clicked() {
                    state.tab = Tab::Tokens;
                    state.ask(Ask::Select(at));
                }
            }
            ui.add_space(10.0);
        });
    });
}
