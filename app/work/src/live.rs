//! Between an exchange with a live prover and a verdict: what every face does alike, with a terminal or without.

use assay_engine::sampler::SamplerSpec;
use assay_live::{Answer, Failed};
use assay_trace::{Digest, Opening};
use assay_verify::report::{CHECKS, conclude};
use assay_verify::{Check, Options, Report};

/// Time for a whole exchange where a user says nothing, seconds.
pub const SECONDS: u32 = 1800;
/// Tokens to ask for, likewise.
pub const TOKENS: u32 = 64;
/// Largest opening to take, bytes, likewise. It is held in memory.
pub const MAX_BYTES: u64 = 4 << 30;

/// What to say of an exchange that came to nothing after the prover knew what it was to open.
pub const SUSPICIOUS: &str = "the prover knew by then what it was to open: a prover that cheats would rather be silent than open that.\n\
     If this happens again, take it for a rejection";

/// What a rejection for conduct does not say.
const NOT_JUDGED: &str = "what the prover computed: it did not keep to the exchange, so none of its numbers was looked at";

/// The check that judges conduct.
const CHECK: &str = "live";

/// What the trace in `answer` must say: nonce, prompt, sampler and opening that were asked for.
pub fn expected(answer: &Answer, prompt: Vec<u32>, sampler: SamplerSpec) -> Options {
    Options {
        nonce: Some(answer.nonce),
        expect_prompt: Some(prompt),
        expect_sampler: Some(sampler),
        live: true,
        expect_opening: Some(Opening::from(answer.opening.clone())),
        ..Options::default()
    }
}

/// A report for a prover whose conduct is the verdict: `base` (a report on anything at all: it says who the verifier is) with this
/// rejection and nothing else.
pub fn rejection(mut base: Report, failed: &Failed) -> Report {
    let detail = failed.error.to_string();
    base.checks = vec![Check::fail(CHECK, failed.error.code(), detail)];
    let others = CHECKS.iter().map(|(id, _)| *id).filter(|id| *id != CHECK);
    base.checks.extend(
        others.map(|id| Check::skipped(id, "not run: the prover did not keep to the exchange")),
    );
    (base.verdict, base.summary) = conclude(base.method, &base.checks);
    base.trace.sha256 = Digest::of(&failed.opened).to_string();
    base.trace.root = None;
    base.prover_says = None;
    base.coverage.not_covered = vec![NOT_JUDGED.to_owned()];
    base
}
