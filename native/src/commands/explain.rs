//! `assay explain`: what a trace claims, position by position. Nothing of it is checked against a model, and the text is
//! an attacker's, so it is escaped.

use std::path::{Path, PathBuf};

use assay_model::{Model, Tokenizer};
use assay_trace::{ActivationsClaim, Digest, Manifest, SparseRule, StateDtype, StopReason, Trace};
use serde::Serialize;

use crate::errors::Malformed;
use crate::exit::Exit;
use crate::output::{Output, Style};
use crate::sampler_arg::in_words;
use crate::{text, trace_file};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Trace to show; `-` reads it from stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Model whose tokenizer gives the tokens their text [default: the demo model]
    #[arg(long, value_name = "PATH")]
    model: Option<PathBuf>,

    /// Tokenizer, if not the one beside the model
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Explanation<'a> {
    schema_version: u32,
    /// Whose words the rest is.
    status: &'static str,
    file: FileFacts,
    prover_says: &'a Manifest,
    /// Null if every hash in the file agrees, else what does not.
    hash_problem: Option<String>,
    positions: Vec<Position>,
    /// The last token, which never entered the model.
    last_token: Token,
}

#[derive(Serialize)]
struct FileFacts {
    bytes: u64,
    sha256: Digest,
    commitment: Digest,
}

#[derive(Serialize)]
struct Position {
    position: usize,
    part: &'static str,
    #[serde(flatten)]
    token: Token,
    leaf: Digest,
    logits: Option<Digest>,
}

#[derive(Serialize)]
struct Token {
    id: u32,
    /// Null without the tokenizer that the trace names.
    text: Option<String>,
}

/// Shows it. A malformed trace has exit code 1, as in a verification.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let bytes = trace_file::read(&args.file)?;
    if assay_llama2rs::looks_like(&bytes) {
        let model = args.model.as_ref().map(|_| open(args)).transpose()?;
        return crate::llama2rs::explain(&bytes, &args.file, model.as_ref(), args.json, output);
    }
    let trace = Trace::parse(&bytes).map_err(Malformed)?;
    let model = model_with_text(args, &trace, output)?;
    let explanation = explain(&trace, bytes.len(), model.as_ref());
    if args.json {
        output.json(&explanation)?;
    } else {
        print(&explanation, &args.file, model.is_some(), output)?;
    }
    Ok(Exit::Ok)
}

/// The model that the user names, else the demo model.
fn open(args: &Args) -> anyhow::Result<Model> {
    Ok(match (&args.model, &args.tokenizer) {
        (Some(model), Some(tokenizer)) => Model::open_with_tokenizer(model, tokenizer)?,
        (Some(model), None) => Model::open(model)?,
        (None, _) => Model::demo()?,
    })
}

/// The model that the user names, else the demo model; only if its tokenizer is the one that the trace names.
fn model_with_text(
    args: &Args,
    trace: &Trace<'_>,
    output: &Output,
) -> anyhow::Result<Option<Model>> {
    let model = open(args)?;
    let claimed = trace.manifest().tokenizer;
    let matches = model
        .tokenizer()
        .map(Tokenizer::digest)
        .is_some_and(|own| Some(own) == claimed);
    if args.model.is_some() && !matches {
        output.note(format_args!(
            "{} the trace does not name this model's tokenizer, so its tokens have no text here",
            output.paint_note(Style::Warn, "note:")
        ));
    }
    Ok(matches.then_some(model))
}

fn explain<'a>(trace: &'a Trace<'_>, bytes: usize, model: Option<&Model>) -> Explanation<'a> {
    let token = |id: u32| Token {
        id,
        text: model
            .and_then(Model::tokenizer)
            .map(|tokenizer| tokenizer.decode(&[id])),
    };
    let n_prompt = trace.prompt().len();
    let leaves = trace.leaves();
    let positions =
        trace
            .tokens()
            .iter()
            .zip(&leaves)
            .enumerate()
            .map(|(position, (&id, &leaf))| Position {
                position,
                part: if position < n_prompt {
                    "prompt"
                } else {
                    "output"
                },
                token: token(id),
                leaf,
                logits: trace.logits_digest(position),
            });
    Explanation {
        schema_version: 1,
        status: "what the prover claims; unverified",
        file: FileFacts {
            bytes: bytes as u64,
            sha256: trace.file_digest(),
            commitment: trace.commitment(),
        },
        prover_says: trace.manifest(),
        hash_problem: trace.check_commitment().err().map(|err| err.to_string()),
        positions: positions.collect(),
        last_token: token(trace.tokens().last().copied().unwrap_or_default()),
    }
}

fn print(
    explanation: &Explanation<'_>,
    file: &Path,
    has_text: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let claims = explanation.prover_says;
    output.line(format_args!(
        "{}  {}",
        output.paint(Style::Warn, "UNVERIFIED"),
        output.paint(Style::Strong, "what the prover claims")
    ))?;
    output.line("")?;
    for (label, value) in facts(explanation, file) {
        output.line(output.field(label, value))?;
    }
    let seal = match &explanation.hash_problem {
        None => "all hashes in the file agree, which says nothing about where values are from"
            .to_owned(),
        Some(problem) => output.paint(Style::Bad, format_args!("broken: {problem}")),
    };
    let mut lines = text::wrapped(&seal, 64).into_iter();
    output.line(output.field("hashes", lines.next().unwrap_or_default()))?;
    for line in lines {
        output.line(output.field("", line))?;
    }
    output.line("")?;
    print_positions(explanation, claims, has_text, output)
}

fn facts(explanation: &Explanation<'_>, file: &Path) -> Vec<(&'static str, String)> {
    let claims = explanation.prover_says;
    let model = &claims.model;
    let stop = match claims.output.stop {
        StopReason::Context => "a full context",
        StopReason::Eos => "an end of text",
        StopReason::Length => "the length asked for",
    };
    let states = match claims.state_dtype {
        StateDtype::Bf16 => "bf16",
        StateDtype::F16 => "f16",
        StateDtype::F32 => "f32",
    };
    let opened: Vec<String> = claims.opened.iter().map(u32::to_string).collect();
    let name = if trace_file::is_stdin(file) {
        "stdin".to_owned()
    } else {
        file.display().to_string()
    };
    let or_none =
        |digest: Option<Digest>| digest.map_or("none".to_owned(), |digest| digest.to_string());
    vec![
        (
            "file",
            format!("{name}, {} bytes", text::grouped(explanation.file.bytes)),
        ),
        ("sha256", explanation.file.sha256.to_string()),
        ("producer", text::plain(&claims.producer)),
        ("adapter", text::plain(&claims.adapter)),
        (
            "model",
            format!(
                "{} {}, {} parameters, {} layers of {}, vocabulary {}",
                model.family,
                model.dtype,
                text::grouped(model.parameters),
                model.layers,
                model.hidden,
                model.vocab
            ),
        ),
        ("model root", model.root.to_string()),
        ("tokenizer", or_none(claims.tokenizer)),
        ("sampler", in_words(&claims.sampler)),
        ("prompt", text::count(claims.prompt.tokens.into(), "token")),
        (
            "output",
            format!(
                "{}, ended by {stop}",
                text::count(claims.output.tokens.into(), "token")
            ),
        ),
        ("nonce", or_none(claims.nonce)),
        (
            "opened",
            format!(
                "hidden states {} of 0 to {}, in {states}",
                opened.join(", "),
                model.layers
            ),
        ),
        ("audit", audit(claims)),
        ("inputs", inputs(claims).to_owned()),
        ("MLPs", mlps(claims)),
        ("root", claims.root.to_string()),
        ("commitment", explanation.file.commitment.to_string()),
    ]
}

/// What a verifier key could audit of it.
fn audit(claims: &Manifest) -> String {
    let Some(linears) = &claims.linears else {
        return "not possible: linear outputs are not committed to".to_owned();
    };
    let layers: Vec<String> = linears.layers.iter().map(u32::to_string).collect();
    let layers = if layers.is_empty() {
        "no layer".to_owned()
    } else {
        format!("layers {}", layers.join(", "))
    };
    format!(
        "{layers} and logits of {} of {} output tokens are open ({})",
        linears.logits.len(),
        claims.output.tokens,
        linears.challenge
    )
}

/// What it says that products take.
fn inputs(claims: &Manifest) -> &'static str {
    match claims.numerics.activations {
        None => "floats",
        Some(ActivationsClaim::Int8) => "rounded to 8-bit integers, one scale a row",
        Some(ActivationsClaim::Blocks) => {
            "rounded to 8-bit integers in blocks of 32, for sums in fixed point"
        }
        Some(ActivationsClaim::Ggml) => "rounded in blocks, as llama.cpp does",
    }
}

/// Which neurons it says were computed.
fn mlps(claims: &Manifest) -> String {
    let Some(sparse) = &claims.sparse else {
        return "every neuron".to_owned();
    };
    let widths: Vec<String> = sparse
        .masks
        .iter()
        .map(|mask| format!("{} of {}", mask.name, mask.width))
        .collect();
    let keep = match &sparse.rule {
        SparseRule::TopK { keep } | SparseRule::Predicted { keep, .. } => {
            format!(", {keep} a token and layer")
        }
        _ => String::new(),
    };
    format!(
        "sparse, by the rule `{}`{keep} (masks: {})",
        sparse.rule.kind(),
        widths.join(", ")
    )
}

fn print_positions(
    explanation: &Explanation<'_>,
    claims: &Manifest,
    has_text: bool,
    output: &Output,
) -> anyhow::Result<()> {
    let opened = if claims.opened.len() <= 4 {
        claims
            .opened
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    } else {
        format!("{} states", claims.opened.len())
    };
    let width = opened.chars().count().max("opened".len());
    let row = |position: &str, part: &str, token: &str, leaf: &str, opened: &str, text: &str| {
        format!("{position:>8}  {part:<6}  {token:>7}  {leaf:<12}  {opened:<width$}  {text}")
            .trim_end()
            .to_owned()
    };
    let head = if has_text { "text" } else { "" };
    output.line(output.paint(
        Style::Dim,
        row("position", "part", "token", "leaf", "opened", head),
    ))?;
    let shown = |token: &Token| token.text.as_deref().map(text::quoted).unwrap_or_default();
    for position in &explanation.positions {
        let leaf = position.leaf.to_string();
        output.line(row(
            &position.position.to_string(),
            position.part,
            &position.token.id.to_string(),
            leaf.get(..12).unwrap_or(&leaf),
            &opened,
            &shown(&position.token),
        ))?;
    }
    let last = &explanation.last_token;
    output.line(row(
        &explanation.positions.len().to_string(),
        "output",
        &last.id.to_string(),
        "(not run)",
        "",
        &shown(last),
    ))?;
    if !has_text {
        output.note("the text of tokens needs the tokenizer that the trace names: give --model");
    }
    Ok(())
}
