//! Emitted tokens against the prover's own logits, which an audit has checked. Sampling is exact arithmetic on them, so a token is
//! either what the sampler gives or it is not.

use assay_engine::sampler::{self, Support};
use assay_trace::Trace;

use crate::claims;
use crate::report::{Check, Outcome, TokenStatistics, Where};

/// Noise is a logarithm of a logarithm in f64: libraries differ in its last bits, and a tie within them is nobody's fault.
const TIE: f64 = 1e-9;

/// The check, and its figures.
pub(super) fn check(trace: &Trace<'_>) -> (Check, Option<TokenStatistics>) {
    const ID: &str = "tokens";
    let open = trace.linears().map_or(&[][..], |claim| &claim.logits);
    if open.is_empty() {
        let detail = "no logits are open, so no token was checked against them";
        return (
            Check::new(ID, Outcome::Inconclusive, "logits-unopened", detail),
            None,
        );
    }
    let spec = claims::sampler_spec(&trace.manifest().sampler);
    let first = trace.prompt().len() - 1;
    let mut statistics = TokenStatistics::default();
    let mut failed: Option<Check> = None;
    for (i, output) in open.iter().enumerate() {
        let position = first + *output as usize;
        let (Some(logits), Some(&token)) = (trace.logits_row(i), trace.tokens().get(position + 1))
        else {
            continue;
        };
        let judged = sampler::judge(&spec, &logits, position as u32, token, 0.0);
        statistics.n += 1;
        statistics.replayed += usize::from(judged.replay_matches);
        statistics.replayed_by_chance += judged.probability;
        statistics.mean_margin += judged.margin.min(0.5);
        statistics.mean_log_likelihood += judged.log_likelihood;
        let tied = judged.support != Support::Outside && judged.margin <= TIE;
        if judged.replay_matches || tied || failed.is_some() {
            continue;
        }
        let place = Where {
            position: Some(position),
            token: Some(token),
            ..Where::default()
        };
        let (code, detail) = if judged.support == Support::Outside {
            (
                "token-support",
                format!(
                    "token {token} at position {position} lies outside top-k or top-p of the checked logits"
                ),
            )
        } else {
            (
                "token-margin",
                format!(
                    "the checked logits at position {position} do not give token {token}: another scores higher"
                ),
            )
        };
        failed = Some(
            Check::fail(ID, code, detail)
                .numbers(judged.margin, TIE)
                .at(place),
        );
    }
    let n = statistics.n.max(1) as f64;
    statistics.mean_margin /= n;
    statistics.mean_log_likelihood /= n;
    if statistics.n == 0 {
        let check = Check::fail(ID, "nothing-checked", "no token could be checked");
        return (check, None);
    }
    let check = failed.unwrap_or_else(|| {
        let detail = format!(
            "{} tokens are what the sampler gives for their checked logits",
            statistics.n
        );
        Check::pass(ID, detail)
    });
    (check, Some(statistics))
}
