//! What an audit of one layer computes where products are of integers.
//!
//! The prover opens their sums. From the hidden state before the layer each product's *input* is derived, as in every audit, and rounded
//! to the integers that an honest prover had: strict arithmetic gives the same ones everywhere. So input and sums are two lists of integers,
//! which an exact check holds against each other ([`Judge`]), and only sums that passed are used further. Nothing here has a tolerance.
//!
//! By the CPU twins on every device: what costs time is not here but in the check, and that is faster on a CPU (docs/benchmarks.md).

use super::Rotation;
use super::attention::Attention;
use crate::kernels::round8::{self, Blocks8, Rows8};
use crate::kernels::{add, fixed_sums, rmsnorm, scale_sums, silu_mul};
use crate::{EngineError, Rounding};
use assay_model::ModelConfig;

/// What is known of one matrix of integers [n, k].
#[derive(Debug, Clone, Copy)]
pub struct IntegerProbe<'a> {
    /// Rows of the matrix: width of its output.
    pub n: usize,
    /// Columns of the matrix: width of its input.
    pub k: usize,
    /// One scale a row of the matrix, [n]; none where its blocks have scales, and sums are fixed point.
    pub scales: Option<&'a [f32]>,
    /// Added to its numbers, [n].
    pub bias: Option<&'a [f32]>,
}

/// What is known of a layer.
#[derive(Debug, Clone, Copy)]
pub struct IntegerLayer<'a> {
    /// The norm before attention, [hidden].
    pub attn_norm: &'a [f32],
    /// The norm before the MLP, [hidden].
    pub mlp_norm: &'a [f32],
    /// In the order of [`LayerRole::LINEARS`](assay_model::LayerRole::LINEARS).
    pub products: [IntegerProbe<'a>; 7],
}

/// Rows of a layer as a trace opens them.
#[derive(Debug, Clone, Default)]
pub struct IntegerRows {
    /// The hidden state before the layer, [rows, hidden].
    pub before: Vec<f32>,
    /// Sums of each product, [rows, n], in the order of [`LayerRole::LINEARS`](assay_model::LayerRole::LINEARS).
    pub sums: [Vec<i64>; 7],
}

/// The input of a product, as the integers that it is rounded to.
#[derive(Debug, Clone, PartialEq)]
pub enum Inputs {
    /// One scale a row.
    Rows(Rows8),
    /// A scale for each block of a row.
    Blocks(Blocks8),
}

/// Holds the sums of product `i` against its derived input. An error ends the layer: what comes after would follow from wrong numbers.
pub type Judge<'j, E> = dyn FnMut(usize, &Inputs, &[i64]) -> Result<(), E> + 'j;

/// One layer, position after position.
pub struct IntegerAuditor {
    config: ModelConfig,
    attention: Attention,
}

impl IntegerAuditor {
    /// Makes room for `capacity` positions of one layer.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for a family that audits do not know, [`EngineError::TooLong`] beyond the model's context.
    pub fn new(config: &ModelConfig, capacity: usize) -> Result<Self, EngineError> {
        if capacity == 0 || capacity > config.context {
            return Err(EngineError::TooLong {
                what: "the model's context",
                got: capacity,
                limit: config.context,
            });
        }
        let rotation = Rotation::new(config, Rounding::Keep, capacity)?;
        Ok(Self {
            config: config.clone(),
            attention: Attention::new(config, Rounding::Keep, rotation, capacity),
        })
    }

    /// Derives rows from `pos0` on, and has each product judged before its numbers are used. Gives the hidden state after the layer. Positions
    /// must come in order, from 0; for another layer they begin anew.
    ///
    /// # Errors
    /// What `judge` gives.
    pub fn layer<E>(
        &mut self,
        layer: &IntegerLayer<'_>,
        pos0: usize,
        rows: &IntegerRows,
        judge: &mut Judge<'_, E>,
    ) -> Result<Vec<f32>, E> {
        let config = &self.config;
        let (hidden, keep) = (config.hidden, Rounding::Keep);
        let mut numbers = |i: usize, x: &Inputs| -> Result<Vec<f32>, E> {
            let (product, z) = (&layer.products[i], &rows.sums[i]);
            judge(i, x, z)?;
            let mut y = vec![0.0; z.len()];
            match (x, product.scales) {
                (Inputs::Rows(x), Some(scales)) => {
                    scale_sums::cpu(z, &x.scales, scales, product.bias, None, &mut y);
                }
                _ => fixed_sums::cpu(z, product.n, product.bias, None, &mut y),
            }
            Ok(y)
        };
        let input = |i: usize, x: &[f32]| match layer.products[i].scales {
            Some(_) => Inputs::Rows(round8::rows_cpu(x, layer.products[i].k)),
            None => Inputs::Blocks(round8::integer_blocks_cpu(x)),
        };

        let mut x = vec![0.0; rows.before.len()];
        rmsnorm::cpu(&rows.before, layer.attn_norm, config.norm_eps, keep, &mut x);
        let normed = input(0, &x);
        let q = numbers(0, &normed)?;
        let k = numbers(1, &normed)?;
        let v = numbers(2, &normed)?;
        let attended = self.attention.attend(config, pos0, q, k, &v);
        let o = numbers(3, &input(3, &attended))?;
        let mut mid = vec![0.0; rows.before.len()];
        add::cpu(&rows.before, &o, hidden, keep, &mut mid);

        rmsnorm::cpu(&mid, layer.mlp_norm, config.norm_eps, keep, &mut x);
        let normed = input(4, &x);
        let gate = numbers(4, &normed)?;
        let up = numbers(5, &normed)?;
        let mut gated = vec![0.0; gate.len()];
        silu_mul::cpu(&gate, &up, keep, &mut gated);
        let down = numbers(6, &input(6, &gated))?;
        let mut after = vec![0.0; mid.len()];
        add::cpu(&mid, &down, hidden, keep, &mut after);
        Ok(after)
    }
}
