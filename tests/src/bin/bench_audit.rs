//! What an audit costs beside re-execution, on one adapter, in one run: `bench_audit [ADAPTER [--exact]]`, the latter for no whole
//! models; `bench_audit --twins` for a whole layer by the CPU twins alone. Prints Markdown for docs/benchmarks.md; nothing here passes or fails.

use std::sync::Arc;
use std::time::Instant;

use assay_engine::audit::{Auditor, LayerProbe, OwnedRows, Probe};
use assay_engine::gpu::{Gpu, GpuOptions, MatmulKernel, PipelineKey};
use assay_engine::kernels::matmul::{self, Epilogue};
use assay_engine::kernels::{matmul_fixed, round8, row_energy};
use assay_engine::{Device, EngineError, Numerics, Quiet, Rounding, linear_widths};
use assay_model::{Dtype, ModelConfig, synth::Shape};
use assay_tests::timing::{Product, median, product, rows_to_texels, submit};
use assay_verify::exact::{ExactKey, FixedKey};

/// Projections and sampled rows of a key by default.
const PROJECTIONS: usize = 16;
const ROWS: usize = 4;

fn main() {
    if std::env::args().any(|arg| arg == "--twins") {
        return twins();
    }
    let options = GpuOptions {
        adapter: std::env::args().nth(1),
        ..Default::default()
    };
    let gpu = Arc::new(pollster::block_on(Gpu::open(&options)).expect("an adapter"));
    println!("## Audits on {} ({})\n", gpu.info.name, gpu.info.backend);
    linear(&gpu);
    exact(&gpu);
    fixed();
    if std::env::args().any(|arg| arg == "--exact") {
        return;
    }
    let one_b = Shape::named("llama-3.2-1b").expect("a shape").config;
    whole(
        &Device::Gpu(Arc::clone(&gpu)),
        &gpu.info.name,
        &one_b,
        "Llama-3.2-1B",
        &[64, 256, 1024],
    );
    twins();
}

/// A whole layer by the CPU twins.
fn twins() {
    let eight_b = Shape::named("llama-3.1-8b").expect("a shape").config;
    whole(
        &Device::Cpu,
        "the CPU twins",
        &eight_b,
        "Llama-3.1-8B",
        &[64, 256, 1024],
    );
}

/// Numbers that no compiler knows.
fn noise(count: usize, scale: f32) -> Vec<f32> {
    let mut seed = count as u64 | 1;
    (0..count)
        .map(|_| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            ((seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * scale
        })
        .collect()
}

/// The seven products of a layer of Llama-3.2-1B: computed, and checked with a key at hand.
fn linear(gpu: &Gpu) {
    println!(
        "Linear layers of one Llama-3.2-1B layer (bf16 weights, {PROJECTIONS} projections and {ROWS} rows a matrix), ms, medians of 3:\n"
    );
    println!(
        "| T | re-executed | checked | ratio | multiply-adds: re-executed | checked |\n|---|---|---|---|---|---|"
    );
    // Products that share an input, by its width: outputs of each. The engine makes them at once where they fit, and an audit sees them at once.
    let groups: [(usize, &[usize]); 4] = [
        (2048, &[2048, 512, 512]),
        (2048, &[2048]),
        (2048, &[8192, 8192]),
        (8192, &[2048]),
    ];
    // Weights and what a key brings lie where the engine has them.
    let many = gpu.info.variants.matmul;
    let probe = |columns| many.for_columns(columns);
    let key = |path, dtype, k, numerics| matmul::key(path, dtype, k, Epilogue::default(), numerics);
    let mut costs = Vec::new();
    for t in [64usize, 256, 1024] {
        let (mut executed, mut checked) = (0.0, 0.0);
        let (mut full, mut small) = (0u64, 0u64);
        for (k, outputs) in groups {
            let all: usize = outputs.iter().sum();
            let fast = key(many, Dtype::BF16, k, Numerics::Fast);
            // What one texture does not hold lies apart.
            let products = match many.is_texels() && all > gpu.most_texels() {
                true => outputs.to_vec(),
                false => vec![all],
            };
            // What is taken, by all who take it, and an output for its projections.
            let texels = |k: usize| {
                let laid = many.is_texels().then(|| rows_to_texels(gpu, t, k));
                laid.map_or(0.0, |run| timed(gpu, &run))
            };
            executed += texels(k);
            checked += texels(k) + outputs.iter().map(|n| texels(*n)).sum::<f64>();
            for n in products {
                let run = dispatch(gpu, many, &fast, Dtype::BF16, t, n, k);
                executed += timed(gpu, &run);
            }
            full += (t * all * k) as u64;
            let (seen, sizes) = (
                (PROJECTIONS + ROWS) * outputs.len(),
                (1 + ROWS) * outputs.len(),
            );
            let (path, of_sizes) = (probe(seen), probe(sizes));
            let magnitudes = matmul::key_of_magnitudes(of_sizes, k, Numerics::Strict);
            let mut parts = vec![
                dispatch(
                    gpu,
                    path,
                    &key(path, Dtype::F32, k, Numerics::Strict),
                    Dtype::F32,
                    t,
                    seen,
                    k,
                ),
                dispatch(gpu, of_sizes, &magnitudes, Dtype::F32, t, sizes, k),
            ];
            let path = probe(PROJECTIONS);
            parts.extend(outputs.iter().map(|n| {
                let key = key(path, Dtype::F32, *n, Numerics::Strict);
                dispatch(gpu, path, &key, Dtype::F32, t, PROJECTIONS, *n)
            }));
            checked += parts.iter().map(|part| timed(gpu, part)).sum::<f64>();
            small += (t * ((seen + sizes) * k + PROJECTIONS * all)) as u64;
        }
        costs.push((t, checked));
        println!(
            "| {t} | {:.1} | {:.2} | {:.1} | {:.2e} | {:.2e} |",
            executed * 1e3,
            checked * 1e3,
            executed / checked,
            full as f64,
            small as f64
        );
    }
    let [(t0, c0), .., (t1, c1)] = costs[..] else {
        return;
    };
    println!(
        "\nChecking grows with T as T^{:.2} from {t0} to {t1}: it is T (n + m), with no T n m in it.\n",
        (c1 / c0).ln() / (t1 as f64 / t0 as f64).ln()
    );
}

fn dispatch(
    gpu: &Gpu,
    path: MatmulKernel,
    key: &PipelineKey,
    dtype: Dtype,
    m: usize,
    n: usize,
    k: usize,
) -> Product {
    let x = noise(m * k, 1.0);
    let w = noise(n * dtype.row_bytes(k) / 4, 0.05);
    let w: Vec<u8> = match dtype {
        Dtype::F32 => bytemuck_bytes(&w),
        // Any bf16 will do, as long as it is finite and of a usual size.
        _ => noise(n * k, 0.05)
            .iter()
            .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
            .collect(),
    };
    product(
        gpu,
        key,
        matmul::params(m as u32, n as u32, k as u32, n as u32, 0, 0),
        matmul::grid(path, m as u32, n as u32),
        &bytemuck_bytes(&x),
        &w,
        (m * n * 4) as u64,
    )
}

fn bytemuck_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn timed(gpu: &Gpu, run: &Product) -> f64 {
    median(3, || {
        submit(gpu, &run.kernel.pipeline, &run.bind, run.grid, 1);
    })
}

/// Integer products over 2^61 - 1 in Rust, beside the least that any kernel would take: the same bytes to the device, one pass over
/// them, and a number a row back.
fn exact(gpu: &Gpu) {
    const SIZE: usize = 4096;
    println!("Exact checks of integer products ({SIZE} x {SIZE}, int8), ms, medians of 3:\n");
    println!(
        "| T | key | rows, Rust | all at once, Rust | the bytes to the device and back |\n|---|---|---|---|---|"
    );
    let bytes = |count: usize, step: usize| -> Vec<i8> {
        (0..count).map(|i| (i * step + i / 251) as i8).collect()
    };
    let w = bytes(SIZE * SIZE, 37);
    let mut state = 1u64;
    let mut words = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state ^ (state >> 29)
    };
    let started = Instant::now();
    let key = ExactKey::new(w.chunks_exact(SIZE), SIZE, &mut words);
    let made = started.elapsed().as_secs_f64();
    for t in [16usize, 256] {
        let x = bytes(t * SIZE, 91);
        let z: Vec<i32> = x
            .chunks_exact(SIZE)
            .flat_map(|x| {
                w.chunks_exact(SIZE).map(move |w| {
                    x.iter()
                        .zip(w)
                        .map(|(x, w)| i32::from(*x) * i32::from(*w))
                        .sum::<i32>()
                })
            })
            .collect();
        let rows = median(3, || assert!(key.check_rows(&x, &z).is_ok()));
        let all = median(3, || assert!(key.check_all(&x, &z, &mut words).is_ok()));
        let moved = pollster::block_on(moved(gpu, t, SIZE)).expect("the device lives");
        println!(
            "| {t} | {:.1} | {:.2} | {:.2} | {:.2} |",
            made * 1e3,
            rows * 1e3,
            all * 1e3,
            moved * 1e3
        );
    }
    println!();
}

/// Products in fixed point over 2^127 - 1: what a key of a matrix costs, and a row of sums.
fn fixed() {
    const SIZE: usize = 4096;
    println!("Exact checks of products in fixed point ({SIZE} x {SIZE}), ms, medians of 3:\n");
    println!("| stored as | key | 16 rows | 16 rows at once |\n|---|---|---|---|");
    let mut state = 1u64;
    let mut words = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state ^ (state >> 29)
    };
    for dtype in [Dtype::Q8_0, Dtype::Q4_0, Dtype::Q4K, Dtype::Q6K] {
        let w = dtype.noise(SIZE, SIZE, &mut words);
        let row_bytes = dtype.row_bytes(SIZE);
        let row = |c: usize| &w[c * row_bytes..][..row_bytes];
        let started = Instant::now();
        let key = FixedKey::of_matrix(dtype, &w, (SIZE, SIZE), &mut words);
        let key = key.expect("the matrix is fixed point");
        let made = started.elapsed().as_secs_f64();
        let x = round8::integer_blocks_cpu(&noise(16 * SIZE, 1.0));
        let mut z = vec![0; 16 * SIZE];
        matmul_fixed::cpu(&x, dtype, row, SIZE, SIZE, &mut z);
        let units = x.units().expect("numbers");
        let rows = median(3, || assert!(key.check_rows(&units, &z).is_ok()));
        let all = median(3, || {
            assert!(key.check_all(&units, &z, &mut words).is_ok());
        });
        println!(
            "| {} | {:.1} | {:.2} | {:.2} |",
            dtype.as_str(),
            made * 1e3,
            rows * 1e3,
            all * 1e3
        );
    }
    println!();
}

async fn moved(gpu: &Gpu, t: usize, size: usize) -> Result<f64, EngineError> {
    use wgpu::BufferUsages as U;
    let given = noise(t * size * 5 / 4, 1.0);
    let data = bytemuck_bytes(&given);
    let x = gpu.storage("x", data.len() as u64).await?;
    let y = gpu.storage("y", (t * 4) as u64).await?;
    let uniform = gpu
        .buffer("parameters", 256, U::UNIFORM | U::COPY_DST)
        .await?;
    let staging = gpu
        .buffer("read-back", (t * 4) as u64, U::MAP_READ | U::COPY_DST)
        .await?;
    let (params, grid) = row_energy::dispatch(t as u32, (size * 5 / 4) as u32);
    gpu.write(&uniform, 0, &params);
    let kernel = gpu.kernel(&row_energy::key(Numerics::Fast)).await?;
    let bind = gpu.bind(&kernel, &uniform, 0, &[(1, &x), (2, &y)]);
    let mut times = Vec::new();
    for _ in 0..4 {
        let started = Instant::now();
        gpu.write(&x, 0, &data);
        submit(gpu, &kernel.pipeline, &bind, grid, 1);
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        encoder.copy_buffer_to_buffer(&y, 0, &staging, 0, (t * 4) as u64);
        gpu.queue.submit([encoder.finish()]);
        gpu.read(&staging, (t * 4) as u64).await?;
        times.push(started.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[1])
}

/// One layer, everything in it but reading a trace: rows to the device, norms, rotation, attention over all positions, checks, and back.
fn whole(device: &Device, name: &str, config: &ModelConfig, shape: &str, lengths: &[usize]) {
    println!("A whole layer of {shape} audited on {name}, attention included:\n");
    println!(
        "| T | ms a layer | ms a token and layer | ms a token over {} layers |\n|---|---|---|---|",
        config.layers
    );
    let widths = linear_widths(config);
    let inner = [
        config.hidden,
        config.hidden,
        config.hidden,
        config.q_dim(),
        config.hidden,
        config.hidden,
        config.intermediate,
    ];
    let parts: Vec<[Vec<f32>; 3]> = (0..7)
        .map(|i| {
            [
                noise(PROJECTIONS * widths[i], 1.0),
                noise((PROJECTIONS + ROWS) * inner[i], 1.0),
                noise((1 + ROWS) * inner[i], 1.0),
            ]
        })
        .collect();
    let norm = noise(config.hidden, 1.0);
    let probe = LayerProbe {
        attn_norm: &norm,
        mlp_norm: &norm,
        products: std::array::from_fn(|i| Probe {
            n: widths[i],
            k: inner[i],
            on_y: &parts[i][0],
            on_x: &parts[i][1],
            on_magnitude: &parts[i][2],
            bias: None,
        }),
    };
    for t in lengths {
        let mut auditor =
            pollster::block_on(Auditor::new(device, config, Rounding::Keep, *t)).expect("room");
        // Rows lie ready, as a trace's do: making or copying them is no part of an audit.
        let ready = || -> Vec<OwnedRows> {
            let chunk = auditor.chunk();
            (0..*t)
                .step_by(chunk)
                .map(|from| chunk.min(t - from))
                .map(|count| OwnedRows {
                    before: noise(count * config.hidden, 1.0),
                    outputs: std::array::from_fn(|i| noise(count * widths[i], 1.0)),
                })
                .collect()
        };
        let mut all: Vec<_> = (0..4).map(|_| ready()).collect();
        let mut run = || {
            let mut chunks = all.pop().expect("rows for each run").into_iter();
            let mut quiet = Quiet;
            let rows = |_, _| Ok::<_, EngineError>(chunks.next().expect("rows for each chunk"));
            let started = Instant::now();
            let seen = auditor.layer(&probe, *t, &mut quiet, rows, |_, _| Ok(()));
            pollster::block_on(seen).expect("it sees");
            started.elapsed().as_secs_f64()
        };
        run();
        let mut times: Vec<f64> = (0..3).map(|_| run()).collect();
        times.sort_by(f64::total_cmp);
        let a_token = times[1] * 1e3 / *t as f64;
        println!(
            "| {t} | {:.1} | {a_token:.4} | {:.2} |",
            times[1] * 1e3,
            a_token * config.layers as f64
        );
    }
    println!();
}
