//! The first screen: what Assay answers, for someone who has never heard of a trace.

use egui::{Align2, Rect, RichText, Ui, vec2};

use crate::command::Command;
use crate::state::State;
use crate::theme::{self, Icon, fonts};
use crate::widgets::{self, Kind};

/// Under the heading.
const LEAD: &str = "Assay takes a provider’s record of an answer and runs it again on your own device: the same weights, the \
    same prompt, the same sampler. Then it says accepted, rejected or inconclusive, and why.";

const STEPS: [(&str, &str); 3] = [
    (
        "A provider runs the model",
        "With the answer it gives you a trace: a file of hashes of every number that the model went through on the way.",
    ),
    (
        "You drop the trace here",
        "With your own copy of the weights. What the trace claims is shown at once; nothing of it is believed.",
    ),
    (
        "Your GPU runs it again",
        "Prompt and answer go through every layer on this machine, and each state and each token is compared.",
    ),
];

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let is_narrow = theme::is_narrow(ui.ctx());
    let colors = theme::of(ui);
    ui.add_space(if is_narrow { 8.0 } else { 48.0 });
    let size = if is_narrow { 26.0 } else { fonts::DISPLAY };
    let width = ui.available_width().min(920.0);
    ui.allocate_ui(vec2(width, 0.0), |ui| {
        ui.set_max_width(width);
        let words = "Did that machine really run this Llama on your prompt?";
        let text = RichText::new(words).font(fonts::bold(size));
        let text = text.line_height(Some(size * 1.25));
        let head = ui.add(egui::Label::new(text).wrap());
        widgets::name_heading(ui, &head, words);
        ui.add_space(4.0);
        let text = RichText::new(LEAD)
            .size(17.0)
            .line_height(Some(26.0))
            .color(colors.muted);
        ui.add(egui::Label::new(text).wrap());
    });
    ui.add_space(12.0);
    actions(ui, state, is_narrow);
    ui.add_space(4.0);
    privacy(ui);
    ui.add_space(if is_narrow { 16.0 } else { 40.0 });
    steps(ui, is_narrow);
    ui.add_space(if is_narrow { 16.0 } else { 32.0 });
    samples(ui, state, is_narrow);
}

fn actions(ui: &mut Ui, state: &mut State, is_narrow: bool) {
    let primary = |ui: &mut Ui, state: &mut State| {
        let facts = Command::VerifySample.facts();
        let response = if is_narrow {
            widgets::wide_button(ui, Kind::Primary, Some(Icon::Play), facts.label)
        } else {
            widgets::button(ui, Kind::Primary, Some(Icon::Play), facts.label)
        };
        if response.on_hover_text(facts.tip).clicked() {
            state.run(Command::VerifySample);
        }
    };
    let others = |ui: &mut Ui, state: &mut State| {
        for (command, icon, label) in [
            (Command::OpenFiles, Icon::File, "Open trace…"),
            (Command::OpenFolder, Icon::Folder, "Open model…"),
            (Command::Prove, Icon::Dice, "Prove"),
            (Command::Ask, Icon::Exchange, "Ask a live prover"),
        ] {
            if widgets::button(ui, Kind::Normal, Some(icon), label)
                .on_hover_text(command.facts().tip)
                .clicked()
            {
                state.run(command);
            }
        }
    };
    if is_narrow {
        primary(ui, state);
        ui.horizontal_wrapped(|ui| {
            ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
            others(ui, state);
        });
    } else {
        ui.horizontal(|ui| {
            primary(ui, state);
            others(ui, state);
        });
    }
}

/// What a visitor wants to know before dropping anything, and what else can be dropped.
fn privacy(ui: &mut Ui) {
    widgets::muted(
        ui,
        "Or drop files anywhere. Nothing is uploaded: everything runs on this machine.",
    );
    widgets::muted(
        ui,
        "No trace at hand? A live prover answers a prompt that you send it, commits to its run, and learns only then what you will look at.",
    );
    widgets::muted(
        ui,
        "No room for the weights? Drop a verifier key in place of the model: made from them once, it audits traces without them.",
    );
}

fn steps(ui: &mut Ui, is_narrow: bool) {
    if is_narrow {
        for (index, (head, text)) in STEPS.iter().enumerate() {
            step(ui, index, head, text);
            ui.add_space(8.0);
        }
    } else {
        ui.columns_const(|columns: &mut [Ui; 3]| {
            for ((index, (head, text)), ui) in STEPS.iter().enumerate().zip(columns) {
                step(ui, index, head, text);
            }
        });
    }
}

fn step(ui: &mut Ui, index: usize, head: &str, text: &str) {
    let colors = theme::of(ui);
    ui.vertical(|ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        let (rect, _) =
            ui.allocate_exact_size(vec2(ui.available_width(), 30.0), egui::Sense::hover());
        let disc = Rect::from_min_size(rect.min, theme::square(26.0));
        ui.painter()
            .circle_stroke(disc.center(), 12.5, egui::Stroke::new(1.5, colors.accent));
        let number = (index + 1).to_string();
        ui.painter().text(
            disc.center(),
            Align2::CENTER_CENTER,
            number,
            fonts::bold(fonts::SMALL),
            colors.accent,
        );
        let line = rect.right_center().x;
        if ui.available_width() > 280.0 || index < 2 {
            ui.painter().hline(
                disc.max.x + 10.0..=line,
                disc.center().y,
                egui::Stroke::new(1.0, colors.hairline),
            );
        }
        widgets::heading(ui, head, fonts::BODY + 1.0);
        let text = RichText::new(text)
            .size(14.0)
            .line_height(Some(21.0))
            .color(colors.muted);
        ui.add(egui::Label::new(text).wrap());
    });
}

fn samples(ui: &mut Ui, state: &mut State, is_narrow: bool) {
    widgets::muted(
        ui,
        "Samples: traces of a small Llama that comes with Assay. Two of them lie.",
    );
    let all = [
        (Command::VerifySample, "Honest", "as the prover made it"),
        (
            Command::SampleSwapped,
            "Swapped token",
            "every hash made to fit",
        ),
        (Command::SampleFlipped, "Flipped byte", "changed on the way"),
    ];
    let each = |ui: &mut Ui, state: &mut State, (command, name, what): (Command, &str, &str)| {
        if sample(ui, name, what)
            .on_hover_text(command.facts().tip)
            .clicked()
        {
            state.run(command);
        }
    };
    if is_narrow {
        all.into_iter().for_each(|row| each(ui, state, row));
    } else {
        ui.columns_const(|columns: &mut [Ui; 3]| {
            for (row, ui) in all.into_iter().zip(columns) {
                each(ui, state, row);
            }
        });
    }
}

fn sample(ui: &mut Ui, name: &str, what: &str) -> egui::Response {
    let colors = theme::of(ui);
    let (rect, response) =
        ui.allocate_exact_size(vec2(ui.available_width(), 60.0), egui::Sense::click());
    response.widget_info(|| {
        egui::WidgetInfo::labeled(egui::Role::Button, true, format!("Sample: {name}, {what}"))
    });
    let is_hot = response.hovered() || response.has_focus();
    let (fill, line) = if is_hot {
        (colors.hover, colors.faint)
    } else {
        (colors.card, colors.border)
    };
    let line = if response.has_focus() {
        egui::Stroke::new(2.0, colors.accent)
    } else {
        egui::Stroke::new(1.0, line)
    };
    ui.painter()
        .rect(rect, theme::RADIUS, fill, line, egui::StrokeKind::Inside);
    let at = rect.left_top() + vec2(16.0, 11.0);
    ui.painter().text(
        at,
        Align2::LEFT_TOP,
        name,
        fonts::bold(fonts::BODY),
        colors.text,
    );
    ui.painter().text(
        at + vec2(0.0, 21.0),
        Align2::LEFT_TOP,
        what,
        fonts::small(),
        colors.muted,
    );
    let arrow = Rect::from_center_size(rect.right_center() - vec2(22.0, 0.0), theme::square(18.0));
    theme::icons::paint(ui.painter(), arrow, Icon::Right, colors.muted);
    response
}
