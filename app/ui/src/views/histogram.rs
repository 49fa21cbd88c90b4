//! Distances of one layer against what honest traces gave: the calibrated normal curve, and the limit.

use egui::Ui;
use egui_plot::{Bar, BarChart, Line, LineStyle, PlotPoints, VLine};

use super::plot::{self, Swatch};
use crate::state::State;
use crate::text;
use crate::theme;
use crate::widgets;

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let reset = state.view.reset_plots;
    let Some(judged) = &mut state.judged else {
        return;
    };
    let layers = judged.details.layers.clone();
    let Some(last) = layers.last().copied() else {
        return;
    };
    let mut layer = state
        .view
        .histogram_layer
        .or(state.selected.map(|place| place.layer))
        .filter(|layer| layers.contains(layer))
        .unwrap_or(last);
    let limits = layers
        .binary_search(&layer)
        .ok()
        .and_then(|index| judged.details.limits.get(index).copied().flatten());
    let colors = theme::of(ui);
    let mut chosen = None;
    widgets::card(ui, |ui| {
        ui.horizontal(|ui| {
            widgets::card_title(ui, "Distances of layer");
            let before = layer;
            egui::ComboBox::from_id_salt("histogram layer")
                .width(64.0)
                .selected_text(layer.to_string())
                .show_ui(ui, |ui| {
                    for each in &layers {
                        ui.selectable_value(&mut layer, *each, each.to_string());
                    }
                })
                .response
                .accessible_name("Layer");
            if layer != before {
                chosen = Some(layer);
            }
        });
        let counted = judged.distance();
        let Some(histogram) = judged.histogram(layer) else {
            return;
        };
        let (rows, zeros) = (histogram.rows, histogram.zeros);
        let words = match (rows, zeros) {
            (0, _) => format!(
                "All {} equal your own to the bit: there is no distance to plot.",
                text::count(zeros as u64, "row")
            ),
            (_, 0) => format!("{}, {counted}.", text::count(rows as u64, "row")),
            _ => format!(
                "{}, {counted}; {} more equal your own to the bit.",
                text::count(rows as u64, "row"),
                text::grouped(zeros as u64)
            ),
        };
        widgets::muted(ui, words);
        plot::legend(
            ui,
            &[
                (colors.accent, Swatch::Bar, "this trace"),
                (colors.unsure, Swatch::Line, "honest traces, calibrated"),
                (colors.bad, Swatch::Line, "limit"),
            ],
        );
        let bars: Vec<Bar> = histogram
            .bins
            .iter()
            .map(|&(at, n)| {
                Bar::new(at, f64::from(n))
                    .width(histogram.width * 0.9)
                    .fill(colors.accent)
            })
            .collect();
        let width = histogram.width;
        let curve = limits.map(|limit| {
            let sd = limit
                .log10_sd_between
                .hypot(limit.log10_sd_within)
                .max(1e-6);
            let peak = (rows.max(1) as f64) * width / (sd * std::f64::consts::TAU.sqrt());
            let point = |i: i32| {
                let z = f64::from(i) / 12.0;
                [limit.log10_mean + z * sd, peak * (-z * z / 2.0).exp()]
            };
            (-48..=48).map(point).collect::<Vec<_>>()
        });
        let format = |hover: &egui_plot::HoverPosition<'_>| match hover {
            egui_plot::HoverPosition::NearDataPoint { position, .. } => Some(format!(
                "{:.2e}\n{:.0} rows",
                10f64.powf(position.x),
                position.y
            )),
            egui_plot::HoverPosition::Elsewhere { .. } => None,
        };
        plot::small(ui);
        let shown = plot::quiet(ui, "histogram", 260.0, reset || chosen.is_some())
            .x_axis_label(counted)
            .x_axis_formatter(|mark, _| plot::power(mark))
            .y_axis_formatter(|mark, _| plot::whole(mark))
            .y_grid_spacer(plot::wholes)
            .x_grid_spacer(plot::decades)
            .include_y(0.0)
            .label_formatter(format)
            .show(ui, |ui| {
                ui.bar_chart(BarChart::new("this trace", bars));
                if let Some(curve) = curve {
                    ui.line(
                        Line::new("honest", PlotPoints::from(curve))
                            .color(colors.unsure)
                            .width(2.0)
                            .allow_hover(false),
                    );
                }
                if let Some(limit) = limits {
                    ui.vline(
                        VLine::new("limit", limit.rel_l2.log10())
                            .color(colors.bad)
                            .width(2.0)
                            .style(LineStyle::dashed_loose())
                            .allow_hover(false),
                    );
                }
            });
        super::curves::remember(ui, &mut state.view.plot, shown.response.rect, "histogram");
        if let Some(limit) = limits {
            widgets::muted(
                ui,
                format!(
                    "Limit {}, from {} honest rows, the largest at {}.",
                    text::number(limit.rel_l2),
                    text::grouped(limit.rows),
                    text::number(limit.measured_max)
                ),
            );
        } else {
            widgets::muted(
                ui,
                "No profile covers this claim: there is no limit to draw.",
            );
        }
    });
    if let Some(layer) = chosen {
        state.view.histogram_layer = Some(layer);
    }
}
