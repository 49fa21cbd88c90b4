//! The look: colours, fonts, icons, and egui's style made from them.

pub(crate) mod colors;
mod coverage;
pub(crate) mod fonts;
pub(crate) mod icons;

use egui::{CornerRadius, Margin, Stroke, Theme, Vec2, Visuals, style::WidgetVisuals, vec2};

pub(crate) use colors::Colors;
pub(crate) use icons::Icon;

/// Corners of cards.
pub(crate) const RADIUS: u8 = 8;
/// Corners of controls.
pub(crate) const CONTROL_RADIUS: u8 = 6;
/// Below this width, points, everything stands in one column and what can be touched is 40 points high.
pub(crate) const NARROW: f32 = 720.0;

/// Installs fonts and both styles.
pub(crate) fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts::definitions());
    for (theme, colors) in [(Theme::Dark, &colors::DARK), (Theme::Light, &colors::LIGHT)] {
        ctx.style_mut_of(theme, |style| {
            style.text_styles = fonts::text_styles();
            style.visuals = visuals(theme, colors);
            style.drag_value_text_style = egui::TextStyle::Body;
            style.animation_time = 0.12;
            style.interaction.selectable_labels = true;
            style.interaction.tooltip_delay = 0.25;
            let spacing = &mut style.spacing;
            spacing.item_spacing = vec2(8.0, 8.0);
            spacing.button_padding = vec2(12.0, 6.0);
            spacing.interact_size = vec2(40.0, 32.0);
            spacing.window_margin = Margin::same(16);
            spacing.menu_margin = Margin::same(8);
            spacing.icon_width = 18.0;
            spacing.icon_spacing = 8.0;
            spacing.combo_width = 96.0;
            spacing.tooltip_width = 360.0;
            spacing.scroll.bar_width = 8.0;
            spacing.scroll.floating = true;
        });
    }
    ctx.options_mut(|options| {
        options.zoom_with_keyboard = false; // our own commands do it, so that it is kept
        options.fallback_theme = Theme::Dark;
    });
}

/// Controls of a narrow screen are touched.
pub(crate) fn fit_touch(ui: &mut egui::Ui) {
    ui.spacing_mut().interact_size = vec2(40.0, 40.0);
    ui.spacing_mut().button_padding = vec2(12.0, 10.0);
    ui.spacing_mut().icon_width = 22.0;
}

fn visuals(theme: Theme, colors: &Colors) -> Visuals {
    let mut visuals = theme.default_visuals();
    let line = Stroke::new(1.0, colors.border);
    let radius = CornerRadius::same(CONTROL_RADIUS);
    let widget = |fill, stroke, text| WidgetVisuals {
        bg_fill: fill,
        weak_bg_fill: fill,
        bg_stroke: stroke,
        corner_radius: radius,
        fg_stroke: Stroke::new(1.5, text),
        expansion: 0.0,
    };
    let widgets = &mut visuals.widgets;
    widgets.noninteractive = widget(colors.card, Stroke::new(1.0, colors.hairline), colors.text);
    widgets.inactive = widget(colors.card, line, colors.text);
    widgets.hovered = widget(colors.hover, Stroke::new(1.0, colors.faint), colors.text);
    // Also what has the focus: the ring must be seen.
    widgets.active = widget(colors.hover, Stroke::new(2.0, colors.accent), colors.text);
    widgets.open = widget(colors.hover, line, colors.text);
    visuals.selection.bg_fill = colors::mix(colors.card, colors.accent, 0.32);
    visuals.selection.stroke = Stroke::new(2.0, colors.accent);
    visuals.hyperlink_color = colors.accent;
    visuals.weak_text_color = Some(colors.muted);
    visuals.faint_bg_color = colors.well;
    visuals.extreme_bg_color = colors.well;
    visuals.text_edit_bg_color = Some(colors.well);
    visuals.code_bg_color = colors.well;
    visuals.warn_fg_color = colors.unsure;
    visuals.error_fg_color = colors.bad;
    visuals.panel_fill = colors.ground;
    visuals.window_fill = colors.card;
    visuals.window_stroke = line;
    visuals.window_corner_radius = CornerRadius::same(RADIUS + 4);
    visuals.menu_corner_radius = CornerRadius::same(RADIUS);
    visuals.window_shadow = shadow(theme, 24);
    visuals.popup_shadow = shadow(theme, 12);
    visuals.text_cursor.stroke = Stroke::new(2.0, colors.accent);
    visuals.handle_shape = egui::style::HandleShape::Circle;
    visuals.slider_trailing_fill = true;
    visuals.striped = false;
    visuals.interact_cursor = Some(egui::CursorIcon::PointingHand);
    visuals
}

fn shadow(theme: Theme, blur: u8) -> egui::Shadow {
    let alpha = if theme == Theme::Dark { 90 } else { 28 };
    egui::Shadow {
        offset: [0, (blur / 3) as i8],
        blur,
        spread: 0,
        color: egui::Color32::from_black_alpha(alpha),
    }
}

/// The colours of `ui`.
pub(crate) fn of(ui: &egui::Ui) -> &'static Colors {
    Colors::of(ui.visuals())
}

/// Whether all stands in one column.
pub(crate) fn is_narrow(ctx: &egui::Context) -> bool {
    ctx.content_rect().width() < NARROW
}

/// A card's frame.
pub(crate) fn card(colors: &Colors) -> egui::Frame {
    egui::Frame::new()
        .fill(colors.card)
        .stroke(Stroke::new(1.0, colors.border))
        .corner_radius(RADIUS)
        .inner_margin(Margin::same(16))
}

/// A square of `side`.
pub(crate) fn square(side: f32) -> Vec2 {
    Vec2::splat(side)
}
