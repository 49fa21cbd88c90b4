//! The forward pass on a GPU: a plan made once (buffers, pipelines, bind groups), then run chunk by chunk.

use std::sync::Arc;

use web_time::Instant;

use super::upload::{GpuMatrix, Uploader};
use super::{check_shapes, linear, need, rope_table};
use crate::engine::{Chunk, Monitor, Outputs, Want};
use crate::gpu::{AttentionKernel, Kernel, MatmulKernel, PipelineKey};
use crate::kernels::matmul::Epilogue;
use crate::kernels::{Grid, ParamBytes, attention, embed, matmul, rmsnorm, rope_kv, silu_mul};
use crate::{EngineError, Gpu, Numerics};
use assay_model::{LayerRole, Model, ModelConfig, Role};

/// Bytes between parameter blocks: WebGPU's guaranteed uniform offset alignment.
const SLOT: u64 = 256;
/// Rows of the largest register tile: fewer at a time waste it.
const TILE_ROWS: usize = 8;
/// Bytes of logits made at a time.
const LOGITS_BYTES: u64 = 64 << 20;

/// One dispatch of the plan; its parameters follow from the chunk.
struct Step {
    kernel: Arc<Kernel>,
    bind: wgpu::BindGroup,
    work: Work,
}

/// What a step computes, as far as its parameters and its size go.
#[derive(Clone, Copy)]
enum Work {
    Embed {
        first: u32,
        count: u32,
    },
    Norm,
    Matmul {
        path: MatmulKernel,
        n: u32,
        k: u32,
        stride: u32,
        n0: u32,
    },
    Rope,
    Attention {
        kernel: AttentionKernel,
    },
    Silu,
}

/// Steps that run together: the embedding, one layer, or the head.
struct Stage {
    steps: Vec<Step>,
    params: wgpu::Buffer,
}

/// A whole forward pass for one batch size class (many rows, or one).
struct Program {
    embed: Stage,
    layers: Vec<Stage>,
    head: Stage,
}

/// Rows of a run, as parameters see them.
#[derive(Clone, Copy)]
struct Rows {
    count: u32,
    pos0: u32,
    /// First row of the hidden states that the head's norm reads.
    head_row: u32,
}

struct GpuLayer {
    attn_norm: wgpu::Buffer,
    q: GpuMatrix,
    k: GpuMatrix,
    v: GpuMatrix,
    o: GpuMatrix,
    mlp_norm: wgpu::Buffer,
    gate: GpuMatrix,
    up: GpuMatrix,
    down: GpuMatrix,
    k_cache: wgpu::Buffer,
    v_cache: wgpu::Buffer,
}

/// Activations, all f32 [chunk, width].
struct Activations {
    ids: wgpu::Buffer,
    /// The residual stream between layers.
    h: wgpu::Buffer,
    /// The residual stream between attention and MLP.
    mid: wgpu::Buffer,
    x: wgpu::Buffer,
    q: wgpu::Buffer,
    k: wgpu::Buffer,
    v: wgpu::Buffer,
    attended: wgpu::Buffer,
    gate: wgpu::Buffer,
    up: wgpu::Buffer,
    gated: wgpu::Buffer,
    logits: wgpu::Buffer,
}

/// A model on a GPU, with its KV cache and its plan.
pub struct GpuLlama {
    gpu: Arc<Gpu>,
    config: ModelConfig,
    chunk: usize,
    logit_rows: usize,
    acts: Activations,
    many: Program,
    one: Program,
    staging: Option<wgpu::Buffer>,
}

impl GpuLlama {
    /// Uploads the weights and builds the plan for `capacity` positions.
    pub async fn load(
        gpu: Arc<Gpu>,
        model: &Model,
        capacity: usize,
        numerics: Numerics,
        monitor: &mut dyn Monitor,
    ) -> Result<Self, EngineError> {
        let config = model.config().clone();
        check_shapes(&config)?;
        let attention = attention::choose(gpu.info.variants.attention, config.head_dim);
        let iterations = attention::iterations(attention, capacity as u64, config.head_dim);
        if iterations > gpu.info.max_loop_iterations {
            return Err(EngineError::LimitTooSmall {
                what: format!("attention over {capacity} positions (loop iterations)"),
                need: iterations,
                have: gpu.info.max_loop_iterations,
            });
        }
        let chunk = gpu.info.variants.chunk.min(capacity);
        let row_bytes = config.vocab as u64 * 4;
        let logit_rows =
            (LOGITS_BYTES.min(gpu.info.max_binding) / row_bytes).clamp(1, chunk as u64) as usize;

        let total = model.bytes();
        let mut up = Uploader {
            gpu: &gpu,
            model,
            monitor,
            done: 0,
            total,
            pending: 0,
        };
        let mut layers = Vec::with_capacity(config.layers);
        for l in 0..config.layers {
            layers.push(load_layer(&mut up, l, capacity).await?);
        }
        let final_norm = up.vector(need(model, Role::FinalNorm)?).await?;
        let table = up.matrix(need(model, Role::Embedding)?, None).await?;
        let head = need(model, Role::LmHead)?;
        let lm_head = if Some(head) == model.tensor(Role::Embedding) {
            None
        } else {
            Some(up.matrix(head, None).await?)
        };
        let mut pending = up.pending;
        gpu.flush_uploads(&mut pending, true).await?;

        let rope = gpu
            .storage_with(
                "rope table",
                bytemuck::cast_slice(&rope_table(&config, capacity)),
            )
            .await?;
        let acts = activations(&gpu, &config, chunk, logit_rows).await?;
        let planner = Planner {
            gpu: &gpu,
            config: &config,
            numerics,
            acts: &acts,
            layers: &layers,
            final_norm: &final_norm,
            table: &table,
            lm_head: lm_head.as_ref().unwrap_or(&table),
            rope: &rope,
        };
        let many = planner.program(gpu.info.variants.matmul).await?;
        let one = planner.program(gpu.info.variants.single).await?;
        Ok(Self {
            config,
            chunk,
            logit_rows,
            acts,
            many,
            one,
            staging: None,
            gpu,
        })
    }

    /// Most rows in one run.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Rows that should run together from `pos0` on, so that no single dispatch outlasts the submits' time.
    pub fn paced_chunk(&self, pos0: usize) -> usize {
        let (config, wide) = (&self.config, |n: usize, k: usize| n as u64 * k as u64);
        let attention = 2 * wide(config.q_dim(), pos0 + self.chunk);
        let a_row = wide(config.intermediate, config.hidden).max(attention);
        self.fit(a_row, self.chunk)
    }

    /// Rows of so many multiply-adds that fit one submit: whole tiles where there is room for one, at least one row.
    fn fit(&self, a_row: u64, most: usize) -> usize {
        let rows = self.gpu.submit_budget() / a_row.max(1);
        let rows = usize::try_from(rows).unwrap_or(most).min(most);
        match rows {
            0..TILE_ROWS => rows.max(1),
            _ => rows - rows % TILE_ROWS,
        }
    }

    /// Runs one chunk; one read-back.
    pub async fn run(
        &mut self,
        chunk: Chunk<'_>,
        want: &Want,
        monitor: &mut dyn Monitor,
    ) -> Result<Outputs, EngineError> {
        let Chunk { tokens, pos0 } = chunk;
        let (rows, hidden, vocab) = (tokens.len(), self.config.hidden, self.config.vocab);
        let logits_pos0 = want
            .logits_from
            .filter(|from| *from < pos0 + rows)
            .map(|from| from.max(pos0));
        let logit_count = logits_pos0.map_or(0, |first| pos0 + rows - first);
        let state_bytes = (rows * hidden * 4) as u64;
        let bytes = state_bytes * want.states.len() as u64 + (logit_count * vocab * 4) as u64;
        let staging = self.staging(bytes).await?;

        let program = if rows == 1 { &self.one } else { &self.many };
        let span = Rows {
            count: rows as u32,
            pos0: pos0 as u32,
            head_row: 0,
        };
        self.gpu
            .write(&self.acts.ids, 0, bytemuck::cast_slice(tokens));
        for stage in std::iter::once(&program.embed).chain(&program.layers) {
            self.set_params(stage, span);
        }
        let mut submit = Submit {
            gpu: &self.gpu,
            encoder: None,
            work: 0,
        };
        let mut at = 0;
        for (l, stage) in std::iter::once(&program.embed)
            .chain(&program.layers)
            .enumerate()
        {
            submit.stage(stage, &self.config, span, monitor).await?;
            if want.states.contains(&l) {
                submit
                    .encoder()
                    .copy_buffer_to_buffer(&self.acts.h, 0, &staging, at, state_bytes);
                at += state_bytes;
            }
            if submit.flush(false).await? {
                monitor.alive()?;
            }
        }
        if let Some(first) = logits_pos0 {
            let mut row = first - pos0;
            let a_row = vocab as u64 * hidden as u64;
            while row < rows {
                let count = self.fit(a_row, self.logit_rows).min(rows - row);
                let head = if count == 1 {
                    &self.one.head
                } else {
                    &self.many.head
                };
                let span = Rows {
                    count: count as u32,
                    pos0: pos0 as u32,
                    head_row: row as u32,
                };
                // The head's parameters change between blocks, so each block is a submit of its own.
                if (row + count < rows || row > first - pos0) && submit.flush(true).await? {
                    monitor.alive()?;
                }
                self.set_params(head, span);
                submit.stage(head, &self.config, span, monitor).await?;
                let block = (count * vocab * 4) as u64;
                submit
                    .encoder()
                    .copy_buffer_to_buffer(&self.acts.logits, 0, &staging, at, block);
                at += block;
                row += count;
            }
        }
        submit.send();
        let data = self.gpu.read(&staging, bytes).await?;
        let mut floats = data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let states = want
            .states
            .iter()
            .map(|_| floats.by_ref().take(rows * hidden).collect())
            .collect();
        Ok(Outputs {
            pos0,
            rows,
            states,
            logits: floats.collect(),
            logits_pos0: logits_pos0.unwrap_or(pos0),
        })
    }

    async fn staging(&mut self, bytes: u64) -> Result<wgpu::Buffer, EngineError> {
        if let Some(buffer) = self.staging.as_ref().filter(|b| b.size() >= bytes) {
            return Ok(buffer.clone());
        }
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        let buffer = self.gpu.buffer("read-back", bytes, usage).await?;
        self.staging = Some(buffer.clone());
        Ok(buffer)
    }

    fn set_params(&self, stage: &Stage, rows: Rows) {
        let mut bytes = vec![0u8; stage.steps.len() * SLOT as usize];
        for (slot, step) in bytes.chunks_exact_mut(SLOT as usize).zip(&stage.steps) {
            let (params, _) = step.work.resolve(&self.config, rows);
            slot[..params.len()].copy_from_slice(&params);
        }
        self.gpu.write(&stage.params, 0, &bytes);
    }
}

/// Encodes steps and sends them off before a submit grows too long for a watchdog or a user.
struct Submit<'a> {
    gpu: &'a Gpu,
    encoder: Option<wgpu::CommandEncoder>,
    work: u64,
}

impl Submit<'_> {
    fn encoder(&mut self) -> &mut wgpu::CommandEncoder {
        self.encoder.get_or_insert_with(|| {
            self.gpu
                .device
                .create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
        })
    }

    /// Encodes a stage, in as many submits as its steps need.
    async fn stage(
        &mut self,
        stage: &Stage,
        config: &ModelConfig,
        rows: Rows,
        monitor: &mut dyn Monitor,
    ) -> Result<(), EngineError> {
        let mut steps = stage.steps.iter().peekable();
        while steps.peek().is_some() {
            let budget = self.gpu.submit_budget();
            let mut work = self.work;
            let mut pass = self
                .encoder()
                .begin_compute_pass(&wgpu::ComputePassDescriptor::default());
            while let Some(step) = steps.next_if(|step| {
                let more = step.work.multiply_adds(config, rows);
                work == 0 || more == 0 || work + more <= budget
            }) {
                let (_, grid) = step.work.resolve(config, rows);
                pass.set_pipeline(&step.kernel.pipeline);
                pass.set_bind_group(0, &step.bind, &[]);
                pass.dispatch_workgroups(grid[0], grid[1], grid[2]);
                work += step.work.multiply_adds(config, rows);
            }
            drop(pass);
            self.work = work;
            if steps.peek().is_some() {
                self.flush(true).await?;
                monitor.alive()?;
            }
        }
        Ok(())
    }

    fn send(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            self.gpu.queue.submit([encoder.finish()]);
        }
    }

    /// Sends when the budget is spent (or `always`), and waits for it. True if it did.
    async fn flush(&mut self, always: bool) -> Result<bool, EngineError> {
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

impl Work {
    fn resolve(self, config: &ModelConfig, rows: Rows) -> (ParamBytes, Grid) {
        let Rows {
            count,
            pos0,
            head_row,
        } = rows;
        let (heads, kv_heads) = (config.heads as u32, config.kv_heads as u32);
        match self {
            Self::Embed {
                first,
                count: table_rows,
            } => embed::dispatch(count, config.hidden as u32, first, table_rows),
            Self::Norm => rmsnorm::dispatch(count, config.hidden as u32, head_row, config.rms_eps),
            Self::Matmul {
                path,
                n,
                k,
                stride,
                n0,
            } => (
                matmul::params(count, n, k, stride, n0, 0),
                matmul::grid(path, count, n),
            ),
            Self::Rope => {
                rope_kv::dispatch(count, heads, kv_heads, config.head_dim as u32 / 2, pos0)
            }
            Self::Attention { kernel } => {
                attention::dispatch(kernel, count, heads, kv_heads, pos0, config.head_dim)
            }
            Self::Silu => silu_mul::dispatch(count, config.intermediate as u32),
        }
    }

    fn multiply_adds(self, config: &ModelConfig, rows: Rows) -> u64 {
        let count = u64::from(rows.count);
        match self {
            Self::Matmul { n, k, .. } => count * u64::from(n) * u64::from(k),
            Self::Attention { .. } => {
                2 * count * (config.q_dim() as u64) * u64::from(rows.pos0 + rows.count)
            }
            _ => 0,
        }
    }
}

async fn load_layer(
    up: &mut Uploader<'_>,
    l: usize,
    capacity: usize,
) -> Result<GpuLayer, EngineError> {
    use LayerRole as R;
    let model = up.model;
    let cache_bytes = (capacity * model.config().kv_dim() * 4) as u64;
    let mut matrices = Vec::with_capacity(7);
    for (weight, bias) in [
        (R::Q, R::QBias),
        (R::K, R::KBias),
        (R::V, R::VBias),
        (R::O, R::OBias),
        (R::Gate, R::GateBias),
        (R::Up, R::UpBias),
        (R::Down, R::DownBias),
    ] {
        let (weight, bias) = linear(model, l, weight, bias)?;
        matrices.push(up.matrix(weight, bias).await?);
    }
    let attn_norm = up.vector(need(model, Role::Layer(l, R::AttnNorm))?).await?;
    let mlp_norm = up.vector(need(model, Role::Layer(l, R::MlpNorm))?).await?;
    let k_cache = up.gpu.storage("key cache", cache_bytes).await?;
    let v_cache = up.gpu.storage("value cache", cache_bytes).await?;
    let Ok([q, k, v, o, gate, up_, down]) = <[GpuMatrix; 7]>::try_from(matrices) else {
        return Err(EngineError::Unsupported(
            "a layer without its seven matrices".to_owned(),
        ));
    };
    Ok(GpuLayer {
        attn_norm,
        q,
        k,
        v,
        o,
        mlp_norm,
        gate,
        up: up_,
        down,
        k_cache,
        v_cache,
    })
}

async fn activations(
    gpu: &Gpu,
    config: &ModelConfig,
    chunk: usize,
    logit_rows: usize,
) -> Result<Activations, EngineError> {
    let rows = async |what: &str, width: usize| gpu.storage(what, (chunk * width * 4) as u64).await;
    Ok(Activations {
        ids: rows("token ids", 1).await?,
        h: rows("hidden state", config.hidden).await?,
        mid: rows("hidden state after attention", config.hidden).await?,
        x: rows("normed hidden state", config.hidden).await?,
        q: rows("queries", config.q_dim()).await?,
        k: rows("keys", config.kv_dim()).await?,
        v: rows("values", config.kv_dim()).await?,
        attended: rows("attention output", config.q_dim()).await?,
        gate: rows("gate", config.intermediate).await?,
        up: rows("up", config.intermediate).await?,
        gated: rows("gated", config.intermediate).await?,
        logits: gpu
            .storage("logits", (logit_rows * config.vocab * 4) as u64)
            .await?,
    })
}

/// Everything that bind groups refer to while a program is built.
struct Planner<'a> {
    gpu: &'a Gpu,
    config: &'a ModelConfig,
    numerics: Numerics,
    acts: &'a Activations,
    layers: &'a [GpuLayer],
    final_norm: &'a wgpu::Buffer,
    table: &'a GpuMatrix,
    lm_head: &'a GpuMatrix,
    rope: &'a wgpu::Buffer,
}

/// A dispatch before its bind group exists: pipeline, buffers by binding, work.
type Draft<'a> = (PipelineKey, Vec<(u32, &'a wgpu::Buffer)>, Work);

impl<'a> Planner<'a> {
    async fn program(&self, path: MatmulKernel) -> Result<Program, EngineError> {
        let embed = self.table.shards.iter().map(|shard| {
            (
                embed::key(self.table.dtype),
                vec![(1, &self.acts.ids), (2, &shard.buffer), (3, &self.acts.h)],
                Work::Embed {
                    first: shard.first as u32,
                    count: shard.rows as u32,
                },
            )
        });
        let embed = self.stage(embed.collect()).await?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            layers.push(self.stage(self.layer(layer, path)).await?);
        }
        let mut head = vec![self.norm(&self.acts.h, self.final_norm)];
        self.product(
            &mut head,
            path,
            self.lm_head,
            &self.acts.x,
            None,
            &self.acts.logits,
        );
        Ok(Program {
            embed,
            layers,
            head: self.stage(head).await?,
        })
    }

    fn layer(&self, layer: &'a GpuLayer, path: MatmulKernel) -> Vec<Draft<'a>> {
        let a = self.acts;
        let variant = attention::choose(self.gpu.info.variants.attention, self.config.head_dim);
        let mut steps = vec![self.norm(&a.h, &layer.attn_norm)];
        self.product(&mut steps, path, &layer.q, &a.x, None, &a.q);
        self.product(&mut steps, path, &layer.k, &a.x, None, &a.k);
        self.product(&mut steps, path, &layer.v, &a.x, None, &a.v);
        steps.push((
            rope_kv::key(self.config.rope.layout, self.numerics),
            vec![
                (1, self.rope),
                (2, &a.k),
                (3, &a.v),
                (4, &a.q),
                (5, &layer.k_cache),
                (6, &layer.v_cache),
            ],
            Work::Rope,
        ));
        steps.push((
            attention::key(variant, self.config.head_dim, self.numerics),
            vec![
                (1, &a.q),
                (2, &layer.k_cache),
                (3, &layer.v_cache),
                (4, &a.attended),
            ],
            Work::Attention { kernel: variant },
        ));
        self.product(&mut steps, path, &layer.o, &a.attended, Some(&a.h), &a.mid);
        steps.push(self.norm(&a.mid, &layer.mlp_norm));
        self.product(&mut steps, path, &layer.gate, &a.x, None, &a.gate);
        self.product(&mut steps, path, &layer.up, &a.x, None, &a.up);
        steps.push((
            silu_mul::key(self.numerics),
            vec![(1, &a.gate), (2, &a.up), (3, &a.gated)],
            Work::Silu,
        ));
        self.product(&mut steps, path, &layer.down, &a.gated, Some(&a.mid), &a.h);
        steps
    }

    fn norm(&self, x: &'a wgpu::Buffer, weight: &'a wgpu::Buffer) -> Draft<'a> {
        (
            rmsnorm::key(self.numerics),
            vec![(1, x), (2, weight), (3, &self.acts.x)],
            Work::Norm,
        )
    }

    fn product(
        &self,
        steps: &mut Vec<Draft<'a>>,
        path: MatmulKernel,
        w: &'a GpuMatrix,
        x: &'a wgpu::Buffer,
        residual: Option<&'a wgpu::Buffer>,
        y: &'a wgpu::Buffer,
    ) {
        let epilogue = Epilogue {
            bias: w.bias.is_some(),
            residual: residual.is_some(),
        };
        for shard in &w.shards {
            let mut buffers = vec![(1, x), (2, &shard.buffer), (5, y)];
            buffers.extend(w.bias.as_ref().map(|b| (3, b)));
            buffers.extend(residual.map(|r| (4, r)));
            let work = Work::Matmul {
                path,
                n: shard.rows as u32,
                k: w.k as u32,
                stride: w.n as u32,
                n0: shard.first as u32,
            };
            steps.push((
                matmul::key(path, w.dtype, w.k, epilogue, self.numerics),
                buffers,
                work,
            ));
        }
    }

    async fn stage(&self, drafts: Vec<Draft<'a>>) -> Result<Stage, EngineError> {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let params = self
            .gpu
            .buffer("parameters", drafts.len() as u64 * SLOT, usage)
            .await?;
        let mut steps = Vec::with_capacity(drafts.len());
        for (i, (key, buffers, work)) in drafts.into_iter().enumerate() {
            let kernel = self.gpu.kernel(&key).await?;
            let bind = self.gpu.bind(&kernel, &params, i as u64 * SLOT, &buffers);
            steps.push(Step { kernel, bind, work });
        }
        Ok(Stage { steps, params })
    }
}
