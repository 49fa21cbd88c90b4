//! A verdict before the end: a run that stops once the evidence suffices.
//!
//! Only a reject comes early. Evidence against a trace stays evidence whatever follows: a row beyond its limit, a token that
//! nothing explains, a likelihood ratio that has crossed its bound (Ville's inequality allows a look at each position). An accept
//! has no such moment: a prover that was honest so far may turn at the next position, and would, if it knew where verifiers stop.

use std::num::NonZeroUsize;

use assay_engine::EngineError;

use crate::draft::Draft;
use crate::report::{Check, Outcome};
use crate::verify::VerifyError;

/// Positions of the first chunk of a run that may stop after it; each later one is up to twice as long.
pub(crate) const FIRST_ROWS: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// Why a run ended before its last position.
#[derive(Debug)]
pub(crate) enum Halt {
    /// What was seen is enough.
    Enough,
    /// The verifier failed.
    Failed(VerifyError),
}

impl From<EngineError> for Halt {
    fn from(err: EngineError) -> Self {
        Self::Failed(err.into())
    }
}

/// Whether a run stopped because it had enough.
pub(crate) fn stopped(ended: Result<(), Halt>) -> Result<bool, VerifyError> {
    match ended {
        Ok(()) => Ok(false),
        Err(Halt::Enough) => Ok(true),
        Err(Halt::Failed(err)) => Err(err),
    }
}

impl Draft {
    /// Says what was left out. The checks before this one must have found what the run stopped for.
    pub(crate) fn stopped_early(&mut self) {
        let (seen, all) = (self.coverage.positions, self.coverage.positions_total);
        if seen < all {
            self.coverage.not_covered.push(format!(
                "positions {seen} to {}: the run stopped at the first evidence that sufficed, as was asked for",
                all - 1
            ));
        }
        if !self
            .checks
            .iter()
            .any(|check| check.outcome == Outcome::Fail)
        {
            // Unreachable while checks and the reason to stop agree; a part of a trace must never pass for all of it.
            self.checks.push(Check::new(
                "hidden-states",
                Outcome::Inconclusive,
                "nothing-checked",
                "the run stopped early, and no check says why: the rest was not checked",
            ));
        }
    }
}
