//! What a layer is made of: drafts of dispatches, from a model's weights and activations.

use super::upload::{GpuMatrix, Sums};
use super::weights::{Activations, GpuLayer, GpuNorm, GpuPositions, Rounded};
use crate::gpu::{Bound, Fused, MatmulKernel, Variants};
use crate::kernels::add::{self, Addend};
use crate::kernels::matmul::Epilogue;
use crate::kernels::{
    add_position, add_rmsnorm, embed, fixed_sums, kv_write, layernorm, matmul, matmul_fixed,
    matmul_i8, relu, rmsnorm, rope_kv, round_heads, round8, scale_sums, silu_mul,
};
use crate::plan::{Draft, Stage, Work, taken};
use crate::{ActivationType, CacheFormat, EngineError, Gpu, Numerics, Rounding};
use assay_model::{ModelConfig, Rope, RopeLayout};

/// A whole forward pass for one batch size class (many rows, or one).
pub(super) struct Program {
    pub embed: Stage,
    pub layers: Vec<Stage>,
    pub head: Stage,
}

/// How products are made for one batch size class.
#[derive(Clone, Copy)]
pub(super) struct Products {
    pub kernel: MatmulKernel,
    pub fused: Fused,
}

impl Products {
    /// Of many rows.
    pub fn many(variants: &Variants) -> Self {
        Self {
            kernel: variants.matmul,
            fused: variants.fused,
        }
    }

    /// Of one row.
    pub fn one(variants: &Variants) -> Self {
        Self {
            kernel: variants.single,
            fused: variants.fused_single,
        }
    }

    /// The same for who keeps `rounding` of what each puts out: fused kernels keep what lies between their operations.
    pub fn keeping(self, rounding: Rounding) -> Self {
        let fused = match rounding {
            Rounding::Keep => self.fused,
            _ => Fused {
                qkv: false,
                gated: false,
            },
        };
        Self { fused, ..self }
    }
}

/// Everything that bind groups refer to while a program is built.
pub(super) struct Planner<'a> {
    pub gpu: &'a Gpu,
    pub config: &'a ModelConfig,
    pub numerics: Numerics,
    /// What is kept of values between operations.
    pub rounding: Rounding,
    /// What the cache keeps of keys and values.
    pub cache: CacheFormat,
    pub activations: ActivationType,
    pub acts: &'a Activations,
    pub layers: &'a [GpuLayer],
    pub final_norm: &'a GpuNorm,
    pub table: &'a GpuMatrix,
    pub lm_head: &'a GpuMatrix,
    pub positions: &'a GpuPositions,
    /// Whether MLPs are computed by listed neurons, or by products as a whole.
    pub is_sparse: bool,
}

impl<'a> Planner<'a> {
    /// Plans everything for such `products`; `mlp` adds the steps of a layer's MLP, from the normed hidden state on.
    pub async fn program(
        &self,
        products: Products,
        mlp: impl Fn(&mut Vec<Draft<'a>>, usize, &'a GpuLayer),
    ) -> Result<Program, EngineError> {
        let mut layers = Vec::with_capacity(self.layers.len());
        for (l, layer) in self.layers.iter().enumerate() {
            let mut steps = Vec::new();
            self.begin(&mut steps, l);
            self.attention_half(&mut steps, layer, products);
            mlp(&mut steps, l, layer);
            layers.push(Stage::new(self.gpu, steps).await?);
        }
        let mut head = vec![self.norm(&self.acts.h, self.final_norm)];
        self.product(
            &mut head,
            products.kernel,
            self.lm_head,
            &self.acts.x,
            None,
            &self.acts.logits,
        );
        Ok(Program {
            embed: Stage::new(self.gpu, self.embedding()).await?,
            layers,
            head: Stage::new(self.gpu, head).await?,
        })
    }

    /// The same with the MLP that computes every neuron.
    pub async fn dense(&self, products: Products) -> Result<Program, EngineError> {
        self.program(products, |steps, l, layer| {
            self.activations(steps, layer, products);
            let (a, path) = (self.acts, products.kernel);
            if self.sums_in_norm(&layer.down) {
                self.product(steps, path, &layer.down, &a.gated, None, &a.x);
                self.end(steps, l, &a.x);
                return;
            }
            self.product(steps, path, &layer.down, &a.gated, Some(&a.mid), &a.h);
        })
        .await
    }

    /// Whether a product with `w` leaves its residual to the norm behind it.
    fn sums_in_norm(&self, w: &GpuMatrix) -> bool {
        let is_rms = self.final_norm.bias.is_none();
        self.gpu.info.variants.sums_in_norm && is_rms && w.sums.is_none()
    }

    /// The norm that begins layer `l`, if the layer before has not made it.
    pub fn begin(&self, steps: &mut Vec<Draft<'a>>, l: usize) {
        let before = l.checked_sub(1).map(|before| &self.layers[before]);
        if !before.is_some_and(|before| self.ends_with_norm(before)) {
            steps.push(self.norm(&self.acts.h, &self.layers[l].attn_norm));
        }
    }

    /// Whether `layer` ends with the next one's norm: if its MLP is computed whole, by products that add no residual.
    fn ends_with_norm(&self, layer: &GpuLayer) -> bool {
        !self.is_sparse && self.sums_in_norm(&layer.down)
    }

    /// The residual stream behind layer `l`, whose MLP gave `down`; and the next layer's norm, where that does not make it itself.
    pub fn end(&self, steps: &mut Vec<Draft<'a>>, l: usize, down: &'a wgpu::Buffer) {
        let a = self.acts;
        match self.layers.get(l + 1) {
            Some(next) if self.ends_with_norm(&self.layers[l]) => {
                self.sum_and_norm(steps, &a.mid, down, &a.h, &next.attn_norm);
            }
            _ => steps.push(self.sum(&a.mid, down, &a.h)),
        }
    }

    fn embedding(&self) -> Vec<Draft<'a>> {
        let width = self.config.hidden as u32;
        let look_up = |shard: &'a super::upload::Shard| {
            Draft::new(
                embed::key(self.table.dtype, self.table.k, self.table.is_texels()),
                vec![
                    (1, Bound::from(&self.acts.ids)),
                    (2, shard.weights.bound()),
                    (3, (&self.acts.h).into()),
                ],
                Work::Embed {
                    width,
                    first: shard.first as u32,
                    count: shard.rows as u32,
                },
            )
        };
        let mut steps: Vec<Draft<'a>> = self.table.shards.iter().map(look_up).collect();
        if let GpuPositions::Learned(table) = self.positions {
            // One shard: the loader refuses a table that needs more.
            steps.extend(table.shards.iter().map(|shard| {
                Draft::new(
                    add_position::key(table.dtype, table.k, self.numerics),
                    vec![(2, shard.weights.bound()), (3, (&self.acts.h).into())],
                    Work::Position {
                        width,
                        offset: ModelConfig::POSITION_OFFSET as u32,
                    },
                )
            }));
        }
        steps
    }

    /// A layer from its first products up to its MLP: what that takes is in `x`, and `mid` is added to what it gives.
    fn attention_half(&self, steps: &mut Vec<Draft<'a>>, layer: &'a GpuLayer, products: Products) {
        let (a, path) = (self.acts, products.kernel);
        match (&layer.qkv, self.cache_stacked(layer)) {
            (Some(qkv), Some(cache)) if products.fused.qkv => {
                self.product(steps, path, qkv, &a.x, None, &a.qkv);
                steps.push(cache);
                self.keep(steps, layer);
            }
            _ => {
                self.product(steps, path, &layer.q, &a.x, None, &a.q);
                self.product(steps, path, &layer.k, &a.x, None, &a.k);
                self.product(steps, path, &layer.v, &a.x, None, &a.v);
                self.cache(steps, &a.k, &a.v, layer);
            }
        }
        steps.push(self.attention(layer));
        if self.sums_in_norm(&layer.o) {
            self.product(steps, path, &layer.o, &a.attended, None, &a.x);
            self.sum_and_norm(steps, &a.h, &a.x, &a.mid, &layer.mlp_norm);
            return;
        }
        self.product(steps, path, &layer.o, &a.attended, Some(&a.h), &a.mid);
        steps.push(self.norm(&a.mid, &layer.mlp_norm));
    }

    /// What the down projection takes, from the normed hidden state.
    pub fn activations(&self, steps: &mut Vec<Draft<'a>>, layer: &'a GpuLayer, products: Products) {
        let (a, path) = (self.acts, products.kernel);
        if let (Some(both), true) = (&layer.gate_up, products.fused.gated) {
            self.gated(steps, path, both);
            return;
        }
        if let Some(gate) = &layer.gate {
            self.product(steps, path, gate, &a.x, None, &a.gate);
        }
        self.product(steps, path, &layer.up, &a.x, None, &a.up);
        steps.push(self.activation(&a.gate, &a.up, layer.gate.is_some()));
    }

    /// Gate, up and their activation, from one matrix with the rows of both.
    fn gated(&self, steps: &mut Vec<Draft<'a>>, path: MatmulKernel, both: &'a GpuMatrix) {
        let a = self.acts;
        let path = path.reading(both.is_texels());
        let mut buffers: Vec<(u32, Bound<'a>)> = vec![
            (1, taken(steps, path, a.texels.as_ref(), &a.x, both.k)),
            (2, both.only()),
            (5, (&a.gated).into()),
        ];
        if matmul::gated_takes_scratch(path) {
            buffers.push((6, (&a.up).into()));
        }
        buffers.extend(both.bias.as_ref().map(|bias| (3, bias.into())));
        let bias = both.bias.is_some();
        let work = Work::Gated {
            path,
            n: both.n as u32 / 2,
            k: both.k as u32,
        };
        let key = matmul::gated_key(path, both.dtype, both.k, bias, self.numerics);
        steps.push(Draft::new(key, buffers, work).reading(both.bytes(both.n)));
    }

    /// The MLP's activation.
    pub fn activation(
        &self,
        gate: &'a wgpu::Buffer,
        up: &'a wgpu::Buffer,
        has_gate: bool,
    ) -> Draft<'a> {
        match has_gate {
            true => self.silu(gate, up),
            false => self.relu(up),
        }
    }

    /// The table of angles and which columns are pairs, where positions are rotary.
    fn rotary(&self) -> Option<(&'a wgpu::Buffer, RopeLayout)> {
        match (self.positions, &self.config.rope) {
            (GpuPositions::Rotary(table), Some(Rope { layout, .. })) => Some((table, *layout)),
            _ => None,
        }
    }

    /// `k` and `v` into the layer's cache; where positions are rotary, queries are rotated in place, and keys on their way.
    pub fn cache(
        &self,
        steps: &mut Vec<Draft<'a>>,
        k: &'a wgpu::Buffer,
        v: &'a wgpu::Buffer,
        layer: &'a GpuLayer,
    ) {
        let [keys, values] = layer.kv.written();
        if let Some((table, layout)) = self.rotary() {
            steps.push(Draft::new(
                rope_kv::key(layout, self.numerics, self.rounding),
                vec![
                    (1, table),
                    (2, k),
                    (3, v),
                    (4, &self.acts.q),
                    (5, keys),
                    (6, values),
                ],
                self.rotation(layer),
            ));
        } else {
            if self.cache == CacheFormat::Exact
                && let Some(put) = layer.kv.put_in_texels([k, v], self.config)
            {
                steps.push(put);
                return;
            }
            steps.push(Draft::new(
                kv_write::key(),
                vec![(1, k), (2, v), (3, keys), (4, values)],
                Work::KvWrite {
                    width: self.config.kv_dim() as u32,
                    first_row: layer.kv.first_row(),
                },
            ));
        }
        self.keep(steps, layer);
    }

    /// The same of queries, keys and values that one product left side by side; only where positions are rotary.
    fn cache_stacked(&self, layer: &'a GpuLayer) -> Option<Draft<'a>> {
        let (table, layout) = self.rotary()?;
        let (a, [keys, values]) = (self.acts, layer.kv.written());
        Some(Draft::new(
            rope_kv::stacked_key(layout, self.numerics, Rounding::Keep),
            vec![(1, table), (2, &a.qkv), (4, &a.q), (5, keys), (6, values)],
            self.rotation(layer),
        ))
    }

    /// The chunk's keys and values from where they were written to where attention reads them; before that, what a cheaper cache makes of them.
    fn keep(&self, steps: &mut Vec<Draft<'a>>, layer: &'a GpuLayer) {
        let written = layer.kv.written();
        let work = Work::RoundHeads {
            heads: self.config.kv_heads as u32,
            head_dim: self.config.head_dim as u32,
            first_row: layer.kv.first_row(),
        };
        if let Some(key) = round_heads::key(self.cache, self.numerics) {
            steps.extend(written.map(|rows| Draft::new(key.clone(), vec![(1, rows)], work)));
        }
        steps.extend(layer.kv.put_in_texels(written, self.config));
    }

    fn rotation(&self, layer: &GpuLayer) -> Work {
        Work::Rope {
            heads: self.config.heads as u32,
            kv_heads: self.config.kv_heads as u32,
            half: self.config.head_dim as u32 / 2,
            first_row: layer.kv.first_row(),
        }
    }

    pub fn attention(&self, layer: &'a GpuLayer) -> Draft<'a> {
        let (a, kinds) = (self.acts, (self.numerics, self.rounding));
        let kv = &layer.kv;
        kv.attention(self.gpu, self.config, kinds, &a.q, &a.attended)
    }

    pub fn silu(&self, gate: &'a wgpu::Buffer, up: &'a wgpu::Buffer) -> Draft<'a> {
        Draft::new(
            silu_mul::key(self.numerics, self.rounding),
            vec![(1, gate), (2, up), (3, &self.acts.gated)],
            Work::Element {
                width: self.config.intermediate as u32,
            },
        )
    }

    fn relu(&self, up: &'a wgpu::Buffer) -> Draft<'a> {
        Draft::new(
            relu::key(),
            vec![(1, up), (2, &self.acts.gated)],
            Work::Element {
                width: self.config.intermediate as u32,
            },
        )
    }

    pub fn norm(&self, x: &'a wgpu::Buffer, norm: &'a GpuNorm) -> Draft<'a> {
        let mut buffers = vec![(1, x), (2, &norm.weight), (3, &self.acts.x)];
        buffers.extend(norm.bias.as_ref().map(|bias| (4, bias)));
        let key = match norm.bias {
            Some(_) => layernorm::key(self.numerics),
            None => rmsnorm::key(self.numerics, self.rounding),
        };
        // Both norms have the same parameters.
        let work = Work::Norm {
            width: self.config.hidden as u32,
            eps: self.config.norm_eps,
        };
        Draft::new(key, buffers, work)
    }

    /// `a + b` into `sum`, and its norm into `x`, where `b` may lie: one dispatch where the norm has a kernel for both.
    pub fn sum_and_norm(
        &self,
        steps: &mut Vec<Draft<'a>>,
        a: &'a wgpu::Buffer,
        b: &'a wgpu::Buffer,
        sum: &'a wgpu::Buffer,
        norm: &'a GpuNorm,
    ) {
        if norm.bias.is_some() {
            steps.push(self.sum(a, b, sum));
            steps.push(self.norm(sum, norm));
            return;
        }
        let in_place = *b == self.acts.x;
        let mut buffers = vec![(1, a), (3, &norm.weight), (4, sum), (5, &self.acts.x)];
        if !in_place {
            buffers.push((2, b));
        }
        let work = Work::AddNorm {
            width: self.config.hidden as u32,
            eps: self.config.norm_eps,
        };
        let key = add_rmsnorm::key(in_place, self.numerics, self.rounding);
        steps.push(Draft::new(key, buffers, work));
    }

    /// Hidden states `a + b`.
    pub fn sum(&self, a: &'a wgpu::Buffer, b: &'a wgpu::Buffer, y: &'a wgpu::Buffer) -> Draft<'a> {
        Draft::new(
            add::key(Addend::Rows, self.numerics, self.rounding),
            vec![(1, a), (2, b), (3, y)],
            Work::Element {
                width: self.config.hidden as u32,
            },
        )
    }

    /// A product with the matrix's bias, if it has one, and a residual.
    pub fn product(
        &self,
        steps: &mut Vec<Draft<'a>>,
        path: MatmulKernel,
        w: &'a GpuMatrix,
        x: &'a wgpu::Buffer,
        residual: Option<&'a wgpu::Buffer>,
        y: &'a wgpu::Buffer,
    ) {
        let bias = w.bias.as_ref();
        if let Some(Rounded::Integers { sums, .. }) = &self.acts.rounded
            && w.sums.is_some()
        {
            self.sums(steps, path, w, x, sums);
            self.scaled(steps, w, sums, (bias, residual), y);
            return;
        }
        let x = self.rounded(steps, w, x);
        self.shards(steps, path, w, x, (bias, residual), y);
    }

    /// What a product with `w` takes in place of `x`: the same, or a copy that is rounded in blocks.
    fn rounded(
        &self,
        steps: &mut Vec<Draft<'a>>,
        w: &'a GpuMatrix,
        x: &'a wgpu::Buffer,
    ) -> &'a wgpu::Buffer {
        let blocks = self.activations.blocks(w.dtype);
        let (Some(blocks), Some(Rounded::Blocks(y))) = (blocks, &self.acts.rounded) else {
            return x;
        };
        steps.push(Draft::new(
            round8::blocks_key(blocks, self.numerics),
            vec![(1, x), (2, y)],
            Work::RoundBlocks {
                blocks,
                k: w.k as u32,
            },
        ));
        y
    }

    /// The integer sums of `w`, whose products are of integers, with `x` rounded to integers.
    pub fn sums(
        &self,
        steps: &mut Vec<Draft<'a>>,
        path: MatmulKernel,
        w: &'a GpuMatrix,
        x: &'a wgpu::Buffer,
        z: &'a wgpu::Buffer,
    ) {
        let (Some(Rounded::Integers { rows, scales, .. }), Some(sums)) =
            (&self.acts.rounded, &w.sums)
        else {
            return;
        };
        let k = w.k as u32;
        let (key, work) = match sums {
            Sums::Scaled(_) => (round8::rows_key(self.numerics), Work::RoundRows { k }),
            Sums::Fixed => (
                round8::integers_key(self.numerics),
                Work::RoundIntegers { k },
            ),
        };
        steps.push(Draft::new(key, vec![(1, x), (2, rows), (3, scales)], work));
        let one_row = path.is_for_one_row();
        for shard in &w.shards {
            let (n, stride, n0) = (shard.rows as u32, w.n as u32, shard.first as u32);
            let mut buffers: Vec<(u32, Bound<'a>)> =
                vec![(1, rows.into()), (2, shard.weights.bound()), (3, z.into())];
            let (key, work) = match sums {
                Sums::Scaled(_) => {
                    let shape = matmul_i8::Shape {
                        one_row,
                        n,
                        k,
                        stride,
                        n0,
                        w_first: 1,
                    };
                    (matmul_i8::key(true, one_row), Work::Integers(shape))
                }
                Sums::Fixed => {
                    buffers.push((4, scales.into()));
                    let shape = matmul_fixed::Shape {
                        dtype: w.dtype,
                        one_row,
                        n,
                        k,
                        stride,
                        n0,
                    };
                    (
                        matmul_fixed::key(w.dtype, true, one_row),
                        Work::Fixed(shape),
                    )
                }
            };
            steps.push(Draft::new(key, buffers, work).reading(w.bytes(shard.rows)));
        }
    }

    /// Numbers of the sums that [`sums`](Self::sums) made last.
    pub fn scaled(
        &self,
        steps: &mut Vec<Draft<'a>>,
        w: &'a GpuMatrix,
        z: &'a wgpu::Buffer,
        (bias, residual): (Option<&'a wgpu::Buffer>, Option<&'a wgpu::Buffer>),
        y: &'a wgpu::Buffer,
    ) {
        let (Some(Rounded::Integers { scales, .. }), Some(sums)) = (&self.acts.rounded, &w.sums)
        else {
            return;
        };
        let mut buffers = vec![(1, z), (6, y)];
        buffers.extend(bias.map(|b| (4, b)));
        buffers.extend(residual.map(|r| (5, r)));
        let epilogue = Epilogue {
            bias: bias.is_some(),
            residual: residual.is_some(),
        };
        let key = match sums {
            Sums::Scaled(own) => {
                buffers.extend([(2, scales), (3, own)]);
                scale_sums::key(epilogue, self.numerics)
            }
            Sums::Fixed => fixed_sums::key(epilogue, self.numerics),
        };
        // Both have the same parameters.
        let work = Work::Scale { width: w.n as u32 };
        steps.push(Draft::new(key, buffers, work));
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
        let x = self.rounded(steps, w, x);
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
        let path = path.reading(w.is_texels());
        let x = taken(steps, path, self.acts.texels.as_ref(), x, w.k);
        for shard in &w.shards {
            let mut buffers: Vec<(u32, Bound<'a>)> =
                vec![(1, x), (2, shard.weights.bound()), (5, y.into())];
            buffers.extend(bias.map(|b| (3, b.into())));
            buffers.extend(residual.map(|r| (4, r.into())));
            let work = Work::Matmul {
                path,
                n: shard.rows as u32,
                k: w.k as u32,
                stride: w.n as u32,
                n0: shard.first as u32,
                w_row0: shard.row0 as u32,
            };
            let (keep, numerics) = (self.rounding, self.numerics);
            let key = matmul::key_keeping(path, w.dtype, w.k, epilogue, keep, numerics);
            steps.push(Draft::new(key, buffers, work).reading(w.bytes(shard.rows)));
        }
    }
}
