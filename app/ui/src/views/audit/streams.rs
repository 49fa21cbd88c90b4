//! The streams of an audit: a table, or cards where there is no room for one.

use assay_verify::audit::AuditReport;
use assay_verify::audit::report::StreamReport;
use egui::{Align2, Color32, Rect, Role, Sense, Ui, WidgetInfo, pos2, vec2};

use super::marks;
use crate::text;
use crate::theme::{self, Icon, fonts, icons};
use crate::widgets;

/// Room that the table needs.
const TABLE: f32 = 840.0;
/// Height of a row of the table.
const ROW: f32 = 34.0;

/// What a stream is.
fn meaning(name: &str) -> &'static str {
    match name {
        "Q" => "queries",
        "K" => "keys",
        "V" => "values",
        "QK" => "attention’s scores",
        "KV" => "attention’s mix of values",
        "O" => "attention’s output",
        "gate" => "the MLP’s gate",
        "up" => "into the MLP",
        "down" => "out of the MLP",
        "logits" => "scores of all tokens",
        _ => "",
    }
}

pub(super) fn show(ui: &mut Ui, audit: &AuditReport) {
    widgets::card(ui, |ui| {
        ui.horizontal(|ui| {
            widgets::card_title(ui, "Streams");
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let rows: usize = audit.streams.iter().map(|stream| stream.rows).sum();
                widgets::muted(ui, text::count(rows as u64, "row"));
            });
        });
        widgets::muted(
            ui,
            "The nine products of a layer, and the logits. Projected: the prover’s outputs against secret projections of the weights. \
             Recomputed: no weights are in it, so it was computed here from what was checked.",
        );
        marks::legend(ui);
        let is_table = ui.available_width() >= TABLE;
        ui.spacing_mut().item_spacing.y = 0.0;
        if is_table {
            head(ui);
        }
        for stream in &audit.streams {
            widgets::hairline(ui);
            if is_table {
                row(ui, stream);
            } else {
                card(ui, stream);
            }
        }
        widgets::hairline(ui);
        ui.add_space(10.0);
        widgets::muted(
            ui,
            "Error: the largest relative error of a row that the projections show. Honest: the most that honest rows have, by calibration. \
             Detects: the error that the test on a row’s energy misses with a chance of 1e-9. Element and certified: over what any order \
             of addition explains; above 1 is a lie for certain.",
        );
    });
}

/// Where columns begin (stream, how, marks) and end (numbers).
struct Columns {
    how: f32,
    numbers: [f32; 6],
    marks: egui::Rangef,
}

/// What stands above the numbers.
const NUMBERS: [&str; 6] = ["rows", "error", "honest", "detects", "element", "certified"];

impl Columns {
    fn of(rect: Rect) -> Self {
        let at = |x: f32| rect.min.x + x;
        Self {
            how: at(96.0),
            numbers: [244.0, 330.0, 416.0, 502.0, 588.0, 674.0].map(at),
            marks: egui::Rangef::new(at(702.0), rect.max.x),
        }
    }
}

fn head(ui: &mut Ui) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 28.0), Sense::hover());
    let columns = Columns::of(rect);
    let y = rect.center().y;
    let put = |x: f32, align: Align2, words: &str| {
        let color = theme::of(ui).muted;
        ui.painter()
            .text(pos2(x, y), align, words, fonts::small(), color);
    };
    put(rect.min.x, Align2::LEFT_CENTER, "stream");
    put(columns.how, Align2::LEFT_CENTER, "how");
    for (x, words) in columns.numbers.into_iter().zip(NUMBERS) {
        put(x, Align2::RIGHT_CENTER, words);
    }
    put(
        columns.marks.min,
        Align2::LEFT_CENTER,
        "used of each limit, log scale",
    );
}

/// Shape and colour of what came of a stream.
fn look(ui: &Ui, stream: &StreamReport) -> (Icon, Color32) {
    let colors = theme::of(ui);
    if marks::is_beyond(stream) {
        (Icon::Reject, colors.bad)
    } else if is_recomputed(stream) {
        (Icon::Near, colors.muted)
    } else {
        (Icon::Accept, colors.good)
    }
}

fn is_recomputed(stream: &StreamReport) -> bool {
    stream.how == "recomputed"
}

fn shown(value: Option<f64>) -> String {
    value.map_or_else(|| "none".to_owned(), text::number)
}

/// The row for a screen reader.
fn in_words(stream: &StreamReport) -> String {
    let name = format!("{}, {}", stream.name, meaning(stream.name));
    let rows = text::count(stream.rows as u64, "row");
    if is_recomputed(stream) {
        return format!("{name}: recomputed, {rows}");
    }
    let result = if marks::is_beyond(stream) {
        "beyond a limit"
    } else {
        "within its limits"
    };
    format!(
        "{name}: {}, {rows}, {result}, relative error {}, honest {}, detects {}, {}",
        stream.how,
        shown(stream.relative_error),
        shown(stream.honest_error),
        shown(stream.detects),
        marks::in_words(stream),
    )
}

/// What else is known, on hover.
fn hint(stream: &StreamReport) -> String {
    let mut words = meaning(stream.name).to_owned();
    if let (Some(mse), Some(passes)) = (stream.mse, stream.mse_passes) {
        let than = if passes { "below" } else { "not below" };
        words += &format!(
            ". verified_llm’s mean squared residual, which decides nothing here: {}, {than} its 1e-5",
            text::number(mse)
        );
    }
    words
}

fn row(ui: &mut Ui, stream: &StreamReport) {
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width(), ROW), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Row, true, in_words(stream)));
    if ui.is_rect_visible(rect) {
        let columns = Columns::of(rect);
        let colors = theme::of(ui);
        let painter = ui.painter();
        let y = rect.center().y;
        let (icon, color) = look(ui, stream);
        let mark = Rect::from_center_size(pos2(rect.min.x + 8.0, y), theme::square(16.0));
        icons::paint(painter, mark, icon, color);
        let ink = if is_recomputed(stream) {
            colors.muted
        } else {
            colors.text
        };
        let name = pos2(rect.min.x + 26.0, y);
        painter.text(name, Align2::LEFT_CENTER, stream.name, fonts::body(), ink);
        let how = pos2(columns.how, y);
        painter.text(
            how,
            Align2::LEFT_CENTER,
            stream.how,
            fonts::small(),
            colors.muted,
        );
        let number = |index: usize, words: &str, color: Color32| {
            if let Some(x) = columns.numbers.get(index) {
                painter.text(
                    pos2(*x, y),
                    Align2::RIGHT_CENTER,
                    words,
                    fonts::mono(),
                    color,
                );
            }
        };
        number(0, &text::grouped(stream.rows as u64), ink);
        if is_recomputed(stream) {
            let at = pos2(columns.numbers[0] + 28.0, y);
            painter.text(
                at,
                Align2::LEFT_CENTER,
                "from checked values",
                fonts::small(),
                colors.muted,
            );
        } else {
            number(1, &shown(stream.relative_error), colors.text);
            number(2, &shown(stream.honest_error), colors.muted);
            number(3, &shown(stream.detects), colors.muted);
            number(4, &shown(stream.element_over_bound), colors.text);
            number(5, &shown(stream.residual_over_bound), colors.text);
            let line = Rect::from_x_y_ranges(columns.marks, rect.y_range());
            marks::paint(ui, line, stream);
        }
    }
    response.on_hover_text(hint(stream));
}

fn card(ui: &mut Ui, stream: &StreamReport) {
    let height = if is_recomputed(stream) { 56.0 } else { 112.0 };
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Row, true, in_words(stream)));
    if !ui.is_rect_visible(rect) {
        return;
    }
    let colors = theme::of(ui);
    let painter = ui.painter();
    let lines = [18.0, 40.0, 62.0, 90.0].map(|y| rect.min.y + y);
    let (icon, color) = look(ui, stream);
    let mark = Rect::from_center_size(pos2(rect.min.x + 9.0, lines[0]), theme::square(18.0));
    icons::paint(painter, mark, icon, color);
    let left = |line: usize, words: &str, font: egui::FontId, color: Color32| {
        let at = pos2(rect.min.x + 28.0, lines[line]);
        painter.text(at, Align2::LEFT_CENTER, words, font, color)
    };
    let right = |line: usize, words: &str| {
        let at = pos2(rect.max.x, lines[line]);
        painter.text(
            at,
            Align2::RIGHT_CENTER,
            words,
            fonts::small(),
            colors.muted,
        );
    };
    let name = left(0, stream.name, fonts::body(), colors.text);
    let beside = pos2(name.max.x + 8.0, lines[0]);
    painter.text(
        beside,
        Align2::LEFT_CENTER,
        meaning(stream.name),
        fonts::small(),
        colors.muted,
    );
    right(0, &text::count(stream.rows as u64, "row"));
    if is_recomputed(stream) {
        left(
            1,
            "recomputed from checked values",
            fonts::small(),
            colors.muted,
        );
        return;
    }
    let (error, honest) = (shown(stream.relative_error), shown(stream.honest_error));
    left(
        1,
        &format!("{error}, honest {honest}"),
        fonts::mono(),
        colors.text,
    );
    left(
        2,
        &format!(
            "element {}, certified {}",
            shown(stream.element_over_bound),
            shown(stream.residual_over_bound)
        ),
        fonts::mono(),
        colors.muted,
    );
    right(1, stream.how);
    let line = Rect::from_x_y_ranges(
        rect.min.x + 28.0..=rect.max.x,
        lines[3] - 8.0..=lines[3] + 8.0,
    );
    marks::paint(ui, line, stream);
}
