//! The forward pass by the CPU twins: the oracle of the GPU's, and the device of last resort.

use std::borrow::Cow;
use std::sync::Arc;

use super::{check_shapes, cpu_sparse, linear, need, rope_table};
use crate::engine::{Chunk, Monitor, Outputs, Phase, Want};
use crate::kernels::matmul::Stored;
use crate::kernels::round8::{self, Rows8};
use crate::kernels::{
    add, add_position, attention, embed, fixed_sums, kv_write, layernorm, matmul, matmul_fixed,
    matmul_i8, rmsnorm, rope_kv, round_heads, scale_sums, silu_mul,
};
use crate::sparsity::{Inside, LayerMasks, SparseModel};
use crate::{ActivationType, CacheFormat, EngineError, Rounding};
use assay_model::{Dtype, LayerRole, Model, ModelConfig, Role, RopeLayout, TensorRef};

/// A matrix in its stored type and row form, in host memory.
pub(super) struct Matrix {
    pub dtype: Dtype,
    pub bytes: Vec<u8>,
    pub n: usize,
    pub k: usize,
    pub bias: Option<Vec<f32>>,
    /// What it rounds its inputs to.
    pub activations: ActivationType,
    /// What is kept of its outputs.
    pub keep: Rounding,
}

impl Matrix {
    fn load(
        model: &Model,
        weight: &TensorRef,
        bias: Option<&TensorRef>,
        activations: ActivationType,
    ) -> Result<Self, EngineError> {
        let (n, k) = matrix_shape(weight)?;
        let bytes = model.rows(weight)?.matrix(0..n)?.into_owned();
        let bias = bias.map(|b| model.read_f32(b)).transpose()?;
        Ok(Self {
            dtype: weight.dtype,
            bytes,
            n,
            k,
            bias,
            activations,
            keep: Rounding::Keep,
        })
    }

    fn stored(&self) -> Stored<'_> {
        Stored {
            dtype: self.dtype,
            bytes: &self.bytes,
            n: self.n,
            k: self.k,
        }
    }

    /// The product alone.
    fn product(&self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / self.k * self.n];
        matmul::cpu(&self.rounded(x), self.stored(), None, None, &mut y);
        y
    }

    /// What the product takes in place of `x`: the same, or rounded in blocks.
    fn rounded<'a>(&self, x: &'a [f32]) -> Cow<'a, [f32]> {
        let Some(blocks) = self.activations.blocks(self.dtype) else {
            return Cow::Borrowed(x);
        };
        let mut y = vec![0.0; x.len()];
        round8::blocks_cpu(blocks, x, &mut y);
        Cow::Owned(y)
    }

    /// Whether products are of integers.
    fn is_integer(&self) -> bool {
        self.activations.is_integer()
    }

    /// A row in row form, of 8-bit integers with one scale a row: the scale's bytes, and the integers.
    fn row(&self, c: usize) -> (&[u8], &[i8]) {
        let bytes = self.dtype.row_bytes(self.k);
        let (scale, integers) = self.bytes[c * bytes..][..bytes].split_at(4);
        (scale, bytemuck::cast_slice(integers))
    }

    /// Integer sums of `x` rounded to integers, and the rows' scales if rows have one.
    fn sums(&self, x: &[f32]) -> (Vec<i64>, Vec<f32>) {
        if self.activations == ActivationType::Blocks {
            let x = round8::integer_blocks_cpu(x);
            let (bytes, rows) = (self.dtype.row_bytes(self.k), x.values.len() / self.k);
            let row = |c: usize| &self.bytes[c * bytes..][..bytes];
            let mut z = vec![0; rows * self.n];
            matmul_fixed::cpu(&x, self.dtype, row, self.n, self.k, &mut z);
            return (z, Vec::new());
        }
        let Rows8 { values, scales } = round8::rows_cpu(x, self.k);
        let mut z = vec![0; scales.len() * self.n];
        matmul_i8::cpu(&values, |c| self.row(c).1, self.n, self.k, &mut z);
        (z.into_iter().map(i64::from).collect(), scales)
    }

    /// Numbers of integer sums, with the bias.
    fn scaled(&self, z: &[i64], scales: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        let bias = self.bias.as_deref();
        let mut y = vec![0.0; z.len()];
        if self.activations == ActivationType::Blocks {
            fixed_sums::cpu(z, self.n, bias, residual, &mut y);
            return y;
        }
        let own: Vec<f32> = (0..self.n)
            .map(|c| bytemuck::pod_read_unaligned(self.row(c).0))
            .collect();
        scale_sums::cpu(z, scales, &own, bias, residual, &mut y);
        y
    }

    /// The bias as a step of its own, on a product's output.
    fn with_bias(&self, y: &[f32]) -> Vec<f32> {
        let mut sum = y.to_vec();
        if let Some(bias) = &self.bias {
            add::cpu(y, bias, self.n, Rounding::Keep, &mut sum);
        }
        sum
    }

    /// The product with bias and residual.
    pub fn apply(&self, x: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        if self.is_integer() {
            let (z, scales) = self.sums(x);
            return self.scaled(&z, &scales, residual);
        }
        let (x, bias) = (self.rounded(x), self.bias.as_deref());
        let mut y = vec![0.0; x.len() / self.k * self.n];
        matmul::cpu_keeping(&x, self.stored(), bias, residual, self.keep, &mut y);
        y
    }
}

pub(crate) fn matrix_shape(tensor: &TensorRef) -> Result<(usize, usize), EngineError> {
    match tensor.shape[..] {
        [n, k] => Ok((n, k)),
        _ => Err(EngineError::Unsupported(format!(
            "`{}` is not a matrix",
            tensor.name
        ))),
    }
}

struct Norm {
    weight: Vec<f32>,
    /// Where the norm removes the mean.
    bias: Option<Vec<f32>>,
    eps: f32,
    keep: Rounding,
}

impl Norm {
    fn load(model: &Model, weight: Role, bias: Role) -> Result<Self, EngineError> {
        let bias = model.tensor(bias).map(|b| model.read_f32(b)).transpose()?;
        Ok(Self {
            weight: model.read_f32(need(model, weight)?)?,
            bias,
            eps: model.config().norm_eps,
            keep: Rounding::Keep,
        })
    }

    fn of(&self, x: &[f32]) -> Vec<f32> {
        let mut y = vec![0.0; x.len()];
        match &self.bias {
            Some(bias) => layernorm::cpu(x, &self.weight, bias, self.eps, &mut y),
            None => rmsnorm::cpu(x, &self.weight, self.eps, self.keep, &mut y),
        }
        y
    }
}

/// The model's final norm of raw hidden states, [rows, hidden], by the twin: what some write as the last hidden state.
///
/// # Errors
/// Of a model without that norm, or one that cannot be read.
pub fn final_norm(model: &Model, hidden: &[f32]) -> Result<Vec<f32>, EngineError> {
    Ok(Norm::load(model, Role::FinalNorm, Role::FinalNormBias)?.of(hidden))
}

pub(super) enum Positions {
    Rotary {
        table: Vec<[f32; 2]>,
        layout: RopeLayout,
    },
    Learned(Matrix),
}

impl Positions {
    pub fn load(model: &Model, capacity: usize) -> Result<Self, EngineError> {
        let config = model.config();
        Ok(match &config.rope {
            Some(rope) => Self::Rotary {
                table: rope_table(rope, config.head_dim, capacity),
                layout: rope.layout,
            },
            None => {
                let table = need(model, Role::Positions)?;
                Self::Learned(Matrix::load(model, table, None, ActivationType::Float)?)
            }
        })
    }

    /// Rotates `x`, [rows, heads * head_dim], from position `pos0` on; learned positions leave it alone.
    fn rotate(
        &self,
        config: &ModelConfig,
        x: &mut [f32],
        heads: usize,
        pos0: usize,
        keep: Rounding,
    ) {
        if let Self::Rotary { table, layout } = self {
            let half = config.head_dim / 2;
            rope_kv::rotate_cpu(x, heads, table, half, pos0, *layout, keep);
        }
    }
}

pub(super) struct Layer {
    attn_norm: Norm,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    pub o: Matrix,
    mlp_norm: Norm,
    /// `None` in an MLP without a gate.
    pub gate: Option<Matrix>,
    pub up: Matrix,
    pub down: Matrix,
    /// What is kept of values between operations.
    pub keep: Rounding,
    /// What the cache keeps of keys and values.
    pub cache: CacheFormat,
    k_cache: Vec<f32>,
    v_cache: Vec<f32>,
}

impl Layer {
    pub fn load(
        model: &Model,
        l: usize,
        capacity: usize,
        activations: ActivationType,
    ) -> Result<Self, EngineError> {
        use LayerRole as R;
        let matrix = |role| {
            let (weight, bias) = linear(model, l, role)?;
            Matrix::load(model, weight, bias, activations)
        };
        let norm = |weight, bias| Norm::load(model, Role::Layer(l, weight), Role::Layer(l, bias));
        let config = model.config();
        let has_gate = config.family.mlp().has_gate();
        Ok(Self {
            attn_norm: norm(R::AttnNorm, R::AttnNormBias)?,
            q: matrix(R::Q)?,
            k: matrix(R::K)?,
            v: matrix(R::V)?,
            o: matrix(R::O)?,
            mlp_norm: norm(R::MlpNorm, R::MlpNormBias)?,
            gate: has_gate.then(|| matrix(R::Gate)).transpose()?,
            up: matrix(R::Up)?,
            down: matrix(R::Down)?,
            keep: Rounding::Keep,
            cache: CacheFormat::Exact,
            k_cache: vec![0.0; capacity * config.kv_dim()],
            v_cache: vec![0.0; capacity * config.kv_dim()],
        })
    }

    /// Keeps so much of values between operations from here on.
    fn keep(&mut self, rounding: Rounding) {
        self.keep = rounding;
        for norm in [&mut self.attn_norm, &mut self.mlp_norm] {
            norm.keep = rounding;
        }
        let products = [
            &mut self.q,
            &mut self.k,
            &mut self.v,
            &mut self.o,
            &mut self.up,
            &mut self.down,
        ];
        for product in products.into_iter().chain(&mut self.gate) {
            product.keep = rounding;
        }
    }

    /// Queries of `x`, the normed residual stream from position `pos0` on, and its keys and values into the cache.
    fn cached(
        &mut self,
        config: &ModelConfig,
        positions: &Positions,
        x: &[f32],
        pos0: usize,
        products: &mut Products,
    ) -> Vec<f32> {
        let mut q = products.apply(0, &self.q, x, None);
        let k = products.apply(1, &self.k, x, None);
        let v = products.apply(2, &self.v, x, None);
        positions.rotate(config, &mut q, config.heads, pos0, self.keep);
        self.store(config, positions, k, v, pos0);
        q
    }

    /// What the heads put out.
    pub fn attended(
        &mut self,
        config: &ModelConfig,
        positions: &Positions,
        h: &[f32],
        pos0: usize,
        products: &mut Products,
    ) -> Vec<f32> {
        let x = self.attn_norm.of(h);
        let q = self.cached(config, positions, &x, pos0, products);
        let shape = attention::Shape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            pos0,
        };
        let mut attended = vec![0.0_f32; q.len()];
        attention::cpu(
            &q,
            &self.k_cache,
            &self.v_cache,
            shape,
            self.keep,
            &mut attended,
        );
        attended
    }

    /// Positions that there is room for.
    pub fn capacity(&self, config: &ModelConfig) -> usize {
        self.k_cache.len() / config.kv_dim().max(1)
    }

    /// Keys and values of the residual stream `h`, from position 0 on, into the cache.
    pub fn fill_cache(&mut self, config: &ModelConfig, positions: &Positions, h: &[f32]) {
        let x = self.attn_norm.of(h);
        let k = self.k.apply(&x, None);
        let v = self.v.apply(&x, None);
        self.store(config, positions, k, v, 0);
    }

    /// Keys and values from position `pos0` on into the cache.
    fn store(
        &mut self,
        config: &ModelConfig,
        positions: &Positions,
        mut k: Vec<f32>,
        mut v: Vec<f32>,
        pos0: usize,
    ) {
        positions.rotate(config, &mut k, config.kv_heads, pos0, self.keep);
        for (rows, cache) in [(&mut k, &mut self.k_cache), (&mut v, &mut self.v_cache)] {
            round_heads::cpu(self.cache, rows, config.head_dim);
            kv_write::cpu(rows, config.kv_dim(), pos0, cache);
        }
    }

    /// What the down projection takes of `mid`, the residual stream after attention, where every neuron is computed.
    pub fn active(&self, mid: &[f32], products: &mut Products) -> Result<Vec<f32>, EngineError> {
        let x = self.mlp_norm.of(mid);
        Ok(match &self.gate {
            Some(gate) if products.is_recording => {
                let gate = products.apply(4, gate, &x, None);
                let up = products.apply(5, &self.up, &x, None);
                let mut gated = vec![0.0_f32; gate.len()];
                silu_mul::cpu(&gate, &up, Rounding::Keep, &mut gated);
                gated
            }
            None if products.is_recording => {
                return Err(EngineError::Unsupported(
                    "linear outputs of an MLP without a gate".to_owned(),
                ));
            }
            _ => cpu_sparse::activations(self, &x).active,
        })
    }
}

/// A layer's products, recorded if they are wanted: then bias and residual are steps of their own, with the same sums.
#[derive(Default)]
pub(super) struct Products {
    is_recording: bool,
    /// Of products of floats.
    pub linears: Option<[Vec<f32>; 7]>,
    /// Of products of integers.
    pub sums: Option<[Vec<i64>; 7]>,
}

impl Products {
    /// Ready to record, if that is wanted.
    pub fn recording(is_recording: bool) -> Self {
        Self {
            is_recording,
            ..Self::default()
        }
    }

    /// The product at place `at` of the layer's linears.
    pub fn apply(
        &mut self,
        at: usize,
        w: &Matrix,
        x: &[f32],
        residual: Option<&[f32]>,
    ) -> Vec<f32> {
        if !self.is_recording {
            return w.apply(x, residual);
        }
        let mut y = if w.is_integer() {
            let (z, scales) = w.sums(x);
            let y = w.scaled(&z, &scales, None);
            self.sums.get_or_insert_default()[at] = z;
            y
        } else {
            let product = w.product(x);
            let y = w.with_bias(&product);
            self.linears.get_or_insert_default()[at] = product;
            y
        };
        if let Some(residual) = residual {
            let sum = y.clone();
            add::cpu(residual, &sum, w.n, Rounding::Keep, &mut y);
        }
        y
    }
}

/// A model in host memory, with its KV cache.
pub struct CpuForward {
    config: ModelConfig,
    table: Matrix,
    /// `None` when tied: the table serves.
    lm_head: Option<Matrix>,
    layers: Vec<Layer>,
    final_norm: Norm,
    positions: Positions,
    sparse: Option<Arc<SparseModel>>,
}

impl CpuForward {
    /// Reads the weights, in their stored type, into host memory.
    pub fn load(
        model: &Model,
        capacity: usize,
        sparse: Option<Arc<SparseModel>>,
        activations: ActivationType,
        monitor: &mut dyn Monitor,
    ) -> Result<Self, EngineError> {
        let config = model.config().clone();
        check_shapes(&config)?;
        let total = config.layers as u64;
        let mut layers = Vec::with_capacity(config.layers);
        for l in 0..config.layers {
            monitor.progress(Phase::Load, l as u64, total)?;
            layers.push(Layer::load(model, l, capacity, activations)?);
        }
        let table = need(model, Role::Embedding)?;
        let head = need(model, Role::LmHead)?;
        let lm_head = if head == table {
            None
        } else {
            Some(Matrix::load(model, head, None, activations.of_head())?)
        };
        // A table that serves as the head rounds what it multiplies; looking a row up is no product.
        let table = Matrix::load(model, table, None, activations.of_head())?;
        monitor.progress(Phase::Load, total, total)?;
        Ok(Self {
            table,
            lm_head,
            layers,
            final_norm: Norm::load(model, Role::FinalNorm, Role::FinalNormBias)?,
            positions: Positions::load(model, capacity)?,
            sparse,
            config,
        })
    }

    /// Keeps so much of values between operations from here on; a dense model's.
    pub fn keep(&mut self, rounding: Rounding) {
        self.layers
            .iter_mut()
            .for_each(|layer| layer.keep(rounding));
        self.final_norm.keep = rounding;
        // A table that serves as the head rounds what that puts out; looking a row up is no product.
        self.table.keep = rounding;
        if let Some(head) = &mut self.lm_head {
            head.keep = rounding;
        }
    }

    /// Rounds keys and values like that from here on.
    pub fn round_cache(&mut self, format: CacheFormat) {
        self.layers
            .iter_mut()
            .for_each(|layer| layer.cache = format);
    }

    /// Runs one chunk. It waits for nothing, but lets others run between layers: a browser's worker hears of a cancel then.
    pub async fn run(
        &mut self,
        chunk: Chunk<'_>,
        want: &Want,
        monitor: &mut dyn Monitor,
    ) -> Result<Outputs, EngineError> {
        let rows = chunk.tokens.len();
        let mut outputs = Outputs {
            pos0: chunk.pos0,
            rows,
            logits_pos0: chunk.pos0,
            ..Outputs::default()
        };
        let mut h = self.embedding(chunk);
        if want.states.contains(&0) {
            outputs.states.push(h.clone());
        }
        for l in 0..self.layers.len() {
            // Asks whether to go on; a layer of a big model takes seconds here.
            monitor.breathe().await;
            monitor.alive()?;
            let mut products = Products::recording(want.linears.contains(&l));
            let attended = self.attended(l, &h, chunk.pos0, &mut products);
            let mid = products.apply(3, &self.layers[l].o, &attended, Some(&h));
            let masks = chunk.masks.map(|masks| &masks[l]);
            let (after, active) = self.mlp(l, &mid, masks, want, &mut products, &mut outputs)?;
            h = after;
            if want.inside.contains(&l) {
                outputs.inside.push(Inside {
                    attended,
                    mid,
                    active,
                });
            }
            if want.states.contains(&(l + 1)) {
                outputs.states.push(h.clone());
            }
            outputs.linears.extend(products.linears);
            outputs.sums.extend(products.sums);
        }
        if let Some(from) = want.logits_from.filter(|from| *from < chunk.pos0 + rows) {
            let first = from.max(chunk.pos0);
            let normed = self
                .final_norm
                .of(&h[(first - chunk.pos0) * self.config.hidden..]);
            let head = self.lm_head.as_ref().unwrap_or(&self.table);
            outputs.logits = head.apply(&normed, None);
            outputs.logits_pos0 = first;
        }
        Ok(outputs)
    }

    fn embedding(&self, chunk: Chunk<'_>) -> Vec<f32> {
        let Chunk { tokens, pos0, .. } = chunk;
        let (table, width) = (&self.table, self.config.hidden);
        let mut h = vec![0.0_f32; tokens.len() * width];
        embed::cpu(tokens, table.dtype, &table.bytes, width, &mut h);
        if let Positions::Learned(table) = &self.positions {
            let first = pos0 + ModelConfig::POSITION_OFFSET;
            add_position::cpu(table.dtype, &table.bytes, width, first, &mut h);
        }
        h
    }

    /// What layer `l`'s heads put out.
    fn attended(&mut self, l: usize, h: &[f32], pos0: usize, products: &mut Products) -> Vec<f32> {
        self.layers[l].attended(&self.config, &self.positions, h, pos0, products)
    }

    /// The residual stream after layer `l`, from the one after its attention; and what the down projection took, unless it is sparse.
    fn mlp(
        &self,
        l: usize,
        h: &[f32],
        masks: Option<&LayerMasks>,
        want: &Want,
        products: &mut Products,
        outputs: &mut Outputs,
    ) -> Result<(Vec<f32>, Vec<f32>), EngineError> {
        let layer = &self.layers[l];
        if let Some(sparse) = &self.sparse {
            let x = layer.mlp_norm.of(h);
            let done = cpu_sparse::mlp(sparse.sparsity(), l, layer, h, &x, masks)?;
            outputs.masks.extend(want.masks.then_some(done.masks));
            outputs.scores.extend(want.scores.then_some(done.scores));
            return Ok((done.h, Vec::new()));
        }
        let active = layer.active(h, products)?;
        let after = products.apply(6, &layer.down, &active, Some(h));
        Ok((after, active))
    }
}
