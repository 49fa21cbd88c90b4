//! What a plan is made of: dispatches with their bind groups, grouped into stages, encoded into submits that are short enough.
//!
//! A plan is made once for a model, or for what stands in for one; a run only writes parameters and encodes.

use std::sync::Arc;

use web_time::Instant;

use crate::engine::Monitor;
use crate::gpu::{AttentionKernel, Bound, Kernel, MatmulKernel, PipelineKey, Texels};
use crate::kernels::kv_write::{self, To};
use crate::kernels::round8::{self, Blocks};
use crate::kernels::sparse::{Mask, Tile};
use crate::kernels::{
    Grid, ParamBytes, add_position, add_rmsnorm, attention, elementwise, embed, matmul,
    matmul_fixed, matmul_i8, project, residual, rmsnorm, rope_kv, round_heads, row_energy,
    rows_to_texels, scale_sums, sparse,
};
use crate::kv_cache::FirstRow;
use crate::profile::{Profiler, Timed};
use crate::{EngineError, Gpu};

/// Bytes between parameter blocks: WebGPU's guaranteed uniform offset alignment.
pub(crate) const SLOT: u64 = 256;

/// Rows of a run, as parameters see them.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    pub count: u32,
    pub pos0: u32,
    /// First row of the hidden states that the head's norm reads.
    pub head_row: u32,
}

/// What a step computes, as far as its parameters and its size go.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    Embed {
        width: u32,
        first: u32,
        count: u32,
    },
    Norm {
        width: u32,
        eps: f32,
    },
    /// A sum, and its norm.
    AddNorm {
        width: u32,
        eps: f32,
    },
    Matmul {
        path: MatmulKernel,
        n: u32,
        k: u32,
        stride: u32,
        n0: u32,
        w_row0: u32,
    },
    /// Rows of `k` columns as texels.
    RowsToTexels {
        k: u32,
    },
    /// Gate, up and their activation, `n` columns each.
    Gated {
        path: MatmulKernel,
        n: u32,
        k: u32,
    },
    RoundRows {
        k: u32,
    },
    RoundBlocks {
        blocks: Blocks,
        k: u32,
    },
    /// As `RoundBlocks` of 32, to integers.
    RoundIntegers {
        k: u32,
    },
    Integers(matmul_i8::Shape),
    Fixed(matmul_fixed::Shape),
    Scale {
        width: u32,
    },
    Rope {
        heads: u32,
        kv_heads: u32,
        half: u32,
        first_row: FirstRow,
    },
    Attention {
        kernel: AttentionKernel,
        heads: u32,
        kv_heads: u32,
        head_dim: u32,
        fold: u32,
    },
    Position {
        width: u32,
        /// The table's row for position 0.
        offset: u32,
    },
    KvWrite {
        width: u32,
        first_row: FirstRow,
    },
    /// Keys and values of a chunk into textures.
    KvToTexels {
        width: u32,
        fold: u32,
    },
    RoundHeads {
        heads: u32,
        head_dim: u32,
        first_row: FirstRow,
    },
    /// Any kernel that sees each element alone.
    Element {
        width: u32,
    },
    TopK {
        n: u32,
        keep: u32,
    },
    Threshold {
        n: u32,
        t: f32,
    },
    SparseIndex {
        n: u32,
        tile: Tile,
    },
    SparseGrid {
        n: u32,
        tile: Tile,
        per_group: u32,
    },
    SparseRows {
        variant: sparse::rows::Variant,
        n: u32,
        k: u32,
    },
    SparseSum {
        variant: sparse::sum::Variant,
        n: u32,
        d: u32,
    },
    RowEnergy {
        width: u32,
    },
    Residual {
        projections: u32,
        stride: u32,
        first: u32,
    },
    Project {
        rows: u32,
        k: u32,
        n: u32,
        first: u32,
        projections: u32,
    },
}

impl Work {
    fn resolve(self, rows: Rows) -> (ParamBytes, Grid) {
        let Rows {
            count,
            pos0,
            head_row,
        } = rows;
        match self {
            Self::Embed {
                width,
                first,
                count: table_rows,
            } => embed::dispatch(count, width, first, table_rows),
            Self::Norm { width, eps } => rmsnorm::dispatch(count, width, head_row, eps),
            Self::AddNorm { width, eps } => add_rmsnorm::dispatch(count, width, eps),
            Self::Matmul {
                path,
                n,
                k,
                stride,
                n0,
                w_row0,
            } => (
                matmul::params_behind(count, n, k, stride, n0, w_row0),
                matmul::grid(path, count, n),
            ),
            Self::RowsToTexels { k } => rows_to_texels::dispatch(count, k),
            Self::RoundRows { k } => round8::dispatch_rows(count, k),
            Self::RoundBlocks { blocks, k } => round8::dispatch_blocks(blocks, count, k),
            Self::RoundIntegers { k } => round8::dispatch_blocks(Blocks::Q8_0, count, k),
            Self::Integers(shape) => matmul_i8::dispatch(count, shape),
            Self::Fixed(shape) => matmul_fixed::dispatch(count, shape),
            Self::Scale { width } => scale_sums::dispatch(count, width),
            Self::Gated { path, n, k } => (
                matmul::params(count, n, k, n, 0, 0),
                matmul::gated_grid(path, count, n),
            ),
            Self::Rope {
                heads,
                kv_heads,
                half,
                first_row,
            } => {
                let row0 = first_row.at(pos0);
                rope_kv::dispatch(count, heads, kv_heads, half, pos0, row0)
            }
            Self::Attention {
                kernel,
                heads,
                kv_heads,
                head_dim,
                fold,
            } => {
                let d = head_dim as usize;
                attention::dispatch(kernel, count, heads, kv_heads, pos0, d, fold)
            }
            Self::Position { width, offset } => add_position::dispatch(count, width, pos0 + offset),
            Self::KvWrite { width, first_row } => {
                kv_write::dispatch(count, width, To::Buffer(first_row.at(pos0)))
            }
            Self::KvToTexels { width, fold } => {
                kv_write::dispatch(count, width, To::Texels { pos0, fold })
            }
            Self::RoundHeads {
                heads,
                head_dim,
                first_row,
            } => round_heads::dispatch(count, heads, head_dim, first_row.at(pos0)),
            Self::Element { width } => elementwise::dispatch(count, width, 0),
            Self::TopK { n, keep } => sparse::topk::dispatch(count, n, keep, 0),
            Self::Threshold { n, t } => sparse::threshold::dispatch(count, n, t, 0),
            Self::SparseIndex { n, tile } => sparse::index::dispatch(mask(count, n, tile)),
            Self::SparseGrid { n, tile, per_group } => {
                sparse::grid::dispatch(mask(count, n, tile), per_group)
            }
            Self::SparseRows { variant, n, k } => {
                sparse::rows::dispatch(variant, mask(count, n, variant.tile), k, 0)
            }
            Self::SparseSum { variant, n, d } => {
                sparse::sum::dispatch(variant.path, mask(count, n, variant.tile), d, 0)
            }
            Self::RowEnergy { width } => row_energy::dispatch(count, width),
            Self::Residual {
                projections,
                stride,
                first,
            } => residual::dispatch(count, projections, stride, first),
            Self::Project {
                rows,
                k,
                n,
                first,
                projections,
            } => project::dispatch(rows, k, n, first, projections),
        }
    }

    /// Rows and columns of the weights that it is multiplied with.
    fn shape(self) -> String {
        match self {
            Self::Matmul { n, k, .. } => format!("{n} x {k}"),
            Self::Gated { n, k, .. } => format!("2 {n} x {k}"),
            _ => String::new(),
        }
    }

    /// Bytes of activations that are read and written, each once; of keys and values too. Steps of sparse MLPs and of audits, which depend
    /// on what is listed, are not counted.
    fn activation_bytes(self, rows: Rows) -> u64 {
        let count = u64::from(rows.count);
        let per_row = |width: u32| 4 * count * u64::from(width);
        match self {
            Self::Embed { width, .. } => 2 * per_row(width),
            Self::Norm { width, .. }
            | Self::Position { width, .. }
            | Self::RowsToTexels { k: width } => 2 * per_row(width),
            Self::Matmul { n, k, .. } | Self::Gated { n, k, .. } => per_row(n) + per_row(k),
            Self::Rope {
                heads,
                kv_heads,
                half,
                ..
            } => 4 * per_row((heads + 2 * kv_heads) * half),
            Self::Attention {
                heads,
                kv_heads,
                head_dim,
                ..
            } => {
                let positions = u64::from(rows.pos0 + rows.count);
                2 * per_row(heads * head_dim) + 8 * positions * u64::from(kv_heads * head_dim)
            }
            Self::KvWrite { width, .. }
            | Self::KvToTexels { width, .. }
            | Self::AddNorm { width, .. } => 4 * per_row(width),
            Self::RoundHeads {
                heads, head_dim, ..
            } => 2 * per_row(heads * head_dim),
            Self::Element { width } => 3 * per_row(width),
            _ => 0,
        }
    }

    fn multiply_adds(self, rows: Rows) -> u64 {
        let count = u64::from(rows.count);
        match self {
            Self::Matmul { n, k, .. } => count * u64::from(n) * u64::from(k),
            Self::Integers(shape) => count * u64::from(shape.n) * u64::from(shape.k),
            Self::Fixed(shape) => count * u64::from(shape.n) * u64::from(shape.k),
            // Of sparse rows as if all were active: how many are is known to the device alone.
            Self::Gated { n, k, .. } | Self::SparseRows { n, k, .. } => {
                2 * count * u64::from(n) * u64::from(k)
            }
            Self::SparseSum { n, d, .. } => count * u64::from(n) * u64::from(d),
            Self::Attention {
                heads, head_dim, ..
            } => {
                let width = u64::from(heads) * u64::from(head_dim);
                2 * count * width * u64::from(rows.pos0 + rows.count)
            }
            Self::Project {
                rows,
                k,
                projections,
                ..
            } => u64::from(rows) * u64::from(k) * u64::from(projections),
            _ => 0,
        }
    }
}

fn mask(rows: u32, n: u32, tile: Tile) -> Mask {
    Mask { rows, n, tile }
}

/// A dispatch before its bind group exists.
pub(crate) struct Draft<'a> {
    key: PipelineKey,
    /// By binding.
    buffers: Vec<(u32, Bound<'a>)>,
    work: Work,
    /// Bytes of weights that it reads.
    weights: u64,
    /// Where the device finds the workgroups, if only it knows how many.
    grid: Option<&'a wgpu::Buffer>,
}

impl<'a> Draft<'a> {
    pub(crate) fn new<B: Into<Bound<'a>>>(
        key: PipelineKey,
        buffers: Vec<(u32, B)>,
        work: Work,
    ) -> Self {
        let bound = buffers.into_iter().map(|(i, b)| (i, b.into()));
        Self {
            key,
            buffers: bound.collect(),
            work,
            weights: 0,
            grid: None,
        }
    }

    /// Whether it is a matrix product.
    fn is_product(&self) -> bool {
        matches!(self.work, Work::Matmul { .. } | Work::Gated { .. })
    }

    /// Whether it puts the rows of `x` in a texture.
    fn puts_in_texels(&self, x: &wgpu::Buffer) -> bool {
        matches!(self.work, Work::RowsToTexels { .. }) && self.has(1, x)
    }

    /// The copy that does what the kernel would, if one can.
    fn copy(&self) -> Option<RowCopy> {
        match (self.work, self.buffers.as_slice()) {
            (Work::RowsToTexels { k }, [(_, Bound::Buffer(from)), (_, Bound::Texels(to))])
                if rows_to_texels::is_copy(k as usize) =>
            {
                Some(RowCopy {
                    from: (*from).clone(),
                    to: (*to).clone(),
                    row_bytes: 4 * k,
                })
            }
            _ => None,
        }
    }

    fn has(&self, binding: u32, buffer: &wgpu::Buffer) -> bool {
        let is_it = |bound: &Bound<'_>| matches!(bound, Bound::Buffer(other) if *other == buffer);
        let mut bound = self.buffers.iter();
        bound.any(|(at, bound)| *at == binding && is_it(bound))
    }

    /// The same, reading so many bytes of weights.
    pub(crate) fn reading(mut self, weights: u64) -> Self {
        self.weights = weights;
        self
    }

    /// The same with as many workgroups as stand in `grid`.
    pub(crate) fn indirect(mut self, grid: &'a wgpu::Buffer) -> Self {
        self.grid = Some(grid);
        self
    }
}

/// What a product that goes `path` takes as `x`, rows of `k` columns: the same, or its copy in `texels`, where a step puts it unless the
/// products before take the same.
pub(crate) fn taken<'a>(
    steps: &mut Vec<Draft<'a>>,
    path: MatmulKernel,
    texels: Option<&'a Texels>,
    x: &'a wgpu::Buffer,
    k: usize,
) -> Bound<'a> {
    let Some(texels) = texels.filter(|_| path.takes_texels()) else {
        return x.into();
    };
    // Nothing but products may stand between, since they do not write the texture, and none that gives what this one takes.
    let mut before = steps.iter().rev();
    let last = before.find(|step| !step.is_product() || step.has(5, x));
    if !last.is_some_and(|step| step.puts_in_texels(x)) {
        steps.push(Draft::new(
            rows_to_texels::key(k),
            vec![(1, Bound::from(x)), (2, texels.into())],
            Work::RowsToTexels { k: k as u32 },
        ));
    }
    texels.into()
}

/// One dispatch of the plan, or one copy; its parameters follow from the rows.
struct Step {
    run: Run,
    work: Work,
    weights: u64,
}

enum Run {
    Dispatch {
        kernel: Arc<Kernel>,
        bind: wgpu::BindGroup,
        grid: Option<wgpu::Buffer>,
    },
    Copy(RowCopy),
}

/// Rows of a buffer into a texture.
struct RowCopy {
    from: wgpu::Buffer,
    to: Texels,
    row_bytes: u32,
}

impl RowCopy {
    fn encode(&self, encoder: &mut wgpu::CommandEncoder, rows: Rows) {
        Gpu::copy_to_texels(encoder, &self.from, &self.to, rows.count, self.row_bytes);
    }
}

impl Step {
    /// Encodes a dispatch; a copy, which no pass can hold, is left out.
    fn record(&self, pass: &mut wgpu::ComputePass<'_>, rows: Rows) {
        let Run::Dispatch { kernel, bind, grid } = &self.run else {
            return;
        };
        pass.set_pipeline(&kernel.pipeline);
        pass.set_bind_group(0, bind, &[]);
        match grid {
            Some(grid) => pass.dispatch_workgroups_indirect(grid, 0),
            None => {
                let (_, grid) = self.work.resolve(rows);
                pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
            }
        }
    }

    fn copy(&self) -> Option<&RowCopy> {
        match &self.run {
            Run::Copy(copy) => Some(copy),
            Run::Dispatch { .. } => None,
        }
    }

    fn timed(&self, kernel: &Kernel, rows: Rows) -> Timed {
        let key = kernel.key();
        Timed {
            kernel: key.kernel,
            variant: key.defines.label(),
            shape: self.work.shape(),
            multiply_adds: self.work.multiply_adds(rows),
            bytes: self.weights + self.work.activation_bytes(rows),
        }
    }
}

/// Steps that run together: the embedding, one layer, or the head.
pub(crate) struct Stage {
    steps: Vec<Step>,
    params: wgpu::Buffer,
}

impl Stage {
    /// Compiles what is not compiled yet, and binds.
    pub(crate) async fn new(gpu: &Gpu, drafts: Vec<Draft<'_>>) -> Result<Self, EngineError> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = gpu
            .buffer("parameters", drafts.len() as u64 * SLOT, usage)
            .await?;
        let mut steps = Vec::with_capacity(drafts.len());
        for (i, draft) in drafts.into_iter().enumerate() {
            let run = if let Some(copy) = draft.copy() {
                Run::Copy(copy)
            } else {
                let kernel = gpu.kernel(&draft.key).await?;
                let bind = gpu.bind(&kernel, &params, i as u64 * SLOT, &draft.buffers);
                let grid = draft.grid.cloned();
                Run::Dispatch { kernel, bind, grid }
            };
            steps.push(Step {
                run,
                work: draft.work,
                weights: draft.weights,
            });
        }
        Ok(Self { steps, params })
    }

    /// Multiply-adds of the largest dispatch.
    pub(crate) fn largest(&self, rows: Rows) -> u64 {
        let of = |step: &Step| step.work.multiply_adds(rows);
        self.steps.iter().map(of).max().unwrap_or(0)
    }

    /// Writes every step's parameters. They must not change again before the submit that uses them.
    pub(crate) fn set_params(&self, gpu: &Gpu, rows: Rows) {
        let mut bytes = vec![0u8; self.steps.len() * SLOT as usize];
        for (slot, step) in bytes.chunks_exact_mut(SLOT as usize).zip(&self.steps) {
            let (params, _) = step.work.resolve(rows);
            slot[..params.len()].copy_from_slice(&params);
        }
        gpu.write(&self.params, 0, &bytes);
    }
}

fn encoder_of(gpu: &Gpu) -> wgpu::CommandEncoder {
    let descriptor = wgpu::CommandEncoderDescriptor::default();
    gpu.device.create_command_encoder(&descriptor)
}

/// Encodes steps and sends them off before a submit grows too long for a watchdog or a user.
pub(crate) struct Submit<'a> {
    gpu: &'a Gpu,
    encoder: Option<wgpu::CommandEncoder>,
    work: u64,
    profiler: Option<&'a mut Profiler>,
}

impl<'a> Submit<'a> {
    pub(crate) fn new(gpu: &'a Gpu) -> Self {
        Self {
            gpu,
            encoder: None,
            work: 0,
            profiler: None,
        }
    }

    /// The same, timing each dispatch.
    pub(crate) fn profiled(gpu: &'a Gpu, profiler: Option<&'a mut Profiler>) -> Self {
        Self {
            profiler,
            ..Self::new(gpu)
        }
    }

    /// Says what comes next, if anybody keeps time.
    pub(crate) fn name(&mut self, stage: impl FnOnce() -> String) {
        if let Some(profiler) = &mut self.profiler {
            profiler.name(stage());
        }
    }

    pub(crate) fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.encoder.get_or_insert_with(|| encoder_of(self.gpu))
    }

    /// Encodes a stage, in as many submits as its steps need.
    pub(crate) async fn stage(
        &mut self,
        stage: &Stage,
        rows: Rows,
        monitor: &mut dyn Monitor,
    ) -> Result<(), EngineError> {
        if let Some(profiler) = &mut self.profiler {
            for step in &stage.steps {
                monitor.alive()?;
                let kernel = match &step.run {
                    Run::Dispatch { kernel, .. } => kernel,
                    // Copies are not timed.
                    Run::Copy(copy) => {
                        let encoder = self.encoder.get_or_insert_with(|| encoder_of(self.gpu));
                        copy.encode(encoder, rows);
                        continue;
                    }
                };
                let record = |pass: &mut wgpu::ComputePass<'_>| step.record(pass, rows);
                let timed = step.timed(kernel, rows);
                profiler
                    .run(self.gpu, &mut self.encoder, timed, record)
                    .await?;
            }
            return profiler.read(self.gpu, &mut self.encoder).await;
        }
        let mut steps = stage.steps.iter().peekable();
        while steps.peek().is_some() {
            // Between passes: a copy.
            while let Some(copy) = steps.peek().and_then(|step| step.copy()) {
                copy.encode(self.encoder(), rows);
                steps.next();
            }
            let budget = self.gpu.submit_budget();
            let mut work = self.work;
            let mut pass = self
                .encoder()
                .begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            while let Some(step) = steps.next_if(|step| {
                let more = step.work.multiply_adds(rows);
                step.copy().is_none() && (work == 0 || more == 0 || work + more <= budget)
            }) {
                step.record(&mut pass, rows);
                work += step.work.multiply_adds(rows);
            }
            drop(pass);
            self.work = work;
            if steps.peek().is_some_and(|step| step.copy().is_none()) {
                self.flush(true).await?;
                monitor.alive()?;
            }
        }
        Ok(())
    }

    /// Copies the first `bytes` of `from` to `at` of `to`, and gives the place behind them.
    pub(crate) fn copy(
        &mut self,
        from: &wgpu::Buffer,
        to: &wgpu::Buffer,
        at: u64,
        bytes: u64,
    ) -> u64 {
        self.encoder().copy_buffer_to_buffer(from, 0, to, at, bytes);
        at + bytes
    }

    pub(crate) fn send(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            self.gpu.queue.submit([encoder.finish()]);
        }
    }

    /// Sends when the budget is spent (or `always`), and waits for it. True if it did.
    pub(crate) async fn flush(&mut self, always: bool) -> Result<bool, EngineError> {
        if !always && self.work < self.gpu.submit_budget() {
            return Ok(false);
        }
        let started = Instant::now();
        self.send();
        self.gpu.settle().await?;
        self.gpu.learn_pace(self.work, started.elapsed());
        self.work = 0;
        Ok(true)
    }
}
