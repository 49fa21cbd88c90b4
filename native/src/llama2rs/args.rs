//! Flags.

use anyhow::{Context as _, bail};
use assay_llama2rs::SamplerSpec;
use assay_trace::Digest;

use crate::sampler_arg::SamplerArgs;

/// What only a trace of llama2-rs can be asked.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "A trace of llama2-rs (--verify FILE)")]
pub struct Llama2RsArgs {
    /// Judge only the steps up to this one, and its proof
    #[arg(long, value_name = "N", requires = "verify")]
    iteration: Option<usize>,

    /// The Merkle root that it must have, from elsewhere
    #[arg(long, value_name = "HEX", requires = "verify", value_parser = crate::commands::prove::nonce)]
    expect_root: Option<Digest>,

    /// The claim that it must be of: root, steps, prompt, weights, tokenizer and sampler in one digest
    #[arg(long, value_name = "HEX", requires = "verify", value_parser = crate::commands::prove::nonce)]
    expect_claim: Option<Digest>,
}

impl Llama2RsArgs {
    /// For a trace of Assay's own, none of this means anything.
    pub fn refuse_given(&self) -> anyhow::Result<()> {
        let given = [
            ("--iteration", self.iteration.is_some()),
            ("--expect-root", self.expect_root.is_some()),
            ("--expect-claim", self.expect_claim.is_some()),
        ];
        match given.iter().find(|(_, given)| *given) {
            Some((flag, _)) => bail!("{flag} is for a trace of llama2-rs, and this is none"),
            None => Ok(()),
        }
    }

    /// Together with the sampler and the prompt.
    pub fn asked(&self, sampler: Option<SamplerSpec>, prompt: Option<Vec<u32>>) -> Asked {
        Asked(assay_llama2rs::check::Expect {
            sampler,
            prompt,
            root: self.expect_root,
            claim: self.expect_claim,
            iteration: self.iteration,
        })
    }
}

/// What a trace of llama2-rs is held against, besides the model.
pub struct Asked(pub assay_llama2rs::check::Expect);

/// Numbers of a sampler as the user gave them.
#[derive(Debug, Clone, Copy, Default)]
pub struct SamplerNumbers {
    /// `--temperature`.
    pub temperature: Option<f64>,
    /// `--top-p`.
    pub top_p: Option<f64>,
    /// `--seed`.
    pub seed: Option<u64>,
}

impl SamplerNumbers {
    /// Of the flags; `--top-k` is unknown to llama2-rs.
    pub fn of(args: &SamplerArgs) -> anyhow::Result<Self> {
        if args.top_k.is_some() {
            bail!("llama2-rs knows no top-k\nleave --top-k out");
        }
        Ok(Self {
            temperature: args.temperature,
            top_p: args.top_p,
            seed: args.seed,
        })
    }

    /// The sampler; `None` if nothing was said. What is left out is what the program itself takes, but for its seed, which is the time.
    pub fn spec(self) -> anyhow::Result<Option<SamplerSpec>> {
        let Self {
            temperature,
            top_p,
            seed,
        } = self;
        if temperature.is_none() && top_p.is_none() && seed.is_none() {
            return Ok(None);
        }
        let temperature = temperature.map_or(SamplerSpec::TEMPERATURE, |t| t as f32);
        let top_p = top_p.map_or(SamplerSpec::TOP_P, |p| p as f32);
        let seed = match seed {
            Some(seed) => seed,
            None if temperature == 0.0 => 1, // greedy asks for none
            None => return Err(anyhow::anyhow!("a sampler has a seed\ngive it with --seed")),
        };
        SamplerSpec::new(temperature, top_p, seed)
            .map(Some)
            .context("no sampler of llama2-rs")
    }
}

/// A sampler in words.
pub fn in_words(sampler: &SamplerSpec) -> String {
    match sampler {
        SamplerSpec::Greedy => "greedy".to_owned(),
        SamplerSpec::Seeded {
            temperature,
            top_p,
            seed,
        } => format!("temperature {temperature}, top-p {top_p}, seed {seed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers() {
        let spec = |temperature, top_p, seed| {
            SamplerNumbers {
                temperature,
                top_p,
                seed,
            }
            .spec()
        };
        assert_eq!(spec(None, None, None).ok(), Some(None));
        assert_eq!(
            spec(Some(0.0), None, None).ok(),
            Some(Some(SamplerSpec::Greedy))
        );
        let seeded = |temperature, top_p, seed| {
            Some(Some(SamplerSpec::Seeded {
                temperature,
                top_p,
                seed,
            }))
        };
        assert_eq!(spec(None, None, Some(5)).ok(), seeded(1.0, 0.9, 5));
        assert_eq!(
            spec(Some(0.8), Some(0.5), Some(5)).ok(),
            seeded(0.8, 0.5, 5)
        );
        assert!(spec(Some(0.8), None, None).is_err(), "no seed");
        assert!(spec(Some(0.8), None, Some(0)).is_err(), "the time of day");
        assert!(spec(Some(-0.8), None, Some(1)).is_err());
    }
}
