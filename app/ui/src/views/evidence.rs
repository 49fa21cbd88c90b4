//! Hashes, each told equal, near or not looked at; the profile; the device.

use assay_verify::Outcome;
use egui::Ui;

use crate::state::State;
use crate::theme;
use crate::widgets::{self, Match};

pub(super) fn show(ui: &mut Ui, state: &mut State) {
    hashes(ui, state);
    let Some(info) = state
        .judged
        .as_ref()
        .map(|judged| judged.report.adapter.clone())
    else {
        return;
    };
    if theme::is_narrow(ui.ctx()) {
        widgets::card(ui, |ui| super::adapter::show(ui, &info));
        super::profile::show(ui, state);
    } else {
        ui.columns_const(|[left, right]: &mut [Ui; 2]| {
            widgets::card(left, |ui| super::adapter::show(ui, &info));
            super::profile::show(right, state);
        });
    }
}

fn hashes(ui: &mut Ui, state: &mut State) {
    let Some(judged) = &state.judged else { return };
    let report = &judged.report;
    let outcome = |id: &str| {
        report
            .checks
            .iter()
            .find(|check| check.id == id)
            .map(|check| check.outcome)
    };
    let by = |id: &str| match outcome(id) {
        Some(Outcome::Pass) => Match::Exact,
        Some(Outcome::Fail) => Match::Beyond,
        _ => Match::Unchecked,
    };
    let manifest = state
        .trace
        .as_ref()
        .and_then(|trace| trace.manifest.as_ref());
    let mut lines: Vec<(&str, String, Option<Match>)> =
        vec![("Trace, SHA-256", report.trace.sha256.clone(), None)];
    let claimed = manifest.map(|manifest| manifest.root.to_string());
    if let Some(root) = report.trace.root.clone().or(claimed) {
        lines.push(("Merkle root", root, Some(by("commitment"))));
    }
    if let Some(receipt) = judged.live.as_ref().and_then(|live| live.receipt.clone()) {
        lines.push(("Receipt, from before the draw", receipt, Some(by("live"))));
    }
    if let Some(manifest) = manifest {
        lines.push((
            "Model root, claimed",
            manifest.model.root.to_string(),
            Some(by("model-root")),
        ));
    }
    if let Some(root) = &report.model.root {
        let label = if judged.is_audit() {
            "Model root, your key’s"
        } else {
            "Model root, yours"
        };
        lines.push((label, root.clone(), None));
    }
    if let Some(audit) = &report.audit {
        lines.push(("Key, its public id", audit.key.clone(), None));
    }
    if let Some(manifest) = manifest {
        if let Some(tokenizer) = &manifest.tokenizer {
            lines.push(("Tokenizer", tokenizer.to_string(), Some(by("tokenizer"))));
        }
        lines.push((
            "Prompt ids",
            manifest.prompt.digest.to_string(),
            Some(by("prompt")),
        ));
        if let Some(nonce) = &manifest.nonce {
            lines.push(("Nonce", nonce.to_string(), Some(by("nonce"))));
        }
    }
    let mut words =
        "Exact: recomputed here, or equal to what you have. Not checked: nothing to compare it with."
            .to_owned();
    if !judged.is_audit() {
        words += " For the hashes at one position, choose a token under “Text and states”.";
    }
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "Hashes");
        widgets::muted(ui, words);
        ui.spacing_mut().item_spacing.y = 4.0;
        for (label, hash, is) in lines {
            widgets::hairline(ui);
            widgets::hash_line(ui, state, label, &hash, is);
        }
    });
}
