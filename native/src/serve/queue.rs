//! Requests that wait for the engine, in order, so many and no more.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use assay_live::{Line, RunRequest};
use tokio::sync::mpsc::UnboundedSender;

use super::retention::Room;
use super::server::Server;

/// A run that was asked for.
pub struct Job {
    /// What to run; checked.
    pub request: RunRequest,
    /// Where its lines go: a token each, and one that ends it, hence never many. Closed if nobody listens any more.
    pub lines: UnboundedSender<Line>,
    /// Room for what it will leave behind.
    pub room: Room,
    /// Who asked.
    pub peer: SocketAddr,
    /// When.
    pub asked: Instant,
}

/// The queue.
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    capacity: usize,
}

struct State {
    jobs: VecDeque<Job>,
    /// Whether the engine is at work.
    busy: bool,
    open: bool,
}

/// Why a job cannot wait here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unqueued {
    /// As many wait as may.
    Full,
    /// The prover is being stopped.
    Closed,
}

impl Queue {
    /// For so many that wait while one runs.
    pub fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                busy: false,
                open: true,
            }),
            changed: Condvar::new(),
            capacity,
        }
    }

    /// Adds a job. Those whose askers have gone make room.
    pub fn push(&self, job: Job) -> Result<(), Unqueued> {
        let mut state = self.lock();
        if !state.open {
            return Err(Unqueued::Closed);
        }
        state.jobs.retain(|job| !job.lines.is_closed());
        // One more while nothing runs: the engine is about to take it.
        if state.jobs.len() >= self.capacity + usize::from(!state.busy) {
            return Err(Unqueued::Full);
        }
        state.jobs.push_back(job);
        self.changed.notify_one();
        Ok(())
    }

    /// The next job, waited for; `None` once the queue is closed and empty. Whoever calls this is idle meanwhile.
    pub fn pop(&self) -> Option<Job> {
        let mut state = self.lock();
        state.busy = false;
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.busy = true;
                return Some(job);
            }
            if !state.open {
                return None;
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes no more.
    pub fn close(&self) {
        self.lock().open = false;
        self.changed.notify_all();
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stops the server when it is dropped.
pub struct Closing<'a>(pub &'a Server);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}
