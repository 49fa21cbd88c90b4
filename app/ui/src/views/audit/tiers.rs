//! The kinds of test, and how often each errs: a test without these figures says nothing.

use assay_verify::audit::AuditReport;
use assay_verify::audit::report::TierReport;
use egui::{Align, Layout, RichText, Ui, vec2};

use crate::text;
use crate::theme::{self, fonts};
use crate::widgets;

/// Columns: the test, tests, failed, rejects; the rest is what it lets through.
const WIDTHS: [f32; 4] = [300.0, 72.0, 72.0, 128.0];
/// Column of chances, right-aligned.
const CHANCES: f32 = 84.0;

/// A test's name, and what it does.
fn meaning(tier: &str) -> (&'static str, &'static str) {
    match tier {
        "exact" => (
            "Exact sums",
            "integers, held against each other over a prime field",
        ),
        "elements" => (
            "Recomputed elements",
            "secret rows of each matrix, multiplied out",
        ),
        "energy" => ("Energy of a row", "all projections of a row together"),
        "pooled-energy" => ("Energy of a layer", "all rows of a stream in it together"),
        "certified" => (
            "Certified bound",
            "beyond what any order of addition explains",
        ),
        _ => ("Another test", ""),
    }
}

/// How often it rejects the honest.
fn false_reject(chance: f64) -> String {
    if chance > 0.0 {
        format!("≤ {}", text::number(chance))
    } else {
        "never".to_owned()
    }
}

pub(super) fn show(ui: &mut Ui, audit: &AuditReport) {
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "Tests");
        widgets::muted(
            ui,
            "How often each kind of test rejects an honest trace, and with what chance a wrong row of each product passes it.",
        );
        let is_table = ui.available_width() >= 840.0;
        if is_table {
            head(ui);
        }
        for tier in &audit.tiers {
            widgets::hairline(ui);
            if is_table {
                row(ui, tier);
            } else {
                card(ui, tier);
            }
        }
    });
}

fn head(ui: &mut Ui) {
    let label = |ui: &mut Ui, words: &str| {
        widgets::muted(ui, words);
    };
    columns(
        ui,
        |ui| label(ui, "test"),
        ["tests", "failed", "rejects honest"].map(|words| {
            move |ui: &mut Ui| {
                label(ui, words);
            }
        }),
        |ui| label(ui, "lets through, with what chance"),
    );
}

/// Cells of a row at the same places in all rows.
fn columns(
    ui: &mut Ui,
    first: impl FnOnce(&mut Ui),
    numbers: [impl FnOnce(&mut Ui); 3],
    last: impl FnOnce(&mut Ui),
) {
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 0.0;
        let [wide, rest @ ..] = WIDTHS;
        cell(ui, wide, Align::Min, first);
        for (width, number) in rest.into_iter().zip(numbers) {
            cell(ui, width, Align::Max, number);
        }
        ui.add_space(32.0);
        let room = ui.available_width();
        cell(ui, room, Align::Min, last);
    });
}

fn cell(ui: &mut Ui, width: f32, align: Align, content: impl FnOnce(&mut Ui)) {
    ui.allocate_ui_with_layout(vec2(width, 0.0), Layout::top_down(align), |ui| {
        ui.set_width(width);
        ui.spacing_mut().item_spacing.y = 2.0;
        content(ui);
    });
}

fn name(ui: &mut Ui, tier: &TierReport) {
    let (name, about) = meaning(tier.tier);
    let color = theme::of(ui).text;
    ui.label(
        RichText::new(name)
            .size(14.0)
            .line_height(Some(22.0))
            .color(color),
    );
    widgets::muted(ui, about);
}

fn row(ui: &mut Ui, tier: &TierReport) {
    let mono = |ui: &mut Ui, words: String, is_bad: bool| {
        let colors = theme::of(ui);
        let color = if is_bad { colors.bad } else { colors.text };
        ui.label(
            RichText::new(words)
                .font(fonts::mono())
                .line_height(Some(22.0))
                .color(color),
        );
    };
    let numbers = [
        (text::grouped(tier.tests), false),
        (text::grouped(tier.failed), tier.failed > 0),
        (false_reject(tier.false_reject), false),
    ];
    columns(
        ui,
        |ui| name(ui, tier),
        numbers.map(|(words, is_bad)| move |ui: &mut Ui| mono(ui, words, is_bad)),
        |ui| passes(ui, tier),
    );
}

/// What a test lets through: the chance before the error, in a column of its own.
fn passes(ui: &mut Ui, tier: &TierReport) {
    if tier.false_accept.is_empty() {
        passed(ui, "–", "depends on more than an error’s size");
    }
    for error in &tier.false_accept {
        let chance = error.chance.map_or_else(|| "–".to_owned(), chance);
        passed(ui, &chance, &text::plain(&error.error, 200));
    }
}

fn passed(ui: &mut Ui, chance: &str, error: &str) {
    ui.horizontal_top(|ui| {
        ui.spacing_mut().item_spacing.x = 12.0;
        cell(ui, CHANCES, Align::Max, |ui| {
            let color = theme::of(ui).text;
            ui.label(
                RichText::new(chance)
                    .font(fonts::mono())
                    .line_height(Some(22.0))
                    .color(color),
            );
        });
        widgets::fit_text(ui, error);
    });
}

/// A chance that is as good as none or as good as certain is said so.
fn chance(chance: f64) -> String {
    if chance < 1e-12 {
        "< 1e-12".to_owned()
    } else {
        text::number(chance)
    }
}

fn card(ui: &mut Ui, tier: &TierReport) {
    ui.scope(|ui| {
        ui.spacing_mut().item_spacing.y = 4.0;
        name(ui, tier);
        let words = format!(
            "{}, {} failed; rejects the honest: {}",
            text::count(tier.tests, "test"),
            text::grouped(tier.failed),
            false_reject(tier.false_reject)
        );
        widgets::fit_text(ui, &words);
        if tier.false_accept.is_empty() {
            widgets::muted(
                ui,
                "What it lets through depends on more than an error’s size.",
            );
        }
        for error in &tier.false_accept {
            let chance = error.chance.map_or_else(|| "–".to_owned(), chance);
            let words = text::plain(&error.error, 200);
            widgets::muted(
                ui,
                format!("Lets through {words}: with a chance of {chance}"),
            );
        }
    });
}
