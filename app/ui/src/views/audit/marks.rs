//! How near each test of a stream came to its limit: four marks on one line, told apart by shape, on either side of the limit.

use assay_verify::audit::report::StreamReport;
use egui::{Color32, Painter, Pos2, Rect, Shape, Stroke, Ui, pos2, vec2};

use crate::text;
use crate::theme::{self, fonts};

/// Decades on each side of the limit.
const DECADES: f64 = 4.0;

/// A mark's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// A ring, around a diamond that may lie in it.
    Ring,
    Diamond,
    Triangle,
    /// An open square, around a triangle that may lie in it.
    Square,
}

/// The tests, each with its shape and what it is called.
const TESTS: [(Mark, &str); 4] = [
    (Mark::Ring, "energy of a row"),
    (Mark::Diamond, "of a layer’s rows together"),
    (Mark::Triangle, "recomputed element"),
    (Mark::Square, "certified bound"),
];

/// What each test came to, over its limit.
pub(super) fn values(stream: &StreamReport) -> [Option<f64>; 4] {
    [
        stream.row_over_limit,
        stream.pooled_over_limit,
        stream.element_over_bound,
        stream.residual_over_bound,
    ]
}

/// Whether a test of `stream` is beyond its limit.
pub(super) fn is_beyond(stream: &StreamReport) -> bool {
    values(stream).into_iter().flatten().any(|over| over > 1.0)
}

/// For whoever does not see the marks.
pub(super) fn in_words(stream: &StreamReport) -> String {
    let words = TESTS
        .iter()
        .zip(values(stream))
        .filter_map(|((_, name), over)| {
            Some(format!("{name} {} of its limit", text::number(over?)))
        });
    words.collect::<Vec<_>>().join(", ")
}

/// The line with the limit in its middle, and the marks.
pub(super) fn paint(ui: &Ui, line: Rect, stream: &StreamReport) {
    let colors = theme::of(ui);
    let painter = ui.painter();
    let y = line.center().y;
    let groove = Rect::from_x_y_ranges(line.x_range(), y - 2.0..=y + 2.0);
    painter.rect_filled(groove, 2.0, colors.hairline);
    painter.vline(
        line.center().x,
        y - 8.0..=y + 8.0,
        Stroke::new(1.5, colors.text),
    );
    // Marks stay whole at the ends.
    let room = line.shrink2(vec2(6.0, 0.0));
    for ((mark, _), over) in TESTS.iter().zip(values(stream)) {
        let Some(over) = over else { continue };
        let decades = if over > 0.0 { over.log10() } else { -DECADES };
        let part = ((decades + DECADES) / (2.0 * DECADES)).clamp(0.0, 1.0) as f32;
        let color = if over > 1.0 { colors.bad } else { colors.good };
        let at = pos2(egui::lerp(room.min.x..=room.max.x, part), y);
        shape(painter, at, *mark, color);
    }
}

/// The shapes and their names, wrapping between them.
pub(super) fn legend(ui: &mut Ui) {
    let colors = theme::of(ui);
    ui.scope(|ui| {
        // Lines are as high as what is in them, also where controls are high enough to be touched.
        ui.spacing_mut().interact_size.y = 20.0;
        ui.horizontal_wrapped(|ui| entries(ui, colors));
    });
}

fn entries(ui: &mut Ui, colors: &theme::Colors) {
    ui.spacing_mut().item_spacing = vec2(18.0, 2.0);
    let tests = TESTS.map(|(mark, name)| (Some(mark), name));
    for (mark, name) in tests.into_iter().chain([(None, "the limit")]) {
        let galley = ui
            .painter()
            .layout_no_wrap(name.to_owned(), fonts::small(), colors.muted);
        let size = vec2(20.0 + galley.size().x, 20.0);
        let (rect, response) = ui.allocate_exact_size(size, egui::Sense::hover());
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, name));
        let at = rect.left_center() + vec2(7.0, 0.0);
        match mark {
            Some(mark) => shape(ui.painter(), at, mark, colors.muted),
            None => {
                let limit = Stroke::new(1.5, colors.text);
                ui.painter().vline(at.x, at.y - 8.0..=at.y + 8.0, limit);
            }
        }
        let text = rect.left_center() + vec2(20.0, -galley.size().y / 2.0);
        ui.painter().galley(text, galley, colors.muted);
    }
}

/// One mark. Those that often come to the same are an open shape and one that fits into it.
fn shape(painter: &Painter, at: Pos2, mark: Mark, color: Color32) {
    let polygon = |points: &[(f32, f32)]| {
        let points = points.iter().map(|(x, y)| at + vec2(*x, *y)).collect();
        painter.add(Shape::convex_polygon(points, color, Stroke::NONE));
    };
    match mark {
        Mark::Ring => {
            painter.circle_stroke(at, 5.5, Stroke::new(1.5, color));
        }
        Mark::Diamond => polygon(&[(0.0, -3.75), (3.75, 0.0), (0.0, 3.75), (-3.75, 0.0)]),
        Mark::Triangle => polygon(&[(0.0, -3.25), (3.25, 2.75), (-3.25, 2.75)]),
        Mark::Square => {
            let square = Rect::from_center_size(at, theme::square(10.5));
            let stroke = Stroke::new(1.5, color);
            painter.rect_stroke(square, 0.0, stroke, egui::StrokeKind::Middle);
        }
    }
}
