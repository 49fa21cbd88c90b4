//! The text as a strip of tokens, coloured by margin over limit. Only the lines on screen are drawn, however long the trace.

use egui::{Color32, Rect, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2};

use crate::judged::{Judged, ShownToken};
use crate::link::Place;
use crate::state::{Ask, State};
use crate::text;
use crate::theme::{self, Colors, fonts};
use crate::widgets;

/// Height of a line.
const LINE: f32 = 30.0;
/// Room left and right of a token's text.
const PAD: f32 = 2.0;
/// Lines that are seen at once, at most.
const VISIBLE: usize = 9;

/// Where lines of the strip begin, for a width.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    width: f32,
    /// First token of each line.
    starts: Vec<usize>,
}

impl Lines {
    fn fit(&mut self, tokens: &[ShownToken], width: f32, char_width: f32) {
        if (self.width - width).abs() < 0.5 && !self.starts.is_empty() {
            return;
        }
        self.width = width;
        self.starts.clear();
        let mut x = 0.0;
        let mut ends_line = true;
        for (index, token) in tokens.iter().enumerate() {
            let room = width_of(token, char_width);
            if ends_line || x + room > width {
                self.starts.push(index);
                x = 0.0;
            }
            x += room;
            ends_line = token.ends_line;
        }
    }

    fn line_of(&self, token: usize) -> usize {
        self.starts
            .partition_point(|start| *start <= token)
            .saturating_sub(1)
    }

    fn tokens(&self, line: usize, all: usize) -> std::ops::Range<usize> {
        let start = self.starts.get(line).copied().unwrap_or(all);
        start..self.starts.get(line + 1).copied().unwrap_or(all)
    }
}

fn width_of(token: &ShownToken, char_width: f32) -> f32 {
    token.width as f32 * char_width + 2.0 * PAD + 2.0
}

/// Colours behind and on a token. Prompt tokens have no ground of their own.
fn paint_of(token: &ShownToken, is_problem: bool, colors: &Colors) -> (Color32, Color32) {
    match token.heat {
        None => (Color32::TRANSPARENT, colors.muted),
        Some(_) if is_problem => (
            theme::colors::mix(colors.card, colors.bad, 0.28),
            colors.text,
        ),
        // A tenth of the limit and less is as good as none.
        Some(heat) => {
            let warm = ((heat.max(1e-4).log10() + 1.5) / 1.5).clamp(0.0, 1.0);
            let ground = theme::colors::mix(colors.card, colors.good, 0.14);
            (
                theme::colors::mix(ground, colors.unsure, 0.45 * warm),
                colors.text,
            )
        }
    }
}

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let selected = state.selected.map(|place| place.position);
    let scroll = std::mem::take(&mut state.view.scroll_to_selection);
    let Some(judged) = &state.judged else { return };
    let mut lines = std::mem::take(&mut state.view.strip);
    let mut clicked = None;
    widgets::card(ui, |ui| {
        ui.horizontal(|ui| {
            widgets::card_title(ui, "Text");
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                let n = judged.problems.len();
                if n > 0 {
                    widgets::chip(
                        ui,
                        &format!("{} beyond the limit", text::count(n as u64, "token")),
                        theme::of(ui).bad,
                    );
                } else {
                    widgets::muted(ui, text::count(judged.tokens.len() as u64, "token"));
                }
            });
        });
        legend(ui);
        clicked = tokens(ui, judged, &mut lines, selected, scroll);
    });
    state.view.strip = lines;
    if let Some(position) = clicked {
        let layer = state.selected.map_or_else(
            || {
                state
                    .judged
                    .as_ref()
                    .and_then(|judged| judged.details.layers.last().copied())
                    .unwrap_or(0)
            },
            |place| place.layer,
        );
        state.ask(Ask::Select(Place { layer, position }));
        state.view.scroll_to_selection = false;
    }
}

fn legend(ui: &mut Ui) {
    let colors = theme::of(ui);
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(8.0, 2.0);
        ui.spacing_mut().interact_size.y = 20.0;
        let token = |heat: Option<f32>| ShownToken {
            text: String::new(),
            width: 0,
            ends_line: false,
            heat,
        };
        for (word, sample, is_problem) in [
            ("prompt", token(None), false),
            ("well within its limit", token(Some(0.0)), false),
            ("near it", token(Some(0.9)), false),
            ("beyond it", token(Some(9.0)), true),
        ] {
            let (rect, _) = ui.allocate_exact_size(vec2(18.0, 18.0), Sense::hover());
            let (behind, ink) = paint_of(&sample, is_problem, colors);
            let box_rect = rect.shrink2(vec2(0.0, 2.0));
            ui.painter().rect_filled(box_rect, 3.0, behind);
            if sample.heat.is_none() {
                ui.painter().text(
                    rect.center(),
                    egui::Align2::CENTER_CENTER,
                    "a",
                    fonts::mono(),
                    ink,
                );
            }
            if is_problem {
                underline(ui.painter(), box_rect, colors.bad);
            }
            ui.label(
                egui::RichText::new(word)
                    .size(fonts::SMALL)
                    .color(colors.muted),
            );
            ui.add_space(6.0);
        }
    });
}

/// What marks a token beyond its limit besides colour: a double line.
fn underline(painter: &egui::Painter, rect: Rect, color: Color32) {
    for up in [0.5, 3.5] {
        painter.hline(rect.x_range(), rect.max.y - up, Stroke::new(1.5, color));
    }
}

fn tokens(
    ui: &mut Ui,
    judged: &Judged,
    lines: &mut Lines,
    selected: Option<usize>,
    scroll: bool,
) -> Option<usize> {
    let colors = theme::of(ui);
    let char_width = ui.fonts_mut(|fonts| fonts.glyph_width(&fonts::mono(), '0'));
    lines.fit(&judged.tokens, ui.available_width() - 12.0, char_width);
    let count = lines.starts.len();
    let height = LINE * count.min(VISIBLE) as f32;
    let mut clicked = None;
    let mut area = egui::ScrollArea::vertical()
        .id_salt("strip")
        .max_height(height)
        .min_scrolled_height(height)
        .auto_shrink([false, true]);
    if let Some(token) = selected.filter(|_| scroll) {
        let line = lines.line_of(token);
        area =
            area.vertical_scroll_offset((line as f32 * LINE - height / 2.0 + LINE / 2.0).max(0.0));
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    area.show_viewport(ui, |ui, viewport| {
        ui.set_height(LINE * count as f32);
        let origin = ui.max_rect().min;
        let first = (viewport.min.y / LINE).floor().max(0.0) as usize;
        let last = ((viewport.max.y / LINE).ceil() as usize).min(count);
        let whole = Rect::from_min_size(origin, vec2(lines.width, LINE * count as f32));
        let response = ui.interact(whole, ui.scope_id().with("tokens"), Sense::click());
        let says = selected.and_then(|index| Some((index, judged.tokens.get(index)?)));
        response.widget_info(|| {
            let at = says.map_or_else(
                || "none selected".to_owned(),
                |(index, token)| format!("position {index}: {}", token.text),
            );
            WidgetInfo::labeled(
                Role::ListBox,
                true,
                format!(
                    "Token strip, {}; {at}",
                    text::count(judged.tokens.len() as u64, "token")
                ),
            )
        });
        let pointer = response.hover_pos();
        let mut hovered = None;
        for line in first..last {
            let mut x = origin.x;
            let y = origin.y + LINE * line as f32;
            for index in lines.tokens(line, judged.tokens.len()) {
                let Some(token) = judged.tokens.get(index) else {
                    break;
                };
                let width = width_of(token, char_width);
                let rect =
                    Rect::from_min_size(egui::pos2(x, y + 3.0), vec2(width - 2.0, LINE - 6.0));
                x += width;
                let is_problem = judged.problems.binary_search(&index).is_ok();
                let (behind, ink) = paint_of(token, is_problem, colors);
                ui.painter().rect_filled(rect, 3.0, behind);
                if is_problem {
                    underline(ui.painter(), rect, colors.bad);
                }
                let at = rect.left_center() + vec2(PAD, if is_problem { -2.0 } else { 0.0 });
                ui.painter().text(
                    at,
                    egui::Align2::LEFT_CENTER,
                    &token.text,
                    fonts::mono(),
                    ink,
                );
                let hit = rect.expand2(vec2(1.0, 3.0));
                if pointer.is_some_and(|pointer| hit.contains(pointer)) {
                    hovered = Some(index);
                    ui.painter().rect_stroke(
                        rect,
                        3.0,
                        Stroke::new(1.0, colors.muted),
                        StrokeKind::Outside,
                    );
                }
                if selected == Some(index) {
                    ui.painter().rect_stroke(
                        rect,
                        3.0,
                        Stroke::new(2.0, colors.accent),
                        StrokeKind::Outside,
                    );
                }
            }
        }
        if response.has_focus() {
            // Arrows move the selection rather than the focus.
            ui.memory_mut(|memory| {
                memory.set_focus_lock_filter(
                    response.id,
                    egui::EventFilter {
                        tab: false,
                        horizontal_arrows: true,
                        vertical_arrows: true,
                        escape: false,
                    },
                );
            });
            let step = ui.input(|input| {
                i64::from(input.key_pressed(egui::Key::ArrowRight))
                    - i64::from(input.key_pressed(egui::Key::ArrowLeft))
            });
            let line_step = ui.input(|input| {
                i64::from(input.key_pressed(egui::Key::ArrowDown))
                    - i64::from(input.key_pressed(egui::Key::ArrowUp))
            });
            if step != 0 || line_step != 0 {
                clicked = Some(moved(
                    lines,
                    judged.tokens.len(),
                    selected.unwrap_or(0),
                    step,
                    line_step,
                ));
            }
            ui.painter().rect_stroke(
                ui.clip_rect().shrink(1.0),
                4.0,
                Stroke::new(2.0, colors.accent),
                StrokeKind::Inside,
            );
        }
        if response.clicked() {
            clicked = hovered.or(clicked);
        }
        if let Some(index) = hovered {
            response.on_hover_ui_at_pointer(|ui| super::token::tooltip(ui, judged, index));
        }
    });
    clicked
}

/// The token so many tokens and lines on.
fn moved(lines: &Lines, all: usize, from: usize, by: i64, down: i64) -> usize {
    let last = all.saturating_sub(1) as i64;
    if down == 0 {
        return (from as i64 + by).clamp(0, last) as usize;
    }
    let line = lines.line_of(from);
    let column = from - lines.tokens(line, all).start;
    let target =
        (line as i64 + down).clamp(0, lines.starts.len().saturating_sub(1) as i64) as usize;
    let span = lines.tokens(target, all);
    (span.start + column).min(span.end.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(width: u32, ends_line: bool) -> ShownToken {
        ShownToken {
            text: "x".repeat(width as usize),
            width,
            ends_line,
            heat: None,
        }
    }

    #[test]
    fn lines_wrap_and_end_where_the_text_does() {
        let tokens: Vec<ShownToken> = (0..100).map(|i| token(3, i == 4)).collect();
        let mut lines = Lines::default();
        lines.fit(&tokens, 100.0, 8.0);
        assert_eq!(lines.starts[..4], [0, 3, 5, 8]);
        assert_eq!(lines.line_of(4), 1);
        assert_eq!(lines.tokens(1, tokens.len()), 3..5);
        assert_eq!(moved(&lines, 100, 4, 0, 1), 6);
        assert_eq!(moved(&lines, 100, 99, 1, 0), 99);
        // A long trace is laid out in a moment.
        let many: Vec<ShownToken> = (0..131_072).map(|i| token(i % 9, i % 50 == 0)).collect();
        let start = web_time::Instant::now();
        lines.fit(&many, 900.0, 8.0);
        assert!(start.elapsed().as_millis() < 200);
        assert_eq!(
            lines.tokens(lines.starts.len() - 1, many.len()).end,
            many.len()
        );
    }
}
