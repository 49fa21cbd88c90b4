//! `assay noise`: verified_llm's noise test: losses of every product, and perplexity, at several scales of noise.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use assay_experiment::ExperimentError;
use assay_experiment::chart::{Axis, Mark, Panel, Sheet};
use assay_experiment::losses::Stream;
use assay_experiment::noise::{Bench, Level, THRESHOLD, windows};
use assay_experiment::page::Page;
use serde::{Deserialize, Serialize};

use super::store;
use crate::exit::Exit;
use crate::interrupt;
use crate::model_arg::ModelArgs;
use crate::output::{Output, Style};
use crate::progress::Progress;

/// Bytes that a text may have.
const MAX_BYTES: u64 = 1 << 30;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// The text: one document, or a .jsonl with a field `text` a line (C4)
    #[arg(long, value_name = "FILE")]
    text: PathBuf,

    /// Scales of the noise; 0 is none
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "0,1e-9,1e-8,1e-7,1e-6,1e-5,1e-4"
    )]
    scales: Vec<f64>,

    /// Windows of each scale, at most; whole batches of 4 are used
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(4..))]
    limit: u32,

    /// Folder for logs, plots and noise.json
    #[arg(long, value_name = "DIR", default_value = "logs")]
    out: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary<'a> {
    schema: &'static str,
    model: String,
    text: String,
    windows: usize,
    levels: Vec<Line<'a>>,
}

#[derive(Serialize)]
struct Line<'a> {
    scale: f64,
    perplexity: f64,
    tokens: usize,
    /// By stream: mean and largest loss, and the share that the seed's threshold of 1e-5 flags.
    losses: Vec<(&'a str, f64, f64, f64)>,
}

/// Measures.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    ensure!(
        args.scales.iter().all(|s| s.is_finite() && *s >= 0.0),
        "a scale must be a number of 0 or more"
    );
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    let model = args.model.open(output, args.json)?;
    let limit = args.limit as usize;
    let windows = {
        let documents = documents(&args.text)?;
        let tokenizer = model
            .tokenizer()
            .context("the model has no tokenizer\ngive it with --tokenizer FILE")?;
        let encode = |text: String| Ok(tokenizer.encode(&text)?);
        windows(documents.into_iter().map(encode), model.config(), limit)?
    };
    let mut progress = Progress::start(!args.json);
    let bench = Bench::new(&model)?;
    let mut levels = Vec::new();
    let total = (args.scales.len() * windows.len()) as u64;
    for (index, scale) in args.scales.iter().enumerate() {
        let goes_on = |batch: usize| -> Result<(), ExperimentError> {
            interrupt::check()?;
            progress.runs((index * windows.len() + 4 * batch) as u64, total);
            Ok(())
        };
        let level = bench.run(&windows, *scale, goes_on)?;
        let stem = level.file_stem(limit);
        let file = |ending: &str| args.out.join(format!("{stem}{ending}"));
        store::write(&file(".log"), level.log().as_bytes())?;
        store::write(&file("-loss.log"), level.loss_log().as_bytes())?;
        let title = format!(
            "Losses at noise {}, {} windows",
            shown(*scale),
            windows.len()
        );
        store::write(
            &file("-loss.svg"),
            level.sheet(&title).standalone().as_bytes(),
        )?;
        levels.push(level);
    }
    progress.clear();
    let summary = Summary {
        schema: "assay-noise-1",
        model: args.model.name(),
        text: args.text.display().to_string(),
        windows: windows.len(),
        levels: levels.iter().map(line).collect(),
    };
    store::write_json(&args.out.join("noise.json"), &summary)?;
    let mut page = Page::new(
        "Noise and perplexity",
        &format!("{}; {}", summary.model, summary.text),
    );
    page.sheet(&overview(&levels));
    for level in &levels {
        page.section(&format!(
            "Noise {}: perplexity {:.4}",
            shown(level.scale),
            level.perplexity
        ));
        page.sheet(&level.sheet(""));
    }
    store::write(&args.out.join("noise.html"), page.finish().as_bytes())?;
    if args.json {
        output.json(&summary)?;
    } else {
        print(&levels, output)?;
    }
    output.note_field("files", args.out.display());
    Ok(Exit::Ok)
}

fn documents(path: &std::path::Path) -> anyhow::Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Document {
        text: String,
    }
    let shown = path.display();
    let bytes = std::fs::metadata(path)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    ensure!(
        bytes <= MAX_BYTES,
        "{shown} has {bytes} bytes, want at most {MAX_BYTES}"
    );
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    if path
        .extension()
        .is_none_or(|extension| extension != "jsonl")
    {
        return Ok(vec![text]);
    }
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            let document: Document = serde_json::from_str(line).with_context(|| {
                format!(
                    "{shown}, line {}: no object with a field `text`",
                    number + 1
                )
            })?;
            Ok(document.text)
        })
        .collect()
}

fn line(level: &Level) -> Line<'static> {
    let of = |stream: Stream| {
        let all: Vec<f64> = level
            .losses
            .iter()
            .filter(|l| l.stream == stream)
            .map(|l| l.loss)
            .collect();
        let n = all.len().max(1) as f64;
        let flagged = all.iter().filter(|l| **l > THRESHOLD).count() as f64 / n;
        let largest = all.iter().copied().fold(0.0, f64::max);
        (stream.name(), all.iter().sum::<f64>() / n, largest, flagged)
    };
    Line {
        scale: level.scale,
        perplexity: level.perplexity,
        tokens: level.tokens,
        losses: Stream::ALL.map(of).to_vec(),
    }
}

fn shown(scale: f64) -> String {
    match scale {
        0.0 => "none".to_owned(),
        scale => format!("{scale:e}"),
    }
}

/// Mean losses and perplexity by scale; no noise stands at a tenth of the smallest scale.
fn overview(levels: &[Level]) -> Sheet {
    let least = levels
        .iter()
        .map(|l| l.scale)
        .filter(|s| *s > 0.0)
        .fold(1.0, f64::min)
        / 10.0;
    let at = |level: &Level| level.scale.max(least);
    let lines: Vec<(f64, Line)> = levels
        .iter()
        .map(|level| (at(level), line(level)))
        .collect();
    let losses = || {
        lines
            .iter()
            .flat_map(|(_, line)| line.losses.iter().map(|loss| loss.1))
    };
    let x = Axis::log("scale of the noise (leftmost: none)", levels.iter().map(at));
    let mut marks: Vec<Mark> = Stream::ALL
        .into_iter()
        .enumerate()
        .map(|(i, stream)| Mark::Line {
            name: stream.name().to_owned(),
            series: i,
            dashed: !stream.is_disturbed(),
            points: lines
                .iter()
                .map(|(x, line)| (*x, line.losses[i].1))
                .collect(),
        })
        .collect();
    let widest = levels.iter().map(at).fold(least, f64::max);
    marks.push(Mark::Level {
        name: "the seed's threshold".to_owned(),
        series: 6,
        from: least,
        to: widest,
        y: THRESHOLD,
    });
    Sheet {
        title: String::new(),
        panels: vec![
            Panel {
                title: "Mean loss by stream".to_owned(),
                x: x.clone(),
                y: Axis::log("mean squared residual", losses().chain([THRESHOLD])),
                marks,
            },
            Panel {
                title: "Perplexity".to_owned(),
                x,
                y: Axis::around("perplexity", levels.iter().map(|l| l.perplexity)),
                marks: vec![Mark::Line {
                    name: String::new(),
                    series: 0,
                    dashed: false,
                    points: levels.iter().map(|l| (at(l), l.perplexity)).collect(),
                }],
            },
        ],
        tables: Vec::new(),
        columns: 2,
    }
}

fn print(levels: &[Level], output: &Output) -> anyhow::Result<()> {
    let head: String = Stream::ALL
        .into_iter()
        .map(|s| format!("{:>9}", s.name()))
        .collect();
    output.line(output.paint(Style::Strong, format_args!("noise     perplexity{head}")))?;
    for level in levels {
        let losses: String = line(level)
            .losses
            .iter()
            .map(|loss| format!("{:>9.1e}", loss.1))
            .collect();
        output.line(format_args!(
            "{:<8}{:>12.4}{losses}",
            shown(level.scale),
            level.perplexity
        ))?;
    }
    Ok(())
}
