//! A report for a prover whose conduct is the verdict, in the form that a trace's has.

use assay_live::Failed;
use assay_trace::Digest;
use assay_verify::report::{CHECKS, conclude};
use assay_verify::{Check, Report};

/// The check that fails.
const CHECK: &str = "live";

/// `base` (a report on anything at all: it says who the verifier is) with this rejection and nothing else.
pub fn report(mut base: Report, failed: &Failed) -> Report {
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
    base
}
