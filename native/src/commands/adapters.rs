//! `assay adapters`: every adapter, what it allows, and which kernel variants it gets.

use std::sync::Arc;

use assay_engine::gpu::Variants;
use assay_engine::selftest::StrictBits;
use assay_engine::{
    AdapterInfo, Device, EngineError, Gpu, GpuOptions, Numerics, list_adapters, selftest,
};
use serde::Serialize;

use crate::device_arg::{DeviceArgs, is_cpu};
use crate::exit::Exit;
use crate::output::{Output, Style};
use crate::text;
use crate::tune_file;

/// Its flags.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Run every kernel's known-answer test on every adapter, and digest what strict numerics give there
    #[arg(long)]
    self_test: bool,
}

#[derive(Serialize)]
struct Listing {
    schema_version: u32,
    adapters: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    #[serde(flatten)]
    info: AdapterInfo,
    /// Whether the kernels are what `assay tune` found, not what is known of such adapters.
    tuned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    self_test: Option<Outcome>,
}

#[derive(Serialize)]
struct Outcome {
    passed: bool,
    kernels: usize,
    worst_error: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    /// What strict numerics give; null where they could not be run.
    strict: Option<StrictBits>,
}

/// Lists them. A failed self-test is exit code 2: nothing is judged on such a device.
pub fn run(args: &Args, device: &DeviceArgs, output: &Output) -> anyhow::Result<Exit> {
    let listing = pollster::block_on(list(args.self_test, device.adapter.as_deref()));
    let failed = listing
        .adapters
        .iter()
        .filter_map(|entry| entry.self_test.as_ref())
        .any(|test| !test.passed);
    if args.json {
        output.json(&listing)?;
    } else {
        print(&listing, output)?;
    }
    Ok(if failed { Exit::Error } else { Exit::Ok })
}

async fn list(self_test: bool, filter: Option<&str>) -> Listing {
    let needle = filter.unwrap_or_default().to_lowercase();
    let tunings = tune_file::tunings();
    let mut adapters = Vec::new();
    for mut info in list_adapters()
        .await
        .into_iter()
        .chain([AdapterInfo::cpu()])
    {
        if !full_name(&info).to_lowercase().contains(&needle) {
            continue;
        }
        let self_test = if self_test {
            Some(test(&info).await)
        } else {
            None
        };
        let tuned = info.take_tuning(&tunings);
        adapters.push(Entry {
            info,
            tuned,
            self_test,
        });
    }
    Listing {
        schema_version: 1,
        adapters,
    }
}

/// What `--adapter` is compared with.
fn full_name(info: &AdapterInfo) -> String {
    format!("{} {}", info.name, info.backend)
}

async fn test(info: &AdapterInfo) -> Outcome {
    let run = async {
        let device = if is_cpu(info) {
            Device::Cpu
        } else {
            let options = GpuOptions {
                adapter: Some(full_name(info)),
                tunings: tune_file::tunings(),
                ..GpuOptions::default()
            };
            Device::Gpu(Arc::new(Gpu::open(&options).await?))
        };
        let tested = selftest::run(&device, Numerics::Fast).await?;
        Ok::<_, EngineError>((tested, selftest::strict_bits(&device).await?))
    };
    match run.await {
        Ok((result, strict)) => Outcome {
            passed: true,
            kernels: result.kernels.len(),
            worst_error: result.worst(),
            problem: None,
            strict: Some(strict),
        },
        Err(err) => Outcome {
            passed: false,
            kernels: 0,
            worst_error: 0.0,
            problem: Some(err.to_string()),
            strict: None,
        },
    }
}

fn print(listing: &Listing, output: &Output) -> anyhow::Result<()> {
    for (index, entry) in listing.adapters.iter().enumerate() {
        if index > 0 {
            output.line("")?;
        }
        print_entry(entry, output)?;
    }
    if listing.adapters.iter().all(|entry| is_cpu(&entry.info)) {
        output.note(crate::errors::NO_ADAPTER_HINT);
    }
    Ok(())
}

fn print_entry(entry: &Entry, output: &Output) -> anyhow::Result<()> {
    let info = &entry.info;
    output.line(output.paint(Style::Strong, text::plain(&info.name)))?;
    if is_cpu(info) {
        output.line(output.field(
            "device",
            "Assay's own CPU kernels, the device of last resort: `--adapter cpu`",
        ))?;
        if let Some(strict) = entry.self_test.as_ref().and_then(|t| t.strict.as_ref()) {
            print_strict(strict, output)?;
        }
        return Ok(());
    }
    output.line(output.field("backend", format_args!("{}, {}", info.backend, kind(info))))?;
    output.line(output.field("driver", text::plain(&info.driver)))?;
    output.line(output.field(
        "buffers",
        format_args!(
            "{} a binding, {} a buffer, {} a stage",
            text::bytes(info.max_binding),
            text::bytes(info.max_buffer),
            info.max_storage_buffers
        ),
    ))?;
    output.line(output.field(
        "workgroups",
        format_args!(
            "{} invocations, {} of memory, {} in a row",
            text::grouped(info.max_invocations.into()),
            text::bytes(info.max_workgroup_memory.into()),
            text::grouped(info.max_workgroups.into())
        ),
    ))?;
    let features = if info.features.is_empty() {
        "none".to_owned()
    } else {
        info.features.join(", ")
    };
    output.line(output.field("features", features))?;
    output.line(output.field("kernels", kernels(info)))?;
    output.line(output.field("fused", fused(info)))?;
    let chosen = match entry.tuned {
        true => "by measurement: `assay tune --show`",
        false => "by what is known of such adapters; `assay tune` measures",
    };
    output.line(output.field("chosen", chosen))?;
    if let Some(test) = &entry.self_test {
        output.line(output.field("self-test", self_test(test, output)))?;
        if let Some(strict) = &test.strict {
            print_strict(strict, output)?;
        }
    }
    if info.software {
        let warning = "software rasteriser: right, but slow, and no evidence about real GPUs";
        output.line(output.field("", output.paint(Style::Warn, warning)))?;
    }
    Ok(())
}

/// The digest on a line of its own, so that it can be compared and reported; then what it means.
fn print_strict(strict: &StrictBits, output: &Output) -> anyhow::Result<()> {
    output.line(output.field("strict", &strict.digest))?;
    let cases = text::count(strict.cases as u64, "case");
    let said = if strict.holds() {
        let same = format_args!("✓ the same bits as everywhere, in {cases}");
        output.paint(Style::Good, same)
    } else if strict.differing.is_empty() {
        let other = "✗ not the digest of this version, though equal to the CPU's: please report it";
        output.paint(Style::Bad, other)
    } else {
        let which = strict.differing.join(", ");
        let other = format!("✗ other bits than everywhere (please report it) in {which}");
        output.paint(Style::Bad, text::plain(&other))
    };
    output.line(output.field("", said))?;
    Ok(())
}

fn kind(info: &AdapterInfo) -> &str {
    match info.device_type.as_str() {
        "DiscreteGpu" => "discrete GPU",
        "IntegratedGpu" => "integrated GPU",
        "VirtualGpu" => "virtual GPU",
        "Cpu" => "CPU",
        _ => "unknown kind",
    }
}

fn kernels(info: &AdapterInfo) -> String {
    let Variants {
        matmul,
        single,
        attention,
        chunk,
        ..
    } = info.variants;
    format!("{matmul}, {single} for one row, {attention}, chunks of {chunk}")
}

/// What shares a dispatch.
fn fused(info: &AdapterInfo) -> String {
    let Variants {
        fused,
        fused_single,
        ..
    } = info.variants;
    match fused == fused_single {
        true => fused.to_string(),
        false => format!("{fused}; for one row {fused_single}"),
    }
}

fn self_test(test: &Outcome, output: &Output) -> String {
    match &test.problem {
        None => output.paint(
            Style::Good,
            format_args!(
                "✓ {}, worst relative error {:.1e}",
                text::count(test.kernels as u64, "kernel"),
                test.worst_error
            ),
        ),
        Some(problem) => output.paint(Style::Bad, format_args!("✗ {}", text::plain(problem))),
    }
}
