//! Where limits come from and what they let through; and how long all took.

use egui::Ui;

use crate::state::State;
use crate::text;
use crate::widgets;

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let Some(judged) = &state.judged else { return };
    let profile = judged.report.profile.clone();
    let is_skipped = |check: &assay_verify::Check| {
        check.id == "profile" && check.outcome == assay_verify::Outcome::Skipped
    };
    let was_cut_off = judged.report.checks.iter().any(is_skipped);
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "Limits");
        let Some(profile) = profile else {
            if was_cut_off {
                widgets::muted(ui, "The verdict fell before any limit was needed.");
                return;
            }
            widgets::muted(
                ui,
                "No calibration profile covers this claim, so nothing was judged by tolerance. Only equal bits count here; \
                 what cannot be judged makes a verdict inconclusive, it is never guessed.",
            );
            return;
        };
        let words = format!(
            "Calibration profile {} of {}, measured on honest runs, never typed.",
            profile.id, profile.date
        );
        // Columns stretch lines of text to their width; this one is not to be.
        ui.vertical(|ui| widgets::muted(ui, words));
        let rejects = format!(
            "{} of {}",
            profile.false_rejects,
            text::count(profile.honest_traces, "trace")
        );
        let mut rows = vec![
            ("honest, rejected", rejects),
            (
                "false rejects",
                format!(
                    "below {:.2} % (95 % bound)",
                    100.0 * profile.false_reject_upper_bound
                ),
            ),
        ];
        if let Some(cheat) = &profile.nearest_cheat {
            let name = text::plain(&cheat.name.replace('_', " "), 60);
            rows.push((
                "nearest cheat",
                format!(
                    "{name}: {} times its limit",
                    text::number(cheat.times_limit)
                ),
            ));
        }
        widgets::facts(ui, rows);
        ui.add_space(4.0);
        widgets::muted(ui, "Forged traces that these limits accepted:");
        let forged: Vec<(String, String)> = profile
            .null_forgery
            .iter()
            .map(|(name, tried)| {
                (
                    text::plain(&name.replace('_', " "), 40),
                    format!("{} of {}", tried.accepted, text::grouped(tried.of)),
                )
            })
            .collect();
        widgets::facts(
            ui,
            forged
                .iter()
                .map(|(name, tried)| (name.as_str(), tried.clone())),
        );
    });
}

pub(super) fn timings(ui: &mut Ui, state: &mut State) {
    let Some(judged) = &state.judged else { return };
    let (report, claims) = (&judged.report, judged.report.prover_says.clone());
    let (times, own, numerics) = (
        report.timings,
        report.model.clone(),
        report.numerics.verifier,
    );
    let model = judged.model.clone();
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "Run");
        let mut rows = vec![
            (
                "model",
                format!(
                    "{model}: {} {}, {} parameters",
                    own.family,
                    own.dtype,
                    text::grouped(own.parameters)
                ),
            ),
            ("arithmetic", format!("{numerics} (yours)")),
            ("in all", text::seconds(times.total_s)),
        ];
        if times.prefill_s > 0.0 {
            rows.push(("load", text::seconds(times.load_s)));
            let (what, unit) = if judged.is_audit() {
                ("audit", "positions/s")
            } else {
                ("run again", "tokens/s")
            };
            rows.push((
                what,
                format!(
                    "{}, {:.0} {unit}",
                    text::seconds(times.prefill_s),
                    times.prefill_tokens_per_s
                ),
            ));
            rows.push(("compare", text::seconds(times.checks_s)));
        }
        widgets::facts(ui, rows);
        if let Some(claims) = claims {
            ui.add_space(4.0);
            widgets::hairline(ui);
            ui.add_space(4.0);
            widgets::muted(
                ui,
                "The prover says; nothing here confirms it unless a check above does:",
            );
            let words = |text: &str| text::plain(text, 120);
            widgets::facts(
                ui,
                [
                    ("ran on", words(&claims.adapter)),
                    ("program", words(&claims.producer)),
                    ("sampler", text::sampler(&claims.sampler)),
                    (
                        "model",
                        format!(
                            "{} {}",
                            words(&claims.model_family),
                            words(&claims.model_dtype)
                        ),
                    ),
                ],
            );
        }
    });
}
