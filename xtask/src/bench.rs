//! Measurements, in release builds: speed on one adapter, memory while a big checkpoint loads, and peers.

use anyhow::Result;

use crate::command::{self, cargo};
use crate::setup::{self, Wanted};

/// Runs `bench [ADAPTER] [--peers]`; the output is Markdown for docs/benchmarks.md.
pub fn run(args: &[String]) -> Result<()> {
    let found = setup::run(Wanted::Demo)?;
    let peers = args.iter().any(|arg| arg == "--peers");
    let adapter: Vec<&str> = args
        .iter()
        .map(String::as_str)
        .filter(|arg| *arg != "--peers")
        .collect();
    let run = [
        "run",
        "--release",
        "-p",
        "assay-tests",
        "--bin",
        "bench",
        "--",
    ];
    for first in [&[][..], &["--memory"][..]] {
        let mut bench = cargo(&run);
        bench.args(first).args(&adapter);
        found.set(&mut bench);
        command::run(&mut bench)?;
    }
    if peers {
        println!("## burn 0.21 (wgpu), f32, on its own choice of adapter\n");
        println!("M N K ms GFLOP/s");
        let manifest = "tests/peers/burn/Cargo.toml";
        let mut burn = cargo(&["run", "--release", "--manifest-path", manifest]);
        found.set(&mut burn);
        command::run(&mut burn)?;
    }
    Ok(())
}
