//! `assay toploc verify`: proofs against one's own activations, beside the thresholds that TOPLOC published.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use assay_toploc::{BATCH, Compared, MAX_FILE_BYTES, ProofFile, Thresholds, ToplocError, compare};
use assay_verify::Verdict;
use assay_verify::shown::number;
use serde::Serialize;

use super::source::{Side, SourceArgs};
use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::output::{Output, Style, WIDTH};
use crate::text;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Proofs: of `assay toploc prove`, or the list of base64 strings that the Python package returns
    #[arg(value_name = "FILE")]
    proofs: PathBuf,

    #[command(flatten)]
    source: SourceArgs,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    kind: &'static str,
    verdict: Verdict,
    /// `ok`, `structure`, `prompt`, `count`, `modulus`, `threshold` or `sign`.
    code: &'static str,
    summary: String,
    thresholds: Theirs,
    from: Option<String>,
    chunks: Vec<Chunk>,
    not_covered: Vec<&'static str>,
}

#[derive(Serialize)]
struct Theirs {
    source: &'static str,
    #[serde(flatten)]
    limits: Thresholds,
}

#[derive(Serialize)]
struct Chunk {
    index: usize,
    part: &'static str,
    rows: usize,
    modulus: u16,
    #[serde(flatten)]
    compared: Compared,
    /// Within the thresholds as TOPLOC applies them.
    within: bool,
    /// The same with a wrong sign counted as a wrong exponent.
    within_signed: bool,
}

const SOURCE: &str = "TOPLOC's own (arXiv:2501.16007), for its models and GPUs; not measured here";
const NOT_COVERED: [&str; 4] = [
    "quantised weights: int8 stays within these thresholds, here and in others' measurements, and here int4 does too",
    "tokens: a proof is of activations, and any sampler may have followed",
    "all but the 128 largest activations of a chunk, and a cheat in the later chunks only as far as it reaches them",
    "freshness and who ran the model: nothing is signed or bound to a request",
];

/// Verifies. Malformed proofs are rejections.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let bytes = read(&args.proofs)?;
    let report = match ProofFile::parse(&bytes) {
        Ok(proofs) => judge(args, &proofs, device, output)?,
        Err(err) => refused(&err, "structure", None),
    };
    if args.json {
        output.json(&report)?;
    } else {
        print(&report, output)?;
    }
    Ok(match report.verdict {
        Verdict::Accept => Exit::Ok,
        _ => Exit::Reject,
    })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let cannot_read = || format!("cannot read the proofs {}", path.display());
    let file = std::fs::File::open(path).with_context(cannot_read)?;
    if file.metadata().with_context(cannot_read)?.is_dir() {
        bail!(
            "this is a folder, want a file of proofs: {}",
            path.display()
        );
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(cannot_read)?;
    Ok(bytes)
}

fn judge(
    args: &Args,
    proofs: &ProofFile,
    device: &DeviceArgs,
    output: &Output,
) -> anyhow::Result<Report> {
    let rows = args
        .source
        .rows(Side::Verifier, proofs.batch, device, output, args.json)?;
    let activations = &rows.activations;
    let (own, theirs) = (activations.prompt_rows(), proofs.prompt_rows);
    if let Some(theirs) = theirs.filter(|theirs| *theirs != own) {
        let summary =
            format!("the proofs are of a prompt of {theirs} rows, the activations of one of {own}");
        return Ok(Report {
            from: Some(rows.from),
            ..report(Verdict::Reject, "prompt", summary)
        });
    }
    let all = activations.chunks();
    if all.is_empty() {
        return Ok(refused(&ToplocError::Nothing, "count", Some(rows.from)));
    }
    if all.len() != proofs.proofs.len() {
        let err = ToplocError::Count {
            got: proofs.proofs.len(),
            want: all.len(),
        };
        return Ok(refused(&err, "count", Some(rows.from)));
    }
    let mut chunks = Vec::new();
    for (index, (chunk, proof)) in all.iter().zip(&proofs.proofs).enumerate() {
        let top = proofs.top;
        let compared = match compare(proof, chunk, top) {
            Ok(compared) => compared,
            Err(err) => return Ok(refused(&err, "modulus", Some(rows.from))),
        };
        let limits = Thresholds::PUBLISHED;
        chunks.push(Chunk {
            index,
            part: if index == 0 && own > 0 {
                "prompt"
            } else {
                "decode"
            },
            rows: chunk.len() / activations.width(),
            modulus: proof.modulus(),
            compared,
            within: limits.admit(&compared),
            within_signed: limits.admit_signed(&compared),
        });
    }
    Ok(conclude(chunks, rows.from))
}

fn conclude(chunks: Vec<Chunk>, from: String) -> Report {
    let beyond = chunks.iter().find(|chunk| !chunk.within);
    let sign = chunks.iter().find(|chunk| !chunk.within_signed);
    let (verdict, code, summary) = match (beyond, sign) {
        (Some(chunk), _) => (
            Verdict::Reject,
            "threshold",
            format!("chunk {} is beyond TOPLOC's thresholds", chunk.index),
        ),
        (None, Some(chunk)) => (
            Verdict::Reject,
            "sign",
            format!(
                "chunk {} is within TOPLOC's thresholds only because it leaves signs out",
                chunk.index
            ),
        ),
        (None, None) => (
            Verdict::Accept,
            "ok",
            format!(
                "{} within TOPLOC's thresholds, signs included",
                text::count(chunks.len() as u64, "chunk")
            ),
        ),
    };
    Report {
        from: Some(from),
        chunks,
        ..report(verdict, code, summary)
    }
}

fn refused(err: &ToplocError, code: &'static str, from: Option<String>) -> Report {
    Report {
        from,
        ..report(Verdict::Reject, code, err.to_string())
    }
}

fn report(verdict: Verdict, code: &'static str, summary: String) -> Report {
    Report {
        schema_version: 1,
        kind: "toploc",
        verdict,
        code,
        summary,
        thresholds: Theirs {
            source: SOURCE,
            limits: Thresholds::PUBLISHED,
        },
        from: None,
        chunks: Vec::new(),
        not_covered: NOT_COVERED.to_vec(),
    }
}

fn print(report: &Report, output: &Output) -> anyhow::Result<()> {
    let (word, style) = match report.verdict {
        Verdict::Accept => ("✓ ACCEPT", Style::Good),
        _ => ("✗ REJECT", Style::Bad),
    };
    let why = match report.verdict {
        Verdict::Accept => "by TOPLOC's thresholds",
        _ => report.code,
    };
    output.line(format_args!(
        "{}  {}",
        output.paint(style, word),
        output.paint(Style::Strong, why)
    ))?;
    for line in text::wrapped(&text::plain(&report.summary), WIDTH - 2) {
        output.line(format_args!("  {line}"))?;
    }
    output.line("")?;
    if !report.chunks.is_empty() {
        let row = |cells: [&str; 7]| {
            let [index, part, rows, exponents, signs, mean, median] = cells;
            format!("{index:>6}  {part:<7}{rows:>6}{exponents:>12}{signs:>8}{mean:>10}{median:>9}")
        };
        let head = [
            "chunk",
            "part",
            "rows",
            "exponents",
            "signs",
            "mean",
            "median",
        ];
        output.line(output.paint(Style::Dim, format_args!("  {}", row(head))))?;
        for chunk in &report.chunks {
            let compared = &chunk.compared;
            let (symbol, style) = if chunk.within_signed {
                ("✓", Style::Good)
            } else {
                ("✗", Style::Bad)
            };
            let line = row([
                &chunk.index.to_string(),
                chunk.part,
                &chunk.rows.to_string(),
                &format!("{} of {}", compared.exponent_mismatches, compared.n),
                &compared.sign_mismatches.to_string(),
                &number(compared.mantissa_mean),
                &number(compared.mantissa_median),
            ]);
            output.line(format_args!("{} {line}", output.paint(style, symbol)))?;
        }
        let theirs = report.thresholds.limits;
        let line = row([
            "",
            "limit",
            "",
            &format!("{} of 128", theirs.exponent_mismatches),
            "-",
            &number(theirs.mantissa_mean),
            &number(theirs.mantissa_median),
        ]);
        output.line(output.paint(Style::Dim, format_args!("  {line}")))?;
        output.line("")?;
    }
    let mut facts = Vec::new();
    if let Some(from) = &report.from {
        facts.push(("rows", from.clone()));
    }
    facts.push(("limits", report.thresholds.source.to_owned()));
    facts.push((
        "columns",
        format!(
            "exponents that differ; signs that differ where exponents agree, which count as exponents here and not at all there; differences of mantissas, in steps of bf16; decode chunks have {BATCH} rows unless the proofs say otherwise"
        ),
    ));
    for (label, value) in facts {
        crate::llama2rs::field(label, &value, output)?;
    }
    output.line("")?;
    output.line(output.paint(Style::Strong, "Not covered by this verdict"))?;
    for item in &report.not_covered {
        crate::llama2rs::bullet(item, output)?;
    }
    Ok(())
}
