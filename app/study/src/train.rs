//! Training predictors, a layer at a time, on the CPU.
//!
//! Gradients are written out (`network`, held to finite differences by a test) over ndarray's matrix products, because candle would
//! bring tokenizers, zip archives and second versions of other crates for two linear maps. One seed gives the same bits on one kind
//! of CPU, with any number of threads. Memory is bounded by a layer's weights (five copies) and a batch; rows stay in the
//! mapped files.

mod adamw;
mod examples;
mod network;
mod options;
pub(crate) mod products;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use adamw::AdamW;
pub(crate) use examples::{Batch, Examples};
use network::{Gradient, Shape, inactive_weight, step};
pub use options::{Criterion, TrainOptions};

use crate::StudyError;
use crate::dataset::{Dataset, Part};
use crate::metrics::Quality;
use crate::metrics::evaluate::{frequency_ranking, measure, validate};
use crate::predictor::{Predictor, PredictorFacts, PredictorLayer, Target, Weights};
use crate::random::{Purpose, Random};

/// Where a training is; given after each batch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// The layer.
    pub layer: u32,
    /// Layers that are done.
    pub layers_done: u32,
    /// Layers in all.
    pub layers: u32,
    /// Epoch, from 1.
    pub epoch: u32,
    /// Most epochs.
    pub epochs: u32,
    /// Batches of this epoch that are done.
    pub batch: u32,
    /// Batches of an epoch.
    pub batches: u32,
    /// Loss of the last batch.
    pub loss: f64,
    /// Best value of the criterion so far.
    pub best: Option<f64>,
}

/// What an epoch came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Epoch {
    /// From 1.
    pub epoch: u32,
    /// Mean loss of its batches.
    pub loss: f64,
    /// Quality on the validation split at `score >= 0`.
    pub validation: Quality,
    /// Recall on the validation split where each token keeps as many entries as are truly active.
    pub recall_at_true_count: Option<f64>,
    /// Value of the criterion.
    pub value: f64,
}

/// Predictors and how their training went.
#[derive(Debug, Clone, PartialEq)]
pub struct Trained {
    /// All layers, with held-out figures in its facts.
    pub predictor: Predictor,
    /// Epochs of each layer, in the order of the layers.
    pub epochs: Vec<(u32, Vec<Epoch>)>,
}

/// Trains a predictor for each of `layers` (strictly ascending) and measures it on the test split.
///
/// # Errors
/// Options out of their limits; a label or query that does not fit; a part of the split without rows; hidden states that are not
/// finite; a training that diverged; `progress` said to stop.
pub fn train(
    dataset: &Dataset,
    layers: &[u32],
    options: &TrainOptions,
    progress: &mut dyn FnMut(&Step) -> ControlFlow<()>,
) -> Result<Trained, StudyError> {
    options.check()?;
    if layers.is_empty() {
        return Err(StudyError::Empty { what: "layers" });
    }
    let facts = dataset.facts();
    let outputs = facts.columns(options.target.stream()) as u32;
    let rank = options.rank_for(facts.hidden, outputs);
    let split = Rows {
        train: dataset.rows_of(Part::Train)?,
        validation: dataset.rows_of(Part::Validation)?,
        test: dataset.rows_of(Part::Test)?,
    };
    let mut weights = BTreeMap::new();
    let mut entries = Vec::new();
    let mut epochs = Vec::new();
    for (done, &layer) in layers.iter().enumerate() {
        let mut job = Job {
            options,
            split: &split,
            examples: Examples::open(dataset, options, layer, None)?,
            shape: Shape {
                hidden: facts.hidden as usize,
                rank: rank as usize,
                outputs: outputs as usize,
            },
            layer,
        };
        let mut report = |epoch, batch, batches, loss, best| {
            let step = Step {
                layer,
                layers_done: done as u32,
                layers: layers.len() as u32,
                epoch,
                epochs: options.epochs,
                batch,
                batches,
                loss,
                best,
            };
            match progress(&step) {
                ControlFlow::Continue(()) => Ok(()),
                ControlFlow::Break(()) => Err(StudyError::Cancelled),
            }
        };
        let (best, best_epoch, curve) = job.fit(&mut report)?;
        let ranking = frequency_ranking(&mut job.examples, &split.train)?;
        let held_out = measure(
            dataset,
            &mut job.examples,
            &split.test,
            &best,
            rank as usize,
            &ranking,
            options.seed,
            layer,
        )?;
        entries.push(PredictorLayer {
            epoch: best_epoch,
            epochs: curve.len() as u32,
            held_out,
            layer,
            threshold: job.examples.threshold(),
        });
        weights.insert(layer, best);
        epochs.push((layer, curve));
    }
    let facts = PredictorFacts {
        dataset: dataset.digest(),
        dtype: options.dtype,
        family: facts.family.clone(),
        format: PredictorFacts::FORMAT.to_owned(),
        hidden: facts.hidden,
        input_scale: options.input_scale,
        label: options.label,
        layers: entries,
        model_layers: facts.model_layers,
        outputs,
        query: options.query,
        rank,
        root: facts.root,
        seed: options.seed,
        target: options.target,
        version: PredictorFacts::VERSION,
    };
    Ok(Trained {
        predictor: Predictor::new(facts, weights)?,
        epochs,
    })
}

struct Rows {
    train: Vec<u32>,
    validation: Vec<u32>,
    test: Vec<u32>,
}

struct Job<'a> {
    options: &'a TrainOptions,
    split: &'a Rows,
    examples: Examples,
    shape: Shape,
    layer: u32,
}

type Report<'a> = dyn FnMut(u32, u32, u32, f64, Option<f64>) -> Result<(), StudyError> + 'a;

impl Job<'_> {
    /// The best epoch's weights as they will be stored, its number, and all epochs.
    fn fit(&mut self, report: &mut Report<'_>) -> Result<(Weights, u32, Vec<Epoch>), StudyError> {
        let options = self.options;
        let mut weights = self.first_weights();
        let adam = |values| AdamW::new(values, options.learning_rate, options.weight_decay);
        let (mut adam_down, mut adam_up) = (adam(weights.down.len()), adam(weights.up.len()));
        let mut gradient = Gradient::new(self.shape);
        let mut shuffle = Random::new(options.seed, Purpose::Shuffle, self.layer.into());
        let mut order = self.split.train.clone();
        let batches = order.len().div_ceil(options.batch as usize) as u32;
        // Upstream: `mean(y) + 0.005` for neurons, `mean(y)` for heads.
        let extra = match options.target {
            Target::Mlp => 0.005,
            Target::Att => 0.0,
        };
        let mut batch = Batch::default();
        let mut best: Option<(f64, u32, Weights)> = None;
        let mut curve: Vec<Epoch> = Vec::new();
        for epoch in 1..=options.epochs {
            let rows = order.len();
            shuffle.shuffle_front(&mut order, rows);
            let mut sum = 0.0;
            for (done, rows) in order.chunks(options.batch as usize).enumerate() {
                self.examples.read(rows, &mut batch)?;
                let inactive = inactive_weight(&batch.labels, extra);
                let loss = step(
                    &weights,
                    self.shape,
                    &batch.x,
                    &batch.labels,
                    inactive,
                    &mut gradient,
                )?;
                if !loss.is_finite() {
                    return Err(self.diverged(epoch));
                }
                adam_down.step(&mut weights.down, &gradient.down);
                adam_up.step(&mut weights.up, &gradient.up);
                sum += loss * rows.len() as f64;
                let value = best.as_ref().map(|(value, ..)| *value);
                report(epoch, done as u32 + 1, batches, loss, value)?;
            }
            let stored = self.stored(&weights, epoch)?;
            let entry = self.epoch(&stored, epoch, sum / rows.max(1) as f64)?;
            let value = entry.value;
            curve.push(entry);
            if best.as_ref().is_none_or(|(most, ..)| value > *most) {
                best = Some((value, epoch, stored));
            }
            let since = best.as_ref().map_or(0, |(_, at, _)| epoch - at);
            if since >= options.patience || (options.criterion == Criterion::Recall && value > 0.99)
            {
                break;
            }
        }
        let (_, epoch, weights) = best.ok_or(StudyError::Empty { what: "epochs" })?;
        Ok((weights, epoch, curve))
    }

    /// PyTorch's first weights of a linear layer: uniform within 1/sqrt(inputs).
    fn first_weights(&self) -> Weights {
        let mut random = Random::new(self.options.seed, Purpose::Weights, self.layer.into());
        let mut draw = |values: usize, inputs: usize| -> Vec<f32> {
            let limit = (1.0 / (inputs.max(1) as f64).sqrt()) as f32;
            (0..values).map(|_| random.symmetric(limit)).collect()
        };
        let Shape {
            hidden,
            rank,
            outputs,
        } = self.shape;
        Weights {
            down: draw(rank * hidden, hidden),
            up: draw(outputs * rank, rank),
        }
    }

    /// The weights as the file will have them; what chooses the epoch is what will be used.
    fn stored(&self, weights: &Weights, epoch: u32) -> Result<Weights, StudyError> {
        let round = |values: &[f32]| -> Option<Vec<f32>> {
            values
                .iter()
                .map(|v| Some(self.options.dtype.round(*v)).filter(|v| v.is_finite()))
                .collect()
        };
        match (round(&weights.down), round(&weights.up)) {
            (Some(down), Some(up)) => Ok(Weights { down, up }),
            _ => Err(self.diverged(epoch)),
        }
    }

    fn epoch(&mut self, weights: &Weights, epoch: u32, loss: f64) -> Result<Epoch, StudyError> {
        let validation = validate(
            &mut self.examples,
            &self.split.validation,
            weights,
            self.shape.rank,
        )?;
        // A split without one active entry has no recall; no epoch is then better than the first.
        let value = match self.options.criterion {
            Criterion::F1 => validation.at_zero.f1,
            Criterion::Recall => validation.at_zero.recall,
            Criterion::RecallAtTrueCount => validation.at_count.recall,
        };
        Ok(Epoch {
            epoch,
            loss,
            validation: validation.at_zero,
            recall_at_true_count: validation.at_count.recall,
            value: value.unwrap_or(0.0),
        })
    }

    fn diverged(&self, epoch: u32) -> StudyError {
        StudyError::Diverged {
            layer: self.layer,
            epoch,
        }
    }
}
