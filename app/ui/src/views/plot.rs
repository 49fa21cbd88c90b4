//! What all plots share: frame, grid, axes with powers of ten, no jumping legends.

use egui::{Ui, Vec2b};
use egui_plot::{GridMark, Plot};

use crate::theme;

/// Makes the axes' text small.
pub(super) fn small(ui: &mut Ui) {
    let small = theme::fonts::small();
    ui.style_mut()
        .text_styles
        .insert(egui::TextStyle::Body, small);
}

/// A quiet plot, `height` high, that zooms with Ctrl and wheel, and pans with a drag. A plain wheel scrolls the page.
pub(super) fn quiet<'a>(ui: &Ui, id: &'static str, height: f32, reset: bool) -> Plot<'a> {
    let colors = theme::of(ui);
    let plot = Plot::new(id)
        .height(height)
        .show_crosshair(false)
        .show_background(false)
        .allow_scroll(false)
        .allow_axis_zoom_drag(false)
        .allow_boxed_zoom(true)
        .grid_color(colors.border)
        .cursor_color(colors.faint)
        .set_margin_fraction(egui::vec2(0.02, 0.08))
        .show_grid(Vec2b::TRUE);
    if reset { plot.reset() } else { plot }
}

/// A mark on a log10 axis, as a power of ten.
pub(super) fn power(mark: GridMark) -> String {
    let whole = mark.value.round();
    if (mark.value - whole).abs() > 1e-6 {
        return String::new();
    }
    if whole == 0.0 {
        "1".to_owned()
    } else {
        format!("1e{whole}")
    }
}

/// A mark on an axis of whole numbers.
pub(super) fn whole(mark: GridMark) -> String {
    if mark.value.fract().abs() > 1e-6 || mark.value < 0.0 {
        String::new()
    } else {
        format!("{}", mark.value)
    }
}

/// Marks on whole decades.
pub(super) fn decades(input: egui_plot::GridInput) -> Vec<GridMark> {
    let (low, high) = input.bounds;
    let (low, high) = (
        low.floor().max(-400.0) as i64,
        high.ceil().min(400.0) as i64,
    );
    let step = ((high - low) / 12 + 1).max(1);
    (low..=high)
        .filter(|n| n % step == 0 && (input.bounds.0..=input.bounds.1).contains(&(*n as f64)))
        .map(|n| GridMark {
            value: n as f64,
            step_size: step as f64,
        })
        .collect()
}

/// Marks on whole numbers, at most about ten of them.
pub(super) fn wholes(input: egui_plot::GridInput) -> Vec<GridMark> {
    let (low, high) = (input.bounds.0.max(0.0), input.bounds.1.min(1e9));
    let mut step = 1.0;
    for factor in [2.0, 2.5, 2.0].into_iter().cycle() {
        if (high - low) / step <= 10.0 {
            break;
        }
        step = f64::round(step * factor);
    }
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last)
        .map(|n| GridMark {
            value: n as f64 * step,
            step_size: step,
        })
        .collect()
}

/// An axis of whole numbers, labelled densely enough for a handful of layers.
pub(super) fn x_axis<'a>(label: &str) -> Vec<egui_plot::AxisHints<'a>> {
    let axis = egui_plot::AxisHints::new_x();
    let axis = axis.label(label).formatter(|mark, _| whole(mark));
    vec![axis.label_spacing(egui::Rangef::new(20.0, 28.0))]
}

/// What colours mean, in lines as low as their text.
pub(super) fn legend(ui: &mut Ui, keys: &[(egui::Color32, Swatch, &str)]) {
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().interact_size.y = 20.0;
        ui.spacing_mut().item_spacing.y = 2.0;
        for (color, swatch, word) in keys {
            key(ui, *color, *swatch, word);
        }
    });
}

/// A swatch and a word, kept together.
fn key(ui: &mut Ui, color: egui::Color32, swatch: Swatch, word: &str) {
    let muted = theme::of(ui).muted;
    let font = theme::fonts::small();
    let galley = ui.painter().layout_no_wrap(word.to_owned(), font, muted);
    let size = egui::vec2(galley.size().x + 26.0, 20.0);
    let (rect, response) = ui.allocate_exact_size(size, egui::Sense::hover());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Label, true, word));
    let at = rect.left_center();
    let line = at.x..=at.x + 18.0;
    let painter = ui.painter();
    match swatch {
        Swatch::Line => painter.hline(line, at.y, egui::Stroke::new(2.0, color)),
        Swatch::Bar => painter.hline(line, at.y, egui::Stroke::new(8.0, color)),
        Swatch::Dot => painter.circle_filled(at + egui::vec2(9.0, 0.0), 4.0, color),
    };
    let at = at + egui::vec2(26.0, -galley.size().y / 2.0);
    ui.painter().galley(at, galley, muted);
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swatch {
    Line,
    Bar,
    Dot,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_whole_and_few() {
        for high in [1.0, 8.0, 45.0, 131_072.0] {
            let input = egui_plot::GridInput {
                bounds: (-0.5, high),
                base_step_size: 0.1,
            };
            let marks = wholes(input);
            assert!((2..=11).contains(&marks.len()), "{high}: {marks:?}");
            assert!(marks.iter().all(|mark| mark.value.fract() == 0.0));
        }
    }
}
