//! ROC curves, and the table as HTML and Markdown.

use std::fmt::Write as _;

use assay_engine::CacheFormat;

use super::cheat::Cheat;
use super::lab::Measured;
use super::leans::{Leans, Suspicion};
use super::score::Statistic;
use super::table::{COMBINATION, Class, Detection, Rate, Row, curves, names};
use crate::alter::Weights;
use crate::chart::{Axis, Mark, Panel, Sheet, escape};

/// Statistics that are drawn: few enough to tell apart.
const DRAWN: [&str; 8] = [
    COMBINATION,
    "distance in units",
    "top-k fingerprint",
    "Pe",
    "rule, repo",
    "Token-DiFR margin",
    "likelihood (GLS)",
    "logprob distance",
];

/// Cheats that are drawn, where they were measured.
fn drawn() -> [Cheat; 6] {
    [
        Cheat::Weights(Weights::Int8),
        Cheat::Weights(Weights::Int4),
        Cheat::Weights(Weights::Fp8),
        Cheat::Kv(CacheFormat::Int8),
        Cheat::Laundered(Weights::Int8),
        Cheat::TopP(90),
    ]
}

/// ROC curves over windows of `n` tokens: one panel a cheat, one line a statistic.
pub fn roc(measured: &[Measured], is_bf16: bool, n: usize) -> Sheet {
    let class = if is_bf16 { "bf16" } else { "f32" };
    let names = names();
    let panels = drawn()
        .into_iter()
        .filter(|cheat| {
            measured
                .iter()
                .any(|m| m.cheat == *cheat && m.is_bf16 == is_bf16)
        })
        .map(|cheat| {
            let curves = curves(measured, cheat, is_bf16, n);
            let least = 1.0 / curves.honest.first().map_or(1, Vec::len).max(1) as f64;
            let line = |(series, name): (usize, &&str)| {
                let i = names.iter().position(|known| known == name)?;
                Some(Mark::Line {
                    name: (*name).to_owned(),
                    series,
                    dashed: series >= 4,
                    points: points(curves.honest.get(i)?, curves.cheat.get(i)?, least),
                })
            };
            Panel {
                title: cheat.name(),
                x: Axis::log("false-positive rate", [least, 1.0].into_iter()),
                y: Axis::share("true-positive rate"),
                marks: DRAWN.iter().enumerate().filter_map(line).collect(),
            }
        })
        .collect();
    Sheet {
        title: format!("{class} provers: ROC over {n} tokens, held-out prompts"),
        panels,
        tables: Vec::new(),
        columns: 3,
    }
}

/// (false-positive rate, true-positive rate) from the strictest threshold on; a rate of zero is drawn at `least`.
fn points(honest: &[f64], cheat: &[f64], least: f64) -> Vec<(f64, f64)> {
    let mut levels: Vec<f64> = honest.to_vec();
    levels.sort_by(|a, b| b.total_cmp(a));
    levels.dedup();
    let share = |scores: &[f64], level: f64| {
        scores.iter().filter(|s| **s > level).count() as f64 / scores.len().max(1) as f64
    };
    // At most as many points as a screen shows.
    let every = (levels.len() / 200).max(1);
    let mut points: Vec<(f64, f64)> = levels
        .iter()
        .enumerate()
        .filter(|(i, _)| *i < 40 || i % every == 0)
        .map(|(_, level)| (share(honest, *level).max(least), share(cheat, *level)))
        .collect();
    points.push((1.0, 1.0));
    points
}

/// Statistics of the table, in its columns' order.
pub fn columns() -> Vec<&'static str> {
    names()
}

impl Detection {
    /// The table as HTML, a table a class and question.
    pub fn html(&self) -> String {
        let mut out = String::new();
        for class in &self.classes {
            let _ = write!(
                out,
                "<h3>{} provers</h3><p>{}</p>",
                class.name,
                escape(&class.described(self.tokens_per_run))
            );
            out += "<h4>Found at a false-positive rate of 1e-3 (in brackets: 1e-2), over one run's tokens</h4>";
            out += &grid(class, |row, i| {
                let [loose, strict] = row.found[i].true_positives;
                (
                    format!(
                        "{:.0} <small>({:.0})</small>",
                        100.0 * strict,
                        100.0 * loose
                    ),
                    strict,
                )
            });
            out += "<h4>Tokens needed to find 99 % at 1e-3</h4>";
            out += &grid(class, |row, i| match row.found[i].tokens_for_99 {
                Some(n) => (n.to_string(), 1.0 - (n as f64).log2() / 10.0),
                None => ("–".to_owned(), 0.0),
            });
            out += &suspicions_html(class);
        }
        out
    }

    /// The table as Markdown, for `docs/detection.md`.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for class in &self.classes {
            let _ = write!(
                out,
                "### {} provers\n\n{}\n\n",
                class.name,
                class.described(self.tokens_per_run)
            );
            out += "Found at a false-positive rate of 1e-3 over one run's tokens, in percent; in brackets at 1e-2:\n\n";
            out += &markdown_grid(class, |row, i| {
                let [loose, strict] = row.found[i].true_positives;
                format!("{:.0} ({:.0})", 100.0 * strict, 100.0 * loose)
            });
            out += "\nTokens needed to find 99 % at 1e-3 (beyond a run's length by drawing whole runs):\n\n";
            out += &markdown_grid(class, |row, i| {
                row.found[i]
                    .tokens_for_99
                    .map_or("-".to_owned(), |n| n.to_string())
            });
            out += "\nFalse positives on held-out honest runs (asked for: 1e-2 and 1e-3), with upper bounds (95 %):\n\n";
            out += "| statistic | at 1e-2 | at most | at 1e-3 | at most |\n|---|---|---|---|---|\n";
            for line in &class.honest {
                let cells: Vec<String> = line
                    .rates
                    .iter()
                    .map(|r| format!("{} of {} | {:.2} %", r.k, r.n, 100.0 * r.at_most))
                    .collect();
                let _ = writeln!(out, "| {} | {} |", line.statistic, cells.join(" | "));
            }
            out += "\nVerdicts of whole traces: what `assay --verify` says (rejected / inconclusive), and runs that pass VeriLLM's published \
                    rules (accept rate above 0.95 without the embedding):\n\n";
            out += "| prover | runs | rejected | inconclusive | passes repo | passes paper | sequential test rejects | after tokens (median) |\n\
                    |---|---|---|---|---|---|---|---|\n";
            let stopped = |stopped: &Option<crate::stopping::Stopped>| match stopped {
                Some(s) => {
                    let median = s
                        .median_tokens
                        .map_or("-".to_owned(), |m| format!("{m:.0}"));
                    format!("{} of {} | {median}", s.rejected, s.runs)
                }
                None => "not counted | -".to_owned(),
            };
            let [reject, open] = class.own_false_rejects;
            let _ = writeln!(
                out,
                "| honest, held out | {} | {reject} | {open} | | | {} |",
                class.held_out_runs,
                stopped(&class.stopping)
            );
            for row in &class.cheats {
                let ([reject, open], [repo, paper]) = (row.own, row.passes_published);
                let _ = writeln!(
                    out,
                    "| {} | {} | {reject} | {open} | {repo} | {paper} | {} |",
                    row.cheat,
                    row.runs,
                    stopped(&row.stopping)
                );
            }
            out.push('\n');
            out += &suspicions_markdown(class);
        }
        out
    }
}

/// Columns of the table of suspects.
pub(crate) const SUSPICIONS: [&str; 8] = [
    "suspect",
    "honest leans",
    "largest error",
    "honest rejected",
    "leans of a prover that ran it",
    "rejected",
    "found at 1e-3 (1e-2), false positives held out",
    "tokens for 99 % at 1e-3",
];

/// What a row says under [`SUSPICIONS`].
pub(crate) fn suspicion(s: &Suspicion) -> [String; SUSPICIONS.len()] {
    let range = |leans: &Leans| format!("{:+.2} to {:+.2}", leans.range[0], leans.range[1]);
    let rejected = |leans: &Leans| {
        let Rate { k, n, at_most } = leans.rejected;
        let unclear = match leans.inconclusive {
            0 => String::new(),
            unclear => format!("; {unclear} cannot tell"),
        };
        (format!("{k} of {n}"), at_most, unclear)
    };
    let (honest, at_most, cannot_tell) = rejected(&s.honest);
    let (guilty, _, unclear) = rejected(&s.guilty);
    let [loose, strict] = s.true_positives;
    let counted: Vec<String> = s
        .false_positives
        .iter()
        .rev()
        .map(|rate| format!("{} of {}", rate.k, rate.n))
        .collect();
    [
        s.suspect.clone(),
        range(&s.honest),
        format!("{:.3}", s.honest.error),
        format!("{honest} (below {:.2} %){cannot_tell}", 100.0 * at_most),
        range(&s.guilty),
        format!("{guilty}{unclear}"),
        format!(
            "{:.1} % ({:.1} %), {}",
            100.0 * strict,
            100.0 * loose,
            counted.join(" and ")
        ),
        s.tokens_for_99
            .map_or_else(|| "-".to_owned(), |n| n.to_string()),
    ]
}

fn suspicions_markdown(class: &Class) -> String {
    if class.suspicions.is_empty() {
        return String::new();
    }
    let mut out = "Suspects, each named to the verifier (`--suspect`); lean 0 is the claimed model, 1 the suspect. Leans, errors and rejections are \
                   of prompt and answer, rates of answers:\n\n"
        .to_owned();
    let _ = writeln!(
        out,
        "| {} |\n|{}",
        SUSPICIONS.join(" | "),
        "---|".repeat(SUSPICIONS.len())
    );
    for one in &class.suspicions {
        let _ = writeln!(out, "| {} |", suspicion(one).join(" | "));
    }
    out.push('\n');
    out
}

fn suspicions_html(class: &Class) -> String {
    if class.suspicions.is_empty() {
        return String::new();
    }
    let row = |tag: &str, cells: &[String]| {
        let cells = cells
            .iter()
            .map(|cell| format!("<{tag}>{}</{tag}>", escape(cell)));
        format!("<tr>{}</tr>", cells.collect::<String>())
    };
    let mut out =
        "<h4>Suspects that the verifier names</h4><div class=\"wide\"><table><thead>".to_owned();
    out += &row("th", &SUSPICIONS.map(str::to_owned));
    out += "</thead><tbody>";
    for one in &class.suspicions {
        out += &row("td", &suspicion(one));
    }
    out + "</tbody></table></div>"
}

impl Class {
    fn described(&self, tokens: usize) -> String {
        let devices: Vec<String> = self
            .devices
            .iter()
            .map(|(name, n)| format!("{name}: {n}"))
            .collect();
        format!(
            "Thresholds from {} honest runs of {tokens} tokens, rates from {} others on other prompts; {} runs of each cheat. \
             A threshold for 1e-3 from {} runs is their {}, so the false positives that were counted are given beside it. \
             Honest runs by devices: {}.",
            self.calibration_runs,
            self.held_out_runs,
            self.cheats.iter().map(|row| row.runs).min().unwrap_or(0),
            self.calibration_runs,
            if self.calibration_runs < 1000 {
                "maximum"
            } else {
                "uppermost thousandth"
            },
            devices.join("; ")
        )
    }
}

fn grid(class: &Class, cell: impl Fn(&Row, usize) -> (String, f64)) -> String {
    let mut out = "<div class=\"wide\"><table class=\"heat\"><thead><tr><th>cheat</th>".to_owned();
    for name in names() {
        let _ = write!(out, "<th>{}</th>", escape(name));
    }
    out += "</tr></thead><tbody>";
    for row in &class.cheats {
        let _ = write!(out, "<tr><th>{}</th>", escape(&row.cheat));
        for i in 0..=Statistic::COUNT {
            let (text, level) = cell(row, i);
            let _ = write!(
                out,
                "<td style=\"--level:{:.0}%\">{text}</td>",
                70.0 * level.clamp(0.0, 1.0)
            );
        }
        out += "</tr>";
    }
    out + "</tbody></table></div>"
}

fn markdown_grid(class: &Class, cell: impl Fn(&Row, usize) -> String) -> String {
    let names = names();
    let mut out = format!(
        "| cheat | {} |\n|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for row in &class.cheats {
        let cells: Vec<String> = (0..names.len()).map(|i| cell(row, i)).collect();
        let _ = writeln!(out, "| {} | {} |", row.cheat, cells.join(" | "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_ends_at_one_and_rises() {
        let honest: Vec<f64> = (0..500).map(f64::from).collect();
        let cheat: Vec<f64> = (250..750).map(f64::from).collect();
        let points = points(&honest, &cheat, 1e-3);
        assert_eq!(points.last(), Some(&(1.0, 1.0)));
        assert!(
            points
                .windows(2)
                .all(|p| p[0].0 <= p[1].0 && p[0].1 <= p[1].1)
        );
        // Above every honest score lies a half of the cheat's.
        assert!((points[0].1 - 0.5).abs() < 0.01, "{:?}", points[0]);
    }
}
