//! One layer, or the head, by the CPU twins at one position: a second opinion on what a device made of it, and on what a prover says.

use super::cpu::{Layer, Positions, Products};
use super::{check_shapes, final_norm, matrix_shape, need};
use crate::kernels::matmul::{self, Stored};
use crate::kernels::round8;
use crate::{ActivationType, EngineError};
use assay_model::{Model, ModelConfig, Role};

/// Bytes of the head's matrix that are read at a time.
const HEAD_BYTES: usize = 64 << 20;

/// Logits of one position from `h`, its last hidden state. The matrix is read piece by piece.
///
/// # Errors
/// Of a model that cannot be read, or has no head.
pub fn logits_by_twin(
    model: &Model,
    activations: ActivationType,
    h: &[f32],
) -> Result<Vec<f32>, EngineError> {
    let mut x = final_norm(model, h)?;
    let weight = need(model, Role::LmHead)?;
    let (n, k) = matrix_shape(weight)?;
    if let Some(blocks) = activations.of_head().blocks(weight.dtype) {
        let given = x.clone();
        round8::blocks_cpu(blocks, &given, &mut x);
    }
    let row_bytes = weight.dtype.row_bytes(k);
    let stored = model.rows(weight)?;
    let rows = (HEAD_BYTES / row_bytes.max(1)).clamp(1, n.max(1));
    let mut logits = vec![0.0; n];
    for (i, y) in logits.chunks_mut(rows).enumerate() {
        let bytes = stored.matrix(i * rows..i * rows + y.len())?;
        let w = Stored {
            dtype: weight.dtype,
            bytes: &bytes,
            n: y.len(),
            k,
        };
        matmul::cpu(&x, w, None, None, y);
    }
    Ok(logits)
}

/// A layer in host memory. Every neuron of its MLP is computed.
pub struct LayerTwin {
    config: ModelConfig,
    layer: Layer,
    positions: Positions,
}

/// What a layer made of one position.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LayerRun {
    /// What its products put out, in the order of [`LayerRole::LINEARS`](assay_model::LayerRole::LINEARS); `None` of an MLP without
    /// a gate.
    pub linears: Option<[Vec<f32>; 7]>,
    /// The same of products of integers, in place of `linears`: their sums.
    pub sums: Option<[Vec<i64>; 7]>,
    /// The residual stream after attention.
    pub mid: Vec<f32>,
    /// The residual stream after the layer.
    pub after: Vec<f32>,
    /// The same if attention had been left out.
    pub without_attention: Vec<f32>,
}

impl LayerTwin {
    /// Reads layer `l` of `model`, with room for `capacity` positions.
    ///
    /// # Errors
    /// Of a model that cannot be read, or has no such layer.
    pub fn load(
        model: &Model,
        l: usize,
        capacity: usize,
        activations: ActivationType,
    ) -> Result<Self, EngineError> {
        let config = model.config().clone();
        check_shapes(&config)?;
        Ok(Self {
            layer: Layer::load(model, l, capacity, activations)?,
            positions: Positions::load(model, capacity)?,
            config,
        })
    }

    /// Runs the layer at the last position of `before`, the residual stream before it at all positions up to that one,
    /// [positions, hidden]; at most as many as there is room for.
    ///
    /// # Errors
    /// If `before` is empty or does not fit.
    pub fn run_last(&mut self, before: &[f32]) -> Result<LayerRun, EngineError> {
        let width = self.config.hidden;
        let capacity = self.layer.capacity(&self.config);
        let count = before.len() / width;
        if count == 0 || !before.len().is_multiple_of(width) || count > capacity {
            return Err(EngineError::TooLong {
                what: "a layer's cache",
                got: count,
                limit: capacity,
            });
        }
        let (earlier, h) = before.split_at((count - 1) * width);
        if !earlier.is_empty() {
            self.layer
                .fill_cache(&self.config, &self.positions, earlier);
        }
        let has_gate = self.layer.gate.is_some();
        let mut products = Products::recording(has_gate);
        let (config, positions) = (&self.config, &self.positions);
        let attended = self
            .layer
            .attended(config, positions, h, count - 1, &mut products);
        let mid = products.apply(3, &self.layer.o, &attended, Some(h));
        let active = self.layer.active(&mid, &mut products)?;
        let after = products.apply(6, &self.layer.down, &active, Some(&mid));
        let mut unrecorded = Products::recording(false);
        let active = self.layer.active(h, &mut unrecorded)?;
        Ok(LayerRun {
            linears: products.linears,
            sums: products.sums,
            mid,
            after,
            without_attention: unrecorded.apply(6, &self.layer.down, &active, Some(h)),
        })
    }
}
