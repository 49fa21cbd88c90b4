//! `assay prove`: run the model, write the trace.

use std::path::PathBuf;

use anyhow::Context as _;
use assay_engine::selftest::Warming;
use assay_engine::sparsity::SparseModel;
use assay_engine::{ActivationType, AdapterInfo, Engine, Numerics, Rounding, selftest};
use assay_model::Model;
use assay_prove::{Proved, Request, prove};
use assay_trace::{Compute, Digest, NumericsClass, Sampler, SparseClaim, StopReason};
use serde::Serialize;

use crate::activations_arg::ActivationsArgs;
use crate::atomic_file::AtomicFile;
use crate::device_arg::{DeviceArgs, in_a_line};
use crate::exit::Exit;
use crate::model_arg::{self, ModelArgs};
use crate::numerics_arg::NumericsArgs;
use crate::output::{Output, Style};
use crate::progress::Progress;
use crate::prompt_arg::PromptArgs;
use crate::sampler_arg::{self, SamplerArgs};
use crate::sparse::rule::SparseArgs;
use crate::text;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    #[command(flatten)]
    prompt: PromptArgs,

    /// Generate at most this many tokens
    #[arg(short = 'n', value_name = "TOKENS", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    n_tokens: u32,

    #[command(flatten)]
    sampler: SamplerArgs,

    /// Go on after an end-of-sequence token
    #[arg(long)]
    ignore_eos: bool,

    /// The verifier's nonce: 64 hex digits, bound into the trace
    #[arg(long, value_name = "HEX", value_parser = nonce)]
    nonce: Option<Digest>,

    /// Commit to linear outputs and open these, for audits with a verifier key: `all`, `layers=1,5,9` or `count=N[,logits=M]` (drawn from
    /// the finished run)
    #[arg(long, value_name = "WHAT", value_parser = crate::open_arg::parse)]
    open: Option<assay_prove::Open>,

    #[command(flatten)]
    numerics: NumericsArgs,

    #[command(flatten)]
    activations: ActivationsArgs,

    #[command(flatten)]
    sparse: SparseArgs,

    /// Keep so much of values between operations, and say so: `bf16` and `f16` emulate what servers do, for a verifier to try itself on
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = crate::compute_arg::parse)]
    compute: Compute,

    /// Where to write the trace
    #[arg(long, value_name = "FILE")]
    trace: PathBuf,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads a nonce, in either case of letters.
pub fn nonce(hex: &str) -> Result<Digest, String> {
    let got = hex.chars().count();
    hex.to_ascii_lowercase()
        .parse()
        .map_err(|_| format!("want 64 hex digits (32 bytes), got {got} characters"))
}

#[derive(Serialize)]
struct Summary<'a> {
    schema_version: u32,
    token_ids: &'a [u32],
    /// Null without a tokenizer.
    text: Option<String>,
    prompt_ids: &'a [u32],
    root: Digest,
    commitment: Digest,
    model_root: Digest,
    nonce: Option<Digest>,
    /// A string: JSON numbers lose 64-bit integers. Null for greedy.
    seed: Option<String>,
    sampler: Sampler,
    /// What the trace promises of its bits. A CPU's are always strict.
    numerics: NumericsClass,
    /// What linear products rounded their inputs to: `float` is not at all.
    activations: ActivationType,
    /// The rule for active neurons; null where all are computed.
    sparse: Option<SparseClaim>,
    stop: StopReason,
    tokens_per_s: f64,
    trace: String,
    trace_bytes: u64,
    trace_overhead_percent: f64,
    adapter: AdapterInfo,
    timings: Times,
}

#[derive(Serialize)]
struct Times {
    prefill_s: f64,
    decode_s: f64,
    commit_s: f64,
    total_s: f64,
}

/// Proves. The trace has its name only once it is whole and on the disk.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let model = args.model.open(output, false)?;
    let request = request(args, &model)?;
    request.check(model.config())?;
    for flag in args.sampler.ignored() {
        output.note(format_args!(
            "{} {flag} has no effect: without --temperature the choice is greedy",
            output.paint_note(Style::Warn, "note:")
        ));
    }
    let mut progress = Progress::start(true);
    let file = AtomicFile::create(&args.trace)?;
    let (proved, info) =
        pollster::block_on(generate(&model, &request, args, device, &mut progress))?;
    progress.clear();
    crate::interrupt::check()?;
    file.finish(|file| proved.trace.write_to(file))
        .context("the trace was not kept")?;

    let summary = summary(args, &model, &request, &proved, info);
    if args.json {
        output.json(&summary)?;
    } else {
        print(&summary, output)?;
    }
    Ok(Exit::Ok)
}

fn request(args: &Args, model: &Model) -> anyhow::Result<Request> {
    Ok(Request {
        sampler: args.sampler.spec()?,
        prompt: args.prompt.ids(model)?,
        max_tokens: args.n_tokens as usize,
        ignore_eos: args.ignore_eos,
        nonce: args.nonce.map(|nonce| nonce.0),
        opened: None,
        audit: args.open.clone(),
    })
}

async fn generate(
    model: &Model,
    request: &Request,
    args: &Args,
    device: &DeviceArgs,
    progress: &mut Progress,
) -> anyhow::Result<(Proved, AdapterInfo)> {
    let device = device.open().await?;
    let numerics = args.numerics.class();
    // Drivers compile while weights are hashed; what only a rule for sparse MLPs needs comes later.
    let warming = Warming::begin(&device, numerics, model, args.activations.activations, None);
    let root = model_arg::root(model, progress)?;
    let capacity = request.capacity(model.config());
    let sparse = args.sparse.load(model, || Ok(root))?;
    let rule = sparse.as_deref().map(SparseModel::sparsity);
    let activations = args.activations.activations;
    activations.check(model)?;
    match (warming.finish().await, rule) {
        // What was tested meanwhile is what is promised.
        (Some(tested), None) if numerics == Numerics::Strict => drop(tested?),
        // A fault of the device comes up again where it is asked for.
        _ => selftest::before_promise(&device, numerics, model, activations, rule).await?,
    }
    let mut engine = Engine::load_rounding(
        &device,
        model,
        capacity,
        numerics,
        activations,
        sparse,
        progress,
    )
    .await?;
    let rounding = Rounding::from(args.compute);
    if rounding != Rounding::Keep {
        drop(selftest::run_for_emulation(&device, model, rounding).await?);
        engine.keep(rounding).await?;
    }
    let proved = prove(&mut engine, model, root, request, progress).await?;
    Ok((proved, engine.info().clone()))
}

fn summary<'a>(
    args: &Args,
    model: &Model,
    request: &'a Request,
    proved: &'a Proved,
    adapter: AdapterInfo,
) -> Summary<'a> {
    let (manifest, timings) = (proved.trace.manifest(), &proved.timings);
    Summary {
        schema_version: 1,
        token_ids: &proved.output,
        text: model
            .tokenizer()
            .map(|tokenizer| tokenizer.decode(&proved.output)),
        prompt_ids: &request.prompt,
        root: manifest.root,
        commitment: proved.trace.commitment(),
        model_root: manifest.model.root,
        nonce: manifest.nonce,
        seed: match manifest.sampler {
            Sampler::Greedy => None,
            Sampler::Gumbel { seed, .. } => Some(seed.to_string()),
        },
        sampler: manifest.sampler,
        numerics: manifest.numerics.class,
        activations: args.activations.activations,
        sparse: manifest.sparse.clone(),
        stop: manifest.output.stop,
        tokens_per_s: timings.tokens_per_s,
        trace: args.trace.display().to_string(),
        trace_bytes: proved.trace.len(),
        trace_overhead_percent: timings.overhead_percent,
        adapter,
        timings: Times {
            prefill_s: timings.prefill_s,
            decode_s: timings.decode_s,
            commit_s: timings.commit_s,
            total_s: timings.total_s,
        },
    }
}

/// The text goes to stdout, what is to know about it to stderr.
fn print(summary: &Summary<'_>, output: &Output) -> anyhow::Result<()> {
    match &summary.text {
        Some(text) => output.line(text::plain(text))?,
        None => {
            let ids: Vec<String> = summary.token_ids.iter().map(u32::to_string).collect();
            output.line(ids.join(","))?;
        }
    }
    let stop = match summary.stop {
        StopReason::Context => "the context is full",
        StopReason::Eos => "end of text",
        StopReason::Length => "as many as asked for",
    };
    let n_tokens = summary.token_ids.len() as u64;
    output.note("");
    output.note_field(
        "tokens",
        format_args!(
            "{} after a prompt of {}: {stop}",
            text::grouped(n_tokens),
            text::grouped(summary.prompt_ids.len() as u64)
        ),
    );
    output.note_field("sampler", sampler_arg::in_words(&summary.sampler));
    output.note_field("adapter", in_a_line(&summary.adapter));
    output.note_field(
        "speed",
        format_args!(
            "{:.1} tokens/s, {:.2} s in all",
            summary.tokens_per_s, summary.timings.total_s
        ),
    );
    output.note_field(
        "trace",
        format_args!(
            "{} ({}, {:.2} % of the time)",
            summary.trace,
            text::bytes(summary.trace_bytes),
            summary.trace_overhead_percent
        ),
    );
    match summary.numerics {
        NumericsClass::Strict => {
            output.note_field("numerics", "strict: the same bits on every device");
        }
        NumericsClass::Exact => output.note_field(
            "numerics",
            "exact: products of integers, the rest strict, the same bits on every device",
        ),
        NumericsClass::Fast => {}
    }
    if summary.activations != ActivationType::Float {
        output.note_field(
            "activations",
            format_args!(
                "{}: a verifier must ask for it with --activations",
                summary.activations.as_str()
            ),
        );
    }
    if let Some(sparse) = &summary.sparse {
        output.note_field(
            "MLPs",
            format_args!("sparse, by the rule `{}`", sparse.rule.kind()),
        );
    }
    output.note_field("root", summary.root);
    Ok(())
}
