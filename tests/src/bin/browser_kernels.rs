//! The matrix products of Llama-3.2-1B's layers as a page would dispatch them, for `tests/peers/onnx`: WGSL, workgroups and parameters as
//! JSON on stdout. The page's own path to the same text is `Gpu::kernel`; nothing is measured here.

use assay_engine::Numerics;
use assay_engine::gpu::MatmulKernel;
use assay_engine::kernels::matmul::{self, Epilogue};
use assay_model::Dtype;
use assay_shaders::expand;
use serde_json::json;

/// Rows of activations.
const ROWS: [u32; 5] = [1, 8, 32, 128, 512];
/// Name, outputs, inputs.
const SHAPES: [(&str, u32, u32); 4] = [
    ("k, v", 512, 2048),
    ("q, o", 2048, 2048),
    ("gate, up", 8192, 2048),
    ("down", 2048, 8192),
];

fn main() {
    let mut all = Vec::new();
    for (name, n, k) in SHAPES {
        for m in ROWS {
            // What the engine takes on a software adapter, then on a GPU.
            let choices = match m {
                1 => [
                    ("matmul_tile 1x8", MatmulKernel::Tile { m: 1, n: 8 }),
                    ("matvec", MatmulKernel::Vector),
                ],
                _ => [
                    ("matmul_tile 8x8", MatmulKernel::Tile { m: 8, n: 8 }),
                    ("matmul_shared", MatmulKernel::Shared),
                ],
            };
            for (kernel, path) in choices {
                for dtype in [Dtype::F32, Dtype::BF16] {
                    let key =
                        matmul::key(path, dtype, k as usize, Epilogue::default(), Numerics::Fast);
                    let params = matmul::params(m, n, k, n, 0, 0);
                    all.push(json!({
                        "shape": name,
                        "m": m,
                        "n": n,
                        "k": k,
                        "kernel": kernel,
                        "stored": dtype.as_str(),
                        "weight_bytes": n as usize * dtype.row_bytes(k as usize),
                        "grid": matmul::grid(path, m, n),
                        "params": words(&params),
                        "wgsl": expand(key.kernel, &key.defines).expect("the kernel is there"),
                    }));
                }
            }
        }
    }
    println!("{}", json!(all));
}

fn words(params: &[u8]) -> Vec<u32> {
    let word = |bytes: &[u8]| bytes.iter().rev().fold(0, |w, b| w << 8 | u32::from(*b));
    params.chunks_exact(4).map(word).collect()
}
