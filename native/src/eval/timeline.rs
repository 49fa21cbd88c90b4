//! Timelines of stages: a device's lane and a checker's, as text for a terminal and as SVG.

use std::fmt::Write as _;

use super::run::{Lane, Ran, Span};

/// Columns of a lane on a terminal.
const COLUMNS: usize = 60;

/// A drawing of each run, all to one scale.
pub fn lines(ran: &[Ran]) -> Vec<String> {
    let longest = longest(ran);
    let mut lines = Vec::new();
    for run in ran {
        for (lane, word) in [(Lane::Device, "device"), (Lane::Check, "check")] {
            if !run.spans.iter().any(|span| span.lane == lane) {
                continue;
            }
            let mut row = vec![' '; COLUMNS];
            for span in run.spans.iter().filter(|span| span.lane == lane) {
                let at =
                    |seconds: f64| ((seconds / longest * COLUMNS as f64) as usize).min(COLUMNS - 1);
                // Neighbouring steps in two shades, so that one is told from the next.
                let shade = if span.step % 2 == 0 { '█' } else { '▒' };
                row[at(span.from)..=at(span.to)].fill(shade);
            }
            let row: String = row.into_iter().collect();
            lines.push(format!(
                "  {:<7}{word:<7}{}",
                run.mode.word(),
                row.trim_end()
            ));
        }
    }
    lines.push(format!(
        "  {:14}{:<30}{:>30}",
        "",
        "0",
        format!("{:.0} ms", longest * 1e3)
    ));
    lines.push(String::new());
    lines
}

/// The same as a picture.
pub fn svg(ran: &[Ran]) -> String {
    const WIDTH: f64 = 900.0;
    const LEFT: f64 = 120.0;
    const BAR: f64 = 18.0;
    const GAP: f64 = 8.0;
    let longest = longest(ran);
    let lanes: Vec<(&Ran, Lane, &str)> = ran
        .iter()
        .flat_map(|run| [(run, Lane::Device, "device"), (run, Lane::Check, "check")])
        .filter(|(run, lane, _)| run.spans.iter().any(|span| span.lane == *lane))
        .collect();
    let height = 40.0 + lanes.len() as f64 * (BAR + GAP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <title>Stages of a checked generation</title>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (i, (run, lane, word)) in lanes.iter().enumerate() {
        let y = 12.0 + i as f64 * (BAR + GAP);
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "<text x=\"8\" y=\"{:.0}\" fill=\"#333333\">{} {word}</text>",
            y + 13.0,
            run.mode.word()
        );
        for span in run.spans.iter().filter(|span| span.lane == *lane) {
            let scale = (WIDTH - LEFT - 12.0) / longest;
            let _ = writeln!(
                out,
                "<rect x=\"{:.2}\" y=\"{y:.0}\" width=\"{:.2}\" height=\"{BAR}\" fill=\"{}\"><title>step {}: {:.2} ms</title></rect>",
                LEFT + span.from * scale,
                ((span.to - span.from) * scale).max(0.5),
                color(*lane, span),
                span.step,
                (span.to - span.from) * 1e3
            );
        }
    }
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"{:.0}\" fill=\"#333333\">0</text><text x=\"{:.0}\" y=\"{:.0}\" text-anchor=\"end\" fill=\"#333333\">{:.0} ms</text>\n</svg>",
        height - 8.0,
        WIDTH - 12.0,
        height - 8.0,
        longest * 1e3
    );
    out
}

fn color(lane: Lane, span: &Span) -> &'static str {
    match (lane, span.step % 2) {
        (Lane::Device, 0) => "#1f5fa8",
        (Lane::Device, _) => "#6ea3dc",
        (Lane::Check, 0) => "#b35c00",
        (Lane::Check, _) => "#eba65b",
    }
}

fn longest(ran: &[Ran]) -> f64 {
    ran.iter().map(|run| run.seconds).fold(1e-9, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::run::Mode;
    use super::*;

    #[test]
    fn lanes_are_drawn_to_one_scale() {
        let span = |lane, step, from, to| Span {
            lane,
            step,
            from,
            to,
        };
        let run = |mode, seconds, spans| Ran {
            mode,
            tokens: Vec::new(),
            seconds,
            spans,
            clean: None,
            streams: Vec::new(),
        };
        let ran = [
            run(Mode::Origin, 1.0, vec![span(Lane::Device, 0, 0.0, 1.0)]),
            run(
                Mode::Async,
                2.0,
                vec![
                    span(Lane::Device, 0, 0.0, 1.0),
                    span(Lane::Check, 0, 1.0, 2.0),
                ],
            ),
        ];
        let lines = lines(&ran);
        assert_eq!(lines.len(), 5);
        assert!(lines[0].contains("origin") && lines[0].matches('█').count() == 31);
        assert!(lines[2].contains("check") && lines[2].ends_with('█'));
        let svg = svg(&ran);
        assert_eq!(svg.matches("<rect").count(), 4);
        assert!(svg.ends_with("</svg>\n"));
    }
}
