//! Cards, headings, rows of facts, choosers.

use egui::{
    Align2, Color32, Rect, Response, RichText, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo,
    vec2,
};

use super::button::focus_ring;
use crate::theme::{self, CONTROL_RADIUS, fonts};

/// A card as wide as it may be.
pub(crate) fn card<R>(ui: &mut Ui, content: impl FnOnce(&mut Ui) -> R) -> R {
    theme::card(theme::of(ui))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            content(ui)
        })
        .inner
}

/// A card's head.
pub(crate) fn card_title(ui: &mut Ui, text: &str) -> Response {
    heading(ui, text, fonts::TITLE)
}

/// Semibold text of some size, told to screen readers as a heading.
pub(crate) fn heading(ui: &mut Ui, text: &str, size: f32) -> Response {
    let response = ui.add(egui::Label::new(
        RichText::new(text)
            .font(fonts::bold(size))
            .color(theme::of(ui).text),
    ));
    name_heading(ui, &response, text);
    response
}

/// Tells screen readers that this is a heading.
pub(crate) fn name_heading(ui: &Ui, response: &Response, text: &str) {
    ui.ctx().accesskit_node_builder(response.id, |node| {
        node.set_role(Role::Heading);
        node.set_label(text);
    });
}

/// Text that wraps.
pub(crate) fn paragraph(ui: &mut Ui, text: &str) -> Response {
    ui.add(egui::Label::new(RichText::new(text).line_height(Some(22.0))).wrap())
}

/// Small text that matters less.
pub(crate) fn muted(ui: &mut Ui, text: impl Into<String>) -> Response {
    ui.add(
        egui::Label::new(
            RichText::new(text)
                .size(fonts::SMALL)
                .line_height(Some(19.0))
                .color(theme::of(ui).muted),
        )
        .wrap(),
    )
}

/// A line between rows.
pub(crate) fn hairline(ui: &mut Ui) {
    let (rect, _) = ui.allocate_exact_size(vec2(ui.available_width(), 1.0), Sense::hover());
    ui.painter().hline(
        rect.x_range(),
        rect.center().y,
        Stroke::new(1.0, theme::of(ui).hairline),
    );
}

/// A word in a rounded box.
pub(crate) fn chip(ui: &mut Ui, text: &str, color: Color32) -> Response {
    let galley = ui
        .painter()
        .layout_no_wrap(text.to_owned(), fonts::mono(), color);
    let size = galley.size() + vec2(16.0, 6.0);
    let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(Role::Label, true, text));
    let behind = theme::colors::mix(theme::of(ui).card, color, 0.12);
    ui.painter().rect_filled(rect, rect.height() / 2.0, behind);
    ui.painter()
        .galley(rect.min + vec2(8.0, 3.0), galley, color);
    response
}

/// Rows of a label and a value, the labels in a column of their own (above the value where it is narrow).
pub(crate) fn facts<'a>(ui: &mut Ui, rows: impl IntoIterator<Item = (&'a str, String)>) {
    ui.scope(|ui| fact_rows(ui, rows));
}

fn fact_rows<'a>(ui: &mut Ui, rows: impl IntoIterator<Item = (&'a str, String)>) {
    const LABELS: f32 = 120.0;
    let is_narrow = ui.available_width() < 320.0;
    ui.spacing_mut().item_spacing.y = if is_narrow { 2.0 } else { 5.0 };
    for (label, value) in rows {
        if is_narrow {
            muted(ui, label);
            fit_text(ui, &value);
            ui.add_space(6.0);
        } else {
            ui.horizontal_top(|ui| {
                let (rect, response) = ui.allocate_exact_size(vec2(LABELS, 22.0), Sense::hover());
                response.widget_info(|| WidgetInfo::labeled(Role::Label, true, label));
                let colors = theme::of(ui);
                ui.painter().text(
                    rect.left_center(),
                    Align2::LEFT_CENTER,
                    label,
                    fonts::small(),
                    colors.muted,
                );
                ui.vertical(|ui| fit_text(ui, &value));
            });
        }
    }
}

/// Text that wraps, also inside a word.
pub(crate) fn fit_text(ui: &mut Ui, text: &str) -> Response {
    ui.add(egui::Label::new(RichText::new(text).size(14.0).line_height(Some(22.0))).wrap())
}

/// A field with its label above. `hint` stands in it while it is empty.
pub(crate) fn field(
    ui: &mut Ui,
    label: &str,
    text: &mut String,
    hint: &str,
    width: f32,
    mono: bool,
) -> Response {
    let height = ui.spacing().interact_size.y + 24.0;
    // Its size is known before it is drawn, so that a row of fields wraps.
    let down = egui::Layout::top_down(egui::Align::Min);
    ui.allocate_ui_with_layout(vec2(width, height), down, |ui| {
        ui.set_width(width);
        ui.spacing_mut().item_spacing.y = 4.0;
        let name = muted(ui, label);
        let height = ui.spacing().interact_size.y;
        let font = if mono { fonts::mono() } else { fonts::body() };
        let edit = egui::TextEdit::singleline(text)
            .hint_text(
                RichText::new(hint)
                    .font(font.clone())
                    .color(theme::of(ui).muted),
            )
            .font(font)
            .margin(egui::Margin::symmetric(10, 6))
            .align(Align2::LEFT_CENTER)
            .min_size(vec2(0.0, height))
            .desired_width(width)
            .char_limit(100_000);
        ui.add(edit).labelled_by(name.id).accessible_name(label)
    })
    .inner
}

/// A field for a secret: what is typed shows as dots, and cannot be copied. `true` once Enter is pressed in it. One that `asks` takes
/// the focus.
pub(crate) fn secret_field(
    ui: &mut Ui,
    label: &str,
    text: &mut String,
    width: f32,
    asks: bool,
) -> bool {
    ui.vertical(|ui| {
        ui.set_width(width);
        ui.spacing_mut().item_spacing.y = 4.0;
        let name = muted(ui, label);
        let height = ui.spacing().interact_size.y;
        let edit = egui::TextEdit::singleline(text)
            .password(true)
            .font(fonts::body())
            .margin(egui::Margin::symmetric(10, 6))
            .align(Align2::LEFT_CENTER)
            .min_size(vec2(0.0, height))
            .desired_width(width)
            .char_limit(1000);
        let field = ui.add(edit).labelled_by(name.id).accessible_name(label);
        if asks {
            field.request_focus();
            field.scroll_to_me(Some(egui::Align::Center));
        }
        let is_sent = field.lost_focus() && ui.input(|input| input.key_pressed(egui::Key::Enter));
        if is_sent || text.is_empty() {
            // Or what was typed could be had back by undoing.
            egui::text_edit::TextEditState::default().store(ui.ctx(), field.id);
        }
        is_sent
    })
    .inner
}

/// A control with its label above, as fields have it.
pub(crate) fn labelled(ui: &mut Ui, label: &str, width: f32, control: impl FnOnce(&mut Ui, f32)) {
    let height = ui.spacing().interact_size.y + 24.0;
    let down = egui::Layout::top_down(egui::Align::Min);
    ui.allocate_ui_with_layout(vec2(width, height), down, |ui| {
        ui.set_width(width);
        ui.spacing_mut().item_spacing.y = 4.0;
        muted(ui, label);
        control(ui, width);
    });
}

/// A row of which one is chosen. `true` if that changed.
pub(crate) fn segmented<T: PartialEq + Copy>(
    ui: &mut Ui,
    chosen: &mut T,
    all: &[(T, &str)],
) -> bool {
    segmented_with(ui, chosen, all, 24.0)
}

/// The same with other room around the words, both sides together.
pub(crate) fn segmented_with<T: PartialEq + Copy>(
    ui: &mut Ui,
    chosen: &mut T,
    all: &[(T, &str)],
    room: f32,
) -> bool {
    let colors = theme::of(ui);
    let mut changed = false;
    let height = ui.spacing().interact_size.y;
    let widths: Vec<_> = all
        .iter()
        .map(|(_, label)| {
            ui.painter()
                .layout_no_wrap((*label).to_owned(), fonts::body(), colors.text)
        })
        .collect();
    let total: f32 = widths.iter().map(|galley| galley.size().x + room).sum();
    let (frame, _) = ui.allocate_exact_size(vec2(total + 4.0, height), Sense::hover());
    ui.painter().rect(
        frame,
        CONTROL_RADIUS,
        colors.well,
        Stroke::new(1.0, colors.border),
        StrokeKind::Inside,
    );
    let mut x = frame.min.x + 2.0;
    for ((value, label), galley) in all.iter().zip(widths) {
        let rect = Rect::from_min_size(
            egui::pos2(x, frame.min.y + 2.0),
            vec2(galley.size().x + room, height - 4.0),
        );
        x = rect.max.x;
        let is_chosen = chosen == value;
        let response = ui.interact(
            rect.expand2(vec2(0.0, 2.0)),
            ui.scope_id().with(("segment", *label)),
            Sense::click(),
        );
        response.widget_info(|| WidgetInfo::selected(Role::RadioButton, true, is_chosen, *label));
        if is_chosen {
            ui.painter().rect(
                rect,
                CONTROL_RADIUS - 1,
                colors.card,
                Stroke::new(1.0, colors.border),
                StrokeKind::Inside,
            );
        } else if response.hovered() {
            ui.painter()
                .rect_filled(rect, CONTROL_RADIUS - 1, colors.hover);
        }
        focus_ring(ui, &response, rect);
        let ink = if is_chosen { colors.text } else { colors.muted };
        ui.painter().galley_with_override_text_color(
            rect.center() - galley.size() / 2.0,
            galley,
            ink,
        );
        if response.clicked() && !is_chosen {
            *chosen = *value;
            changed = true;
        }
    }
    changed
}

/// Tabs with a line under the chosen one, each open or shut for a reason. They scroll sideways where there is no room.
pub(crate) fn tabs<T: PartialEq + Copy>(
    ui: &mut Ui,
    chosen: &mut T,
    all: &[(T, &'static str, Option<&'static str>)],
) {
    let colors = theme::of(ui);
    let bottom = ui
        .scope(|ui| {
            egui::ScrollArea::horizontal()
                .id_salt("tabs")
                .auto_shrink([false, true])
                .scroll_bar_visibility(egui::scroll_area::ScrollBarVisibility::AlwaysHidden)
                .show(ui, |ui| {
                    ui.horizontal(|ui| {
                        ui.spacing_mut().item_spacing.x = 24.0;
                        for (value, label, shut) in all {
                            let is_enabled = shut.is_none();
                            let is_chosen = chosen == value;
                            let font = if is_chosen {
                                fonts::bold(fonts::BODY)
                            } else {
                                fonts::body()
                            };
                            let ink = match (is_chosen, is_enabled) {
                                (true, _) => colors.text,
                                (false, true) => colors.muted,
                                (false, false) => colors.faint,
                            };
                            let galley =
                                ui.painter().layout_no_wrap((*label).to_owned(), font, ink);
                            let (rect, response) = ui.allocate_exact_size(
                                vec2(galley.size().x, 40.0),
                                if is_enabled {
                                    Sense::click()
                                } else {
                                    Sense::hover()
                                },
                            );
                            response.widget_info(|| {
                                WidgetInfo::selected(Role::Tab, is_enabled, is_chosen, *label)
                            });
                            let ink = if response.hovered() && is_enabled {
                                colors.text
                            } else {
                                ink
                            };
                            ui.painter().galley_with_override_text_color(
                                rect.center() - galley.size() / 2.0,
                                galley,
                                ink,
                            );
                            if is_chosen {
                                let line = Rect::from_min_max(
                                    egui::pos2(rect.min.x, rect.max.y - 2.0),
                                    rect.max,
                                );
                                ui.painter().rect_filled(line, 1.0, colors.accent);
                            }
                            focus_ring(ui, &response, rect.shrink2(vec2(-6.0, 4.0)));
                            // A tab that was just chosen, by a key perhaps, comes into view.
                            let last = egui::Id::unique("chosen tab");
                            let is_new = |data: &mut egui::util::IdTypeMap| {
                                data.get_temp::<&'static str>(last) != Some(*label)
                            };
                            if is_chosen && ui.data_mut(is_new) {
                                ui.data_mut(|data| data.insert_temp::<&'static str>(last, *label));
                                response.scroll_to_me(Some(egui::Align::Center));
                            }
                            if response.clicked() {
                                *chosen = *value;
                            }
                            if let Some(why) = shut {
                                response.on_hover_text(*why);
                            }
                        }
                    });
                });
        })
        .response
        .rect;
    ui.painter().hline(
        bottom.x_range(),
        bottom.max.y,
        Stroke::new(1.0, colors.hairline),
    );
}
