//! What the user asked the prover for. Without it a trace may answer another question.

use assay_engine::ActivationType;
use assay_trace::Compute;
use assay_verify::suspects::Cheaper;
use assay_work::message::Arithmetic;
use egui::{Rect, Role, Sense, Ui, WidgetInfo, vec2};

use crate::app::begin::PROMPT_NEEDS_MODEL;
use crate::settings::{self, SamplerForm};
use crate::state::State;
use crate::theme::{self, Icon};
use crate::widgets;

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let is_audit = state.model.source.is_key();
    let manifest = state
        .trace
        .as_ref()
        .and_then(|trace| trace.manifest.as_ref());
    let skips = manifest.is_some_and(|manifest| manifest.sparse.is_some()) && !is_audit;
    widgets::card(ui, |ui| {
        let form = &mut state.expect;
        head(ui, &mut form.is_open);
        if !form.is_open {
            return;
        }
        widgets::muted(
            ui,
            "All of it is optional. A trace only shows that its numbers are this model’s. Filling these in shows that they answer \
             your question: that it is fresh (nonce), to your words (prompt), drawn the way you asked for (sampler and seed), and \
             computed as precisely as you paid for. What is left empty is not compared, and the report says so.",
        );
        let width = ui.available_width();
        widgets::field(
            ui,
            "Nonce that you sent",
            &mut form.nonce,
            "64 hexadecimal digits",
            width.min(620.0),
            true,
        );
        if let Err(why) = settings::nonce(&form.nonce) {
            problem(ui, &why);
        }
        widgets::field(
            ui,
            "Prompt that you sent",
            &mut form.prompt,
            "not compared",
            width,
            false,
        );
        if is_audit && !form.prompt.is_empty() {
            problem(ui, PROMPT_NEEDS_MODEL);
        }
        if skips {
            ui.checkbox(
                &mut form.skips,
                "I asked for skipped neurons, by the rule that the trace names",
            );
            widgets::muted(
                ui,
                "A model that skips neurons is another function than the whole one. Unless you asked for it, such a trace is rejected.",
            );
        }
        ui.checkbox(&mut form.with_sampler, "Compare the sampler");
        if form.with_sampler {
            sampler(ui, &mut form.sampler, "expected");
        }
        arithmetic(ui, &mut form.arithmetic, "expected");
        if !is_audit {
            suspects(ui, &mut form.suspects, "expected");
        }
    });
}

fn head(ui: &mut Ui, is_open: &mut bool) {
    let height = ui.spacing().interact_size.y;
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::click());
    response.widget_info(|| {
        WidgetInfo::selected(
            Role::DisclosureTriangle,
            true,
            *is_open,
            "What did you ask for?",
        )
    });
    let colors = theme::of(ui);
    let icon = if *is_open { Icon::Down } else { Icon::Right };
    theme::icons::paint(
        ui.painter(),
        Rect::from_min_size(rect.left_center() - vec2(2.0, 9.0), theme::square(18.0)),
        icon,
        colors.muted,
    );
    let at = rect.left_center() + vec2(24.0, 0.0);
    let drawn = ui.painter().text(
        at,
        egui::Align2::LEFT_CENTER,
        "What did you ask for?",
        theme::fonts::bold(theme::fonts::BODY),
        colors.text,
    );
    if rect.width() > 420.0 {
        let at = egui::pos2(drawn.max.x + 12.0, rect.center().y);
        ui.painter().text(
            at,
            egui::Align2::LEFT_CENTER,
            "optional: nonce, prompt, sampler, precision, suspects",
            theme::fonts::small(),
            colors.muted,
        );
    }
    if response.has_focus() {
        ui.painter().rect_stroke(
            rect.expand(4.0),
            6,
            egui::Stroke::new(2.0, colors.accent),
            egui::StrokeKind::Inside,
        );
    }
    if response.clicked() {
        *is_open = !*is_open;
    }
}

/// Fields of a sampler.
pub(super) fn sampler(ui: &mut Ui, form: &mut SamplerForm, salt: &str) {
    ui.push_id(salt, |ui| {
        let mut greedy = form.greedy;
        widgets::segmented(ui, &mut greedy, &[(false, "Sampled"), (true, "Greedy")]);
        form.greedy = greedy;
        if form.greedy {
            widgets::muted(ui, "Always the likeliest token.");
            return;
        }
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(12.0, 8.0);
            widgets::field(ui, "Temperature", &mut form.temperature, "0.8", 104.0, true);
            widgets::field(ui, "Top-k", &mut form.top_k, "all", 104.0, true);
            widgets::field(ui, "Top-p", &mut form.top_p, "1", 104.0, true);
            widgets::field(ui, "Seed", &mut form.seed, "a number", 160.0, true);
        });
        if let Err(why) = form.spec() {
            problem(ui, &why);
        }
    });
}

/// Choices of how a prover was to compute.
pub(super) fn arithmetic(ui: &mut Ui, form: &mut Arithmetic, salt: &str) {
    let precisions = [None].into_iter().chain(Compute::ALL.map(Some));
    let inputs = [None].into_iter().chain(ActivationType::ALL.map(Some));
    ui.push_id((salt, "arithmetic"), |ui| {
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(12.0, 8.0);
            choice(ui, "Precision", &mut form.compute, precisions, precision);
            choice(
                ui,
                "Inputs of products",
                &mut form.activations,
                inputs,
                rounded,
            );
        });
    });
}

/// Choices of what the claimed model may have been made into.
pub(super) fn suspects(ui: &mut Ui, chosen: &mut Vec<Cheaper>, salt: &str) {
    ui.push_id((salt, "suspects"), |ui| {
        ui.label("Suspect that cheaper arithmetic was run");
        widgets::muted(
            ui,
            "In bf16, weights or a cache of 8 bits are no further off than honest rounding. Whoever names them can find them: the error \
             of what was run instead has a direction. Each one takes a run of its own.",
        );
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(16.0, 4.0);
            for cheaper in Cheaper::all() {
                let was_chosen = chosen.contains(&cheaper);
                let mut is_chosen = was_chosen;
                ui.checkbox(&mut is_chosen, cheaper.words());
                match (was_chosen, is_chosen) {
                    (false, true) => chosen.push(cheaper),
                    (true, false) => chosen.retain(|each| *each != cheaper),
                    _ => {}
                }
            }
        });
    });
}

fn precision(compute: Option<Compute>) -> &'static str {
    match compute {
        None => "not compared",
        Some(compute) => compute.name(),
    }
}

fn rounded(activations: Option<ActivationType>) -> &'static str {
    match activations {
        None => "default",
        Some(ActivationType::Float) => "not rounded",
        Some(ActivationType::Int8) => "int8: rows of 8-bit integers",
        Some(ActivationType::Blocks) => "blocks: of 8-bit integers",
        Some(ActivationType::Ggml) => "ggml: as llama.cpp rounds",
    }
}

fn choice<T: PartialEq + Copy>(
    ui: &mut Ui,
    label: &str,
    chosen: &mut T,
    all: impl Iterator<Item = T>,
    words: fn(T) -> &'static str,
) {
    widgets::labelled(ui, label, 240.0, |ui, width| {
        egui::ComboBox::from_id_salt(label)
            .width(width)
            .selected_text(words(*chosen))
            .show_ui(ui, |ui| {
                for each in all {
                    ui.selectable_value(chosen, each, words(each));
                }
            })
            .response
            .accessible_name(label);
    });
}

/// What is wrong with a field.
pub(super) fn problem(ui: &mut Ui, why: &str) {
    let color = theme::of(ui).unsure;
    ui.horizontal(|ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(18.0, 20.0), Sense::hover());
        theme::icons::paint(
            ui.painter(),
            Rect::from_center_size(rect.center(), theme::square(16.0)),
            Icon::Error,
            color,
        );
        ui.label(
            egui::RichText::new(why)
                .size(theme::fonts::SMALL)
                .color(color),
        );
    });
}
