//! Single dispatches, timed: what the bench programs share.

use std::sync::Arc;
use std::time::Instant;

use assay_engine::EngineError;
use assay_engine::gpu::{Bound, Gpu, Memory, PipelineKey};
use assay_engine::kernels::{Grid, ParamBytes, rows_to_texels};

/// Times `dispatch` after a warm-up: the median of `runs`, seconds.
pub fn median(runs: usize, mut dispatch: impl FnMut()) -> f64 {
    dispatch();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let started = Instant::now();
            dispatch();
            started.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

/// Submits `times` dispatches and waits for them.
pub fn submit(
    gpu: &Gpu,
    pipeline: &wgpu::ComputePipeline,
    bind: &wgpu::BindGroup,
    grid: Grid,
    times: usize,
) {
    let mut encoder = gpu
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(pipeline);
    pass.set_bind_group(0, bind, &[]);
    for _ in 0..times {
        pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
    }
    drop(pass);
    gpu.queue.submit([encoder.finish()]);
    pollster::block_on(gpu.settle()).expect("the device lives");
}

/// One product, ready to be dispatched.
pub struct Product {
    /// The pipeline.
    pub kernel: Arc<assay_engine::gpu::Kernel>,
    /// Its buffers.
    pub bind: wgpu::BindGroup,
    /// Its workgroups.
    pub grid: Grid,
}

async fn uniform(gpu: &Gpu, params: &ParamBytes) -> Result<wgpu::Buffer, EngineError> {
    use wgpu::BufferUsages as U;
    let usage = U::UNIFORM | U::COPY_DST;
    let uniform = gpu.buffer("parameters", 256, usage).await?;
    gpu.write(&uniform, 0, params);
    Ok(uniform)
}

/// Makes one, with buffers of its own; a texture where its kernel reads such.
pub fn product(
    gpu: &Gpu,
    key: &PipelineKey,
    params: ParamBytes,
    grid: Grid,
    x: &[u8],
    w: &[u8],
    y_bytes: u64,
) -> Product {
    let run = async {
        let kernel = gpu.kernel(key).await?;
        let uniform = uniform(gpu, &params).await?;
        // Rows of x and of the weights.
        let [m, n] = [4, 8].map(|at| [0, 1, 2, 3].map(|byte| params[at + byte]));
        let [m, n] = [m, n].map(|bytes| u32::from_le_bytes(bytes) as usize);
        let x = match key.defines.get("X_TEXELS") {
            Some(_) => Memory::Texels(gpu.texels_with("x", x.len() / m, x).await?),
            None => Memory::Buffer(gpu.storage_with("x", x).await?),
        };
        let y = gpu.storage("y", y_bytes).await?;
        let bind = |w: Bound<'_>| {
            let bindings = [(1, x.bound()), (2, w), (5, (&y).into())];
            gpu.bind(&kernel, &uniform, 0, &bindings)
        };
        let bind = match key.defines.get("TEXELS") {
            Some(_) => {
                let row_bytes = w.len() / n;
                bind((&gpu.texels_with("w", row_bytes, w).await?).into())
            }
            None => bind((&gpu.storage_with("w", w).await?).into()),
        };
        Ok::<_, EngineError>(Product { kernel, bind, grid })
    };
    pollster::block_on(run).expect("the product fits")
}

/// What puts `m` rows of `k` columns where products take them from a texture.
pub fn rows_to_texels(gpu: &Gpu, m: usize, k: usize) -> Product {
    let run = async {
        let kernel = gpu.kernel(&rows_to_texels::key(k)).await?;
        let (params, grid) = rows_to_texels::dispatch(m as u32, k as u32);
        let uniform = uniform(gpu, &params).await?;
        let x = gpu.storage_with("x", &vec![0x3c_u8; m * k * 4]).await?;
        let y = gpu.texels("y", m, rows_to_texels::row_bytes(k)).await?;
        let bound: [(u32, Bound<'_>); 2] = [(1, (&x).into()), (2, (&y).into())];
        let bind = gpu.bind(&kernel, &uniform, 0, &bound);
        Ok::<_, EngineError>(Product { kernel, bind, grid })
    };
    pollster::block_on(run).expect("the rows fit")
}

/// An attention with a dispatch of its own, queries and caches of so many numbers all alike; with `kv_row` caches are
/// textures with rows of so many bytes.
pub fn attention(
    gpu: &Gpu,
    key: &PipelineKey,
    (params, grid): (ParamBytes, Grid),
    [queries, cache]: [usize; 2],
    kv_row: Option<usize>,
) -> Product {
    let run = async {
        let kernel = gpu.kernel(key).await?;
        let uniform = uniform(gpu, &params).await?;
        let of = |count: usize| vec![0x3c_u8; count * 4];
        let q = gpu.storage_with("q", &of(queries)).await?;
        let make = async || {
            let data = of(cache);
            Ok::<_, EngineError>(match kv_row {
                Some(bytes) => Memory::Texels(gpu.texels_with("kv", bytes, &data).await?),
                None => Memory::Buffer(gpu.storage_with("kv", &data).await?),
            })
        };
        let (k, v) = (make().await?, make().await?);
        let y = gpu.storage("y", queries as u64 * 4).await?;
        let bindings = [
            (1, Bound::from(&q)),
            (2, k.bound()),
            (3, v.bound()),
            (4, Bound::from(&y)),
        ];
        let bind = gpu.bind(&kernel, &uniform, 0, &bindings);
        Ok::<_, EngineError>(Product { kernel, bind, grid })
    };
    pollster::block_on(run).expect("the attention fits")
}

/// Seconds of processor time that this process's threads have taken, drivers' included: what a software adapter costs, whatever else the
/// machine does meanwhile. `None` where there is no /proc.
pub fn processor_time() -> Option<f64> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    let of_task = |path: std::path::PathBuf| -> Option<f64> {
        let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok()
    };
    let nanoseconds: f64 = tasks.flatten().filter_map(|t| of_task(t.path())).sum();
    Some(nanoseconds / 1e9)
}
