//! Which plans a model on a GPU has: by rows, and by who makes the masks.

use super::planner::{Planner, Products, Program};
use super::sparse::{GpuSparse, Masks};
use crate::EngineError;

/// A forward pass for many rows, and one for a single row.
pub(super) struct Programs {
    many: Program,
    one: Program,
}

impl Programs {
    /// With every neuron.
    pub async fn dense(planner: &Planner<'_>) -> Result<Self, EngineError> {
        let variants = planner.gpu.info.variants;
        Ok(Self {
            many: planner
                .dense(Products::many(&variants).keeping(planner.rounding))
                .await?,
            one: planner
                .dense(Products::one(&variants).keeping(planner.rounding))
                .await?,
        })
    }

    /// With active neurons, masks coming from `masks`.
    pub async fn sparse(
        sparse: &GpuSparse,
        planner: &Planner<'_>,
        masks: Masks,
    ) -> Result<Self, EngineError> {
        let variants = planner.gpu.info.variants;
        Ok(Self {
            many: sparse
                .program(planner, Products::many(&variants), masks)
                .await?,
            one: sparse
                .program(planner, Products::one(&variants), masks)
                .await?,
        })
    }

    pub fn of(&self, rows: usize) -> &Program {
        if rows == 1 { &self.one } else { &self.many }
    }
}

/// What was planned so far. A dense model's plan is made as it loads; a sparse one's by the first run that needs it, since a prover
/// never brings masks and a verifier always does.
#[derive(Default)]
pub(super) struct Plans {
    /// Masks by the rule; or dense.
    made: Option<Programs>,
    judged: Option<Programs>,
    known: Option<Programs>,
}

impl Plans {
    pub fn get(&self, masks: Masks) -> Option<&Programs> {
        match masks {
            Masks::Made => self.made.as_ref(),
            Masks::Judged => self.judged.as_ref(),
            Masks::Known => self.known.as_ref(),
        }
    }

    /// Whichever there is: all have the same products, whoever makes the masks.
    pub fn any(&self) -> Option<&Programs> {
        let all = [&self.made, &self.judged, &self.known];
        all.into_iter().find_map(Option::as_ref)
    }

    pub fn set(&mut self, masks: Masks, programs: Programs) {
        match masks {
            Masks::Made => self.made = Some(programs),
            Masks::Judged => self.judged = Some(programs),
            Masks::Known => self.known = Some(programs),
        }
    }
}
