//! Attention of one layer in an audit by the CPU twins: keys and values of all positions so far stay.

use super::Rotation;
use crate::Rounding;
use crate::kernels::{attention, rope_kv};
use assay_model::ModelConfig;

/// One layer's keys and values.
pub(super) struct Attention {
    rounding: Rounding,
    rotation: Rotation,
    k_cache: Vec<f32>,
    v_cache: Vec<f32>,
}

impl Attention {
    /// Room for `capacity` positions.
    pub fn new(
        config: &ModelConfig,
        rounding: Rounding,
        rotation: Rotation,
        capacity: usize,
    ) -> Self {
        Self {
            rounding,
            rotation,
            k_cache: vec![0.0; capacity * config.kv_dim()],
            v_cache: vec![0.0; capacity * config.kv_dim()],
        }
    }

    /// What rows from `pos0` on attend to: queries [rows, q_dim], keys and values [rows, kv_dim], none of them rotated yet.
    pub fn attend(
        &mut self,
        config: &ModelConfig,
        pos0: usize,
        mut q: Vec<f32>,
        mut k: Vec<f32>,
        v: &[f32],
    ) -> Vec<f32> {
        let (rounding, half, kv_dim) = (self.rounding, config.head_dim / 2, config.kv_dim());
        let Rotation { layout, table } = &self.rotation;
        for (heads, x) in [(config.heads, &mut q), (config.kv_heads, &mut k)] {
            rope_kv::rotate_cpu(x, heads, table, half, pos0, *layout, rounding);
        }
        let span = pos0 * kv_dim..pos0 * kv_dim + k.len();
        self.k_cache[span.clone()].copy_from_slice(&k);
        self.v_cache[span].copy_from_slice(v);
        let shape = attention::Shape {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            pos0,
        };
        let mut attended = vec![0.0; q.len()];
        attention::cpu(
            &q,
            &self.k_cache,
            &self.v_cache,
            shape,
            rounding,
            &mut attended,
        );
        attended
    }
}
