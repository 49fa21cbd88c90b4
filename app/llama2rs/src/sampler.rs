//! The program's sampler: argmax, all tokens, or the nucleus of top-p, with a coin from its own generator.

use crate::error::ReplayError;
use crate::forward::softmax;
use crate::rng::Rng;

/// What the program was told on its command line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SamplerSpec {
    /// Temperature 0: the largest logit, the first of equals.
    Greedy,
    /// Anything else.
    Seeded {
        /// Divides the logits.
        temperature: f32,
        /// Mass of the nucleus; 0 and 1 mean all tokens.
        top_p: f32,
        /// The generator's state. 0 stands for the time of day.
        seed: u64,
    },
}

impl SamplerSpec {
    /// What the program takes where it is told nothing.
    pub const TEMPERATURE: f32 = 1.0;
    /// The same for top-p.
    pub const TOP_P: f32 = 0.9;

    /// Checks the numbers, which the program only clamps.
    pub fn new(temperature: f32, top_p: f32, seed: u64) -> Result<Self, ReplayError> {
        let range = |name, got: f32, fine: bool| match fine {
            true => Ok(()),
            false => Err(ReplayError::Sampler { name, got }),
        };
        range(
            "temperature",
            temperature,
            (0.0..=1e6).contains(&temperature),
        )?;
        range("top-p", top_p, (0.0..=1.0).contains(&top_p))?;
        if temperature == 0.0 {
            return Ok(Self::Greedy);
        }
        if seed == 0 {
            return Err(ReplayError::SeedZero);
        }
        Ok(Self::Seeded {
            temperature,
            top_p,
            seed,
        })
    }
}

/// A token, and what else the sampler might have said.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The token.
    pub token: u32,
    /// Tokens with exactly its probability, itself left out: the nucleus is sorted by an unstable sort, whose order among equals is
    /// the standard library's business. Empty where nothing was sorted.
    pub ties: Vec<u32>,
}

/// The sampler with its state.
#[derive(Debug, Clone)]
pub struct Sampler {
    spec: SamplerSpec,
    rng: Rng,
}

impl Sampler {
    /// As at the program's start.
    pub fn new(spec: SamplerSpec) -> Self {
        let seed = match spec {
            SamplerSpec::Greedy => 0,
            SamplerSpec::Seeded { seed, .. } => seed,
        };
        Self {
            spec,
            rng: Rng(seed),
        }
    }

    /// The next token. Every call takes one coin, whatever comes of it; greedy takes none. `logits` must be finite and not empty.
    pub fn choose(&mut self, logits: &[f32]) -> Choice {
        let SamplerSpec::Seeded {
            temperature, top_p, ..
        } = self.spec
        else {
            return Choice::alone(argmax(logits));
        };
        let mut probabilities: Vec<f32> = logits.iter().map(|logit| logit / temperature).collect();
        softmax(&mut probabilities);
        let coin = self.rng.next_f32();
        if top_p <= 0.0 || top_p >= 1.0 {
            Choice::alone(among_all(&probabilities, coin))
        } else {
            in_nucleus(&probabilities, top_p, coin)
        }
    }
}

impl Choice {
    fn alone(token: usize) -> Self {
        Self {
            token: token as u32,
            ties: Vec::new(),
        }
    }
}

fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (index, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = index;
        }
    }
    best
}

fn among_all(probabilities: &[f32], coin: f32) -> usize {
    let mut sum = 0.0f32;
    for (index, probability) in probabilities.iter().enumerate() {
        sum += probability;
        if coin < sum {
            return index;
        }
    }
    probabilities.len().saturating_sub(1)
}

/// Drops what is below (1 - p) / (n - 1), sorts the rest, keeps the first whose sum passes p, and draws among these.
fn in_nucleus(probabilities: &[f32], top_p: f32, coin: f32) -> Choice {
    let cutoff = (1.0 - top_p) / probabilities.len().saturating_sub(1) as f32;
    let mut kept: Vec<(u32, f32)> = (0..)
        .zip(probabilities.iter().copied())
        .filter(|(_, probability)| *probability >= cutoff)
        .collect();
    kept.sort_unstable_by(|(_, a), (_, b)| b.total_cmp(a));
    let (mut mass, mut last) = (0.0f32, kept.len().saturating_sub(1));
    for (index, (_, probability)) in kept.iter().enumerate() {
        mass += probability;
        if mass > top_p {
            last = index;
            break;
        }
    }
    let aim = coin * mass;
    let (mut sum, mut taken) = (0.0f32, last);
    for (index, (_, probability)) in kept.iter().enumerate().take(last + 1) {
        sum += probability;
        if aim < sum {
            taken = index;
            break;
        }
    }
    let Some(&(token, probability)) = kept.get(taken) else {
        // One token has probability 1/n at least, which is above the cutoff: something is always kept.
        return Choice::alone(argmax(probabilities));
    };
    let tied = |(other, p): &(u32, f32)| (*p == probability && *other != token).then_some(*other);
    Choice {
        token,
        ties: kept.iter().filter_map(tied).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_equals() {
        let mut sampler = Sampler::new(SamplerSpec::Greedy);
        assert_eq!(sampler.choose(&[1.0, 3.0, 3.0, -1.0]).token, 1);
    }

    #[test]
    fn the_nucleus_is_cut_where_its_mass_passes_p() {
        let probabilities = [0.1, 0.5, 0.05, 0.35];
        let token = |p, coin| in_nucleus(&probabilities, p, coin).token;
        assert_eq!(token(0.4, 0.999), 1, "the first alone passes 0.4");
        assert_eq!((token(0.8, 0.0), token(0.8, 0.999)), (1, 3));
        assert_eq!(token(0.8, 0.58), 1, "0.58 of 0.85 is below 0.5");
        assert_eq!(token(0.8, 0.6), 3);
        // The cutoff is (1 - 0.8) / 3 = 0.067, so 0.05 is not even sorted.
        assert_eq!(among_all(&probabilities, 0.62), 2);
        assert_eq!(
            among_all(&probabilities, 2.0),
            3,
            "rounding leaves the last"
        );
    }

    #[test]
    fn ties_are_told() {
        let choice = in_nucleus(&[0.25, 0.25, 0.25, 0.25], 0.9, 0.3);
        assert_eq!(choice.ties.len(), 3);
        assert!(!choice.ties.contains(&choice.token));
        assert!(in_nucleus(&[0.6, 0.2, 0.2], 0.9, 0.1).ties.is_empty());
    }

    #[test]
    fn numbers_are_checked() {
        let new = SamplerSpec::new;
        assert_eq!(new(0.0, 0.9, 0).unwrap(), SamplerSpec::Greedy);
        assert!(matches!(new(0.8, 0.9, 0), Err(ReplayError::SeedZero)));
        for (temperature, top_p) in [
            (-1.0, 0.9),
            (f32::NAN, 0.9),
            (f32::INFINITY, 0.9),
            (1.0, 1.1),
            (1.0, -0.1),
            (1.0, f32::NAN),
        ] {
            assert!(new(temperature, top_p, 1).is_err(), "{temperature} {top_p}");
        }
    }
}
