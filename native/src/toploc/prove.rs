//! `assay toploc prove`.

use std::io::Write as _;
use std::path::PathBuf;

use assay_toploc::{BATCH, ProofFile, TOP};
use serde::Serialize;

use super::source::{Side, SourceArgs};
use crate::atomic_file::AtomicFile;
use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::output::Output;
use crate::text;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    source: SourceArgs,

    /// Where to write the proofs
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Activations in a proof
    #[arg(long, value_name = "K", default_value_t = TOP as u32, value_parser = clap::value_parser!(u32).range(1..=4096))]
    top: u32,

    /// Decode steps in a chunk
    #[arg(long, value_name = "N", default_value_t = BATCH as u32, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,

    /// Write the bare list that the Python package returns
    #[arg(long)]
    bare: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Summary {
    schema_version: u32,
    kind: &'static str,
    from: String,
    rows: usize,
    width: usize,
    prompt_rows: usize,
    top: usize,
    batch: usize,
    proofs: usize,
    proof_bytes: usize,
    out: String,
}

/// Proves.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let file = AtomicFile::create(&args.out)?;
    let (top, batch) = (args.top as usize, args.batch as usize);
    let rows = args
        .source
        .rows(Side::Prover, batch, device, output, args.json)?;
    let activations = &rows.activations;
    let proofs = ProofFile {
        top,
        batch,
        prompt_rows: Some(activations.prompt_rows()),
        proofs: activations.prove(top)?,
    };
    let contents = if args.bare {
        let list: Vec<String> = proofs
            .proofs
            .iter()
            .map(|proof| proof.to_base64())
            .collect();
        serde_json::to_string_pretty(&list)?
    } else {
        proofs.to_json()
    };
    file.finish(|file| writeln!(file, "{contents}"))?;
    let summary = Summary {
        schema_version: 1,
        kind: "toploc",
        from: rows.from,
        rows: activations.rows(),
        width: activations.width(),
        prompt_rows: activations.prompt_rows(),
        top,
        batch,
        proofs: proofs.proofs.len(),
        proof_bytes: proofs
            .proofs
            .iter()
            .map(|proof| proof.to_bytes().len())
            .sum(),
        out: args.out.display().to_string(),
    };
    if args.json {
        output.json(&summary)?;
        return Ok(Exit::Ok);
    }
    output.note_field(
        "rows",
        format_args!("{} of {}, {}", summary.rows, summary.width, summary.from),
    );
    output.note_field(
        "proofs",
        format_args!(
            "{} ({}): {}",
            text::count(summary.proofs as u64, "chunk"),
            text::bytes(summary.proof_bytes as u64),
            summary.out
        ),
    );
    Ok(Exit::Ok)
}
