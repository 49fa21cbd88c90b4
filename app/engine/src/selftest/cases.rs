//! Seeded cases of one dispatch each: inputs, the twin's answer, and the run on a device.

use crate::gpu::MatmulKernel;
use crate::gpu::{AttentionKernel, Bound, Gpu, PipelineKey, Texels};
use crate::kernels::matmul::{Epilogue, Stored};
use crate::kernels::{self, Grid, ParamBytes};
use crate::{EngineError, Numerics, Rounding};
use assay_model::{Dtype, RopeLayout};

/// How a case's weights, which it has in row form, lie in a texture.
#[derive(Debug, Clone, Copy)]
pub(super) struct TexelRow {
    dtype: Dtype,
    /// Columns of a row.
    cols: usize,
    /// Whether activations of as many columns do, too: a matrix product's.
    of_product: bool,
}

impl TexelRow {
    /// Rows of so many columns.
    pub fn of(dtype: Dtype, cols: usize) -> Self {
        Self {
            dtype,
            cols,
            of_product: false,
        }
    }

    /// Those that a product takes which goes `path`.
    pub fn of_product(path: MatmulKernel, dtype: Dtype, cols: usize) -> Option<Self> {
        path.is_texels().then(|| Self {
            of_product: path.takes_texels(),
            ..Self::of(dtype, cols)
        })
    }

    /// A texture with activations.
    async fn of_rows(self, gpu: &Gpu, data: &[u8]) -> Result<Texels, EngineError> {
        let rows = kernels::rows_to_texels::cpu(&bytemuck::pod_collect_to_vec(data), self.cols);
        let row_bytes = kernels::rows_to_texels::row_bytes(self.cols);
        gpu.texels_with("self-test", row_bytes, bytemuck::cast_slice(&rows))
            .await
    }

    /// A texture with the matrix whose row form is `data`.
    async fn texture(self, gpu: &Gpu, data: &[u8]) -> Result<Texels, EngineError> {
        let row_bytes = self.dtype.row_bytes_in(self.cols, true);
        let mut rows = Vec::new();
        self.dtype.texel_rows(data, self.cols, &mut rows);
        gpu.texels_with("self-test", row_bytes, &rows).await
    }
}

/// One dispatch with its known answer.
pub struct Case {
    /// The pipeline.
    pub key: PipelineKey,
    pub(super) params: ParamBytes,
    pub(super) grid: Grid,
    pub(super) buffers: Vec<(u32, Vec<u8>)>,
    /// Rows of the weights, or of keys and values, where they are textures.
    pub(super) texel_row: Option<TexelRow>,
    /// Bindings that are compared with the twin, and the twin's values.
    pub(super) expected: Vec<(u32, Vec<f32>)>,
}

impl Case {
    /// Runs the case and gives the largest relative L2 distance of any output from the twin's; exactly 0
    /// when all bits agree.
    pub async fn error(&self, gpu: &Gpu) -> Result<f64, EngineError> {
        let mut worst = 0.0_f64;
        let defines = &self.key.defines;
        let is_integer = INTEGERS.contains(&self.key.kernel) || defines.get("INTEGERS").is_some();
        for (got, (_, want)) in self.run(gpu).await?.iter().zip(&self.expected) {
            worst = worst.max(match is_integer {
                true => unequal(got, want),
                false => distance(got, want),
            });
        }
        Ok(worst)
    }

    /// Whether a binding is a texture where `texel_row` says that some are.
    fn is_texels(&self, binding: u32) -> bool {
        match self.key.kernel {
            // Of selected neurons the gate's, too; keys and values.
            "sparse_rows_texels" | "attention_subgroup" => binding == 2 || binding == 3,
            "kv_write" => binding == 3 || binding == 4,
            _ => binding == 2,
        }
    }

    /// The twin's values of the `i`th compared binding.
    pub fn answer(&self, i: usize) -> &[f32] {
        &self.expected[i].1
    }

    /// Runs the case and gives the expected bindings' contents.
    pub async fn run(&self, gpu: &Gpu) -> Result<Vec<Vec<f32>>, EngineError> {
        use wgpu::BufferUsages as U;
        let kernel = gpu.kernel(&self.key).await?;
        let params = gpu
            .buffer("parameters", 256, U::UNIFORM | U::COPY_DST)
            .await?;
        gpu.write(&params, 0, &self.params);
        let (mut buffers, mut textures) = (Vec::new(), Vec::new());
        for (binding, data) in &self.buffers {
            match self.texel_row {
                Some(row) if self.is_texels(*binding) => {
                    textures.push((*binding, row.texture(gpu, data).await?));
                }
                Some(row) if row.of_product && *binding == 1 => {
                    textures.push((*binding, row.of_rows(gpu, data).await?));
                }
                _ => buffers.push((*binding, gpu.storage_with("self-test", data).await?)),
            }
        }
        let bound = buffers.iter().map(|(i, buffer)| (*i, Bound::from(buffer)));
        let weights = textures.iter().map(|(i, texels)| (*i, Bound::from(texels)));
        let entries: Vec<_> = bound.chain(weights).collect();
        let bind = gpu.bind(&kernel, &params, 0, &entries);
        let total: u64 = self
            .expected
            .iter()
            .map(|(_, want)| want.len() as u64 * 4)
            .sum();
        let staging = gpu
            .buffer("self-test read-back", total, U::COPY_DST | U::MAP_READ)
            .await?;
        let mut encoder = gpu
            .device
            .create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, &bind, &[]);
        pass.dispatch_workgroups(self.grid[0], self.grid[1], self.grid[2]);
        drop(pass);
        let mut at = 0;
        for (binding, want) in &self.expected {
            if let Some((_, buffer)) = buffers.iter().find(|(b, _)| b == binding) {
                encoder.copy_buffer_to_buffer(buffer, 0, &staging, at, want.len() as u64 * 4);
            }
            if let Some((_, texels)) = textures.iter().find(|(b, _)| b == binding) {
                let row_bytes = texels.row_bytes();
                let rows = want.len() * 4 / row_bytes;
                let copy = gpu.copy_of_texels(&mut encoder, texels, rows).await?;
                let between = copy.size() / rows as u64;
                for row in 0..rows as u64 {
                    let (from, to) = (row * between, at + row * row_bytes as u64);
                    encoder.copy_buffer_to_buffer(&copy, from, &staging, to, row_bytes as u64);
                }
            }
            at += want.len() as u64 * 4;
        }
        gpu.queue.submit([encoder.finish()]);
        let data = gpu.read(&staging, total).await?;
        let mut floats = data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        Ok(self
            .expected
            .iter()
            .map(|(_, want)| floats.by_ref().take(want.len()).collect())
            .collect())
    }
}

/// Of keys and values in textures two positions lie in a row, so that neither side is all that counts.
pub(super) const FOLD: u32 = 1;

/// Kernels that make integers (or their scales, or numbers of them by integers): equal or wrong, and as floats their bits may be NaN.
const INTEGERS: [&str; 4] = ["matmul_i8", "quantize_rows", "matmul_fixed", "fixed_sums"];

/// 0 for equal bits, else infinite.
fn unequal(got: &[f32], want: &[f32]) -> f64 {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    match bits(got) == bits(want) {
        true => 0.0,
        false => f64::INFINITY,
    }
}

/// Relative L2 distance; NaN if either side is not finite, 0 only for equal bits (or both all zero).
pub fn distance(got: &[f32], want: &[f32]) -> f64 {
    let (mut difference, mut norm) = (0.0_f64, 0.0_f64);
    for (g, w) in got.iter().zip(want) {
        difference += (f64::from(*g) - f64::from(*w)).powi(2);
        norm += f64::from(*w).powi(2);
    }
    if difference == 0.0 {
        0.0
    } else {
        (difference / norm).sqrt()
    }
}

/// SplitMix64: seeded inputs without a dependency.
pub(crate) struct Seeded(pub u64);

impl Seeded {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n)
            .map(|_| (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0)
            .collect()
    }

    /// A matrix in row form, with what stands before its rows.
    pub fn matrix(&mut self, dtype: Dtype, rows: usize, cols: usize) -> Vec<u8> {
        match dtype.is_float() {
            true => self.stored(dtype, rows * cols),
            false => dtype.noise(rows, cols, &mut || self.next()),
        }
    }

    /// `n` elements of a float type.
    pub fn stored(&mut self, dtype: Dtype, n: usize) -> Vec<u8> {
        let values = self.floats(n);
        match dtype {
            // Scaled so that some f16 are subnormal.
            Dtype::F16 => values
                .iter()
                .enumerate()
                .flat_map(|(i, v)| {
                    let v = if i % 17 == 0 { v * 3e-5 } else { *v };
                    half::f16::from_f32(v).to_le_bytes()
                })
                .collect(),
            Dtype::BF16 => values
                .iter()
                .flat_map(|v| half::bf16::from_f32(*v).to_le_bytes())
                .collect(),
            _ => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }
}

pub(super) fn bytes(values: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(values).to_vec()
}

pub(super) fn zeros(n: usize) -> Vec<u8> {
    vec![0; n * 4]
}

/// A product of `m` rows with a stored [n, k] matrix; columns 0 .. n of a y with 3 more.
pub fn matmul(
    numerics: Numerics,
    path: MatmulKernel,
    dtype: Dtype,
    m: usize,
    n: usize,
    k: usize,
    epilogue: Epilogue,
) -> Case {
    let mut seeded = Seeded((m * 1_000_003 + n * 1009 + k) as u64);
    let x = seeded.floats(m * k);
    let w = seeded.matrix(dtype, n, k);
    let bias = seeded.floats(n);
    let residual = seeded.floats(m * n);
    let mut y = vec![0.0; m * n];
    let stored = Stored {
        dtype,
        bytes: &w,
        n,
        k,
    };
    kernels::matmul::cpu(
        &x,
        stored,
        epilogue.bias.then_some(&bias[..]),
        epilogue.residual.then_some(&residual[..]),
        &mut y,
    );
    let mut buffers = vec![(1, bytes(&x)), (2, w), (5, zeros(m * n))];
    if epilogue.bias {
        buffers.push((3, bytes(&bias)));
    }
    if epilogue.residual {
        buffers.push((4, bytes(&residual)));
    }
    Case {
        texel_row: TexelRow::of_product(path, dtype, k),
        key: kernels::matmul::key(path, dtype, k, epilogue, numerics),
        params: kernels::matmul::params(m as u32, n as u32, k as u32, n as u32, 0, 0),
        grid: kernels::matmul::grid(path, m as u32, n as u32),
        buffers,
        expected: vec![(5, y)],
    }
}

/// The same of a prover that keeps less of what it puts out; strict, since a last bit may tip a rounding.
pub fn matmul_keeping(
    path: MatmulKernel,
    dtype: Dtype,
    (m, n, k): (usize, usize, usize),
    epilogue: Epilogue,
    rounding: Rounding,
) -> Case {
    let mut case = matmul(Numerics::Strict, path, dtype, m, n, k, epilogue);
    let floats = |binding: u32| -> Vec<f32> {
        let given = case.buffers.iter().find(|(at, _)| *at == binding);
        given.map_or_else(Vec::new, |(_, data)| bytemuck::pod_collect_to_vec(data))
    };
    let (x, bias, residual) = (floats(1), floats(3), floats(4));
    let w = case.buffers.iter().find(|(at, _)| *at == 2);
    let stored = Stored {
        dtype,
        bytes: w.map_or(&[], |(_, data)| data),
        n,
        k,
    };
    let mut y = vec![0.0; m * n];
    kernels::matmul::cpu_keeping(
        &x,
        stored,
        epilogue.bias.then_some(&bias[..]),
        epilogue.residual.then_some(&residual[..]),
        rounding,
        &mut y,
    );
    case.key = kernels::matmul::key_keeping(path, dtype, k, epilogue, rounding, Numerics::Strict);
    case.expected = vec![(5, y)];
    case
}

/// The same with a matrix that lies behind `before` rows of another.
pub fn matmul_behind(
    numerics: Numerics,
    path: MatmulKernel,
    dtype: Dtype,
    (m, n, k): (usize, usize, usize),
    before: usize,
) -> Case {
    let mut case = matmul(numerics, path, dtype, m, n, k, Epilogue::default());
    let (m, n, k) = (m as u32, n as u32, k as u32);
    case.params = kernels::matmul::params_behind(m, n, k, n, 0, before as u32);
    let other = Seeded(before as u64).matrix(dtype, before, k as usize);
    for (binding, data) in &mut case.buffers {
        if *binding == 2 {
            data.splice(0..0, other.iter().copied());
        }
    }
    case
}

/// Gate, up and their activation for `m` rows, in one dispatch: `n` columns of each.
pub fn gated(
    numerics: Numerics,
    path: MatmulKernel,
    dtype: Dtype,
    m: usize,
    n: usize,
    k: usize,
    bias: bool,
) -> Case {
    let mut seeded = Seeded((m * 1_000_003 + n * 1013 + k) as u64);
    let x = seeded.floats(m * k);
    let w = seeded.matrix(dtype, 2 * n, k);
    let biases = seeded.floats(2 * n);
    let mut y = vec![0.0; m * n];
    let stored = Stored {
        dtype,
        bytes: &w,
        n: 2 * n,
        k,
    };
    kernels::matmul::gated_cpu(&x, stored, bias.then_some(&biases[..]), &mut y);
    let mut buffers = vec![(1, bytes(&x)), (2, w), (5, zeros(m * n))];
    if kernels::matmul::gated_takes_scratch(path) {
        buffers.push((6, zeros(m * n)));
    }
    if bias {
        buffers.push((3, bytes(&biases)));
    }
    Case {
        texel_row: TexelRow::of_product(path, dtype, k),
        key: kernels::matmul::gated_key(path, dtype, k, bias, numerics),
        params: kernels::matmul::params(m as u32, n as u32, k as u32, n as u32, 0, 0),
        grid: kernels::matmul::gated_grid(path, m as u32, n as u32),
        buffers,
        expected: vec![(5, y)],
    }
}

/// An embedding of `rows` tokens from a table of `vocab` rows.
pub fn embed(dtype: Dtype, rows: usize, hidden: usize, vocab: usize) -> Case {
    embed_from(false, dtype, rows, hidden, vocab)
}

/// The same from a table in textures.
pub fn embed_texels(dtype: Dtype, rows: usize, hidden: usize, vocab: usize) -> Case {
    embed_from(true, dtype, rows, hidden, vocab)
}

fn embed_from(in_texels: bool, dtype: Dtype, rows: usize, hidden: usize, vocab: usize) -> Case {
    let mut seeded = Seeded((rows * 31 + hidden * 7 + vocab) as u64);
    let table = seeded.matrix(dtype, vocab, hidden);
    let ids: Vec<u32> = (0..rows)
        .map(|_| (seeded.next() % vocab as u64) as u32)
        .collect();
    let mut y = vec![0.0; rows * hidden];
    kernels::embed::cpu(&ids, dtype, &table, hidden, &mut y);
    let (params, grid) = kernels::embed::dispatch(rows as u32, hidden as u32, 0, vocab as u32);
    let buffers = vec![
        (1, bytemuck::cast_slice(&ids).to_vec()),
        (2, table),
        (3, zeros(y.len())),
    ];
    Case {
        texel_row: in_texels.then(|| TexelRow::of(dtype, hidden)),
        key: kernels::embed::key(dtype, hidden, in_texels),
        params,
        grid,
        buffers,
        expected: vec![(3, y)],
    }
}

/// `rows` rows of `k` columns as texels, where there was something else.
pub fn rows_to_texels(rows: usize, k: usize) -> Case {
    let x = Seeded((rows * 37 + k) as u64).floats(rows * k);
    let y = kernels::rows_to_texels::cpu(&x, k);
    let (params, grid) = kernels::rows_to_texels::dispatch(rows as u32, k as u32);
    let words = y.len() / rows;
    Case {
        texel_row: Some(TexelRow::of(Dtype::F32, words)),
        key: kernels::rows_to_texels::key(k),
        params,
        grid,
        buffers: vec![(1, bytes(&x)), (2, vec![0xff; y.len() * 4])],
        expected: vec![(2, y)],
    }
}

/// A norm of `rows` rows of `n` columns.
pub fn rmsnorm(numerics: Numerics, rounding: Rounding, rows: usize, n: usize) -> Case {
    let mut seeded = Seeded((rows * 131 + n) as u64);
    let x = seeded.floats(rows * n);
    let weight = seeded.floats(n);
    let mut y = vec![0.0; rows * n];
    kernels::rmsnorm::cpu(&x, &weight, 1e-5, rounding, &mut y);
    let (params, grid) = kernels::rmsnorm::dispatch(rows as u32, n as u32, 0, 1e-5);
    let buffers = vec![(1, bytes(&x)), (2, bytes(&weight)), (3, zeros(y.len()))];
    Case {
        texel_row: None,
        key: kernels::rmsnorm::key(numerics, rounding),
        params,
        grid,
        buffers,
        expected: vec![(3, y)],
    }
}

/// A rotation of `rows` tokens from position `pos0` on, into a cache with room for two more.
pub fn rope(
    numerics: Numerics,
    rounding: Rounding,
    layout: RopeLayout,
    rows: usize,
    heads: usize,
    kv_heads: usize,
    half: usize,
    pos0: usize,
) -> Case {
    let place = (pos0, pos0);
    rotated(
        numerics,
        rounding,
        layout,
        rows,
        [heads, kv_heads],
        half,
        place,
    )
}

/// The same, with keys and values written from row `row0` on.
fn rotated(
    numerics: Numerics,
    rounding: Rounding,
    layout: RopeLayout,
    rows: usize,
    [heads, kv_heads]: [usize; 2],
    half: usize,
    (pos0, row0): (usize, usize),
) -> Case {
    let mut seeded = Seeded((rows * 17 + heads * 5 + half + pos0) as u64);
    let d = 2 * half;
    let capacity = pos0 + rows + 2;
    let mut q = seeded.floats(rows * heads * d);
    let mut k = seeded.floats(rows * kv_heads * d);
    let v = seeded.floats(rows * kv_heads * d);
    let table: Vec<[f32; 2]> = (0..capacity * half)
        .map(|i| {
            let angle = (i / half) as f64 / f64::from((i % half + 1) as u32);
            [libm::cos(angle) as f32, libm::sin(angle) as f32]
        })
        .collect();
    let cache = capacity * kv_heads * d;
    let [h, g, i, p, r] = [heads, kv_heads, half, pos0, row0].map(|n| n as u32);
    let (params, grid) = kernels::rope_kv::dispatch(rows as u32, h, g, i, p, r);
    let buffers = vec![
        (1, bytemuck::cast_slice(&table).to_vec()),
        (2, bytes(&k)),
        (3, bytes(&v)),
        (4, bytes(&q)),
        (5, zeros(cache)),
        (6, zeros(cache)),
    ];
    kernels::rope_kv::rotate_cpu(&mut q, heads, &table, half, pos0, layout, rounding);
    kernels::rope_kv::rotate_cpu(&mut k, kv_heads, &table, half, pos0, layout, rounding);
    let into_cache = |rows: &[f32]| {
        let mut all = vec![0.0; cache];
        all[row0 * kv_heads * d..][..rows.len()].copy_from_slice(rows);
        all
    };
    let expected = vec![(4, q), (5, into_cache(&k)), (6, into_cache(&v))];
    Case {
        texel_row: None,
        key: kernels::rope_kv::key(layout, numerics, rounding),
        params,
        grid,
        buffers,
        expected,
    }
}

/// The same with q, k and v side by side in one matrix, as one product leaves them.
pub fn rope_stacked(
    numerics: Numerics,
    layout: RopeLayout,
    rows: usize,
    heads: usize,
    kv_heads: usize,
    half: usize,
    pos0: usize,
) -> Case {
    let keep = Rounding::Keep;
    // Not where their positions are, as where a cache is a texture.
    let (shares, place) = ([heads, kv_heads], (pos0, 0));
    let mut case = rotated(numerics, keep, layout, rows, shares, half, place);
    case.key = kernels::rope_kv::stacked_key(layout, numerics, keep);
    let mut apart: Vec<Vec<u8>> = Vec::new();
    let widths = [heads, kv_heads, kv_heads].map(|heads| heads * 2 * half * 4);
    for binding in [4, 2, 3] {
        let at = case.buffers.iter().position(|(b, _)| *b == binding);
        apart.extend(at.map(|at| case.buffers.remove(at).1));
    }
    let mut stacked = Vec::new();
    for row in 0..rows {
        for (part, width) in apart.iter().zip(widths) {
            stacked.extend_from_slice(&part[row * width..(row + 1) * width]);
        }
    }
    case.buffers
        .extend([(2, stacked), (4, vec![0; rows * widths[0]])]);
    case
}

/// Attention of `rows` queries from position `pos0` on.
pub fn attention(
    numerics: Numerics,
    rounding: Rounding,
    kernel: AttentionKernel,
    rows: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    pos0: usize,
) -> Case {
    let mut seeded = Seeded((rows * 19 + heads * 3 + head_dim + pos0) as u64);
    let capacity = pos0 + rows;
    // Queries scaled up, so that the softmax is far from uniform.
    let q: Vec<f32> = seeded
        .floats(rows * heads * head_dim)
        .iter()
        .map(|v| v * 4.0)
        .collect();
    let width = kv_heads * head_dim;
    let mut k = seeded.floats(capacity * width);
    let mut v = seeded.floats(capacity * width);
    let shape = kernels::attention::Shape {
        heads,
        kv_heads,
        head_dim,
        pos0,
    };
    let mut y = vec![0.0; q.len()];
    kernels::attention::cpu(&q, &k, &v, shape, rounding, &mut y);
    let (texel_row, fold) = match kernel.is_texels() {
        true => (Some(TexelRow::of(Dtype::F32, width << FOLD)), FOLD),
        false => (None, 0),
    };
    // Whole rows of texels.
    let padded = capacity.next_multiple_of(1 << fold) * width;
    k.resize(padded, 0.0);
    v.resize(padded, 0.0);
    let [r, h, g, p] = [rows, heads, kv_heads, pos0].map(|n| n as u32);
    let (params, grid) = kernels::attention::dispatch(kernel, r, h, g, p, head_dim, fold);
    let buffers = vec![
        (1, bytes(&q)),
        (2, bytes(&k)),
        (3, bytes(&v)),
        (4, zeros(y.len())),
    ];
    Case {
        texel_row,
        key: kernels::attention::key(kernel, head_dim, numerics, rounding),
        params,
        grid,
        buffers,
        expected: vec![(4, y)],
    }
}

/// The gated product of `rows` rows of `width` columns, over the whole range of the exponential.
pub fn silu_mul(numerics: Numerics, rounding: Rounding, rows: usize, width: usize) -> Case {
    let mut seeded = Seeded((rows * 23 + width) as u64);
    let gate: Vec<f32> = seeded
        .floats(rows * width)
        .iter()
        .map(|v| v * 95.0)
        .collect();
    let up = seeded.floats(rows * width);
    let mut y = vec![0.0; gate.len()];
    kernels::silu_mul::cpu(&gate, &up, rounding, &mut y);
    let (params, grid) = kernels::silu_mul::dispatch(rows as u32, width as u32);
    let buffers = vec![(1, bytes(&gate)), (2, bytes(&up)), (3, zeros(y.len()))];
    Case {
        texel_row: None,
        key: kernels::silu_mul::key(numerics, rounding),
        params,
        grid,
        buffers,
        expected: vec![(3, y)],
    }
}
