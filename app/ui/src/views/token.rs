//! One token: what it is, and how it stands to the verifier's own logits.

use egui::Ui;

use crate::judged::Judged;
use crate::{text, widgets};

/// All about one token.
pub(super) fn facts(judged: &Judged, index: usize) -> Vec<(&'static str, String)> {
    let Some(token) = judged.details.tokens.get(index) else {
        return Vec::new();
    };
    let shown = judged
        .tokens
        .get(index)
        .map(|token| token.text.clone())
        .unwrap_or_default();
    let mut rows = vec![
        ("position", index.to_string()),
        ("token", format!("“{shown}”, id {}", token.id)),
    ];
    match &token.judged {
        Some(verdict) => {
            let number = |x: f32| text::number(f64::from(x));
            rows.push((
                "margin",
                format!(
                    "{} of {} allowed",
                    number(verdict.margin),
                    number(verdict.limit)
                ),
            ));
            rows.push((
                "probability",
                format!(
                    "{} %, rank {}",
                    number(verdict.probability * 100.0),
                    u64::from(verdict.rank) + 1
                ),
            ));
            let how = match (verdict.explained, verdict.outside, verdict.replayed) {
                (true, _, true) => "the very token that you would have drawn",
                (true, _, false) => "within tolerance of the one you would have drawn",
                (false, true, _) => "outside what the sampler allows",
                (false, false, _) => "not explained: others score higher by more than errors allow",
            };
            rows.push(("verdict", how.to_owned()));
            rows.push((
                "logits hash",
                if verdict.exact_logits {
                    "exact"
                } else {
                    "within tolerance, or not"
                }
                .to_owned(),
            ));
            if verdict.explained && !verdict.exact_logits {
                rows.pop();
                rows.push(("logits hash", "other bits than yours".to_owned()));
            }
        }
        None if token.emitted => {
            rows.push(("verdict", "not judged: the run ended before it".to_owned()));
        }
        None => rows.push(("verdict", "given: part of the prompt".to_owned())),
    }
    rows
}

pub(super) fn tooltip(ui: &mut Ui, judged: &Judged, index: usize) {
    ui.set_max_width(340.0);
    ui.spacing_mut().item_spacing.y = 2.0;
    widgets::facts(ui, facts(judged, index));
}
