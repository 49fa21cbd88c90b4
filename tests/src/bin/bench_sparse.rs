//! A sparse MLP against the dense one, stage by stage, at Llama-3.2-3B's shape with bf16 weights, on one adapter in one run: medians of
//! interleaved rounds. Prints Markdown and writes the same figures as JSON; nothing here passes or fails.
//!
//! `bench_sparse [ADAPTER] [--json FILE] [--rounds N] [--active PERCENT] [--buffers]`, `bench_sparse [ADAPTER] --end-to-end TOKENS`
//!
//! With `--buffers` sparse products read buffers on an adapter where models give them textures.
//!
//! A stage is a submit of its own, and once more a pass of one submit by the device's clock, where it has one; "total" is one submit of all stages. Beside wall time stands the processor time of this process, which
//! is the adapter's work where the adapter is a CPU, and says more than wall time on a machine that others use too.

#[path = "bench_sparse/cases.rs"]
mod cases;
#[path = "bench_sparse/end_to_end.rs"]
mod end_to_end;
#[path = "bench_sparse/setup.rs"]
mod setup;
#[path = "bench_sparse/stages.rs"]
mod stages;

use std::sync::Arc;

use assay_engine::gpu::{Gpu, GpuOptions};
use assay_engine::kernels::sparse::Tile;
use assay_engine::{Device, Numerics};

use cases::Case;
use setup::{D, N, Weights};

/// Active neurons.
const PERCENTS: [u32; 4] = [5, 10, 20, 50];

fn main() {
    let (mut adapter, mut json, mut rounds, mut whole) = (None, None, 9, None);
    let (mut percents, mut buffers) = (PERCENTS.to_vec(), false);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = args.next(),
            "--rounds" => rounds = number(args.next()).expect("--rounds N"),
            "--active" => percents = vec![number(args.next()).expect("--active PERCENT") as u32],
            "--buffers" => buffers = true,
            "--end-to-end" => whole = Some(number(args.next()).expect("--end-to-end TOKENS")),
            _ => adapter = Some(arg),
        }
    }
    let options = GpuOptions {
        adapter,
        timestamps: true,
        ..Default::default()
    };
    let gpu = pollster::block_on(Gpu::open(&options)).expect("an adapter");
    println!(
        "## Sparse MLPs on {} ({})\n",
        gpu.info.name, gpu.info.driver
    );
    if let Some(tokens) = whole {
        return end_to_end::run(&Device::Gpu(Arc::new(gpu)), tokens);
    }
    let weights = Weights::new(&gpu);
    println!(
        "Hidden {D}, {N} neurons, bf16, medians of {rounds} interleaved rounds, ms (processor time in brackets)."
    );
    let mut results = Vec::new();
    for numerics in [Numerics::Fast, Numerics::Strict] {
        println!(
            "\n{} numerics. SiLU and its product are part of gate and up where sparse; a cached MLP has no index and no grid.\n",
            numerics.as_str()
        );
        println!(
            "| T | masks | active | dense gate | up | act | down | total | sparse index | grid | gate, up | down | total | dense / sparse | select | cached total | select of select + cached | sparse stages by the device's clock | index and grid of them |"
        );
        println!("|{}", "---|".repeat(19));
        for (t, tile) in [(1, Tile::One), (8, Tile::Eight), (8, Tile::One)] {
            for percent in percents.iter().copied() {
                let case = Case {
                    numerics,
                    t,
                    tile,
                    percent,
                    buffers,
                };
                let result = case.run(&gpu, &weights, rounds);
                println!("{}", result.row());
                results.push(result);
            }
        }
    }
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&results).expect("numbers");
        std::fs::write(path, text).expect("the file is written");
    }
}

fn number(word: Option<String>) -> Option<usize> {
    word?.parse().ok()
}
