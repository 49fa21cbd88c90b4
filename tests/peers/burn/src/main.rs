//! Times burn's `x.matmul(w)` in f32 on the default wgpu adapter at Llama-3.2-1B's shapes: median of 5 after
//! autotuning and a warm-up. One line a shape: M N K milliseconds GFLOP/s.

use std::time::Instant;

use burn::backend::Wgpu;
use burn::tensor::{Distribution, Tensor};

fn main() {
    let device = Default::default();
    for (m, n, k) in [(128_usize, 2048_usize, 2048_usize), (128, 512, 2048), (128, 8192, 2048), (128, 2048, 8192), (32, 2048, 2048)] {
        let x = Tensor::<Wgpu, 2>::random([m, k], Distribution::Default, &device);
        let w = Tensor::<Wgpu, 2>::random([k, n], Distribution::Default, &device);
        let run = || {
            let started = Instant::now();
            // Reading one element back waits for the product; the slice itself costs nothing beside it.
            let y = x.clone().matmul(w.clone());
            let _one = y.slice([0..1, 0..1]).into_data();
            started.elapsed().as_secs_f64()
        };
        run();
        run();
        let mut times: Vec<f64> = (0..5).map(|_| run()).collect();
        times.sort_by(f64::total_cmp);
        println!("{m} {n} {k} {:.2} {:.1}", times[2] * 1e3, 2.0 * (m * n * k) as f64 / times[2] / 1e9);
    }
}
