//! Which documents train, which stop the training, and which are measured on.

use serde::{Deserialize, Serialize};

use crate::StudyError;
use crate::random::{Purpose, Random};

/// One side of a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// Weights, thresholds and frequencies come from here.
    Train,
    /// Chooses the best epoch and stops the training; so it is no longer held out.
    Validation,
    /// Figures come from here, and from nothing else.
    Test,
}

impl Part {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "training",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// A split by *document*: of each `block` documents in a row, `test` and `validation` are held out, drawn from `seed`. Tokens of
/// one document are so alike that a split by token would measure memory. (Upstream splits by token, and its first held-out item is
/// a training row.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Documents of a block, 3 to 1000.
    pub block: u32,
    /// Draws which ones; at most 2^53 - 1.
    pub seed: u64,
    /// Documents of a block that are measured on, at least 1.
    pub test: u32,
    /// Documents of a block that stop the training, at least 1. Fewer than `block` with `test`.
    pub validation: u32,
}

impl Default for Split {
    /// 80 % training, 10 % validation, 10 % test.
    fn default() -> Self {
        Self {
            block: 10,
            seed: 0,
            test: 1,
            validation: 1,
        }
    }
}

impl Split {
    pub(super) fn check(&self) -> Result<(), StudyError> {
        let held_out = u64::from(self.test) + u64::from(self.validation);
        let fits = (3..=1000).contains(&self.block)
            && self.test >= 1
            && self.validation >= 1
            && held_out < u64::from(self.block)
            && self.seed < 1 << 53;
        if fits {
            return Ok(());
        }
        Err(StudyError::value(
            "`dataset.json`",
            "split",
            format!("{self:?}"),
            "a block of 3 to 1000 with at least one document of each part, seed below 2^53",
        ))
    }

    /// The part of each of a block's documents.
    pub(super) fn block(&self, block: u32) -> Vec<Part> {
        let mut order: Vec<u32> = (0..self.block).collect();
        let held_out = (self.test + self.validation) as usize;
        Random::new(self.seed, Purpose::Split, block.into()).shuffle_front(&mut order, held_out);
        let mut parts = vec![Part::Train; self.block as usize];
        for (rank, &document) in order.iter().take(held_out).enumerate() {
            if let Some(part) = parts.get_mut(document as usize) {
                *part = if rank < self.test as usize {
                    Part::Test
                } else {
                    Part::Validation
                };
            }
        }
        parts
    }

    /// The part that `document` belongs to. The split must have been checked.
    pub fn part(&self, document: u32) -> Part {
        let size = self.block.max(1);
        let parts = self.block(document / size);
        parts
            .get((document % size) as usize)
            .copied()
            .unwrap_or(Part::Train)
    }
}
