//! `assay quantize`: a quantised copy of a float checkpoint, for experiments.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use assay_model::Model;
use assay_model::quantize::{Target, write_folder, write_gguf};
use serde::Serialize;

use crate::atomic_file::AtomicFile;
use crate::exit::Exit;
use crate::interrupt;
use crate::model_arg::{self, ModelArgs};
use crate::output::{Output, Style};
use crate::progress::{Progress, Stage};
use crate::text;

/// What lies beside a checkpoint's weights and goes with them as it is.
const BESIDE: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "generation_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
];
const MAX_BESIDE_BYTES: u64 = 64 << 20;

/// Its flags.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Weights are rounded to nearest, without data: a copy is a little worse than what GPTQ, AWQ or llama.cpp's importance \
matrices make at the same size. int8 and int4-gptq leave embedding, norms and output projection as they are; q4_0 stores embedding and \
output projection as Q8_0."
)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// int8 (a scale a row; compressed-tensors' layout), int4-gptq, q8_0 or q4_0 (GGUF)
    #[arg(long, value_name = "TYPE", value_parser = ["int8", "int4-gptq", "q8_0", "q4_0"])]
    to: String,

    /// New folder (int8, int4-gptq) or file (q8_0, q4_0)
    #[arg(long, value_name = "PATH")]
    out: PathBuf,

    /// Columns that share a scale, with int4-gptq [default: the largest of 128, 64, 32, 16, 8 that divides every row]
    #[arg(long, value_name = "N")]
    group: Option<usize>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    schema_version: u32,
    out: String,
    to: String,
    rounding: &'static str,
    bytes: u64,
    original_bytes: u64,
    model_root: String,
    notes: Vec<String>,
}

/// Writes the copy, opens it again, and says what it is.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let model = args.model.open(output, args.json)?;
    let target = target(args, &model)?;
    let mut progress = Progress::start(!args.json);
    let mut on_bytes = |done, total| progress.bytes(Stage::Write, done, total);
    let files = beside(&args.model)?;
    let notes = match target {
        Target::Int8 | Target::Int4Gptq { .. } => {
            let write = || write_folder(&model, target, &args.out, &files, &mut on_bytes);
            interrupt::stoppable(write)??;
            Vec::new()
        }
        Target::Q8_0 | Target::Q4_0 => {
            let file = AtomicFile::create(&args.out)?;
            let tokenizer = files.iter().find(|(name, _)| name == BESIDE[0]);
            let tokenizer = tokenizer.map(|(_, bytes)| &bytes[..]);
            let mut outcome = None;
            let finished = file.finish(|file| {
                let write = || write_gguf(&model, target, tokenizer, file, &mut on_bytes);
                let written = interrupt::stoppable(write);
                let is_whole = matches!(written, Ok(Ok(_)));
                outcome = Some(written);
                is_whole.then_some(()).ok_or(io::ErrorKind::Other.into())
            });
            let notes = outcome.context("nothing was written")???;
            finished?;
            notes
        }
    };
    let copy = Model::open(&args.out)?;
    let root = model_arg::root(&copy, &mut progress)?;
    progress.clear();
    let summary = Summary {
        schema_version: 1,
        out: args.out.display().to_string(),
        to: args.to.clone(),
        rounding: "nearest",
        bytes: copy.bytes(),
        original_bytes: model.bytes(),
        model_root: root.to_string(),
        notes,
    };
    if args.json {
        output.json(&summary)?;
        return Ok(Exit::Ok);
    }
    for note in &summary.notes {
        let note = text::plain(note);
        output.note(format_args!(
            "{} {note}",
            output.paint_note(Style::Warn, "note:")
        ));
    }
    output.line(format_args!(
        "wrote {}: {} by rounding to nearest, {} of {} bytes, model root {}",
        summary.out, summary.to, summary.bytes, summary.original_bytes, summary.model_root
    ))?;
    Ok(Exit::Ok)
}

fn target(args: &Args, model: &Model) -> anyhow::Result<Target> {
    if args.group.is_some() && args.to != "int4-gptq" {
        bail!("--group is for --to int4-gptq");
    }
    Ok(match args.to.as_str() {
        "int8" => Target::Int8,
        "q8_0" => Target::Q8_0,
        "q4_0" => Target::Q4_0,
        _ => Target::Int4Gptq {
            group: match args.group.or_else(|| Target::usual_group(model)) {
                Some(group) => group,
                None => bail!("no group of 8 columns or more divides every row of this model"),
            },
        },
    })
}

/// The files beside the original's weights.
fn beside(model: &ModelArgs) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let Some(path) = &model.model else {
        let files = Model::demo_files();
        return Ok(files
            .map(|(name, bytes)| (name.to_owned(), bytes.to_vec()))
            .into());
    };
    let read = |path: &Path| -> anyhow::Result<Option<Vec<u8>>> {
        match std::fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() <= MAX_BESIDE_BYTES => {
                let bytes = std::fs::read(path);
                Ok(Some(bytes.with_context(|| {
                    format!("cannot read {}", path.display())
                })?))
            }
            _ => Ok(None),
        }
    };
    let mut files = Vec::new();
    for name in BESIDE {
        let own = path.is_dir().then(|| path.join(name));
        let from = match (&model.tokenizer, name) {
            (Some(tokenizer), "tokenizer.json") => Some(tokenizer.clone()),
            _ => own,
        };
        if let Some(from) = from
            && let Some(bytes) = read(&from)?
        {
            files.push((name.to_owned(), bytes));
        }
    }
    Ok(files)
}
