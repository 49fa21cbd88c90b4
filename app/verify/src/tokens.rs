//! Each emitted token against the verifier's own logits, row by row as they stream; nothing of a row is kept.
//!
//! A token fails if no logit error up to the calibrated tolerance explains it. What a failure is *called* comes from a bounded
//! second look: the first rows from the first failure on are sampled again at a grid of temperatures, and the number of
//! tokens that the claimed seed replays is held against what an unrelated seed would give by chance.

use assay_engine::sampler::{self, SamplerSpec, Support, TokenJudgement};
use assay_trace::{Digest, Trace};

use crate::binomial;
use crate::details::TokenVerdict;
use crate::profile::Profile;
use crate::report::{Check, Outcome, TokenStatistics, Where};

/// Token-DiFR's clip of a margin.
const MARGIN_CLIP: f64 = 0.5;
/// Temperatures tried when naming a failure; 0 stands for greedy.
const TEMPERATURES: [f64; 26] = [
    0.0, 0.1, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1,
    1.2, 1.25, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0,
];
/// Rows sampled again at every temperature.
const GRID_ROWS: usize = 48;
/// Fewer failing tokens than this are swaps, not another sampler.
const FEW: usize = 3;
/// Significance of the agreement test.
const ALPHA: f64 = 1e-6;

/// A failing token.
#[derive(Debug, Clone, Copy)]
struct Failure {
    position: usize,
    token: u32,
    judged: TokenJudgement,
}

/// Judges tokens as rows of logits come.
#[derive(Debug)]
pub struct TokenCheck<'t> {
    trace: &'t Trace<'t>,
    profile: Option<&'t Profile>,
    spec: SamplerSpec,
    judged: usize,
    exact_logits: usize,
    replayed: usize,
    chance: f64,
    chance_variance: f64,
    margins: f64,
    log_likelihood: f64,
    worst: f64,
    failed: usize,
    first: Option<Failure>,
    first_outside: Option<Failure>,
    first_unreplayed: Option<Failure>,
    grid_rows: usize,
    grid: [usize; TEMPERATURES.len()],
    figures: Option<Vec<TokenVerdict>>,
}

impl<'t> TokenCheck<'t> {
    /// Starts; without a profile the tolerance is zero, and only an exact replay passes.
    pub fn new(trace: &'t Trace<'t>, profile: Option<&'t Profile>) -> Self {
        Self {
            trace,
            profile,
            spec: crate::claims::sampler_spec(&trace.manifest().sampler),
            judged: 0,
            exact_logits: 0,
            replayed: 0,
            chance: 0.0,
            chance_variance: 0.0,
            margins: 0.0,
            log_likelihood: 0.0,
            worst: 0.0,
            failed: 0,
            first: None,
            first_outside: None,
            first_unreplayed: None,
            grid_rows: 0,
            grid: [0; TEMPERATURES.len()],
            figures: None,
        }
    }

    /// Keeps how each token was judged; [`take_figures`](Self::take_figures) hands that over.
    pub(crate) fn keep_figures(&mut self) {
        self.figures = Some(Vec::new());
    }

    /// What was kept: one for each emitted token, in order.
    pub(crate) fn take_figures(&mut self) -> Vec<TokenVerdict> {
        self.figures.take().unwrap_or_default()
    }

    /// [`add_in`](Self::add_in) the units of f32 provers.
    pub fn add(&mut self, position: usize, logits: &[f32]) {
        self.add_in(1.0, position, logits);
    }

    /// Adds the verifier's own logits at `position`, where the profile's tolerance counts in `unit`. Rows before the prompt's last one, and after the trace, count for nothing.
    pub fn add_in(&mut self, unit: f64, position: usize, logits: &[f32]) {
        let first = self.trace.prompt().len().saturating_sub(1);
        let Some(&token) = self
            .trace
            .tokens()
            .get(position.saturating_add(1))
            .filter(|_| position >= first)
        else {
            return;
        };
        let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
        let exact = self.trace.logits_digest(position) == Some(Digest::of(&bytes));
        self.exact_logits += usize::from(exact);
        let tau = unit * self.profile.map_or(0.0, |profile| profile.tau(logits));
        // Positions are below 2^20.
        let judged = sampler::judge(&self.spec, logits, position as u32, token, tau);
        if let Some(figures) = &mut self.figures {
            figures.push(TokenVerdict::of(&judged, exact));
        }
        self.judged += 1;
        self.replayed += usize::from(judged.replay_matches);
        self.chance += judged.probability;
        self.chance_variance += judged.probability * (1.0 - judged.probability);
        self.margins += judged.margin.min(MARGIN_CLIP);
        self.log_likelihood += judged.log_likelihood;
        let failure = Failure {
            position,
            token,
            judged,
        };
        if !judged.replay_matches {
            self.first_unreplayed.get_or_insert(failure);
        }
        if judged.support == Support::Outside {
            self.first_outside.get_or_insert(failure);
        } else {
            self.worst = self.worst.max(over(&judged));
        }
        if !judged.is_explained() {
            self.failed += 1;
            self.first.get_or_insert(failure);
        }
        if self.first.is_some() && self.grid_rows < GRID_ROWS {
            self.try_temperatures(logits, position as u32, token);
        }
    }

    fn try_temperatures(&mut self, logits: &[f32], position: u32, token: u32) {
        let SamplerSpec::Gumbel {
            seed, top_k, top_p, ..
        } = self.spec
        else {
            return;
        };
        self.grid_rows += 1;
        for (hits, temperature) in self.grid.iter_mut().zip(TEMPERATURES) {
            let spec = match temperature {
                0.0 => SamplerSpec::Greedy,
                temperature => SamplerSpec::Gumbel {
                    seed,
                    temperature,
                    top_k,
                    top_p,
                },
            };
            *hits += usize::from(sampler::sample(&spec, logits, position) == token);
        }
    }

    /// Tokens judged.
    pub fn judged(&self) -> usize {
        self.judged
    }

    /// Rows of logits whose committed digest equals the verifier's own.
    pub fn exact_logits(&self) -> usize {
        self.exact_logits
    }

    /// Whether every token is what the verifier's own replay gives.
    pub fn is_replayed_exactly(&self) -> bool {
        self.judged > 0 && self.replayed == self.judged
    }

    /// Whether a token is not explained, by a profile that says what is. The test of agreement is none for looking often: its
    /// error holds for one look.
    pub(crate) fn is_rejected(&self) -> bool {
        self.profile.is_some() && self.first.is_some()
    }

    /// The numbers.
    pub fn statistics(&self) -> TokenStatistics {
        let n = self.judged.max(1) as f64;
        TokenStatistics {
            n: self.judged,
            replayed: self.replayed,
            replayed_by_chance: self.chance,
            worst_margin_over_limit: self.worst,
            mean_margin: self.margins / n,
            mean_log_likelihood: self.log_likelihood / n,
        }
    }

    /// The check of single tokens.
    pub fn check(&self) -> Check {
        const ID: &str = "tokens";
        if self.judged == 0 {
            return Check::fail(ID, "nothing-checked", "no emitted token was judged");
        }
        if self.profile.is_none() {
            return match self.first_unreplayed {
                None => Check::pass(ID, format!("all {} tokens are what the verifier's own replay gives", self.judged)),
                Some(failure) => Check::new(ID, Outcome::Inconclusive, "no-profile", {
                    format!("{} of {} tokens replay; without a calibrated tolerance the others cannot be judged", self.replayed, self.judged)
                })
                .numbers(failure.judged.margin, 0.0)
                .at(failure.place()),
            };
        }
        let Some(first) = self.first else {
            let detail = format!(
                "{} tokens within tolerance, {} of them exactly replayed",
                self.judged, self.replayed
            );
            return Check::pass(ID, detail).numbers(self.worst, 1.0);
        };
        let (code, detail) = self.name_failure();
        let shown = if code == "token-support" {
            self.first_outside.unwrap_or(first)
        } else {
            first
        };
        let detail = format!(
            "{} of {} tokens are not explained: {detail}",
            self.failed, self.judged
        );
        Check::fail(ID, code, detail)
            .numbers(shown.judged.margin, shown.judged.limit)
            .at(shown.place())
    }

    fn name_failure(&self) -> (&'static str, String) {
        if self.failed >= FEW && self.grid_rows >= FEW {
            let best = self
                .grid
                .iter()
                .zip(TEMPERATURES)
                .max_by_key(|(hits, _)| **hits);
            if let Some((&hits, temperature)) = best
                && self.is_other_temperature(hits)
            {
                let name = if temperature == 0.0 {
                    "greedy".to_owned()
                } else {
                    format!("temperature {temperature}")
                };
                return (
                    "sampler-temperature",
                    format!(
                        "{hits} of {} tokens tried fit {name} with the claimed seed",
                        self.grid_rows
                    ),
                );
            }
            let by_chance = self.chance + 3.0 * self.chance_variance.sqrt();
            if (self.replayed as f64) <= by_chance {
                let detail = format!(
                    "{} tokens replay with the claimed seed, where any other seed would give about {:.1}",
                    self.replayed, self.chance
                );
                return ("sampler-seed", detail);
            }
        }
        match self.first_outside {
            Some(outside) => (
                "token-support",
                format!(
                    "token {} lies outside what the sampler allows",
                    outside.token
                ),
            ),
            None => (
                "token-margin",
                "other tokens score higher by more than logit errors allow".to_owned(),
            ),
        }
    }

    /// Nearly all rows fit that temperature: a wrong token or two may be there besides, and the grid is not infinitely fine.
    fn is_other_temperature(&self, hits: usize) -> bool {
        10 * hits >= 9 * self.grid_rows
    }

    /// The check that tokens within tolerance are not exact replays less often than honest ones.
    pub fn agreement(&self) -> Check {
        const ID: &str = "token-agreement";
        let Some(profile) = self.profile.filter(|profile| profile.honest.tokens > 0) else {
            return Check::skipped(ID, "no calibrated rate of replay");
        };
        let missed = (self.judged - self.replayed) as u64;
        let rate = profile.replay_mismatch_upper_bound();
        let chance = binomial::at_least(self.judged as u64, missed, rate);
        let detail = format!(
            "{missed} of {} tokens differ from the verifier's replay; honest rate below {rate:.2e}",
            self.judged
        );
        if chance < ALPHA {
            Check::fail(ID, "token-agreement", detail).numbers(chance, ALPHA)
        } else {
            Check::pass(ID, detail).numbers(chance, ALPHA)
        }
    }
}

impl Failure {
    fn place(&self) -> Where {
        // The token stands one position after the row that it was sampled from.
        Where {
            position: Some(self.position + 1),
            token: Some(self.token),
            ..Where::default()
        }
    }
}

fn over(judged: &TokenJudgement) -> f64 {
    if judged.margin == 0.0 {
        0.0
    } else {
        judged.margin / judged.limit.max(f64::MIN_POSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use assay_trace::{Decimal, Sampler};

    use super::*;
    use crate::testing;

    const PROMPT: usize = 4;

    fn gumbel(seed: u64, temperature: &str, top_k: u32) -> Sampler {
        Sampler::Gumbel {
            seed,
            temperature: temperature.parse().unwrap(),
            top_k,
            top_p: Decimal::ONE,
        }
    }

    /// Emits `n` tokens by `run` from made-up logits, claims `claimed`, and judges with logits off by `noise`.
    fn judged(
        run: &Sampler,
        claimed: Sampler,
        n: usize,
        noise: f32,
        edit: impl Fn(&mut Vec<u32>),
    ) -> (Check, Check, TokenStatistics) {
        let logits: Vec<Vec<f32>> = (0..n)
            .map(|row| testing::noise(row as u64 + 1, 50, 4.0))
            .collect();
        let spec = crate::claims::sampler_spec(run);
        let emitted = logits
            .iter()
            .enumerate()
            .map(|(i, row)| sampler::sample(&spec, row, (PROMPT - 1 + i) as u32));
        let mut tokens: Vec<u32> = (0..PROMPT as u32).chain(emitted).collect();
        edit(&mut tokens);
        let bytes = testing::trace_of(&tokens, PROMPT, 50, claimed, &logits);
        let trace = Trace::parse(&bytes).unwrap();
        let profile = testing::profile(1e-4, 1e-3);
        let mut check = TokenCheck::new(&trace, Some(&profile));
        for (i, row) in logits.iter().enumerate() {
            let own: Vec<f32> = row
                .iter()
                .zip(testing::noise(i as u64 + 900, 50, 2.0 * noise))
                .map(|(a, b)| a + b)
                .collect();
            check.add(PROMPT - 1 + i, &own);
        }
        assert_eq!(check.judged(), n);
        (check.check(), check.agreement(), check.statistics())
    }

    fn code(run: &Sampler, claimed: Sampler) -> &'static str {
        judged(run, claimed, 60, 9e-4, |_| {}).0.code
    }

    #[test]
    fn honest_tokens_pass() {
        for sampler in [Sampler::Greedy, gumbel(7, "0.8", 0), gumbel(7, "0.8", 10)] {
            let (check, agreement, statistics) = judged(&sampler, sampler, 60, 9e-4, |_| {});
            assert_eq!((check.code, agreement.code), ("ok", "ok"), "{check:?}");
            assert!(
                statistics.replayed >= 58 && statistics.mean_log_likelihood < 0.0,
                "{statistics:?}"
            );
        }
    }

    #[test]
    fn another_seed_is_named() {
        assert_eq!(
            code(&gumbel(8, "0.8", 0), gumbel(7, "0.8", 0)),
            "sampler-seed"
        );
        assert_eq!(
            code(&gumbel(8, "0.8", 10), gumbel(7, "0.8", 10)),
            "sampler-seed"
        );
    }

    #[test]
    fn another_temperature_is_named() {
        let (check, ..) = judged(&gumbel(7, "1.2", 0), gumbel(7, "0.7", 0), 60, 9e-4, |_| {});
        assert_eq!(check.code, "sampler-temperature");
        assert!(check.detail.contains("temperature 1.2"), "{}", check.detail);
        let (check, ..) = judged(&Sampler::Greedy, gumbel(7, "1", 0), 60, 9e-4, |_| {});
        assert_eq!(check.code, "sampler-temperature");
        assert!(check.detail.contains("greedy"), "{}", check.detail);
    }

    #[test]
    fn one_swapped_token_is_a_margin() {
        for sampler in [Sampler::Greedy, gumbel(7, "0.8", 0)] {
            let (check, ..) = judged(&sampler, sampler, 60, 9e-4, |tokens| {
                tokens[PROMPT + 20] = (tokens[PROMPT + 20] + 1) % 50;
            });
            assert_eq!(check.code, "token-margin");
            assert_eq!(check.place.unwrap().position, Some(PROMPT + 20));
        }
    }

    #[test]
    fn a_token_outside_the_support_is_named() {
        let rows = testing::noise(21, 50, 4.0); // the logits of emitted token 20
        let least = (0..50u32)
            .min_by(|&a, &b| rows[a as usize].total_cmp(&rows[b as usize]))
            .unwrap();
        let sampler = gumbel(7, "0.8", 5);
        let (check, ..) = judged(&sampler, sampler, 60, 9e-4, |tokens| {
            tokens[PROMPT + 20] = least;
        });
        assert_eq!(check.code, "token-support");
        assert_eq!(check.place.unwrap().token, Some(least));
    }

    #[test]
    fn without_a_profile_only_an_exact_replay_passes() {
        let logits: Vec<Vec<f32>> = (0..5).map(|row| testing::noise(row, 50, 4.0)).collect();
        let emitted = logits
            .iter()
            .map(|row| sampler::sample(&SamplerSpec::Greedy, row, 0));
        let tokens: Vec<u32> = (0..PROMPT as u32).chain(emitted).collect();
        for (swap, want) in [(0, "ok"), (1, "no-profile")] {
            let mut tokens = tokens.clone();
            tokens[PROMPT] = (tokens[PROMPT] + swap) % 50;
            let bytes = testing::trace_of(&tokens, PROMPT, 50, Sampler::Greedy, &logits);
            let trace = Trace::parse(&bytes).unwrap();
            let mut check = TokenCheck::new(&trace, None);
            logits
                .iter()
                .enumerate()
                .for_each(|(i, row)| check.add(PROMPT - 1 + i, row));
            assert_eq!(check.check().code, want);
            assert_eq!(check.exact_logits(), 5);
        }
        let bytes = testing::trace_of(&tokens, PROMPT, 50, Sampler::Greedy, &logits);
        let trace = Trace::parse(&bytes).unwrap();
        assert_eq!(
            TokenCheck::new(&trace, None).check().code,
            "nothing-checked"
        );
    }
}
