//! The audit by the CPU twins.

use super::attention::Attention;
use super::{GROUPS, HeadProbe, LayerProbe, LayerRows, LayerSeen, Probe, Rotation, Seen};
use crate::kernels::matmul::Stored;
use crate::kernels::{add, matmul, residual, rmsnorm, row_energy, silu_mul};
use crate::{EngineError, Rounding};
use assay_model::{Dtype, ModelConfig};
use std::borrow::Cow;

/// One layer's audit by the CPU twins, position after position: what a checker runs beside a device that generates.
pub struct CpuAuditor {
    config: ModelConfig,
    rounding: Rounding,
    attention: Attention,
}

impl CpuAuditor {
    pub(super) fn new(
        config: &ModelConfig,
        rounding: Rounding,
        rotation: Rotation,
        capacity: usize,
    ) -> Self {
        Self {
            config: config.clone(),
            rounding,
            attention: Attention::new(config, rounding, rotation, capacity),
        }
    }

    /// Makes room for `capacity` positions of one layer.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for a family that audits do not know.
    pub fn for_layer(
        config: &ModelConfig,
        rounding: Rounding,
        capacity: usize,
    ) -> Result<Self, EngineError> {
        let rotation = Rotation::new(config, rounding, capacity)?;
        Ok(Self::new(config, rounding, rotation, capacity))
    }

    /// The model's shape.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Sees rows from `pos0` on. Positions must come in order, from 0.
    pub fn layer(&mut self, probe: &LayerProbe<'_>, pos0: usize, rows: LayerRows<'_>) -> LayerSeen {
        let config = &self.config;
        let (rounding, hidden) = (self.rounding, config.hidden);
        let [q, k, v, o, gate, up, down] = std::array::from_fn(|i| {
            let (product, y) = (&probe.products[i], rows.outputs[i]);
            let Some(bias) = product.bias else {
                return Cow::Borrowed(y);
            };
            let mut sum = vec![0.0; y.len()];
            add::cpu(y, bias, product.n, rounding, &mut sum);
            Cow::Owned(sum)
        });
        let mut products: [Seen; 7] = Default::default();
        let mut look = |group: usize, x: &[f32]| {
            let energy = x_energy(x, probe.products[GROUPS[group][0]].k);
            for &i in GROUPS[group] {
                products[i] = seen(&probe.products[i], x, &energy, rows.outputs[i]);
            }
        };
        let eps = config.norm_eps;
        let mut x = vec![0.0; rows.before.len()];
        rmsnorm::cpu(rows.before, probe.attn_norm, eps, rounding, &mut x);
        look(0, &x);

        let (q, k) = (q.into_owned(), k.into_owned());
        let attended = self.attention.attend(config, pos0, q, k, &v);
        look(1, &attended);

        let mut mid = vec![0.0; rows.before.len()];
        add::cpu(rows.before, &o, hidden, rounding, &mut mid);
        rmsnorm::cpu(&mid, probe.mlp_norm, eps, rounding, &mut x);
        look(2, &x);
        let mut gated = vec![0.0; gate.len()];
        silu_mul::cpu(&gate, &up, rounding, &mut gated);
        look(3, &gated);
        let mut after = vec![0.0; mid.len()];
        add::cpu(&mid, &down, hidden, rounding, &mut after);
        LayerSeen { products, after }
    }

    /// Sees the output projection over some rows.
    pub fn head(&self, probe: &HeadProbe<'_>, hidden: &[f32], logits: &[f32]) -> Seen {
        let mut x = vec![0.0; hidden.len()];
        rmsnorm::cpu(
            hidden,
            probe.norm,
            self.config.norm_eps,
            self.rounding,
            &mut x,
        );
        let energy = x_energy(&x, probe.product.k);
        seen(&probe.product, &x, &energy, logits)
    }
}

/// By row of `k` columns: sum of squares.
fn x_energy(x: &[f32], k: usize) -> Vec<f32> {
    let mut energy = vec![0.0; x.len() / k];
    row_energy::cpu(x, k, &mut energy);
    energy
}

/// One product, from its input, that input's energies and its output.
fn seen(probe: &Probe<'_>, x: &[f32], x_energy: &[f32], y: &[f32]) -> Seen {
    let (rows, projections, others) = (x.len() / probe.k, probe.projections(), probe.others());
    let plain = |x: &[f32], w: Stored<'_>, y: &mut [f32]| matmul::cpu(x, w, None, None, y);
    let yr = times(y, probe.on_y, probe.n, plain);
    let xv = times(x, probe.on_x, probe.k, plain);
    let stride = projections + others;
    let mut out = vec![0.0; 2 * rows + projections];
    residual::cpu(&yr, &xv, projections, stride, 0, &mut out);
    Seen {
        residual_energy: out[..rows].to_vec(),
        residual_top: out[rows..2 * rows].to_vec(),
        projection_energy: out[2 * rows..].to_vec(),
        x_energy: x_energy.to_vec(),
        others: xv
            .chunks_exact(stride)
            .flat_map(|row| row[projections..].iter().copied())
            .collect(),
        magnitudes: times(x, probe.on_magnitude, probe.k, matmul::magnitudes_cpu),
    }
}

/// `product` of x [rows, k] and w, f32 [n, k].
fn times(
    x: &[f32],
    w: &[f32],
    k: usize,
    product: impl Fn(&[f32], Stored<'_>, &mut [f32]),
) -> Vec<f32> {
    let n = w.len() / k;
    if n == 0 {
        return Vec::new();
    }
    let stored = Stored {
        dtype: Dtype::F32,
        bytes: bytemuck::cast_slice(w),
        n,
        k,
    };
    let mut y = vec![0.0; x.len() / k * n];
    product(x, stored, &mut y);
    y
}
