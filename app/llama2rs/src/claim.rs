//! One digest over everything that makes a trace what it is: the program's root covers positions, tokens and logits, and nothing of the
//! prompt's text, the number of steps, the weights, the tokenizer or the sampler. Two sides that agree on a claim agree on all of it.

use assay_trace::Digest;

use crate::sampler::SamplerSpec;

const DOMAIN: &[u8] = b"assay llama2-rs claim v1\0";

/// What is bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim<'a> {
    /// The Merkle root.
    pub root: Digest,
    /// How many leaves it is over.
    pub count: u64,
    /// Steps asked for.
    pub steps: u64,
    /// The prompt's text.
    pub prompt: &'a str,
    /// Root of the weights, as Assay computes it.
    pub model: Digest,
    /// The tokenizer's digest; `None` without one.
    pub tokenizer: Option<Digest>,
    /// The sampler.
    pub sampler: SamplerSpec,
}

impl Claim<'_> {
    /// SHA-256 over a domain and then all fields, each of fixed length or with its length before it: root, count, steps (u64), prompt
    /// (u64 length, bytes), model, tokenizer (u8, digest), sampler (u8: 0 greedy; 1, then temperature and top-p as the bits of an f32,
    /// and the seed), all little-endian.
    pub fn digest(&self) -> Digest {
        let mut bytes = DOMAIN.to_vec();
        bytes.extend(self.root.0);
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.steps.to_le_bytes());
        bytes.extend((self.prompt.len() as u64).to_le_bytes());
        bytes.extend(self.prompt.as_bytes());
        bytes.extend(self.model.0);
        bytes.push(u8::from(self.tokenizer.is_some()));
        bytes.extend(self.tokenizer.unwrap_or(Digest::ZERO).0);
        match self.sampler {
            SamplerSpec::Greedy => bytes.push(0),
            SamplerSpec::Seeded {
                temperature,
                top_p,
                seed,
            } => {
                bytes.push(1);
                bytes.extend(temperature.to_bits().to_le_bytes());
                bytes.extend(top_p.to_bits().to_le_bytes());
                bytes.extend(seed.to_le_bytes());
            }
        }
        Digest::of(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_bound() {
        let seeded = |temperature, top_p, seed| SamplerSpec::Seeded {
            temperature,
            top_p,
            seed,
        };
        let base = Claim {
            root: Digest([1; 32]),
            count: 3,
            steps: 5,
            prompt: "a",
            model: Digest([2; 32]),
            tokenizer: Some(Digest([3; 32])),
            sampler: seeded(0.8, 0.9, 42),
        };
        let others = [
            Claim {
                root: Digest([9; 32]),
                ..base.clone()
            },
            Claim {
                count: 4,
                ..base.clone()
            },
            Claim {
                steps: 6,
                ..base.clone()
            },
            Claim {
                prompt: "b",
                ..base.clone()
            },
            Claim {
                prompt: "",
                ..base.clone()
            },
            Claim {
                model: Digest([9; 32]),
                ..base.clone()
            },
            Claim {
                tokenizer: None,
                ..base.clone()
            },
            Claim {
                tokenizer: Some(Digest::ZERO),
                ..base.clone()
            },
            Claim {
                sampler: SamplerSpec::Greedy,
                ..base.clone()
            },
            Claim {
                sampler: seeded(0.7, 0.9, 42),
                ..base.clone()
            },
            Claim {
                sampler: seeded(0.8, 0.8, 42),
                ..base.clone()
            },
            Claim {
                sampler: seeded(0.8, 0.9, 43),
                ..base.clone()
            },
        ];
        let mut digests: Vec<Digest> = others.iter().map(Claim::digest).collect();
        digests.push(base.digest());
        digests.sort();
        let before = digests.len();
        digests.dedup();
        assert_eq!(digests.len(), before);
        assert_eq!(base.digest(), base.clone().digest());
    }
}
