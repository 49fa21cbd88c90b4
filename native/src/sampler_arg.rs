//! How tokens are chosen: flags to the sampler that goes into the trace, with the very numbers that go there.

use anyhow::{Context as _, ensure};
use assay_engine::sampler::SamplerSpec;
use assay_trace::Decimal;

/// The sampler's flags.
#[derive(Debug, clap::Args)]
pub struct SamplerArgs {
    /// Sample at this temperature; 0 is greedy [default: 0]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    pub temperature: Option<f64>,

    /// Sample from the smallest set with this much probability [default: 1]
    #[arg(long, value_name = "P", allow_hyphen_values = true)]
    pub top_p: Option<f64>,

    /// Sample from the K most likely tokens; 0 is all [default: 0]
    #[arg(long, value_name = "K")]
    pub top_k: Option<u32>,

    /// Seed of the sampler's noise [default: random, and printed]
    #[arg(long, value_name = "S")]
    pub seed: Option<u64>,
}

impl SamplerArgs {
    /// The sampler; draws a seed if there is none and one is needed.
    pub fn spec(&self) -> anyhow::Result<SamplerSpec> {
        spec(
            self.temperature.unwrap_or(0.0),
            self.top_p,
            self.top_k,
            || match self.seed {
                Some(seed) => Ok(seed),
                None => getrandom::u64()
                    .ok()
                    .context("the system gave no random seed\ngive one with --seed"),
            },
        )
    }

    /// Flags that greedy choice ignores.
    pub fn ignored(&self) -> Vec<&'static str> {
        if self.temperature.unwrap_or(0.0) > 0.0 {
            return Vec::new();
        }
        let given = [
            ("--top-p", self.top_p.is_some()),
            ("--top-k", self.top_k.is_some()),
            ("--seed", self.seed.is_some()),
        ];
        given
            .iter()
            .filter(|(_, given)| *given)
            .map(|(flag, _)| *flag)
            .collect()
    }
}

/// Greedy at temperature 0, else seeded sampling. Numbers are rounded to the nine places that a trace keeps, so that the
/// prover uses what the verifier will read.
pub fn spec(
    temperature: f64,
    top_p: Option<f64>,
    top_k: Option<u32>,
    seed: impl FnOnce() -> anyhow::Result<u64>,
) -> anyhow::Result<SamplerSpec> {
    let decimal = |name: &str, value: f64| {
        let decimal = Decimal::from_f64(value).ok();
        decimal
            .map(Decimal::to_f64)
            .with_context(|| format!("{name} is out of range: got {value}"))
    };
    let rounded = decimal("temperature", temperature)?;
    let top_p = decimal("top-p", top_p.unwrap_or(1.0))?;
    ensure!(
        top_p > 0.0 && top_p <= 1.0,
        "top-p is out of range: got {top_p}, want above 0 and at most 1"
    );
    if temperature == 0.0 {
        return Ok(SamplerSpec::Greedy);
    }
    ensure!(
        rounded > 0.0,
        "temperature is too small: got {temperature}, want 0 or at least 0.000000001"
    );
    Ok(SamplerSpec::Gumbel {
        seed: seed()?,
        temperature: rounded,
        top_k: top_k.unwrap_or(0),
        top_p,
    })
}

/// A sampler in words.
pub fn in_words(sampler: &assay_trace::Sampler) -> String {
    match sampler {
        assay_trace::Sampler::Greedy => "greedy".to_owned(),
        assay_trace::Sampler::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        } => {
            let mut words = format!("temperature {temperature}");
            if *top_k > 0 {
                words += &format!(", top-k {top_k}");
            }
            if *top_p < Decimal::ONE {
                words += &format!(", top-p {top_p}");
            }
            format!("{words}, seed {seed}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers() {
        let spec = |t, p, k| spec(t, p, k, || Ok(7)).ok();
        assert_eq!(spec(0.0, Some(0.5), None), Some(SamplerSpec::Greedy));
        let (temperature, top_p) = (0.8, 0.95);
        assert_eq!(
            spec(0.8, Some(0.95), Some(40)),
            Some(SamplerSpec::Gumbel {
                seed: 7,
                temperature,
                top_k: 40,
                top_p
            })
        );
        for bad in [f64::NAN, -1.0, f64::INFINITY, 1e-12, 1e7] {
            assert_eq!(spec(bad, None, None), None, "temperature {bad}");
        }
        for bad in [f64::NAN, -1.0, 0.0, 1.5] {
            assert_eq!(spec(1.0, Some(bad), None), None, "top-p {bad}");
        }
    }
}
