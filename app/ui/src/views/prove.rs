//! Prove: a prompt goes in, text streams out, and a trace is kept that can be saved or verified at once.

use egui::{Ui, vec2};

use crate::command::Command;
use crate::jobs::Purpose;
use crate::settings;
use crate::state::{Ask, State};
use crate::text;
use crate::theme::{self, Icon, fonts};
use crate::widgets::{self, Kind};

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let is_narrow = theme::is_narrow(ui.ctx());
    widgets::heading(ui, "Prove", fonts::LARGE);
    widgets::muted(
        ui,
        "Be the provider: run the model on a prompt and keep a trace. Whoever has the same weights can verify it.",
    );
    if state.trouble.is_some() {
        super::banner::trouble(ui, state);
    }
    if is_narrow {
        form(ui, state);
        output(ui, state);
    } else {
        ui.columns_const(|[left, right]: &mut [Ui; 2]| {
            form(left, state);
            output(right, state);
        });
    }
}

fn form(ui: &mut Ui, state: &mut State) {
    let is_running = state.jobs.long().is_some();
    widgets::card(ui, |ui| {
        ui.add_enabled_ui(!is_running, |ui| {
            let name = widgets::muted(ui, "Prompt");
            let width = ui.available_width();
            let edit = egui::TextEdit::multiline(&mut state.prove.prompt)
                .hint_text("What the model goes on from")
                .desired_rows(4)
                .desired_width(width)
                .char_limit(200_000)
                .margin(egui::Margin::symmetric(10, 8));
            ui.add(edit).labelled_by(name.id).accessible_name("Prompt");
            ui.horizontal(|ui| {
                widgets::field(
                    ui,
                    "Most tokens",
                    &mut state.prove.max_tokens,
                    "64",
                    104.0,
                    true,
                );
                ui.vertical(|ui| {
                    ui.spacing_mut().item_spacing.y = 4.0;
                    widgets::muted(ui, "Model");
                    let model = text::plain(&state.model.source.name(), 40);
                    if widgets::button(ui, Kind::Normal, Some(Icon::Folder), &model)
                        .on_hover_text("Open another model")
                        .clicked()
                    {
                        state.run(Command::OpenFolder);
                    }
                });
            });
            if state.model.source.is_key() {
                super::expect::problem(ui, "A key has no weights: open a model to generate with.");
                let facts = Command::DemoModel.facts();
                if widgets::button(ui, Kind::Normal, None, facts.label)
                    .on_hover_text(facts.tip)
                    .clicked()
                {
                    state.run(Command::DemoModel);
                }
            }
            super::expect::sampler(ui, &mut state.settings.sampler, "prove");
            if !state.settings.sampler.greedy
                && widgets::button(ui, Kind::Normal, Some(Icon::Dice), "Draw a seed").clicked()
            {
                state.ask(Ask::Dice);
            }
            let width = ui.available_width();
            widgets::field(
                ui,
                "Nonce (optional)",
                &mut state.prove.nonce,
                "64 hexadecimal digits, from whoever verifies",
                width,
                true,
            );
            if let Err(why) = settings::nonce(&state.prove.nonce) {
                super::expect::problem(ui, &why);
            }
            if widgets::button(ui, Kind::Quiet, Some(Icon::Dice), "Draw a nonce").clicked() {
                state.ask(Ask::DiceNonce);
            }
            ui.checkbox(&mut state.prove.strict, "Strict numerics")
                .on_hover_text(
                    "The same bits on every device: a verifier compares digests and needs no tolerance",
                );
        });
        ui.add_space(4.0);
        ui.horizontal(|ui| {
            ui.add_enabled_ui(state.can(Command::RunProve), |ui| {
                let facts = Command::RunProve.facts();
                if widgets::button(ui, Kind::Primary, Some(Icon::Play), facts.label)
                    .on_hover_text(facts.tip)
                    .clicked()
                {
                    state.run(Command::RunProve);
                }
            });
            if is_running
                && widgets::button(ui, Kind::Normal, Some(Icon::Close), "Cancel")
                    .on_hover_text("Esc")
                    .clicked()
            {
                state.run(Command::Cancel);
            }
        });
    });
}

fn output(ui: &mut Ui, state: &mut State) {
    let job = state
        .jobs
        .long()
        .filter(|job| job.purpose == Purpose::Prove)
        .cloned();
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "Text");
        let colors = theme::of(ui);
        let height = 200.0;
        egui::Frame::new()
            .fill(colors.well)
            .corner_radius(theme::CONTROL_RADIUS)
            .inner_margin(12)
            .show(ui, |ui| {
                ui.set_width(ui.available_width());
                ui.set_height(height);
                egui::ScrollArea::vertical()
                    .id_salt("generated")
                    .max_height(height)
                    .auto_shrink([false, false])
                    .stick_to_bottom(true)
                    .show(ui, |ui| {
                        ui.spacing_mut().item_spacing.y = 0.0;
                        if state.prove.text.is_empty() {
                            let words = if job.is_some() {
                                "The first token is on its way…"
                            } else {
                                "Nothing generated yet."
                            };
                            widgets::muted(ui, words);
                            return;
                        }
                        let prompt = text::lines(&state.prove.prompt, 20_000);
                        let answer = text::lines(&state.prove.text, 20_000);
                        let mut all = egui::text::LayoutJob::default();
                        all.wrap.max_width = ui.available_width();
                        let format = |color| egui::TextFormat {
                            line_height: Some(22.0),
                            ..egui::TextFormat::simple(fonts::body(), color)
                        };
                        all.append(&prompt, 0.0, format(colors.muted));
                        all.append(&answer, 0.0, format(colors.text));
                        ui.add(egui::Label::new(all).wrap());
                    });
            });
        if let Some(job) = &job {
            super::running::steps(ui, job);
            return;
        }
        let Some(proved) = state.prove.done.clone() else {
            widgets::muted(
                ui,
                "The trace holds a hash of every layer’s state at every position, and some of the states themselves.",
            );
            return;
        };
        widgets::facts(
            ui,
            [
                (
                    "tokens",
                    format!("{} after {} of prompt", proved.tokens, proved.prompt_tokens),
                ),
                (
                    "speed",
                    format!(
                        "{:.1} tokens/s, {} in all",
                        proved.tokens_per_s,
                        text::seconds(proved.total_s)
                    ),
                ),
                ("trace", text::bytes(proved.bytes)),
                ("device", text::plain(&proved.adapter, 100)),
            ],
        );
        widgets::hash_line(ui, state, "Root", &proved.root, None);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
            if widgets::button(ui, Kind::Primary, Some(Icon::Play), "Verify it").clicked() {
                state.asks.extend([
                    Ask::Trace(assay_work::message::Source::Kept(proved.kept)),
                    Ask::Command(Command::Verify),
                ]);
            }
            if widgets::button(ui, Kind::Normal, Some(Icon::Save), "Save the trace…").clicked() {
                state.run(Command::SaveTrace);
            }
        });
        widgets::muted(
            ui,
            "Verifying on the device that proved is a weak test. Verify it on another one.",
        );
    });
}
