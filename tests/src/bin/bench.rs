//! `cargo xtask bench`: speed, as ratios within one run on one adapter, medians of interleaved runs.
//!
//! Prints a Markdown section for docs/benchmarks.md. Nothing here passes or fails.
//! `bench [ADAPTER]`, `bench --memory [ADAPTER]`, `bench --end-to-end [ADAPTER]` (more runs of that part).

use std::sync::Arc;
use std::time::Instant;

use assay_engine::gpu::{Gpu, GpuOptions, MatmulKernel};
use assay_engine::kernels::matmul;
use assay_engine::kernels::matmul::Epilogue;
use assay_engine::sampler::SamplerSpec;
use assay_engine::{Device, Engine, EngineError, Numerics, Quiet, Want};
use assay_model::{Dtype, Model, synth};
use assay_prove::{Request, generate, prove};
use assay_tests::timing::{Product, median, product, submit};
use assay_trace::Trace;

fn main() {
    let mut args = std::env::args().skip(1);
    let first = args.next();
    let only_end_to_end = first.as_deref() == Some("--end-to-end");
    let first = if only_end_to_end { args.next() } else { first };
    if first.as_deref() == Some("--memory") {
        return memory(args.next());
    }
    let options = GpuOptions {
        adapter: first,
        ..Default::default()
    };
    let gpu = Arc::new(pollster::block_on(Gpu::open(&options)).expect("an adapter"));
    println!(
        "## {} ({}, {})\n",
        gpu.info.name, gpu.info.backend, gpu.info.driver
    );
    if only_end_to_end {
        return end_to_end(&Device::Gpu(gpu), 11);
    }
    let peak = multiply_add_peak(&gpu);
    println!(
        "Measured multiply-add peak: {peak:.1} GFLOP/s (eight independent chains of f32 multiply-adds in registers).\n"
    );
    products(&gpu, peak);
    end_to_end(&Device::Gpu(gpu), 3);
}

/// Peak host memory while a checkpoint of Llama-3.2-1B's shape loads, over the size of its weights. A
/// software adapter's buffers are host memory too: they are the weights, once.
fn memory(adapter: Option<String>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("1b");
    let shape = synth::Shape::named("llama-3.2-1b").expect("the shape");
    synth::write(&shape, Dtype::BF16, 1, &path).expect("it is written");
    let before = peak_rss();
    let model = Model::open(&path).expect("it opens");
    let started = Instant::now();
    let root = model.root(&mut |_, _| {}).expect("the root");
    let hashed = started.elapsed().as_secs_f64();
    let after_root = peak_rss();
    let gpu = pollster::block_on(Gpu::open(&GpuOptions {
        adapter,
        ..Default::default()
    }))
    .expect("an adapter");
    let device = Device::Gpu(Arc::new(gpu));
    let started = Instant::now();
    let engine = pollster::block_on(Engine::load(
        &device,
        &model,
        64,
        Numerics::Fast,
        &mut Quiet,
    ))
    .expect("it loads");
    let loaded = started.elapsed().as_secs_f64();
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    println!(
        "## Loading a Llama-3.2-1B-shaped checkpoint on {}\n",
        engine.info().name
    );
    println!("| what | |\n|---|---|");
    println!("| weights (bf16) | {:.0} MiB |", mib(model.bytes()));
    println!("| model root {} | {hashed:.1} s |", &root.to_string()[..16]);
    println!("| upload and plan | {loaded:.1} s |");
    println!(
        "| peak resident memory before opening | {:.0} MiB |",
        mib(before)
    );
    println!("| after hashing | {:.0} MiB |", mib(after_root));
    println!("| after loading | {:.0} MiB |", mib(peak_rss()));
    println!(
        "| peak over the size of the weights | {:.0} MiB |",
        mib(peak_rss()) - mib(model.bytes())
    );
}

/// VmHWM of this process, bytes; 0 where there is no /proc.
fn peak_rss() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// GFLOP/s of eight independent chains of multiply-adds in every invocation.
fn multiply_add_peak(gpu: &Gpu) -> f64 {
    const TEXT: &str = "
        @group(0) @binding(1) var<storage, read_write> y: array<f32>;
        @compute @workgroup_size(64)
        fn main(@builtin(global_invocation_id) id: vec3<u32>) {
            let b = f32(id.x) * 1e-9 + 0.999;
            let c = f32(id.x) * 1e-9 + 0.001;
            var a0 = 0.0; var a1 = 0.1; var a2 = 0.2; var a3 = 0.3;
            var a4 = 0.4; var a5 = 0.5; var a6 = 0.6; var a7 = 0.7;
            for (var i = 0u; i < 4096u; i = i + 1u) {
                a0 = a0 * b + c; a1 = a1 * b + c; a2 = a2 * b + c; a3 = a3 * b + c;
                a4 = a4 * b + c; a5 = a5 * b + c; a6 = a6 * b + c; a7 = a7 * b + c;
            }
            y[id.x] = a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7;
        }";
    let module = gpu
        .device
        .create_shader_module(wgpu::ShaderModuleDescriptor {
            label: Some("peak"),
            source: wgpu::ShaderSource::Wgsl(TEXT.into()),
        });
    let pipeline = gpu
        .device
        .create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some("peak"),
            layout: None,
            module: &module,
            entry_point: Some("main"),
            compilation_options: wgpu::PipelineCompilationOptions::default(),
            cache: None,
        });
    let groups: u32 = if gpu.info.software { 64 } else { 4096 };
    let buffer = pollster::block_on(gpu.storage("peak", u64::from(groups) * 256)).expect("memory");
    let bind = gpu.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.get_bind_group_layout(0),
        entries: &[wgpu::BindGroupEntry {
            binding: 1,
            resource: buffer.as_entire_binding(),
        }],
    });
    let seconds = median(7, || submit(gpu, &pipeline, &bind, [groups, 1, 1], 1));
    f64::from(groups) * 64.0 * 4096.0 * 8.0 * 2.0 / seconds / 1e9
}

/// Prefill and decode products at Llama-3.2-1B's shapes, beside the peak.
fn products(gpu: &Gpu, peak: f64) {
    println!("| product | kernel | stored | M | N | K | ms | GFLOP/s | of peak | strict / fast |");
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let shapes = [
        ("q, o", 2048, 2048),
        ("k, v", 512, 2048),
        ("gate, up", 8192, 2048),
        ("down", 2048, 8192),
    ];
    let many = gpu.info.variants.matmul;
    let tiles = if gpu.info.software {
        vec![
            many,
            MatmulKernel::Tile { m: 8, n: 8 },
            MatmulKernel::Tile { m: 4, n: 8 },
            MatmulKernel::Shared,
        ]
    } else {
        vec![many]
    };
    for (m, dtype) in [
        (128, Dtype::BF16),
        (128, Dtype::F16),
        (128, Dtype::F32),
        (32, Dtype::BF16),
        (1, Dtype::BF16),
    ] {
        for (i, (name, n, k)) in shapes.into_iter().enumerate() {
            if i > 0 && dtype != Dtype::BF16 {
                continue;
            }
            let mut single = [1, 2, 4, 8]
                .map(|n| MatmulKernel::Tile { m: 1, n })
                .to_vec();
            if gpu.info.subgroup == 8 {
                single.extend([MatmulKernel::SUBGROUP_ROW, MatmulKernel::TEXELS_ROW]);
            }
            let paths = match m {
                1 if i == 0 => [&[MatmulKernel::Vector][..], &single].concat(),
                1 => vec![gpu.info.variants.single],
                128 if i == 0 => tiles.clone(),
                _ => vec![many],
            };
            for path in paths {
                let x = vec![0x3c_u8; m * k * 4];
                let w = vec![0x3c_u8; n * dtype.row_bytes(k)];
                let one = |numerics| {
                    let key = matmul::key(path, dtype, k, Epilogue::default(), numerics);
                    let params = matmul::params(m as u32, n as u32, k as u32, n as u32, 0, 0);
                    product(
                        gpu,
                        &key,
                        params,
                        matmul::grid(path, m as u32, n as u32),
                        &x,
                        &w,
                        (m * n * 4) as u64,
                    )
                };
                let (fast, strict) = (one(Numerics::Fast), one(Numerics::Strict));
                let repeat = if m == 1 { 4 } else { 1 };
                let (mut fast_s, mut ratios) = (Vec::new(), Vec::new());
                for _ in 0..5 {
                    let time = |p: &Product| {
                        median(1, || {
                            submit(gpu, &p.kernel.pipeline, &p.bind, p.grid, repeat);
                        }) / repeat as f64
                    };
                    let (a, b) = (time(&fast), time(&strict));
                    fast_s.push(a);
                    ratios.push(b / a);
                }
                fast_s.sort_by(f64::total_cmp);
                ratios.sort_by(f64::total_cmp);
                let (seconds, ratio) = (fast_s[2], ratios[2]);
                let gflops = 2.0 * (m * n * k) as f64 / seconds / 1e9;
                let kernel = path.to_string();
                println!(
                    "| {name} | {kernel} | {} | {m} | {n} | {k} | {:.2} | {gflops:.1} | {:.0} % | {ratio:.2} |",
                    dtype.as_str(),
                    seconds * 1e3,
                    100.0 * gflops / peak
                );
            }
        }
    }
    println!();
}

/// Generation with and without a trace, and verification over generation, at 512 + 128 tokens on a
/// synthetic model of 36 million parameters, and on the demo model as far as its context goes.
fn end_to_end(device: &Device, runs: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("36m");
    let mut config = synth::Shape::named("llama-3.2-1b")
        .expect("the shape")
        .config;
    config.hidden = 512;
    config.intermediate = 1536;
    config.layers = 8;
    config.heads = 8;
    config.kv_heads = 4;
    config.vocab = 16384;
    config.eos = vec![1];
    config.bos = Some(0);
    let shape = synth::Shape::custom("36m", config).expect("the shape");
    synth::write(&shape, Dtype::BF16, 1, &path).expect("it is written");
    run_pair(
        device,
        "synthetic 36M",
        &Model::open(&path).expect("it opens"),
        512,
        128,
        runs,
    );
    run_pair(
        device,
        "demo model",
        &Model::demo().expect("the demo model"),
        384,
        127,
        runs,
    );
}

fn run_pair(
    device: &Device,
    name: &str,
    model: &Model,
    n_prompt: u32,
    n_output: usize,
    runs: usize,
) {
    let request = Request {
        prompt: (0..n_prompt).map(|i| (i * 37 + 11) % 2048).collect(),
        max_tokens: n_output,
        sampler: SamplerSpec::Gumbel {
            seed: 1,
            temperature: 0.8,
            top_k: 0,
            top_p: 0.95,
        },
        ignore_eos: true,
        nonce: None,
        opened: None,
        audit: None,
    };
    let root = model.root(&mut |_, _| {}).expect("the root");
    let capacity = request.capacity(model.config());
    let mut engine = pollster::block_on(Engine::load(
        device,
        model,
        capacity,
        Numerics::Fast,
        &mut Quiet,
    ))
    .expect("loads");
    let (mut plain, mut ratios, mut verify, mut hashing, mut decode) =
        (vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..runs {
        let (_, t) = pollster::block_on(generate(&mut engine, model, &request, &mut Quiet))
            .expect("generates");
        let proved = pollster::block_on(prove(&mut engine, model, root, &request, &mut Quiet))
            .expect("proves");
        plain.push(t.total_s);
        decode.push(t.tokens_per_s);
        ratios.push(proved.timings.total_s / t.total_s);
        hashing.push(proved.timings.overhead_percent);
        let bytes = proved.trace.to_bytes();
        let trace = Trace::parse(&bytes).expect("parses");
        let started = Instant::now();
        trace.check_commitment().expect("holds");
        let want = Want {
            logits_from: Some(trace.prompt().len() - 1),
            ..Want::all_states(model.config())
        };
        engine.reset();
        let mut quiet = Quiet;
        let run = engine.prefill(
            &trace.tokens()[..trace.positions()],
            &want,
            &mut quiet,
            |_| Ok::<_, EngineError>(()),
        );
        pollster::block_on(run).expect("runs");
        verify.push(started.elapsed().as_secs_f64() / t.total_s);
    }
    let middle = |v: &mut Vec<f64>| {
        v.sort_by(f64::total_cmp);
        v[v.len() / 2]
    };
    println!("{name}, {n_prompt} + {n_output} tokens, medians of {runs} interleaved runs:\n");
    println!("| what | |\n|---|---|");
    println!(
        "| generation without a trace | {:.2} s, {:.1} tokens/s decoding |",
        middle(&mut plain),
        middle(&mut decode)
    );
    println!(
        "| with a trace, over without | {:.3} |",
        middle(&mut ratios)
    );
    println!(
        "| of it hashing and recording | {:.2} % |",
        middle(&mut hashing)
    );
    println!(
        "| verification (commitment and one prefill) over generation | {:.3} |",
        middle(&mut verify)
    );
    println!();
}
