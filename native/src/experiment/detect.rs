//! `assay experiment detection`: what each statistic catches, measured.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use assay_experiment::Setup;
use assay_experiment::detection::lab::Job;
use assay_experiment::detection::{Cheat, Lab, Measured, detect, draw};
use assay_experiment::page::Page;
use assay_model::Model;
use assay_trace::Digest;
use serde::{Deserialize, Serialize};

use super::{setup, store, teller};
use crate::exit::Exit;
use crate::interrupt;
use crate::output::Output;
use crate::progress::Progress;

/// Runs at a time: their tokens are drawn side by side.
const BATCH: usize = 16;
/// Tokens of a prompt that is cut from a text.
const PROMPT_TOKENS: usize = 16;
/// A text that nobody asked for.
const SYSTEM_PROMPT: &str = "You are a helpful assistant. Answer briefly and politely.\n\n";
/// Tokens of the windows that ROC curves are drawn over.
const ROC_TOKENS: usize = 16;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct DetectionArgs {
    /// Detection: honest runs of each class; half of them make thresholds
    #[arg(long, value_name = "N", default_value_t = 400, value_parser = clap::value_parser!(u32).range(4..))]
    pub honest: u32,

    /// Detection: runs of each cheat
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    pub runs: u32,

    /// Detection: tokens of each run
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    pub tokens: u32,

    /// Detection: cut prompts from this text instead of using the configuration's
    #[arg(long, value_name = "FILE")]
    pub text: Option<PathBuf>,

    /// Detection: leave out provers that round to bf16
    #[arg(long)]
    pub no_bf16: bool,
}

/// Measures, and writes detection.json, detection.md, roc-*.svg and detection.html.
pub async fn run(
    args: &DetectionArgs,
    setup: &Setup,
    verifiers: &[String],
    out: &Path,
    output: &Output,
    progress: &mut Progress,
) -> anyhow::Result<Exit> {
    let model = &setup.full.model;
    let honest = args.honest as usize;
    let wanted = honest.max(2 * args.runs as usize);
    let prompts = match &args.text {
        Some(path) => prompts_of(path, model, wanted)?,
        None => {
            let trials = setup.config.prompts()?.texts.len();
            (0..trials)
                .map(|i| Ok(setup.prompt(i)?.1))
                .collect::<anyhow::Result<_>>()?
        }
    };
    // Prompts go around where there are fewer than runs: then halves must not share one.
    ensure!(
        prompts.len() >= wanted || prompts.len().is_multiple_of(2),
        "{} prompts cannot be halved: give an even number",
        prompts.len()
    );
    let mut opened = setup::devices();
    let names = match verifiers.is_empty() {
        true => opened.names().await.to_vec(),
        false => verifiers.to_vec(),
    };
    let mut list = Vec::new();
    for name in &names {
        list.push(opened.get(name).await?);
    }
    let tokenizer = model
        .tokenizer()
        .context("this checkpoint has no tokenizer")?;
    let prefix = tokenizer.encode(SYSTEM_PROMPT)?;
    let tokens = args.tokens as usize;
    let distinct = prompts.len();
    let temperature = 0.8;
    let mut lab = Lab::new(
        model,
        setup.full.root,
        &list,
        prompts,
        prefix,
        tokens,
        temperature,
        progress,
    )
    .await?;
    let mut jobs = Vec::new();
    for is_bf16 in [false, true]
        .into_iter()
        .filter(|bf16| !bf16 || !args.no_bf16)
    {
        let job = |cheat, prompt| Job {
            cheat,
            is_bf16,
            prompt,
        };
        jobs.extend((0..honest).map(|prompt| job(Cheat::Honest, prompt)));
        for cheat in Cheat::all(model.config().layers) {
            // Odd prompts only: what thresholds have not seen.
            jobs.extend((0..args.runs as usize).map(|i| job(cheat, 2 * i + 1)));
        }
    }
    let mut measured: Vec<Measured> = Vec::with_capacity(jobs.len());
    let out = out.join("detection");
    let kept = out.join("runs");
    std::fs::create_dir_all(&kept).with_context(|| format!("cannot make {}", kept.display()))?;
    let mut were_there = 0;
    for (number, batch) in jobs.chunks(BATCH).enumerate() {
        interrupt::check()?;
        progress.runs(measured.len() as u64, jobs.len() as u64);
        let (file, key) = (kept.join(format!("batch-{number:04}.json")), lab.key(batch));
        if let Some(done) = store::read_json::<Batch>(&file)
            && done.key == key
        {
            were_there += done.runs.len();
            measured.extend(done.runs);
            continue;
        }
        let done = Batch {
            key,
            runs: lab.run(batch, &mut teller::ears()).await?,
        };
        store::write(&file, &serde_json::to_vec(&done)?)?;
        measured.extend(done.runs);
    }
    progress.clear();
    let profile = lab.profile().cloned();
    let table = detect(&measured, setup.full.name.clone(), profile.as_ref())?;
    store::write_json(&out.join("detection.json"), &table)?;
    store::write(&out.join("detection.md"), table.markdown().as_bytes())?;
    let subtitle = format!(
        "{}; verifiers: {}; {tokens} tokens a run at temperature {temperature}; {distinct} prompts",
        setup.full.name,
        lab.devices().join(", ")
    );
    let mut page = Page::new("What each statistic detects", &subtitle);
    page.section("ROC curves");
    for is_bf16 in [false, true]
        .into_iter()
        .filter(|bf16| !bf16 || !args.no_bf16)
    {
        let sheet = draw::roc(&measured, is_bf16, ROC_TOKENS.min(tokens));
        let name = if is_bf16 {
            "roc-bf16.svg"
        } else {
            "roc-f32.svg"
        };
        store::write(&out.join(name), sheet.standalone().as_bytes())?;
        page.sheet(&sheet);
    }
    page.section("The table");
    page.detection(&table);
    store::write(&out.join("detection.html"), page.finish().as_bytes())?;
    let drawn = assay_experiment::sheet::detection(&table, &subtitle);
    store::write(&out.join("sheet.json"), drawn.to_json()?.as_bytes())?;
    for class in &table.classes {
        output.line(format_args!(
            "{} provers: {} honest runs held out, {} rejected by assay's own verdict, {} inconclusive",
            class.name, class.held_out_runs, class.own_false_rejects[0], class.own_false_rejects[1]
        ))?;
        for row in &class.cheats {
            let best = row.found.last();
            output.line(format_args!(
                "  {:<46} combination {:>5.1} %   own verdict {} of {}",
                row.cheat,
                100.0 * best.map_or(0.0, |found| found.true_positives[1]),
                row.own[0],
                row.runs
            ))?;
        }
        for one in &class.suspicions {
            let (honest, guilty) = (&one.honest.rejected, &one.guilty.rejected);
            output.line(format_args!(
                "  suspect {:<38} found    {:>8.1} %   rejects {} of {}, and {} of {} honest runs",
                one.suspect,
                100.0 * one.true_positives[1],
                guilty.k,
                guilty.n,
                honest.k,
                honest.n
            ))?;
        }
    }
    if were_there > 0 {
        output.note_field("resumed", format_args!("{were_there} runs were there"));
    }
    output.note_field("files", out.display());
    Ok(Exit::Ok)
}

/// Runs that are kept, so that a run that was stopped goes on.
#[derive(Serialize, Deserialize)]
struct Batch {
    key: Digest,
    runs: Vec<Measured>,
}

/// Prompts from a text, spread over it: windows of so many tokens that do not overlap.
fn prompts_of(path: &Path, model: &Model, wanted: usize) -> anyhow::Result<Vec<Vec<u32>>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown}"))?;
    let tokenizer = model
        .tokenizer()
        .context("this checkpoint has no tokenizer")?;
    let mut prompts = Vec::new();
    // Pieces of text, each encoded by itself, so that every prompt begins as a prompt does.
    let lines: Vec<&str> = text
        .split("\n\n")
        .filter(|piece| piece.len() >= 48)
        .collect();
    let every = (lines.len() / wanted.max(1)).max(1);
    for piece in lines.iter().step_by(every) {
        let mut ids = tokenizer.encode(piece)?;
        if ids.len() >= PROMPT_TOKENS {
            ids.truncate(PROMPT_TOKENS);
            if !prompts.contains(&ids) {
                prompts.push(ids);
            }
        }
        if prompts.len() == wanted {
            break;
        }
    }
    ensure!(
        prompts.len() >= 4,
        "{shown} has too few paragraphs of {PROMPT_TOKENS} tokens"
    );
    if prompts.len() < wanted && prompts.len() % 2 == 1 {
        prompts.pop();
    }
    Ok(prompts)
}
