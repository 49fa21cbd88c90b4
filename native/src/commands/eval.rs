//! `assay eval`: a device generates, and this machine's CPU checks every linear layer of it as it goes. The end-to-end run of
//! verified_llm: prompts, generated text, plain against verified time, losses by stream.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use assay_engine::{Engine, Numerics};
use assay_key::{KeyMaker, KeyOptions, Seed, VerifierKey};
use assay_model::Model;
use assay_verify::audit::stream::SEED_MSE;
use serde::Serialize;

use crate::atomic_file::AtomicFile;
use crate::device_arg::DeviceArgs;
use crate::eval::run::{Mode, Ran, run_mode};
use crate::eval::timeline;
use crate::exit::Exit;
use crate::interrupt;
use crate::model_arg::{self, ModelArgs};
use crate::output::{Output, Style};
use crate::progress::Progress;
use crate::text;

/// Prompts where none are given: the number that verified_llm's evaluation has.
const PROMPTS: [&str; 3] = [
    "First Citizen:\nBefore we proceed",
    "ROMEO:",
    "To be, or not",
];

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// Prompts, one a line [default: three short ones]
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,

    /// Tokens to generate for each prompt, greedily
    #[arg(short = 'n', value_name = "TOKENS", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    n_tokens: u32,

    /// How to check: `origin` not at all, `sync` each step before the next one, `async` beside it; `all` three, one after another
    #[arg(long, value_name = "MODE", default_value = "all", value_parser = ["origin", "sync", "async", "all"])]
    mode: String,

    /// Draw the stages' timeline of the first prompt into this SVG file
    #[arg(long, value_name = "FILE")]
    timeline: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    schema_version: u32,
    adapter: String,
    projections: usize,
    prompts: Vec<OfPrompt>,
    streams: Vec<Loss>,
    /// Whether every check of every prompt was within its limit; null if nothing was checked.
    verified: Option<bool>,
}

#[derive(Serialize)]
struct OfPrompt {
    prompt: String,
    text: String,
    tokens: usize,
    /// Milliseconds by mode.
    ms: Vec<(Mode, f64)>,
    #[serde(skip)]
    ran: Vec<Ran>,
}

#[derive(Serialize)]
struct Loss {
    stream: &'static str,
    rows: usize,
    relative_error: f64,
    row_over_limit: f64,
    mse: f64,
    mse_passes: bool,
}

/// Evaluates. Exit code 1 if a check fails: then this machine's device computes wrongly.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let model = args.model.open(output, args.json)?;
    let prompts = prompts(args)?;
    let svg = args
        .timeline
        .as_deref()
        .map(AtomicFile::create)
        .transpose()?;
    let modes: Vec<Mode> = match args.mode.as_str() {
        "origin" => vec![Mode::Origin],
        "sync" => vec![Mode::Sync],
        "async" => vec![Mode::Async],
        _ => vec![Mode::Origin, Mode::Sync, Mode::Async],
    };
    let mut progress = Progress::start(!args.json);
    let device = pollster::block_on(device.open())?;
    let key = key(&model, &mut progress)?;
    let tokenizer = model
        .tokenizer()
        .context("this checkpoint has no tokenizer, so prompts cannot be encoded")?;
    let mut encoded = Vec::new();
    for prompt in &prompts {
        let ids = tokenizer.encode(prompt)?;
        ensure!(
            !ids.is_empty(),
            "a prompt is empty: {}",
            text::quoted(prompt)
        );
        ensure!(
            ids.len() + args.n_tokens as usize <= model.config().context,
            "a prompt and its answer do not fit the model's context"
        );
        encoded.push(ids);
    }
    let longest = encoded.iter().map(Vec::len).max().unwrap_or(1);
    let capacity = longest + args.n_tokens as usize;
    let load = Engine::load(&device, &model, capacity, Numerics::Fast, &mut progress);
    let mut engine = pollster::block_on(load)?;
    let mut of_prompts = Vec::new();
    for (prompt, ids) in prompts.iter().zip(&encoded) {
        let mut ran = Vec::new();
        for mode in &modes {
            interrupt::check()?;
            // The first run of a mode compiles and makes room; its time would be another thing.
            if of_prompts.is_empty() {
                run_mode(*mode, &mut engine, &model, &key, ids, 2, &mut progress)?;
            }
            let n = args.n_tokens as usize;
            ran.push(run_mode(
                *mode,
                &mut engine,
                &model,
                &key,
                ids,
                n,
                &mut progress,
            )?);
        }
        let said = &ran.first().context("no mode ran")?.tokens;
        ensure!(
            ran.iter().all(|other| other.tokens == *said),
            "the modes generate different texts: this device does not repeat itself"
        );
        of_prompts.push(OfPrompt {
            prompt: prompt.clone(),
            text: tokenizer.decode(said),
            tokens: said.len(),
            ms: ran.iter().map(|r| (r.mode, r.seconds * 1e3)).collect(),
            ran,
        });
    }
    progress.clear();
    if let (Some(svg), Some(first)) = (svg, of_prompts.first()) {
        let drawing = timeline::svg(&first.ran);
        svg.finish(|file| std::io::Write::write_all(file, drawing.as_bytes()))?;
    }
    let summary = Summary {
        schema_version: 1,
        adapter: engine.info().name.clone(),
        projections: key.projections(),
        streams: losses(&of_prompts),
        verified: verified(&of_prompts),
        prompts: of_prompts,
    };
    if args.json {
        output.json(&summary)?;
    } else {
        print(&summary, output)?;
    }
    Ok(if summary.verified == Some(false) {
        Exit::Reject
    } else {
        Exit::Ok
    })
}

fn prompts(args: &Args) -> anyhow::Result<Vec<String>> {
    let Some(path) = &args.prompts else {
        return Ok(PROMPTS.map(str::to_owned).to_vec());
    };
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines: Vec<String> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::to_owned)
        .collect();
    ensure!(!lines.is_empty(), "no prompt in {}", path.display());
    Ok(lines)
}

/// A key for this run alone, from the operating system's randomness; it is never written.
fn key(model: &Model, progress: &mut Progress) -> anyhow::Result<VerifierKey> {
    let root = model_arg::root(model, progress)?;
    let mut maker = KeyMaker::new(model, root, Seed::from_os()?, &KeyOptions::default())?;
    while !maker.step()? {
        interrupt::check()?;
    }
    Ok(maker.finish()?)
}

fn verified(prompts: &[OfPrompt]) -> Option<bool> {
    let checked = prompts.iter().flat_map(|p| &p.ran);
    let clean: Vec<bool> = checked.filter_map(|ran| ran.clean).collect();
    (!clean.is_empty()).then(|| clean.iter().all(|clean| *clean))
}

fn losses(prompts: &[OfPrompt]) -> Vec<Loss> {
    let mut streams: Vec<(&'static str, assay_verify::audit::stream::Tally)> = Vec::new();
    for (name, tally) in prompts.iter().flat_map(|p| &p.ran).flat_map(|r| &r.streams) {
        match streams.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => known.merge(tally),
            None => streams.push((name, *tally)),
        }
    }
    let loss = |(stream, tally): (&'static str, assay_verify::audit::stream::Tally)| Loss {
        stream,
        rows: tally.rows,
        relative_error: tally.worst_relative,
        row_over_limit: tally.row.over,
        mse: tally.mse(),
        mse_passes: tally.mse() < SEED_MSE,
    };
    streams.into_iter().map(loss).collect()
}

fn print(summary: &Summary, output: &Output) -> anyhow::Result<()> {
    for prompt in &summary.prompts {
        output.line(output.paint(Style::Dim, text::quoted(&prompt.prompt)))?;
        output.line(text::plain(&prompt.text))?;
        let origin = prompt.ms.iter().find(|(mode, _)| *mode == Mode::Origin);
        let times: Vec<String> = prompt
            .ms
            .iter()
            .map(|(mode, ms)| match origin {
                Some((_, plain)) if *mode != Mode::Origin => {
                    format!("{} {ms:.0} ms ({:.2} x)", mode.word(), ms / plain)
                }
                _ => format!("{} {ms:.0} ms", mode.word()),
            })
            .collect();
        output.line(output.field("time", times.join(", ")))?;
        output.line("")?;
    }
    if let Some(first) = summary.prompts.first() {
        for line in timeline::lines(&first.ran) {
            output.line(line)?;
        }
    }
    if summary.streams.is_empty() {
        return Ok(());
    }
    let head = format!(
        "  {:<8}{:>9}{:>14}{:>14}{:>14}  verified_llm's 1e-5",
        "stream", "rows", "worst row", "of its limit", "MSE"
    );
    output.line(output.paint(Style::Dim, head))?;
    for loss in &summary.streams {
        output.line(format_args!(
            "  {:<8}{:>9}{:>14.2e}{:>14.3}{:>14.2e}  {}",
            loss.stream,
            loss.rows,
            loss.relative_error,
            loss.row_over_limit,
            loss.mse,
            if loss.mse_passes { "below" } else { "above" }
        ))?;
    }
    output.line("  QK and KV are the checker's own: recomputed from checked q, k and v")?;
    output.line("")?;
    let (word, style) = match summary.verified {
        Some(true) => ("✓ every step is what the model gives", Style::Good),
        _ => ("✗ a step is not what the model gives", Style::Bad),
    };
    output.line(output.paint(style, word))?;
    Ok(())
}
