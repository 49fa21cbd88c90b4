//! `assay --verify FILE`, where the file is a trace of llama2-rs.

use std::time::Instant;

use anyhow::bail;
use assay_llama2rs::check::{Verdict, Verifier};
use assay_llama2rs::{ReplayError, Trace};
use assay_model::Model;
use assay_trace::Digest;

use super::Asked;
use super::distance;
use super::print;
use super::report::{Report, Subject};
use crate::device_arg::DeviceArgs;
use crate::exit::Exit;
use crate::output::Output;
use crate::progress::Progress;
use crate::{interrupt, model_arg};

/// The most memory that logits may take while an adapter is compared.
const MOST_LOGITS_BYTES: usize = 2 << 30;

/// How the report is to appear.
pub struct Shown<'a> {
    /// How the user called the model.
    pub model_name: &'a str,
    /// As JSON.
    pub json: bool,
    /// Not at all.
    pub quiet: bool,
}

/// Verifies. `keep` gets the JSON text, for whoever wants it in a file.
pub fn verify(
    bytes: &[u8],
    model: &Model,
    asked: &Asked,
    device: &DeviceArgs,
    shown: &Shown<'_>,
    output: &Output,
    keep: impl FnOnce(&str) -> anyhow::Result<()>,
) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let mut progress = Progress::start(!shown.quiet);
    let root = model_arg::root(model, &mut progress)?;
    let mut report = judge(bytes, model, root, asked, device, &mut progress)?;
    progress.clear();
    report.timings.total_s = started.elapsed().as_secs_f64();

    let json = serde_json::to_string_pretty(&report)?;
    keep(&json)?;
    let printed = if shown.json {
        output.line(&json)
    } else if shown.quiet {
        Ok(())
    } else {
        print::report(&report, shown.model_name, output)
    };
    match printed {
        Err(err) if !err.is_closed() => Err(err.into()),
        _ => Ok(exit_of(report.verdict)),
    }
}

pub fn exit_of(verdict: Verdict) -> Exit {
    match verdict {
        Verdict::Accept => Exit::Ok,
        Verdict::Reject => Exit::Reject,
        Verdict::Inconclusive => Exit::Inconclusive,
    }
}

fn judge(
    bytes: &[u8],
    model: &Model,
    model_root: Digest,
    Asked(expect): &Asked,
    device: &DeviceArgs,
    progress: &mut Progress,
) -> anyhow::Result<Report> {
    let subject = Subject {
        bytes,
        model,
        model_root,
        sampler: expect.sampler,
        iteration: expect.iteration,
        root_given: expect.root.is_some(),
        prompt_given: expect.prompt.is_some(),
        claim_given: expect.claim.is_some(),
    };
    let trace = match Trace::parse(bytes) {
        Ok(trace) => trace,
        Err(err) => return Ok(Report::of_malformed(&subject, &err)),
    };
    let adapter = device.adapter.as_deref().filter(|name| *name != "cpu");
    if adapter.is_some() {
        let positions = trace.entries.len().min(model.config().context);
        let want = positions.saturating_mul(4 * model.config().vocab);
        if want > MOST_LOGITS_BYTES {
            bail!(
                "the logits of {positions} positions take {} MiB, want at most {}\nleave --adapter out, or ask for fewer steps with --iteration",
                want >> 20,
                MOST_LOGITS_BYTES >> 20
            );
        }
    }
    let verifier = Verifier {
        model,
        model_root,
        keep_logits: adapter.is_some(),
    };
    let started = Instant::now();
    let checked = verifier
        .check(&trace, expect, |done, total| {
            progress.steps(done as u64, total as u64);
            !interrupt::requested()
        })
        .map_err(explained)?;
    let mut report = Report::of(&subject, &trace, &checked);
    report.timings.replay_s = started.elapsed().as_secs_f64();
    if adapter.is_some() {
        let started = Instant::now();
        let measured = distance::measure(&trace, &checked, model, device, progress);
        report.adapter = Some(pollster::block_on(measured)?);
        report.timings.adapter_s = started.elapsed().as_secs_f64();
    }
    Ok(report)
}

/// An error with its next step, where there is one.
pub fn explained(err: ReplayError) -> anyhow::Error {
    let next = match &err {
        ReplayError::Model(_) | ReplayError::Missing(_) => {
            "give the llama2.c checkpoint that it was made with: --model FILE.bin"
        }
        ReplayError::SeedZero => "give the seed of the run, if it is known",
        _ => return err.into(),
    };
    anyhow::anyhow!("{err}\n{next}")
}
