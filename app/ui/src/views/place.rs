//! One position: its token, its states layer by layer, and the hashes that the prover committed to there.

use assay_work::message::{Hashes, Job};
use egui::Ui;

use crate::command::Command;
use crate::jobs::Purpose;
use crate::judged::Judged;
use crate::link::Place;
use crate::state::{Ask, State};
use crate::text;
use crate::theme::{self, Icon};
use crate::widgets::{self, Kind, Match};

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let Some(place) = state.selected else {
        widgets::card(ui, |ui| {
            widgets::muted(
                ui,
                "Choose a token or a field of the map to see its figures and hashes. Arrow keys move from there.",
            );
            if state.can(Command::NextProblem)
                && widgets::button(
                    ui,
                    Kind::Normal,
                    Some(Icon::Reject),
                    "Go to the first token that fails",
                )
                .clicked()
            {
                state.run(Command::NextProblem);
            }
        });
        return;
    };
    fetch(state, place);
    let Some(judged) = &state.judged else { return };
    let rows = super::token::facts(judged, place.position);
    let row = judged.details.row(place.layer, place.position).copied();
    let limit = judged.limit(place.layer);
    let counted = judged.distance();
    let enters = place.position < judged.details.positions;
    let lines = lines(judged, place, state.hashes.as_ref());
    let is_narrow = theme::is_narrow(ui.ctx());
    widgets::card(ui, |ui| {
        ui.horizontal_wrapped(|ui| {
            widgets::card_title(
                ui,
                &format!("Position {}, layer {}", place.position, place.layer),
            );
            ui.add_space(8.0);
            for (icon, command) in [
                (Icon::Left, Command::PreviousToken),
                (Icon::Right, Command::NextToken),
            ] {
                if widgets::icon_button(ui, icon, command.facts().label).clicked() {
                    state.run(command);
                }
            }
            if state.can(Command::NextProblem)
                && widgets::button(ui, Kind::Quiet, Some(Icon::Reject), "Next that fails").clicked()
            {
                state.run(Command::NextProblem);
            }
        });
        let state_rows = |ui: &mut Ui| {
            let Some(row) = row else {
                let words = if enters {
                    "This layer’s state is not in the trace here: only its hash is, below."
                } else {
                    "The last token never enters the model: it has no states."
                };
                widgets::muted(ui, words);
                return;
            };
            let number = |x: f32| text::number(f64::from(x));
            let distance = match limit {
                Some(limit) => format!("{} of {} allowed", number(row.rel_l2), text::number(limit)),
                None => format!("{}, no limit known", number(row.rel_l2)),
            };
            widgets::facts(
                ui,
                [
                    (counted, distance),
                    ("cosine", format!("{:.9}", row.cosine)),
                    ("largest error", number(row.max_abs)),
                    (
                        "Pe, Pm, Pw",
                        format!("{}, {}, {}", number(row.pe), number(row.pm), number(row.pw)),
                    ),
                    (
                        "mean error",
                        format!(
                            "{}, signed {}",
                            number(row.mean_error),
                            number(row.signed_mean)
                        ),
                    ),
                    (
                        "top-k overlap",
                        format!("{} %", number(row.top_match * 100.0)),
                    ),
                ],
            );
        };
        if is_narrow {
            widgets::facts(ui, rows);
            widgets::hairline(ui);
            state_rows(ui);
        } else {
            ui.columns_const(|[left, right]: &mut [Ui; 2]| {
                widgets::facts(left, rows);
                state_rows(right);
            });
        }
        let head = egui::CollapsingHeader::new(
            egui::RichText::new("Hashes at this position")
                .font(theme::fonts::bold(theme::fonts::BODY)),
        );
        head.id_salt("hashes")
            .default_open(!is_narrow)
            .show(ui, |ui| {
                ui.spacing_mut().item_spacing.y = 2.0;
                if lines.is_empty() {
                    widgets::muted(ui, if enters { "Reading them…" } else { "None." });
                }
                let height = 320.0;
                egui::ScrollArea::vertical()
                    .id_salt("hash lines")
                    .max_height(height)
                    .auto_shrink([false, true])
                    .show(ui, |ui| {
                        for (label, hash, is) in lines {
                            widgets::hash_line(ui, state, &label, &hash, is);
                        }
                    });
            });
    });
}

/// Asks for the hashes at `place`, unless they are there or on their way.
fn fetch(state: &mut State, place: Place) {
    let Ok(position) = u32::try_from(place.position) else {
        return;
    };
    let is_there = state
        .hashes
        .as_ref()
        .is_some_and(|hashes| hashes.position == position);
    let enters = state
        .judged
        .as_ref()
        .is_some_and(|judged| place.position < judged.details.positions);
    if is_there || !enters || state.jobs.has(&Purpose::Hashes) || state.jobs.long().is_some() {
        return;
    }
    if let Some(trace) = state.trace.as_ref().map(|trace| trace.source.clone()) {
        state.ask(Ask::Start(
            Purpose::Hashes,
            Box::new(Job::Hashes { trace, position }),
        ));
    }
}

fn lines(
    judged: &Judged,
    place: Place,
    hashes: Option<&Hashes>,
) -> Vec<(String, String, Option<Match>)> {
    let Some(hashes) = hashes.filter(|hashes| hashes.position as usize == place.position) else {
        return Vec::new();
    };
    let details = &judged.details;
    let state_match = |layer: usize| {
        let layer = u32::try_from(layer).unwrap_or(u32::MAX);
        match (
            details.is_exact(layer, place.position),
            details.row(layer, place.position),
            judged.limit(layer),
        ) {
            (Some(true), _, _) => Match::Exact,
            (_, Some(row), Some(limit)) if f64::from(row.rel_l2) <= limit => Match::Near,
            (_, Some(_), Some(_)) => Match::Beyond,
            _ => Match::Unchecked,
        }
    };
    let mut lines = vec![("Leaf".to_owned(), hashes.leaf.clone(), Some(Match::Exact))];
    for (layer, hash) in hashes.states.iter().enumerate() {
        lines.push((
            format!("State {layer}"),
            hash.clone(),
            Some(state_match(layer)),
        ));
    }
    if let Some(logits) = &hashes.logits {
        // The logits here judge the token that comes next.
        let verdict = details
            .tokens
            .get(place.position + 1)
            .and_then(|token| token.judged);
        let is = match verdict {
            Some(verdict) if verdict.exact_logits => Match::Exact,
            Some(verdict) if verdict.explained => Match::Near,
            Some(_) => Match::Beyond,
            None => Match::Unchecked,
        };
        lines.push(("Logits".to_owned(), logits.clone(), Some(is)));
    }
    for (index, hash) in hashes.proof.iter().enumerate() {
        lines.push((format!("Proof {index}"), hash.clone(), None));
    }
    lines
}
