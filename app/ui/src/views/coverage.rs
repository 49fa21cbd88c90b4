//! What the verdict covers, and what it does not: two lists side by side, the second never hidden.

use assay_verify::report::{Freshness, Report};
use assay_verify::{Method, Outcome};
use egui::{Rect, Sense, Ui, vec2};

use crate::state::State;
use crate::text;
use crate::theme::{self, Icon};
use crate::widgets;

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let Some(judged) = &state.judged else { return };
    let covered = covered(&judged.report);
    let open: Vec<String> = judged
        .report
        .coverage
        .not_covered
        .iter()
        .map(|item| sentence(&in_place(&text::plain(item, text::SHOWN))))
        .collect();
    let colors = theme::of(ui);
    let lists = |ui: &mut Ui, which: bool| {
        ui.spacing_mut().item_spacing.y = 6.0;
        if which {
            widgets::heading(ui, "Covered", theme::fonts::BODY);
            ui.add_space(2.0);
            covered
                .iter()
                .for_each(|item| line(ui, Icon::Check, colors.good, item));
            if covered.is_empty() {
                line(ui, Icon::Skipped, colors.muted, "Nothing was run.");
            }
        } else {
            widgets::heading(ui, "Not covered by this verdict", theme::fonts::BODY);
            ui.add_space(2.0);
            open.iter()
                .for_each(|item| line(ui, Icon::Skipped, colors.muted, item));
        }
    };
    widgets::card(ui, |ui| {
        if theme::is_narrow(ui.ctx()) {
            lists(ui, true);
            ui.add_space(8.0);
            widgets::hairline(ui);
            ui.add_space(8.0);
            lists(ui, false);
        } else {
            ui.spacing_mut().item_spacing.x = 32.0;
            ui.columns_const(|[left, right]: &mut [Ui; 2]| {
                lists(left, true);
                lists(right, false);
            });
        }
    });
}

fn line(ui: &mut Ui, icon: Icon, color: egui::Color32, words: &str) {
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 10.0;
        let (rect, _) = ui.allocate_exact_size(vec2(16.0, 22.0), Sense::hover());
        theme::icons::paint(
            ui.painter(),
            Rect::from_center_size(rect.center(), theme::square(16.0)),
            icon,
            color,
        );
        widgets::fit_text(ui, words);
    });
}

/// What was looked at, a sentence each.
fn covered(report: &Report) -> Vec<String> {
    let coverage = &report.coverage;
    let passed = |id: &str| {
        report
            .checks
            .iter()
            .any(|check| check.id == id && check.outcome == Outcome::Pass)
    };
    let mut all = Vec::new();
    if passed("commitment") {
        all.push(
            "Every hash of the trace was recomputed: it is the file that its root names."
                .to_owned(),
        );
    }
    if passed("model-root") {
        let words = match report.method {
            Method::Replay => "Your weights are the ones that the trace names, by their hash.",
            Method::Audit => {
                "Your key was made from the weights that the trace names, by their hash."
            }
        };
        all.push(words.to_owned());
    }
    if let Some(audit) = &report.audit {
        all.extend(super::audit::covered(report, audit));
    } else if coverage.positions > 0 {
        let layers: Vec<String> = coverage.layers.iter().map(u32::to_string).collect();
        let layers = if layers.len() > 12 {
            format!("{} layers", layers.len())
        } else {
            format!("layers {}", layers.join(", "))
        };
        all.push(format!(
            "Hidden states at {} of {}, {layers} of 0 to {}: {} compared.",
            text::grouped(coverage.positions as u64),
            text::count(coverage.positions_total as u64, "position"),
            coverage.layers_total.saturating_sub(1),
            text::count(coverage.opened_values, "number"),
        ));
        all.push(format!(
            "Hashes of all layers and logits against your own: {:.0} % are equal to the bit.",
            100.0 * coverage.exact_fraction
        ));
    }
    if coverage.tokens > 0 && report.audit.is_none() {
        all.push(format!(
            "{} against your own logits and the claimed sampler.",
            text::count(coverage.tokens as u64, "emitted token")
        ));
    }
    if let Some(masks) = &report.statistics.masks {
        all.push(format!(
            "Skipped neurons against the rule {}: {:.1} % of all were active; {} of {} would have gone the other way here, each within \
             what errors allow at its threshold.",
            text::plain(&masks.rule, 40),
            100.0 * masks.active_fraction,
            text::grouped(masks.flipped),
            text::count(masks.bits, "decision"),
        ));
    }
    if coverage.freshness == Freshness::Nonce {
        all.push("Fresh: it holds the nonce that you asked for.".to_owned());
    }
    for (id, words) in [
        (
            "live",
            "Live: the prover had committed to the whole run before it learned what it had to open.",
        ),
        ("prompt", "The prompt is the one that you asked."),
        ("sampler", "The sampler is the one that you asked for."),
        ("precision", "The precision is the one that you asked for."),
        (
            "suspects",
            "No model that you suspected: the hidden states do not lean towards any.",
        ),
    ] {
        if passed(id) {
            all.push(words.to_owned());
        }
    }
    all
}

/// A report names its own fields; here they have a tab.
fn in_place(item: &str) -> String {
    item.replace("`audit.missed`", "“Audit”")
        .replace("(`audit.streams`)", "(see “Audit”)")
}

/// As a sentence of its own.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let mut sentence: String = match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => return String::new(),
    };
    if !sentence.ends_with(['.', '!', '?', '…']) {
        sentence.push('.');
    }
    sentence
}
