//! The audit on a GPU: buffers made once, a plan for each layer, one read-back for each chunk of rows.

use std::sync::Arc;

use super::{GROUPS, HeadProbe, LayerProbe, LayerRows, LayerSeen, Probe, Rotation, Seen};
use crate::engine::{Monitor, linear_widths};
use crate::forward::check_loops;
use crate::gpu::{Bound, Memory, Texels, floats};
use crate::kernels::add::{self, Addend};
use crate::kernels::matmul::Epilogue;
use crate::kernels::{add_rmsnorm, matmul, residual, rmsnorm, rope_kv, row_energy, silu_mul};
use crate::kv_cache::{KvCache, KvCaches};
use crate::plan::{Draft, Rows, Stage, Submit, Work, taken};
use crate::{EngineError, Gpu, Numerics, Rounding};
use assay_model::{Dtype, ModelConfig, RopeLayout};

const STRICT: Numerics = Numerics::Strict;

/// Activations, all f32 [chunk, width], and the caches.
struct Activations {
    before: wgpu::Buffer,
    after: wgpu::Buffer,
    mid: wgpu::Buffer,
    x: wgpu::Buffer,
    /// The trace's rows, before biases.
    outputs: [wgpu::Buffer; 7],
    /// The same with biases, where there are any; the rotated queries in any case.
    biased: [wgpu::Buffer; 7],
    attended: wgpu::Buffer,
    gated: wgpu::Buffer,
    kv: KvCache,
    rope: wgpu::Buffer,
    /// What products take, where they take it from a texture.
    texels: Option<Texels>,
}

pub(super) struct GpuAuditor {
    gpu: Arc<Gpu>,
    config: ModelConfig,
    rounding: Rounding,
    layout: RopeLayout,
    chunk: usize,
    acts: Activations,
    plan: Option<Plan>,
}

/// A layer's plan: its stage, and what it leaves to be read.
struct Plan {
    stage: Stage,
    looks: Vec<Look>,
}

/// What is seen of the products that share an input.
struct Look {
    /// Products, by place in `LINEARS`.
    products: Vec<usize>,
    /// Columns of `seen` and `magnitudes` by product: projections, others, magnitudes.
    columns: Vec<(usize, usize, usize)>,
    /// [chunk, sum of projections and others]
    seen: wgpu::Buffer,
    /// [chunk, sum of magnitudes]
    magnitudes: wgpu::Buffer,
    /// [chunk]
    energy: wgpu::Buffer,
    /// By product, [2 chunk + projections]
    residuals: Vec<wgpu::Buffer>,
}

impl GpuAuditor {
    pub async fn new(
        gpu: &Arc<Gpu>,
        config: &ModelConfig,
        rounding: Rounding,
        rotation: Rotation,
        capacity: usize,
        chunk: usize,
    ) -> Result<Self, EngineError> {
        check_loops(gpu, config, capacity)?;
        let rows =
            async |what: &str, width: usize| gpu.storage(what, (chunk * width * 4) as u64).await;
        let (mut outputs, mut biased) = (Vec::new(), Vec::new());
        for width in linear_widths(config) {
            outputs.push(rows("opened outputs", width).await?);
            biased.push(rows("biased outputs", width).await?);
        }
        let seven = |list: Vec<wgpu::Buffer>| {
            <[wgpu::Buffer; 7]>::try_from(list)
                .map_err(|_| EngineError::Device("seven buffers are not seven".to_owned()))
        };
        let caches = KvCaches::new(gpu, config, capacity, chunk).await?;
        let hidden = config.hidden;
        let widest = linear_widths(config)
            .into_iter()
            .chain([config.vocab, hidden, config.q_dim(), config.intermediate])
            .filter(|width| matmul::takes_texels(gpu, Dtype::F32, *width))
            .fold(1, usize::max);
        let acts = Activations {
            before: rows("hidden state before", hidden).await?,
            after: rows("hidden state after", hidden).await?,
            mid: rows("hidden state after attention", hidden).await?,
            x: rows("normed hidden state", hidden).await?,
            outputs: seven(outputs)?,
            biased: seven(biased)?,
            attended: rows("attention output", config.q_dim()).await?,
            gated: rows("gated", config.intermediate).await?,
            kv: caches.layer(gpu, config).await?,
            rope: gpu
                .storage_with("rope table", bytemuck::cast_slice(&rotation.table))
                .await?,
            texels: matmul::rows_in_texels(gpu, chunk, widest).await?,
        };
        Ok(Self {
            gpu: Arc::clone(gpu),
            config: config.clone(),
            rounding,
            layout: rotation.layout,
            chunk,
            acts,
            plan: None,
        })
    }

    /// Plans a layer. Its probe's values go to the device here.
    pub async fn begin(&mut self, probe: &LayerProbe<'_>) -> Result<(), EngineError> {
        // The last layer's buffers go before the next one's come.
        self.plan = None;
        let plan = self.layer_plan(probe).await?;
        self.plan = Some(plan);
        Ok(())
    }

    async fn layer_plan(&self, probe: &LayerProbe<'_>) -> Result<Plan, EngineError> {
        let (a, config) = (&self.acts, &self.config);
        let mut given: Vec<Given> = Vec::with_capacity(4);
        for group in GROUPS {
            let products: Vec<&Probe<'_>> = group.iter().map(|&i| &probe.products[i]).collect();
            given.push(self.given(&products).await?);
        }
        let attn_norm = self.vector(probe.attn_norm).await?;
        let mlp_norm = self.vector(probe.mlp_norm).await?;
        let mut biases = Vec::with_capacity(7);
        for product in &probe.products {
            biases.push(match product.bias {
                Some(bias) => Some(self.vector(bias).await?),
                None => None,
            });
        }
        let mut looks = Vec::with_capacity(4);
        for (group, given) in GROUPS.iter().zip(&given) {
            looks.push(self.look(group, given).await?);
        }
        let width = linear_widths(config);
        // Where an output is with its bias; without one, where the trace's rows are.
        let used = |i: usize| {
            if biases[i].is_some() {
                &a.biased[i]
            } else {
                &a.outputs[i]
            }
        };
        let mut steps: Vec<Draft<'_>> = Vec::new();
        for (i, bias) in biases.iter().enumerate() {
            if let Some(bias) = bias {
                steps.push(self.sum(Addend::Bias, &a.outputs[i], bias, &a.biased[i], width[i]));
            }
        }
        steps.push(self.norm(&a.before, &attn_norm));
        self.see(&mut steps, &given[0], &looks[0], &a.x, GROUPS[0]);
        let [keys, values] = a.kv.written();
        steps.push(Draft::new(
            rope_kv::key(self.layout, STRICT, self.rounding),
            vec![
                (1, &a.rope),
                (2, used(1)),
                (3, used(2)),
                (4, &a.biased[0]),
                (5, keys),
                (6, values),
            ],
            Work::Rope {
                heads: config.heads as u32,
                kv_heads: config.kv_heads as u32,
                half: config.head_dim as u32 / 2,
                first_row: a.kv.first_row(),
            },
        ));
        steps.extend(a.kv.put_in_texels([keys, values], config));
        let (kinds, q) = ((STRICT, self.rounding), &a.biased[0]);
        steps.push(a.kv.attention(&self.gpu, config, kinds, q, &a.attended));
        self.see(&mut steps, &given[1], &looks[1], &a.attended, GROUPS[1]);
        steps.push(self.sum_and_norm(&a.before, used(3), &a.mid, &mlp_norm));
        self.see(&mut steps, &given[2], &looks[2], &a.x, GROUPS[2]);
        steps.push(Draft::new(
            silu_mul::key(STRICT, self.rounding),
            vec![(1, used(4)), (2, used(5)), (3, &a.gated)],
            Work::Element {
                width: config.intermediate as u32,
            },
        ));
        self.see(&mut steps, &given[3], &looks[3], &a.gated, GROUPS[3]);
        steps.push(self.sum(Addend::Rows, &a.mid, used(6), &a.after, config.hidden));
        Ok(Plan {
            stage: Stage::new(&self.gpu, steps).await?,
            looks,
        })
    }

    /// Sees one chunk of rows of the layer that was begun.
    pub async fn layer(
        &mut self,
        probe: &LayerProbe<'_>,
        pos0: usize,
        rows: LayerRows<'_>,
        monitor: &mut dyn Monitor,
    ) -> Result<LayerSeen, EngineError> {
        let Some(plan) = &self.plan else {
            return Err(EngineError::Device("no layer was begun".to_owned()));
        };
        let (a, hidden) = (&self.acts, self.config.hidden);
        let count = rows.before.len() / hidden;
        self.gpu
            .write(&a.before, 0, bytemuck::cast_slice(rows.before));
        for (buffer, values) in a.outputs.iter().zip(rows.outputs) {
            self.gpu.write(buffer, 0, bytemuck::cast_slice(values));
        }
        if probe.products[0].bias.is_none() {
            // Queries are rotated in place, and seen as they are opened.
            self.gpu
                .write(&a.biased[0], 0, bytemuck::cast_slice(rows.outputs[0]));
        }
        let span = Rows {
            count: count as u32,
            pos0: pos0 as u32,
            head_row: 0,
        };
        plan.stage.set_params(&self.gpu, span);
        let mut submit = Submit::new(&self.gpu);
        submit.stage(&plan.stage, span, monitor).await?;
        let after_bytes = (count * hidden * 4) as u64;
        let total = plan.looks.iter().map(|look| look.bytes(count)).sum::<u64>() + after_bytes;
        let staging = self.read_back(total).await?;
        let mut at = 0;
        for look in &plan.looks {
            at = look.copy(&mut submit, &staging, at, count);
        }
        submit.copy(&a.after, &staging, at, after_bytes);
        submit.send();
        let data = self.gpu.read(&staging, total).await?;
        let mut floats = floats(&data);
        let mut products: [Seen; 7] = Default::default();
        for look in &plan.looks {
            for (i, seen) in look.take(&mut floats, count) {
                products[i] = seen;
            }
        }
        let after = floats.collect();
        Ok(LayerSeen { products, after })
    }

    pub async fn head(
        &mut self,
        probe: &HeadProbe<'_>,
        hidden: &[f32],
        logits: &[f32],
        monitor: &mut dyn Monitor,
    ) -> Result<Seen, EngineError> {
        let a = &self.acts;
        let given = self.given(&[&probe.product]).await?;
        let norm = self.vector(probe.norm).await?;
        let look = self.look(&[0], &given).await?;
        // Logits are wide, so they come in as many rows at a time as fit a binding.
        let (n, width) = (probe.product.n, self.config.hidden);
        let fit = (self.gpu.info.max_binding / 2 / (n as u64 * 4)).max(1) as usize;
        let step = self.chunk.min(fit);
        let given_logits = self
            .gpu
            .storage("opened logits", (step * n * 4) as u64)
            .await?;
        let mut steps = vec![self.norm(&a.before, &norm)];
        self.see_outputs(&mut steps, &given, &look, &a.x, &[&given_logits]);
        let stage = Stage::new(&self.gpu, steps).await?;
        let mut all = Seen::default();
        for (hidden, logits) in hidden.chunks(step * width).zip(logits.chunks(step * n)) {
            let count = hidden.len() / width;
            self.gpu.write(&a.before, 0, bytemuck::cast_slice(hidden));
            self.gpu
                .write(&given_logits, 0, bytemuck::cast_slice(logits));
            let span = Rows {
                count: count as u32,
                pos0: 0,
                head_row: 0,
            };
            stage.set_params(&self.gpu, span);
            let mut submit = Submit::new(&self.gpu);
            submit.stage(&stage, span, monitor).await?;
            let total = look.bytes(count);
            let staging = self.read_back(total).await?;
            look.copy(&mut submit, &staging, 0, count);
            submit.send();
            let data = self.gpu.read(&staging, total).await?;
            for (_, seen) in look.take(&mut floats(&data), count) {
                all.append(seen);
            }
        }
        Ok(all)
    }

    async fn read_back(&self, bytes: u64) -> Result<wgpu::Buffer, EngineError> {
        let usage = wgpu::BufferUsages::COPY_DST | wgpu::BufferUsages::MAP_READ;
        self.gpu.buffer("read-back", bytes, usage).await
    }

    async fn vector(&self, values: &[f32]) -> Result<wgpu::Buffer, EngineError> {
        self.gpu
            .storage_with("norm or bias", bytemuck::cast_slice(values))
            .await
    }

    /// What the verifier brings, rows of `k` numbers, where products like it best. No rows at all are a buffer, which nobody reads.
    async fn rows(&self, values: &[f32], k: usize) -> Result<Memory, EngineError> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let fits = !values.is_empty() && self.gpu.fits_texels(values.len() / k.max(1), 4 * k);
        Ok(
            match fits && matmul::takes_texels(&self.gpu, Dtype::F32, k) {
                true => Memory::Texels(self.gpu.texels_with("projections", 4 * k, bytes).await?),
                false => Memory::Buffer(self.gpu.storage_with("projections", bytes).await?),
            },
        )
    }

    async fn given(&self, products: &[&Probe<'_>]) -> Result<Given, EngineError> {
        let joined = |of: fn(&Probe<'_>) -> Vec<f32>| -> Vec<f32> {
            products.iter().flat_map(|p| of(p)).collect()
        };
        let on_x = joined(|p| p.on_x.to_vec());
        let on_magnitude = joined(|p| p.on_magnitude.to_vec());
        let mut on_y = Vec::with_capacity(products.len());
        for product in products {
            on_y.push((self.rows(product.on_y, product.n).await?, product.n));
        }
        let columns = products
            .iter()
            .map(|p| (p.projections(), p.others(), p.magnitudes()))
            .collect();
        let k = products.first().map_or(0, |p| p.k);
        Ok(Given {
            on_x: self.rows(&on_x, k).await?,
            on_magnitude: self.rows(&on_magnitude, k).await?,
            on_y,
            columns,
            k,
            yr: self
                .gpu
                .storage(
                    "projected outputs",
                    (self.chunk * products.iter().map(|p| p.projections()).sum::<usize>() * 4)
                        as u64,
                )
                .await?,
        })
    }

    async fn look(&self, products: &[usize], given: &Given) -> Result<Look, EngineError> {
        let rows = async |what: &str, width: usize| {
            self.gpu
                .storage(what, (self.chunk * width.max(1) * 4) as u64)
                .await
        };
        let columns = given.columns.clone();
        let mut residuals = Vec::with_capacity(columns.len());
        for (projections, ..) in &columns {
            let bytes = ((2 * self.chunk + projections) * 4) as u64;
            residuals.push(self.gpu.storage("residuals", bytes).await?);
        }
        Ok(Look {
            products: products.to_vec(),
            seen: rows("seen", columns.iter().map(|c| c.0 + c.1).sum()).await?,
            magnitudes: rows("magnitudes", columns.iter().map(|c| c.2).sum()).await?,
            energy: rows("energy", 1).await?,
            residuals,
            columns,
        })
    }

    /// A product of `x` with what the verifier brings.
    fn product<'a>(
        &'a self,
        steps: &mut Vec<Draft<'a>>,
        x: &'a wgpu::Buffer,
        w: &'a Memory,
        y: &'a wgpu::Buffer,
        (n, k): (usize, usize),
        of_magnitudes: bool,
    ) {
        let many = self.gpu.info.variants.matmul;
        let path = many.reading(w.is_texels()).for_columns(n);
        let key = match of_magnitudes {
            true => matmul::key_of_magnitudes(path, k, STRICT),
            false => matmul::key(path, Dtype::F32, k, Epilogue::default(), STRICT),
        };
        let work = Work::Matmul {
            path,
            n: n as u32,
            k: k as u32,
            stride: n as u32,
            n0: 0,
            w_row0: 0,
        };
        let x = taken(steps, path, self.acts.texels.as_ref(), x, k);
        let bound: Vec<(u32, Bound<'a>)> = vec![(1, x), (2, w.bound()), (5, y.into())];
        steps.push(Draft::new(key, bound, work));
    }

    /// Steps that see the opened outputs of `group`, whose input is `x`.
    fn see<'a>(
        &'a self,
        steps: &mut Vec<Draft<'a>>,
        given: &'a Given,
        look: &'a Look,
        x: &'a wgpu::Buffer,
        group: &[usize],
    ) {
        let outputs: Vec<&wgpu::Buffer> = group.iter().map(|&i| &self.acts.outputs[i]).collect();
        self.see_outputs(steps, given, look, x, &outputs);
    }

    fn see_outputs<'a>(
        &'a self,
        steps: &mut Vec<Draft<'a>>,
        given: &'a Given,
        look: &'a Look,
        x: &'a wgpu::Buffer,
        outputs: &[&'a wgpu::Buffer],
    ) {
        let k = given.k;
        let stride: usize = given.columns.iter().map(|c| c.0 + c.1).sum();
        let magnitudes: usize = given.columns.iter().map(|c| c.2).sum();
        self.product(steps, x, &given.on_x, &look.seen, (stride, k), false);
        if magnitudes > 0 {
            let (w, y) = (&given.on_magnitude, &look.magnitudes);
            self.product(steps, x, w, y, (magnitudes, k), true);
        }
        steps.push(Draft::new(
            row_energy::key(STRICT),
            vec![(1, x), (2, &look.energy)],
            Work::RowEnergy { width: k as u32 },
        ));
        let mut first = 0;
        for (i, (projections, others, _)) in given.columns.iter().enumerate() {
            let (on_y, n) = &given.on_y[i];
            let shape = (*projections, *n);
            self.product(steps, outputs[i], on_y, &given.yr, shape, false);
            steps.push(Draft::new(
                residual::key(STRICT),
                vec![(1, &given.yr), (2, &look.seen), (3, &look.residuals[i])],
                Work::Residual {
                    projections: *projections as u32,
                    stride: stride as u32,
                    first: first as u32,
                },
            ));
            first += projections + others;
        }
    }

    fn norm<'a>(&'a self, x: &'a wgpu::Buffer, weight: &'a wgpu::Buffer) -> Draft<'a> {
        Draft::new(
            rmsnorm::key(STRICT, self.rounding),
            vec![(1, x), (2, weight), (3, &self.acts.x)],
            Work::Norm {
                width: self.config.hidden as u32,
                eps: self.config.norm_eps,
            },
        )
    }

    /// `a + b` into `sum`, and its norm into `x`.
    fn sum_and_norm<'a>(
        &'a self,
        a: &'a wgpu::Buffer,
        b: &'a wgpu::Buffer,
        sum: &'a wgpu::Buffer,
        weight: &'a wgpu::Buffer,
    ) -> Draft<'a> {
        Draft::new(
            add_rmsnorm::key(false, STRICT, self.rounding),
            vec![(1, a), (2, b), (3, weight), (4, sum), (5, &self.acts.x)],
            Work::AddNorm {
                width: self.config.hidden as u32,
                eps: self.config.norm_eps,
            },
        )
    }

    fn sum<'a>(
        &self,
        addend: Addend,
        a: &'a wgpu::Buffer,
        b: &'a wgpu::Buffer,
        y: &'a wgpu::Buffer,
        width: usize,
    ) -> Draft<'a> {
        Draft::new(
            add::key(addend, STRICT, self.rounding),
            vec![(1, a), (2, b), (3, y)],
            Work::Element {
                width: width as u32,
            },
        )
    }
}

/// What the verifier brings to the products that share an input, on the device.
struct Given {
    on_x: Memory,
    on_magnitude: Memory,
    /// By product, with the width of its output.
    on_y: Vec<(Memory, usize)>,
    columns: Vec<(usize, usize, usize)>,
    /// Width of the input.
    k: usize,
    /// One product's projected outputs at a time.
    yr: wgpu::Buffer,
}

impl Look {
    fn widths(&self) -> (usize, usize) {
        let seen = self.columns.iter().map(|c| c.0 + c.1).sum();
        let magnitudes = self.columns.iter().map(|c| c.2).sum();
        (seen, magnitudes)
    }

    fn bytes(&self, rows: usize) -> u64 {
        let (seen, magnitudes) = self.widths();
        let residuals: usize = self.columns.iter().map(|c| 2 * rows + c.0).sum();
        ((rows * (seen + magnitudes + 1) + residuals) * 4) as u64
    }

    fn copy(&self, submit: &mut Submit<'_>, staging: &wgpu::Buffer, at: u64, rows: usize) -> u64 {
        let (seen, magnitudes) = self.widths();
        let mut at = submit.copy(&self.seen, staging, at, (rows * seen * 4) as u64);
        if magnitudes > 0 {
            at = submit.copy(
                &self.magnitudes,
                staging,
                at,
                (rows * magnitudes * 4) as u64,
            );
        }
        at = submit.copy(&self.energy, staging, at, (rows * 4) as u64);
        for (buffer, (projections, ..)) in self.residuals.iter().zip(&self.columns) {
            at = submit.copy(buffer, staging, at, ((2 * rows + projections) * 4) as u64);
        }
        at
    }

    /// Takes what [`copy`](Self::copy) left, by product.
    fn take(&self, values: &mut impl Iterator<Item = f32>, rows: usize) -> Vec<(usize, Seen)> {
        let (wide, narrow) = self.widths();
        let mut take = |count: usize| -> Vec<f32> { values.by_ref().take(count).collect() };
        let (seen, magnitudes, energy) = (take(rows * wide), take(rows * narrow), take(rows));
        let (mut at, mut at_magnitude) = (0, 0);
        let mut list = Vec::with_capacity(self.products.len());
        for (i, (projections, others, count)) in self.products.iter().zip(&self.columns) {
            let columns = |from: &[f32], width: usize, first: usize, count: usize| -> Vec<f32> {
                if width == 0 {
                    return Vec::new();
                }
                let row = |row: &[f32]| row[first..first + count].to_vec();
                from.chunks_exact(width).flat_map(row).collect()
            };
            list.push((
                *i,
                Seen {
                    residual_energy: take(rows),
                    residual_top: take(rows),
                    projection_energy: take(*projections),
                    x_energy: energy.clone(),
                    others: columns(&seen, wide, at + projections, *others),
                    magnitudes: columns(&magnitudes, narrow, at_magnitude, *count),
                },
            ));
            at += projections + others;
            at_magnitude += count;
        }
        list
    }
}
