//! A statistic over layer and position as a picture: made once for a statistic, then only drawn.

use egui::{Color32, ColorImage, Rect, Sense, Stroke, TextureHandle, TextureOptions, Ui, vec2};
use egui_plot::{PlotImage, PlotPoint, Polygon};

use super::plot;
use crate::grid::{Grid, Statistic};
use crate::judged::Judged;
use crate::link::Place;
use crate::state::{Ask, State};
use crate::text;
use crate::theme;
use crate::widgets;

/// A picture of a grid.
pub(crate) struct Texture {
    statistic: Statistic,
    is_dark: bool,
    grid: Grid,
    handle: TextureHandle,
}

impl std::fmt::Debug for Texture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Texture")
            .field("statistic", &self.statistic)
            .finish_non_exhaustive()
    }
}

fn texture(ui: &Ui, judged: &Judged, statistic: Statistic) -> Texture {
    let colors = theme::of(ui);
    let grid = Grid::of(&judged.details, statistic);
    let size = [grid.columns.max(1), grid.layers.len().max(1)];
    let mut pixels = vec![colors.hairline; size[0] * size[1]];
    // Layer 0 lies at the bottom.
    for (values, line) in grid
        .values
        .chunks(size[0])
        .rev()
        .zip(pixels.chunks_mut(size[0]))
    {
        for (value, pixel) in values.iter().zip(line) {
            if let Some(heat) = grid.heat(statistic, *value) {
                *pixel = theme::colors::map(heat);
            }
        }
    }
    let image = ColorImage::new(size, pixels);
    let handle = ui
        .ctx()
        .load_texture("heat map", image, TextureOptions::NEAREST);
    Texture {
        statistic,
        is_dark: ui.visuals().dark_mode,
        grid,
        handle,
    }
}

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let statistic = state.view.statistic;
    let is_dark = ui.visuals().dark_mode;
    let is_fresh = state
        .view
        .texture
        .as_ref()
        .is_some_and(|texture| texture.statistic == statistic && texture.is_dark == is_dark);
    let Some(judged) = &state.judged else { return };
    if !is_fresh {
        state.view.texture = Some(texture(ui, judged, statistic));
    }
    let mut reset = state.view.reset_plots || !is_fresh;
    let selected = state.selected;
    let Some(texture) = &state.view.texture else {
        return;
    };
    let mut clicked = None;
    let mut chosen = statistic;
    let mut rect = None;
    widgets::card(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            widgets::card_title(ui, "Layers and positions");
            ui.add_space(8.0);
            egui::ComboBox::from_id_salt("statistic")
                .width(150.0)
                .selected_text(chosen.label())
                .show_ui(ui, |ui| {
                    for each in Statistic::ALL {
                        ui.selectable_value(&mut chosen, each, each.label())
                            .on_hover_text(each.tip());
                    }
                })
                .response
                .accessible_name("Statistic");
            if widgets::button(
                ui,
                widgets::Kind::Quiet,
                Some(theme::Icon::Reset),
                "Show all",
            )
            .clicked()
            {
                reset = true;
            }
        });
        widgets::muted(ui, statistic.tip());
        if texture.grid.columns == 0 || texture.grid.layers.is_empty() {
            widgets::muted(
                ui,
                "Nothing was compared, or the trace is too long for figures by position.",
            );
            return;
        }
        clicked = map(ui, texture, selected, reset, &mut rect);
        bar(ui, &texture.grid, statistic);
    });
    if let Some(rect) = rect {
        super::curves::remember(ui, &mut state.view.plot, rect, "heat-map");
    }
    state.view.statistic = chosen;
    if let Some(place) = clicked {
        state.ask(Ask::Select(place));
    }
}

fn map(
    ui: &mut Ui,
    texture: &Texture,
    selected: Option<Place>,
    reset: bool,
    rect: &mut Option<Rect>,
) -> Option<Place> {
    let colors = theme::of(ui);
    let grid = &texture.grid;
    let statistic = texture.statistic;
    let (columns, lines) = (grid.columns, grid.layers.len());
    let width = grid.positions as f64;
    let height = (lines as f32 * 22.0).clamp(120.0, 420.0) + 44.0;
    // Of a point: line and column of the grid, layer and first position.
    let locate = move |at: PlotPoint| -> Option<(usize, usize, Place)> {
        if at.x < 0.0 || at.y < 0.0 || at.x >= width || at.y >= lines as f64 {
            return None;
        }
        let (line, position) = (at.y as usize, at.x as usize);
        let column = position / grid.per_column;
        Some((
            line,
            column,
            Place {
                layer: *grid.layers.get(line)?,
                position,
            },
        ))
    };
    let label = move |hover: &egui_plot::HoverPosition<'_>| {
        let (egui_plot::HoverPosition::NearDataPoint { position, .. }
        | egui_plot::HoverPosition::Elsewhere { position }) = hover;
        let (line, column, place) = locate(*position)?;
        let value = grid.values.get(line * columns + column).copied()?;
        let figure = match (statistic, value) {
            (_, value) if value.is_nan() => "not compared".to_owned(),
            (Statistic::Digest, 1.0) => "equal to the bit".to_owned(),
            (Statistic::Digest, _) => "other bits".to_owned(),
            (_, value) => format!("{} {}", statistic.label(), text::number(f64::from(value))),
        };
        let span = if grid.per_column > 1 {
            let first = column * grid.per_column;
            format!(
                "positions {first} to {}, the worst",
                (first + grid.per_column).min(grid.positions) - 1
            )
        } else {
            format!("position {}", place.position)
        };
        Some(format!("layer {}, {span}\n{figure}", place.layer))
    };
    let layers = grid.layers.clone();
    plot::small(ui);
    let shown = plot::quiet(ui, "heat map", height, reset)
        .show_grid(false)
        .custom_x_axes(plot::x_axis("position"))
        .y_axis_label("layer")
        .x_grid_spacer(plot::wholes)
        .y_axis_formatter(move |mark, _| {
            let line = mark.value - 0.5;
            if line.fract().abs() > 1e-6 || line < 0.0 {
                return String::new();
            }
            layers
                .get(line as usize)
                .map(u32::to_string)
                .unwrap_or_default()
        })
        .y_grid_spacer(move |_| {
            let step = lines.div_ceil(16).max(1);
            (0..lines)
                .step_by(step)
                .map(|line| egui_plot::GridMark {
                    value: line as f64 + 0.5,
                    step_size: step as f64,
                })
                .collect()
        })
        .set_margin_fraction(vec2(0.0, 0.0))
        .cursor_color(Color32::TRANSPARENT)
        .label_formatter(label)
        .show(ui, |ui| {
            let center = PlotPoint::new(width / 2.0, lines as f64 / 2.0);
            ui.image(
                PlotImage::new(
                    "values",
                    &texture.handle,
                    center,
                    vec2(width as f32, lines as f32),
                )
                .allow_hover(false),
            );
            if let Some(place) = selected
                && place.position < grid.positions
                && let Ok(line) = grid.layers.binary_search(&place.layer)
            {
                let column = (place.position / grid.per_column * grid.per_column) as f64;
                let (right, low) = (column + grid.per_column as f64, line as f64);
                let corners = vec![
                    [column, low],
                    [right, low],
                    [right, low + 1.0],
                    [column, low + 1.0],
                ];
                // Seen on every colour of the map: a dark line around a light one.
                for (color, thick) in [(Color32::BLACK, 4.0), (Color32::WHITE, 2.0)] {
                    ui.polygon(
                        Polygon::new("selected", corners.clone())
                            .fill_color(Color32::TRANSPARENT)
                            .stroke(Stroke::new(thick, color))
                            .allow_hover(false),
                    );
                }
            }
            ui.response()
                .clicked()
                .then(|| ui.pointer_coordinate())
                .flatten()
        });
    *rect = Some(shown.response.rect);
    let response = shown.response;
    response.widget_info(|| {
        egui::WidgetInfo::labeled(
            egui::Role::Image,
            true,
            format!(
                "Heat map of {} over {lines} layers and {} positions",
                statistic.label(),
                grid.positions
            ),
        )
    });
    ui.painter().rect_stroke(
        response.rect,
        2.0,
        Stroke::new(1.0, colors.border),
        egui::StrokeKind::Outside,
    );
    shown.inner.and_then(locate).map(|(_, _, place)| place)
}

/// The colours with their numbers.
fn bar(ui: &mut Ui, grid: &Grid, statistic: Statistic) {
    let colors = theme::of(ui);
    let Some((low, high)) = grid.range else {
        return;
    };
    let number = |value: f32| match statistic {
        Statistic::Digest => if value > 0.5 { "equal" } else { "different" }.to_owned(),
        _ => text::number(f64::from(value)),
    };
    let (good, bad) = if statistic.is_worse_below() {
        (high, low)
    } else {
        (low, high)
    };
    let width = ui.available_width().min(360.0);
    let (rect, response) = ui.allocate_exact_size(vec2(width, 34.0), Sense::hover());
    response.widget_info(|| {
        egui::WidgetInfo::labeled(
            egui::Role::Label,
            true,
            format!("Colours from {} to {}", number(good), number(bad)),
        )
    });
    let strip = Rect::from_min_size(rect.min, vec2(width, 10.0));
    const STEPS: usize = 48;
    for i in 0..STEPS {
        let from = strip.min.x + strip.width() * i as f32 / STEPS as f32;
        let to = strip.min.x + strip.width() * (i + 1) as f32 / STEPS as f32 + 0.5;
        let color = theme::colors::map(i as f32 / (STEPS - 1) as f32);
        ui.painter().rect_filled(
            Rect::from_x_y_ranges(from..=to.min(strip.max.x), strip.y_range()),
            0.0,
            color,
        );
    }
    let y = strip.max.y + 12.0;
    let text = |x: f32, align: egui::Align2, words: String| {
        ui.painter().text(
            egui::pos2(x, y),
            align,
            words,
            theme::fonts::mono(),
            colors.muted,
        );
    };
    text(strip.min.x, egui::Align2::LEFT_CENTER, number(good));
    text(strip.max.x, egui::Align2::RIGHT_CENTER, number(bad));
    if statistic != Statistic::Digest && high > low {
        let middle = if statistic.is_log() {
            (good * bad).sqrt()
        } else {
            (good + bad) / 2.0
        };
        text(
            strip.center().x,
            egui::Align2::CENTER_CENTER,
            number(middle),
        );
    }
}
