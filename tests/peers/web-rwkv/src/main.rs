//! Times web-rwkv's `matmul_vec_fp16` and `matmul_mat_fp16` (fp16 weights, f32 activations) on the adapter whose name contains the
//! first argument, at Llama-3.2-1B's shapes: median of 5 after a warm-up. One line a shape: kernel M N K milliseconds GFLOP/s.
//! Every product is held against double precision at a few places before it is timed.

use std::time::Instant;

use half::f16;
use web_rwkv::context::{Context, ContextBuilder};
use web_rwkv::tensor::ops::{Activation, TensorOp};
use web_rwkv::tensor::shape::Shape;
use web_rwkv::tensor::kind::ReadWrite;
use web_rwkv::tensor::TensorGpu;

const ROWS: [usize; 5] = [1, 8, 32, 128, 512];
const SHAPES: [(usize, usize); 4] = [(512, 2048), (2048, 2048), (8192, 2048), (2048, 8192)];

fn main() {
    let wanted = std::env::args().nth(1).unwrap_or_default().to_lowercase();
    let instance = wgpu::Instance::default();
    let adapter = pollster::block_on(instance.enumerate_adapters(wgpu::Backends::VULKAN))
        .into_iter()
        .find(|adapter| adapter.get_info().name.to_lowercase().contains(&wanted))
        .expect("an adapter of that name");
    eprintln!("{:?}", adapter.get_info());
    let mut builder = ContextBuilder::new(adapter);
    builder.limits = builder.adapter.limits();
    let context = pollster::block_on(builder.build()).expect("a device");
    for (n, k) in SHAPES {
        for m in ROWS {
            if m == 1 {
                time(&context, "matmul_vec_fp16", [m, n, k]);
            } else {
                time(&context, "matmul_mat_fp16", [m, n, k]);
            }
        }
    }
}

fn numbers(count: usize, seed: u32) -> impl Iterator<Item = f32> {
    let mut x = seed;
    (0..count).map(move |_| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (f64::from(x) / 2f64.powi(31) - 1.0) as f32
    })
}

fn time(context: &Context, kernel: &str, [m, n, k]: [usize; 3]) {
    let x: Vec<f32> = numbers(m * k, 3).collect();
    let w: Vec<f16> = numbers(n * k, 7).map(f16::from_f32).collect();
    let matrix: TensorGpu<f16, ReadWrite> = context.tensor_from_data(Shape::new(k, n, 1, 1), &w[..]).expect("w");
    let input: TensorGpu<f32, ReadWrite> = context.tensor_from_data(Shape::new(k, m, 1, 1), &x[..]).expect("x");
    let output: TensorGpu<f32, ReadWrite> = context.tensor_init(Shape::new(n, m, 1, 1));
    let op = match kernel {
        "matmul_vec_fp16" => TensorOp::matmul_vec_fp16(&matrix, &input, &output, Activation::None, false),
        _ => TensorOp::matmul_mat_fp16(&matrix, &input, &output, Activation::None),
    };
    let op = op.expect("an operation");
    let run = || {
        let started = Instant::now();
        context.queue.submit(context.encode(&op));
        context
            .device
            .poll(wgpu::PollType::Wait { submission_index: None, timeout: None })
            .expect("it ends");
        started.elapsed().as_secs_f64()
    };
    run();
    let y = output.back_in_place();
    for (row, col) in [(0, 0), (m - 1, n - 1), (m / 2, n / 2)] {
        let pairs = x[row * k..(row + 1) * k].iter().zip(&w[col * k..(col + 1) * k]);
        let want: f64 = pairs.map(|(x, w)| f64::from(*x) * w.to_f64()).sum();
        let got = f64::from(y.data()[row * n + col]);
        let off = (got - want).abs() / (k as f64).sqrt();
        if off > 1e-4 {
            println!("{kernel} {m} {n} {k} WRONG at ({row}, {col}): {got} for {want}");
            return;
        }
    }
    let mut times: Vec<f64> = (0..5).map(|_| run()).collect();
    times.sort_by(f64::total_cmp);
    println!("{kernel} {m} {n} {k} {:.2} {:.2}", times[2] * 1e3, 2.0 * (m * n * k) as f64 / times[2] / 1e9);
}
