//! A report for people: the verdict, every check with what was measured and allowed, and what was not covered. 80 columns.

use assay_trace::Sampler;
use assay_verify::audit::report::{AuditReport, StreamReport};
use assay_verify::report::{Freshness, ProfileReport, ProverSays};
use assay_verify::shown::number;
use assay_verify::suspects::Lean;
use assay_verify::{Check, Outcome, Report, Verdict};

use crate::device_arg::{in_a_line, is_cpu};
use crate::output::{Output, StdoutError, Style, WIDTH};
use crate::sampler_arg::in_words;
use crate::text;

/// Width of labels with what surrounds them.
const INDENT: usize = 14;

/// Prints `report`; `model` is how the user called the model.
pub fn print(report: &Report, model: &str, output: &Output) -> Result<(), StdoutError> {
    print_verdict(report, output)?;
    output.line("")?;
    print_checks(report, output)?;
    output.line("")?;
    if let Some(audit) = &report.audit {
        print_audit(audit, output)?;
    }
    for (label, value) in facts(report, model) {
        print_wrapped(output, label, &value, None)?;
    }
    if report.adapter.software && !is_cpu(&report.adapter) {
        let warning = "a software rasteriser: right, but slow, and no evidence about real GPUs";
        print_wrapped(output, "", warning, Some(Style::Warn))?;
    }
    output.line(output.field("time", times(report)))?;
    output.line("")?;
    print_not_covered(report, output)
}

fn print_verdict(report: &Report, output: &Output) -> Result<(), StdoutError> {
    let (symbol, word, style) = match report.verdict {
        Verdict::Accept => ("✓", "ACCEPT", Style::Good),
        Verdict::Reject => ("✗", "REJECT", Style::Bad),
        Verdict::Inconclusive => ("?", "INCONCLUSIVE", Style::Warn),
    };
    let verdict = output.paint(style, format_args!("{symbol} {word}"));
    let decisive = decisive(report);
    match decisive {
        Some(check) => output.line(format_args!(
            "{verdict}  {}",
            output.paint(Style::Strong, check.code)
        ))?,
        None => output.line(verdict)?,
    }
    for line in text::wrapped(&sentence(report, decisive), WIDTH - 2) {
        output.line(format_args!("  {line}"))?;
    }
    Ok(())
}

/// The check that the verdict rests on, if it is one alone.
fn decisive(report: &Report) -> Option<&Check> {
    let outcome = match report.verdict {
        Verdict::Accept => return None,
        Verdict::Reject => Outcome::Fail,
        Verdict::Inconclusive => Outcome::Inconclusive,
    };
    report.checks.iter().find(|check| check.outcome == outcome)
}

/// The summary without what the line above it already says.
fn sentence(report: &Report, decisive: Option<&Check>) -> String {
    let summary = text::plain(&report.summary);
    let word = match report.verdict {
        Verdict::Accept => "accepted: ".to_owned(),
        Verdict::Reject => format!("rejected, {}: ", decisive.map_or("", |check| check.code)),
        Verdict::Inconclusive => format!(
            "inconclusive, {}: ",
            decisive.map_or("", |check| check.code)
        ),
    };
    summary.strip_prefix(&word).unwrap_or(&summary).to_owned()
}

fn print_checks(report: &Report, output: &Output) -> Result<(), StdoutError> {
    let head = format!("  {:<18}{:>10}{:>12}", "check", "measured", "limit");
    output.line(output.paint(Style::Dim, head))?;
    let said = decisive(report).map(|check| check.id);
    let listed = |check: &&Check| !was_cut_off(check) && !is_another_kind(check);
    for check in report.checks.iter().filter(listed) {
        if check.outcome == Outcome::Skipped {
            print_skipped(check.id, &check.detail, output)?;
        } else {
            print_check(check, said == Some(check.id), output)?;
        }
    }
    // What an earlier failure cut off is one fact, not twelve.
    let cut_off: Vec<&str> = report
        .checks
        .iter()
        .filter(|check| was_cut_off(check))
        .map(|check| check.id)
        .collect();
    if cut_off.is_empty() {
        return Ok(());
    }
    let mut lines = text::wrapped(&cut_off.join(", "), WIDTH - 23).into_iter();
    print_skipped("not run", &lines.next().unwrap_or_default(), output)?;
    for line in lines {
        output.line(output.paint(Style::Dim, format_args!("{:23}{line}", "")))?;
    }
    Ok(())
}

fn was_cut_off(check: &Check) -> bool {
    check.outcome == Outcome::Skipped && check.detail.starts_with("not run")
}

/// A check of traces of another kind. `--json` lists it; a reader has enough to read.
fn is_another_kind(check: &Check) -> bool {
    check.outcome == Outcome::Skipped && check.detail.starts_with("not needed")
}

fn print_skipped(name: &str, detail: &str, output: &Output) -> Result<(), StdoutError> {
    let detail = shortened(detail, WIDTH - 23);
    output.line(output.paint(Style::Dim, format_args!("· {name:<18}   {detail}")))
}

/// A row, and below it the sentence, unless the verdict has already `said` it.
fn print_check(check: &Check, said: bool, output: &Output) -> Result<(), StdoutError> {
    let (symbol, style) = match check.outcome {
        Outcome::Pass => ("✓", Style::Good),
        Outcome::Fail => ("✗", Style::Bad),
        Outcome::Inconclusive => ("?", Style::Warn),
        Outcome::Skipped => ("·", Style::Dim),
    };
    let number = |value: Option<f64>| value.map(number).unwrap_or_default();
    let passed = check.outcome == Outcome::Pass;
    let row = format!(
        "{:<18}{:>10}{:>12}",
        check.id,
        number(check.measured),
        number(check.limit)
    );
    let symbol = output.paint(style, symbol);
    if passed {
        return output.line(format_args!("{symbol} {}", row.trim_end()));
    }
    output.line(format_args!(
        "{symbol} {row}  {}",
        output.paint(style, check.code)
    ))?;
    let detail = text::plain(&check.detail);
    let lines = if said {
        Vec::new()
    } else {
        text::wrapped(&detail, WIDTH - 4)
    };
    lines
        .iter()
        .try_for_each(|line| output.line(format_args!("    {line}")))
}

fn shortened(detail: &str, room: usize) -> String {
    let detail = text::plain(detail);
    if detail.chars().count() <= room {
        return detail;
    }
    let kept: String = detail.chars().take(room - 1).collect();
    format!("{}…", kept.trim_end())
}

fn facts(report: &Report, model: &str) -> Vec<(&'static str, String)> {
    let own = &report.model;
    let mut facts = vec![
        (
            "model",
            format!(
                "{model}: {} {}, {} parameters",
                own.family,
                own.dtype,
                text::grouped(own.parameters)
            ),
        ),
        ("sha256", report.trace.sha256.clone()),
    ];
    if let Some(claims) = &report.prover_says {
        facts.push(("prover", prover(claims)));
    }
    facts.push(("coverage", coverage(report)));
    if !report.statistics.suspects.is_empty() {
        facts.push(("suspects", suspects(&report.statistics.suspects)));
    }
    if let Some(profile) = &report.profile {
        facts.push(("limits", limits(profile)));
        facts.push(("forgeries", forgeries(profile)));
    }
    facts.push((
        "adapter",
        format!(
            "{}, {} numerics{}",
            in_a_line(&report.adapter),
            report.numerics.verifier,
            match report.numerics.comparison {
                "exact" => ", compared bit for bit",
                _ => "",
            }
        ),
    ));
    facts
}

/// The prover's words, which are printable ASCII by the format's rules.
fn prover(claims: &ProverSays) -> String {
    let sampler = match claims.sampler {
        Sampler::Greedy => "greedy choice".to_owned(),
        Sampler::Gumbel { .. } => in_words(&claims.sampler),
    };
    format!(
        "says: {} on {}, {sampler}",
        text::plain(&claims.producer),
        text::plain(&claims.adapter)
    )
}

fn coverage(report: &Report) -> String {
    let coverage = &report.coverage;
    if coverage.positions == 0 {
        return "nothing was run".to_owned();
    }
    if let Some(audit) = &report.audit {
        return audited(report, audit);
    }
    let layers: Vec<String> = coverage.layers.iter().map(u32::to_string).collect();
    let fresh = match coverage.freshness {
        Freshness::Nonce => "fresh by its nonce",
        Freshness::None => "not known to be fresh",
    };
    format!(
        "{} of {} positions, hidden states {} of 0 to {}, {}; {:.0} % of all digests equal; {fresh}",
        coverage.positions,
        coverage.positions_total,
        layers.join(" "),
        coverage.layers_total.saturating_sub(1),
        text::count(coverage.tokens as u64, "emitted token"),
        100.0 * coverage.exact_fraction,
    )
}

fn audited(report: &Report, audit: &AuditReport) -> String {
    let layers: Vec<String> = audit.layers.iter().map(u32::to_string).collect();
    let fresh = match report.coverage.freshness {
        Freshness::Nonce => "fresh by its nonce",
        Freshness::None => "not known to be fresh",
    };
    format!(
        "layers {} of 0 to {} at all {} positions, attention included; {} of {}; {fresh}",
        layers.join(" "),
        audit.layers_total.saturating_sub(1),
        report.coverage.positions_total,
        audit.logits,
        text::count(audit.output_tokens as u64, "emitted token"),
    )
}

/// The streams, and what the layers that are not open may hide.
fn print_audit(audit: &AuditReport, output: &Output) -> Result<(), StdoutError> {
    let head = format!(
        "  {:<8}{:>9}{:>11}{:>11}{:>11}{:>11}{:>11}",
        "stream", "rows", "error", "honest", "detects", "element", "certified"
    );
    output.line(output.paint(Style::Dim, head))?;
    for stream in &audit.streams {
        output.line(stream_row(stream))?;
    }
    let note =
        "error, honest, detects: of a row, relative; element and certified: over their bounds";
    output.line(output.paint(Style::Dim, format_args!("  {note}")))?;
    output.line("")?;
    let exact = audit.tiers.iter().filter(|tier| tier.tier == "exact");
    for wrong in exact.flat_map(|tier| &tier.false_accept) {
        let chance = wrong.chance.map_or_else(|| "unknown".to_owned(), number);
        let value = format!("{}: passes with a chance of {chance} at most", wrong.error);
        print_wrapped(output, "exact", &value, None)?;
    }
    for missed in &audit.missed {
        let tries = match (missed.bits, audit.hashes_a_try) {
            (Some(bits), Some(_)) => format!(", or by trying again 2^{bits:.1} times"),
            _ => String::new(),
        };
        let value = format!(
            "a prover that cheats in {} of {} layers is missed with a chance of {:.3}{tries}",
            missed.cheated, audit.layers_total, missed.chance
        );
        print_wrapped(output, "openings", &value, None)?;
    }
    Ok(())
}

fn stream_row(stream: &StreamReport) -> String {
    if stream.how == "recomputed" {
        return format!(
            "  {:<8}{:>9}   recomputed from checked values",
            stream.name, stream.rows
        );
    }
    if stream.how == "exact" {
        return format!(
            "  {:<8}{:>9}   integer sums, equal over a field of 2^61 - 1",
            stream.name, stream.rows
        );
    }
    let shown = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
    format!(
        "  {:<8}{:>9}{:>11}{:>11}{:>11}{:>11}{:>11}",
        stream.name,
        stream.rows,
        shown(stream.relative_error),
        shown(stream.honest_error),
        shown(stream.detects),
        shown(stream.element_over_bound),
        shown(stream.residual_over_bound),
    )
}

/// How far the way to each the hidden states are.
fn suspects(leans: &[Lean]) -> String {
    let told = |lean: &Lean| {
        let Lean {
            name, lean, error, ..
        } = lean;
        format!("{} {lean:+.2} ± {error:.2}", text::plain(name))
    };
    let told: Vec<String> = leans.iter().map(told).collect();
    format!(
        "{} of the way from the claimed model to it",
        told.join(", ")
    )
}

fn limits(profile: &ProfileReport) -> String {
    format!(
        "profile {} of {}: {}, {} of them rejected; false rejects below {:.2} % (95 %)",
        profile.id,
        profile.date,
        text::count(profile.honest_traces, "honest trace"),
        profile.false_rejects,
        100.0 * profile.false_reject_upper_bound
    )
}

/// What the same limits let through when somebody tried: a tolerance without this figure says nothing.
fn forgeries(profile: &ProfileReport) -> String {
    let tried: Vec<String> = profile
        .null_forgery
        .iter()
        .map(|(name, tried)| format!("{} {}/{}", name.replace('_', " "), tried.accepted, tried.of))
        .collect();
    format!("accepted by these limits: {}", tried.join(", "))
}

fn times(report: &Report) -> String {
    let times = &report.timings;
    let mut line = format!("{:.2} s", times.total_s);
    if times.prefill_s > 0.0 {
        line += &format!(
            ": load {:.2}, run {:.2} ({:.0} tokens/s), check {:.2}",
            times.load_s, times.prefill_s, times.prefill_tokens_per_s, times.checks_s
        );
    }
    line
}

fn print_not_covered(report: &Report, output: &Output) -> Result<(), StdoutError> {
    if report.coverage.not_covered.is_empty() {
        return Ok(());
    }
    output.line(output.paint(Style::Strong, "Not covered by this verdict"))?;
    for item in &report.coverage.not_covered {
        for (index, line) in text::wrapped(&text::plain(item), WIDTH - 4)
            .iter()
            .enumerate()
        {
            output.line(format_args!(
                "{}{line}",
                if index == 0 { "  - " } else { "    " }
            ))?;
        }
    }
    Ok(())
}

fn print_wrapped(
    output: &Output,
    label: &str,
    value: &str,
    style: Option<Style>,
) -> Result<(), StdoutError> {
    for (index, line) in text::wrapped(value, WIDTH - INDENT).into_iter().enumerate() {
        let line = match style {
            Some(style) => output.paint(style, line),
            None => line,
        };
        output.line(output.field(if index == 0 { label } else { "" }, line))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0.0, 24.0, 1.23456e-7, 0.012_345, 1.5, 123.456, 1e9].map(number);
        assert_eq!(
            shown,
            ["0", "24", "1.23e-7", "0.01235", "1.500", "123.5", "1.00e9"]
        );
    }

    #[test]
    fn long_details_are_cut() {
        assert_eq!(shortened("a long sentence", 8), "a long…");
        assert_eq!(shortened("short", 8), "short");
    }
}
