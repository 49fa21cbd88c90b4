//! `assay synth`: a checkpoint of a published shape with weights from a seed, for measuring load and speed.

use std::path::PathBuf;

use anyhow::Context as _;
use assay_model::Dtype;
use assay_model::synth::{Shape, write_with_progress};

use crate::exit::Exit;
use crate::interrupt;
use crate::output::Output;
use crate::progress::{Progress, Stage};

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Shape: llama-3.2-1b, llama-3.2-3b, llama-3.1-8b or tiny
    #[arg(long, value_name = "NAME")]
    shape: String,

    /// New folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Seed of the weights
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Stored type of the weights
    #[arg(long, value_name = "TYPE", default_value = "bf16", value_parser = ["f32", "f16", "bf16"])]
    dtype: String,
}

/// Writes the folder; it appears whole or not at all.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let shape = Shape::named(&args.shape).with_context(|| {
        format!(
            "no such shape: `{}`\nknown: {}",
            args.shape,
            Shape::NAMES.join(", ")
        )
    })?;
    let dtype = match args.dtype.as_str() {
        "f32" => Dtype::F32,
        "f16" => Dtype::F16,
        _ => Dtype::BF16,
    };
    let mut progress = Progress::start(true);
    let write = || {
        write_with_progress(&shape, dtype, args.seed, &args.out, &mut |done, total| {
            progress.bytes(Stage::Write, done, total);
        })
    };
    interrupt::stoppable(write)??;
    progress.clear();
    output.note(format_args!(
        "wrote {} ({}, seed {}): {}",
        shape.name,
        args.dtype,
        args.seed,
        args.out.display()
    ));
    Ok(Exit::Ok)
}
