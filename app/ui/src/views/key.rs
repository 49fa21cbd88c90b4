//! A verifier key in place of a model: what it is, that it is secret, its passphrase; and what a trace has open for one.

use assay_trace::{Challenge, Manifest};
use assay_work::message::{KeyFacts, ModelFacts};
use egui::{Ui, vec2};

use super::claims::note;
use crate::command::Command;
use crate::state::{Ask, Lock, State};
use crate::text;
use crate::theme::{self, Icon};
use crate::widgets::{self, Kind};

/// Layers that are listed; more are counted.
const LISTED: usize = 8;

/// The field's name.
const PASSPHRASE: &str = "Passphrase of the key";

/// The card.
pub(super) fn show(ui: &mut Ui, state: &mut State) {
    widgets::card(ui, |ui| {
        ui.set_min_height(300.0);
        ui.horizontal(|ui| {
            widgets::card_title(ui, "Verifier key");
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                if widgets::icon_button(ui, Icon::Close, "Back to the demo model").clicked() {
                    state.ask(Ask::DropModel);
                }
            });
        });
        let name = text::plain(&state.model.source.name(), 80);
        let facts = state.model.facts.clone();
        match (&facts, state.model.lock) {
            (Some(facts), _) => {
                if let Some(key) = &facts.key {
                    open(ui, &name, facts, key);
                }
            }
            (None, Some(lock)) => locked(ui, state, &name, lock),
            (None, None) => {
                widgets::muted(ui, format!("Opening {name}…"));
            }
        }
        let colors = theme::of(ui);
        note(
            ui,
            Icon::Key,
            colors.muted,
            "A secret: whoever has it can make false traces that pass it. It stays in this machine’s memory.",
        );
        fits(ui, state);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
            if widgets::button(ui, Kind::Normal, Some(Icon::Key), "Open key…")
                .on_hover_text(Command::OpenKey.facts().tip)
                .clicked()
            {
                state.run(Command::OpenKey);
            }
            if widgets::button(ui, Kind::Normal, Some(Icon::Folder), "Open model…")
                .on_hover_text(Command::OpenFolder.facts().tip)
                .clicked()
            {
                state.run(Command::OpenFolder);
            }
        });
    });
}

fn open(ui: &mut Ui, name: &str, facts: &ModelFacts, key: &KeyFacts) {
    let words = |text: &str| text::plain(text, 80);
    let family = words(&facts.family);
    widgets::muted(ui, name);
    widgets::fit_text(
        ui,
        &format!(
            "Verifier key: {family}, {}, {}; needs no weights.",
            text::count(u64::from(facts.layers), "layer"),
            text::count(u64::from(key.projections), "projection"),
        ),
    );
    let at_rest = if key.is_encrypted {
        "encrypted"
    } else {
        "not encrypted"
    };
    widgets::facts(
        ui,
        [
            (
                "made from",
                format!(
                    "{family} {}, {} parameters",
                    words(&facts.dtype),
                    text::grouped(facts.parameters)
                ),
            ),
            (
                "can audit",
                format!("{}, and logits", layers(&key.layers, facts.layers)),
            ),
            (
                "holds",
                format!(
                    "{} projections and {} rows of each matrix",
                    key.projections, key.rows
                ),
            ),
            (
                "its file",
                format!("{}, {at_rest}", text::bytes(facts.bytes)),
            ),
            ("public id", text::short_hash(&key.id)),
            ("made by", words(&key.producer)),
        ],
    );
}

/// What an encrypted key waits for. It keeps its place while the passphrase is tried.
pub(super) fn locked(ui: &mut Ui, state: &mut State, name: &str, lock: Lock) {
    let is_trying = state.jobs.has(&crate::jobs::Purpose::OpenModel);
    widgets::muted(ui, name);
    widgets::fit_text(
        ui,
        "This key is encrypted. Its passphrase opens it here, and goes nowhere.",
    );
    let mut is_sent = false;
    let can_try = !is_trying && !state.model.passphrase.expose().is_empty();
    let asks = !is_trying && std::mem::take(&mut state.model.asks);
    let mut field = |ui: &mut Ui, width: f32| {
        ui.add_enabled_ui(!is_trying, |ui| {
            let passphrase = state.model.passphrase.expose_mut();
            is_sent |= widgets::secret_field(ui, PASSPHRASE, passphrase, width, asks);
        });
    };
    let unlock = |ui: &mut Ui| {
        let button = |ui: &mut Ui| widgets::button(ui, Kind::Primary, Some(Icon::Key), "Unlock");
        ui.add_enabled_ui(can_try, button).inner.clicked()
    };
    let mut is_clicked = false;
    if ui.available_width() < 420.0 {
        let width = ui.available_width();
        field(ui, width);
        is_clicked |= unlock(ui);
    } else {
        ui.horizontal_top(|ui| {
            field(ui, 300.0);
            ui.vertical(|ui| {
                // Beside the field, whose name stands above it.
                ui.add_space(21.0);
                is_clicked |= unlock(ui);
            });
        });
    }
    is_sent |= is_clicked;
    // The line has its place before anything is wrong.
    ui.scope(|ui| {
        ui.set_min_height(20.0);
        ui.spacing_mut().interact_size.y = 20.0;
        if is_trying {
            widgets::muted(ui, "Trying it…");
        } else if lock == Lock::Wrong {
            super::expect::problem(ui, "This is not the passphrase. Type it again.");
        } else {
            widgets::muted(ui, "As it was typed when the key was made.");
        }
    });
    // The last of it may have come in the same frame as Enter.
    if is_sent && !is_trying && !state.model.passphrase.expose().is_empty() {
        state.ask(Ask::Unlock);
    }
}

/// Whether the key can say anything about the trace.
fn fits(ui: &mut Ui, state: &State) {
    let colors = theme::of(ui);
    match state.model_fits() {
        Some(true) => note(
            ui,
            Icon::Check,
            colors.good,
            "It was made from the model that the trace names.",
        ),
        Some(false) => note(
            ui,
            Icon::Error,
            colors.unsure,
            "The trace names another model than this key was made from, and will be rejected for it.",
        ),
        None => {}
    }
    let manifest = state
        .trace
        .as_ref()
        .and_then(|trace| trace.manifest.as_ref());
    let Some(manifest) = manifest else { return };
    let words = match &manifest.linears {
        None => {
            "The trace has nothing open for a key. Verify it with the model, or ask for one made with `--open`."
        }
        Some(claim) => {
            let can_audit = |layer: &u32| {
                let key = state.key();
                key.is_none_or(|key| key.layers.binary_search(layer).is_ok())
            };
            if claim.layers.iter().any(can_audit) {
                return;
            }
            "The key can audit none of the layers that the trace has open."
        }
    };
    note(ui, Icon::Error, colors.unsure, words);
}

/// What a trace has open for a key, and who picked that, by its own words.
pub(super) fn openings(manifest: &Manifest) -> String {
    let Some(claim) = &manifest.linears else {
        return "nothing is open: only the model can verify it".to_owned();
    };
    let (open, tokens) = (claim.logits.len() as u64, u64::from(manifest.output.tokens));
    let logits = if open == tokens {
        format!("logits of all {}", text::count(tokens, "token"))
    } else {
        format!(
            "logits of {} of {}",
            text::grouped(open),
            text::count(tokens, "token")
        )
    };
    let who = match claim.challenge {
        Challenge::All => "",
        Challenge::Chosen => "; the prover picked them",
        Challenge::Interactive => "; a verifier picked them, it says",
        Challenge::Offline => "; drawn from the trace’s own root",
    };
    format!(
        "open: {}, {logits}{who}",
        layers(&claim.layers, manifest.model.layers)
    )
}

/// `all 8 layers`, `layers 1, 5 of 8`, `14 of 32 layers`.
pub(super) fn layers(some: &[u32], all: u32) -> String {
    let n = some.len();
    if n as u64 == u64::from(all) {
        format!("all {}", text::count(u64::from(all), "layer"))
    } else if n == 0 {
        "no layer".to_owned()
    } else if n <= LISTED {
        let list: Vec<String> = some.iter().map(u32::to_string).collect();
        let word = if n == 1 { "layer" } else { "layers" };
        format!("{word} {} of {all}", list.join(", "))
    } else {
        format!("{n} of {all} layers")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_in_words() {
        let words = |some: &[u32], all| layers(some, all);
        assert_eq!(words(&[0, 1, 2], 3), "all 3 layers");
        assert_eq!(words(&[0], 1), "all 1 layer");
        assert_eq!(words(&[5], 8), "layer 5 of 8");
        assert_eq!(words(&[1, 5], 8), "layers 1, 5 of 8");
        assert_eq!(words(&[], 8), "no layer");
        let many: Vec<u32> = (0..14).collect();
        assert_eq!(words(&many, 32), "14 of 32 layers");
    }
}
