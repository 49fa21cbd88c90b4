//! Matrix products by every kernel that an adapter can run, interleaved, so that they can be compared on a machine that does other
//! things, too: `bench_tiles [ADAPTER] [ROUNDS]`. Prints a Markdown table; nothing here passes or fails.
//!
//! The least of all rounds counts. On a software adapter it is processor time, of all threads; elsewhere it is wall-clock time.

use std::time::Instant;

use assay_engine::gpu::{Gpu, GpuOptions, MatmulKernel};
use assay_engine::kernels::matmul::{self, Epilogue};
use assay_engine::{AdapterInfo, Numerics};
use assay_model::Dtype;
use assay_tests::timing::{Product, processor_time, product, submit};

/// Of Llama-3.2-1B's q and o, a fourth of their columns, so that a round is short.
const N: usize = 512;
const K: usize = 2048;

fn main() {
    let mut args = std::env::args().skip(1);
    let options = GpuOptions {
        adapter: args.next(),
        ..GpuOptions::default()
    };
    let rounds = args.next().and_then(|n| n.parse().ok()).unwrap_or(15);
    let gpu = pollster::block_on(Gpu::open(&options)).expect("an adapter");
    println!(
        "## {} ({}, {}), least of {rounds} rounds\n",
        gpu.info.name, gpu.info.backend, gpu.info.driver
    );
    println!("| M | stored | numerics | kernel | ms | GFLOP/s | over the first |");
    println!("|---|---|---|---|---|---|---|");
    for (m, dtype) in [
        (128, Dtype::BF16),
        (128, Dtype::F16),
        (128, Dtype::F32),
        (32, Dtype::BF16),
        (8, Dtype::BF16),
        (1, Dtype::BF16),
        (1, Dtype::F16),
        (1, Dtype::F32),
        (128, Dtype::Q8_0),
        (128, Dtype::Q4_0),
        (128, Dtype::Q5_0),
        (128, Dtype::Q4K),
        (128, Dtype::Q6K),
        (128, Dtype::Int4 { group: 128 }),
        (8, Dtype::Q8_0),
        (8, Dtype::Q4K),
        (1, Dtype::Q8_0),
        (1, Dtype::Q4_0),
        (1, Dtype::Q4K),
    ] {
        for numerics in [Numerics::Fast, Numerics::Strict] {
            compare(&gpu, m, dtype, numerics, rounds);
        }
    }
}

/// What can be run, the portable choice first.
fn kernels(info: &AdapterInfo, m: usize, dtype: Dtype) -> Vec<MatmulKernel> {
    let tiles: &[(u8, u8)] = if m == 1 {
        &[(1, 8), (1, 2)]
    } else {
        &[(8, 8), (4, 8)]
    };
    let mut all: Vec<_> = tiles
        .iter()
        .map(|(m, n)| MatmulKernel::Tile { m: *m, n: *n })
        .collect();
    if info.subgroup == 8 {
        // Weights in buffers, then in textures.
        let tiles: &[(u8, u8)] = match m {
            1 => &[(1, 2), (1, 4), (1, 8)],
            _ => &[(8, 4), (8, 8), (4, 8)],
        };
        let subgroup = |(m, n): &(u8, u8)| MatmulKernel::Subgroup { m: *m, n: *n };
        let texels = |(m, n): &(u8, u8)| MatmulKernel::Texels { m: *m, n: *n };
        all.extend(tiles.iter().map(subgroup));
        if dtype.texel_row_bytes(K).is_some() {
            // What `rows_to_texels` takes is not counted: products share it.
            all.extend(tiles.iter().filter(|(m, _)| *m != 4).map(texels));
        }
    }
    if !info.software {
        all.push(if m == 1 {
            MatmulKernel::Vector
        } else {
            MatmulKernel::Shared
        });
    }
    all
}

fn compare(gpu: &Gpu, m: usize, dtype: Dtype, numerics: Numerics, rounds: usize) {
    let x = vec![0x3c_u8; m * K * 4];
    let weights = |path: MatmulKernel| vec![0x3c_u8; N * dtype.row_bytes_in(K, path.is_texels())];
    let (m32, n, k) = (m as u32, N as u32, K as u32);
    let made: Vec<(MatmulKernel, Product)> = kernels(&gpu.info, m, dtype)
        .into_iter()
        .map(|path| {
            let key = matmul::key(path, dtype, K, Epilogue::default(), numerics);
            let params = matmul::params(m32, n, k, n, 0, 0);
            let grid = matmul::grid(path, m32, n);
            (
                path,
                product(
                    gpu,
                    &key,
                    params,
                    grid,
                    &x,
                    &weights(path),
                    (m * N * 4) as u64,
                ),
            )
        })
        .collect();
    let repeat = 128 / m.max(8);
    let mut least = vec![f64::INFINITY; made.len()];
    for _ in 0..=rounds {
        for (least, (_, p)) in least.iter_mut().zip(&made) {
            let (wall, processor) = (Instant::now(), processor_time());
            submit(gpu, &p.kernel.pipeline, &p.bind, p.grid, repeat);
            let spent = processor_time()
                .zip(processor)
                .map(|(after, before)| after - before)
                .filter(|_| gpu.info.software)
                .unwrap_or_else(|| wall.elapsed().as_secs_f64());
            *least = least.min(spent / repeat as f64);
        }
    }
    for ((path, _), seconds) in made.iter().zip(&least) {
        let name = path.to_string();
        println!(
            "| {m} | {} | {} | {name} | {:.2} | {:.1} | {:.2} |",
            dtype.as_str(),
            numerics.as_str(),
            seconds * 1e3,
            2.0 * (m * N * K) as f64 / seconds / 1e9,
            least[0] / seconds
        );
    }
}
