//! From logits to a token, specified so that any prover can follow it, and the judgement of one emitted token.
//!
//! Tokens are ordered by (logit descending, id ascending); a prefix of that order is allowed:
//!
//! 1. top-k: the first `top_k`, all if 0;
//! 2. top-p: with w = exp((logit - max) / T) in f64 (`libm`), the smallest prefix of the kept ones whose running sum of w, in
//!    that order, is at least `top_p` * Z; Z sums the kept w in ascending id. At least one; all if `top_p` >= 1.
//!
//! The token is the argmax over the allowed ones of f64(logit) / T + [`gumbel`](crate::philox::gumbel)(seed, position, id), ties
//! to the lower id; `position` is that of the row whose logits are sampled. Greedy is the argmax of the logits, ties alike.
//!
//! [`judge`] holds one emitted token against the verifier's *own* logits, each of which may be off by `tau`. It calls a token
//! outside the support only if no such error could have put it inside: a hard mask misjudges honest tokens at the boundary.

use assay_trace::{Decimal, DecimalError, Sampler};
use serde::{Deserialize, Serialize};

use crate::philox;

/// How tokens are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum SamplerSpec {
    /// The largest logit.
    Greedy,
    /// The largest of logit / temperature + noise over the allowed tokens.
    Gumbel {
        /// Key of the noise.
        seed: u64,
        /// Divides the logits; above 0.
        temperature: f64,
        /// Keep the k first in order; 0 keeps all.
        top_k: u32,
        /// Keep the shortest prefix with this much probability; above 0.
        top_p: f64,
    },
}

impl SamplerSpec {
    /// As a manifest states it.
    ///
    /// # Errors
    /// A number that a manifest cannot hold.
    pub fn stated(&self) -> Result<Sampler, DecimalError> {
        Ok(match *self {
            Self::Greedy => Sampler::Greedy,
            Self::Gumbel {
                seed,
                temperature,
                top_k,
                top_p,
            } => Sampler::Gumbel {
                seed,
                temperature: Decimal::from_f64(temperature)?,
                top_k,
                top_p: Decimal::from_f64(top_p)?,
            },
        })
    }
}

/// Where a token stands to the allowed set, whatever errors up to `tau` the logits have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Support {
    /// Allowed under every such error.
    Inside,
    /// Allowed under some.
    Boundary,
    /// Allowed under none.
    Outside,
}

/// What the verifier's own logits say of one emitted token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TokenJudgement {
    /// How far the token's score lies below the best of the tokens that are certainly allowed; 0 if it is that token.
    /// Unit: logits for greedy, logits / temperature for Gumbel.
    pub margin: f64,
    /// Largest margin that logit errors of `tau` explain.
    pub limit: f64,
    /// Membership in the allowed set.
    pub support: Support,
    /// Tokens before it in order.
    pub rank: usize,
    /// Its probability under the sampler and these logits, 0 outside the nominal allowed set; greedy: 1 or 0.
    pub probability: f64,
    /// ln of its probability over the whole vocabulary, at the sampler's temperature (greedy: 1). Always finite.
    pub log_likelihood: f64,
    /// Whether sampling from these logits gives this token.
    pub replay_matches: bool,
}

impl TokenJudgement {
    /// Whether logit errors of at most `tau` can explain the token.
    pub fn is_explained(&self) -> bool {
        self.support != Support::Outside && self.margin <= self.limit
    }
}

/// Slack on probability masses: f64 sums over a vocabulary are good to about 1e-11.
const MASS_SLACK: f64 = 1e-9;
/// Length of the first sorted prefix; grown eightfold while it is too short.
const FIRST_PREFIX: usize = 64;

/// The token that `spec` chooses at `position`; 0 for an empty row. Logits must be finite.
pub fn sample(spec: &SamplerSpec, logits: &[f32], position: u32) -> u32 {
    match *spec {
        SamplerSpec::Greedy => argmax(logits),
        SamplerSpec::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        } => {
            if keeps_all(logits.len(), top_k, top_p) {
                let all = logits.iter().zip(0..).map(|(&logit, id)| (logit, id));
                best_noisy(all, argmax(logits), logits, seed, temperature, position).1
            } else {
                let order = Order::new(logits, temperature, top_k, top_p);
                let allowed = order.sorted.iter().take(order.n_allowed).copied();
                best_noisy(allowed, argmax(logits), logits, seed, temperature, position).1
            }
        }
    }
}

/// The ids that `spec` allows, in order. Greedy allows one.
pub fn allowed_set(spec: &SamplerSpec, logits: &[f32]) -> Vec<u32> {
    match *spec {
        SamplerSpec::Greedy => (!logits.is_empty())
            .then(|| argmax(logits))
            .into_iter()
            .collect(),
        SamplerSpec::Gumbel {
            temperature,
            top_k,
            top_p,
            ..
        } => {
            let n = logits.len();
            let mut order = Order::new(logits, temperature, top_k, top_p);
            if keeps_all(n, top_k, top_p) {
                order.grow_to(n);
            }
            order
                .sorted
                .iter()
                .take(order.n_allowed)
                .map(|&(_, id)| id)
                .collect()
        }
    }
}

/// Judges `token`, emitted at `position`, by the verifier's own logits, each within `tau` of the prover's.
/// A token beyond the vocabulary is outside.
pub fn judge(
    spec: &SamplerSpec,
    logits: &[f32],
    position: u32,
    token: u32,
    tau: f64,
) -> TokenJudgement {
    let Some(&own) = logits.get(token as usize) else {
        return TokenJudgement {
            margin: f64::MAX,
            limit: 0.0,
            support: Support::Outside,
            rank: logits.len(),
            probability: 0.0,
            log_likelihood: f64::MIN,
            replay_matches: false,
        };
    };
    let replay_matches = sample(spec, logits, position) == token;
    let rank = (0u32..)
        .zip(logits)
        .filter(|&(id, &logit)| logit > own || logit == own && id < token)
        .count();
    match *spec {
        SamplerSpec::Greedy => TokenJudgement {
            margin: f64::from(max_of(logits)) - f64::from(own),
            limit: 2.0 * tau,
            support: Support::Inside,
            rank,
            probability: f64::from(u8::from(replay_matches)),
            log_likelihood: log_likelihood(logits, own, 1.0),
            replay_matches,
        },
        SamplerSpec::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        } => {
            let score = f64::from(own) / temperature + philox::gumbel(seed, position, token);
            let likelihood = log_likelihood(logits, own, temperature);
            let best = argmax(logits);
            let (support, probability, best_score) = if keeps_all(logits.len(), top_k, top_p) {
                let all = logits.iter().zip(0..).map(|(&logit, id)| (logit, id));
                let top = best_noisy(all, best, logits, seed, temperature, position).0;
                (Support::Inside, likelihood.exp(), top)
            } else {
                let mut order = Order::new(logits, temperature, top_k, top_p);
                let n_inside = order.n_certainly_inside(tau);
                let inside = order.sorted.iter().take(n_inside).copied();
                // The first in order need not be certainly inside (ties at top-k 1), so nothing else may seed the search.
                let top = order.sorted.first().filter(|_| n_inside > 0);
                let top = top.map_or(score, |&(_, id)| {
                    best_noisy(inside, id, logits, seed, temperature, position).0
                });
                (
                    order.support(own, token, n_inside, tau),
                    order.probability(own, rank),
                    top,
                )
            };
            TokenJudgement {
                margin: (best_score - score).max(0.0),
                limit: 2.0 * tau / temperature,
                support,
                rank,
                probability,
                log_likelihood: likelihood,
                replay_matches,
            }
        }
    }
}

fn keeps_all(vocab: usize, top_k: u32, top_p: f64) -> bool {
    (top_k == 0 || top_k as usize >= vocab) && top_p >= 1.0
}

fn max_of(logits: &[f32]) -> f32 {
    logits.iter().copied().fold(f32::MIN, f32::max)
}

fn argmax(logits: &[f32]) -> u32 {
    let mut best = (f32::MIN, 0);
    for (&logit, id) in logits.iter().zip(0..) {
        if logit > best.0 {
            best = (logit, id);
        }
    }
    best.1
}

fn log_likelihood(logits: &[f32], own: f32, temperature: f64) -> f64 {
    let max = f64::from(max_of(logits));
    let z: f64 = logits
        .iter()
        .map(|&logit| libm::exp((f64::from(logit) - max) / temperature))
        .sum();
    (f64::from(own) - max) / temperature - libm::log(z)
}

/// Best score and its id among `candidates`, of which `first` (an id) is one.
///
/// Noise costs two logarithms, so a candidate is dropped on its uniform number u alone where that cannot win: it needs
/// -ln(-ln u) > d, that is u > exp(-exp(-d)), and exp(-x) >= 1 - x. The bound has slack for its own rounding.
fn best_noisy(
    candidates: impl Iterator<Item = (f32, u32)>,
    first: u32,
    logits: &[f32],
    seed: u64,
    temperature: f64,
    position: u32,
) -> (f64, u32) {
    let score =
        |logit: f32, id| f64::from(logit) / temperature + philox::gumbel(seed, position, id);
    let mut best = (
        score(
            logits.get(first as usize).copied().unwrap_or_default(),
            first,
        ),
        first,
    );
    for (logit, id) in candidates {
        let need = best.0 - f64::from(logit) / temperature;
        if need > 0.0
            && philox::uniform(seed, position, id) < 1.0 - (-need).exp() * (1.0 + 1e-6) - 1e-15
        {
            continue;
        }
        let score = score(logit, id);
        if score > best.0 || score == best.0 && id < best.1 {
            best = (score, id);
        }
    }
    best
}

/// The first tokens in order, as many as a question needs, with running sums of their weights.
struct Order<'a> {
    logits: &'a [f32],
    temperature: f64,
    max: f64,
    /// Tokens that top-k keeps.
    k: usize,
    top_p: f64,
    /// A prefix of the order.
    sorted: Vec<(f32, u32)>,
    /// `sums[n]`: weights of the first n.
    sums: Vec<f64>,
    /// Weight of all that top-k keeps.
    kept: f64,
    /// Tokens that the sampler allows.
    n_allowed: usize,
}

impl<'a> Order<'a> {
    fn new(logits: &'a [f32], temperature: f64, top_k: u32, top_p: f64) -> Self {
        let n = logits.len();
        let k = if top_k == 0 { n } else { n.min(top_k as usize) };
        let max = f64::from(max_of(logits));
        let mut order = Self {
            logits,
            temperature,
            max,
            k,
            top_p,
            sorted: Vec::new(),
            sums: vec![0.0],
            kept: 0.0,
            n_allowed: k,
        };
        if k < n {
            order.grow_to(k);
            let mut ids: Vec<(f32, u32)> = order.sorted.iter().take(k).copied().collect();
            ids.sort_unstable_by_key(|&(_, id)| id);
            order.kept = ids.iter().map(|&(logit, _)| order.weight(logit)).sum();
        } else {
            order.kept = logits.iter().map(|&logit| order.weight(logit)).sum();
        }
        if top_p < 1.0 {
            let want = top_p * order.kept;
            order.grow_while(|order| {
                order.sums.last().is_some_and(|&sum| sum < want) && order.sorted.len() < order.k
            });
            order.n_allowed = order
                .sums
                .iter()
                .skip(1)
                .take(k)
                .position(|&sum| sum >= want)
                .map_or(k, |index| index + 1);
        }
        order
    }

    fn weight(&self, logit: f32) -> f64 {
        libm::exp((f64::from(logit) - self.max) / self.temperature)
    }

    fn grow_while(&mut self, too_short: impl Fn(&Self) -> bool) {
        while self.sorted.len() < self.logits.len() && too_short(self) {
            self.grow_to((self.sorted.len() * 8).max(FIRST_PREFIX));
        }
    }

    /// Makes the sorted prefix at least `n` long, if there are as many.
    fn grow_to(&mut self, n: usize) {
        let n = n.min(self.logits.len());
        if n <= self.sorted.len() {
            return;
        }
        let in_order = |a: &(f32, u32), b: &(f32, u32)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        // -0 and 0 are equal logits; total_cmp would order them, so the sign of a zero is dropped.
        let mut all: Vec<(f32, u32)> = self
            .logits
            .iter()
            .map(|logit| logit + 0.0)
            .zip(0..)
            .collect();
        if n < all.len() {
            all.select_nth_unstable_by(n, in_order);
            all.truncate(n);
        }
        all.sort_unstable_by(in_order);
        self.sorted = all;
        let mut sum = 0.0;
        self.sums = std::iter::once(0.0)
            .chain(self.sorted.iter().map(|&(logit, _)| {
                sum += self.weight(logit);
                sum
            }))
            .collect();
    }

    fn sum(&self, n: usize) -> f64 {
        self.sums
            .get(n)
            .or(self.sums.last())
            .copied()
            .unwrap_or_default()
    }

    /// Tokens of the sorted prefix whose logit is above `bound` (or equal to it, if `or_equal`).
    fn n_above(&self, bound: f64, or_equal: bool) -> usize {
        self.sorted.partition_point(|&(logit, _)| {
            f64::from(logit) > bound || or_equal && f64::from(logit) == bound
        })
    }

    /// The factor that `tau` can put on a weight; capped where nothing else would change and products stay finite.
    fn gain(&self, tau: f64) -> f64 {
        libm::exp((tau / self.temperature).min(300.0))
    }

    /// Share of `ahead` when those ahead gain `gain` and the other kept ones lose it (factors).
    fn share(&self, ahead: f64, gain: f64) -> f64 {
        let rest = (self.kept - ahead).max(0.0);
        ahead * gain / (ahead * gain + rest / gain).max(f64::MIN_POSITIVE)
    }

    /// Length of the prefix whose tokens are allowed under every error up to `tau`: fewer than k tokens *may* stand before
    /// them, and all those together have less than top-p even if they gain `tau` and the rest lose it.
    fn n_certainly_inside(&mut self, tau: f64) -> usize {
        let gain = self.gain(tau);
        let mut n = 0;
        loop {
            self.grow_while(|order| order.sorted.len() <= n);
            let Some(&(logit, _)) = self.sorted.get(n) else {
                return n;
            };
            let bound = f64::from(logit) - 2.0 * tau;
            // The prefix must reach below the bound, or already hold more than k.
            self.grow_while(|order| {
                order
                    .sorted
                    .last()
                    .is_none_or(|&(last, _)| f64::from(last) >= bound)
                    && order.sorted.len() <= order.k
            });
            let n_maybe_ahead = self.n_above(bound, true).saturating_sub(1);
            if n_maybe_ahead >= self.k {
                return n;
            }
            let ahead = self.sum(n_maybe_ahead + 1) - self.weight(logit);
            if self.top_p < 1.0 && self.share(ahead, gain) >= self.top_p - MASS_SLACK {
                return n;
            }
            n += 1;
        }
    }

    fn support(&mut self, own: f32, token: u32, n_inside: usize, tau: f64) -> Support {
        if self
            .sorted
            .iter()
            .take(n_inside)
            .any(|&(_, id)| id == token)
        {
            return Support::Inside;
        }
        let bound = f64::from(own) + 2.0 * tau;
        self.grow_while(|order| {
            order
                .sorted
                .last()
                .is_none_or(|&(last, _)| f64::from(last) > bound)
                && order.sorted.len() <= order.k
        });
        let n_ahead = self.n_above(bound, false);
        let by_k = n_ahead >= self.k;
        let by_p = self.top_p < 1.0
            && self.share(self.sum(n_ahead), 1.0 / self.gain(tau)) >= self.top_p + MASS_SLACK;
        if by_k || by_p {
            Support::Outside
        } else {
            Support::Boundary
        }
    }

    fn probability(&self, own: f32, rank: usize) -> f64 {
        if rank < self.n_allowed {
            self.weight(own) / self.sum(self.n_allowed).max(f64::MIN_POSITIVE)
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::philox::gumbel;

    fn spec(seed: u64, temperature: f64, top_k: u32, top_p: f64) -> SamplerSpec {
        SamplerSpec::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        }
    }

    /// The definition, word for word: sort everything, cut, cut, take the best.
    fn reference(spec: &SamplerSpec, logits: &[f32], position: u32) -> (Vec<u32>, u32) {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| {
            logits[b as usize]
                .partial_cmp(&logits[a as usize])
                .unwrap()
                .then(a.cmp(&b))
        });
        let SamplerSpec::Gumbel {
            seed,
            temperature,
            top_k,
            top_p,
        } = *spec
        else {
            return (vec![order[0]], order[0]);
        };
        if top_k > 0 {
            order.truncate(top_k as usize);
        }
        if top_p < 1.0 {
            let max = f64::from(logits[order[0] as usize]);
            let weight = |id: u32| libm::exp((f64::from(logits[id as usize]) - max) / temperature);
            let mut by_id = order.clone();
            by_id.sort_unstable();
            let z: f64 = by_id.into_iter().map(weight).sum();
            let mut sum = 0.0;
            let mut keep = 0;
            for &id in &order {
                sum += weight(id);
                keep += 1;
                if sum >= top_p * z {
                    break;
                }
            }
            order.truncate(keep);
        }
        let score =
            |id: u32| f64::from(logits[id as usize]) / temperature + gumbel(seed, position, id);
        let mut ids = order.clone();
        ids.sort_unstable();
        let best = ids
            .into_iter()
            .fold(None, |best: Option<u32>, id| match best {
                Some(old) if score(old) >= score(id) => Some(old),
                _ => Some(id),
            });
        (order, best.unwrap())
    }

    fn logits(seed: u64, n: u32, spread: f32) -> Vec<f32> {
        (0..n)
            .map(|id| (philox::uniform(seed, 999, id) as f32 - 0.5) * spread)
            .collect()
    }

    #[test]
    fn greedy_takes_the_lower_of_equal_ids() {
        assert_eq!(sample(&SamplerSpec::Greedy, &[1.0, 3.0, 3.0, 2.0], 0), 1);
        assert_eq!(sample(&SamplerSpec::Greedy, &[-0.0, 0.0], 0), 0);
        assert_eq!(sample(&SamplerSpec::Greedy, &[], 0), 0);
        assert_eq!(sample(&spec(1, 1.0, 0, 1.0), &[], 0), 0);
        assert_eq!(allowed_set(&SamplerSpec::Greedy, &[1.0, 3.0, 3.0]), [1]);
    }

    #[test]
    fn top_k_and_top_p_cut_where_they_should() {
        let row = [0.0, 2.0, 2.0, 1.0];
        assert_eq!(allowed_set(&spec(1, 1.0, 0, 1.0), &row), [1, 2, 3, 0]);
        assert_eq!(allowed_set(&spec(1, 1.0, 2, 1.0), &row), [1, 2]);
        assert_eq!(allowed_set(&spec(1, 1.0, 1, 1.0), &row), [1]); // a tie at the cut goes to the lower id
        assert_eq!(allowed_set(&spec(1, 1.0, 99, 1.0), &row), [1, 2, 3, 0]);
        assert_eq!(allowed_set(&spec(1, 1.0, 0, 1e-9), &row), [1]); // at least one
        // Equal logits, p one half: exactly half of them reaches it.
        assert_eq!(allowed_set(&spec(1, 1.0, 0, 0.5), &[1.0; 4]), [0, 1]);
        assert_eq!(allowed_set(&spec(1, 1.0, 0, 0.51), &[1.0; 4]), [0, 1, 2]);
        // top-p counts within what top-k kept.
        assert_eq!(allowed_set(&spec(1, 1.0, 2, 0.5), &[1.0; 4]), [0]);
    }

    #[test]
    fn frequencies_follow_the_softmax() {
        let row = [1.0f32, 0.0, -1.0, 2.0, 0.5];
        let temperature = 0.8;
        let z: f64 = row
            .iter()
            .map(|&l| (f64::from(l) / temperature).exp())
            .sum();
        let n = 40_000u32;
        let mut counts = [0u32; 5];
        (0..n).for_each(|position| {
            counts[sample(&spec(5, temperature, 0, 1.0), &row, position) as usize] += 1;
        });
        let chi2: f64 = row
            .iter()
            .zip(counts)
            .map(|(&l, count)| {
                let want = f64::from(n) * (f64::from(l) / temperature).exp() / z;
                (f64::from(count) - want).powi(2) / want
            })
            .sum();
        // The 99.99 % quantile of chi-squared with 4 degrees of freedom is 23.5; the draws are fixed.
        assert!(chi2 < 23.5, "chi2 {chi2}, counts {counts:?}");
    }

    #[test]
    fn large_vocabulary_agrees_with_the_definition() {
        let row = logits(3, 20_000, 30.0);
        for (top_k, top_p) in [(0, 1.0), (50, 1.0), (0, 0.9), (5000, 0.999), (40, 0.95)] {
            for position in 0..4 {
                let spec = spec(11, 0.7, top_k, top_p);
                let (allowed, token) = reference(&spec, &row, position);
                assert_eq!(allowed_set(&spec, &row), allowed, "k {top_k} p {top_p}");
                assert_eq!(
                    sample(&spec, &row, position),
                    token,
                    "k {top_k} p {top_p} position {position}"
                );
            }
        }
    }

    #[test]
    fn judgement_of_honest_and_swapped_tokens() {
        let row = logits(4, 1000, 12.0);
        for spec in [
            SamplerSpec::Greedy,
            spec(9, 0.8, 0, 1.0),
            spec(9, 0.8, 40, 0.95),
        ] {
            let token = sample(&spec, &row, 7);
            let judged = judge(&spec, &row, 7, token, 0.0);
            assert!(judged.replay_matches && judged.is_explained(), "{judged:?}");
            assert_eq!(judged.margin, 0.0);
            let swapped = judge(&spec, &row, 7, (token + 1) % 1000, 1e-4);
            assert!(
                !swapped.is_explained() && !swapped.replay_matches,
                "{swapped:?}"
            );
        }
        let beyond = judge(&SamplerSpec::Greedy, &row, 0, 1000, 1.0);
        assert_eq!(beyond.support, Support::Outside);
    }

    #[test]
    fn a_token_at_the_boundary_is_not_outside() {
        // Ranks 2 and 3 differ by less than the tolerance: top-k 2 may keep either.
        let row = [5.0, 1.0, 1.0 - 1e-4, -3.0];
        let spec = spec(1, 1.0, 2, 1.0);
        assert_eq!(judge(&spec, &row, 0, 0, 1e-3).support, Support::Inside);
        assert_eq!(judge(&spec, &row, 0, 1, 1e-3).support, Support::Boundary);
        assert_eq!(judge(&spec, &row, 0, 2, 1e-3).support, Support::Boundary);
        assert_eq!(judge(&spec, &row, 0, 2, 1e-6).support, Support::Outside);
        assert_eq!(judge(&spec, &row, 0, 3, 1e-3).support, Support::Outside);
        assert_eq!(judge(&spec, &row, 0, 1, 1e-6).support, Support::Inside);
    }

    #[test]
    fn probability_is_that_of_the_allowed_set() {
        let row = [2.0f32, 2.0, 0.0];
        let judged = judge(&spec(1, 1.0, 2, 1.0), &row, 0, 1, 0.0);
        assert!((judged.probability - 0.5).abs() < 1e-12);
        assert_eq!(
            judge(&spec(1, 1.0, 2, 1.0), &row, 0, 2, 0.0).probability,
            0.0
        );
        assert_eq!(
            judge(&SamplerSpec::Greedy, &row, 0, 0, 0.0).probability,
            1.0
        );
        assert_eq!(judge(&SamplerSpec::Greedy, &row, 0, 1, 0.0).rank, 1);
    }

    #[test]
    fn extreme_temperatures_stay_finite() {
        let row = logits(6, 100, 40.0);
        for temperature in [1e-9, 999_999.0] {
            let judged = judge(&spec(2, temperature, 7, 0.9), &row, 1, 3, 0.5);
            assert!(
                judged.margin.is_finite()
                    && judged.log_likelihood.is_finite()
                    && judged.limit.is_finite(),
                "{judged:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn any_row_agrees_with_the_definition(
            row in proptest::collection::vec(prop_oneof![(-8.0f32..8.0), Just(0.0f32), Just(-0.0f32), Just(1.5f32)], 1..200),
            seed: u64, position in 0u32..1000, temperature in 0.05f64..3.0, top_k in 0u32..20, top_p in 0.01f64..1.2,
        ) {
            let spec = spec(seed, temperature, top_k, top_p);
            let (allowed, token) = reference(&spec, &row, position);
            prop_assert_eq!(allowed_set(&spec, &row), allowed);
            prop_assert_eq!(sample(&spec, &row, position), token);
        }

        /// The promise of `tau`: what an honest prover samples from logits off by up to `tau` is always explained.
        #[test]
        fn honest_perturbed_tokens_are_explained(
            row in proptest::collection::vec(-6.0f32..6.0, 2..80),
            noise in proptest::collection::vec(-1.0f32..1.0, 80),
            seed: u64, tau in 0.0f64..0.5, temperature in 0.1f64..2.0, top_k in 0u32..12, top_p in 0.05f64..1.1,
        ) {
            let theirs: Vec<f32> = row.iter().zip(&noise).map(|(l, e)| l + e * tau as f32).collect();
            // The perturbed logits were rounded to f32 themselves.
            let tau = tau + 1e-6;
            for spec in [SamplerSpec::Greedy, spec(seed, temperature, top_k, top_p)] {
                let token = sample(&spec, &theirs, 3);
                let judged = judge(&spec, &row, 3, token, tau);
                prop_assert!(judged.is_explained(), "{:?}", judged);
            }
        }
    }
}
