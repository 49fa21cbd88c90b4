//! How far hidden states move along the layers.
//!
//! The seed measures the cosine of a token's state with that of the layer before and with layer 0, and concludes from two cuts that
//! predictors must fail. [`SeedVerdict`] repeats its words and its rule *as the seed's rule*: almost every trained model is
//! below its first cut, whatever predictors do there. Whether predictors fail is measured in [`crate::metrics`].

mod seed;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use seed::SeedVerdict;

use crate::StudyError;
use crate::dataset::{Dataset, Stream};

/// Mean and standard deviation over tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moments {
    /// Mean; 0 without tokens.
    pub mean: f64,
    /// Tokens.
    pub n: u64,
    /// Standard deviation (n - 1); 0 with fewer than two tokens.
    pub sd: f64,
}

/// Drift at one hidden state. State l is what enters layer l; the one after the last layer may come last.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateDrift {
    /// Cosine with state 0. 1 at state 0 (the seed's list starts with 0.0 there: a fault).
    pub cosine_to_first: Moments,
    /// Cosine with the state before; `None` at state 0.
    pub cosine_to_previous: Option<Moments>,
    /// Euclidean distance to state 0, in the model's own unit.
    pub distance_to_first: Moments,
    /// Distance to the state before; `None` at state 0.
    pub distance_to_previous: Option<Moments>,
    /// Euclidean length of the state.
    pub norm: Moments,
    /// Which state.
    pub state: u32,
    /// Tokens of which a state was all zeros, so that a cosine does not exist; they are left out of both cosines.
    pub undefined: u64,
}

/// Drift along all states.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// Width of the residual stream.
    pub hidden: u32,
    /// Whether the last state is what leaves the last layer. A dataset has only what enters layers.
    pub includes_output: bool,
    /// Layers of the model.
    pub model_layers: u32,
    /// One entry a state, from 0.
    pub states: Vec<StateDrift>,
    /// Tokens.
    pub tokens: u64,
}

/// Takes hidden states and sums up, in f64.
pub struct Meter {
    hidden: usize,
    model_layers: u32,
    tokens: u64,
    states: Vec<Sums>,
}

#[derive(Default, Clone)]
struct Sums {
    cosine_first: Welford,
    cosine_previous: Welford,
    distance_first: Welford,
    distance_previous: Welford,
    norm: Welford,
    undefined: u64,
}

/// Mean and squares, one value after another (Welford 1962).
#[derive(Default, Clone)]
struct Welford {
    n: u64,
    mean: f64,
    squares: f64,
}

impl Welford {
    fn add(&mut self, value: f64) {
        self.n += 1;
        let off = value - self.mean;
        self.mean += off / self.n as f64;
        self.squares += off * (value - self.mean);
    }

    fn moments(&self) -> Moments {
        let sd = if self.n > 1 {
            (self.squares / (self.n - 1) as f64).sqrt()
        } else {
            0.0
        };
        Moments {
            mean: self.mean,
            n: self.n,
            sd,
        }
    }
}

impl Meter {
    /// For a model of `model_layers` layers of width `hidden`. `states` is `model_layers` (what enters each layer), or one more with
    /// what leaves the last one, before the final norm.
    ///
    /// # Errors
    /// Sizes of zero or beyond a dataset's limits; another number of states.
    pub fn new(hidden: u32, model_layers: u32, states: u32) -> Result<Self, StudyError> {
        let within = |what, got: u32, most: u32| {
            if (1..=most).contains(&got) {
                return Ok(());
            }
            Err(StudyError::Drift {
                what,
                got: got.into(),
                want: most.into(),
            })
        };
        within("a hidden size of 1 to 2^17", hidden, 1 << 17)?;
        within("1 to 1024 layers", model_layers, 1 << 10)?;
        if states != model_layers && states != model_layers + 1 {
            return Err(StudyError::Drift {
                what: "a state a layer, or one more",
                got: states.into(),
                want: model_layers.into(),
            });
        }
        Ok(Self {
            hidden: hidden as usize,
            model_layers,
            tokens: 0,
            states: vec![Sums::default(); states as usize],
        })
    }

    /// Adds tokens: `states[l]` is state l of all of them, `[rows, hidden]`.
    ///
    /// # Errors
    /// Another number of states, states of different lengths, values that are not finite; nothing is added then.
    pub fn add(&mut self, states: &[&[f32]]) -> Result<(), StudyError> {
        if states.len() != self.states.len() {
            return Err(StudyError::Drift {
                what: "as many states as it was made for",
                got: states.len() as u64,
                want: self.states.len() as u64,
            });
        }
        let length = states.first().map_or(0, |first| first.len());
        for state in states {
            if state.len() != length || !length.is_multiple_of(self.hidden) {
                return Err(StudyError::Length {
                    what: "hidden states",
                    got: state.len(),
                    want: length - length % self.hidden,
                });
            }
            if let Some(index) = state.iter().position(|value| !value.is_finite()) {
                return Err(StudyError::Number {
                    what: "hidden states".to_owned(),
                    index,
                    got: state.get(index).copied().unwrap_or(f32::NAN),
                });
            }
        }
        let Some(first) = states.first() else {
            return Ok(());
        };
        let mut previous = *first;
        for (index, (sums, state)) in self.states.iter_mut().zip(states).enumerate() {
            let rows = state
                .chunks_exact(self.hidden)
                .zip(previous.chunks_exact(self.hidden))
                .zip(first.chunks_exact(self.hidden));
            for ((row, before), start) in rows {
                sums.norm.add(dot(row, row).sqrt());
                let to_first = if index == 0 {
                    Some(1.0)
                } else {
                    cosine(row, start)
                };
                let to_previous = cosine(row, before);
                match to_first.zip(to_previous.or((index == 0).then_some(1.0))) {
                    Some((first, previous)) => {
                        sums.cosine_first.add(first);
                        sums.cosine_previous.add(previous);
                    }
                    None => sums.undefined += 1,
                }
                sums.distance_first.add(distance(row, start));
                sums.distance_previous.add(distance(row, before));
            }
            previous = state;
        }
        self.tokens += (length / self.hidden) as u64;
        Ok(())
    }

    /// What it came to.
    ///
    /// # Errors
    /// No tokens.
    pub fn finish(&self) -> Result<Drift, StudyError> {
        if self.tokens == 0 {
            return Err(StudyError::Empty { what: "tokens" });
        }
        let states = self
            .states
            .iter()
            .zip(0..)
            .map(|(sums, state)| StateDrift {
                cosine_to_first: sums.cosine_first.moments(),
                cosine_to_previous: (state > 0).then(|| sums.cosine_previous.moments()),
                distance_to_first: sums.distance_first.moments(),
                distance_to_previous: (state > 0).then(|| sums.distance_previous.moments()),
                norm: sums.norm.moments(),
                state,
                undefined: sums.undefined,
            })
            .collect();
        Ok(Drift {
            hidden: self.hidden as u32,
            includes_output: self.states.len() as u32 > self.model_layers,
            model_layers: self.model_layers,
            states,
            tokens: self.tokens,
        })
    }
}

impl Drift {
    /// Drift of a dataset: state l is `att_x_l`. It must have every layer of the model; what leaves the last layer is not in it.
    ///
    /// # Errors
    /// Missing layers, no rows, the dataset's errors.
    pub fn of_dataset(dataset: &Dataset) -> Result<Self, StudyError> {
        let facts = dataset.facts();
        if facts.layers.len() as u64 != u64::from(facts.model_layers) {
            return Err(StudyError::Drift {
                what: "every layer of the model",
                got: facts.layers.len() as u64,
                want: facts.model_layers.into(),
            });
        }
        let mut meter = Meter::new(facts.hidden, facts.model_layers, facts.model_layers)?;
        let matrices = facts
            .layers
            .iter()
            .map(|&layer| dataset.matrix(Stream::AttX, layer))
            .collect::<Result<Vec<_>, _>>()?;
        // All layers of a few rows at a time: a thousand layers of the widest state still fit.
        let rows = (0..dataset.rows() as u32).collect::<Vec<_>>();
        let mut states = vec![Vec::new(); matrices.len()];
        let piece = (1 << 24) / (matrices.len() * meter.hidden).max(1);
        for rows in rows.chunks(piece.clamp(1, 256)) {
            for (matrix, state) in matrices.iter().zip(&mut states) {
                matrix.gather(rows, state)?;
            }
            let lent: Vec<&[f32]> = states.iter().map(Vec::as_slice).collect();
            meter.add(&lent)?;
        }
        meter.finish()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum()
}

fn cosine(a: &[f32], b: &[f32]) -> Option<f64> {
    let lengths = dot(a, a).sqrt() * dot(b, b).sqrt();
    (lengths > 0.0).then(|| (dot(a, b) / lengths).clamp(-1.0, 1.0))
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(a, b)| f64::from(*a) - f64::from(*b))
        .map(|off| off * off)
        .sum::<f64>()
        .sqrt()
}
