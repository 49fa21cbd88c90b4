//! From figures of tokens to one number a window, by statistic.

use std::collections::BTreeMap;

use assay_verify::sequential::FLOOR;
use assay_verify::verillm::Rule;
use serde::{Deserialize, Serialize};

use crate::observe::{Observed, Row};

/// Token-DiFR's clip of a margin.
const MARGIN_CLIP: f64 = 0.5;

/// What an emitted token shows: the figures of the position that it was sampled from, means over all compared hidden states but the
/// embedding.
pub type Figures = [f64; Statistic::COUNT];

/// A statistic. Each is a mean over a window's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// VeriLLM's share of exponent mismatches; both rules have the same.
    Pe,
    /// The reproduction's share of large deviations.
    PmRepo,
    /// The reproduction's share of small deviations.
    PwRepo,
    /// The paper's, among different exponents.
    PmPaper,
    /// The paper's, among equal exponents.
    PwPaper,
    /// Share of rows that the reproduction's rule rejects.
    RuleRepo,
    /// Share of rows that the paper's rule rejects.
    RulePaper,
    /// Assay's relative L2 distance, log10.
    RelL2,
    /// The same in the unit that a verifier of half precision measures with a run of its own, which is what `assay --verify` goes by
    /// there; relative L2 itself where nothing is emulated.
    Distance,
    /// TOPLOC's comparison of the last hidden state's 128 largest activations, bf16 steps; another exponent or sign counts 128.
    Fingerprint,
    /// Token-DiFR's clipped margin, in logits.
    Margin,
    /// The likelihood score of arXiv 2511.02620 (GLS): -ln Phi(-margin / sqrt 2).
    Likelihood,
    /// -ln of the token's probability: what anyone can ask without a seed.
    Surprise,
    /// Gonka's distance of the 20 largest logprobs.
    Logprobs,
    /// Share of tokens that the verifier's replay does not give.
    Replay,
}

impl Statistic {
    /// How many there are.
    pub const COUNT: usize = 15;
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Pe,
        Self::PmRepo,
        Self::PwRepo,
        Self::PmPaper,
        Self::PwPaper,
        Self::RuleRepo,
        Self::RulePaper,
        Self::RelL2,
        Self::Distance,
        Self::Fingerprint,
        Self::Margin,
        Self::Likelihood,
        Self::Surprise,
        Self::Logprobs,
        Self::Replay,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pe => "Pe",
            Self::PmRepo => "Pm (repo)",
            Self::PwRepo => "Pw (repo)",
            Self::PmPaper => "Pm (paper)",
            Self::PwPaper => "Pw (paper)",
            Self::RuleRepo => "rule, repo",
            Self::RulePaper => "rule, paper",
            Self::RelL2 => "relative L2",
            Self::Distance => "distance in units",
            Self::Fingerprint => "top-k fingerprint",
            Self::Margin => "Token-DiFR margin",
            Self::Likelihood => "likelihood (GLS)",
            Self::Surprise => "surprise",
            Self::Logprobs => "logprob distance",
            Self::Replay => "replay mismatch",
        }
    }

    /// Whether too little is as suspicious as too much: then the score is the distance from the honest mean.
    pub fn is_two_sided(self) -> bool {
        matches!(
            self,
            Self::PmRepo | Self::PwRepo | Self::PmPaper | Self::PwPaper | Self::Surprise
        )
    }

    /// Statistics that the combination is made of: distances of states, and what tokens show. It stands for what `assay --verify`
    /// looks at, with one threshold instead of several.
    pub const COMBINED: [Self; 4] = [
        Self::Distance,
        Self::Margin,
        Self::Replay,
        Self::Fingerprint,
    ];
}

/// Figures of each token, and the shares of rows that the two published rules accept. `first` is the position that the first emitted
/// token was sampled from.
pub(crate) fn figures_of(observed: &Observed, first: usize) -> (Vec<Figures>, [f64; 2]) {
    let mut rows: BTreeMap<usize, Vec<&Row>> = BTreeMap::new();
    for row in observed
        .rows
        .iter()
        .filter(|row| row.layer > 0 && row.position >= first)
    {
        rows.entry(row.position).or_default().push(row);
    }
    let accepted = [Rule::Repo, Rule::Paper].map(|rule| {
        let all = || rows.values().flatten();
        let accepted = all().filter(|row| row.verillm.is_accepted_by(rule)).count();
        accepted as f64 / all().count().max(1) as f64
    });
    let figures = observed.tokens.iter().map(|token| {
        let rows = rows.get(&token.position).map_or(&[][..], Vec::as_slice);
        let mean = |figure: &dyn Fn(&Row) -> f64| {
            rows.iter().map(|row| figure(row)).sum::<f64>() / rows.len().max(1) as f64
        };
        let rejected = |rule| mean(&|row| f64::from(u8::from(!row.verillm.is_accepted_by(rule))));
        let last = rows.iter().max_by_key(|row| row.layer);
        let margin = match token.is_outside {
            true => MARGIN_CLIP,
            false => token.margin.min(MARGIN_CLIP),
        };
        let mut figures = [0.0; Statistic::COUNT];
        let mut set = |statistic: Statistic, value: f64| figures[statistic as usize] = value;
        set(Statistic::Pe, mean(&|row| row.verillm.pe));
        set(Statistic::PmRepo, mean(&|row| row.verillm.pm));
        set(Statistic::PwRepo, mean(&|row| row.verillm.pw));
        set(Statistic::PmPaper, mean(&|row| row.verillm.pm_mismatched));
        set(Statistic::PwPaper, mean(&|row| row.verillm.pw_matched));
        set(Statistic::RuleRepo, rejected(Rule::Repo));
        set(Statistic::RulePaper, rejected(Rule::Paper));
        set(
            Statistic::RelL2,
            mean(&|row| row.rel_l2.clamp(FLOOR, 1e10).log10()),
        );
        set(
            Statistic::Distance,
            mean(&|row| row.distance.clamp(FLOOR, 1e10).log10()),
        );
        set(Statistic::Fingerprint, last.map_or(0.0, |row| steps(row)));
        set(Statistic::Margin, margin);
        set(Statistic::Likelihood, gls(token.margin));
        set(Statistic::Surprise, -token.log_likelihood);
        set(Statistic::Logprobs, token.logprob_distance.unwrap_or(0.0));
        set(Statistic::Replay, f64::from(u8::from(!token.replayed)));
        figures
    });
    (figures.collect(), accepted)
}

fn steps(row: &Row) -> f64 {
    let f = &row.fingerprint;
    let agree = f.n - f.exponent_mismatches;
    let sum = 128.0 * f.exponent_mismatches as f64
        + f.mantissa_mean * agree as f64
        + 128.0 * f.sign_mismatches as f64;
    sum / f.n.max(1) as f64
}

/// -ln Phi(-m / sqrt 2), by Phi's tail series where Phi would be zero; capped at 100.
fn gls(margin: f64) -> f64 {
    let x = margin.max(0.0) / std::f64::consts::SQRT_2;
    // Phi(-x) = erfc(x / sqrt 2) / 2; the bound of Mills' ratio serves for large x.
    let tail = if x < 5.0 {
        0.5 * erfc(x / std::f64::consts::SQRT_2)
    } else {
        (-0.5 * x * x).exp() / (x * (2.0 * std::f64::consts::PI).sqrt()) * (1.0 - 1.0 / (x * x))
    };
    -tail.max(1e-44).ln()
}

/// Abramowitz and Stegun 7.1.26, to 1.5e-7: a score needs no more.
fn erfc(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.327_591_1 * x);
    let poly = t
        * (0.254_829_592
            + t * (-0.284_496_736
                + t * (1.421_413_741 + t * (-1.453_152_027 + t * 1.061_405_429))));
    poly * (-x * x).exp()
}

/// Means over a window.
pub fn window_means<const N: usize>(tokens: &[[f64; N]]) -> [f64; N] {
    let mut sums = [0.0; N];
    for token in tokens {
        sums.iter_mut().zip(token).for_each(|(sum, v)| *sum += v);
    }
    sums.map(|sum| sum / tokens.len().max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likelihood_score_is_that_of_a_normal() {
        assert!((gls(0.0) - 2f64.ln()).abs() < 1e-6);
        // Phi(-1) = 0.158655, Phi(-3) = 0.001350.
        let root = std::f64::consts::SQRT_2;
        assert!((gls(root) + 0.158_655_f64.ln()).abs() < 1e-4);
        assert!((gls(3.0 * root) + 0.001_349_9_f64.ln()).abs() < 1e-3);
        assert!(gls(5.0 * root * 1.0001) > gls(4.9 * root) && gls(f64::MAX).is_finite());
    }

    #[test]
    fn names_are_in_the_order_of_figures() {
        for (i, statistic) in Statistic::ALL.into_iter().enumerate() {
            assert_eq!(statistic as usize, i);
        }
    }
}
