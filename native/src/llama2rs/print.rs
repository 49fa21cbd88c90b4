//! A report for people, 80 columns, as other verdicts look.

use assay_llama2rs::check::{Check, Outcome, Verdict};
use assay_verify::shown::number;

use super::report::{AdapterDistance, Report, SamplerFacts, decisive};
use crate::device_arg::in_a_line;
use crate::output::{Output, StdoutError, Style, WIDTH};
use crate::text;

/// Width of labels with what surrounds them.
const INDENT: usize = 14;
/// Where a check's sentence begins.
const SENTENCE: usize = 16;

pub fn report(report: &Report, model: &str, output: &Output) -> Result<(), StdoutError> {
    verdict(report, output)?;
    output.line("")?;
    let said = decisive(&report.checks, report.verdict).map(|check| check.id);
    for check in &report.checks {
        self::check(check, said == Some(check.id), output)?;
    }
    output.line("")?;
    for (label, value) in facts(report, model) {
        field(label, &value, output)?;
    }
    if let Some(distance) = &report.adapter {
        adapter(distance, output)?;
    }
    let times = &report.timings;
    let mut line = format!("{:.2} s: replay {:.2}", times.total_s, times.replay_s);
    if report.adapter.is_some() {
        line += &format!(", adapter {:.2}", times.adapter_s);
    }
    output.line(output.field("time", line))?;
    if report.not_covered.is_empty() {
        return Ok(());
    }
    output.line("")?;
    output.line(output.paint(Style::Strong, "Not covered by this verdict"))?;
    for item in &report.not_covered {
        bullet(item, output)?;
    }
    Ok(())
}

fn verdict(report: &Report, output: &Output) -> Result<(), StdoutError> {
    let (symbol, word, style) = match report.verdict {
        Verdict::Accept => ("✓", "ACCEPT", Style::Good),
        Verdict::Reject => ("✗", "REJECT", Style::Bad),
        Verdict::Inconclusive => ("?", "INCONCLUSIVE", Style::Warn),
    };
    let why = match decisive(&report.checks, report.verdict) {
        Some(check) => check.code,
        None => report.class,
    };
    output.line(format_args!(
        "{}  {}",
        output.paint(style, format_args!("{symbol} {word}")),
        output.paint(Style::Strong, why)
    ))?;
    let summary = text::plain(&report.summary);
    let sentence = summary.split_once(": ").map_or(&*summary, |(_, rest)| rest);
    for line in text::wrapped(sentence, WIDTH - 2) {
        output.line(format_args!("  {line}"))?;
    }
    Ok(())
}

/// One check; its sentence, unless the verdict has already `said` it, and both sides where it failed.
pub fn check(check: &Check, said: bool, output: &Output) -> Result<(), StdoutError> {
    let (symbol, style) = match check.outcome {
        Outcome::Pass => ("✓", Style::Good),
        Outcome::Fail => ("✗", Style::Bad),
        Outcome::Inconclusive => ("?", Style::Warn),
        Outcome::Skipped => ("·", Style::Dim),
    };
    let quiet = matches!(check.outcome, Outcome::Pass | Outcome::Skipped);
    let detail = text::plain(&check.detail);
    let sentence = match (quiet, said) {
        (true, _) => detail,
        (false, true) => String::new(),
        (false, false) => detail,
    };
    let head = if quiet {
        String::new()
    } else {
        output.paint(style, check.code)
    };
    let mut lines = text::wrapped(&sentence, WIDTH - SENTENCE).into_iter();
    let first = if quiet {
        lines.next().unwrap_or_default()
    } else {
        head
    };
    let row = format!("{:<width$}{first}", check.id, width = SENTENCE - 2);
    if check.outcome == Outcome::Skipped {
        output.line(output.paint(Style::Dim, format_args!("{symbol} {row}")))?;
    } else {
        output.line(format_args!(
            "{} {}",
            output.paint(style, symbol),
            row.trim_end()
        ))?;
    }
    for line in lines.filter(|line| !line.is_empty()) {
        output.line(format_args!("{:SENTENCE$}{line}", ""))?;
    }
    if let (false, Some(expected), Some(got)) = (quiet, &check.expected, &check.got) {
        if let Some(position) = check.position {
            output.line(format_args!("{:SENTENCE$}position  {position}", ""))?;
        }
        for (label, value) in [("expected", expected), ("got", got)] {
            let value = text::plain(value);
            if value.chars().count() <= WIDTH - SENTENCE - 10 {
                output.line(format_args!("{:SENTENCE$}{label:<8}  {value}", ""))?;
            } else {
                // A hash has 64 digits, which is just what fits on a line of its own.
                let value = shortened(&value, WIDTH - SENTENCE);
                output.line(format_args!("{:SENTENCE$}{label}", ""))?;
                output.line(format_args!("{:SENTENCE$}{value}", ""))?;
            }
        }
    }
    Ok(())
}

fn facts(report: &Report, model: &str) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        (
            "model",
            format!(
                "{model}: {}, {} parameters",
                report.model.dtype,
                text::grouped(report.model.parameters)
            ),
        ),
        ("sha256", report.trace.sha256.to_string()),
    ];
    if let Some(root) = report.trace.root {
        facts.push(("root", root.to_string()));
    }
    if let Some(claim) = report.claim {
        facts.push(("claim", claim.to_string()));
    }
    if let Some(says) = &report.prover_says {
        facts.push((
            "prover",
            format!(
                "says: model {}, prompt {}, {}",
                text::quoted(&shortened(&says.model_path, 60)),
                text::quoted(&shortened(&says.prompt, 200)),
                text::count(says.steps, "step")
            ),
        ));
    }
    let agreement = &report.agreement;
    facts.push(("coverage", {
        let which = match report.iteration {
            Some(iteration) => format!("steps 0 to {iteration}"),
            None => "all steps".to_owned(),
        };
        format!(
            "{which}: {} of {} positions, {} hashes equal, {} of {} chosen tokens",
            agreement.positions,
            agreement.positions_total,
            agreement.hashes_equal,
            agreement.tokens_equal,
            agreement.tokens_judged
        )
    }));
    facts.push((
        "sampler",
        match &report.sampler {
            SamplerFacts::Unknown => "not given; greedy was tried".to_owned(),
            SamplerFacts::Greedy => "greedy".to_owned(),
            SamplerFacts::Seeded {
                temperature,
                top_p,
                seed,
            } => format!("temperature {temperature}, top-p {top_p}, seed {seed}"),
        },
    ));
    facts.push(("arithmetic", report.arithmetic.clone()));
    facts
}

fn adapter(distance: &AdapterDistance, output: &Output) -> Result<(), StdoutError> {
    field(
        "adapter",
        &format!("{}: no part of the verdict", in_a_line(&distance.adapter)),
        output,
    )?;
    for run in &distance.runs {
        let line = format!(
            "{}: {} of {} hashes equal; logits differ by {} relative L2 at most ({} in the mean), {} in one value; {} of {} tokens agree",
            run.numerics,
            run.hashes_equal,
            run.positions,
            number(run.rel_l2_max),
            number(run.rel_l2_mean),
            number(run.max_abs),
            run.tokens_equal,
            run.tokens
        );
        field("", &line, output)?;
    }
    if distance.adapter.software {
        let warning = "a software rasteriser: right, but slow, and no evidence about real GPUs";
        for line in text::wrapped(warning, WIDTH - INDENT) {
            output.line(output.field("", output.paint(Style::Warn, line)))?;
        }
    }
    Ok(())
}

pub fn field(label: &str, value: &str, output: &Output) -> Result<(), StdoutError> {
    for (index, line) in text::wrapped(value, WIDTH - INDENT).into_iter().enumerate() {
        output.line(output.field(if index == 0 { label } else { "" }, line))?;
    }
    Ok(())
}

pub fn bullet(item: &str, output: &Output) -> Result<(), StdoutError> {
    let lines = text::wrapped(&text::plain(item), WIDTH - 4);
    for (index, line) in lines.iter().enumerate() {
        let lead = if index == 0 { "  - " } else { "    " };
        output.line(format_args!("{lead}{line}"))?;
    }
    Ok(())
}

/// At most `room` characters.
pub fn shortened(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let kept: String = text.chars().take(room.saturating_sub(1)).collect();
    format!("{kept}…")
}
