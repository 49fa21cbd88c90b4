//! `assay --verify FILE`: hold a trace against a model on this machine, and say what came of it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use assay_engine::Device;
use assay_engine::sampler::SamplerSpec;
use assay_model::Model;
use assay_trace::{Digest, Trace};
use assay_verify::{Profiles, Verdict, Verified, statement, verify_in_detail};

use crate::atomic_file::AtomicFile;
use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::model_arg::ModelArgs;
use crate::output::Output;
use crate::progress::Progress;
use crate::{prompt_arg, sampler_arg, trace_file, verdict};

/// `assay verify FILE`, the same thing as a verb.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Trace to verify; `-` reads it from stdin
    #[arg(id = "verify", value_name = "FILE")]
    pub verify: PathBuf,

    #[command(flatten)]
    pub options: Options,
}

/// Its flags, which belong to `--verify`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Verification")]
pub struct Options {
    #[command(flatten)]
    model: ModelArgs,

    /// The nonce that the trace must answer: 64 hex digits
    #[arg(long, value_name = "HEX", requires = "verify", value_parser = super::prove::nonce)]
    nonce: Option<Digest>,

    /// The prompt that must have been answered, as text
    #[arg(
        long,
        value_name = "TEXT",
        requires = "verify",
        conflicts_with = "expect_prompt_ids",
        allow_hyphen_values = true
    )]
    expect_prompt: Option<String>,

    /// The prompt that must have been answered, as token ids
    #[arg(long, value_name = "IDS", requires = "verify")]
    expect_prompt_ids: Option<String>,

    /// The temperature that must have been used; 0 is greedy
    #[arg(
        long,
        value_name = "T",
        requires = "verify",
        allow_hyphen_values = true
    )]
    expect_temperature: Option<f64>,

    /// The top-p that must have been used [default: 1]
    #[arg(long, value_name = "P", requires = "expect_temperature")]
    expect_top_p: Option<f64>,

    /// The top-k that must have been used [default: 0]
    #[arg(long, value_name = "K", requires = "expect_temperature")]
    expect_top_k: Option<u32>,

    /// The seed that must have been used; needed with a temperature above 0
    #[arg(long, value_name = "S", requires = "expect_temperature")]
    expect_seed: Option<u64>,

    /// Print the report as one JSON object
    #[arg(long, requires = "verify")]
    json: bool,

    /// Print no text: the exit code is the answer
    #[arg(short, long, requires = "verify")]
    quiet: bool,

    /// Also write the JSON report to this file
    #[arg(long, value_name = "FILE", requires = "verify")]
    report: Option<PathBuf>,

    /// Also write figures by position to this file, as CSV
    #[arg(long, value_name = "FILE", requires = "verify")]
    csv: Option<PathBuf>,

    /// Also write an unsigned in-toto statement of the verdict to this file
    #[arg(long, value_name = "FILE", requires = "verify")]
    statement: Option<PathBuf>,
}

/// Verifies. The verdict's exit code stands also where nobody reads the text.
pub fn run(
    file: &Path,
    options: &Options,
    device: &DeviceArgs,
    output: &Output,
) -> anyhow::Result<Exit> {
    let quiet = options.quiet || options.json;
    // Paths that cannot be written are found out before the work.
    let create = |path: &Option<PathBuf>| path.as_deref().map(AtomicFile::create).transpose();
    let report_file = create(&options.report)?;
    let csv_file = create(&options.csv)?;
    let statement_file = create(&options.statement)?;
    let model = options.model.open(output, quiet)?;
    let expected = options.expected(&model)?;
    let trace = trace_file::read(file)?;
    let Verified { report, details } =
        pollster::block_on(judge(&trace, &model, &expected, device, options.quiet))?;
    let json = report.to_json().context("the report has no JSON form")?;
    if let Some(report_file) = report_file {
        report_file.finish(|file| writeln!(file, "{json}"))?;
    }
    if let Some(csv_file) = csv_file {
        csv_file.finish(|file| file.write_all(details.to_csv().as_bytes()))?;
    }
    if let Some(statement_file) = statement_file {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let build = env!("CARGO_PKG_VERSION");
        let statement = statement::in_toto(&report, build, &statement::rfc3339(now));
        let text = serde_json::to_string_pretty(&statement)?;
        statement_file.finish(|file| writeln!(file, "{text}"))?;
    }
    let printed = if options.json {
        output.line(&json)
    } else if options.quiet {
        Ok(())
    } else {
        verdict::print(&report, &options.model.name(), output)
    };
    match printed {
        Err(err) if !err.is_closed() => Err(err.into()),
        _ => Ok(exit_of(report.verdict)),
    }
}

async fn judge(
    trace: &[u8],
    model: &Model,
    expected: &assay_verify::Options,
    device: &DeviceArgs,
    quiet: bool,
) -> anyhow::Result<Verified> {
    let mut progress = Progress::start(!quiet);
    // A file that is no trace is rejected on any machine, also on one without an adapter.
    let device = if Trace::parse(trace).is_ok() {
        device.open().await?
    } else {
        Device::Cpu
    };
    let profiles = Profiles::embedded();
    Ok(verify_in_detail(&profiles, trace, model, &device, expected, &mut progress).await?)
}

fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Accept => Exit::Ok,
        Verdict::Reject => Exit::Reject,
        Verdict::Inconclusive => Exit::Inconclusive,
    }
}

impl Options {
    fn expected(&self, model: &Model) -> anyhow::Result<assay_verify::Options> {
        let (text, ids) = (
            self.expect_prompt.as_deref(),
            self.expect_prompt_ids.as_deref(),
        );
        let expect_prompt = if text.is_some() || ids.is_some() {
            Some(prompt_arg::ids(text, ids, model)?)
        } else {
            None
        };
        Ok(assay_verify::Options {
            nonce: self.nonce.map(|nonce| nonce.0),
            expect_prompt,
            expect_sampler: self
                .expect_temperature
                .map(|temperature| self.sampler(temperature))
                .transpose()?,
            ..assay_verify::Options::default()
        })
    }

    fn sampler(&self, temperature: f64) -> anyhow::Result<SamplerSpec> {
        sampler_arg::spec(temperature, self.expect_top_p, self.expect_top_k, || {
            self.expect_seed
                .context("a sampler has a seed\ngive it with --expect-seed")
        })
    }
}
