//! The rules of the manifest's `linears`.

use super::{ascending, indices, range};
use crate::limits::MAX_PRODUCT_WIDTH;
use crate::{Linear, LinearsClaim, Manifest, TraceError};

/// Checks `claim` in a manifest whose sizes and lists are valid: products, then what is open, then the hidden states
/// that must be open with it.
pub(super) fn validate(manifest: &Manifest, claim: &LinearsClaim) -> Result<(), TraceError> {
    products(claim, manifest.model.hidden)?;
    // Both counts are at least 1 by now.
    let (last_layer, last_output) = (manifest.model.layers - 1, manifest.output.tokens - 1);
    indices("linears.layers", &claim.layers, last_layer)?;
    indices("linears.logits", &claim.logits, last_output)?;
    let is_open = |state: u32| manifest.opened.binary_search(&state).is_ok();
    for &layer in &claim.layers {
        if let Some(state) = [layer, layer + 1]
            .into_iter()
            .find(|&state| !is_open(state))
        {
            return Err(TraceError::LayerWithoutState { layer, state });
        }
    }
    let state = manifest.model.layers;
    if !claim.logits.is_empty() && !is_open(state) {
        return Err(TraceError::LogitsWithoutState { state });
    }
    Ok(())
}

fn products(claim: &LinearsClaim, hidden: u32) -> Result<(), TraceError> {
    let names: Vec<Linear> = claim.products.iter().map(|product| product.name).collect();
    ascending("linears.products", &names)?;
    for product in Linear::ALL {
        if !product.is_optional() && !names.contains(&product) {
            return Err(TraceError::MissingProduct { product });
        }
    }
    for product in &claim.products {
        let (name, got) = (product.name, product.width);
        range("linears.products.width", got, 1, MAX_PRODUCT_WIDTH)?;
        if name.ends_in_residual() && got != hidden {
            return Err(TraceError::ProductWidth {
                product: name,
                got,
                want: hidden,
            });
        }
    }
    Ok(())
}
