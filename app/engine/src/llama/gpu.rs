//! The forward pass on a GPU: a plan made once (buffers, pipelines, bind groups), then run chunk by chunk.

use std::sync::Arc;

use super::record::Recorder;
use super::upload::{GpuMatrix, Uploader};
use super::{check_shapes, linear, need, rope_table};
use crate::engine::{Chunk, Monitor, Outputs, Want};
use crate::gpu::MatmulKernel;
use crate::kernels::matmul::Epilogue;
use crate::kernels::{attention, embed, matmul, rmsnorm, rope_kv, silu_mul};
use crate::plan::{Draft, Rows, Stage, Submit, Work};
use crate::{EngineError, Gpu, Numerics, Rounding};
use assay_model::{LayerRole, Model, ModelConfig, Role};

/// Rows of the largest register tile: fewer at a time waste it.
const TILE_ROWS: usize = 8;
/// Bytes of logits made at a time.
const LOGITS_BYTES: u64 = 64 << 20;

/// A whole forward pass for one batch size class (many rows, or one).
struct Program {
    embed: Stage,
    layers: Vec<Stage>,
    head: Stage,
}

pub(super) struct GpuLayer {
    pub attn_norm: wgpu::Buffer,
    pub q: GpuMatrix,
    pub k: GpuMatrix,
    pub v: GpuMatrix,
    pub o: GpuMatrix,
    pub mlp_norm: wgpu::Buffer,
    pub gate: GpuMatrix,
    pub up: GpuMatrix,
    pub down: GpuMatrix,
    pub k_cache: wgpu::Buffer,
    pub v_cache: wgpu::Buffer,
}

/// Activations, all f32 [chunk, width].
pub(super) struct Activations {
    pub ids: wgpu::Buffer,
    /// The residual stream between layers.
    pub h: wgpu::Buffer,
    /// The residual stream between attention and MLP.
    pub mid: wgpu::Buffer,
    pub x: wgpu::Buffer,
    pub q: wgpu::Buffer,
    pub k: wgpu::Buffer,
    pub v: wgpu::Buffer,
    pub attended: wgpu::Buffer,
    pub gate: wgpu::Buffer,
    pub up: wgpu::Buffer,
    pub gated: wgpu::Buffer,
    pub logits: wgpu::Buffer,
}

/// A model on a GPU, with its KV cache and its plan.
pub struct GpuLlama {
    gpu: Arc<Gpu>,
    config: ModelConfig,
    chunk: usize,
    logit_rows: usize,
    acts: Activations,
    layers: Vec<GpuLayer>,
    final_norm: wgpu::Buffer,
    table: GpuMatrix,
    lm_head: Option<GpuMatrix>,
    rope: wgpu::Buffer,
    numerics: Numerics,
    many: Program,
    one: Program,
    /// Made by the first run that wants linear outputs.
    recorder: Option<Recorder>,
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
            layers,
            final_norm,
            table,
            lm_head,
            rope,
            numerics,
            many,
            one,
            recorder: None,
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
        if !want.linears.is_empty() {
            self.plan_recording().await?;
        }
        let recorder = self.recorder.as_ref();
        let linear_bytes = recorder.map_or(0, |r| r.bytes(rows)) * want.linears.len() as u64;
        let bytes = state_bytes * want.states.len() as u64
            + linear_bytes
            + (logit_count * vocab * 4) as u64;
        let staging = self.staging(bytes).await?;
        let recorder = self.recorder.as_ref();
        let recorded = |stage: usize| {
            let layer = stage.checked_sub(1)?;
            recorder
                .filter(|_| want.linears.contains(&layer))
                .map(|r| (r, layer))
        };

        let program = if rows == 1 { &self.one } else { &self.many };
        let span = Rows {
            count: rows as u32,
            pos0: pos0 as u32,
            head_row: 0,
        };
        self.gpu
            .write(&self.acts.ids, 0, bytemuck::cast_slice(tokens));
        let stages = || std::iter::once(&program.embed).chain(&program.layers);
        for (l, stage) in stages().enumerate() {
            match recorded(l) {
                Some((recorder, layer)) => recorder
                    .stages(layer, rows)
                    .iter()
                    .for_each(|stage| stage.set_params(&self.gpu, span)),
                None => stage.set_params(&self.gpu, span),
            }
        }
        let mut submit = Submit::new(&self.gpu);
        let mut at = 0;
        for (l, stage) in stages().enumerate() {
            match recorded(l) {
                Some((recorder, layer)) => {
                    let queries = &self.acts.q;
                    recorder
                        .run(&mut submit, layer, queries, span, monitor)
                        .await?;
                }
                None => submit.stage(stage, span, monitor).await?,
            }
            if want.states.contains(&l) {
                at = submit.copy(&self.acts.h, &staging, at, state_bytes);
            }
            if let Some((recorder, _)) = recorded(l) {
                at = recorder.copy(&mut submit, &staging, at, rows);
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
                head.set_params(&self.gpu, span);
                submit.stage(head, span, monitor).await?;
                let block = (count * vocab * 4) as u64;
                at = submit.copy(&self.acts.logits, &staging, at, block);
                row += count;
            }
        }
        submit.send();
        let data = self.gpu.read(&staging, bytes).await?;
        let mut floats = data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let (mut states, mut linears) = (Vec::new(), Vec::new());
        for l in 0..=self.config.layers {
            if want.states.contains(&l) {
                states.push(floats.by_ref().take(rows * hidden).collect());
            }
            if let Some((recorder, _)) = recorded(l) {
                linears.push(recorder.take(&mut floats, rows));
            }
        }
        Ok(Outputs {
            pos0,
            rows,
            states,
            logits: floats.collect(),
            logits_pos0: logits_pos0.unwrap_or(pos0),
            linears,
        })
    }

    async fn plan_recording(&mut self) -> Result<(), EngineError> {
        if self.recorder.is_none() {
            let variants = self.gpu.info.variants;
            let recorder = Recorder::new(
                &self.planner(),
                self.chunk,
                variants.matmul,
                variants.single,
            )
            .await?;
            self.recorder = Some(recorder);
        }
        Ok(())
    }

    fn planner(&self) -> Planner<'_> {
        Planner {
            gpu: &self.gpu,
            config: &self.config,
            numerics: self.numerics,
            acts: &self.acts,
            layers: &self.layers,
            final_norm: &self.final_norm,
            table: &self.table,
            lm_head: self.lm_head.as_ref().unwrap_or(&self.table),
            rope: &self.rope,
        }
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
pub(super) struct Planner<'a> {
    pub gpu: &'a Gpu,
    pub config: &'a ModelConfig,
    pub numerics: Numerics,
    pub acts: &'a Activations,
    pub layers: &'a [GpuLayer],
    pub final_norm: &'a wgpu::Buffer,
    pub table: &'a GpuMatrix,
    pub lm_head: &'a GpuMatrix,
    pub rope: &'a wgpu::Buffer,
}

impl<'a> Planner<'a> {
    async fn program(&self, path: MatmulKernel) -> Result<Program, EngineError> {
        let embed = self.table.shards.iter().map(|shard| {
            (
                embed::key(self.table.dtype),
                vec![(1, &self.acts.ids), (2, &shard.buffer), (3, &self.acts.h)],
                Work::Embed {
                    width: self.config.hidden as u32,
                    first: shard.first as u32,
                    count: shard.rows as u32,
                },
            )
        });
        let embed = Stage::new(self.gpu, embed.collect()).await?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in self.layers {
            layers.push(Stage::new(self.gpu, self.layer(layer, path)).await?);
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
            head: Stage::new(self.gpu, head).await?,
        })
    }

    fn layer(&self, layer: &'a GpuLayer, path: MatmulKernel) -> Vec<Draft<'a>> {
        let a = self.acts;
        let mut steps = vec![self.norm(&a.h, &layer.attn_norm)];
        self.product(&mut steps, path, &layer.q, &a.x, None, &a.q);
        self.product(&mut steps, path, &layer.k, &a.x, None, &a.k);
        self.product(&mut steps, path, &layer.v, &a.x, None, &a.v);
        steps.push(self.rope(&a.k, &a.v, layer));
        steps.push(self.attention(layer));
        self.product(&mut steps, path, &layer.o, &a.attended, Some(&a.h), &a.mid);
        steps.push(self.norm(&a.mid, &layer.mlp_norm));
        self.product(&mut steps, path, &layer.gate, &a.x, None, &a.gate);
        self.product(&mut steps, path, &layer.up, &a.x, None, &a.up);
        steps.push(self.silu(&a.gate, &a.up));
        self.product(&mut steps, path, &layer.down, &a.gated, Some(&a.mid), &a.h);
        steps
    }

    /// The rotation of queries in place, and of `k` with `v` into the layer's cache.
    pub fn rope(&self, k: &'a wgpu::Buffer, v: &'a wgpu::Buffer, layer: &'a GpuLayer) -> Draft<'a> {
        (
            rope_kv::key(self.config.rope.layout, self.numerics, Rounding::Keep),
            vec![
                (1, self.rope),
                (2, k),
                (3, v),
                (4, &self.acts.q),
                (5, &layer.k_cache),
                (6, &layer.v_cache),
            ],
            Work::Rope {
                heads: self.config.heads as u32,
                kv_heads: self.config.kv_heads as u32,
                half: self.config.head_dim as u32 / 2,
            },
        )
    }

    pub fn attention(&self, layer: &'a GpuLayer) -> Draft<'a> {
        let head_dim = self.config.head_dim;
        let kernel = attention::choose(self.gpu.info.variants.attention, head_dim);
        (
            attention::key(kernel, head_dim, self.numerics, Rounding::Keep),
            vec![
                (1, &self.acts.q),
                (2, &layer.k_cache),
                (3, &layer.v_cache),
                (4, &self.acts.attended),
            ],
            Work::Attention {
                kernel,
                heads: self.config.heads as u32,
                kv_heads: self.config.kv_heads as u32,
                head_dim: head_dim as u32,
            },
        )
    }

    pub fn silu(&self, gate: &'a wgpu::Buffer, up: &'a wgpu::Buffer) -> Draft<'a> {
        (
            silu_mul::key(self.numerics, Rounding::Keep),
            vec![(1, gate), (2, up), (3, &self.acts.gated)],
            Work::Silu {
                width: self.config.intermediate as u32,
            },
        )
    }

    pub fn norm(&self, x: &'a wgpu::Buffer, weight: &'a wgpu::Buffer) -> Draft<'a> {
        (
            rmsnorm::key(self.numerics, Rounding::Keep),
            vec![(1, x), (2, weight), (3, &self.acts.x)],
            Work::Norm {
                width: self.config.hidden as u32,
                eps: self.config.rms_eps,
            },
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
        self.shards(steps, path, w, x, (w.bias.as_ref(), residual), y);
    }

    /// The product alone, whatever bias the matrix has.
    pub fn bare_product(
        &self,
        steps: &mut Vec<Draft<'a>>,
        path: MatmulKernel,
        w: &'a GpuMatrix,
        x: &'a wgpu::Buffer,
        y: &'a wgpu::Buffer,
    ) {
        self.shards(steps, path, w, x, (None, None), y);
    }

    fn shards(
        &self,
        steps: &mut Vec<Draft<'a>>,
        path: MatmulKernel,
        w: &'a GpuMatrix,
        x: &'a wgpu::Buffer,
        (bias, residual): (Option<&'a wgpu::Buffer>, Option<&'a wgpu::Buffer>),
        y: &'a wgpu::Buffer,
    ) {
        let epilogue = Epilogue {
            bias: bias.is_some(),
            residual: residual.is_some(),
        };
        for shard in &w.shards {
            let mut buffers = vec![(1, x), (2, &shard.buffer), (5, y)];
            buffers.extend(bias.map(|b| (3, b)));
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
}
