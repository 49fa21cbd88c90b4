//! `assay llama2-rs proof` and `check`: one step alone.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use assay_llama2rs::check::{Check, Outcome, Verdict};
use assay_llama2rs::limits::MAX_PROOF_BYTES;
use assay_llama2rs::{StepProof, Trace};
use assay_trace::Digest;
use serde::Serialize;

use super::print;
use super::verify::exit_of;
use crate::atomic_file::AtomicFile;
use crate::exit::Exit;
use crate::output::{Output, Style};
use crate::{text, trace_file};

/// Flags of `proof`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Trace of llama2-rs; `-` reads it from stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Which step
    #[arg(long, value_name = "N")]
    iteration: usize,

    /// Where to write the proof
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Write the bytes that llama2-rs stores instead, which hold a leaf and no step
    #[arg(long)]
    bincode: bool,
}

/// Flags of `check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Proof of a step
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The root that it must lead to, from elsewhere
    #[arg(long, value_name = "HEX", value_parser = crate::commands::prove::nonce)]
    root: Digest,

    /// How many steps the trace has, from elsewhere: a root alone does not say it
    #[arg(long, value_name = "N")]
    iterations: Option<u64>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Writes a proof.
pub fn run(args: &Args, output: &Output) -> anyhow::Result<Exit> {
    let bytes = trace_file::read(&args.file)?;
    let trace = match Trace::parse(&bytes) {
        Ok(trace) => trace,
        Err(err) => return Ok(reject(&format!("structure: {err}"), output)),
    };
    if !trace.holds_together() {
        return Ok(reject(
            "its leaves or its root are not those of its entries, so a proof from it leads nowhere",
            output,
        ));
    }
    let (iteration, count) = (args.iteration, trace.entries.len());
    let Some(proof) = StepProof::of(&trace, iteration) else {
        bail!("there is no iteration {iteration} with a proof: the trace has {count}");
    };
    let contents = match (args.bincode, proof.as_stored()) {
        (true, Some(stored)) => stored.to_bytes(),
        _ => (proof.to_json() + "\n").into_bytes(),
    };
    let file = AtomicFile::create(&args.out)?;
    file.finish(|file| file.write_all(&contents))?;
    output.note_field(
        "step",
        format_args!("{iteration} of {count}, token {}", proof.token),
    );
    output.note_field(
        "proof",
        format_args!("{} ({} bytes)", args.out.display(), contents.len()),
    );
    if let Some(root) = trace.root {
        output.note_field("root", root);
    }
    output.note("       whoever checks the proof must have the root, and the number of steps, from elsewhere");
    Ok(Exit::Ok)
}

fn reject(why: &str, output: &Output) -> Exit {
    let label = output.paint_note(Style::Bad, "error:");
    output.note(format_args!("{label} {}", text::plain(why)));
    Exit::Reject
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    kind: &'static str,
    verdict: Verdict,
    iteration: Option<u64>,
    iterations: Option<u64>,
    token: Option<i32>,
    logits_hash: Option<Digest>,
    root: Digest,
    checks: Vec<Check>,
}

/// Checks one, with nothing else at hand.
pub fn check(args: &CheckArgs, output: &Output) -> anyhow::Result<Exit> {
    let bytes = read(&args.file)?;
    let report = judge(&bytes, args);
    if args.json {
        output.json(&report)?;
    } else {
        show(&report, output)?;
    }
    Ok(exit_of(report.verdict))
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot_read = || format!("cannot read the proof {}", path.display());
    let file = std::fs::File::open(path).with_context(cannot_read)?;
    if file.metadata().with_context(cannot_read)?.is_dir() {
        bail!("this is a folder, want a proof: {}", path.display());
    }
    let mut bytes = Vec::new();
    file.take(MAX_PROOF_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(cannot_read)?;
    Ok(bytes)
}

fn judge(bytes: &[u8], args: &CheckArgs) -> Report {
    let mut checks = Vec::new();
    let proof = match StepProof::parse(bytes) {
        Ok(proof) => {
            checks.push(Check::pass("structure", "a proof of one step, version 1"));
            Some(proof)
        }
        Err(err) => {
            checks.push(Check::fail("structure", "structure", err.to_string()));
            None
        }
    };
    if let Some(proof) = &proof {
        checks.push(path(proof, args.root));
        checks.push(count(proof, args.iterations));
    }
    let failed = checks.iter().any(|check| check.outcome == Outcome::Fail);
    Report {
        schema_version: 1,
        kind: "llama2-rs-proof",
        verdict: if failed {
            Verdict::Reject
        } else {
            Verdict::Accept
        },
        iteration: proof.as_ref().map(|proof| proof.index),
        iterations: proof.as_ref().map(|proof| proof.count),
        token: proof.as_ref().map(|proof| proof.token),
        logits_hash: proof.as_ref().map(|proof| proof.logits),
        root: args.root,
        checks,
    }
}

fn path(proof: &StepProof, root: Digest) -> Check {
    match proof.root() {
        None => Check::fail(
            "path",
            "proof",
            format!(
                "{} hashes are no path of step {} among {}",
                proof.siblings.len(),
                proof.index,
                proof.count
            ),
        ),
        Some(own) if own == root => Check::pass(
            "path",
            "step, index and path lead to the root that was given",
        ),
        Some(own) => {
            Check::fail("path", "root-mismatch", "the path leads to another root").sides(root, own)
        }
    }
}

fn count(proof: &StepProof, want: Option<u64>) -> Check {
    match want {
        None => Check::skipped(
            "count",
            "no number of steps was given, and a root does not bind it",
        ),
        Some(want) if want == proof.count => {
            Check::pass("count", "it is of a trace with as many steps as were given")
        }
        Some(want) => Check::fail(
            "count",
            "count",
            "it is of a trace with another number of steps",
        )
        .sides(want, proof.count),
    }
}

fn show(report: &Report, output: &Output) -> anyhow::Result<()> {
    let (word, style) = match report.verdict {
        Verdict::Accept => ("✓ ACCEPT", Style::Good),
        _ => ("✗ REJECT", Style::Bad),
    };
    let failed = report
        .checks
        .iter()
        .find(|check| check.outcome == Outcome::Fail);
    output.line(format_args!(
        "{}  {}",
        output.paint(style, word),
        output.paint(
            Style::Strong,
            failed.map_or("proof of a step", |check| check.code)
        )
    ))?;
    output.line("")?;
    for check in &report.checks {
        print::check(check, false, output)?;
    }
    output.line("")?;
    if let (Some(step), Some(count), Some(token), Some(hash)) = (
        report.iteration,
        report.iterations,
        report.token,
        report.logits_hash,
    ) {
        output.line(output.field(
            "step",
            format_args!("{step} of {count}: token {token} went in"),
        ))?;
        output.line(output.field("logits", hash))?;
    }
    output.line(output.field("root", report.root))?;
    output.line("")?;
    output.line(output.paint(Style::Strong, "Not covered by this verdict"))?;
    for item in [
        "whether any model gives these logits: that takes a replay",
        "where the root is from: it is worth what its source is",
    ] {
        print::bullet(item, output)?;
    }
    Ok(())
}
