//! `assay tune`: which kernels are fastest on an adapter; they are remembered for it.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use assay_engine::gpu::{Choice, Tuning};
use assay_engine::tune::{self, Measured, Timing};
use assay_engine::{AdapterInfo, Gpu, GpuOptions};
use serde::Serialize;

use crate::device_arg::{DeviceArgs, in_a_line};
use crate::exit::Exit;
use crate::output::{Output, Style};
use crate::progress::Progress;
use crate::text;
use crate::tune_file;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print what is remembered, and measure nothing
    #[arg(long, conflicts_with_all = ["forget", "rounds"])]
    show: bool,

    /// Forget what is remembered: of the adapters that `--adapter` names, or of all
    #[arg(long, conflicts_with = "rounds")]
    forget: bool,

    /// Interleaved rounds of each race; medians count
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    rounds: u16,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    adapter: &'a AdapterInfo,
    /// What the adapter would have without a measurement.
    known: Choice,
    #[serde(flatten)]
    measured: &'a Measured,
    /// Where it is remembered.
    file: String,
}

/// Measures, shows or forgets.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let path = tune_file::path().context("this system has no folder for a program's data")?;
    if args.show {
        return show(args, &path, output);
    }
    if args.forget {
        return forget(&path, device, output);
    }
    if device.adapter.as_deref() == Some("cpu") {
        anyhow::bail!(
            "the CPU twins have nothing to choose among\nname an adapter: assay adapters"
        );
    }
    let mut progress = Progress::start(!args.json);
    let (info, measured) = pollster::block_on(measure(args, device, &mut progress))?;
    progress.clear();
    let mut tunings = tune_file::read(&path).unwrap_or_default();
    tunings.retain(|tuning| !tuning.is_of(&info));
    tunings.push(Tuning::new(&info, measured.choice));
    tune_file::write(&path, tunings)?;
    let report = Report {
        schema_version: 1,
        known: Choice::of(&info),
        adapter: &info,
        measured: &measured,
        file: path.display().to_string(),
    };
    match args.json {
        true => output.json(&report)?,
        false => print(&report, output)?,
    }
    Ok(Exit::Ok)
}

/// Without what was found before: only candidates are compared, and which of them an adapter has does not matter.
async fn measure(
    args: &Args,
    device: &DeviceArgs,
    progress: &mut Progress,
) -> anyhow::Result<(AdapterInfo, Measured)> {
    let options = GpuOptions {
        adapter: device.adapter.clone(),
        ..GpuOptions::default()
    };
    let gpu = Arc::new(Gpu::open(&options).await?);
    let measured = tune::tune(&gpu, args.rounds.into(), progress).await?;
    Ok((gpu.info.clone(), measured))
}

fn show(args: &Args, path: &Path, output: &Output) -> anyhow::Result<Exit> {
    let tunings = tune_file::read(path)?;
    if args.json {
        output.json(&tunings)?;
        return Ok(Exit::Ok);
    }
    if tunings.is_empty() {
        output.line(
            "nothing is remembered: every adapter has the kernels that are known to suit its kind",
        )?;
    }
    for tuning in &tunings {
        output.line(output.paint(Style::Strong, text::plain(&tuning.name)))?;
        let driver = format_args!("{}, {}", tuning.backend, tuning.driver).to_string();
        output.line(output.field("driver", text::plain(&driver)))?;
        print_choice(&tuning.choice, output)?;
    }
    output.note_field("file", path.display());
    Ok(Exit::Ok)
}

fn forget(path: &Path, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    // What cannot be read is forgotten, too: it holds nothing.
    let tunings = tune_file::read(path).unwrap_or_default();
    let needle = device.adapter.clone().unwrap_or_default().to_lowercase();
    let is_named = |tuning: &Tuning| {
        format!("{} {}", tuning.name, tuning.backend)
            .to_lowercase()
            .contains(&needle)
    };
    let (gone, kept): (Vec<_>, Vec<_>) = tunings.into_iter().partition(is_named);
    tune_file::write(path, kept)?;
    let count = text::count(gone.len() as u64, "adapter");
    output.line(format_args!("forgot what was measured on {count}"))?;
    Ok(Exit::Ok)
}

fn print(report: &Report<'_>, output: &Output) -> anyhow::Result<()> {
    output.line(output.paint(Style::Strong, in_a_line(report.adapter)))?;
    let timings = &report.measured.timings;
    let mut rest = &timings[..];
    while let Some(first) = rest.first() {
        let same = |t: &&Timing| (t.class, &t.race) == (first.class, &first.race);
        let (race, after) = rest.split_at(rest.iter().take_while(same).count());
        rest = after;
        output.line(format_args!("  {}: {}", first.class, first.race))?;
        for timing in race {
            print_timing(timing, output)?;
        }
    }
    print_choice(&report.measured.choice, output)?;
    let same = report.measured.choice
        == Choice {
            rate: report.measured.choice.rate,
            ..report.known
        };
    let against = match same {
        true => "what it has without a measurement",
        false => "not what it has without a measurement",
    };
    output.line(output.field("", against))?;
    output.note_field("file", &report.file);
    Ok(())
}

fn print_timing(timing: &Timing, output: &Output) -> anyhow::Result<()> {
    let mark = if timing.chosen { "✓" } else { " " };
    let took = match (timing.seconds, timing.gflops) {
        (Some(seconds), Some(gflops)) => {
            format!("{:>10.3} ms {gflops:>9.1} GFLOP/s", seconds * 1e3)
        }
        _ => "       out: twice as slow as the best before".to_owned(),
    };
    output.line(format_args!("    {mark} {:<22}{took}", timing.candidate))?;
    Ok(())
}

fn print_choice(choice: &Choice, output: &Output) -> anyhow::Result<()> {
    output.line(output.field("products", choice.matmul))?;
    output.line(output.field("one row", choice.single))?;
    output.line(output.field("fused", choice.fused))?;
    output.line(output.field("one row", choice.fused_single))?;
    output.line(output.field("attention", choice.attention))?;
    let rate = 2e-9 * choice.rate as f64;
    output.line(output.field("rate", format_args!("{rate:.1} GFLOP/s at best")))?;
    Ok(())
}
