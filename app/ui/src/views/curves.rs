//! Distance by layer, and the margin of every emitted token, against their limits.

use egui::Ui;
use egui_plot::{HLine, Line, LineStyle, MarkerShape, PlotPoints, Points, VLine};

use super::plot::{self, Swatch};
use crate::judged::MARGIN_FLOOR;
use crate::link::Place;
use crate::state::{Ask, State, Tab};
use crate::text;
use crate::theme;
use crate::widgets;

const HEIGHT: f32 = 260.0;

/// Largest and mean distance of each compared layer.
pub(super) fn layers(ui: &mut Ui, state: &mut State) {
    let reset = state.view.reset_plots;
    let selected = state.selected;
    let Some(judged) = &mut state.judged else {
        return;
    };
    let last = judged.details.layers_total.saturating_sub(1) as f64;
    let curves = judged.curves().clone();
    let colors = theme::of(ui);
    let mut clicked = None;
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "Distance by layer");
        let counted = judged.distance();
        widgets::muted(
            ui,
            format!(
                "Hidden states against your own, {counted}, over all positions. Layers that are equal to the bit are left out."
            ),
        );
        plot::legend(
            ui,
            &[
                (colors.accent, Swatch::Line, "largest"),
                (colors.muted, Swatch::Line, "mean"),
                (colors.bad, Swatch::Line, "limit"),
            ],
        );
        let format = |hover: &egui_plot::HoverPosition<'_>| match hover {
            egui_plot::HoverPosition::NearDataPoint {
                plot_name,
                position,
                ..
            } => Some(format!(
                "layer {:.0}\n{plot_name} {:.2e}",
                position.x,
                10f64.powf(position.y)
            )),
            egui_plot::HoverPosition::Elsewhere { .. } => None,
        };
        plot::small(ui);
        let shown = plot::quiet(ui, "layers", HEIGHT, reset)
            .custom_x_axes(plot::x_axis("layer"))
            .x_grid_spacer(plot::wholes)
            .y_axis_formatter(|mark, _| plot::power(mark))
            .y_grid_spacer(plot::decades)
            .include_x(0.0)
            .include_x(last)
            .label_formatter(format)
            .show(ui, |ui| {
                for (name, points, color, style) in [
                    ("mean", &curves.mean, colors.muted, LineStyle::Solid),
                    (
                        "limit",
                        &curves.limit,
                        colors.bad,
                        LineStyle::dashed_loose(),
                    ),
                    ("largest", &curves.max, colors.accent, LineStyle::Solid),
                ] {
                    ui.line(
                        Line::new(name, PlotPoints::from(points.clone()))
                            .color(color)
                            .width(2.0)
                            .style(style)
                            .allow_hover(false),
                    );
                    ui.points(
                        Points::new(name, PlotPoints::from(points.clone()))
                            .color(color)
                            .radius(4.0)
                            .shape(if name == "limit" {
                                MarkerShape::Diamond
                            } else {
                                MarkerShape::Circle
                            }),
                    );
                }
                if let Some(place) = selected {
                    ui.vline(
                        VLine::new("selected", f64::from(place.layer))
                            .color(colors.text)
                            .width(1.0)
                            .allow_hover(false),
                    );
                }
                ui.response()
                    .clicked()
                    .then(|| ui.pointer_coordinate())
                    .flatten()
            });
        clicked = shown.inner.map(|at| at.x.round().max(0.0));
        remember(ui, &mut state.view.plot, shown.response.rect, "layers");
    });
    if let Some(layer) = clicked {
        state.view.histogram_layer = None;
        let position = selected.map_or(0, |place| place.position);
        state.ask(Ask::Select(Place {
            layer: layer as u32,
            position,
        }));
    }
}

/// Margin over limit of every emitted token.
pub(super) fn margins(ui: &mut Ui, state: &mut State) {
    let reset = state.view.reset_plots;
    let selected = state.selected;
    let Some(judged) = &mut state.judged else {
        return;
    };
    let points = judged.margins().to_vec();
    let total = judged.tokens.len();
    if points.is_empty() {
        return;
    }
    let colors = theme::of(ui);
    let (beyond, within): (Vec<_>, Vec<_>) = points.into_iter().partition(|point| point[1] > 0.0);
    let mut clicked = None;
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "Token margins");
        widgets::muted(
            ui,
            "How far each emitted token lies below the best one by your own logits, over what logit errors allow. \
             At the bottom: no margin at all, the very token that you would have drawn.",
        );
        plot::legend(
            ui,
            &[
                (colors.accent, Swatch::Dot, "within its limit"),
                (colors.bad, Swatch::Dot, "beyond"),
                (colors.bad, Swatch::Line, "limit"),
            ],
        );
        let format = |hover: &egui_plot::HoverPosition<'_>| match hover {
            egui_plot::HoverPosition::NearDataPoint { position, .. } => {
                let over = 10f64.powf(position.y);
                let over = if over <= MARGIN_FLOOR * 1.01 {
                    "none".to_owned()
                } else {
                    format!("{} of its limit", text::number(over))
                };
                Some(format!("token {:.0}\nmargin {over}", position.x))
            }
            egui_plot::HoverPosition::Elsewhere { .. } => None,
        };
        plot::small(ui);
        let shown = plot::quiet(ui, "margins", HEIGHT, reset)
            .custom_x_axes(plot::x_axis("position"))
            .x_grid_spacer(plot::wholes)
            .y_axis_formatter(|mark, _| plot::power(mark))
            .y_grid_spacer(plot::decades)
            .include_x(0.0)
            .include_x(total as f64)
            .include_y(MARGIN_FLOOR.log10())
            .include_y(1.0)
            .label_formatter(format)
            .show(ui, |ui| {
                ui.hline(
                    HLine::new("limit", 0.0)
                        .color(colors.bad)
                        .width(1.5)
                        .style(LineStyle::dashed_loose())
                        .allow_hover(false),
                );
                ui.points(
                    Points::new("margin", PlotPoints::from(within))
                        .color(colors.accent)
                        .radius(3.5),
                );
                ui.points(
                    Points::new("margin ", PlotPoints::from(beyond))
                        .color(colors.bad)
                        .radius(5.0)
                        .shape(MarkerShape::Diamond),
                );
                if let Some(place) = selected {
                    ui.vline(
                        VLine::new("selected", place.position as f64)
                            .color(colors.text)
                            .width(1.0)
                            .allow_hover(false),
                    );
                }
                ui.response()
                    .clicked()
                    .then(|| ui.pointer_coordinate())
                    .flatten()
            });
        clicked = shown.inner.map(|at| at.x.round().max(0.0));
        remember(ui, &mut state.view.plot, shown.response.rect, "margins");
    });
    if let Some(position) = clicked {
        let layer = selected.map_or_else(
            || {
                state
                    .judged
                    .as_ref()
                    .and_then(|judged| judged.details.layers.last().copied())
                    .unwrap_or(0)
            },
            |place| place.layer,
        );
        state.ask(Ask::Select(Place {
            layer,
            position: position as usize,
        }));
        state.tab = Tab::Figures;
    }
}

/// Keeps where a plot is, if it is on screen and the first one: that is what a picture shows.
pub(super) fn remember(
    ui: &Ui,
    plot: &mut Option<(egui::Rect, &'static str)>,
    rect: egui::Rect,
    name: &'static str,
) {
    let visible = rect.intersect(ui.clip_rect());
    let is_under_pointer = ui.rect_contains_pointer(rect);
    let is_visible = visible.is_positive() && visible.height() > rect.height() * 0.5;
    if is_visible && (plot.is_none() || is_under_pointer) {
        *plot = Some((visible, name));
    }
}
