//! What is going on, as JSON: for tests, and for the page around the canvas.

use assay_verify::Verdict;
use assay_work::message::Claims;
use serde_json::{Value, json};

use super::App;
use crate::state::{Lock, Page};

impl App {
    /// What is going on, for tests and for the page around the canvas.
    pub fn state_json(&self) -> String {
        let state = &self.state;
        let job = state.jobs.awaited();
        let phase = match (&job, &state.trouble, &state.judged) {
            (Some(_), _, _) => "working",
            (None, Some(_), _) => "error",
            (None, None, Some(_)) => "done",
            (None, None, None) => "idle",
        };
        let judged = state.judged.as_ref();
        let claims = state.trace.as_ref().and_then(|trace| trace.claims.as_ref());
        let manifest = |claims: &Claims| {
            claims
                .manifest
                .as_deref()
                .and_then(|text| serde_json::from_str::<Value>(text).ok())
        };
        let used = judged.map(|judged| judged.report.adapter.name.clone());
        let chosen = || state.adapters.chosen.as_ref().map(|info| info.name.clone());
        let adapter = used.or_else(chosen);
        let proved = state.prove.done.as_ref().map(
            |proved| json!({ "root": proved.root, "tokens": proved.tokens, "bytes": proved.bytes }),
        );
        json!({
            "phase": phase,
            "job": job.map(|job| job.purpose.word()),
            "stage": job.and_then(|job| job.stage).map(|stage| format!("{stage:?}").to_lowercase()),
            "done": job.map(|job| job.done),
            "total": job.map(|job| job.total),
            "verdict": judged.map(|judged| verdict_word(judged.report.verdict)),
            "code": judged.and_then(|judged| judged.decisive()).map(|check| check.code),
            "error": state.trouble.as_ref().map(|trouble| json!({
                "code": trouble.failure.code,
                "message": trouble.failure.message,
                "next": trouble.failure.next,
            })),
            "trace": state.trace.as_ref().map(|trace| trace.source.name()),
            "model": state.model.source.name(),
            "key": state.key().map(|key| json!({
                "id": key.id,
                "projections": key.projections,
                "layers": key.layers,
                "encrypted": key.is_encrypted,
            })),
            "locked": state.model.lock.map(|lock| match lock { Lock::Shut => "shut", Lock::Wrong => "wrong" }),
            "claims": claims.map(|claims| json!({
                "name": claims.name,
                "bytes": claims.bytes,
                "sha256": claims.sha256,
                "fault": claims.fault,
                "manifest": manifest(claims),
            })),
            "theme": if self.is_dark { "dark" } else { "light" },
            "zoom": state.settings.zoom(),
            "page": match state.page { Page::Verify => "verify", Page::Prove => "prove", Page::Ask => "ask", Page::Study => "study" },
            "study": state.study.as_ref().map(|sheet| sheet.title.clone()),
            "prover": state.asking.address,
            "live": json!({
                "text": state.asking.told.text,
                "receipt": state.asking.told.receipt,
                "layers": state.asking.told.challenge.as_ref().map(|drawn| &drawn.layers),
                "kept": judged.and_then(|judged| judged.live.as_ref()).is_some_and(|live| live.kept.is_some()),
            }),
            "tab": format!("{:?}", state.tab).to_lowercase(),
            "dialog": state.dialog.map(|dialog| format!("{dialog:?}").to_lowercase()),
            "selected": state.selected.map(|place| json!({ "layer": place.layer, "position": place.position })),
            "adapter": adapter,
            "proved": proved,
            "text": state.prove.text,
            "toast": state.toast.as_ref().map(|toast| toast.text.clone()),
            "worst_frame_ms": self.meter.worst_ms(),
            "frames": self.meter.frames(),
        })
        .to_string()
    }
}

/// As in the report.
fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accept => "accept",
        Verdict::Reject => "reject",
        Verdict::Inconclusive => "inconclusive",
    }
}
