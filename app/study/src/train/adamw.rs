//! AdamW (Loshchilov and Hutter, 2019), as in PyTorch: decay apart from the gradient, both moments corrected for their start.

use rayon::prelude::*;

const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;

/// Moments of one matrix.
pub(crate) struct AdamW {
    rate: f64,
    decay: f64,
    steps: i32,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl AdamW {
    pub(crate) fn new(values: usize, rate: f64, decay: f64) -> Self {
        Self {
            rate,
            decay,
            steps: 0,
            first: vec![0.0; values],
            second: vec![0.0; values],
        }
    }

    /// One step of `values` against `gradient`; all of one length.
    pub(crate) fn step(&mut self, values: &mut [f32], gradient: &[f32]) {
        const PIECE: usize = 1 << 14;
        self.steps = self.steps.saturating_add(1);
        let correct1 = 1.0 - f64::from(BETA1).powi(self.steps);
        let correct2 = 1.0 - f64::from(BETA2).powi(self.steps);
        let keep = (1.0 - self.rate * self.decay) as f32;
        let size = (self.rate / correct1) as f32;
        let root = correct2.sqrt() as f32;
        values
            .par_chunks_mut(PIECE)
            .zip(gradient.par_chunks(PIECE))
            .zip(self.first.par_chunks_mut(PIECE))
            .zip(self.second.par_chunks_mut(PIECE))
            .for_each(|(((values, gradient), first), second)| {
                for (((value, g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                    *m = BETA1 * *m + (1.0 - BETA1) * g;
                    *v = BETA2 * *v + (1.0 - BETA2) * g * g;
                    *value = keep * *value - size * *m / (v.sqrt() / root + EPSILON);
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::AdamW;

    /// The same three steps written from the paper's algorithm 2, in f64.
    #[test]
    fn steps_are_those_of_the_paper() {
        let (rate, decay) = (0.1, 0.01);
        let mut adam = AdamW::new(2, rate, decay);
        let mut values = [1.0f32, -2.0];
        let (mut want, mut m, mut v) = ([1.0f64, -2.0], [0.0f64; 2], [0.0f64; 2]);
        for t in 1..=3 {
            let gradient = [0.5 * t as f32, -0.001];
            adam.step(&mut values, &gradient);
            for i in 0..2 {
                let g = f64::from(gradient[i]);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let (mh, vh) = (
                    m[i] / (1.0 - 0.9f64.powi(t)),
                    v[i] / (1.0 - 0.999f64.powi(t)),
                );
                want[i] -= rate * (mh / (vh.sqrt() + 1e-8) + decay * want[i]);
                assert!((f64::from(values[i]) - want[i]).abs() < 2e-5, "{t} {i}");
            }
        }
    }
}
