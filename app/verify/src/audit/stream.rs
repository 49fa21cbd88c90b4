//! One product's outputs over all positions, judged as they are seen.

use assay_engine::audit::Seen;

use super::bounds::Bound;
use super::energy::Energy;

/// The seed's threshold on the mean squared residual (verified_llm, `threshold = 1e-5`).
pub const SEED_MSE: f64 = 1e-5;

/// Where something stood out, and how far: `over` is the measured value over its limit.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Worst {
    /// Measured over allowed; above 1 fails.
    pub over: f64,
    /// Position.
    pub position: usize,
}

impl Worst {
    fn see(&mut self, over: f64, position: usize) {
        // NaN is no excuse: it counts as the worst there is.
        let over = if over.is_nan() { f64::INFINITY } else { over };
        if over > self.over {
            *self = Self { over, position };
        }
    }

    /// Takes the other if it is worse.
    pub fn merge(&mut self, other: Self) {
        self.see(other.over, other.position);
    }
}

/// What one product's rows came to, in one layer or over several.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    /// Rows seen.
    pub rows: usize,
    /// Elements recomputed.
    pub elements: usize,
    /// Largest relative error of a row as the projections show it: sqrt(q / k) over the row's scale.
    pub worst_relative: f64,
    /// Energy of a row over what the energy test allows.
    pub row: Worst,
    /// Energy of all rows over what the pooled test allows.
    pub pooled: Worst,
    /// Relative error of all rows together.
    pub pooled_relative: f64,
    /// A recomputed element over its bound.
    pub element: Worst,
    /// A residual over its certified bound.
    pub certified: Worst,
    /// Sum of squared residuals, and how many.
    pub squares: f64,
    /// Number of residuals behind `squares`.
    pub residuals: usize,
}

impl Tally {
    /// Mean squared residual, as the seed computes it; its projections are standard normals too.
    pub fn mse(&self) -> f64 {
        self.squares / self.residuals.max(1) as f64
    }

    /// Joins another layer's.
    pub fn merge(&mut self, other: &Self) {
        self.rows += other.rows;
        self.elements += other.elements;
        self.worst_relative = self.worst_relative.max(other.worst_relative);
        self.pooled_relative = self.pooled_relative.max(other.pooled_relative);
        self.row.merge(other.row);
        self.pooled.merge(other.pooled);
        self.element.merge(other.element);
        self.certified.merge(other.certified);
        self.squares += other.squares;
        self.residuals += other.residuals;
    }
}

/// Calibrated relative error of honest rows: of the worst one, and of all of a stream together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Honest {
    /// Of one row.
    pub row: f64,
    /// Of all rows together.
    pub pooled: f64,
}

/// What a judge knows of its product.
pub(super) struct Product<'a> {
    /// Width of the outputs.
    pub n: usize,
    /// Width of the inputs.
    pub k: usize,
    /// Rows of the matrix that are recomputed.
    pub row_ids: &'a [u32],
    /// Frobenius norm of the matrix.
    pub frobenius: f64,
    /// max_j |R\[j, o\]|, [n].
    pub largest: &'a [f32],
    /// Coefficients of the certified bounds.
    pub bound: Bound,
}

/// Certified bounds that come from an input which is not off by a part of itself: attention's output. By row of the chunk.
pub(super) struct InputError {
    /// Added to the residual's bound.
    pub residual: Vec<f64>,
    /// Added to each recomputed element's bound, [rows, sampled].
    pub elements: Vec<f64>,
}

/// Judges one product, chunk by chunk.
pub(super) struct StreamJudge<'a> {
    product: Product<'a>,
    honest: Option<Honest>,
    energy: &'a Energy,
    pooled: &'a Energy,
    tally: Tally,
    scale: f64,
}

impl<'a> StreamJudge<'a> {
    pub fn new(
        product: Product<'a>,
        honest: Option<Honest>,
        energy: &'a Energy,
        pooled: &'a Energy,
    ) -> Self {
        Self {
            product,
            honest,
            energy,
            pooled,
            tally: Tally::default(),
            scale: 0.0,
        }
    }

    /// Adds rows from `pos0` on: what was seen of them, and the opened outputs [rows, n].
    pub fn add(&mut self, pos0: usize, seen: &Seen, y: &[f32], input: Option<&InputError>) {
        let Product {
            n,
            k,
            row_ids,
            frobenius,
            largest,
            bound,
        } = &self.product;
        let (sampled, magnitudes) = (row_ids.len(), row_ids.len() + 1);
        let projections = seen.projection_energy.len();
        for (row, y) in y.chunks_exact(*n).enumerate() {
            let position = pos0 + row;
            let energy = f64::from(seen.residual_energy[row]);
            let (mut y_energy, mut projected) = (0.0f64, 0.0f64);
            for (y, r) in y.iter().zip(*largest) {
                let y = f64::from(*y);
                y_energy += y * y;
                projected += y.abs() * f64::from(*r);
            }
            // What y would weigh if x had no preferred direction, and what it does weigh.
            let spread = frobenius * frobenius * f64::from(seen.x_energy[row]) / *k as f64;
            let scale = (spread + y_energy).max(f64::from(f32::MIN_POSITIVE));
            let relative = (energy / projections as f64 / scale).sqrt();
            self.tally.worst_relative = self.tally.worst_relative.max(relative);
            self.tally.squares += energy;
            self.tally.residuals += projections;
            self.scale += scale;
            if let Some(honest) = self.honest {
                let allowed = honest.row * honest.row * scale * self.energy.quantile();
                self.tally.row.see(energy / allowed, position);
            }

            let sums = &seen.magnitudes[row * magnitudes..(row + 1) * magnitudes];
            let of_input = input.map_or(0.0, |input| input.residual[row]);
            let limit = bound.magnitude * f64::from(sums[0])
                + (bound.output + bound.projected) * projected
                + of_input
                + f64::from(f32::MIN_POSITIVE);
            let top = f64::from(seen.residual_top[row]);
            self.tally.certified.see(top / limit, position);
            for (i, id) in row_ids.iter().enumerate() {
                let own = f64::from(seen.others[row * sampled + i]);
                let given = f64::from(y[*id as usize]);
                let of_input = input.map_or(0.0, |input| input.elements[row * sampled + i]);
                let limit = bound.magnitude * f64::from(sums[1 + i])
                    + bound.output * given.abs()
                    + of_input
                    + f64::from(f32::MIN_POSITIVE);
                self.tally
                    .element
                    .see((given - own).abs() / limit, position);
                self.tally.elements += 1;
            }
            self.tally.rows += 1;
        }
    }

    /// What it came to.
    pub fn finish(mut self) -> Tally {
        let projections = self.tally.residuals as f64 / self.tally.rows.max(1) as f64;
        self.tally.pooled_relative =
            (self.tally.squares / projections.max(1.0) / self.scale.max(f64::MIN_POSITIVE)).sqrt();
        if let Some(honest) = self.honest {
            // The projections are the same for all rows, so in the worst case (errors all in one direction) their sum has no more
            // degrees of freedom than one row has.
            let allowed = honest.pooled * honest.pooled * self.scale * self.pooled.quantile();
            self.tally
                .pooled
                .see(self.tally.squares / allowed.max(f64::MIN_POSITIVE), 0);
        }
        self.tally
    }
}
