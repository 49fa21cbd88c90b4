//! Which version this is, and what leaves the machine: nothing.

use egui::Ui;

use crate::state::State;
use crate::text;
use crate::theme::fonts;
use crate::widgets::{self, Kind};

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    widgets::heading(ui, "Assay", fonts::LARGE);
    widgets::muted(
        ui,
        format!("Version {}", text::plain(&state.platform.build, 100)),
    );
    widgets::paragraph(
        ui,
        "Tells whether a remote machine really ran this Llama, with these weights, on this prompt, with this sampler, by running it \
         again here.",
    );
    let words = if state.platform.is_browser {
        "Nothing is uploaded. Traces and weights are read by this page and computed on by this machine’s GPU; the page needs no network after its first load. Only if you ask a live prover does something leave: your prompt, and it goes to that prover."
    } else {
        "Nothing is uploaded. Files are read and computed on by this machine. Only if you ask a live prover does something leave: your prompt, and it goes to that prover."
    };
    widgets::paragraph(ui, words);
    widgets::muted(
        ui,
        "Under MIT or Apache-2.0. Set in IBM Plex, © IBM Corp., under the SIL Open Font License 1.1.",
    );
    if widgets::button(ui, Kind::Normal, None, "Close").clicked() {
        state.dialog = None;
    }
}
