//! What a case needs: clocks, weights, masks and dispatches.

use std::sync::Arc;
use std::time::Instant;

use assay_engine::EngineError;
use assay_engine::gpu::{Bound, Gpu, Kernel, MatmulKernel, PipelineKey, Texels};
use assay_engine::kernels::sparse::cache::HostRows;
use assay_engine::kernels::sparse::{Mask, Path};
use assay_engine::kernels::{Grid, ParamBytes, rows_to_texels};
use assay_model::Dtype;
use serde::Serialize;

/// Columns of the hidden state of Llama-3.2-3B.
pub const D: u32 = 3072;
/// Neurons.
pub const N: u32 = 8192;
/// Stored type of the weights.
pub const DTYPE: Dtype = Dtype::BF16;
/// Wall and processor time, ms.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Time {
    pub wall: f64,
    pub cpu: f64,
}

impl Time {
    pub fn of(run: impl FnOnce()) -> Self {
        let (cpu, started) = (processor_s(), Instant::now());
        run();
        Self {
            wall: started.elapsed().as_secs_f64() * 1e3,
            cpu: (processor_s() - cpu) * 1e3,
        }
    }

    pub fn median(times: &[Self]) -> Self {
        let middle = |of: fn(&Self) -> f64| {
            let mut all: Vec<f64> = times.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        Self {
            wall: middle(|t| t.wall),
            cpu: middle(|t| t.cpu),
        }
    }

    pub fn over(self, other: Self) -> Self {
        Self {
            wall: self.wall / other.wall,
            cpu: self.cpu / other.cpu,
        }
    }
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.2} ({:.2})", self.wall, self.cpu)
    }
}

/// Seconds that all threads of this process have run; 0 where there is no /proc.
fn processor_s() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let ran = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    ran.sum::<u64>() as f64 / 1e9
}

pub struct Weights {
    bytes: Vec<u8>,
    pub gate: wgpu::Buffer,
    pub up: wgpu::Buffer,
    down: wgpu::Buffer,
    /// [N, D]: down transposed.
    pub turned: wgpu::Buffer,
    /// Gate, up, down transposed, and down, as textures, where models have them so.
    texels: Option<[Texels; 4]>,
}

impl Weights {
    /// The values do not matter, only that no compiler knows them: one set of bytes serves all matrices.
    pub fn new(gpu: &Gpu) -> Self {
        let mut seed = 1;
        let value = |_| {
            half::bf16::from_f32(
                ((next(&mut seed) >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * 0.05,
            )
        };
        let bytes: Vec<u8> = (0..N * D)
            .map(value)
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let make = || pollster::block_on(gpu.storage_with("weights", &bytes)).expect("memory");
        let [gate, up, down, turned] = std::array::from_fn(|_| make());
        let shape = (N as usize, D as usize);
        let texels = Path::takes_texels(gpu, DTYPE, shape, false).then(|| {
            [D, D, D, N].map(|columns| {
                let row = DTYPE.row_bytes(columns as usize);
                pollster::block_on(gpu.texels_with("weights", row, &bytes)).expect("memory")
            })
        });
        Self {
            gate,
            up,
            down,
            turned,
            texels,
            bytes,
        }
    }

    /// How sparse products read them: as models do, or from buffers all the same.
    pub fn path(&self, gpu: &Gpu, buffers: bool) -> Path {
        match self.texels {
            Some(_) if !buffers => Path::Texels,
            _ => Path::of(&gpu.info.variants),
        }
    }

    /// Gate, up and down transposed, as `path` reads them.
    pub fn bound(&self, path: Path) -> [Bound<'_>; 3] {
        match (&self.texels, path) {
            (Some([gate, up, turned, _]), Path::Texels) => [gate, up, turned].map(Bound::from),
            _ => [&self.gate, &self.up, &self.turned].map(Bound::from),
        }
    }

    /// Gate, up and down, as a dense product that goes `path` reads them.
    pub fn dense(&self, path: MatmulKernel) -> [Bound<'_>; 3] {
        match &self.texels {
            Some([gate, up, _, down]) if path.is_texels() => [gate, up, down].map(Bound::from),
            _ => [&self.gate, &self.up, &self.down].map(Bound::from),
        }
    }

    /// Room for `t` rows of `k` columns where products that go `path` take them from a texture, with what puts `x` there.
    pub fn taken(
        gpu: &Gpu,
        path: MatmulKernel,
        (t, k): (u32, u32),
        x: &wgpu::Buffer,
    ) -> Option<(Step, Texels)> {
        path.takes_texels().then(|| {
            let row = rows_to_texels::row_bytes(k as usize);
            let texels =
                pollster::block_on(gpu.texels("activations", t as usize, row)).expect("memory");
            let bound = [(1, x.into()), (2, (&texels).into())] as [(u32, Bound<'_>); 2];
            let (key, size) = (
                rows_to_texels::key(k as usize),
                rows_to_texels::dispatch(t, k),
            );
            (Step::new(gpu, "texels", &key, size, None, &bound), texels)
        })
    }

    pub fn host(&self) -> HostRows<'_> {
        let row = DTYPE.row_bytes(D as usize);
        HostRows::new(vec![(&self.bytes[..], row); 3])
    }
}

fn next(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed
}

/// A mask of one row with `active` random neurons.
pub fn choose(seed: u64, active: u32) -> Vec<u32> {
    let (mut row, mut left, mut seed) = (vec![0u32; N as usize / 32], active, seed);
    while left > 0 {
        let j = (next(&mut seed) >> 33) as usize % N as usize;
        if row[j / 32] >> (j % 32) & 1 == 0 {
            row[j / 32] |= 1 << (j % 32);
            left -= 1;
        }
    }
    row
}

/// As many neurons, of which half are the mask's: each second one goes, and each second one of the others comes.
pub fn half_of(bits: &[u32], active: u32, mask: &Mask) -> Vec<u32> {
    let mut row = bits[..mask.words() as usize].to_vec();
    let (mut go, mut come, mut seed) = (active / 2, active / 2, 77);
    while go + come > 0 {
        let j = (next(&mut seed) >> 33) as usize % N as usize;
        let was = bits[j / 32] >> (j % 32) & 1 == 1;
        let is = row[j / 32] >> (j % 32) & 1 == 1;
        let left = if was { &mut go } else { &mut come };
        if was == is && *left > 0 {
            row[j / 32] ^= 1 << (j % 32);
            *left -= 1;
        }
    }
    row.repeat(mask.rows as usize)
}

pub fn words(gpu: &Gpu, words: &[u32]) -> wgpu::Buffer {
    let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    pollster::block_on(gpu.storage_with("words", &bytes)).expect("memory")
}

pub fn floats(gpu: &Gpu, n: u32) -> wgpu::Buffer {
    let value = |i: u32| (i * 37 % 101) as f32 / 50.0 - 1.0;
    let bytes: Vec<u8> = (0..n).flat_map(|i| value(i).to_le_bytes()).collect();
    pollster::block_on(gpu.storage_with("floats", &bytes)).expect("memory")
}

/// One dispatch.
pub struct Step {
    pub name: &'static str,
    /// A dispatch that belongs to it, before it.
    first: Option<Box<Step>>,
    kernel: Arc<Kernel>,
    bind: wgpu::BindGroup,
    groups: Grid,
    indirect: Option<wgpu::Buffer>,
}

impl Step {
    pub fn new<'a, B: Copy + Into<Bound<'a>>>(
        gpu: &Gpu,
        name: &'static str,
        key: &PipelineKey,
        (params, groups): (ParamBytes, Grid),
        indirect: Option<wgpu::Buffer>,
        buffers: &[(u32, B)],
    ) -> Self {
        use wgpu::BufferUsages as U;
        let make = async {
            let kernel = gpu.kernel(key).await?;
            let uniform = gpu
                .buffer("parameters", 256, U::UNIFORM | U::COPY_DST)
                .await?;
            gpu.write(&uniform, 0, &params);
            let bind = gpu.bind(&kernel, &uniform, 0, buffers);
            Ok::<_, EngineError>(Self {
                name,
                first: None,
                kernel,
                bind,
                groups,
                indirect,
            })
        };
        pollster::block_on(make).expect("it compiles")
    }

    /// The same behind `first`.
    pub fn after(self, first: Option<Self>) -> Self {
        Self {
            first: first.map(Box::new),
            ..self
        }
    }

    pub fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        if let Some(first) = &self.first {
            first.record(pass);
        }
        pass.set_pipeline(&self.kernel.pipeline);
        pass.set_bind_group(0, &self.bind, &[]);
        match &self.indirect {
            Some(args) => pass.dispatch_workgroups_indirect(args, 0),
            None => pass.dispatch_workgroups(self.groups[0], self.groups[1], self.groups[2]),
        }
    }
}

pub fn submit(gpu: &Gpu, steps: &[Step]) {
    let mut encoder = gpu
        .device
        .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    for step in steps {
        step.record(&mut pass);
    }
    drop(pass);
    gpu.queue.submit([encoder.finish()]);
    pollster::block_on(gpu.settle()).expect("the device lives");
}
