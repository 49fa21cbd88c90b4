//! The palette: every command by name, found as one types.

use egui::{Align2, Key, Role, Sense, Ui, WidgetInfo, vec2};

use crate::command::Command;
use crate::state::State;
use crate::theme::{self, fonts};
use crate::widgets;

pub(super) fn show(ui: &mut Ui, state: &mut State, height: f32) {
    let (up, down, enter) = ui.input_mut(|input| {
        (
            input.consume_key(egui::Modifiers::NONE, Key::ArrowUp),
            input.consume_key(egui::Modifiers::NONE, Key::ArrowDown),
            input.consume_key(egui::Modifiers::NONE, Key::Enter),
        )
    });
    let edit = egui::TextEdit::singleline(&mut state.palette.text)
        .hint_text("What would you like to do?")
        .desired_width(ui.available_width())
        .margin(egui::Margin::symmetric(10, 8))
        .char_limit(80);
    let response = ui.add(edit).accessible_name("Find a command");
    if state.palette.is_fresh {
        response.request_focus();
        state.palette.is_fresh = false;
    }
    if response.changed() {
        state.palette.index = 0;
    }
    let found = matching(&state.palette.text);
    let last = found.len().saturating_sub(1);
    if down {
        state.palette.index = (state.palette.index + 1).min(last);
    }
    if up {
        state.palette.index = state.palette.index.saturating_sub(1);
    }
    state.palette.index = state.palette.index.min(last);
    let mut chosen = found.get(state.palette.index).copied().filter(|_| enter);
    egui::ScrollArea::vertical()
        .max_height((height - 60.0).min(420.0))
        .auto_shrink([false, true])
        .show(ui, |ui| {
            ui.spacing_mut().item_spacing.y = 0.0;
            for (index, command) in found.iter().enumerate() {
                let is_chosen = index == state.palette.index;
                let response = row(ui, *command, is_chosen, state.can(*command));
                if is_chosen && (up || down) {
                    response.scroll_to_me(None);
                }
                if response.clicked() {
                    chosen = Some(*command);
                }
            }
            if found.is_empty() {
                widgets::muted(ui, "Nothing by that name.");
            }
        });
    if let Some(command) = chosen.filter(|command| state.can(*command)) {
        state.dialog = None;
        state.run(command);
    }
}

fn row(ui: &mut Ui, command: Command, is_chosen: bool, is_enabled: bool) -> egui::Response {
    let colors = theme::of(ui);
    let facts = command.facts();
    let height = ui.spacing().interact_size.y.max(36.0);
    let (rect, response) = ui.allocate_exact_size(
        vec2(ui.available_width(), height),
        if is_enabled {
            Sense::click()
        } else {
            Sense::hover()
        },
    );
    response.widget_info(|| {
        WidgetInfo::selected(Role::ListBoxOption, is_enabled, is_chosen, facts.label)
    });
    if is_chosen || response.hovered() {
        ui.painter()
            .rect_filled(rect, theme::CONTROL_RADIUS, colors.hover);
    }
    let inside = rect.shrink2(vec2(10.0, 0.0));
    let ink = if is_enabled {
        colors.text
    } else {
        colors.faint
    };
    let label = ui.painter().text(
        inside.left_center(),
        Align2::LEFT_CENTER,
        facts.label,
        fonts::body(),
        ink,
    );
    let keys = ui.painter().text(
        inside.right_center(),
        Align2::RIGHT_CENTER,
        command.shortcut_text(ui.ctx()),
        fonts::small(),
        colors.muted,
    );
    let room = keys.min.x - label.max.x - 28.0;
    if room > 120.0 && !theme::is_narrow(ui.ctx()) {
        let job = egui::text::LayoutJob {
            wrap: egui::text::TextWrapping::truncate_at_width(room),
            ..egui::text::LayoutJob::simple_singleline(
                facts.tip.to_owned(),
                fonts::small(),
                colors.muted,
            )
        };
        let galley = ui.painter().layout_job(job);
        ui.painter().galley(
            egui::pos2(label.max.x + 14.0, rect.center().y - galley.size().y / 2.0),
            galley,
            colors.muted,
        );
    }
    response
}

/// Commands whose label or tip has every typed word, those whose label has the first of them in front first.
fn matching(typed: &str) -> Vec<Command> {
    let typed = typed.to_lowercase();
    let words: Vec<&str> = typed.split_whitespace().collect();
    let mut found: Vec<Command> = Command::ALL
        .into_iter()
        .filter(|command| {
            let facts = command.facts();
            let all = format!("{} {} {}", facts.label, facts.tip, facts.name).to_lowercase();
            words.iter().all(|word| all.contains(word))
        })
        .collect();
    found.sort_by_key(|command| {
        let label = command.facts().label.to_lowercase();
        words
            .first()
            .map_or(0, |word| label.find(word).unwrap_or(usize::MAX))
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_found_by_any_word() {
        assert_eq!(matching("").len(), Command::ALL.len());
        assert_eq!(matching("dark").first(), Some(&Command::ThemeDark));
        assert_eq!(matching("csv"), [Command::SaveCsv]);
        assert_eq!(matching("xyzzy"), []);
    }
}
