//! Where things are, relative to the prover's address.

use crate::RunId;

/// GET: [`Info`](crate::Info).
pub const INFO: &str = "/v1/info";
/// POST: [`RunRequest`](crate::RunRequest) to a stream of [`Line`](crate::Line)s.
pub const RUNS: &str = "/v1/runs";
/// DELETE: the verifier has what it needs.
pub const RUN: &str = "/v1/runs/{id}";
/// POST: [`OpeningRequest`](crate::OpeningRequest) to a trace.
pub const OPENING: &str = "/v1/runs/{id}/opening";
/// GET: counters, for an operator.
pub const METRICS: &str = "/metrics";

/// Type of JSON bodies.
pub const JSON: &str = "application/json";
/// Type of a run's answer.
pub const NDJSON: &str = "application/x-ndjson";
/// Type of a trace.
pub const TRACE: &str = "application/octet-stream";

/// [`RUN`] of a run.
pub fn run(id: RunId) -> String {
    format!("{RUNS}/{id}")
}

/// [`OPENING`] of a run.
pub fn opening(id: RunId) -> String {
    format!("{RUNS}/{id}/opening")
}
