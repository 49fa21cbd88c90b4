//! `f32|bf16|f16`: what values are rounded to between operations, as a prover emulates it and a verifier asks for it.

use assay_trace::Compute;

/// Reads a flag's value.
pub fn parse(text: &str) -> Result<Compute, String> {
    let found = Compute::ALL.into_iter().find(|c| c.name() == text);
    found.ok_or_else(|| "want f32, bf16 or f16".to_owned())
}
