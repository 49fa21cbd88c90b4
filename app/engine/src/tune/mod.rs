//! Measures the kernels that an adapter may choose among, at the shapes of Llama-3.2-1B, and says which are fastest.
//!
//! All candidates give the same bits under strict numerics, so a choice changes time and nothing else. Times are medians of interleaved
//! rounds: what else the machine does meets every candidate alike.

mod race;

use serde::Serialize;

use crate::gpu::{AttentionKernel, Candidates, Choice, Fused, MatmulKernel, PipelineKey};
use crate::kernels::matmul::{self, Epilogue};
use crate::kernels::{attention, rows_to_texels, silu_mul};
use crate::{EngineError, Gpu, Monitor, Numerics, Rounding};
use assay_model::Dtype;
use race::{Dispatch, Race, Runner};

/// Rows of the products that are measured: a decode step, and prompts from short to long.
pub const ROWS: [u32; 4] = [1, 8, 32, 128];

/// Stored types that are measured.
pub const STORED: [Dtype; 5] = [Dtype::BF16, Dtype::F16, Dtype::F32, Dtype::Q8_0, Dtype::Q4K];

/// A matrix of a layer: its name, rows and columns.
type Shape = (&'static str, u32, u32);

const SHAPES: [Shape; 4] = [
    ("q, o", 2048, 2048),
    ("k, v", 512, 2048),
    ("gate, up", 8192, 2048),
    ("down", 2048, 8192),
];
const HIDDEN: u32 = 2048;
const WIDE: u32 = 8192;
const HEADS: u32 = 32;
const KV_HEADS: u32 = 8;
const HEAD_DIM: u32 = 64;
/// Positions that attention looks back at.
const POSITIONS: u32 = 512;

/// What one candidate took in one race.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timing {
    /// What was raced for: "products", "products of one row", "attention" and so on.
    pub class: &'static str,
    /// The race: shape, rows and stored type.
    pub race: String,
    /// The candidate.
    pub candidate: String,
    /// Median seconds; none if it was out already.
    pub seconds: Option<f64>,
    /// Products and sums, 10^9 a second.
    pub gflops: Option<f64>,
    /// Whether its class chose it.
    pub chosen: bool,
}

/// What was measured, and what is best.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The fastest kernels.
    pub choice: Choice,
    /// All times.
    pub timings: Vec<Timing>,
}

/// Races every candidate of `gpu`'s adapter, `rounds` times each.
///
/// # Errors
/// Of the device, or of `monitor`, which is asked before each race.
pub async fn tune(
    gpu: &Gpu,
    rounds: usize,
    monitor: &mut dyn Monitor,
) -> Result<Measured, EngineError> {
    let candidates = Candidates::of(&gpu.info);
    let mut runner = Runner::new(gpu, rounds, monitor).await?;
    let many = &ROWS[1..];
    let matmul = products(&mut runner, "products", &candidates.matmul, many).await?;
    let single = products(
        &mut runner,
        "products of one row",
        &candidates.single,
        &ROWS[..1],
    )
    .await?;
    let rate = runner.best_rate();
    let fused = fusion(&mut runner, "fused", matmul, many).await?;
    let fused_single = fusion(&mut runner, "fused, one row", single, &ROWS[..1]).await?;
    let attention = attentions(&mut runner, &candidates).await?;
    Ok(Measured {
        choice: Choice {
            matmul,
            single,
            fused,
            fused_single,
            attention,
            rate,
        },
        timings: runner.timings,
    })
}

/// A product whose weights lie where `path` likes them best, and what it takes, too.
fn product(path: MatmulKernel, dtype: Dtype, m: u32, (_, n, k): Shape) -> Dispatch {
    let texel_row = dtype.texel_row_bytes(k as usize);
    let path = path.reading(texel_row.is_some());
    Dispatch {
        texel_row: texel_row.filter(|_| path.is_texels()),
        rows: path.takes_texels().then_some(k),
        key: matmul::key(path, dtype, k as usize, Epilogue::default(), Numerics::Fast),
        params: matmul::params(m, n, k, n, 0, 0),
        grid: matmul::grid(path, m, n),
        bindings: &[1, 2, 5],
    }
}

/// What puts the rows that `products` take where they take them from.
fn with_rows(m: u32, mut products: Vec<Dispatch>) -> Vec<Dispatch> {
    let columns = products.iter().find_map(|product| product.rows);
    if let Some(k) = columns {
        let (params, grid) = rows_to_texels::dispatch(m, k);
        let first = Dispatch {
            texel_row: Some(rows_to_texels::row_bytes(k as usize)),
            rows: None,
            key: rows_to_texels::key(k as usize),
            params,
            grid,
            bindings: &[1, 2],
        };
        products.insert(0, first);
    }
    products
}

fn work(m: u32, (_, n, k): Shape) -> u64 {
    u64::from(m) * u64::from(n) * u64::from(k)
}

/// All shapes in bf16, one of them in the other types: a loader costs the same in each.
async fn products(
    runner: &mut Runner<'_>,
    class: &'static str,
    candidates: &[MatmulKernel],
    rows: &[u32],
) -> Result<MatmulKernel, EngineError> {
    let mut races = Vec::new();
    // The most work first: who is far behind there is out.
    for m in rows.iter().rev() {
        for dtype in STORED {
            let shapes = if dtype == STORED[0] { 4 } else { 1 };
            for shape in &SHAPES[..shapes] {
                races.push(Race {
                    name: format!("{}, {}, {m} rows", shape.0, dtype.as_str()),
                    work: work(*m, *shape),
                    heats: candidates
                        .iter()
                        .map(|path| with_rows(*m, vec![product(*path, dtype, *m, *shape)]))
                        .collect(),
                });
            }
        }
    }
    let names: Vec<String> = candidates.iter().map(ToString::to_string).collect();
    let best = runner.run(class, &names, &races).await?;
    Ok(candidates[best])
}

/// Whether one dispatch for several products is faster than one each.
async fn fusion(
    runner: &mut Runner<'_>,
    class: &'static str,
    path: MatmulKernel,
    rows: &[u32],
) -> Result<Fused, EngineError> {
    let dtype = STORED[0];
    let (mut qkv, mut gated) = (Vec::new(), Vec::new());
    for m in rows {
        let one = ("qkv", HIDDEN + 2 * KV_HEADS * HEAD_DIM, HIDDEN);
        let [q, kv, up, _] = SHAPES;
        let three = vec![
            product(path, dtype, *m, q),
            product(path, dtype, *m, kv),
            product(path, dtype, *m, kv),
        ];
        qkv.push(Race {
            name: format!("qkv, {m} rows"),
            work: work(*m, one),
            heats: [three, vec![product(path, dtype, *m, one)]]
                .map(|heat| with_rows(*m, heat))
                .into(),
        });
        let (params, grid) = silu_mul::dispatch(*m, WIDE);
        let silu = Dispatch {
            texel_row: None,
            rows: None,
            key: silu_mul::key(Numerics::Fast, Rounding::Keep),
            params,
            grid,
            bindings: &[1, 2, 3],
        };
        let apart = vec![
            product(path, dtype, *m, up),
            product(path, dtype, *m, up),
            silu,
        ];
        let together = Dispatch {
            texel_row: dtype
                .texel_row_bytes(HIDDEN as usize)
                .filter(|_| path.is_texels()),
            rows: path.takes_texels().then_some(HIDDEN),
            key: matmul::gated_key(path, dtype, HIDDEN as usize, false, Numerics::Fast),
            params: matmul::params(*m, WIDE, HIDDEN, WIDE, 0, 0),
            grid: matmul::gated_grid(path, *m, WIDE),
            bindings: match matmul::gated_takes_scratch(path) {
                true => &[1, 2, 5, 6],
                false => &[1, 2, 5],
            },
        };
        gated.push(Race {
            name: format!("gate-up-silu, {m} rows"),
            work: 2 * work(*m, up),
            heats: [apart, vec![together]]
                .map(|heat| with_rows(*m, heat))
                .into(),
        });
    }
    let names = ["a dispatch each", "one dispatch"].map(str::to_owned);
    Ok(Fused {
        qkv: runner.run(class, &names, &qkv).await? == 1,
        gated: runner.run(class, &names, &gated).await? == 1,
    })
}

async fn attentions(
    runner: &mut Runner<'_>,
    candidates: &Candidates,
) -> Result<AttentionKernel, EngineError> {
    let mut races = Vec::new();
    for m in [64, 1] {
        let heats = candidates.attention.iter().map(|kernel| {
            let (params, grid) = attention::dispatch(
                *kernel,
                m,
                HEADS,
                KV_HEADS,
                POSITIONS - m,
                HEAD_DIM as usize,
                0,
            );
            let key: PipelineKey =
                attention::key(*kernel, HEAD_DIM as usize, Numerics::Fast, Rounding::Keep);
            vec![Dispatch {
                texel_row: kernel
                    .is_texels()
                    .then_some((KV_HEADS * HEAD_DIM * 4) as usize),
                rows: None,
                key,
                params,
                grid,
                bindings: &[1, 2, 3, 4],
            }]
        });
        races.push(Race {
            name: format!("{POSITIONS} positions, {m} rows"),
            work: 2 * u64::from(m * HEADS * HEAD_DIM) * u64::from(POSITIONS),
            heats: heats.collect(),
        });
    }
    let names: Vec<String> = candidates
        .attention
        .iter()
        .map(ToString::to_string)
        .collect();
    let best = runner.run("attention", &names, &races).await?;
    Ok(candidates.attention[best])
}
