//! What a training can be told.

use crate::labels::Label;
use crate::predictor::{InputScale, Query, Target};
use crate::{Stored, StudyError};

/// Which figure of the validation split chooses the best epoch, at `score >= 0` unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Criterion {
    /// F1: recall that predicts everything does not win.
    F1,
    /// Recall where each token keeps as many entries as are truly active: quality at a given budget.
    RecallAtTrueCount,
    /// Recall: upstream's choice, which predicting everything wins. Training stops above 0.99, as there.
    Recall,
}

/// How predictors are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainOptions {
    /// Neurons or heads.
    pub target: Target,
    /// The hidden state that is looked at.
    pub query: Query,
    /// What counts as active.
    pub label: Label,
    /// Width between the two matrices. More than the smaller of hidden size and outputs adds no map that they could not make, so it is
    /// capped there: [`TrainOptions::rank_for`].
    pub rank: u32,
    /// AdamW's step.
    pub learning_rate: f64,
    /// AdamW's decay.
    pub weight_decay: f64,
    /// Rows of a batch.
    pub batch: u32,
    /// Most epochs.
    pub epochs: u32,
    /// Epochs without improvement that end the training.
    pub patience: u32,
    /// What improvement is.
    pub criterion: Criterion,
    /// Seeds weights, the order of rows and the random reference; at most 2^53 - 1.
    pub seed: u64,
    /// Stored type of the weights. Held-out figures are of the rounded weights.
    pub dtype: Stored,
    /// Scale of the input while training.
    pub input_scale: InputScale,
}

impl TrainOptions {
    /// Upstream's numbers (rank 1000, rate 1e-3, decay 0.01, batches of 1024, 20 epochs, patience 5, seed 0) with three departures,
    /// each towards a fair chance for the predictor: best by F1, rows of unit RMS, and a split by document that the dataset makes.
    pub fn new(target: Target, query: Query, label: Label) -> Self {
        Self {
            target,
            query,
            label,
            rank: 1000,
            learning_rate: 1e-3,
            weight_decay: 0.01,
            batch: 1024,
            epochs: 20,
            patience: 5,
            criterion: Criterion::F1,
            seed: 0,
            dtype: Stored::F16,
            input_scale: InputScale::RowRms,
        }
    }

    /// The rank for these sizes.
    pub fn rank_for(&self, hidden: u32, outputs: u32) -> u32 {
        self.rank.min(hidden).min(outputs)
    }

    /// Checks every number.
    ///
    /// # Errors
    /// The first that is out of its limits.
    pub fn check(&self) -> Result<(), StudyError> {
        let place = "the options of a training";
        let whole = [
            ("rank", self.rank, 1 << 16),
            ("batch", self.batch, 1 << 14),
            ("epochs", self.epochs, 10_000),
            ("patience", self.patience, 10_000),
        ];
        for (key, got, most) in whole {
            if !(1..=most).contains(&got) {
                return Err(StudyError::value(place, key, got, format!("1 to {most}")));
            }
        }
        if !(self.learning_rate > 0.0 && self.learning_rate <= 1.0) {
            let want = "above 0, at most 1";
            return Err(StudyError::value(
                place,
                "learning_rate",
                self.learning_rate,
                want,
            ));
        }
        if !(0.0..=1.0).contains(&self.weight_decay) {
            return Err(StudyError::value(
                place,
                "weight_decay",
                self.weight_decay,
                "0 to 1",
            ));
        }
        if self.seed >= 1 << 53 {
            return Err(StudyError::value(place, "seed", self.seed, "below 2^53"));
        }
        Ok(())
    }
}
