//! Buttons: one main kind, one quiet kind, icons, and commands on menus.

use egui::{Align2, Rect, Response, Role, Sense, Stroke, StrokeKind, Ui, WidgetInfo, vec2};

use crate::command::Command;
use crate::state::State;
use crate::theme::{self, CONTROL_RADIUS, Icon, fonts, icons};

/// How much a button asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The one thing to do here.
    Primary,
    /// Others.
    Normal,
    /// Without a border until the pointer is there.
    Quiet,
}

/// A button with a word and perhaps an icon.
pub(crate) fn button(ui: &mut Ui, kind: Kind, icon: Option<Icon>, label: &str) -> Response {
    sized(ui, kind, icon, label, None)
}

/// The same, as wide as it may be.
pub(crate) fn wide_button(ui: &mut Ui, kind: Kind, icon: Option<Icon>, label: &str) -> Response {
    let width = ui.available_width();
    sized(ui, kind, icon, label, Some(width))
}

fn sized(ui: &mut Ui, kind: Kind, icon: Option<Icon>, label: &str, width: Option<f32>) -> Response {
    let colors = theme::of(ui);
    let font = if kind == Kind::Primary {
        fonts::bold(fonts::BODY)
    } else {
        fonts::body()
    };
    let galley = ui
        .painter()
        .layout_no_wrap(label.to_owned(), font, colors.text);
    let padding = ui.spacing().button_padding.x + if kind == Kind::Primary { 4.0 } else { 0.0 };
    let room = icon.map_or(0.0, |_| 18.0 + 8.0);
    let natural = galley.size().x + room + 2.0 * padding;
    let size = vec2(
        width.unwrap_or(natural).max(natural),
        ui.spacing()
            .interact_size
            .y
            .max(if kind == Kind::Primary { 36.0 } else { 0.0 }),
    );
    let (rect, response) = ui.allocate_exact_size(size, Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), label));
    if ui.is_rect_visible(rect) {
        let ink = background(ui, &response, rect, kind);
        let mut x = rect.center().x - (galley.size().x + room) / 2.0;
        if let Some(icon) = icon {
            let place =
                Rect::from_center_size(egui::pos2(x + 9.0, rect.center().y), theme::square(18.0));
            icons::paint(ui.painter(), place, icon, ink);
            x += room;
        }
        let at = egui::pos2(x, rect.center().y - galley.size().y / 2.0);
        ui.painter()
            .galley_with_override_text_color(at, galley, ink);
    }
    response
}

/// Paints what lies behind a button; gives the colour for what lies on it.
fn background(ui: &Ui, response: &Response, rect: Rect, kind: Kind) -> egui::Color32 {
    let colors = theme::of(ui);
    let is_hot = response.hovered() || response.is_pointer_button_down_on();
    let toward = if response.is_pointer_button_down_on() {
        0.22
    } else {
        0.12
    };
    let (fill, line, ink) = match kind {
        Kind::Primary => {
            let fill = if is_hot {
                theme::colors::mix(colors.primary, colors.text, toward)
            } else {
                colors.primary
            };
            (fill, egui::Color32::TRANSPARENT, colors.on_primary)
        }
        Kind::Normal => (
            if is_hot { colors.hover } else { colors.card },
            if is_hot { colors.faint } else { colors.border },
            colors.text,
        ),
        Kind::Quiet => (
            if is_hot {
                colors.hover
            } else {
                egui::Color32::TRANSPARENT
            },
            egui::Color32::TRANSPARENT,
            colors.text,
        ),
    };
    ui.painter().rect(
        rect,
        CONTROL_RADIUS,
        fill,
        Stroke::new(1.0, line),
        StrokeKind::Inside,
    );
    focus_ring(ui, response, rect);
    ink
}

/// The ring around what the keyboard is at.
pub(crate) fn focus_ring(ui: &Ui, response: &Response, rect: Rect) {
    if response.has_focus() {
        let colors = theme::of(ui);
        ui.painter().rect_stroke(
            rect.expand(2.0),
            CONTROL_RADIUS + 2,
            Stroke::new(2.0, colors.accent),
            StrokeKind::Inside,
        );
    }
}

/// A square button with an icon; `name` is what it is called.
pub(crate) fn icon_button(ui: &mut Ui, icon: Icon, name: &str) -> Response {
    let side = ui.spacing().interact_size.y;
    let (rect, response) = ui.allocate_exact_size(theme::square(side), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, ui.is_enabled(), name));
    if ui.is_rect_visible(rect) {
        let ink = background(ui, &response, rect, Kind::Quiet);
        let place = Rect::from_center_size(rect.center(), theme::square(18.0));
        icons::paint(ui.painter(), place, icon, ink);
    }
    response.on_hover_text(name)
}

/// A button that opens a menu.
pub(crate) fn menu_button(
    ui: &mut Ui,
    icon: Icon,
    name: &str,
    with_label: bool,
    content: impl FnOnce(&mut Ui),
) {
    let response = if with_label {
        button(ui, Kind::Quiet, Some(icon), name)
    } else {
        icon_button(ui, icon, name)
    };
    egui::Popup::menu(&response)
        .width(260.0)
        .accessible_name(name)
        .show(content);
}

/// A command on a menu.
pub(crate) fn menu_command(ui: &mut Ui, state: &mut State, command: Command) {
    let facts = command.facts();
    let is_enabled = state.can(command);
    let colors = theme::of(ui);
    let height = ui.spacing().interact_size.y;
    let size = vec2(ui.available_width(), height);
    let (rect, response) = ui.allocate_exact_size(
        size,
        if is_enabled {
            Sense::click()
        } else {
            Sense::hover()
        },
    );
    response.widget_info(|| WidgetInfo::labeled(Role::MenuItem, is_enabled, facts.label));
    if ui.is_rect_visible(rect) {
        if is_enabled && (response.hovered() || response.has_focus()) {
            ui.painter().rect_filled(rect, CONTROL_RADIUS, colors.hover);
        }
        let ink = if is_enabled {
            colors.text
        } else {
            colors.faint
        };
        let inside = rect.shrink2(vec2(8.0, 0.0));
        ui.painter().text(
            inside.left_center(),
            Align2::LEFT_CENTER,
            facts.label,
            fonts::body(),
            ink,
        );
        let keys = command.shortcut_text(ui.ctx());
        ui.painter().text(
            inside.right_center(),
            Align2::RIGHT_CENTER,
            keys,
            fonts::small(),
            if is_enabled {
                colors.muted
            } else {
                colors.faint
            },
        );
    }
    if response.on_hover_text(facts.tip).clicked() {
        state.run(command);
        ui.close();
    }
}
