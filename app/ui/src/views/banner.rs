//! The answer: one banner, told by shape, word and colour.

use assay_verify::Verdict;
use egui::{Color32, Margin, Rect, RichText, Sense, Stroke, Ui, vec2};

use crate::command::Command;
use crate::state::{Ask, Page, State};
use crate::text;
use crate::theme::{self, Colors, Icon, fonts, icons};
use crate::widgets::{self, Kind};

/// The word of a verdict.
pub(crate) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "ACCEPTED",
        Verdict::Reject => "REJECTED",
        Verdict::Inconclusive => "INCONCLUSIVE",
    }
}

/// Saves what a live prover opened.
const SAVE: &str = "Save the trace…";

fn look(verdict: Verdict, colors: &Colors) -> (Icon, Color32) {
    match verdict {
        Verdict::Accept => (Icon::Accept, colors.good),
        Verdict::Reject => (Icon::Reject, colors.bad),
        Verdict::Inconclusive => (Icon::Inconclusive, colors.unsure),
    }
}

/// The verdict.
pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let Some(judged) = &state.judged else { return };
    let verdict = judged.report.verdict;
    let code = judged.decisive().map(|check| check.code);
    let (sentence, trace, model) = (
        judged.sentence(),
        judged.trace.clone(),
        judged.model.clone(),
    );
    let is_live = judged.live.is_some();
    let is_kept = judged.live.as_ref().is_some_and(|live| live.kept.is_some());
    let (icon, color) = look(verdict, theme::of(ui));
    frame(ui, color, icon, word(verdict), code, |ui| {
        widgets::paragraph(ui, &sentence);
        let names = format!("{trace} against {model}");
        let (edit, tip) = if is_live {
            ("Ask again…", "Back to the prover and what you asked it for")
        } else {
            let facts = Command::Edit.facts();
            (facts.label, facts.tip)
        };
        let mut actions = |ui: &mut Ui, draw: &dyn Fn(&mut Ui, &str) -> egui::Response| {
            if draw(ui, edit).on_hover_text(tip).clicked() {
                state.run(Command::Edit);
            }
            let save = "What the prover opened, as a file";
            if is_kept && draw(ui, SAVE).on_hover_text(save).clicked() {
                state.run(Command::SaveTrace);
            }
        };
        // Links beside the names; where they are touched, buttons below them.
        if theme::is_narrow(ui.ctx()) {
            widgets::muted(ui, names);
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing = vec2(8.0, 8.0);
                actions(ui, &|ui, label| {
                    widgets::button(ui, Kind::Normal, None, label)
                });
            });
        } else {
            ui.horizontal_wrapped(|ui| {
                ui.spacing_mut().item_spacing.x = 12.0;
                widgets::muted(ui, names);
                actions(ui, &|ui, label| {
                    ui.link(RichText::new(label).size(fonts::SMALL))
                });
            });
        }
    });
}

/// The verifier's own trouble. Never a verdict.
pub(super) fn trouble(ui: &mut Ui, state: &mut State) {
    let Some(trouble) = state.trouble.clone() else {
        return;
    };
    let color = theme::of(ui).fault;
    let is_asking = state.page == Page::Ask;
    let nothing_judged = if is_asking {
        "This is no verdict: nothing was judged."
    } else {
        "This says nothing about the trace: it was not judged."
    };
    frame(
        ui,
        color,
        Icon::Error,
        "ERROR",
        Some(&trouble.failure.code),
        |ui| {
            let message = text::plain(&trouble.failure.message, text::SHOWN);
            widgets::paragraph(ui, &format!("While {}: {message}.", trouble.during));
            if let Some(next) = &trouble.failure.next {
                widgets::paragraph(ui, next);
            }
            widgets::muted(ui, nothing_judged);
            ui.horizontal_wrapped(|ui| {
                // On the Ask page this asks anew.
                if (is_asking || state.trace.is_some())
                    && widgets::button(ui, Kind::Normal, Some(Icon::Reset), "Try again").clicked()
                {
                    state.run(Command::Verify);
                }
                if widgets::button(ui, Kind::Quiet, None, "Dismiss").clicked() {
                    state.ask(Ask::Dismiss);
                }
            });
        },
    );
}

fn frame(
    ui: &mut Ui,
    color: Color32,
    icon: Icon,
    word: &str,
    code: Option<&str>,
    more: impl FnOnce(&mut Ui),
) {
    let colors = theme::of(ui);
    let is_narrow = theme::is_narrow(ui.ctx());
    let line = theme::colors::mix(colors.border, color, 0.5);
    let frame = egui::Frame::new()
        .fill(colors.tint(color))
        .stroke(Stroke::new(1.0, line))
        .corner_radius(theme::RADIUS)
        .inner_margin(if is_narrow {
            Margin::same(16)
        } else {
            Margin::symmetric(24, 20)
        });
    let side = if is_narrow { 36.0 } else { 52.0 };
    frame.show(ui, |ui| {
        ui.set_width(ui.available_width());
        ui.horizontal_top(|ui| {
            let (rect, _) = ui.allocate_exact_size(vec2(side, side), Sense::hover());
            icons::paint(
                ui.painter(),
                Rect::from_center_size(rect.center(), theme::square(side)),
                icon,
                color,
            );
            ui.add_space(if is_narrow { 4.0 } else { 12.0 });
            ui.vertical(|ui| {
                ui.spacing_mut().item_spacing = vec2(12.0, 4.0);
                ui.horizontal_wrapped(|ui| {
                    let size = if is_narrow { 22.0 } else { fonts::LARGE };
                    let text = RichText::new(word)
                        .font(fonts::bold(size))
                        .color(color)
                        .extra_letter_spacing(0.5);
                    let head = ui.add(egui::Label::new(text));
                    widgets::name_heading(ui, &head, word);
                    if let Some(code) = code {
                        widgets::chip(ui, code, color);
                    }
                });
                more(ui);
            });
        });
    });
}
