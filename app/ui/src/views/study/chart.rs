//! A chart: series told apart by colour and by the shape of their points.

use assay_sheet::{Across, Axis, Chart, Scale, Series, Style};
use egui::{Color32, Ui};
use egui_plot::{
    Bar, BarChart, HLine, Line, LineStyle, MarkerShape, PlotPoints, Points, Polygon, VLine,
};

use crate::state::ViewState;
use crate::text;
use crate::theme::{self, colors::Colors};
use crate::views::curves::remember;
use crate::views::plot::{self, Swatch};
use crate::widgets;

const HEIGHT: f32 = 280.0;

pub(super) fn show(ui: &mut Ui, chart: &Chart, view: &mut ViewState) {
    let colors = theme::of(ui);
    widgets::heading(ui, &text::plain(&chart.title, 200), theme::fonts::BODY);
    let names: Vec<String> = chart
        .series
        .iter()
        .map(|series| text::plain(&series.name, 60))
        .collect();
    let mut keys: Vec<(Color32, Swatch, &str)> = Vec::new();
    for (index, (series, name)) in chart.series.iter().zip(&names).enumerate() {
        let swatch = match series.style {
            Style::Line => Swatch::Line,
            Style::Dots => Swatch::Dot,
            Style::Bars => Swatch::Bar,
        };
        keys.push((look(colors, index).0, swatch, name));
    }
    plot::legend(ui, &keys);
    let marks: Vec<String> = chart
        .marks
        .iter()
        .map(|mark| {
            let at = super::number(mark.at);
            format!("{} {at}", text::plain(&mark.label, 80))
        })
        .collect();
    if !marks.is_empty() {
        widgets::muted(ui, format!("Dashed: {}.", marks.join("; ")));
    }
    let (x, y) = (&chart.x, &chart.y);
    let label = |hover: &egui_plot::HoverPosition<'_>| match hover {
        egui_plot::HoverPosition::NearDataPoint {
            plot_name,
            position,
            ..
        } => Some(format!(
            "{plot_name}\n{} {}\n{} {}",
            text::plain(&x.label, 40),
            super::number(back(x, position.x)),
            text::plain(&y.label, 40),
            super::number(back(y, position.y)),
        )),
        egui_plot::HoverPosition::Elsewhere { .. } => None,
    };
    ui.scope(|ui| {
        plot::small(ui);
        let mut drawn = plot::quiet(ui, "chart", HEIGHT, view.reset_plots)
            .x_axis_label(text::plain(&x.label, 60))
            .y_axis_label(text::plain(&y.label, 60))
            .label_formatter(label);
        let all = chart.series.iter().flat_map(|series| &series.points);
        if x.scale == Scale::Linear
            && all
                .clone()
                .all(|point| point[0].fract() == 0.0 && point[0] >= 0.0)
        {
            drawn = drawn.x_grid_spacer(plot::wholes);
        }
        if x.scale == Scale::Log {
            drawn = drawn
                .x_axis_formatter(|mark, _| plot::power(mark))
                .x_grid_spacer(plot::decades);
        }
        if y.scale == Scale::Log {
            drawn = drawn
                .y_axis_formatter(|mark, _| plot::power(mark))
                .y_grid_spacer(plot::decades);
        }
        let shown = drawn.show(ui, |ui| {
            for (index, (of, name)) in chart.series.iter().zip(&names).enumerate() {
                let (color, shape) = look(colors, index);
                series(ui, chart, of, name, color, shape);
            }
            for mark in &chart.marks {
                let style = LineStyle::dashed_loose();
                match mark.axis {
                    Across::Y => ui.hline(
                        HLine::new("", put(y, mark.at))
                            .color(colors.muted)
                            .style(style)
                            .allow_hover(false),
                    ),
                    Across::X => ui.vline(
                        VLine::new("", put(x, mark.at))
                            .color(colors.muted)
                            .style(style)
                            .allow_hover(false),
                    ),
                }
            }
        });
        remember(ui, &mut view.plot, shown.response.rect, "study");
    });
}

fn series(
    ui: &mut egui_plot::PlotUi<'_>,
    chart: &Chart,
    series: &Series,
    name: &str,
    color: Color32,
    shape: MarkerShape,
) {
    let (x, y) = (&chart.x, &chart.y);
    let points: Vec<[f64; 2]> = series
        .points
        .iter()
        .map(|[of_x, of_y]| [put(x, *of_x), put(y, *of_y)])
        .collect();
    if series.style == Style::Bars {
        // As wide as the closest two are apart.
        let mut at: Vec<f64> = points.iter().map(|point| point[0]).collect();
        at.sort_by(f64::total_cmp);
        let apart = at.windows(2).map(|pair| pair[1] - pair[0]);
        let width = apart.filter(|gap| *gap > 0.0).fold(f64::INFINITY, f64::min);
        let width = if width.is_finite() { width * 0.9 } else { 1.0 };
        let bars = points
            .iter()
            .map(|point| Bar::new(point[0], point[1]).width(width).fill(color));
        ui.bar_chart(BarChart::new(name, bars.collect()).color(color));
        return;
    }
    if series.style == Style::Line {
        // A band's outline, there above and back below: convex only between neighbours, so one piece each.
        for (pair, ends) in points.windows(2).zip(series.band.windows(2)) {
            let corner = |at: usize, end: usize| [pair[at][0], put(y, ends[at][end])];
            let piece = vec![corner(0, 1), corner(1, 1), corner(1, 0), corner(0, 0)];
            ui.polygon(
                Polygon::new("", PlotPoints::from(piece))
                    .fill_color(color.gamma_multiply(0.15))
                    .stroke(egui::Stroke::NONE)
                    .allow_hover(false),
            );
        }
        ui.line(
            Line::new(name, PlotPoints::from(points.clone()))
                .color(color)
                .width(2.0)
                .allow_hover(false),
        );
    }
    ui.points(
        Points::new(name, PlotPoints::from(points))
            .color(color)
            .radius(if series.style == Style::Line {
                4.0
            } else {
                3.0
            })
            .shape(shape),
    );
}

/// Where a number lies on an axis.
fn put(axis: &Axis, value: f64) -> f64 {
    match axis.scale {
        Scale::Linear => value,
        Scale::Log => value.log10(),
    }
}

/// The number at a place.
fn back(axis: &Axis, at: f64) -> f64 {
    match axis.scale {
        Scale::Linear => at,
        Scale::Log => 10f64.powf(at),
    }
}

/// Colour and shape of a series. Neighbours differ in both.
fn look(colors: &Colors, index: usize) -> (Color32, MarkerShape) {
    let all = [
        (colors.accent, MarkerShape::Circle),
        (colors.unsure, MarkerShape::Diamond),
        (colors.muted, MarkerShape::Square),
        (colors.fault, MarkerShape::Up),
        (colors.bad, MarkerShape::Cross),
        (colors.text, MarkerShape::Plus),
        (colors.good, MarkerShape::Down),
        (colors.faint, MarkerShape::Asterisk),
    ];
    all[index % all.len()]
}
