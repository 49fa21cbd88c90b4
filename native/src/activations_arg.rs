//! `--activations float|int8|blocks|ggml`: what linear products round their inputs to, in a proof and in its verification alike.

use assay_engine::ActivationType;

/// The flag of a prover.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ActivationsArgs {
    /// What linear products round their inputs to. `int8`: rows of 8-bit integers, so that products with int8 weights are integers, equal
    /// everywhere and audited exactly; `blocks`: blocks of 32 8-bit integers with f16 scales, the same for weights of q8_0, q4_0, q5_0, q4_k,
    /// q6_k and int4 in groups; `ggml`: blocks, as llama.cpp rounds before quantised weights. Each is another function than `float`, so a
    /// verifier must ask for the same
    #[arg(long, value_name = "TYPE", default_value = "float", value_parser = parse)]
    pub activations: ActivationType,
}

/// Reads the flag's value.
pub fn parse(text: &str) -> Result<ActivationType, String> {
    let found = ActivationType::ALL.into_iter().find(|t| t.as_str() == text);
    found.ok_or_else(|| "want float, int8, blocks or ggml".to_owned())
}
