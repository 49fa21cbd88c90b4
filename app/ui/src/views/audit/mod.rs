//! What an audit saw: its streams, its tests, and what the layers that are not open may hide.

mod marks;
mod openings;
mod streams;
mod tiers;

use assay_verify::Outcome;
use assay_verify::audit::AuditReport;
use assay_verify::report::Report;
use egui::Ui;

use crate::state::State;
use crate::text;
use crate::widgets;

/// Why an audit has no text strip, map or histograms.
pub(super) const NO_POSITIONS: &str =
    "An audit runs no model, so it has no states of its own to draw the prover’s against";

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    let Some(audit) = state
        .judged
        .as_ref()
        .and_then(|judged| judged.report.audit.clone())
    else {
        return;
    };
    streams::show(ui, &audit);
    tiers::show(ui, &audit);
    openings::show(ui, &audit);
    widgets::muted(
        ui,
        format!("{NO_POSITIONS}: “Text and states” and “Distributions” are shut."),
    );
}

/// What was looked at, a sentence each.
pub(super) fn covered(report: &Report, audit: &AuditReport) -> Vec<String> {
    let count = |n: usize, thing: &str| text::count(n as u64, thing);
    let passed = |id: &str| {
        report
            .checks
            .iter()
            .any(|check| check.id == id && check.outcome == Outcome::Pass)
    };
    let mut all = Vec::new();
    let total = u32::try_from(audit.layers_total).unwrap_or(u32::MAX);
    let mut layers = super::key::layers(&audit.layers, total);
    if let Some(first) = layers.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if !audit.layers.is_empty() {
        all.push(format!(
            "{layers} at all {}: the outputs of each matrix against secret projections of the weights.",
            count(report.coverage.positions, "position"),
        ));
        all.push(
            "Attention, norms and activations of these layers: computed again here, from outputs that were checked."
                .to_owned(),
        );
    }
    if passed("embedding") {
        all.push(
            "Where the layers begin: hidden state 0 is the embedding of the tokens.".to_owned(),
        );
    }
    if passed("layer-transition") {
        all.push("Each audited layer leads from one committed state to the next.".to_owned());
    }
    if audit.logits > 0 {
        let of = if audit.logits == audit.output_tokens {
            format!("All {}", count(audit.output_tokens, "emitted token"))
        } else {
            format!(
                "{} of {}",
                text::grouped(audit.logits as u64),
                count(audit.output_tokens, "emitted token")
            )
        };
        let mut words = format!("{of}: their logits were audited");
        words += if passed("tokens") {
            ", and give exactly these tokens by the claimed sampler."
        } else {
            "."
        };
        all.push(words);
    }
    all
}
