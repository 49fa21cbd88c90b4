//! `assay llama2-rs prove`: a run as llama2-rs makes it, and its trace in the newer form.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context as _;
use assay_llama2rs::{Claim, Metadata, Run, SamplerSpec, prompt_ids};
use assay_model::Tokenizer;
use assay_trace::Digest;
use serde::Serialize;

use super::args::{SamplerNumbers, in_words};
use super::verify::explained;
use crate::atomic_file::AtomicFile;
use crate::exit::Exit;
use crate::model_arg::{self, ModelArgs};
use crate::output::Output;
use crate::progress::Progress;
use crate::sampler_arg::SamplerArgs;
use crate::{interrupt, text};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// Prompt, encoded by the model's tokenizer; may be empty
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        allow_hyphen_values = true
    )]
    prompt: String,

    /// Take this many steps, the prompt's tokens included; 0 is as many as the context has
    #[arg(short = 'n', value_name = "STEPS", default_value_t = 256)]
    steps: u32,

    #[command(flatten)]
    sampler: SamplerArgs,

    /// Where to write the trace
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    schema_version: u32,
    kind: &'static str,
    token_ids: Vec<u32>,
    text: String,
    steps: usize,
    ended: bool,
    sampler: String,
    root: Digest,
    claim: Digest,
    model_root: Digest,
    trace: String,
    trace_bytes: u64,
    tokens_per_s: f64,
}

/// Proves.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let model = args.model.open(output, args.json)?;
    let tokenizer = model
        .tokenizer()
        .context("llama2-rs takes a prompt as text, and this checkpoint has no tokenizer\ngive it with --tokenizer FILE")?;
    let sampler = sampler(&args.sampler)?;
    let ids = prompt_ids(tokenizer, &args.prompt)?;
    let file = AtomicFile::create(&args.trace)?;
    let mut progress = Progress::start(!args.json);
    let model_root = model_arg::root(&model, &mut progress)?;
    let name = args
        .model
        .model
        .as_deref()
        .and_then(|path| path.file_name());
    let metadata = Metadata {
        model_path: name.unwrap_or_default().to_string_lossy().into_owned(),
        prompt: args.prompt.clone(),
        steps: effective(args.steps, model.config().context),
    };
    let started = Instant::now();
    let run = Run::make(&model, &ids, metadata, sampler, |done, total| {
        progress.steps(done as u64, total as u64);
        !interrupt::requested()
    })
    .map_err(explained)?;
    let seconds = started.elapsed().as_secs_f64();
    progress.clear();
    interrupt::check()?;
    let bytes = run.trace.to_bytes();
    file.finish(|file| file.write_all(&bytes))
        .context("the trace was not kept")?;
    let root = run.trace.root.context("the run has no step")?;
    let claim = Claim {
        root,
        count: run.trace.entries.len() as u64,
        steps: run.trace.metadata.steps,
        prompt: &args.prompt,
        model: model_root,
        tokenizer: Some(tokenizer.digest()),
        sampler,
    };
    let summary = Summary {
        schema_version: 1,
        kind: "llama2-rs",
        text: shown(tokenizer, &run),
        steps: run.tokens.len(),
        ended: run.ended,
        sampler: in_words(&sampler),
        root,
        claim: claim.digest(),
        model_root,
        trace: args.trace.display().to_string(),
        trace_bytes: bytes.len() as u64,
        tokens_per_s: run.tokens.len() as f64 / seconds.max(1e-9),
        token_ids: run.tokens,
    };
    if args.json {
        output.json(&summary)?;
    } else {
        print(&summary, output)?;
    }
    Ok(Exit::Ok)
}

/// What the program puts into its file: the steps that it will take at most.
fn effective(steps: u32, context: usize) -> u64 {
    let context = context as u64;
    match u64::from(steps) {
        0 => context,
        steps => steps.min(context),
    }
}

/// Greedy without a temperature; a seed is drawn where none is given, since the program's own default is the time.
fn sampler(args: &SamplerArgs) -> anyhow::Result<SamplerSpec> {
    let mut numbers = SamplerNumbers::of(args)?;
    let temperature = numbers.temperature.get_or_insert(0.0);
    if *temperature != 0.0 && numbers.seed.is_none() {
        let drawn = getrandom::u64().ok();
        let drawn = drawn.context("the system gave no random seed\ngive one with --seed")?;
        numbers.seed = Some(drawn.max(1));
    }
    Ok(numbers.spec()?.unwrap_or(SamplerSpec::Greedy))
}

/// The run's text, as the program prints it: what came out of each step.
fn shown(tokenizer: &Tokenizer, run: &Run) -> String {
    // The last token that was chosen never goes in, so only its step's text has it.
    let last = run
        .trace
        .entries
        .last()
        .and_then(|entry| entry.text.clone());
    let last = last.filter(|_| !run.ended).unwrap_or_default();
    tokenizer.decode(&run.tokens) + &last
}

fn print(summary: &Summary, output: &Output) -> anyhow::Result<()> {
    output.line(text::plain(&summary.text))?;
    output.note("");
    let end = if summary.ended {
        "ended by the model"
    } else {
        "as many as asked for"
    };
    output.note_field(
        "steps",
        format_args!("{}: {end}", text::grouped(summary.steps as u64)),
    );
    output.note_field("sampler", &summary.sampler);
    output.note_field(
        "arithmetic",
        format_args!(
            "llama2-rs's own, on the CPU: {:.1} tokens/s",
            summary.tokens_per_s
        ),
    );
    output.note_field(
        "trace",
        format_args!("{} ({})", summary.trace, text::bytes(summary.trace_bytes)),
    );
    output.note_field("root", summary.root);
    output.note_field("claim", summary.claim);
    Ok(())
}
