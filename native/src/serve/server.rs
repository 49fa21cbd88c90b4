//! What the engine's thread and HTTP's share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use assay_engine::AdapterInfo;
use assay_live::{Info, Limits, PROTOCOL, RunRequest};
use assay_model::ModelConfig;
use assay_trace::{Manifest, ModelClaim, SparseClaim};
use axum::http::HeaderValue;

use super::args::Args;
use super::engine::retained_bytes;
use super::metrics::Metrics;
use super::queue::Queue;
use super::retention::Retention;
use crate::token_file::Token;

/// All of it.
pub struct Server {
    /// What the prover says of itself.
    pub info: Info,
    /// The model's sizes.
    config: ModelConfig,
    /// Who may ask; everyone if `None`.
    pub token: Option<Token>,
    /// Pages that may ask.
    pub origins: Vec<HeaderValue>,
    /// Longest time for one run.
    pub run_time: Duration,
    /// Requests that wait.
    pub queue: Queue,
    /// Finished runs.
    pub retention: Arc<Retention>,
    /// Counters.
    pub metrics: Metrics,
    stopping: AtomicBool,
}

impl Server {
    /// With nothing running.
    pub fn new(
        args: &Args,
        token: Option<Token>,
        limits: Limits,
        model: ModelClaim,
        sparse: Option<SparseClaim>,
        config: ModelConfig,
        adapter: &AdapterInfo,
    ) -> Self {
        Self {
            info: Info {
                protocol: PROTOCOL,
                producer: Manifest::printable(assay_prove::PRODUCER),
                adapter: Manifest::printable(&adapter.name),
                model,
                sparse,
                limits,
            },
            config,
            token,
            origins: args.allow_origin.clone(),
            run_time: Duration::from_secs(u64::from(args.run_seconds)),
            queue: Queue::new(args.queue as usize),
            retention: Arc::new(Retention::new(
                args.retain_runs as usize,
                args.retain_mib << 20,
                Duration::from_secs(u64::from(args.retain_seconds)),
            )),
            metrics: Metrics::default(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Most bytes that a run of `request` leaves behind.
    pub fn retained_bytes(&self, request: &RunRequest) -> u64 {
        retained_bytes(&self.config, self.info.sparse.as_ref(), request)
    }

    /// Ends the current run and those that wait.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.queue.close();
    }

    /// Whether that was asked for.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}
