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
    format!("1e{whole}")
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
