//! Adapters, seeded data, and chains of dispatches.

use std::sync::Arc;

use assay_engine::gpu::{Bound, Kernel, PipelineKey, Texels};
use assay_engine::kernels::matmul::Stored;
use assay_engine::kernels::sparse::{Mask, Path};
use assay_engine::kernels::{Grid, ParamBytes};
use assay_engine::selftest::FAST_LIMIT;
use assay_engine::{Gpu, GpuOptions, Numerics, list_adapters};
use assay_model::Dtype;

pub const BOTH: [Numerics; 2] = [Numerics::Fast, Numerics::Strict];
pub const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];
/// What lies in a buffer before a kernel runs: what is not written must keep it.
pub const UNTOUCHED: f32 = 7.25;

/// Rows and neurons: one, edges of a word, of a segment and of a block of 64 words, ragged tiles.
pub const MASKS: [(u32, u32); 9] = [
    (1, 1),
    (3, 31),
    (2, 32),
    (5, 33),
    (1, 256),
    (9, 257),
    (4, 2048),
    (7, 2081),
    (17, 300),
];

/// Rows of an input before the first that counts.
pub const X_ROW: usize = 2;

/// Runs on every Vulkan, Metal or DX12 adapter; says so where there is none.
pub fn on_every_gpu(run: impl Fn(&Gpu)) {
    let adapters: Vec<_> = pollster::block_on(list_adapters())
        .into_iter()
        .filter(|a| a.backend != "Gl")
        .collect();
    if let Ok(required) = std::env::var("ASSAY_REQUIRE_ADAPTERS") {
        for name in required.split(',').filter(|n| !n.is_empty()) {
            assert!(
                adapters.iter().any(|a| a.name.contains(name)),
                "adapter {name} is required and missing"
            );
        }
    }
    if adapters.is_empty() {
        println!("skipped: this machine has no adapter");
    }
    for adapter in adapters {
        let options = GpuOptions {
            adapter: Some(format!("{} {}", adapter.name, adapter.backend)),
            ..Default::default()
        };
        run(&pollster::block_on(Gpu::open(&options)).expect("the adapter opens"));
    }
}

/// SplitMix64.
pub struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Uniform in [-1, 1).
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
            .collect()
    }

    /// A mask in which a bit is set with probability `percent` / 100.
    pub fn bits(&mut self, mask: Mask, percent: u64) -> Vec<u32> {
        let (n, words) = (mask.n as usize, mask.words() as usize);
        let mut bits = vec![0; mask.rows as usize * words];
        for row in bits.chunks_exact_mut(words) {
            for j in 0..n {
                row[j / 32] |= u32::from(self.next() % 100 < percent) << (j % 32);
            }
        }
        bits
    }
}

/// Stored bytes of `values`; every 17th f16 becomes subnormal.
pub fn store(dtype: Dtype, values: &[f32]) -> Vec<u8> {
    match dtype {
        Dtype::F16 => values
            .iter()
            .enumerate()
            .flat_map(|(i, v)| {
                half::f16::from_f32(if i % 17 == 0 { v * 3e-5 } else { *v }).to_le_bytes()
            })
            .collect(),
        Dtype::BF16 => values
            .iter()
            .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
            .collect(),
        _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    }
}

/// The transpose of a stored matrix [n, k]: [k, n].
pub fn transposed(w: Stored<'_>) -> Vec<u8> {
    let size = w.dtype.row_bytes(1);
    let mut out = Vec::with_capacity(w.bytes.len());
    for c in 0..w.k {
        for r in 0..w.n {
            out.extend_from_slice(&w.bytes[(r * w.k + c) * size..][..size]);
        }
    }
    out
}

/// Weights as a path reads them.
pub enum Weights {
    Buffer(wgpu::Buffer),
    Texels(Texels),
}

impl Weights {
    pub fn new(gpu: &Gpu, path: Path, row_bytes: usize, bytes: &[u8]) -> Self {
        match path {
            Path::Texels => {
                let texels = gpu.texels_with("weights", row_bytes, bytes);
                Self::Texels(pollster::block_on(texels).expect("memory"))
            }
            Path::Registers | Path::Lanes => Self::Buffer(buffer(gpu, bytes)),
        }
    }

    pub fn bound(&self) -> Bound<'_> {
        match self {
            Self::Buffer(buffer) => buffer.into(),
            Self::Texels(texels) => texels.into(),
        }
    }
}

/// How a step is sent off.
pub enum Launch<'a> {
    Grid(Grid),
    Indirect(&'a wgpu::Buffer),
}

/// Dispatches in one pass.
pub struct Chain<'a> {
    gpu: &'a Gpu,
    steps: Vec<(Arc<Kernel>, wgpu::BindGroup, Launch<'a>)>,
}

impl<'a> Chain<'a> {
    pub fn new(gpu: &'a Gpu) -> Self {
        Self {
            gpu,
            steps: Vec::new(),
        }
    }

    pub fn step<'b, B: Copy + Into<Bound<'b>>>(
        &mut self,
        key: &PipelineKey,
        params: ParamBytes,
        launch: Launch<'a>,
        buffers: &[(u32, B)],
    ) {
        use wgpu::BufferUsages as U;
        let kernel = pollster::block_on(self.gpu.kernel(key)).expect("it compiles");
        let uniform = self.gpu.buffer("parameters", 256, U::UNIFORM | U::COPY_DST);
        let uniform = pollster::block_on(uniform).expect("memory");
        self.gpu.write(&uniform, 0, &params);
        let bind = self.gpu.bind(&kernel, &uniform, 0, buffers);
        self.steps.push((kernel, bind, launch));
    }

    /// Runs the steps and reads these buffers.
    pub fn run(&self, read: &[&wgpu::Buffer]) -> Vec<Vec<u32>> {
        use wgpu::BufferUsages as U;
        let total: u64 = read.iter().map(|b| b.size()).sum();
        let staging = self
            .gpu
            .buffer("read-back", total, U::COPY_DST | U::MAP_READ);
        let staging = pollster::block_on(staging).expect("memory");
        let mut encoder = self
            .gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for (kernel, bind, launch) in &self.steps {
            pass.set_pipeline(&kernel.pipeline);
            pass.set_bind_group(0, bind, &[]);
            match launch {
                Launch::Grid(grid) => pass.dispatch_workgroups(grid[0], grid[1], grid[2]),
                Launch::Indirect(args) => pass.dispatch_workgroups_indirect(args, 0),
            }
        }
        drop(pass);
        let mut at = 0;
        for buffer in read {
            encoder.copy_buffer_to_buffer(buffer, 0, &staging, at, buffer.size());
            at += buffer.size();
        }
        self.gpu.queue.submit([encoder.finish()]);
        let data = pollster::block_on(self.gpu.read(&staging, total)).expect("it runs");
        let mut words = data
            .chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        read.iter()
            .map(|b| words.by_ref().take(b.size() as usize / 4).collect())
            .collect()
    }
}

/// A storage buffer with these bytes.
pub fn buffer(gpu: &Gpu, data: &[u8]) -> wgpu::Buffer {
    pollster::block_on(gpu.storage_with("test", data)).expect("memory")
}

/// A storage buffer of words or floats.
pub fn buffer_of<T: bytemuck::Pod>(gpu: &Gpu, data: &[T]) -> wgpu::Buffer {
    buffer(gpu, bytemuck::cast_slice(data))
}

/// Arguments of an indirect dispatch.
pub fn arguments(gpu: &Gpu) -> wgpu::Buffer {
    use wgpu::BufferUsages as U;
    let usage = U::STORAGE | U::INDIRECT | U::COPY_SRC | U::COPY_DST;
    pollster::block_on(gpu.buffer("arguments", 16, usage)).expect("memory")
}

/// Equal bits under strict numerics; the self-test's limit on the relative distance under fast ones.
pub fn agree(what: &str, numerics: Numerics, got: &[u32], want: &[f32]) {
    let got: Vec<f32> = got[..want.len()]
        .iter()
        .map(|u| f32::from_bits(*u))
        .collect();
    if numerics == Numerics::Strict {
        let differs = |(g, w): (&f32, &f32)| g.to_bits() != w.to_bits();
        if let Some(i) = got.iter().zip(want).position(differs) {
            panic!("{what}: element {i} is {:e}, not {:e}", got[i], want[i]);
        }
    } else {
        let square = |v: f64| v * v;
        let difference: f64 = got
            .iter()
            .zip(want)
            .map(|(g, w)| square(f64::from(*g) - f64::from(*w)))
            .sum();
        let norm: f64 = want.iter().map(|w| square(f64::from(*w))).sum();
        let error = (difference / norm.max(f64::MIN_POSITIVE)).sqrt();
        assert!(error <= FAST_LIMIT, "{what}: error {error:e}");
    }
}
