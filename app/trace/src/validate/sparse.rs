//! The rules of the manifest's `sparse`.

use super::{ascending, range};
use crate::limits::MAX_PRODUCT_WIDTH;
use crate::{Decimal, MaskName, SparseClaim, SparseRule, TraceError};

impl SparseClaim {
    /// Checks what a model with so many layers can claim: masks, then the rule.
    ///
    /// # Errors
    /// The first [`TraceError`].
    pub fn check(&self, layers: u32) -> Result<(), TraceError> {
        validate(layers, self)
    }
}

fn validate(layers: u32, claim: &SparseClaim) -> Result<(), TraceError> {
    let names: Vec<MaskName> = claim.masks.iter().map(|mask| mask.name).collect();
    ascending("sparse.masks", &names)?;
    for mask in &claim.masks {
        range("sparse.masks.width", mask.width, 1, MAX_PRODUCT_WIDTH)?;
    }
    let mask = MaskName::Neurons;
    let width = claim.width(mask).ok_or(TraceError::MissingMask { mask })?;
    let mask = MaskName::Input;
    let needed = matches!(claim.rule, SparseRule::Teal { .. });
    match (needed, claim.width(mask)) {
        (true, None) => return Err(TraceError::MissingMask { mask }),
        (false, Some(_)) => {
            let rule = claim.rule.kind();
            return Err(TraceError::UnexpectedMask { mask, rule });
        }
        _ => {}
    }
    let thresholds = |field, list: &[Decimal]| match (list.len(), layers) {
        (got, want) if got == want as usize => Ok(()),
        (got, want) => Err(TraceError::ThresholdCount { field, got, want }),
    };
    match &claim.rule {
        SparseRule::Given { .. } => Ok(()),
        &SparseRule::TopK { keep } | &SparseRule::Predicted { keep, .. } => {
            range("sparse.rule.keep", keep, 0, width)
        }
        SparseRule::Cats { thresholds: list } => thresholds("sparse.rule.thresholds", list),
        SparseRule::Teal { input, neurons } => {
            thresholds("sparse.rule.input", input)?;
            thresholds("sparse.rule.neurons", neurons)
        }
    }
}
