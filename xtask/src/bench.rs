//! Measurements, in release builds: speed on one adapter, growth with length, memory while a big checkpoint loads, time to a first verdict,
//! and peers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result};

use crate::adapters::Adapters;
use crate::command::{self, cargo, root};
use crate::setup::{self, Wanted};
use crate::web;

/// Runs `bench [ADAPTER] [--peers]`; the output is Markdown for docs/benchmarks.md.
pub fn run(args: &[String]) -> Result<()> {
    let with_peers = args.iter().any(|arg| arg == "--peers");
    let wanted = if with_peers {
        Wanted::Tests
    } else {
        Wanted::Demo
    };
    let found = setup::run(wanted)?;
    let adapter: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| *arg != "--peers")
        .collect();
    // The last program starts this one, which lies beside it.
    command::run(&mut cargo(&["build", "--release", "-p", "assay"]))?;
    for (program, first) in [
        ("bench", None),
        ("bench", Some("--memory")),
        ("bench_growth", None),
        ("bench_norms", None),
        ("bench_cold", None),
    ] {
        let mut bench = program_of_tests(program);
        bench.args(first).args(&adapter);
        found.set(&mut bench);
        command::run(&mut bench)?;
    }
    match with_peers {
        true => peers(&adapter, &found),
        false => Ok(()),
    }
}

fn program_of_tests(name: &str) -> Command {
    cargo(&["run", "--release", "-p", "assay-tests", "--bin", name, "--"])
}

/// Each in a workspace or a package of its own, so that nothing of theirs is among Assay's dependencies.
fn peers(adapter: &[&str], found: &Adapters) -> Result<()> {
    for (name, title) in [
        (
            "burn",
            "burn 0.21 (wgpu), f32, on its own choice of adapter",
        ),
        (
            "web-rwkv",
            "web-rwkv 0.10, fp16 weights and f32 activations",
        ),
    ] {
        println!("## {title}\n");
        println!("M N K ms GFLOP/s");
        let manifest = format!("tests/peers/{name}/Cargo.toml");
        let mut peer = cargo(&["run", "--release", "--manifest-path", &manifest, "--"]);
        peer.args(adapter);
        found.set(&mut peer);
        command::run(&mut peer)?;
    }
    println!("## onnxruntime-web, in Chromium\n");
    onnxruntime(found)
}

/// The same browser, adapter and shapes for its products and ours.
fn onnxruntime(found: &Adapters) -> Result<()> {
    web::browser_packages()?;
    let folder = root().join("tests/peers/onnx");
    let mut install = Command::new("npm");
    install
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg("--loglevel=error")
        .current_dir(&folder);
    command::run(&mut install)?;
    let kernels = kernels(&folder)?;
    let mut bench = Command::new("node");
    bench.arg("bench.mjs").arg(kernels).current_dir(&folder);
    found.set(&mut bench);
    command::run(&mut bench)
}

/// Our products as a page would dispatch them.
fn kernels(folder: &Path) -> Result<PathBuf> {
    let printed = program_of_tests("browser_kernels")
        .stderr(Stdio::inherit())
        .output()
        .context("cargo cannot be run")?;
    anyhow::ensure!(printed.status.success(), "browser_kernels failed");
    let path = folder.join("node_modules/kernels.json");
    std::fs::write(&path, printed.stdout)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}
