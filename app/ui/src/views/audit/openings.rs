//! Who picked what is open, and how often a prover that cheats elsewhere goes unseen.

use assay_verify::audit::AuditReport;
use assay_verify::audit::soundness::Missed;
use egui::Ui;

use crate::text;
use crate::widgets;

/// Tries that can be pictured, log2; more are a power of two.
const PICTURED: f64 = 20.0;

/// Tries, log2, in words.
fn tries(bits: f64) -> String {
    let tries = bits.exp2();
    if bits > PICTURED {
        format!("2^{bits:.0}")
    } else if tries < 100.0 {
        format!("{tries:.1}")
    } else {
        text::grouped(tries as u64)
    }
}

/// A chance in percent: one place where that says enough.
fn percent(chance: f64) -> String {
    let percent = 100.0 * chance;
    if percent < 1.0 {
        format!("{} %", text::number(percent))
    } else {
        format!("{percent:.1} %")
    }
}

pub(super) fn show(ui: &mut Ui, audit: &AuditReport) {
    widgets::card(ui, |ui| {
        widgets::card_title(ui, "Openings");
        for sentence in sentences(audit) {
            widgets::paragraph(ui, &sentence);
        }
        widgets::hairline(ui);
        widgets::facts(
            ui,
            [
                (
                    "opened for it",
                    format!("{} of the trace", text::bytes(audit.opened_bytes)),
                ),
                (
                    "the key has",
                    format!(
                        "{} and {} of each matrix, all secret",
                        text::count(audit.projections as u64, "projection"),
                        text::count(audit.sampled_rows as u64, "row")
                    ),
                ),
                ("its public id", text::short_hash(&audit.key)),
            ],
        );
    });
}

/// The card's words.
fn sentences(audit: &AuditReport) -> Vec<String> {
    let who = match audit.challenge {
        "all" => "Everything is open: every layer, and the logits of every emitted token.",
        "chosen" => "The prover picked what is open, so nothing follows for the rest.",
        "interactive" => {
            "The trace says that a verifier picked what is open, after the prover had committed to everything."
        }
        "offline" => {
            "What is open was drawn from the trace’s own root. A prover can make traces until the draw suits it."
        }
        _ => "Who picked what is open is not known.",
    };
    let mut all = vec![who.to_owned()];
    if audit.missed.iter().all(|missed| missed.chance <= 0.0) {
        all.push("No layer was left out, so a cheat in any of them was looked at.".to_owned());
    } else {
        all.extend(audit.missed.iter().map(|missed| sentence(audit, missed)));
    }
    all
}

fn sentence(audit: &AuditReport, missed: &Missed) -> String {
    let total = text::count(audit.layers_total as u64, "layer");
    let of = if missed.cheated == audit.layers_total {
        format!("all {total}")
    } else {
        format!("{} of {total}", missed.cheated)
    };
    if missed.chance <= 0.0 {
        return format!("A prover that cheats in {of} is always seen at work.");
    }
    let mut words = format!(
        "A prover that cheats in {of} is missed with a chance of {}",
        percent(missed.chance)
    );
    if let (Some(bits), Some(hashes)) = (missed.bits, audit.hashes_a_try) {
        words += &format!(
            ", or draws {} times on average until nobody looks there, at {hashes} hashes a draw",
            tries(bits)
        );
    }
    words + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audit(challenge: &'static str, missed: Vec<Missed>) -> AuditReport {
        AuditReport {
            key: String::new(),
            projections: 16,
            sampled_rows: 4,
            challenge,
            layers: vec![1, 4],
            layers_total: 8,
            logits: 4,
            output_tokens: 40,
            missed,
            hashes_a_try: (challenge == "offline").then_some(8),
            streams: Vec::new(),
            tiers: Vec::new(),
            opened_bytes: 0,
        }
    }

    #[test]
    fn openings_in_words() {
        let case = |cheated, chance: f64| Missed {
            cheated,
            chance,
            bits: (chance > 0.0).then(|| -chance.log2()),
        };
        let drawn = audit("offline", vec![case(1, 0.75), case(8, 0.0)]);
        let words = sentences(&drawn);
        assert!(
            words[1]
                .contains("in 1 of 8 layers is missed with a chance of 75.0 %, or draws 1.3 times"),
            "{words:?}"
        );
        assert_eq!(
            [0.0, 10.0, 40.0].map(tries),
            ["1.0", "1,024", "2^40"].map(str::to_owned)
        );
        assert_eq!(percent(1e-5), "0.00100 %");
        assert_eq!(
            words[2],
            "A prover that cheats in all 8 layers is always seen at work."
        );
        let all = audit("all", vec![case(1, 0.0)]);
        assert_eq!(sentences(&all).len(), 2);
    }
}
