//! A report as an in-toto statement, for policy engines: Simple Verification Result,
//! <https://in-toto.io/attestation/svr/v0.2>. It is unsigned: whoever trusts this verifier signs it (DSSE, say).

use serde_json::{Value, json};

use crate::report::{Outcome, Report, Verdict};

/// Statement and predicate types.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://in-toto.io/attestation/svr/v0.2";

/// The statement that `report` amounts to. `build` names this program (`0.1.0`, say), `time` is when it was made, RFC 3339.
///
/// `properties` holds what passed, as the predicate asks, and is empty unless the trace was accepted: a policy that asks for one
/// passed check must not mistake it for the whole. The extension field `assay` has the verdict in every case.
pub fn in_toto(report: &Report, build: &str, time: &str) -> Value {
    let mut subject = vec![json!({
        "name": "trace.bin",
        "digest": { "sha256": report.trace.sha256 },
    })];
    if let Some(root) = &report.model.root {
        // Not a hash of a file: a Merkle root, hence a key of its own.
        subject.push(json!({ "name": "model", "digest": { "assayModelRoot": root } }));
    }
    let word = |text: &str| text.to_uppercase().replace('-', "_");
    let mut properties = Vec::new();
    if report.verdict == Verdict::Accept {
        properties.push("ASSAY_TRACE_ACCEPTED".to_owned());
        let passed = report
            .checks
            .iter()
            .filter(|check| check.outcome == Outcome::Pass);
        properties.extend(passed.map(|check| format!("ASSAY_CHECK_{}", word(check.id))));
    }
    let policies = report
        .profile
        .iter()
        .map(|profile| json!({ "name": format!("assay calibration profile {}", profile.id) }));
    json!({
        "_type": STATEMENT,
        "subject": subject,
        "predicateType": PREDICATE,
        "predicate": {
            "verifier": { "id": format!("https://example.invalid/assay@{build}") },
            "timeCreated": time,
            "policies": policies.collect::<Vec<_>>(),
            "properties": properties,
            "assay": { "verdict": report.verdict, "failed": report.failed_codes() },
        },
    })
}
