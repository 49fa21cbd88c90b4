//! Batches of inputs and labels, read from a dataset's mapped files.

use rayon::prelude::*;

use super::options::TrainOptions;
use crate::StudyError;
use crate::dataset::{Dataset, Matrix};
use crate::labels::{Label, Labeller};
use crate::predictor::InputScale;

/// Where a layer's batches come from.
pub(crate) struct Examples {
    x: Matrix,
    y: Matrix,
    labeller: Labeller,
    scale: InputScale,
    activations: Vec<f32>,
}

/// Inputs `[rows, hidden]` and labels `[rows, outputs]`.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) x: Vec<f32>,
    pub(crate) labels: Vec<u8>,
}

impl Examples {
    /// `threshold` is that of a quantile, where it is known; else it is estimated on the training split.
    pub(crate) fn open(
        dataset: &Dataset,
        options: &TrainOptions,
        layer: u32,
        threshold: Option<f32>,
    ) -> Result<Self, StudyError> {
        let (stream, from) =
            options
                .query
                .source(options.target, layer)
                .ok_or(StudyError::NoQuery {
                    layer,
                    query: options.query.name(),
                })?;
        let y = dataset.matrix(options.target.stream(), layer)?;
        let labeller = match (options.label, threshold) {
            (Label::Quantile { .. }, Some(known)) => Labeller::with_threshold(y.columns(), known),
            (label, _) => Labeller::fit(dataset, options.target, &label, layer)?,
        };
        Ok(Self {
            x: dataset.matrix(stream, from)?,
            y,
            labeller,
            scale: options.input_scale,
            activations: Vec::new(),
        })
    }

    pub(crate) fn hidden(&self) -> usize {
        self.x.columns()
    }

    pub(crate) fn outputs(&self) -> usize {
        self.y.columns()
    }

    pub(crate) fn threshold(&self) -> Option<f32> {
        self.labeller.threshold()
    }

    /// Inputs and labels of `rows`, as the training sees them.
    pub(crate) fn read(&mut self, rows: &[u32], batch: &mut Batch) -> Result<(), StudyError> {
        self.x.gather(rows, &mut batch.x)?;
        if self.scale == InputScale::RowRms {
            scale_rows(&mut batch.x, self.x.columns());
        }
        self.labels(rows, &mut batch.labels)
    }

    /// Inputs and labels of `rows`; the inputs as they are in the residual stream, which is what a run would hand to the predictor.
    pub(crate) fn read_raw(&mut self, rows: &[u32], batch: &mut Batch) -> Result<(), StudyError> {
        self.x.gather(rows, &mut batch.x)?;
        self.labels(rows, &mut batch.labels)
    }

    pub(crate) fn labels(&mut self, rows: &[u32], labels: &mut Vec<u8>) -> Result<(), StudyError> {
        self.y.gather(rows, &mut self.activations)?;
        self.labeller.mark(&self.activations, labels)
    }
}

/// Divides each row by its root mean square; a row of zeros stays.
fn scale_rows(x: &mut [f32], columns: usize) {
    x.par_chunks_exact_mut(columns.max(1)).for_each(|row| {
        let energy: f64 = row.iter().map(|v| f64::from(*v) * f64::from(*v)).sum();
        if energy > 0.0 {
            let factor = (row.len() as f64 / energy).sqrt();
            for value in row {
                *value = (f64::from(*value) * factor) as f32;
            }
        }
    });
}
