//! A page that holds everything: no script, no file beside it, in the reader's light or dark mode.

use std::fmt::Write as _;

use assay_verify::Verdict;

use crate::chart::{Axis, Mark, Panel, STYLE, Sheet, escape, histogram, short};
use crate::comparison::{self, maybe, percent};
use crate::pooled::{Moments, POOLED, Pooled, Recommended};
use crate::summary::{Aggregate, Summary};
use crate::trial::Trial;

const PAGE_STYLE: &str = "\
body{margin:0 auto;max-width:1200px;padding:2rem 1.2rem 5rem;background:var(--paper);color:var(--ink);\
font:15px/1.5 system-ui,sans-serif}h1{font-size:1.7rem;font-weight:650;margin:0 0 .2rem}h2{margin:2.6rem 0 .4rem;font-size:1.25rem;\
border-top:1px solid var(--hair);padding-top:1.4rem}h3{margin:1.6rem 0 .3rem}h4{margin:1.2rem 0 .3rem;font-weight:600}\
p{max-width:72ch;margin:.4rem 0}.mute,small{color:var(--mute)}table{border-collapse:collapse;font-variant-numeric:tabular-nums;\
margin:.5rem 0}th,td{padding:.28rem .65rem;text-align:right;border-bottom:1px solid var(--hair);vertical-align:top}\
th:first-child,td:first-child{text-align:left}thead th{font-weight:600;color:var(--mute)}tbody th{font-weight:500;text-align:left}\
.wide{overflow-x:auto}.good{color:var(--good)}.bad{color:var(--bad)}svg.plot{max-width:100%;height:auto;margin:.6rem 0}\
table.heat td{background:color-mix(in srgb,var(--s0) var(--level),transparent);white-space:nowrap}\
table.heat thead th{writing-mode:vertical-rl;transform:rotate(180deg);text-align:left;height:9.5em}\
table.heat thead th:first-child{writing-mode:initial;transform:none;height:auto;vertical-align:bottom}\
td.text,th.text{text-align:left}table.heat small{color:inherit;opacity:.75}code{font-family:ui-monospace,monospace;font-size:.92em}@media print{body{max-width:none}}";

/// A page in the making.
pub struct Page(String);

impl Page {
    /// Starts one.
    pub fn new(title: &str, subtitle: &str) -> Self {
        let (title, subtitle) = (escape(title), escape(subtitle));
        Self(format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
             <title>{title}</title><style>{STYLE}{PAGE_STYLE}</style></head><body><main>\
             <h1>{title}</h1><p class=\"mute\">{subtitle}</p>"
        ))
    }

    /// A heading.
    pub fn section(&mut self, title: &str) {
        let _ = write!(self.0, "<h2>{}</h2>", escape(title));
    }

    /// A paragraph of text.
    pub fn text(&mut self, text: &str) {
        let _ = write!(self.0, "<p>{}</p>", escape(text));
    }

    /// A table of text; the first row is its head.
    pub fn table(&mut self, rows: &[Vec<String>]) {
        let Some((head, rows)) = rows.split_first() else {
            return;
        };
        // A column of words is set left, one of figures right.
        let words = |column: usize| {
            let mut cells = rows.iter().filter_map(|row| row.get(column));
            cells.any(|cell| cell.chars().next().is_some_and(char::is_alphabetic))
        };
        let class = |column: usize| if words(column) { " class=\"text\"" } else { "" };
        self.0 += "<div class=\"wide\"><table><thead><tr>";
        for (column, cell) in head.iter().enumerate() {
            let _ = write!(self.0, "<th{}>{}</th>", class(column), escape(cell));
        }
        self.0 += "</tr></thead><tbody>";
        for row in rows {
            self.0 += "<tr>";
            for (column, cell) in row.iter().enumerate() {
                let _ = write!(self.0, "<td{}>{}</td>", class(column), escape(cell));
            }
            self.0 += "</tr>";
        }
        self.0 += "</tbody></table></div>";
    }

    /// Plots.
    pub fn sheet(&mut self, sheet: &Sheet) {
        self.0 += &sheet.inline();
    }

    /// Markup that is safe already.
    pub(crate) fn markup(&mut self, markup: &str) {
        self.0 += markup;
    }

    /// The detection table.
    pub fn detection(&mut self, detection: &crate::detection::Detection) {
        self.markup(&detection.html());
    }

    /// The page's text.
    pub fn finish(self) -> String {
        self.0 + "</main></body></html>\n"
    }
}

/// The page of some experiments. `remarks` stand under the title.
pub fn experiments(all: &[(Summary, Vec<Trial>)], subtitle: &str, remarks: &[String]) -> String {
    let mut page = Page::new("Experiments", subtitle);
    for remark in remarks {
        page.text(remark);
    }
    let summaries: Vec<&Summary> = all.iter().map(|(summary, _)| summary).collect();
    page.section("Side by side");
    page.table(&comparison::table(&summaries));
    page.text(
        "Accept rate: share of pairs of rows (a generated token, a sampled hidden state) that a rule accepts; mean over verifiers, then \
         over trials. The embedding always matches, so it is free; the columns beside leave it out. repo: the reproduction's code, whose \
         Pm and Pw never decide. paper: conditioned on exponents, signed mean, all four. Own: what assay --verify looks at besides \
         hashes, prompt and the root of the weights.",
    );
    page.sheet(&rates(all));
    for (summary, trials) in all {
        section(&mut page, summary, trials);
    }
    page.finish()
}

/// Each trial's accept rate, what it must exceed, and the overhead.
fn rates(all: &[(Summary, Vec<Trial>)]) -> Sheet {
    let names: Vec<&str> = all
        .iter()
        .map(|(summary, _)| summary.experiment.name())
        .collect();
    let dots = |figure: &dyn Fn(&Trial) -> Option<f64>, shift: f64| -> Vec<(f64, f64)> {
        all.iter()
            .enumerate()
            .flat_map(|(i, (_, trials))| {
                let at = i as f64 + shift;
                trials
                    .iter()
                    .filter_map(|t| Some((at, figure(t)?)))
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let levels = all.iter().enumerate().map(|(i, (summary, _))| Mark::Level {
        name: if i == 0 {
            "must exceed".to_owned()
        } else {
            String::new()
        },
        series: 6,
        from: i as f64 - 0.4,
        to: i as f64 + 0.4,
        y: summary.accept_rate_threshold,
    });
    let accept = Panel {
        title: "Accept rate of each trial, embedding left out".to_owned(),
        x: Axis::names("experiment", &names),
        y: Axis::share("accept rate"),
        marks: levels
            .chain([
                Mark::Dots {
                    name: "repo rule".to_owned(),
                    series: 0,
                    points: dots(
                        &|t| t.mean(|one| one.summary.accept_rate_without_embedding),
                        -0.12,
                    ),
                },
                Mark::Dots {
                    name: "paper rule".to_owned(),
                    series: 1,
                    points: dots(
                        &|t| t.mean(|one| one.summary.paper_accept_rate_without_embedding),
                        0.12,
                    ),
                },
            ])
            .collect(),
    };
    let distance = dots(
        &|t| {
            let rows = t
                .verifications
                .iter()
                .flat_map(|one| one.per_layer.values());
            let worst = rows.map(|pair| pair.rel_l2).fold(0.0, f64::max);
            Some(worst.max(1e-10))
        },
        0.0,
    );
    let worst = Panel {
        title: "Largest relative L2 distance of each trial".to_owned(),
        x: Axis::names("experiment", &names),
        y: Axis::log("relative L2", distance.iter().map(|p| p.1)),
        marks: vec![Mark::Dots {
            name: String::new(),
            series: 0,
            points: distance,
        }],
    };
    let overhead = dots(&|t| t.mean(|one| Some(one.overhead.percentage)), 0.0);
    let time = Panel {
        title: "Verifying over generating with a KV cache".to_owned(),
        x: Axis::names("experiment", &names),
        y: Axis::around("percent", overhead.iter().map(|p| p.1).chain([0.0])),
        marks: vec![
            Mark::Level {
                name: "1 %, VeriLLM's claim for 512 + 128 tokens on GPUs".to_owned(),
                series: 6,
                from: -0.5,
                to: names.len() as f64 - 0.5,
                y: 1.0,
            },
            Mark::Dots {
                name: String::new(),
                series: 0,
                points: overhead,
            },
        ],
    };
    Sheet {
        title: String::new(),
        panels: vec![accept, worst, time],
        tables: Vec::new(),
        columns: 3,
    }
}

fn section(page: &mut Page, summary: &Summary, trials: &[Trial]) {
    page.section(&format!("{}: {}", summary.experiment.name(), summary.title));
    page.text(&format!(
        "The seeds say (theirs, not measured here): {}.",
        summary.seeds_say
    ));
    if let Some(readings) = &summary.readings {
        let word = |yes: bool| if yes { "holds" } else { "does not hold" };
        page.text(&format!(
            "Read as \"should still pass\": {} of trials pass, so it {}. Read as \"must be caught\": {} of trials fail by the \
             reproduction's rule, so it {} (wanted: above 80 %). Assay's own verdict rejects {} of verifications (trials: at least {}, \
             95 %).",
            percent(readings.should_pass),
            word(readings.passes),
            percent(readings.caught),
            word(readings.is_caught),
            percent(readings.own_caught),
            percent(readings.own_caught_at_least)
        ));
    }
    let mut rows = vec![
        [
            "direction",
            "trials",
            "pairs",
            "accept rate (repo)",
            "without embedding",
            "pass (repo)",
            "pass (paper)",
            "tokens replayed",
            "largest distance",
            "verify / generate",
            "prover tokens/s",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (name, a) in &summary.directions {
        rows.push(line(name, a));
    }
    page.table(&rows);
    page.sheet(&sheet(&Pooled::of(trials), ""));
    let mut rows = vec![
        [
            "trial",
            "prompt",
            "answer",
            "accept rate",
            "own verdict",
            "codes",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for trial in trials.iter().take(40) {
        let rate = trial
            .mean(|one| Some(one.summary.accept_rate))
            .unwrap_or(0.0);
        let mut words: Vec<&str> = Vec::new();
        let mut codes: Vec<&str> = Vec::new();
        for one in &trial.verifications {
            let word = match one.own.verdict {
                Verdict::Accept => "accept",
                Verdict::Reject => "reject",
                Verdict::Inconclusive => "inconclusive",
            };
            if !words.contains(&word) {
                words.push(word);
            }
            for code in &one.own.codes {
                if !codes.contains(&code.as_str()) {
                    codes.push(code);
                }
            }
        }
        let cut = |text: &str| text.chars().take(60).collect::<String>();
        rows.push(vec![
            format!(
                "{}{}",
                trial.proven.trial_id,
                if trial.proven.direction == 0 {
                    ""
                } else {
                    " (back)"
                }
            ),
            cut(&trial.proven.prompt),
            cut(&trial.proven.generated_text),
            percent(rate),
            words.join(", "),
            codes.join(", "),
        ]);
    }
    page.table(&rows);
}

fn line(name: &str, a: &Aggregate) -> Vec<String> {
    vec![
        name.to_owned(),
        a.trials.to_string(),
        a.pairs.to_string(),
        percent(a.avg_accept_rate),
        maybe(a.avg_accept_rate_without_embedding),
        percent(a.pass_rate.repo),
        percent(a.pass_rate.paper),
        percent(a.avg_replayed),
        short(a.max_rel_l2),
        format!("{:.1} %", a.avg_overhead_percentage),
        short(a.avg_tokens_per_second),
    ]
}

/// The seed's 2 x 3 histograms: 30 bins each, mean and 95th percentile.
pub fn sheet(pooled: &Pooled, title: &str) -> Sheet {
    let panels = POOLED.into_iter().map(|name| {
        let values = pooled.of_figure(name);
        let moments = Moments::of(values);
        let bars = histogram(values, 30, false);
        let ends = bars.iter().flat_map(|bar| [bar.0, bar.1]);
        let upright = |name: &str, series, x| Mark::Upright {
            name: format!("{name} {}", short(x)),
            series,
            x,
        };
        Panel {
            title: name.to_owned(),
            x: Axis::around(name, ends),
            y: Axis::around("count", bars.iter().map(|bar| bar.2).chain([0.0])),
            marks: vec![
                Mark::Bars { series: 0, bars },
                upright("mean", 1, moments.mean),
                upright("p95", 2, moments.p95),
            ],
        }
    });
    Sheet {
        title: title.to_owned(),
        panels: panels.collect(),
        tables: Vec::new(),
        columns: 3,
    }
}

/// Thresholds as the seed's banner has them.
pub fn banner(long_name: &str, r: &Recommended) -> String {
    let rule = "=".repeat(80);
    format!(
        "{rule}\nRECOMMENDED THRESHOLDS FOR {}\n{rule}\n  Pe_max: {:.4}\n  Pm_min: {:.4}\n  Pw_min: {:.4}\n  mean_error_max: {:.4}\n  \
         accept_rate_min: {:.4}\n{rule}",
        long_name.to_uppercase(),
        r.Pe_max,
        r.Pm_min,
        r.Pw_min,
        r.mean_error_max,
        r.accept_rate_min
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_whole_and_hold_no_script() {
        let mut page = Page::new("<script>", "a & b");
        page.section("s");
        page.table(&[vec!["x".to_owned()], vec!["<img onerror=1>".to_owned()]]);
        page.sheet(&sheet(&Pooled::default(), ""));
        let html = page.finish();
        assert!(
            html.ends_with("</html>\n") && !html.contains("<script>") && !html.contains("<img")
        );
        assert_eq!(html.matches("<svg").count(), 1);
    }

    #[test]
    fn the_banner_is_the_seeds() {
        let r = Recommended {
            Pe_max: 0.02,
            Pm_min: 0.75,
            Pw_min: 0.5,
            mean_error_max: 0.01,
            accept_rate_min: 0.95,
        };
        let text = banner("exp1_homogeneous", &r);
        assert!(text.contains("RECOMMENDED THRESHOLDS FOR EXP1_HOMOGENEOUS"));
        assert!(text.contains("  Pe_max: 0.0200\n  Pm_min: 0.7500"));
    }
}
