//! Attention by every kernel that an adapter can run, interleaved: `bench_attention [ADAPTER] [ROUNDS]`. Prints a Markdown table; nothing here
//! passes or fails. The least of all rounds counts: on a software adapter of processor time of all threads, elsewhere by the clock.

use std::time::Instant;

use assay_engine::gpu::{AttentionKernel, Gpu, GpuOptions};
use assay_engine::kernels::attention;
use assay_engine::{Numerics, Rounding};
use assay_tests::timing::{attention as ready, processor_time, submit};

/// Llama-3.2-1B's heads.
const HEADS: u32 = 32;
const KV_HEADS: u32 = 8;
const HEAD_DIM: usize = 64;

fn main() {
    let mut args = std::env::args().skip(1);
    let options = GpuOptions {
        adapter: args.next(),
        ..GpuOptions::default()
    };
    let rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(7);
    let gpu = pollster::block_on(Gpu::open(&options)).expect("an adapter");
    println!(
        "## {} ({}, {}), least of {rounds} rounds\n",
        gpu.info.name, gpu.info.backend, gpu.info.driver
    );
    println!(
        "| rows | from position | numerics | kernel | first run, s | ms | GFLOP/s | over the first |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (rows, pos0) in [(128, 0), (128, 896), (8, 256), (1, 512)] {
        for numerics in [Numerics::Fast, Numerics::Strict] {
            compare(&gpu, rows, pos0, numerics, rounds);
        }
    }
}

fn compare(gpu: &Gpu, rows: u32, pos0: u32, numerics: Numerics, rounds: usize) {
    let mut kernels = vec![AttentionKernel::Row];
    if gpu.info.subgroup == 8 {
        kernels.push(AttentionKernel::Subgroup);
    }
    if !gpu.info.software {
        kernels.push(AttentionKernel::Group);
    }
    let made: Vec<_> = kernels
        .into_iter()
        .map(|kernel| {
            let key = attention::key(kernel, HEAD_DIM, numerics, Rounding::Keep);
            let dispatch = attention::dispatch(kernel, rows, HEADS, KV_HEADS, pos0, HEAD_DIM, 0);
            let started = Instant::now();
            let sizes =
                [rows * HEADS, (pos0 + rows) * KV_HEADS].map(|heads| heads as usize * HEAD_DIM);
            let kv_row = KV_HEADS as usize * HEAD_DIM * 4;
            let in_texels = kernel.is_texels().then_some(kv_row);
            let ready = ready(gpu, &key, dispatch, sizes, in_texels);
            submit(gpu, &ready.kernel.pipeline, &ready.bind, ready.grid, 1);
            (kernel, ready, started.elapsed().as_secs_f64())
        })
        .collect();
    let mut least = vec![f64::INFINITY; made.len()];
    for _ in 0..=rounds {
        for (least, (_, ready, _)) in least.iter_mut().zip(&made) {
            let (wall, processor) = (Instant::now(), processor_time());
            submit(gpu, &ready.kernel.pipeline, &ready.bind, ready.grid, 1);
            let spent = processor_time()
                .zip(processor)
                .map(|(after, before)| after - before)
                .filter(|_| gpu.info.software)
                .unwrap_or_else(|| wall.elapsed().as_secs_f64());
            *least = least.min(spent);
        }
    }
    let pairs: f64 = (0..rows).map(|row| f64::from(pos0 + row + 1)).sum();
    let flops = 4.0 * pairs * f64::from(HEADS) * HEAD_DIM as f64;
    for ((kernel, _, first), seconds) in made.iter().zip(&least) {
        println!(
            "| {rows} | {pos0} | {} | {kernel} | {first:.2} | {:.2} | {:.1} | {:.2} |",
            numerics.as_str(),
            seconds * 1e3,
            flops / seconds / 1e9,
            least[0] / seconds
        );
    }
}
