//! A flame chart: what took how long, and within what. A click takes a frame's span for the whole width, another on it gives it back.

use assay_sheet::{Flame, Frame, kind};
use egui::{Align2, Color32, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, pos2, vec2};

use crate::text;
use crate::theme::{self, colors::Colors, fonts};
use crate::widgets;

const ROW: f32 = 24.0;
/// Narrower frames have no name on them.
const NAMED: f32 = 36.0;
/// Narrower frames are one hair wide.
const HAIR: f32 = 1.0;

pub(super) fn show(ui: &mut Ui, flame: &Flame) {
    widgets::heading(ui, &text::plain(&flame.title, 200), fonts::BODY);
    let size = vec2(ui.available_width(), ROW * flame.rows() as f32);
    let (whole, response) = ui.allocate_exact_size(size, Sense::click());
    let id = ui.scope_id().with("flame");
    let zoomed: Option<usize> = ui.data(|data| data.get_temp(id));
    let zoomed = zoomed.filter(|index| *index < flame.frames.len());
    let shown = match zoomed.map(|index| &flame.frames[index]) {
        Some(frame) if frame.length > 0.0 => (frame.start, frame.end()),
        _ => (0.0, flame.end()),
    };
    let colors = theme::of(ui);
    let pointer = response.hover_pos();
    let mut hovered = None;
    for (index, frame) in flame.frames.iter().enumerate() {
        let Some(rect) = place(frame, shown, whole) else {
            continue;
        };
        let (behind, ink) = paint(frame, colors);
        ui.painter().rect_filled(rect, 2.0, behind);
        if rect.width() >= NAMED {
            let inside = rect.shrink2(vec2(4.0, 0.0));
            ui.painter().with_clip_rect(inside).text(
                inside.left_center(),
                Align2::LEFT_CENTER,
                text::plain(&frame.name, 60),
                fonts::small(),
                ink,
            );
        }
        if pointer.is_some_and(|at| rect.contains(at)) {
            hovered = Some((index, rect));
        }
    }
    if let Some((_, rect)) = hovered {
        let stroke = Stroke::new(1.0, colors.text);
        ui.painter()
            .rect_stroke(rect, 2.0, stroke, StrokeKind::Inside);
    }
    if response.clicked() {
        let next = hovered.map(|(index, _)| index);
        ui.data_mut(|data| match next.filter(|index| zoomed != Some(*index)) {
            Some(index) => {
                data.insert_temp(id, index);
            }
            None => data.remove::<usize>(id),
        });
    }
    let (title, unit) = (text::plain(&flame.title, 80), text::plain(&flame.unit, 20));
    response.widget_info(|| {
        let says = summary(flame, &unit);
        WidgetInfo::labeled(Role::Image, true, format!("Flame chart, {title}: {says}"))
    });
    if let Some((index, _)) = hovered {
        let frame = &flame.frames[index];
        let share = 100.0 * frame.length / flame.end().max(f64::MIN_POSITIVE);
        response.on_hover_text_at_pointer(format!(
            "{}\n{} {unit}, {share:.1} % of all",
            text::plain(&frame.name, 200),
            super::number(frame.length)
        ));
    }
    let (from, to) = (super::number(shown.0), super::number(shown.1));
    widgets::muted(
        ui,
        format!("{from} to {to} {unit}; click a frame to look into it, and again to step back"),
    );
}

/// Where a frame lies; nothing of one that is out of sight.
fn place(frame: &Frame, (from, to): (f64, f64), whole: Rect) -> Option<Rect> {
    let span = to - from;
    if span <= 0.0 || frame.end() < from || frame.start > to {
        return None;
    }
    let x = |at: f64| {
        let part = ((at - from) / span).clamp(0.0, 1.0) as f32;
        whole.left() + part * whole.width()
    };
    let (left, right) = (x(frame.start), x(frame.end()));
    let top = whole.top() + ROW * f32::from(frame.depth);
    let right = (right - 1.0).max(left + HAIR);
    Some(Rect::from_min_max(
        pos2(left, top),
        pos2(right, top + ROW - 2.0),
    ))
}

/// A frame's fill, and what can be read on it.
fn paint(frame: &Frame, colors: &Colors) -> (Color32, Color32) {
    let fills = [
        colors.accent,
        colors.unsure,
        colors.muted,
        colors.fault,
        colors.good,
        colors.faint,
    ];
    // Thinned over the card, so that the theme's text stays readable on each.
    let fill = fills[kind(&frame.name, fills.len())];
    (colors.card.lerp_to_gamma(fill, 0.35), colors.text)
}

/// The longest frames of the lowest row, in words: what the picture says at a glance.
fn summary(flame: &Flame, unit: &str) -> String {
    let deepest = flame.rows().saturating_sub(1);
    let mut sums: Vec<(&str, f64)> = Vec::new();
    let lowest = flame.frames.iter();
    for frame in lowest.filter(|frame| usize::from(frame.depth) == deepest) {
        match sums.iter_mut().find(|(name, _)| *name == frame.name) {
            Some((_, sum)) => *sum += frame.length,
            None => sums.push((&frame.name, frame.length)),
        }
    }
    sums.sort_unstable_by(|a, b| b.1.total_cmp(&a.1));
    let longest = sums.iter().take(3);
    let words: Vec<String> = longest
        .map(|(name, sum)| format!("{} {} {unit}", text::plain(name, 60), super::number(*sum)))
        .collect();
    words.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str, depth: u8, start: f64, length: f64) -> Frame {
        Frame {
            name: name.to_owned(),
            depth,
            start,
            length,
        }
    }

    #[test]
    fn frames_lie_where_their_time_is() {
        let whole = Rect::from_min_size(pos2(10.0, 20.0), vec2(100.0, 48.0));
        let of = |frame: &Frame, shown| place(frame, shown, whole);
        let half = frame("a", 1, 5.0, 5.0);
        let rect = of(&half, (0.0, 10.0)).expect("it is in sight");
        assert_eq!((rect.left(), rect.right()), (60.0, 109.0));
        assert_eq!(rect.top(), 20.0 + ROW);
        // Looked into, it is all there is; what lies outside is not drawn.
        let rect = of(&half, (5.0, 10.0)).expect("it is in sight");
        assert_eq!((rect.left(), rect.right()), (10.0, 109.0));
        assert!(of(&frame("b", 0, 0.0, 4.0), (5.0, 10.0)).is_none());
        // Nothing and no time at all are no fault.
        assert!(of(&half, (0.0, 0.0)).is_none());
        let none = of(&frame("c", 0, 3.0, 0.0), (0.0, 10.0)).expect("it is a hair");
        assert!(none.width() >= HAIR && none.width() < 2.0);
    }

    #[test]
    fn a_summary_names_the_longest() {
        let flame = Flame {
            title: "t".to_owned(),
            unit: "ms".to_owned(),
            frames: vec![
                frame("run", 0, 0.0, 10.0),
                frame("a", 1, 0.0, 2.0),
                frame("b", 1, 2.0, 3.0),
                frame("a", 1, 5.0, 2.0),
            ],
        };
        assert_eq!(summary(&flame, "ms"), "a 4 ms, b 3 ms");
    }
}
