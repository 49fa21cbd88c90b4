//! The rules of the manifest's `sparse`.

use super::{ascending, range};
use crate::limits::MAX_PRODUCT_WIDTH;
use crate::{Decimal, Manifest, MaskName, SparseClaim, SparseRule, TraceError};

/// Checks `claim` in a manifest whose sizes are valid: masks, then the rule.
pub(super) fn validate(manifest: &Manifest, claim: &SparseClaim) -> Result<(), TraceError> {
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
    let thresholds = |field, list: &[Decimal]| match (list.len(), manifest.model.layers) {
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
