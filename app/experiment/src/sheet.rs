//! The same results as sheets, which the window and the page draw.

use assay_sheet::{Axis, Block, Cell, Chart, Mark, Series, Sheet, Style, Table};

use crate::comparison;
#[cfg(feature = "native")]
use crate::detection::{Detection, draw, table::RATES};
use crate::summary::{Aggregate, Summary};
use crate::trial::Trial;

/// Of some experiments; `remarks` say how they were made.
pub fn experiments(all: &[(Summary, Vec<Trial>)], subtitle: &str, remarks: &[String]) -> Sheet {
    let summaries: Vec<&Summary> = all.iter().map(|(summary, _)| summary).collect();
    let mut side_by_side: Vec<Block> = remarks.iter().cloned().map(Block::Text).collect();
    side_by_side.push(Block::Table(words(
        "The embedding always matches, so it is free; the columns beside leave it out",
        comparison::table(&summaries),
    )));
    side_by_side.extend(charts(all).map(Block::Chart));
    let mut sheet = Sheet::new("Experiments", subtitle).section("Side by side", side_by_side);
    for summary in summaries {
        let name = format!("{}: {}", summary.experiment.name(), summary.title);
        sheet = sheet.section(&name, one(summary));
    }
    sheet
}

/// A table of words, its first row the head.
fn words(caption: &str, rows: Vec<Vec<String>>) -> Table {
    let mut rows = rows.into_iter();
    Table {
        caption: caption.to_owned(),
        columns: rows.next().unwrap_or_default(),
        rows: rows
            .map(|row| row.into_iter().map(Cell::Text).collect())
            .collect(),
    }
}

/// Accept rates, distances and overheads of all trials, by the experiment's number.
fn charts(all: &[(Summary, Vec<Trial>)]) -> [Chart; 3] {
    let number = |summary: &Summary| summary.experiment as usize as f64 + 1.0;
    let dots = |name: &str, shift: f64, figure: &dyn Fn(&Trial) -> Option<f64>| Series {
        name: name.to_owned(),
        style: Style::Dots,
        points: all
            .iter()
            .flat_map(|(summary, trials)| trials.iter().map(move |trial| (summary, trial)))
            .filter_map(|(summary, trial)| Some([number(summary) + shift, figure(trial)?]))
            .collect(),
        band: Vec::new(),
    };
    let limits = Series {
        name: "must exceed".to_owned(),
        style: Style::Dots,
        points: all
            .iter()
            .map(|(summary, _)| [number(summary), summary.accept_rate_threshold])
            .collect(),
        band: Vec::new(),
    };
    let chart = |title: &str, y, series, marks| Chart {
        title: title.to_owned(),
        x: Axis::linear("experiment"),
        y,
        series,
        marks,
    };
    let worst = |trial: &Trial| {
        let all = trial.verifications.iter();
        let rows = all.flat_map(|one| one.per_layer.values());
        Some(rows.map(|pair| pair.rel_l2).fold(1e-10, f64::max))
    };
    [
        chart(
            "Accept rate of each trial, the embedding left out",
            Axis::linear("accept rate"),
            vec![
                dots("repo rule", -0.1, &|trial| {
                    trial.mean(|one| one.summary.accept_rate_without_embedding)
                }),
                dots("paper rule", 0.1, &|trial| {
                    trial.mean(|one| one.summary.paper_accept_rate_without_embedding)
                }),
                limits,
            ],
            Vec::new(),
        ),
        chart(
            "Largest distance of each trial",
            Axis::log("relative L2"),
            vec![dots("trials", 0.0, &worst)],
            Vec::new(),
        ),
        chart(
            "Verifying over generating with a KV cache",
            Axis::linear("percent"),
            vec![dots("trials", 0.0, &|trial| {
                trial.mean(|one| Some(one.overhead.percentage))
            })],
            vec![Mark {
                label: "VeriLLM’s claim for 512 + 128 tokens on GPUs, percent".to_owned(),
                axis: assay_sheet::Across::Y,
                at: 1.0,
            }],
        ),
    ]
}

/// One experiment by direction.
fn one(summary: &Summary) -> Vec<Block> {
    let row = |name: &str, of: &Aggregate| {
        vec![
            Cell::from(name),
            Cell::from(of.trials as f64),
            Cell::from(of.avg_accept_rate),
            Cell::from(of.avg_accept_rate_without_embedding),
            Cell::from(of.avg_paper_accept_rate_without_embedding),
            Cell::from(of.pass_rate.repo),
            Cell::from(of.avg_replayed),
            Cell::from(of.max_rel_l2),
            Cell::from(of.own.accept as f64),
            Cell::from(of.own.reject as f64),
            Cell::from(of.own.inconclusive as f64),
        ]
    };
    let columns = [
        "prover -> verifiers",
        "trials",
        "accept rate (repo)",
        "without embedding",
        "paper, without embedding",
        "trials pass (repo)",
        "tokens replayed",
        "largest relative L2",
        "own: accept",
        "reject",
        "inconclusive",
    ];
    let mut rows: Vec<Vec<Cell>> = summary
        .directions
        .iter()
        .map(|(name, of)| row(name, of))
        .collect();
    rows.push(row("all", &summary.aggregate));
    let mut blocks = vec![Block::Table(Table {
        caption: format!(
            "Accept rates must exceed {:.2}. The seeds say: {}",
            summary.accept_rate_threshold, summary.seeds_say
        ),
        columns: columns.map(str::to_owned).to_vec(),
        rows,
    })];
    if let Some(readings) = &summary.readings {
        blocks.push(Block::Text(format!(
            "The seeds read this experiment in two ways. As one that should pass: {:.1} % of trials do. As one that must be caught: {:.1} % \
             do not pass. By Assay’s own verdict {:.1} % of verifications end in REJECT (at least {:.1} % of trials, 95 %).",
            100.0 * readings.should_pass,
            100.0 * readings.caught,
            100.0 * readings.own_caught,
            100.0 * readings.own_caught_at_least,
        )));
    }
    blocks
}

/// Of what each statistic detects.
#[cfg(feature = "native")]
pub fn detection(table: &Detection, subtitle: &str) -> Sheet {
    let mut sheet = Sheet::new("What each statistic detects", subtitle)
        .fact("model", table.model.clone())
        .fact("tokens of a run", table.tokens_per_run.to_string());
    for class in &table.classes {
        let names = class.honest.iter().map(|of| of.statistic.clone());
        let rates = |index: usize| {
            let columns = ["cheat", "own verdict rejects"].map(str::to_owned);
            Table {
                caption: format!(
                    "Share of dishonest runs that are found at a false-positive rate of {:e}",
                    RATES[index]
                ),
                columns: columns.into_iter().chain(names.clone()).collect(),
                rows: class
                    .cheats
                    .iter()
                    .map(|row| {
                        let own = row.own[0] as f64 / row.runs.max(1) as f64;
                        let found = row
                            .found
                            .iter()
                            .map(|f| Cell::from(f.true_positives[index]));
                        [Cell::from(row.cheat.as_str()), Cell::from(own)]
                            .into_iter()
                            .chain(found)
                            .collect()
                    })
                    .collect(),
            }
        };
        let tokens = Table {
            caption: "Tokens from which on 99 % are found at a false-positive rate of 1e-3; nothing where more than were tried".to_owned(),
            columns: ["cheat".to_owned()].into_iter().chain(names.clone()).collect(),
            rows: class
                .cheats
                .iter()
                .map(|row| {
                    let found = row.found.iter();
                    let found = found.map(|f| Cell::from(f.tokens_for_99.map(|n| n as f64)));
                    [Cell::from(row.cheat.as_str())].into_iter().chain(found).collect()
                })
                .collect(),
        };
        let honest = Block::Text(format!(
            "Thresholds come from {} honest runs on other prompts; of {} held-out honest runs Assay’s own verdict rejects {} and calls {} inconclusive.",
            class.calibration_runs,
            class.held_out_runs,
            class.own_false_rejects[0],
            class.own_false_rejects[1]
        ));
        let mut blocks = vec![
            honest,
            Block::Table(rates(1)),
            Block::Table(rates(0)),
            Block::Table(tokens),
        ];
        if !class.suspicions.is_empty() {
            let rows = class.suspicions.iter().map(draw::suspicion);
            blocks.push(Block::Table(words(
                "Suspects that the verifier names: lean 0 is the claimed model, 1 the suspect",
                [draw::SUSPICIONS.map(str::to_owned)]
                    .into_iter()
                    .chain(rows)
                    .map(Vec::from)
                    .collect(),
            )));
        }
        sheet = sheet.section(&format!("{} provers", class.name), blocks);
    }
    sheet
}
