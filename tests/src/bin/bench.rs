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
use assay_tests::peaks;
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
    products(&gpu);
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

/// Rows of products: decoding, small batches, chunks of a prefill.
const ROWS: [usize; 5] = [1, 8, 32, 128, 512];
/// A layer's matrices in Llama-3.2-1B: outputs and inputs.
const SHAPES: [(&str, usize, usize); 4] = [
    ("q, o", 2048, 2048),
    ("k, v", 512, 2048),
    ("gate, up", 8192, 2048),
    ("down", 2048, 8192),
];
/// Stored types besides bf16. (int4 in act-order needs a file's own order, and is left out.)
const TYPES: [Dtype; 9] = [
    Dtype::F16,
    Dtype::F32,
    Dtype::Q8_0,
    Dtype::Q4_0,
    Dtype::Q5_0,
    Dtype::Q4K,
    Dtype::Q6K,
    Dtype::Int8 { group: 0 },
    Dtype::Int4 { group: 128 },
];

/// Products at Llama-3.2-1B's shapes by the kernels that the engine takes here, beside the smaller roof: multiply-adds, or reading the
/// weights once.
fn products(gpu: &Gpu) {
    let (adds, bytes) = (peaks::multiply_adds(gpu), peaks::bandwidth(gpu));
    println!(
        "Measured peaks: {:.1} GFLOP/s of multiply-adds in registers, {:.1} GB/s read from memory. The roof is the smaller of what they allow.\n",
        adds / 1e9,
        bytes / 1e9
    );
    println!(
        "| product | kernel | stored | M | N | K | ms | GFLOP/s | of the roof | strict / fast |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let of_bf16 = |m| SHAPES.map(|shape| (m, Dtype::BF16, shape));
    let of_types = |m| TYPES.map(|dtype| (m, dtype, SHAPES[0]));
    let all = ROWS
        .into_iter()
        .flat_map(|m| of_bf16(m).into_iter().chain(of_types(m)));
    for (m, dtype, (name, n, k)) in all {
        let variants = &gpu.info.variants;
        let in_texels = matmul::takes_texels(gpu, dtype, k);
        let path = match m {
            1 => variants.single,
            _ => variants.matmul,
        }
        .reading(in_texels);
        let (seconds, ratio) = raced(gpu, path, dtype, [m, n, k]);
        let flops = 2.0 * (m * n * k) as f64;
        let weights = (n * dtype.row_bytes(k)) as f64;
        let roof = (flops / adds).max(weights / bytes);
        println!(
            "| {name} | {path} | {} | {m} | {n} | {k} | {:.2} | {:.1} | {:.0} % | {ratio:.2} |",
            dtype.as_str(),
            seconds * 1e3,
            flops / seconds / 1e9,
            100.0 * roof / seconds
        );
    }
    println!();
}

/// Seconds of a product under fast numerics, and what strict ones take over them: medians of five rounds in turns.
fn raced(gpu: &Gpu, path: MatmulKernel, dtype: Dtype, [m, n, k]: [usize; 3]) -> (f64, f64) {
    let x = vec![0x3c_u8; m * k * 4];
    let w = vec![0x3c_u8; n * dtype.row_bytes_in(k, path.is_texels())];
    let one = |numerics| {
        let key = matmul::key(path, dtype, k, Epilogue::default(), numerics);
        let params = matmul::params(m as u32, n as u32, k as u32, n as u32, 0, 0);
        let grid = matmul::grid(path, m as u32, n as u32);
        product(gpu, &key, params, grid, &x, &w, (m * n * 4) as u64)
    };
    let (fast, strict) = (one(Numerics::Fast), one(Numerics::Strict));
    // Few rows take as long as a submit does; a model has many dispatches in one.
    let repeat = (32 / m).clamp(1, 4);
    let time = |p: &Product| {
        median(1, || {
            submit(gpu, &p.kernel.pipeline, &p.bind, p.grid, repeat);
        }) / repeat as f64
    };
    let (mut times, mut ratios): (Vec<f64>, Vec<f64>) = (0..5)
        .map(|_| {
            let (a, b) = (time(&fast), time(&strict));
            (a, b / a)
        })
        .unzip();
    times.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    (times[2], ratios[2])
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
