//! A product, its residual and the norm behind it in the ways that they could share dispatches: `bench_norms [ADAPTER] [ROUNDS]`. Prints a
//! Markdown table; nothing here passes or fails.
//!
//! The least of all rounds counts. On a software adapter it is processor time, of all threads; elsewhere it is wall-clock time.

use std::sync::Arc;
use std::time::Instant;

use assay_engine::gpu::{Bound, Gpu, GpuOptions, Kernel, PipelineKey};
use assay_engine::kernels::add::{self, Addend};
use assay_engine::kernels::matmul::{self, Epilogue};
use assay_engine::kernels::{Grid, ParamBytes, add_rmsnorm, rmsnorm, rows_to_texels};
use assay_engine::{Numerics, Rounding};
use assay_model::Dtype;
use assay_tests::timing::processor_time;

/// Llama-3.2-1B's hidden state; the product is its `o`.
const WIDTH: usize = 2048;
const DTYPE: Dtype = Dtype::BF16;
const EPS: f32 = 1e-5;

struct Step {
    kernel: Arc<Kernel>,
    bind: wgpu::BindGroup,
    grid: Grid,
}

fn step(
    gpu: &Gpu,
    key: &PipelineKey,
    (params, grid): (ParamBytes, Grid),
    bindings: &[(u32, Bound<'_>)],
) -> Step {
    use wgpu::BufferUsages as U;
    let kernel = pollster::block_on(gpu.kernel(key)).expect("it compiles");
    let uniform = gpu.buffer("parameters", 256, U::UNIFORM | U::COPY_DST);
    let uniform = pollster::block_on(uniform).expect("a buffer");
    gpu.write(&uniform, 0, &params);
    let bind = gpu.bind(&kernel, &uniform, 0, bindings);
    Step { kernel, bind, grid }
}

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
    println!("| rows | numerics | what | dispatches | ms | over the first |");
    println!("|---|---|---|---|---|---|");
    for rows in [1, 8, 128] {
        for numerics in [Numerics::Fast, Numerics::Strict] {
            compare(&gpu, rows, numerics, rounds);
        }
    }
}

fn compare(gpu: &Gpu, rows: usize, numerics: Numerics, rounds: usize) {
    let keep = Rounding::Keep;
    let m = rows as u32;
    let n = WIDTH as u32;
    let storage = |bytes: &[u8]| pollster::block_on(gpu.storage_with("rows", bytes));
    let floats = vec![0x3c_u8; rows * WIDTH * 4];
    let of_rows = || storage(&floats).expect("a buffer");
    let (x, h, d, mid, y) = (of_rows(), of_rows(), of_rows(), of_rows(), of_rows());
    let weight = storage(&floats[..WIDTH * 4]).expect("a buffer");
    let variants = gpu.info.variants;
    let path = match rows {
        1 => variants.single,
        _ => variants.matmul,
    }
    .reading(matmul::takes_texels(gpu, DTYPE, WIDTH));
    let stored = vec![0x3c_u8; WIDTH * DTYPE.row_bytes(WIDTH)];
    let (mut texels, mut buffer, mut taken) = (None, None, None);
    let taken: Bound<'_> = match path.takes_texels() {
        true => {
            let made = gpu.texels_with("x", rows_to_texels::row_bytes(WIDTH), &floats);
            Bound::from(&*taken.insert(pollster::block_on(made).expect("a texture")))
        }
        false => (&x).into(),
    };
    let w: Bound<'_> = match path.is_texels() {
        true => {
            let made = gpu.texels_with("w", DTYPE.row_bytes(WIDTH), &stored);
            Bound::from(&*texels.insert(pollster::block_on(made).expect("a texture")))
        }
        false => Bound::from(&*buffer.insert(storage(&stored).expect("a buffer"))),
    };
    let product = |residual: bool, to: &wgpu::Buffer| {
        let epilogue = Epilogue {
            bias: false,
            residual,
        };
        let mut bindings = vec![(1, taken), (2, w), (5, to.into())];
        if residual {
            bindings.push((4, (&h).into()));
        }
        let key = matmul::key(path, DTYPE, WIDTH, epilogue, numerics);
        let size = (matmul::params(m, n, n, n, 0, 0), matmul::grid(path, m, n));
        step(gpu, &key, size, &bindings)
    };
    let norm = || {
        step(
            gpu,
            &rmsnorm::key(numerics, keep),
            rmsnorm::dispatch(m, n, 0, EPS),
            &[(1, (&mid).into()), (2, (&weight).into()), (3, (&y).into())],
        )
    };
    let sum = || {
        step(
            gpu,
            &add::key(Addend::Rows, numerics, keep),
            add::dispatch(m, n),
            &[(1, (&h).into()), (2, (&d).into()), (3, (&mid).into())],
        )
    };
    let both = || {
        step(
            gpu,
            &add_rmsnorm::key(true, numerics, keep),
            add_rmsnorm::dispatch(m, n, EPS),
            &[
                (1, (&h).into()),
                (3, (&weight).into()),
                (4, (&mid).into()),
                (5, (&y).into()),
            ],
        )
    };
    let products: [(&str, Vec<Step>); 3] = [
        (
            "product with residual, rmsnorm",
            vec![product(true, &mid), norm()],
        ),
        ("product, add_rmsnorm", vec![product(false, &y), both()]),
        (
            "product, add, rmsnorm",
            vec![product(false, &d), sum(), norm()],
        ),
    ];
    let alone: [(&str, Vec<Step>); 3] = [
        ("add, rmsnorm", vec![sum(), norm()]),
        ("add_rmsnorm", vec![both()]),
        ("rmsnorm", vec![norm()]),
    ];
    // Long enough to be told from a submit's own cost.
    race(
        gpu,
        rows,
        numerics,
        rounds,
        256_usize.div_ceil(rows).min(32),
        &products,
    );
    race(gpu, rows, numerics, rounds, 4096 / rows.max(8), &alone);
}

fn race(
    gpu: &Gpu,
    rows: usize,
    numerics: Numerics,
    rounds: usize,
    repeat: usize,
    ways: &[(&str, Vec<Step>)],
) {
    let mut least = vec![f64::INFINITY; ways.len()];
    for _ in 0..=rounds {
        for (least, (_, steps)) in least.iter_mut().zip(ways) {
            let (wall, processor) = (Instant::now(), processor_time());
            submit(gpu, steps, repeat);
            let spent = processor_time()
                .zip(processor)
                .map(|(after, before)| after - before)
                .filter(|_| gpu.info.software)
                .unwrap_or_else(|| wall.elapsed().as_secs_f64());
            *least = least.min(spent / repeat as f64);
        }
    }
    for ((what, steps), seconds) in ways.iter().zip(&least) {
        println!(
            "| {rows} | {} | {what} | {} | {:.4} | {:.2} |",
            numerics.as_str(),
            steps.len(),
            seconds * 1e3,
            seconds / least[0]
        );
    }
}

/// Submits all steps `times` over, and waits.
fn submit(gpu: &Gpu, steps: &[Step], times: usize) {
    let mut encoder = gpu
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    for _ in 0..times {
        for step in steps {
            pass.set_pipeline(&step.kernel.pipeline);
            pass.set_bind_group(0, &step.bind, &[]);
            pass.dispatch_workgroups(step.grid[0], step.grid[1], step.grid[2]);
        }
    }
    drop(pass);
    gpu.queue.submit([encoder.finish()]);
    pollster::block_on(gpu.settle()).expect("the device lives");
}
