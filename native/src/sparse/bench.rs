//! `assay sparse bench`: what skipping neurons costs in perplexity, and what it gains in time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use assay_engine::sparsity::SparseModel;
use assay_engine::{Device, Engine, Numerics, Want};
use assay_experiment::noise::log_likelihood;
use assay_model::Model;
use assay_sheet::{Across, Axis, Block, Cell, Chart, Mark, Series, Sheet, Style as Drawn, Table};
use assay_study::report::plot::{self, SparsityChart, SparsitySeries};
use serde::Serialize;

use super::corpus::{Corpus, TextArgs};
use super::rule::{Keep, Rule};
use crate::device_arg::{DeviceArgs, in_a_line};
use crate::exit::Exit;
use crate::interrupt;
use crate::model_arg::{self, ModelArgs};
use crate::output::{Output, Style};
use crate::progress::Progress;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    text: TextArgs,

    /// Same-layer predictors, to stand beside the oracle
    #[arg(long, value_name = "FILE")]
    predictor: Option<PathBuf>,

    /// Sparsities in percent: the share of neurons that is skipped
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [10u32, 30, 50, 70, 80, 90])]
    sparsity: Vec<u32>,

    /// Tokens to decode one by one for a rate
    #[arg(long, value_name = "N", default_value_t = 32)]
    decode: u32,

    /// Folder for bench.json, bench.csv, bench.svg, and sheet.json, which the app draws
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// One run of the text.
#[derive(Debug, Clone, Serialize)]
struct Point {
    /// `dense`, `oracle` or `predicted`.
    how: &'static str,
    /// Share of neurons that is skipped.
    sparsity: f64,
    /// exp of the mean negative log-likelihood of each token after the first of its document.
    perplexity: f64,
    /// Tokens that it is the mean of.
    tokens: u64,
    /// Tokens of the whole text a second, documents at a time.
    prefill_tokens_per_s: f64,
    /// Tokens a second, one by one.
    decode_tokens_per_s: f64,
}

#[derive(Serialize)]
struct Summary {
    schema_version: u32,
    adapter: String,
    model: String,
    text: String,
    points: Vec<Point>,
}

/// Measures.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    std::fs::create_dir_all(&args.out)
        .with_context(|| format!("cannot make {}", args.out.display()))?;
    let model = args.model.open(output, false)?;
    let corpus = args.text.read(&model)?;
    let mut progress = Progress::start(true);
    let mut runs: Vec<(&'static str, f64, Option<Arc<SparseModel>>)> = vec![("dense", 0.0, None)];
    for percent in &args.sparsity {
        anyhow::ensure!(*percent < 100, "a sparsity of {percent} % leaves nothing");
        let sparsity = f64::from(*percent) / 100.0;
        let keep = Keep::Share(1.0 - sparsity);
        let mut add = |how, rule: Rule, progress: &mut Progress| -> anyhow::Result<()> {
            let sparse = rule.load(&model, || model_arg::root(&model, progress))?;
            runs.push((how, sparsity, Some(Arc::new(sparse))));
            Ok(())
        };
        add("oracle", Rule::TopK(keep), &mut progress)?;
        if let Some(file) = &args.predictor {
            add(
                "predicted",
                Rule::Predicted(file.clone(), keep),
                &mut progress,
            )?;
        }
    }
    let (points, adapter) = pollster::block_on(async {
        let device = device.open().await?;
        let mut points = Vec::new();
        for (how, sparsity, sparse) in runs {
            interrupt::check()?;
            let point = measure(&device, &model, &corpus, args.decode, sparse, &mut progress);
            let mut point = point.await?;
            (point.how, point.sparsity) = (how, sparsity);
            points.push(point);
        }
        anyhow::Ok((points, in_a_line(&device.info()).to_string()))
    })?;
    progress.clear();
    let summary = Summary {
        schema_version: 1,
        adapter,
        model: args.model.name(),
        text: format!("{}, {} tokens", corpus.name, corpus.tokens()),
        points,
    };
    write(args, &summary)?;
    print(&summary, output)?;
    output.note_field("files", args.out.display());
    Ok(Exit::Ok)
}

async fn measure(
    device: &Device,
    model: &Model,
    corpus: &Corpus,
    decode: u32,
    sparse: Option<Arc<SparseModel>>,
    progress: &mut Progress,
) -> anyhow::Result<Point> {
    let longest = corpus.documents.iter().map(Vec::len).max().unwrap_or(1);
    let numerics = Numerics::Fast;
    let mut engine = Engine::load_with(device, model, longest, numerics, sparse, progress).await?;
    let want = Want {
        logits_from: Some(0),
        ..Want::default()
    };
    let vocab = model.config().vocab;
    let (mut loss, mut tokens) = (0.0, 0_u64);
    let started = Instant::now();
    for ids in &corpus.documents {
        interrupt::check()?;
        engine.reset();
        engine
            .prefill(ids, &want, progress, |outputs| -> anyhow::Result<()> {
                let first = outputs.logits_pos0;
                for (i, logits) in outputs.logits.chunks_exact(vocab).enumerate() {
                    if let Some(next) = ids.get(first + i + 1) {
                        loss -= log_likelihood(logits, *next as usize);
                        tokens += 1;
                    }
                }
                Ok(())
            })
            .await?;
    }
    let prefill_s = started.elapsed().as_secs_f64();
    // Decoding: the longest document's tokens again, one by one, after half of it.
    let ids = corpus.documents.iter().max_by_key(|d| d.len());
    let ids = ids.map(Vec::as_slice).unwrap_or_default();
    let (prompt, rest) = ids.split_at(ids.len() / 2);
    engine.reset();
    let last = Want {
        logits_from: Some(ids.len() / 2),
        ..Want::default()
    };
    engine
        .prefill(prompt, &Want::default(), progress, |_| anyhow::Ok(()))
        .await?;
    let rest = &rest[..rest.len().min(decode as usize)];
    let started = Instant::now();
    for id in rest {
        engine.run(&[*id], &last, progress).await?;
    }
    Ok(Point {
        how: "",
        sparsity: 0.0,
        perplexity: (loss / tokens.max(1) as f64).exp(),
        tokens,
        prefill_tokens_per_s: corpus.tokens() as f64 / prefill_s,
        decode_tokens_per_s: rest.len() as f64 / started.elapsed().as_secs_f64().max(1e-9),
    })
}

fn write(args: &Args, summary: &Summary) -> anyhow::Result<()> {
    let write = |name: &str, text: String| {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("bench.json", serde_json::to_string_pretty(summary)?)?;
    let mut csv =
        "how,sparsity,perplexity,tokens,prefill_tokens_per_s,decode_tokens_per_s\n".to_owned();
    for p in &summary.points {
        csv.push_str(&format!(
            "{},{},{},{},{:.3},{:.3}\n",
            p.how,
            p.sparsity,
            p.perplexity,
            p.tokens,
            p.prefill_tokens_per_s,
            p.decode_tokens_per_s
        ));
    }
    write("bench.csv", csv)?;
    let series = |how: &'static str, name: &str| SparsitySeries {
        name: name.to_owned(),
        points: summary
            .points
            .iter()
            .filter(|p| p.how == how)
            .map(|p| (p.sparsity, p.perplexity))
            .collect(),
    };
    let chart = SparsityChart {
        title: format!("{}: perplexity when neurons are skipped", summary.model),
        quality: "perplexity".to_owned(),
        series: [
            series("predicted", "predicted"),
            series("oracle", "oracle (largest activations)"),
        ]
        .into_iter()
        .filter(|series| !series.points.is_empty())
        .collect(),
        dense: summary.points.first().map(|p| p.perplexity),
    };
    write("bench.svg", plot::quality_by_sparsity(&chart)?)?;
    write("sheet.json", sheet(summary).to_json()?)
}

fn sheet(summary: &Summary) -> Sheet {
    let chart = |title: &str, label: &str, figure: fn(&Point) -> f64| Chart {
        title: title.to_owned(),
        x: Axis::linear("neurons skipped, %"),
        y: Axis::linear(label),
        series: [
            ("oracle", "oracle (largest activations)"),
            ("predicted", "predicted"),
        ]
        .into_iter()
        .map(|(how, name)| Series {
            name: name.to_owned(),
            style: Drawn::Line,
            points: summary
                .points
                .iter()
                .filter(|p| p.how == how)
                .map(|p| [100.0 * p.sparsity, figure(p)])
                .collect(),
            band: Vec::new(),
        })
        .filter(|series| !series.points.is_empty())
        .collect(),
        marks: summary
            .points
            .iter()
            .filter(|p| p.how == "dense")
            .map(|p| Mark {
                label: "dense".to_owned(),
                axis: Across::Y,
                at: figure(p),
            })
            .collect(),
    };
    let columns = [
        "how",
        "skipped, %",
        "perplexity",
        "prefill, tokens/s",
        "decode, tokens/s",
    ];
    let table = Table {
        caption: "An oracle computes gate and up in full to find the largest activations; a predictor does not".to_owned(),
        columns: columns.map(str::to_owned).to_vec(),
        rows: summary
            .points
            .iter()
            .map(|p| {
                let numbers = [
                    100.0 * p.sparsity,
                    p.perplexity,
                    p.prefill_tokens_per_s,
                    p.decode_tokens_per_s,
                ];
                let mut row = vec![Cell::from(p.how)];
                row.extend(numbers.map(Cell::from));
                row
            })
            .collect(),
    };
    Sheet::new(
        &format!("{}: what skipping neurons costs", summary.model),
        "Perplexity and speed, dense and with some neurons of each MLP skipped.",
    )
    .fact("model", summary.model.clone())
    .fact("text", summary.text.clone())
    .fact("adapter", summary.adapter.clone())
    .section(
        "Perplexity and speed",
        vec![
            Block::Chart(chart("Perplexity", "perplexity", |p| p.perplexity)),
            Block::Chart(chart("Decoding, one token at a time", "tokens/s", |p| {
                p.decode_tokens_per_s
            })),
            Block::Table(table),
        ],
    )
}

fn print(summary: &Summary, output: &Output) -> anyhow::Result<()> {
    output.line(output.paint(
        Style::Strong,
        "how        sparsity   perplexity   prefill tok/s   decode tok/s",
    ))?;
    for p in &summary.points {
        output.line(format_args!(
            "{:<10} {:>6.0} %   {:>10.3}   {:>13.1}   {:>12.1}",
            p.how,
            100.0 * p.sparsity,
            p.perplexity,
            p.prefill_tokens_per_s,
            p.decode_tokens_per_s
        ))?;
    }
    Ok(())
}
