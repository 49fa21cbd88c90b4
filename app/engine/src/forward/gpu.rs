//! The forward pass on a GPU: a plan made once (buffers, pipelines, bind groups), then run chunk by chunk.

use std::sync::Arc;

use super::planner::Planner;
use super::plans::{Plans, Programs};
use super::record::Recorder;
use super::sparse::{GpuSparse, Masks};
use super::upload::{GpuMatrix, Uploader};
use super::weights::{Activations, GpuLayer, GpuNorm, GpuPositions};
use super::{check_loops, check_shapes, need, rope_table};
use crate::engine::{Chunk, Monitor, Outputs, Want};
use crate::gpu::floats;
use crate::kv_cache::KvCaches;
use crate::plan::{Rows, Submit};
use crate::profile::{Clock, Profiler, Span};
use crate::sparsity::{Bits, Inside, LayerMasks, LayerScores, SparseModel, Sparsity};
use crate::{ActivationType, CacheFormat, EngineError, Gpu, Numerics, Rounding};
use assay_model::{Model, ModelConfig, Role};

/// Rows of the largest register tile: fewer at a time waste it.
const TILE_ROWS: usize = 8;
/// Bytes of logits made at a time.
const LOGITS_BYTES: u64 = 64 << 20;

/// A model on a GPU, with its KV cache and its plan.
pub struct GpuForward {
    gpu: Arc<Gpu>,
    config: ModelConfig,
    chunk: usize,
    logit_rows: usize,
    acts: Activations,
    layers: Vec<GpuLayer>,
    final_norm: GpuNorm,
    table: GpuMatrix,
    lm_head: Option<GpuMatrix>,
    positions: GpuPositions,
    numerics: Numerics,
    rounding: Rounding,
    cache: CacheFormat,
    activations: ActivationType,
    plans: Plans,
    sparse: Option<GpuSparse>,
    /// Made by the first run that wants linear outputs.
    recorder: Option<Recorder>,
    profiler: Option<Profiler>,
    staging: Option<wgpu::Buffer>,
}

impl GpuForward {
    /// Uploads the weights and builds the plan for `capacity` positions.
    pub async fn load(
        gpu: Arc<Gpu>,
        model: &Model,
        capacity: usize,
        numerics: Numerics,
        sparse: Option<Arc<SparseModel>>,
        activations: ActivationType,
        monitor: &mut dyn Monitor,
    ) -> Result<Self, EngineError> {
        let config = model.config().clone();
        check_shapes(&config)?;
        check_loops(&gpu, &config, capacity)?;
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
        let rule = sparse.as_deref().map(SparseModel::sparsity);
        let caches = KvCaches::new(&gpu, &config, capacity, chunk).await?;
        let mut layers = Vec::with_capacity(config.layers);
        for l in 0..config.layers {
            layers.push(GpuLayer::load(&mut up, l, &caches, rule, activations).await?);
        }
        let final_norm = GpuNorm::load(&mut up, Role::FinalNorm, Role::FinalNormBias).await?;
        let table = up.matrix(need(model, Role::Embedding)?, None).await?;
        let head = need(model, Role::LmHead)?;
        let lm_head = if Some(head) == model.tensor(Role::Embedding) {
            None
        } else {
            Some(up.matrix(head, None).await?)
        };
        let positions = positions(&mut up, capacity).await?;
        let mut pending = up.pending;
        gpu.flush_uploads(&mut pending, true).await?;

        let acts = Activations::new(&gpu, &config, chunk, logit_rows, activations).await?;
        let planner = Planner {
            gpu: &gpu,
            config: &config,
            numerics,
            rounding: Rounding::Keep,
            cache: CacheFormat::Exact,
            activations,
            acts: &acts,
            layers: &layers,
            final_norm: &final_norm,
            table: &table,
            lm_head: lm_head.as_ref().unwrap_or(&table),
            positions: &positions,
            is_sparse: sparse.is_some(),
        };
        let sparse = match sparse {
            Some(sparse) => Some(GpuSparse::new(&gpu, model, sparse, chunk).await?),
            None => None,
        };
        let mut plans = Plans::default();
        if sparse.is_none() {
            plans.set(Masks::Made, Programs::dense(&planner).await?);
        }
        Ok(Self {
            config,
            chunk,
            logit_rows,
            acts,
            layers,
            final_norm,
            table,
            lm_head,
            positions,
            numerics,
            rounding: Rounding::Keep,
            cache: CacheFormat::Exact,
            activations,
            plans,
            sparse,
            recorder: None,
            profiler: None,
            staging: None,
            gpu,
        })
    }

    /// Keeps so much of values between operations from here on; a dense model's.
    pub async fn keep(&mut self, rounding: Rounding) -> Result<(), EngineError> {
        if rounding == self.rounding {
            return Ok(());
        }
        self.rounding = rounding;
        self.plan_again().await
    }

    /// Rounds keys and values like that from here on; a dense model's.
    pub async fn round_cache(&mut self, format: CacheFormat) -> Result<(), EngineError> {
        if format == self.cache {
            return Ok(());
        }
        self.cache = format;
        self.plan_again().await
    }

    async fn plan_again(&mut self) -> Result<(), EngineError> {
        self.plans = Plans::default();
        self.recorder = None;
        let programs = Programs::dense(&self.planner()).await?;
        self.plans.set(Masks::Made, programs);
        Ok(())
    }

    /// Most rows in one run.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Rows that should run together from `pos0` on, so that no single dispatch outlasts the submits' time.
    pub fn paced_chunk(&self, pos0: usize) -> usize {
        self.chunk_within(self.gpu.submit_budget(), pos0)
    }

    /// The same for submits of `budget` multiply-adds.
    pub fn chunk_within(&self, budget: u64, pos0: usize) -> usize {
        let a_row = self.largest_dispatch(self.chunk, pos0) / self.chunk as u64;
        fit(budget, a_row, self.chunk)
    }

    /// Multiply-adds of the largest dispatch, besides those of logits, of a run of `rows` rows from `pos0` on.
    pub fn largest_dispatch(&self, rows: usize, pos0: usize) -> u64 {
        let span = Rows {
            count: rows as u32,
            pos0: pos0 as u32,
            head_row: 0,
        };
        let Some(programs) = self.plans.any() else {
            // A sparse model before its first run: its masked products as if every neuron were active, and attention.
            let config = &self.config;
            let gated = 2 * config.intermediate * config.hidden;
            let attention = 2 * config.q_dim() * (pos0 + rows);
            return rows as u64 * gated.max(attention) as u64;
        };
        let layers = programs.of(rows).layers.iter();
        layers.map(|layer| layer.largest(span)).max().unwrap_or(0)
    }

    /// Multiply-adds of the largest dispatch that logits of one row take.
    pub fn largest_of_logits(&self) -> u64 {
        let Some(programs) = self.plans.any() else {
            return (self.config.vocab * self.config.hidden) as u64;
        };
        programs.of(1).head.largest(Rows {
            count: 1,
            pos0: 0,
            head_row: 0,
        })
    }

    /// Times every dispatch from here on, and says by which clock.
    pub async fn profile(&mut self) -> Result<Clock, EngineError> {
        let profiler = Profiler::new(&self.gpu).await?;
        let clock = profiler.clock();
        self.profiler = Some(profiler);
        Ok(clock)
    }

    /// What was timed since the last call, in the order of the dispatches.
    pub fn take_spans(&mut self) -> Vec<Span> {
        self.profiler
            .as_mut()
            .map(Profiler::take)
            .unwrap_or_default()
    }

    /// Runs one chunk; one read-back.
    pub async fn run(
        &mut self,
        chunk: Chunk<'_>,
        want: &Want,
        monitor: &mut dyn Monitor,
    ) -> Result<Outputs, EngineError> {
        let Chunk { tokens, pos0, .. } = chunk;
        let (rows, hidden, vocab) = (tokens.len(), self.config.hidden, self.config.vocab);
        let logits_pos0 = want
            .logits_from
            .filter(|from| *from < pos0 + rows)
            .map(|from| from.max(pos0));
        let logit_count = logits_pos0.map_or(0, |first| pos0 + rows - first);
        self.plan_recording(want).await?;
        let masks = self.plan_masks(chunk, want).await?;
        self.bring_masks(chunk);
        let bytes = self.tapped_bytes(want, rows) + (logit_count * vocab * 4) as u64;
        let staging = self.staging(bytes).await?;
        // Taken for the run: everything else of this plan is read meanwhile.
        let mut profiler = self.profiler.take();
        let programs = self
            .plans
            .get(masks)
            .ok_or_else(|| EngineError::Sparsity("masks for an engine that is dense".to_owned()))?;
        let recorded = |l: usize| self.recorder_of(want, l).zip(l.checked_sub(1));

        let program = programs.of(rows);
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
        let mut submit = Submit::profiled(&self.gpu, profiler.as_mut());
        let mut at = 0;
        for (l, stage) in stages().enumerate() {
            submit.name(|| match l {
                0 => "embedding".to_owned(),
                _ => format!("layer {}", l - 1),
            });
            match recorded(l) {
                Some((recorder, layer)) => {
                    let queries = &self.acts.q;
                    recorder
                        .run(&mut submit, layer, queries, span, monitor)
                        .await?;
                }
                None => submit.stage(stage, span, monitor).await?,
            }
            for (buffer, width) in self.tapped(want, l) {
                at = submit.copy(buffer, &staging, at, (rows * width * 4) as u64);
            }
            if submit.flush(false).await? {
                monitor.alive()?;
            }
        }
        if let Some(first) = logits_pos0 {
            let mut row = first - pos0;
            let a_row = vocab as u64 * hidden as u64;
            while row < rows {
                let budget = self.gpu.submit_budget();
                let count = fit(budget, a_row, self.logit_rows).min(rows - row);
                let head = &programs.of(count).head;
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
                submit.name(|| "logits".to_owned());
                submit.stage(head, span, monitor).await?;
                let block = (count * vocab * 4) as u64;
                at = submit.copy(&self.acts.logits, &staging, at, block);
                row += count;
            }
        }
        submit.send();
        let data = self.gpu.read(&staging, bytes).await?;
        let mut outputs = Outputs {
            pos0,
            rows,
            logits_pos0: logits_pos0.unwrap_or(pos0),
            ..Outputs::default()
        };
        let mut read = ReadBack { data: &data, rows };
        for l in 0..=self.config.layers {
            self.untap(want, l, &mut read, &mut outputs)?;
        }
        outputs.logits = read.rest();
        self.profiler = profiler;
        Ok(outputs)
    }

    /// What is wanted of stage `l` (0 is the embedding, l layer l - 1): buffers, and their widths in words of 32 bits.
    fn tapped<'a>(&'a self, want: &Want, l: usize) -> Vec<(&'a wgpu::Buffer, usize)> {
        let (a, c) = (&self.acts, &self.config);
        let mut taps = Vec::new();
        if want.states.contains(&l) {
            taps.push((&a.h, c.hidden));
        }
        let Some(layer) = l.checked_sub(1) else {
            return taps;
        };
        if let Some(recorder) = self.recorder_of(want, l) {
            taps.extend(recorder.outputs());
        }
        if want.inside.contains(&layer) {
            taps.extend([
                (&a.attended, c.q_dim()),
                (&a.mid, c.hidden),
                (&a.gated, c.intermediate),
            ]);
        }
        let Some(sparse) = &self.sparse else {
            return taps;
        };
        if want.masks {
            let bits = &sparse.bits[layer];
            let inputs = bits.input.iter().map(|b| (b, c.hidden.div_ceil(32)));
            taps.extend(inputs);
            taps.push((&bits.neurons, c.intermediate.div_ceil(32)));
        }
        if want.scores {
            let (inputs, neurons) = sparse.scores(a, c.family.mlp());
            taps.extend(inputs.map(|b| (b, c.hidden)));
            taps.extend(neurons.map(|b| (b, c.intermediate)));
        }
        taps
    }

    fn tapped_bytes(&self, want: &Want, rows: usize) -> u64 {
        let of_stage = |l: usize| self.tapped(want, l).iter().map(|(_, w)| *w).sum::<usize>();
        let words: usize = (0..=self.config.layers).map(of_stage).sum();
        (words * rows * 4) as u64
    }

    /// Takes from what was read back what [`tapped`](Self::tapped) put there, in its order.
    fn untap(
        &self,
        want: &Want,
        l: usize,
        read: &mut ReadBack<'_>,
        outputs: &mut Outputs,
    ) -> Result<(), EngineError> {
        let c = &self.config;
        if want.states.contains(&l) {
            outputs.states.push(read.floats(c.hidden));
        }
        let Some(layer) = l.checked_sub(1) else {
            return Ok(());
        };
        if let Some(recorder) = self.recorder_of(want, l) {
            let widths = recorder.outputs().map(|(_, width)| width);
            match self.activations {
                ActivationType::Int8 => outputs.sums.push(widths.map(|width| read.integers(width))),
                ActivationType::Blocks => outputs.sums.push(widths.map(|width| read.pairs(width))),
                _ => outputs.linears.push(widths.map(|width| read.floats(width))),
            }
        }
        if want.inside.contains(&layer) {
            outputs.inside.push(Inside {
                attended: read.floats(c.q_dim()),
                mid: read.floats(c.hidden),
                active: read.floats(c.intermediate),
            });
        }
        let Some(sparse) = &self.sparse else {
            return Ok(());
        };
        if want.masks {
            let input = sparse.rule().masks_input();
            outputs.masks.push(LayerMasks {
                input: input.then(|| read.bits(c.hidden)).transpose()?,
                neurons: read.bits(c.intermediate)?,
            });
        }
        if want.scores {
            let (inputs, neurons) = sparse.scores(&self.acts, c.family.mlp());
            outputs.scores.push(LayerScores {
                input: inputs.map(|_| read.floats(c.hidden)).unwrap_or_default(),
                neurons: neurons
                    .map(|_| read.floats(c.intermediate))
                    .unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// Plans what the chunk's masks and what is wanted of it call for, unless that is planned already.
    async fn plan_masks(&mut self, chunk: Chunk<'_>, want: &Want) -> Result<Masks, EngineError> {
        // Whoever looks inside sees activations of all neurons, as the rule's own run has them.
        let masks = match chunk.masks {
            None => Masks::Made,
            Some(_) if want.scores || !want.inside.is_empty() => Masks::Judged,
            Some(_) => Masks::Known,
        };
        if self.plans.get(masks).is_none()
            && let Some(sparse) = &self.sparse
        {
            let programs = Programs::sparse(sparse, &self.planner(), masks).await?;
            self.plans.set(masks, programs);
        }
        Ok(masks)
    }

    /// Puts the chunk's masks where the kernels read them.
    fn bring_masks(&self, chunk: Chunk<'_>) {
        let Some(sparse) = &self.sparse else {
            return;
        };
        if let Some(masks) = chunk.masks {
            for (bits, masks) in sparse.bits.iter().zip(masks) {
                let write = |buffer: &wgpu::Buffer, bits: &Bits| {
                    self.gpu
                        .write(buffer, 0, bytemuck::cast_slice(bits.words()));
                };
                if let (Some(buffer), Some(input)) = (&bits.input, &masks.input) {
                    write(buffer, input);
                }
                write(&bits.neurons, &masks.neurons);
            }
        } else if let Sparsity::Given { neurons } = sparse.rule() {
            for (bits, own) in sparse.bits.iter().zip(neurons) {
                let words = own.row(0).repeat(chunk.tokens.len());
                self.gpu
                    .write(&bits.neurons, 0, bytemuck::cast_slice(&words));
            }
        }
    }

    fn recorder_of(&self, want: &Want, l: usize) -> Option<&Recorder> {
        let layer = l.checked_sub(1)?;
        let recorder = self.recorder.as_ref();
        recorder.filter(|_| want.linears.contains(&layer))
    }

    async fn plan_recording(&mut self, want: &Want) -> Result<(), EngineError> {
        if want.linears.is_empty() {
            return Ok(());
        }
        if self.sparse.is_some() {
            return Err(EngineError::Unsupported(
                "linear outputs of a sparse MLP".to_owned(),
            ));
        }
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
            // An emulation is of one prover, not of what a driver fuses.
            numerics: match self.rounding {
                Rounding::Keep => self.numerics,
                _ => Numerics::Strict,
            },
            rounding: self.rounding,
            cache: self.cache,
            activations: self.activations,
            acts: &self.acts,
            layers: &self.layers,
            final_norm: &self.final_norm,
            table: &self.table,
            lm_head: self.lm_head.as_ref().unwrap_or(&self.table),
            positions: &self.positions,
            is_sparse: self.sparse.is_some(),
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

/// Rows of so many multiply-adds that `budget` has room for: whole tiles where there is room for one, at least one row.
fn fit(budget: u64, a_row: u64, most: usize) -> usize {
    let rows = usize::try_from(budget / a_row.max(1))
        .unwrap_or(most)
        .min(most);
    match rows {
        // All that there is room for is one chunk, whole tiles or not.
        _ if rows == most => most,
        0..TILE_ROWS => rows.max(1),
        _ => rows - rows % TILE_ROWS,
    }
}

async fn positions(up: &mut Uploader<'_>, capacity: usize) -> Result<GpuPositions, EngineError> {
    let model = up.model;
    let config = model.config();
    if let Some(rope) = &config.rope {
        let table = rope_table(rope, config.head_dim, capacity);
        let table = up
            .gpu
            .storage_with("rope table", bytemuck::cast_slice(&table))
            .await?;
        return Ok(GpuPositions::Rotary(table));
    }
    // Its kernel reads buffers.
    let table = need(model, Role::Positions)?;
    let table = up.laid(table, None, false).await?;
    if table.shards.len() > 1 {
        return Err(EngineError::LimitTooSmall {
            what: "learned positions in one binding".to_owned(),
            need: table.bytes(table.n),
            have: up.gpu.info.max_binding,
        });
    }
    Ok(GpuPositions::Learned(Box::new(table)))
}

/// What came back from the device, taken piece by piece.
struct ReadBack<'a> {
    data: &'a [u8],
    rows: usize,
}

impl ReadBack<'_> {
    fn words(&mut self, width: usize) -> impl Iterator<Item = u32> + '_ {
        let (own, rest) = self.data.split_at(self.rows * width * 4);
        self.data = rest;
        own.chunks_exact(4)
            .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn floats(&mut self, width: usize) -> Vec<f32> {
        self.words(width).map(f32::from_bits).collect()
    }

    fn integers(&mut self, width: usize) -> Vec<i64> {
        self.words(width).map(|z| z.cast_signed().into()).collect()
    }

    /// Integers of two words, of rows so many words wide.
    fn pairs(&mut self, width: usize) -> Vec<i64> {
        let words: Vec<u32> = self.words(width).collect();
        let (pairs, _) = words.as_chunks();
        let whole =
            |[low, high]: &[u32; 2]| ((u64::from(*high) << 32) | u64::from(*low)).cast_signed();
        pairs.iter().map(whole).collect()
    }

    fn bits(&mut self, width: usize) -> Result<Bits, EngineError> {
        let words = self.words(width.div_ceil(32)).collect();
        Bits::from_words(width, words)
            .ok_or_else(|| EngineError::Device("a mask has bits beyond its width".to_owned()))
    }

    /// All that is left, as floats.
    fn rest(self) -> Vec<f32> {
        floats(self.data).collect()
    }
}
