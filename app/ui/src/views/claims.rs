//! What was chosen, before it is judged: what the trace claims, which model it is held against, what the user asked for.

use assay_trace::{ActivationsClaim, Compute, Manifest, SparseRule};
use egui::{Ui, vec2};

use crate::command::Command;
use crate::state::{Ask, State};
use crate::text;
use crate::theme::{self, Icon};
use crate::widgets::{self, Kind};

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let is_narrow = theme::is_narrow(ui.ctx());
    if is_narrow {
        trace(ui, state);
        model(ui, state);
    } else {
        ui.columns_const(|[left, right]: &mut [Ui; 2]| {
            trace(left, state);
            model(right, state);
        });
    }
    if state.trace.is_some() {
        super::expect::show(ui, state);
        action(ui, state, is_narrow);
    }
}

fn action(ui: &mut Ui, state: &mut State, is_narrow: bool) {
    let is_ready = state.can(Command::Verify);
    ui.add_enabled_ui(is_ready, |ui| {
        let response = if is_narrow {
            widgets::wide_button(ui, Kind::Primary, Some(Icon::Play), "Verify")
        } else {
            widgets::button(ui, Kind::Primary, Some(Icon::Play), "Verify")
        };
        if response
            .on_hover_text(Command::Verify.facts().tip)
            .clicked()
        {
            state.run(Command::Verify);
        }
    });
}

/// What the file claims, in the prover's words.
fn trace(ui: &mut Ui, state: &mut State) {
    let mut is_dropped = false;
    widgets::card(ui, |ui| {
        ui.set_min_height(300.0);
        let Some(trace) = &state.trace else {
            widgets::card_title(ui, "Trace");
            widgets::muted(
                ui,
                "The file that a provider gives you with an answer. Drop it anywhere, or choose it.",
            );
            if widgets::button(ui, Kind::Primary, Some(Icon::File), "Open trace…").clicked() {
                state.run(Command::OpenFiles);
            }
            return;
        };
        ui.horizontal(|ui| {
            widgets::card_title(ui, "Trace");
            ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                is_dropped = widgets::icon_button(ui, Icon::Close, "Put the trace away").clicked();
            });
        });
        let name = text::plain(&trace.source.name(), 80);
        let Some(claims) = &trace.claims else {
            widgets::muted(ui, format!("Reading {name}…"));
            return;
        };
        widgets::muted(
            ui,
            format!(
                "{name}, {}. The prover says; nothing of it is checked yet:",
                text::bytes(claims.bytes)
            ),
        );
        if let Some((code, why)) = &claims.fault {
            let color = theme::of(ui).bad;
            widgets::chip(ui, &text::plain(code, 40), color);
            widgets::paragraph(ui, &text::plain(why, text::SHOWN));
        }
        if let Some(manifest) = &trace.manifest {
            widgets::facts(ui, rows(manifest));
        }
    });
    if is_dropped {
        state.ask(Ask::DropTrace);
    }
}

/// Whether every neuron of the MLPs was computed.
fn neurons(manifest: &Manifest) -> String {
    let Some(sparse) = &manifest.sparse else {
        return "all computed".to_owned();
    };
    let rule = sparse.rule.kind();
    match &sparse.rule {
        SparseRule::TopK { keep } | SparseRule::Predicted { keep, .. } => {
            let width = sparse.masks.last().map_or(0, |mask| mask.width);
            format!("{keep} of {width} in each layer, by the rule {rule}; the others were skipped")
        }
        _ => format!("some skipped, by the rule {rule}"),
    }
}

/// What is kept of values between operations.
fn precision(manifest: &Manifest) -> &'static str {
    match manifest.numerics.compute {
        Compute::F32 => "f32",
        Compute::Bf16 => "bf16: values are rounded between operations",
        Compute::F16 => "f16: values are rounded between operations",
    }
}

/// What linear products take.
fn inputs(manifest: &Manifest) -> &'static str {
    match manifest.numerics.activations {
        None => "as they are",
        Some(ActivationsClaim::Int8) => "rounded to 8-bit integers: products are of integers",
        Some(ActivationsClaim::Blocks) => {
            "rounded to 8-bit integers in blocks of 32: products are of integers, in fixed point"
        }
        Some(ActivationsClaim::Ggml) => "rounded in blocks, as llama.cpp does",
    }
}

fn rows(manifest: &Manifest) -> Vec<(&'static str, String)> {
    let words = |text: &str| text::plain(text, 120);
    let model = &manifest.model;
    let stop = match manifest.output.stop {
        assay_trace::StopReason::Context => "the context was full",
        assay_trace::StopReason::Eos => "the model ended it",
        assay_trace::StopReason::Length => "as many as asked for",
    };
    vec![
        (
            "model",
            format!(
                "{} {}, {} layers, {} parameters",
                words(&model.family),
                words(&model.dtype),
                model.layers,
                text::grouped(model.parameters)
            ),
        ),
        ("model root", text::short_hash(&model.root.to_string())),
        (
            "prompt",
            text::count(u64::from(manifest.prompt.tokens), "token"),
        ),
        (
            "answer",
            format!(
                "{}, {stop}",
                text::count(u64::from(manifest.output.tokens), "token")
            ),
        ),
        ("sampler", text::sampler(&manifest.sampler)),
        ("neurons", neurons(manifest)),
        ("precision", precision(manifest).to_owned()),
        ("inputs", inputs(manifest).to_owned()),
        (
            "nonce",
            manifest.nonce.as_ref().map_or_else(
                || "none: it may be an old answer".to_owned(),
                |nonce| text::short_hash(&nonce.to_string()),
            ),
        ),
        (
            "ran on",
            format!(
                "{}, {}",
                words(&manifest.adapter),
                words(&manifest.producer)
            ),
        ),
        ("root", text::short_hash(&manifest.root.to_string())),
        ("for a key", super::key::openings(manifest)),
    ]
}

/// The verifier's own copy, or the key that stands in for it.
fn model(ui: &mut Ui, state: &mut State) {
    if state.model.source.is_key() {
        super::key::show(ui, state);
        return;
    }
    let fits = state.model_fits();
    widgets::card(ui, |ui| {
        ui.set_min_height(300.0);
        ui.horizontal(|ui| {
            widgets::card_title(ui, "Your copy of the model");
            if state.model.is_chosen {
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    if widgets::icon_button(ui, Icon::Close, "Back to the demo model").clicked() {
                        state.ask(Ask::DropModel);
                    }
                });
            }
        });
        let name = text::plain(&state.model.source.name(), 80);
        match &state.model.facts {
            None => {
                widgets::muted(ui, format!("Opening {name}…"));
            }
            Some(facts) => {
                let words = |text: &str| text::plain(text, 80);
                let chosen = if state.model.is_chosen {
                    ""
                } else {
                    ", which comes with Assay"
                };
                widgets::muted(ui, format!("{name}{chosen}"));
                widgets::facts(
                    ui,
                    [
                        (
                            "model",
                            format!(
                                "{} {}, {} layers",
                                words(&facts.family),
                                words(&facts.dtype),
                                facts.layers
                            ),
                        ),
                        (
                            "parameters",
                            format!(
                                "{}, {}",
                                text::grouped(facts.parameters),
                                text::bytes(facts.bytes)
                            ),
                        ),
                        ("context", text::count(u64::from(facts.context), "token")),
                        (
                            "tokenizer",
                            if facts.has_tokenizer {
                                "yes"
                            } else {
                                "none: text cannot be shown"
                            }
                            .to_owned(),
                        ),
                    ],
                );
                for note in facts.notes.iter().take(6) {
                    widgets::muted(ui, words(note));
                }
            }
        }
        let colors = theme::of(ui);
        match fits {
            Some(true) => {
                note(
                    ui,
                    Icon::Check,
                    colors.good,
                    "It is the model that the trace names.",
                );
            }
            Some(false) => {
                note(
                    ui,
                    Icon::Error,
                    colors.unsure,
                    "The trace names another model. Open that one, or the trace will be rejected for it.",
                );
            }
            None => {}
        }
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
            if widgets::button(ui, Kind::Normal, Some(Icon::Folder), "Open folder…")
                .on_hover_text(Command::OpenFolder.facts().tip)
                .clicked()
            {
                state.run(Command::OpenFolder);
            }
            if widgets::button(ui, Kind::Normal, Some(Icon::File), "Open file…").clicked() {
                state.run(Command::OpenFiles);
            }
        });
    });
}

/// A sentence with an icon.
pub(super) fn note(ui: &mut Ui, icon: Icon, color: egui::Color32, words: &str) {
    ui.horizontal_top(|ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(20.0, 22.0), egui::Sense::hover());
        theme::icons::paint(
            ui.painter(),
            egui::Rect::from_center_size(rect.center(), theme::square(18.0)),
            icon,
            color,
        );
        widgets::fit_text(ui, words);
    });
}
