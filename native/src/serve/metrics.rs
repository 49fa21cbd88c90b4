//! Counters for an operator, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::server::Server;

/// The counters.
#[derive(Default)]
pub struct Metrics {
    counts: Mutex<Counts>,
}

/// Routes, statuses and endings are few, so the maps are small.
#[derive(Default)]
struct Counts {
    requests: BTreeMap<(String, u16), u64>,
    runs: BTreeMap<&'static str, u64>,
    tokens: u64,
    run_seconds: f64,
    openings: u64,
}

impl Metrics {
    /// A request was answered.
    pub fn request(&self, route: &str, status: u16) {
        *(self.lock().requests)
            .entry((route.to_owned(), status))
            .or_default() += 1;
    }

    /// A run has ended.
    pub fn run(&self, ending: &'static str, tokens: u64, took: Duration) {
        let mut counts = self.lock();
        *counts.runs.entry(ending).or_default() += 1;
        counts.tokens += tokens;
        counts.run_seconds += took.as_secs_f64();
    }

    /// A run was opened.
    pub fn opening(&self) {
        self.lock().openings += 1;
    }

    /// All of it.
    pub fn text(&self, server: &Server) -> String {
        let (kept, bytes) = server.retention.kept();
        let waiting = server.queue.len();
        let counts = self.lock();
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, rows: &[(String, f64)]| {
            // Cannot fail: a string grows.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in rows {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let one = |value: f64| [(String::new(), value)];
        let requests: Vec<(String, f64)> = (counts.requests.iter())
            .map(|((route, status), n)| {
                (
                    format!("{{route=\"{route}\",status=\"{status}\"}}"),
                    *n as f64,
                )
            })
            .collect();
        let runs: Vec<(String, f64)> = (counts.runs.iter())
            .map(|(ending, n)| (format!("{{ending=\"{ending}\"}}"), *n as f64))
            .collect();
        let root = format!("{{model_root=\"{}\"}}", server.info.model.root);
        let info = [(root, 1.0)];
        family("assay_info", "gauge", "The model that is served.", &info);
        let help = "Answered requests.";
        family("assay_http_requests_total", "counter", help, &requests);
        let help = "Runs by how they ended.";
        family("assay_runs_total", "counter", help, &runs);
        let help = "Generated tokens.";
        family(
            "assay_tokens_total",
            "counter",
            help,
            &one(counts.tokens as f64),
        );
        let help = "Time of runs, waiting included.";
        family(
            "assay_run_seconds_total",
            "counter",
            help,
            &one(counts.run_seconds),
        );
        let help = "Opened runs.";
        family(
            "assay_openings_total",
            "counter",
            help,
            &one(counts.openings as f64),
        );
        let help = "Requests that wait.";
        family("assay_queue_length", "gauge", help, &one(waiting as f64));
        let help = "Finished runs that are kept.";
        family("assay_retained_runs", "gauge", help, &one(kept as f64));
        let help = "Memory of kept runs.";
        family("assay_retained_bytes", "gauge", help, &one(bytes as f64));
        text
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
