//! Findings for people: a banner, then sections, then what to do. 80 columns.

use super::Findings;
use super::item::{Item, Status};
use crate::output::{Output, StdoutError, Style, WIDTH};
use crate::text;

pub fn print(findings: &Findings, output: &Output) -> Result<(), StdoutError> {
    for section in &findings.sections {
        output.line(output.paint(Style::Strong, title(section.id)))?;
        for item in &section.items {
            self::item(item, output)?;
        }
        output.line("")?;
    }
    banner(findings, output)
}

fn title(id: &str) -> &str {
    match id {
        "adapters" => "Adapters",
        "inference" => "Inference",
        "models" => "Models",
        "host" => "This machine",
        _ => "The page (verifying needs none of it)",
    }
}

fn mark(status: Status) -> (&'static str, Style) {
    match status {
        Status::Ok => ("✓", Style::Good),
        Status::Warning => ("!", Style::Warn),
        Status::Problem => ("✗", Style::Bad),
        Status::Unknown => ("·", Style::Dim),
    }
}

fn item(item: &Item, output: &Output) -> Result<(), StdoutError> {
    let (symbol, style) = mark(item.status);
    let mut details = item.detail.iter();
    let name = text::plain(&item.name);
    // A short name and its detail share a line; a long one stands above it.
    let first = details
        .next()
        .map(|detail| text::plain(detail))
        .unwrap_or_default();
    let beside = name.chars().count() <= 12 && first.chars().count() <= WIDTH - 17;
    let symbol = output.paint(style, symbol);
    if beside {
        output.line(format_args!("{symbol} {name:<12}  {first}"))?;
    } else {
        output.line(format_args!("{symbol} {name}"))?;
        lines(&first, None, output)?;
    }
    for detail in details {
        lines(&text::plain(detail), None, output)?;
    }
    if let Some(next) = &item.next_step {
        for line in next.lines() {
            lines(&format!("→ {line}"), Some(style), output)?;
        }
    }
    Ok(())
}

fn lines(sentence: &str, style: Option<Style>, output: &Output) -> Result<(), StdoutError> {
    for line in text::wrapped(sentence, WIDTH - 4) {
        let line = match style {
            Some(style) => output.paint(style, line),
            None => line,
        };
        output.line(format_args!("    {line}"))?;
    }
    Ok(())
}

/// The answer, framed, at the end: where one looks after a long list.
fn banner(findings: &Findings, output: &Output) -> Result<(), StdoutError> {
    let all = || findings.sections.iter().flat_map(|section| &section.items);
    let n = |status| all().filter(|item| item.status == status).count() as u64;
    let (word, style) = if findings.ready {
        ("✓ READY", Style::Good)
    } else {
        ("✗ NOT READY", Style::Bad)
    };
    let counts = format!(
        "{} fine, {}, {}",
        n(Status::Ok),
        text::count(n(Status::Warning), "warning"),
        text::count(n(Status::Problem), "problem")
    );
    let head = format!("{word}  {counts}");
    let tail = format!("assay {}, {}", findings.version, findings.system);
    let width = head.chars().count().max(tail.chars().count()) + 2;
    let rule = "─".repeat(width);
    let row = |text: &str| format!("{text}{}", " ".repeat(width - 1 - text.chars().count()));
    output.line(output.paint(style, format_args!("┌{rule}┐")))?;
    for line in [head, tail] {
        let side = output.paint(style, "│");
        output.line(format_args!("{side} {}{side}", row(&line)))?;
    }
    output.line(output.paint(style, format_args!("└{rule}┘")))
}
