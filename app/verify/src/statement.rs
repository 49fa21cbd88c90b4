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
            "assay": {
                "verdict": report.verdict,
                "method": report.method,
                "failed": report.failed_codes(),
            },
        },
    })
}

/// A point in time, seconds since 1970, as RFC 3339 in UTC.
pub fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days (Hinnant's algorithm): years begin in March, so that leap days come last.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = match month_from_march {
        0..10 => month_from_march + 3,
        _ => month_from_march - 9,
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_219_200, "2026-11-21T00:00:00Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), want);
        }
    }
}
