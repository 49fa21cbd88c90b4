//! The forward pass by the CPU twins: the oracle of the GPU's, and the device of last resort.

use super::{check_shapes, linear, need, rope_table};
use crate::engine::{Chunk, Monitor, Outputs, Phase, Want};
use crate::kernels::matmul::Stored;
use crate::kernels::{add, attention, embed, matmul, rmsnorm, rope_kv, silu_mul};
use crate::{EngineError, Rounding};
use assay_model::{Dtype, LayerRole, Model, ModelConfig, Role, TensorRef};

/// A matrix in its stored type, in host memory.
struct Matrix {
    dtype: Dtype,
    bytes: Vec<u8>,
    n: usize,
    k: usize,
    bias: Option<Vec<f32>>,
}

impl Matrix {
    fn load(
        model: &Model,
        weight: &TensorRef,
        bias: Option<&TensorRef>,
    ) -> Result<Self, EngineError> {
        let (n, k) = matrix_shape(weight)?;
        let bytes = model.read(weight, 0, weight.bytes as usize)?.into_owned();
        let bias = bias.map(|b| model.read_f32(b)).transpose()?;
        Ok(Self {
            dtype: weight.dtype,
            bytes,
            n,
            k,
            bias,
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
        matmul::cpu(x, self.stored(), None, None, &mut y);
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

    fn apply(&self, x: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        let mut y = vec![0.0; x.len() / self.k * self.n];
        matmul::cpu(x, self.stored(), self.bias.as_deref(), residual, &mut y);
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

struct Layer {
    attn_norm: Vec<f32>,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    o: Matrix,
    mlp_norm: Vec<f32>,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
    k_cache: Vec<f32>,
    v_cache: Vec<f32>,
}

/// A model in host memory, with its KV cache.
pub struct CpuLlama {
    config: ModelConfig,
    table: Matrix,
    /// `None` when tied: the table serves.
    lm_head: Option<Matrix>,
    layers: Vec<Layer>,
    final_norm: Vec<f32>,
    rope: Vec<[f32; 2]>,
}

impl CpuLlama {
    /// Reads the weights, in their stored type, into host memory.
    pub fn load(
        model: &Model,
        capacity: usize,
        monitor: &mut dyn Monitor,
    ) -> Result<Self, EngineError> {
        let config = model.config().clone();
        check_shapes(&config)?;
        let matrix = |layer, weight, bias| {
            let (weight, bias) = linear(model, layer, weight, bias)?;
            Matrix::load(model, weight, bias)
        };
        let vector =
            |role| -> Result<Vec<f32>, EngineError> { Ok(model.read_f32(need(model, role)?)?) };
        let total = config.layers as u64;
        let mut layers = Vec::with_capacity(config.layers);
        for l in 0..config.layers {
            use LayerRole as R;
            monitor.progress(Phase::Load, l as u64, total)?;
            layers.push(Layer {
                attn_norm: vector(Role::Layer(l, R::AttnNorm))?,
                q: matrix(l, R::Q, R::QBias)?,
                k: matrix(l, R::K, R::KBias)?,
                v: matrix(l, R::V, R::VBias)?,
                o: matrix(l, R::O, R::OBias)?,
                mlp_norm: vector(Role::Layer(l, R::MlpNorm))?,
                gate: matrix(l, R::Gate, R::GateBias)?,
                up: matrix(l, R::Up, R::UpBias)?,
                down: matrix(l, R::Down, R::DownBias)?,
                k_cache: vec![0.0; capacity * config.kv_dim()],
                v_cache: vec![0.0; capacity * config.kv_dim()],
            });
        }
        let table = need(model, Role::Embedding)?;
        let head = need(model, Role::LmHead)?;
        let lm_head = if head == table {
            None
        } else {
            Some(Matrix::load(model, head, None)?)
        };
        let table = Matrix::load(model, table, None)?;
        monitor.progress(Phase::Load, total, total)?;
        let rope = rope_table(&config, capacity);
        Ok(Self {
            table,
            lm_head,
            layers,
            final_norm: vector(Role::FinalNorm)?,
            rope,
            config,
        })
    }

    /// Runs one chunk.
    pub fn run(
        &mut self,
        chunk: Chunk<'_>,
        want: &Want,
        monitor: &mut dyn Monitor,
    ) -> Result<Outputs, EngineError> {
        let Self {
            config,
            table,
            lm_head,
            layers,
            final_norm,
            rope,
        } = self;
        let Chunk { tokens, pos0 } = chunk;
        let rows = tokens.len();
        let (half, kv_dim) = (config.head_dim / 2, config.kv_dim());
        let layout = config.rope.layout;
        let shape = attention::Shape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            pos0,
        };

        let mut h = vec![0.0_f32; rows * config.hidden];
        embed::cpu(tokens, table.dtype, &table.bytes, config.hidden, &mut h);
        let mut outputs = Outputs {
            pos0,
            rows,
            logits_pos0: pos0,
            ..Outputs::default()
        };
        let keep = |layer: usize, h: &[f32], outputs: &mut Outputs| {
            if want.states.contains(&layer) {
                outputs.states.push(h.to_vec());
            }
        };
        keep(0, &h, &mut outputs);
        let mut x = vec![0.0_f32; h.len()];
        for (l, layer) in layers.iter_mut().enumerate() {
            // Asks whether to go on; a layer of a big model takes seconds here.
            monitor.alive()?;
            let recorded = want.linears.contains(&l);
            let mut record: [Vec<f32>; 7] = Default::default();
            let mut keep_linear = |at: usize, matrix: &Matrix, x: &[f32]| -> Option<Vec<f32>> {
                recorded.then(|| {
                    record[at] = matrix.product(x);
                    matrix.with_bias(&record[at])
                })
            };
            rmsnorm::cpu(&h, &layer.attn_norm, config.rms_eps, Rounding::Keep, &mut x);
            let mut apply = |at: usize, matrix: &Matrix, x: &[f32], residual: Option<&[f32]>| {
                let Some(mut y) = keep_linear(at, matrix, x) else {
                    return matrix.apply(x, residual);
                };
                if let Some(residual) = residual {
                    let width = matrix.n;
                    let sum = y.clone();
                    add::cpu(residual, &sum, width, Rounding::Keep, &mut y);
                }
                y
            };
            let mut q = apply(0, &layer.q, &x, None);
            let mut k = apply(1, &layer.k, &x, None);
            let v = apply(2, &layer.v, &x, None);
            rope_kv::rotate_cpu(
                &mut q,
                config.heads,
                rope,
                half,
                pos0,
                layout,
                Rounding::Keep,
            );
            rope_kv::rotate_cpu(
                &mut k,
                config.kv_heads,
                rope,
                half,
                pos0,
                layout,
                Rounding::Keep,
            );
            let span = pos0 * kv_dim..(pos0 + rows) * kv_dim;
            layer.k_cache[span.clone()].copy_from_slice(&k);
            layer.v_cache[span].copy_from_slice(&v);
            let mut attended = vec![0.0_f32; q.len()];
            attention::cpu(
                &q,
                &layer.k_cache,
                &layer.v_cache,
                shape,
                Rounding::Keep,
                &mut attended,
            );
            h = apply(3, &layer.o, &attended, Some(&h));

            rmsnorm::cpu(&h, &layer.mlp_norm, config.rms_eps, Rounding::Keep, &mut x);
            let gate = apply(4, &layer.gate, &x, None);
            let up = apply(5, &layer.up, &x, None);
            let mut gated = vec![0.0_f32; gate.len()];
            silu_mul::cpu(&gate, &up, Rounding::Keep, &mut gated);
            h = apply(6, &layer.down, &gated, Some(&h));
            keep(l + 1, &h, &mut outputs);
            if recorded {
                outputs.linears.push(record);
            }
        }
        if let Some(from) = want.logits_from.filter(|from| *from < pos0 + rows) {
            let first = from.max(pos0);
            let tail = &h[(first - pos0) * config.hidden..];
            let mut normed = vec![0.0_f32; tail.len()];
            rmsnorm::cpu(
                tail,
                final_norm,
                config.rms_eps,
                Rounding::Keep,
                &mut normed,
            );
            outputs.logits = lm_head.as_ref().unwrap_or(table).apply(&normed, None);
            outputs.logits_pos0 = first;
        }
        Ok(outputs)
    }
}
