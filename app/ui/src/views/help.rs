//! What the words mean, and which key does what.

use egui::Ui;

use crate::command::Command;
use crate::state::State;
use crate::theme::{self, Icon, fonts};
use crate::widgets::{self, Kind};

const WORDS: [(&str, &str); 11] = [
    (
        "trace",
        "A prover’s record of one answer: the tokens, and a hash of every layer’s state at every position, bound by one root.",
    ),
    (
        "accepted",
        "Every check passed: the trace is consistent with an honest run of this model, within stated tolerances. Not a proof of who ran it.",
    ),
    (
        "rejected",
        "At least one check failed. Its code says which; the check’s line says what was measured and what was allowed.",
    ),
    (
        "inconclusive",
        "Nothing failed, but something could not be judged, usually because no calibration covers the claim.",
    ),
    (
        "error",
        "This machine’s own trouble: a device, a file, the network. It says nothing about the trace.",
    ),
    (
        "verifier key",
        "What is kept of a model to audit traces without its weights. A secret: whoever has it can make false traces that pass it.",
    ),
    (
        "audit",
        "Verification with a key: each product of the opened layers against secret projections of the weights, the rest computed again.",
    ),
    (
        "live prover",
        "A server that answers a prompt, commits to its run, and learns only then what it must open. So it cannot prepare for it.",
    ),
    (
        "margin",
        "How far a token lies below the best one by your own logits. Errors of arithmetic explain a little; more is not explained.",
    ),
    (
        "profile",
        "Limits measured on honest runs across devices, with how many forgeries they let through. Never typed by hand.",
    ),
    (
        "nonce",
        "A number that you made up for your request. A trace that holds it cannot be older than the request.",
    ),
];

pub(super) fn show(ui: &mut Ui, state: &mut State, height: f32) {
    widgets::heading(ui, "Help", fonts::TITLE);
    egui::ScrollArea::vertical().max_height(height - 90.0).auto_shrink([false, true]).show(ui, |ui| {
        ui.set_width(ui.available_width() - 12.0);
        widgets::heading(ui, "Words", fonts::BODY);
        widgets::facts(ui, WORDS.iter().map(|(word, meaning)| (*word, (*meaning).to_owned())));
        ui.add_space(8.0);
        widgets::heading(ui, "Keys", fonts::BODY);
        let rows: Vec<(Command, String)> = Command::ALL
            .into_iter()
            .map(|command| (command, command.shortcut_text(ui.ctx())))
            .filter(|(_, keys)| !keys.is_empty())
            .collect();
        ui.spacing_mut().item_spacing.y = 4.0;
        ui.spacing_mut().interact_size.y = 22.0;
        for (command, keys) in rows {
            ui.horizontal_wrapped(|ui| {
                let (rect, _) = ui.allocate_exact_size(egui::vec2(120.0, 22.0), egui::Sense::hover());
                ui.painter().text(rect.left_center(), egui::Align2::LEFT_CENTER, keys, fonts::mono(), theme::of(ui).text);
                ui.label(egui::RichText::new(command.facts().label).size(14.0));
            });
        }
        ui.add_space(4.0);
        widgets::muted(ui, "In plots: drag moves, Ctrl and wheel zoom, a box with the right button zooms into it, a double click shows all.");
    });
    if widgets::button(ui, Kind::Normal, Some(Icon::Close), "Close").clicked() {
        state.dialog = None;
    }
}
