//! How long a trace is, from its manifest alone: no answer needs to be read further.

use assay_trace::limits::MAX_HEADER_BYTES;
use assay_trace::{Digest, Manifest};

/// Most bytes that a file with this (valid) manifest has: all but the header's length is exact.
pub(crate) fn max_file_bytes(manifest: &Manifest) -> u64 {
    const DIGEST: u64 = Digest::LEN as u64;
    let positions = manifest.positions() as u64;
    let (layers, outputs) = (
        u64::from(manifest.model.layers),
        u64::from(manifest.output.tokens),
    );
    let element = manifest.state_dtype.bytes() as u64;
    let opened = manifest.opened.len() as u64 * u64::from(manifest.model.hidden);
    let mut digests = 1 + outputs + positions * (layers + 1);
    let (mut row, mut logits) = (opened * element, 0);
    if let Some(claim) = &manifest.linears {
        let widths: u64 = claim.products.iter().map(|p| u64::from(p.width)).sum();
        digests += positions * layers;
        // Integer sums have their own size, whatever hidden states have.
        let element = manifest.linear_bytes() as u64;
        row += claim.layers.len() as u64 * widths * element;
        logits = claim.logits.len() as u64 * u64::from(manifest.model.vocab) * 4;
    }
    let masks = manifest.sparse.as_ref().map_or(0, |claim| {
        (positions * layers).saturating_mul(claim.layer_bytes() as u64)
    });
    // Within the format's caps no product above leaves 64 bits; the sum of rows may.
    let rows = positions.saturating_mul(row);
    let tokens = 4 * manifest.total_tokens() as u64;
    (8 + MAX_HEADER_BYTES + digests * DIGEST + tokens + logits)
        .saturating_add(rows)
        .saturating_add(masks)
}
