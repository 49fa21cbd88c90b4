//! `assay keygen`: read a model's weights once, and keep what it takes to audit traces of it without them.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context as _;
use assay_engine::audit::project;
use assay_engine::{ActivationType, Device, EngineError, Gpu};
use assay_key::{KeyMaker, KeyOptions, Part, Seed, VerifierKey};
use assay_model::Model;
use serde::Serialize;

use crate::atomic_file::AtomicFile;
use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::interrupt;
use crate::key_arg::PassphraseArgs;
use crate::model_arg::{self, ModelArgs};
use crate::output::{Output, Style};
use crate::progress::{Progress, Stage};
use crate::text;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,

    /// Where to write the key [default: the model's name with `.SECRET.assay-key`, here]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Secret projections of each matrix: more detect smaller errors, and make the key larger
    #[arg(long, value_name = "K", default_value_t = 16, value_parser = clap::value_parser!(u8).range(8..=64))]
    projections: u8,

    /// Secret rows of each matrix, kept to be recomputed
    #[arg(long, value_name = "Q", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64))]
    rows: u8,

    /// Layers that the key covers, such as 0,5,9 [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    layers: Option<Vec<u32>>,

    /// What the audited products round their inputs to: `int8`, for a model of int8 weights, and `blocks`, for one of quantised blocks, make a
    /// key that checks integers exactly
    #[arg(long, value_name = "TYPE", default_value = "float", value_parser = crate::activations_arg::parse)]
    activations: ActivationType,

    /// Encrypt the key with a passphrase, which is asked for
    #[arg(long)]
    encrypt: bool,

    #[command(flatten)]
    passphrase: PassphraseArgs,

    /// Compute the projections on the adapter, not on the CPU; such a key certifies no rejection
    #[arg(long)]
    gpu: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    schema_version: u32,
    key: String,
    bytes: u64,
    id: String,
    encrypted: bool,
    model_root: String,
    projections: usize,
    rows: usize,
    layers: usize,
    activations: ActivationType,
    hash_s: f64,
    projecting_s: f64,
    total_s: f64,
    projected_on: String,
}

/// Makes a key. Its file is readable by its owner alone, where the system knows owners.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let model = args.model.open(output, args.json)?;
    let options = KeyOptions {
        projections: args.projections.into(),
        rows: args.rows.into(),
        activations: args.activations.claim(),
        layers: args.layers.clone().map(|mut layers| {
            layers.sort_unstable();
            layers.dedup();
            layers
        }),
        ..KeyOptions::default()
    };
    let encrypt = args.encrypt || args.passphrase.passphrase_file.is_some();
    let path = args.out.clone().unwrap_or_else(|| default_name(args));
    if !path.to_string_lossy().contains("SECRET") {
        output.note(format_args!(
            "{} whoever has this key can forge traces that pass it; a name with SECRET in it reminds people",
            output.paint_note(Style::Warn, "note:")
        ));
    }
    let passphrase = if encrypt {
        Some(args.passphrase.read(true)?)
    } else {
        None
    };
    let mut progress = Progress::start(!args.json);
    let file = AtomicFile::create_private(&path)?;
    let root = model_arg::root(&model, &mut progress)?;
    let hash_s = started.elapsed().as_secs_f64();
    let begun = Instant::now();
    let maker = KeyMaker::new(&model, root, Seed::from_os()?, &options)?;
    let gpu = match (
        args.gpu,
        args.gpu
            .then(|| pollster::block_on(device.open()))
            .transpose()?,
    ) {
        (true, Some(Device::Gpu(gpu))) => Some(gpu),
        _ => None,
    };
    let key = pollster::block_on(make(
        maker,
        &model,
        gpu.as_deref(),
        args.activations.is_integer(),
        &mut progress,
    ))?;
    let projecting_s = begun.elapsed().as_secs_f64();
    progress.clear();
    let encrypted;
    let bytes = match &passphrase {
        None => key.as_bytes(),
        Some(passphrase) => {
            encrypted = key.encrypt(passphrase)?;
            &encrypted
        }
    };
    file.finish(|file| file.write_all(bytes))
        .context("the key was not kept")?;
    let summary = Summary {
        schema_version: 1,
        key: path.display().to_string(),
        bytes: bytes.len() as u64,
        id: key.id().to_string(),
        encrypted: encrypt,
        model_root: root.to_string(),
        projections: key.projections(),
        rows: key.rows(),
        layers: key.layers().len(),
        activations: args.activations,
        hash_s,
        projecting_s,
        total_s: started.elapsed().as_secs_f64(),
        projected_on: gpu.map_or_else(|| "cpu".to_owned(), |gpu| gpu.info.name.clone()),
    };
    if args.json {
        output.json(&summary)?;
    } else {
        print(&summary, &model, output)?;
    }
    Ok(Exit::Ok)
}

async fn make(
    mut maker: KeyMaker<'_>,
    model: &Model,
    gpu: Option<&Gpu>,
    is_integer: bool,
    progress: &mut Progress,
) -> anyhow::Result<VerifierKey> {
    loop {
        interrupt::check()?;
        progress.bytes(Stage::Project, maker.done(), maker.total());
        // Sums over a field are made on the CPU.
        if let (Some(gpu), Some(part)) = (gpu, maker.next_part())
            && (part == Part::Head || !is_integer)
        {
            let tensor = model
                .tensor(part.role())
                .ok_or_else(|| EngineError::Unsupported(format!("a model without {part}")))?;
            let projected = project(gpu, model, tensor, &maker.projection(part)).await?;
            maker.accept(part, projected)?;
            continue;
        }
        if maker.step()? {
            return Ok(maker.finish()?);
        }
    }
}

fn default_name(args: &Args) -> PathBuf {
    let name = args.model.model.as_deref().map_or_else(
        || "demo".to_owned(),
        |path| {
            let stem = if path.is_dir() {
                path.file_name()
            } else {
                path.file_stem()
            };
            let stem = stem.or_else(|| Path::new("model").file_name());
            stem.map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default()
        },
    );
    PathBuf::from(format!("{name}.SECRET.assay-key"))
}

fn print(summary: &Summary, model: &Model, output: &Output) -> anyhow::Result<()> {
    output.line(text::plain(&summary.key))?;
    output.note("");
    output.note_field(
        "key",
        format_args!(
            "{}, for {} of weights{}",
            text::bytes(summary.bytes),
            text::bytes(model.bytes()),
            if summary.encrypted { ", encrypted" } else { "" }
        ),
    );
    output.note_field(
        "covers",
        format_args!(
            "{} layers and the output projection, {} projections, {} rows of each matrix",
            summary.layers, summary.projections, summary.rows
        ),
    );
    let field = match summary.activations {
        ActivationType::Int8 => Some("2^61 - 1"),
        ActivationType::Blocks => Some("2^127 - 1"),
        ActivationType::Float | ActivationType::Ggml => None,
    };
    if let Some(field) = field {
        output.note_field(
            "integers",
            format_args!("products of layers are checked exactly, over the field of {field}"),
        );
    }
    output.note_field("model root", &summary.model_root);
    output.note_field("id", &summary.id);
    output.note_field(
        "time",
        format_args!(
            "{:.2} s: {:.2} hashing, {:.2} projecting on {}",
            summary.total_s, summary.hash_s, summary.projecting_s, summary.projected_on
        ),
    );
    output.note("");
    output.note(format_args!(
        "{} keep it from provers: with it they can forge linear outputs that pass",
        output.paint_note(Style::Warn, "SECRET")
    ));
    Ok(())
}
