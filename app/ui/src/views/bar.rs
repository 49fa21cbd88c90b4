//! The bar at the top: the name, the pages, menus.

use egui::{Margin, Rect, Role, Sense, Stroke, Ui, WidgetInfo, vec2};

use crate::command::Command;
use crate::state::{Page, State};
use crate::theme::{self, Icon, fonts, icons};
use crate::widgets;

pub(super) fn show(ui: &mut Ui, state: &mut State, is_narrow: bool) {
    let colors = theme::of(ui);
    let side = if is_narrow { 12 } else { 24 };
    let frame = egui::Frame::new()
        .fill(colors.ground)
        .inner_margin(Margin::symmetric(side, 8));
    let panel = egui::Panel::top("bar")
        .frame(frame)
        .show_separator_line(false)
        .resizable(false);
    let response = panel.show(ui, |ui| {
        ui.horizontal(|ui| {
            ui.set_height(40.0);
            // With four pages a phone has no room for it.
            if !is_narrow {
                mark(ui, state);
            }
            ui.add_space(if is_narrow { 0.0 } else { 16.0 });
            let mut page = state.page;
            let all = [
                (Page::Verify, "Verify"),
                (Page::Prove, "Prove"),
                (Page::Ask, "Ask"),
                (Page::Study, "Study"),
            ];
            let room = if is_narrow { 16.0 } else { 24.0 };
            if widgets::segmented_with(ui, &mut page, &all, room) {
                state.page = page;
            }
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                ui.spacing_mut().item_spacing.x = 4.0;
                main_menu(ui, state);
                if !is_narrow {
                    if widgets::icon_button(ui, Icon::Search, "Command palette").clicked() {
                        state.run(Command::Palette);
                    }
                    if widgets::icon_button(ui, Icon::Theme, "Switch between light and dark")
                        .clicked()
                    {
                        let is_dark = ui.visuals().dark_mode;
                        state.run(if is_dark {
                            Command::ThemeLight
                        } else {
                            Command::ThemeDark
                        });
                    }
                }
                export_menu(ui, state, !is_narrow);
                open_menu(ui, state, !is_narrow);
            });
        });
    });
    let rect = response.response.rect;
    ui.painter().hline(
        rect.x_range(),
        rect.max.y,
        Stroke::new(1.0, colors.hairline),
    );
}

fn mark(ui: &mut Ui, state: &mut State) {
    let colors = theme::of(ui);
    let galley =
        ui.painter()
            .layout_no_wrap("Assay".to_owned(), fonts::bold(fonts::TITLE), colors.text);
    let width = 36.0 + galley.size().x;
    let (rect, response) = ui.allocate_exact_size(vec2(width, 40.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(Role::Button, true, "Assay: start over"));
    let place = Rect::from_min_size(rect.left_center() - vec2(0.0, 13.0), theme::square(26.0));
    icons::paint_mark(ui.painter(), place, colors.accent);
    let at = rect.left_center() + vec2(36.0, -galley.size().y / 2.0);
    ui.painter().galley(at, galley, colors.text);
    if response.on_hover_text("Back to the first screen").clicked() && state.jobs.long().is_none() {
        state.run(Command::StartOver);
        state.page = Page::Verify;
    }
}

fn commands(ui: &mut Ui, state: &mut State, groups: &[&[Command]]) {
    ui.spacing_mut().item_spacing.y = 0.0;
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            ui.add_space(4.0);
            widgets::hairline(ui);
            ui.add_space(4.0);
        }
        for command in *group {
            widgets::menu_command(ui, state, *command);
        }
    }
}

fn open_menu(ui: &mut Ui, state: &mut State, with_label: bool) {
    widgets::menu_button(ui, Icon::File, "Open", with_label, |ui| {
        commands(
            ui,
            state,
            &[
                &[
                    Command::OpenFiles,
                    Command::OpenFolder,
                    Command::OpenKey,
                    Command::DemoModel,
                ],
                &[
                    Command::VerifySample,
                    Command::SampleSwapped,
                    Command::SampleFlipped,
                ],
                &[Command::StartOver],
            ],
        );
    });
}

fn export_menu(ui: &mut Ui, state: &mut State, with_label: bool) {
    widgets::menu_button(ui, Icon::Save, "Export", with_label, |ui| {
        commands(
            ui,
            state,
            &[
                &[
                    Command::SaveReport,
                    Command::SaveStatement,
                    Command::SaveCsv,
                    Command::SavePlot,
                ],
                &[Command::CopyReport, Command::SaveTrace, Command::SaveSheet],
            ],
        );
    });
}

fn main_menu(ui: &mut Ui, state: &mut State) {
    widgets::menu_button(ui, Icon::Menu, "Menu", false, |ui| {
        commands(
            ui,
            state,
            &[
                &[Command::Palette, Command::Help],
                &[Command::Devices, Command::Storage],
                &[
                    Command::ThemeSystem,
                    Command::ThemeDark,
                    Command::ThemeLight,
                ],
                &[Command::ZoomIn, Command::ZoomOut, Command::ZoomReset],
                &[Command::ResetSettings, Command::About],
            ],
        );
    });
}
