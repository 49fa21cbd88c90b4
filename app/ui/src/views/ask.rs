//! Ask a live prover: a request goes out, an answer streams in, and it ends in a verdict as a file's does.

use egui::{Align2, Sense, Ui, vec2};

use super::expect::problem;
use crate::asking;
use crate::command::Command;
use crate::state::{Ask, State};
use crate::steps::Step;
use crate::text;
use crate::theme::{self, Icon, fonts};
use crate::widgets::{self, Kind};

/// For someone who has never heard of it.
const LEAD: &str = "A live prover is a server that runs the model for you and lets itself be checked. Your prompt goes to that \
     server; what comes back is verified here, against your own copy of the model or a verifier key.";

/// The box that lets a prover skip neurons.
const SKIPS: &str = "It may skip neurons, by the rule that it names";

/// What ticking it gives away.
const SKIPS_MEAN: &str = "A model that skips neurons is another function than the whole one, and how much it skips is for the prover to say: \
     look at its rule before you trust the answer. `assay --verify --sparse RULE` takes one rule and no other.";

/// What happens, and why in this order.
const EXCHANGE: [(&str, &str); 4] = [
    (
        "It answers",
        "The prover runs your prompt and sends token after token. They are shown as they come, and not believed yet.",
    ),
    (
        "It commits",
        "With the last token comes a receipt: one hash over every number of the run. From here on it cannot change what it says.",
    ),
    (
        "You draw",
        "Only now is it drawn, at random on this machine, which layers and logits it must open. It could not prepare for that.",
    ),
    (
        "It opens, you check",
        "What it opens must fit the receipt, and is then verified like any trace. To refuse to open it is a rejection.",
    ),
];

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let is_narrow = theme::is_narrow(ui.ctx());
    widgets::heading(ui, "Ask a live prover", fonts::LARGE);
    widgets::muted(ui, LEAD);
    if state.trouble.is_some() {
        super::banner::trouble(ui, state);
    }
    let is_running = state.jobs.long().is_some_and(|job| job.purpose.asks());
    if is_narrow {
        // What goes on comes first where only one of the two is in sight.
        if is_running {
            answer(ui, state);
            form(ui, state);
        } else {
            form(ui, state);
            answer(ui, state);
        }
    } else {
        ui.columns_const(|[left, right]: &mut [Ui; 2]| {
            form(left, state);
            answer(right, state);
        });
    }
}

fn form(ui: &mut Ui, state: &mut State) {
    let is_running = state.jobs.long().is_some();
    let is_locked = state.model.lock.is_some();
    widgets::card(ui, |ui| {
        ui.add_enabled_ui(!is_running, |ui| {
            whom(ui, state);
            ui.add_space(4.0);
            model(ui, state);
            prompt(ui, state);
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing = vec2(12.0, 8.0);
                let form = &mut state.asking;
                for (label, text, hint) in [
                    ("Most tokens", &mut form.max_tokens, "64"),
                    ("Layers to open", &mut form.layers, "4, or all"),
                    ("Logits to open", &mut form.logits, "16, or all"),
                ] {
                    widgets::field(ui, label, text, hint, 112.0, true);
                }
            });
            for (what, text) in [
                ("layers", &state.asking.layers),
                ("logits", &state.asking.logits),
            ] {
                if let Err(why) = asking::amount(what, text) {
                    problem(ui, &why);
                }
            }
            super::expect::sampler(ui, &mut state.settings.sampler, "ask");
            if !state.settings.sampler.greedy
                && widgets::button(ui, Kind::Normal, Some(Icon::Dice), "Draw a seed").clicked()
            {
                state.ask(Ask::Dice);
            }
            if !state.model.source.is_key() {
                ui.checkbox(&mut state.asking.skips, SKIPS);
                if state.asking.skips {
                    widgets::muted(ui, SKIPS_MEAN);
                }
            }
            super::expect::arithmetic(ui, &mut state.asking.arithmetic, "ask");
            if !state.model.source.is_key() {
                super::expect::suspects(ui, &mut state.asking.suspects, "ask");
            }
        });
        ui.add_space(4.0);
        ui.horizontal(|ui| {
            ui.add_enabled_ui(state.can(Command::RunAsk), |ui| {
                let facts = Command::RunAsk.facts();
                if widgets::button(ui, Kind::Primary, Some(Icon::Exchange), facts.label)
                    .on_hover_text(facts.tip)
                    .clicked()
                {
                    state.run(Command::RunAsk);
                }
            });
        });
        if is_locked && !is_running {
            widgets::muted(ui, "The key has to be open before anybody is asked.");
        }
    });
}

fn whom(ui: &mut Ui, state: &mut State) {
    let width = ui.available_width();
    let form = &mut state.asking;
    widgets::field(
        ui,
        "Address of the prover",
        &mut form.address,
        "http://127.0.0.1:8737",
        width,
        true,
    );
    if !form.address.trim().is_empty()
        && let Err(why) = form.address()
    {
        problem(ui, &why);
    }
    let token = form.token.expose_mut();
    widgets::secret_field(ui, "Token (if it wants one)", token, width, false);
}

/// What the answer is held against.
fn model(ui: &mut Ui, state: &mut State) {
    if let (Some(lock), name) = (state.model.lock, state.model.source.name()) {
        super::key::locked(ui, state, &text::plain(&name, 80), lock);
        return;
    }
    let name = text::plain(&state.model.source.name(), 40);
    let what = if state.model.source.is_key() {
        format!("Held against the key {name}")
    } else {
        format!("Held against {name}")
    };
    let is_wide = ui.available_width() > 480.0;
    if !is_wide {
        widgets::muted(ui, what.as_str());
    }
    ui.horizontal(|ui| {
        ui.spacing_mut().item_spacing.x = 8.0;
        for (command, icon, label) in [
            (Command::OpenFolder, Icon::Folder, "Open model…"),
            (Command::OpenKey, Icon::Key, "Open key…"),
        ] {
            if widgets::button(ui, Kind::Normal, Some(icon), label)
                .on_hover_text(command.facts().tip)
                .clicked()
            {
                state.run(command);
            }
        }
        if state.model.is_chosen
            && widgets::icon_button(ui, Icon::Close, "Back to the demo model").clicked()
        {
            state.ask(Ask::DropModel);
        }
        if is_wide {
            widgets::muted(ui, what.as_str());
        }
    });
}

fn prompt(ui: &mut Ui, state: &mut State) {
    let is_key = state.model.source.is_key();
    let form = &mut state.asking;
    if !is_key {
        let all = [(false, "Prompt as text"), (true, "As token ids")];
        widgets::segmented(ui, &mut form.by_ids, &all);
    }
    let by_ids = form.by_ids || is_key;
    let (label, text, hint) = if by_ids {
        ("Prompt, token ids", &mut form.ids, "1, 2, 3")
    } else {
        ("Prompt", &mut form.prompt, "What the model goes on from")
    };
    let mut edit = egui::TextEdit::multiline(text)
        .hint_text(hint)
        .desired_rows(3)
        .desired_width(ui.available_width())
        .char_limit(200_000)
        .margin(egui::Margin::symmetric(10, 8));
    if by_ids {
        edit = edit.font(fonts::mono());
    }
    if is_key {
        widgets::muted(
            ui,
            "Prompt as token ids: a key has no tokenizer to make them from text.",
        );
    }
    ui.add(edit).accessible_name(label);
    if by_ids
        && !form.ids.trim().is_empty()
        && let Err(why) = asking::ids(&form.ids)
    {
        problem(ui, &why);
    }
}

fn answer(ui: &mut Ui, state: &mut State) {
    let job = state.jobs.long().filter(|job| job.purpose.asks()).cloned();
    let told = state.asking.told.clone();
    if job.is_none() && told.text.is_empty() && told.prover.is_none() {
        exchange(ui);
        return;
    }
    widgets::card(ui, |ui| {
        ui.horizontal(|ui| {
            widgets::card_title(ui, "Answer");
            if let Some(job) = &job {
                ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                    cancel(ui, state, job.is_cancelled);
                });
            }
        });
        let is_waiting = job
            .as_ref()
            .is_some_and(|job| step(job).is_none_or(|step| step.label != "Take the answer"));
        well(ui, &told.text, job.is_some(), is_waiting);
        widgets::muted(
            ui,
            "The prover’s words. They are believed once there is a verdict.",
        );
        if let Some(job) = &job {
            super::running::steps(ui, job);
        }
        widgets::facts(ui, facts(&told));
    });
}

fn cancel(ui: &mut Ui, state: &mut State, is_cancelled: bool) {
    let label = if is_cancelled {
        "Stopping…"
    } else {
        "Cancel"
    };
    ui.add_enabled_ui(!is_cancelled, |ui| {
        if widgets::button(ui, Kind::Normal, Some(Icon::Close), label)
            .on_hover_text("Esc")
            .clicked()
        {
            state.run(Command::Cancel);
        }
    });
}

fn step(job: &crate::jobs::Live) -> Option<&'static Step> {
    job.steps().get(job.step())
}

/// The text as it comes.
fn well(ui: &mut Ui, text: &str, is_running: bool, is_waiting: bool) {
    let colors = theme::of(ui);
    let height = 132.0;
    egui::Frame::new()
        .fill(colors.well)
        .corner_radius(theme::CONTROL_RADIUS)
        .inner_margin(12)
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.set_height(height);
            egui::ScrollArea::vertical()
                .id_salt("answered")
                .max_height(height)
                .auto_shrink([false, false])
                .stick_to_bottom(true)
                .show(ui, |ui| {
                    if text.is_empty() {
                        let words = match (is_running, is_waiting) {
                            (true, true) => "Not asked yet…",
                            (true, false) => "The first token is on its way…",
                            (false, _) => "There was no answer.",
                        };
                        widgets::muted(ui, words);
                        return;
                    }
                    let shown = text::lines(text, 20_000);
                    let format = egui::TextFormat {
                        line_height: Some(22.0),
                        ..egui::TextFormat::simple(fonts::body(), colors.text)
                    };
                    let mut all = egui::text::LayoutJob::default();
                    all.wrap.max_width = ui.available_width();
                    all.append(&shown, 0.0, format);
                    ui.add(egui::Label::new(all).wrap());
                });
        });
}

fn facts(told: &asking::Told) -> Vec<(&'static str, String)> {
    let mut rows = Vec::new();
    if let Some((producer, adapter)) = &told.prover {
        let words = |text: &str| text::plain(text, 100);
        rows.push((
            "it says it is",
            format!("{} on {}", words(producer), words(adapter)),
        ));
    }
    if let Some(rule) = &told.rule {
        let rule = text::plain(rule, 60);
        rows.push(("it skips neurons", format!("by the rule {rule}")));
    }
    if let Some(receipt) = &told.receipt {
        rows.push(("receipt", text::short_hash(receipt)));
    }
    if let Some(drawn) = &told.challenge {
        let listed = |list: &[u32], one: &str| {
            let words: Vec<String> = list.iter().take(16).map(u32::to_string).collect();
            match list.len() {
                0 => format!("no {one}"),
                1..=16 => format!("{one}s {}", words.join(", ")),
                many => text::count(many as u64, one),
            }
        };
        let words = if drawn.states.is_empty() {
            let logits = text::count(u64::from(drawn.logits), "token");
            format!("{}; logits of {logits}", listed(&drawn.layers, "layer"))
        } else {
            listed(&drawn.states, "hidden state")
        };
        rows.push(("drawn", words));
    }
    rows
}

/// What will happen.
fn exchange(ui: &mut Ui) {
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "What happens");
        for (index, (head, words)) in EXCHANGE.iter().enumerate() {
            ui.horizontal_top(|ui| {
                ui.spacing_mut().item_spacing.x = 12.0;
                let (rect, _) = ui.allocate_exact_size(theme::square(26.0), Sense::hover());
                let colors = theme::of(ui);
                let ring = egui::Stroke::new(1.5, colors.accent);
                ui.painter().circle_stroke(rect.center(), 12.5, ring);
                ui.painter().text(
                    rect.center(),
                    Align2::CENTER_CENTER,
                    (index + 1).to_string(),
                    fonts::bold(fonts::SMALL),
                    colors.accent,
                );
                ui.vertical(|ui| {
                    ui.spacing_mut().item_spacing.y = 2.0;
                    widgets::heading(ui, head, fonts::BODY);
                    let words = egui::RichText::new(*words)
                        .size(14.0)
                        .line_height(Some(21.0))
                        .color(colors.muted);
                    ui.add(egui::Label::new(words).wrap());
                });
            });
        }
        widgets::hairline(ui);
        widgets::muted(
            ui,
            "To try it on this machine: `assay serve` runs the demo model at http://127.0.0.1:8737. A page needs to be let in: add \
             `--allow-origin` with this page’s origin.",
        );
    });
}
