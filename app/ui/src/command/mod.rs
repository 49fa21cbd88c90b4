//! Everything a user can do, in one list: menus, shortcuts, the palette, help and the page all read it.

mod table;

use egui::{Key, KeyboardShortcut, Modifiers};

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Command {
    VerifySample,
    SampleSwapped,
    SampleFlipped,
    OpenFiles,
    OpenFolder,
    OpenKey,
    DemoModel,
    Verify,
    Edit,
    Prove,
    RunProve,
    Strict,
    Ask,
    RunAsk,
    Experiments,
    RunExperiment,
    Cancel,
    StartOver,
    ShowOverview,
    ShowAudit,
    ShowTokens,
    ShowFigures,
    ShowEvidence,
    NextToken,
    PreviousToken,
    NextLayer,
    PreviousLayer,
    NextProblem,
    ResetPlot,
    SaveReport,
    SaveStatement,
    SaveSheet,
    SaveCsv,
    SavePlot,
    SaveTrace,
    CopyReport,
    Palette,
    Help,
    Devices,
    Storage,
    About,
    ThemeSystem,
    ThemeDark,
    ThemeLight,
    ZoomIn,
    ZoomOut,
    ZoomReset,
    ResetSettings,
}

impl Command {
    /// All, in the order in which the palette lists them.
    pub const ALL: [Self; 48] = [
        Self::VerifySample,
        Self::SampleSwapped,
        Self::SampleFlipped,
        Self::OpenFiles,
        Self::OpenFolder,
        Self::OpenKey,
        Self::DemoModel,
        Self::Verify,
        Self::Edit,
        Self::Prove,
        Self::RunProve,
        Self::Strict,
        Self::Ask,
        Self::RunAsk,
        Self::Experiments,
        Self::RunExperiment,
        Self::Cancel,
        Self::StartOver,
        Self::ShowOverview,
        Self::ShowAudit,
        Self::ShowTokens,
        Self::ShowFigures,
        Self::ShowEvidence,
        Self::NextToken,
        Self::PreviousToken,
        Self::NextLayer,
        Self::PreviousLayer,
        Self::NextProblem,
        Self::ResetPlot,
        Self::SaveReport,
        Self::SaveStatement,
        Self::SaveSheet,
        Self::SaveCsv,
        Self::SavePlot,
        Self::SaveTrace,
        Self::CopyReport,
        Self::Palette,
        Self::Help,
        Self::Devices,
        Self::Storage,
        Self::About,
        Self::ThemeSystem,
        Self::ThemeDark,
        Self::ThemeLight,
        Self::ZoomIn,
        Self::ZoomOut,
        Self::ZoomReset,
        Self::ResetSettings,
    ];

    /// By its stable name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|command| command.facts().name == name)
    }

    /// Takes the pressed shortcuts out of the input. While text is typed, only those with a modifier count, and Escape.
    pub fn pressed(ctx: &egui::Context, can: impl Fn(Self) -> bool) -> Vec<Self> {
        let is_typing = ctx.text_edit_focused();
        let has_focus = ctx.memory(|memory| memory.focused()).is_some();
        let is_open = egui::Popup::is_any_open(ctx);
        let usable = |command: Self, shortcut: &KeyboardShortcut| {
            let arrow = matches!(
                shortcut.logical_key,
                Key::ArrowLeft | Key::ArrowRight | Key::ArrowUp | Key::ArrowDown
            );
            // What makes no sense now leaves its key to whatever else wants it; an open menu closes first; arrows belong to
            // what has the focus, be it a list or the token strip (which asks for them itself).
            let is_taken = match (shortcut.modifiers, command) {
                (Modifiers::NONE, Self::Cancel) => is_open,
                (Modifiers::NONE, _) => is_typing || is_open || (arrow && has_focus),
                _ => false,
            };
            can(command) && !is_taken
        };
        let mut pressed = Vec::new();
        // The longer shortcut first: Ctrl+Shift+O is not Ctrl+O.
        let all: Vec<(Self, KeyboardShortcut)> = Self::ALL
            .into_iter()
            .flat_map(|command| {
                command
                    .facts()
                    .shortcuts
                    .iter()
                    .map(move |shortcut| (command, *shortcut))
            })
            .collect();
        let (first, then): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|(_, shortcut)| shortcut.modifiers.shift);
        for (command, shortcut) in first.into_iter().chain(then) {
            if usable(command, &shortcut)
                && ctx.input_mut(|input| input.consume_shortcut(&shortcut))
                && !pressed.contains(&command)
            {
                pressed.push(command);
            }
        }
        pressed
    }

    /// Its first shortcut in words, for menus.
    pub fn shortcut_text(self, ctx: &egui::Context) -> String {
        let facts = self.facts();
        match facts.shortcuts.first() {
            Some(shortcut) if shortcut.logical_key == Key::Questionmark => "?".to_owned(),
            // Plain names: our fonts have no key symbols.
            Some(shortcut) => shortcut.format(
                &egui::ModifierNames::NAMES,
                ctx.os() == egui::os::OperatingSystem::Mac,
            ),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_shortcuts_are_unique() {
        let names: BTreeSet<&str> = Command::ALL
            .iter()
            .map(|command| command.facts().name)
            .collect();
        assert_eq!(names.len(), Command::ALL.len());
        let mut shortcuts = Vec::new();
        for command in Command::ALL {
            assert_eq!(Command::named(command.facts().name), Some(command));
            for shortcut in command.facts().shortcuts {
                assert!(!shortcuts.contains(shortcut), "{command:?}");
                shortcuts.push(*shortcut);
            }
        }
        assert_eq!(Command::named("rm"), None);
    }
}
