//! Finished runs, each kept for as long as its receipt promised. Room is reserved before a run begins, so that no promise has to be
//! broken for the sake of another.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use assay_live::RunId;
use assay_trace::SealedTrace;

/// The store.
pub struct Retention {
    inner: Mutex<Inner>,
    max_runs: usize,
    max_bytes: u64,
    horizon: Duration,
}

#[derive(Default)]
struct Inner {
    runs: HashMap<RunId, Kept>,
    kept_bytes: u64,
    reserved_runs: usize,
    reserved_bytes: u64,
}

struct Kept {
    trace: SealedTrace,
    bytes: u64,
    until: Instant,
}

/// Room for one run: given back when dropped, unless the run came to be kept.
pub struct Room {
    retention: Arc<Retention>,
    bytes: u64,
}

impl Retention {
    /// An empty store.
    pub fn new(max_runs: usize, max_bytes: u64, horizon: Duration) -> Self {
        Self {
            inner: Mutex::default(),
            max_runs,
            max_bytes,
            horizon,
        }
    }

    /// Most bytes that all runs may take together.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// Room for a run of at most `bytes`, if there is any now.
    pub fn reserve(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let mut inner = self.lock();
        let runs = inner.runs.len() + inner.reserved_runs;
        let taken = inner.kept_bytes.saturating_add(inner.reserved_bytes);
        if runs >= self.max_runs || taken.saturating_add(bytes) > self.max_bytes {
            return None;
        }
        inner.reserved_runs += 1;
        inner.reserved_bytes += bytes;
        Some(Room {
            retention: Arc::clone(self),
            bytes,
        })
    }

    /// The run, if it is still here. What is got can be read also once it has expired.
    pub fn get(&self, id: RunId) -> Option<SealedTrace> {
        self.lock().runs.get(&id).map(|kept| kept.trace.clone())
    }

    /// Forgets a run; false if there is none.
    pub fn remove(&self, id: RunId) -> bool {
        self.lock().remove(id)
    }

    /// Forgets what has expired. Called now and then, so that memory is given back; everything else asks by itself.
    pub fn sweep(&self) {
        drop(self.lock());
    }

    /// Runs that are kept, and their bytes.
    pub fn kept(&self) -> (usize, u64) {
        let inner = self.lock();
        (inner.runs.len(), inner.kept_bytes)
    }

    /// Without what has expired.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let expired: Vec<RunId> = (inner.runs.iter())
            .filter(|(_, kept)| kept.until <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in expired {
            inner.remove(id);
        }
        inner
    }
}

impl Inner {
    fn remove(&mut self, id: RunId) -> bool {
        let Some(kept) = self.runs.remove(&id) else {
            return false;
        };
        self.kept_bytes = self.kept_bytes.saturating_sub(kept.bytes);
        true
    }
}

impl Room {
    /// Keeps a run in this room, from now on.
    pub fn keep(self, id: RunId, trace: SealedTrace) {
        let bytes = trace.retained_bytes();
        let mut inner = self.retention.lock();
        inner.kept_bytes = inner.kept_bytes.saturating_add(bytes);
        let until = Instant::now() + self.retention.horizon;
        inner.runs.insert(
            id,
            Kept {
                trace,
                bytes,
                until,
            },
        );
        // Dropping `self` gives back what was reserved.
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let inner = self.retention.inner.lock();
        let mut inner = inner.unwrap_or_else(PoisonError::into_inner);
        inner.reserved_runs = inner.reserved_runs.saturating_sub(1);
        inner.reserved_bytes = inner.reserved_bytes.saturating_sub(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_reserved_and_given_back() {
        let store = Arc::new(Retention::new(2, 100, Duration::from_secs(60)));
        assert!(store.reserve(101).is_none());
        let first = store.reserve(60).expect("room");
        assert!(store.reserve(60).is_none(), "no bytes");
        let second = store.reserve(10).expect("room");
        assert!(store.reserve(1).is_none(), "no run");
        drop(first);
        drop(store.reserve(90).expect("room"));
        drop(second);
        assert!(store.reserve(100).is_some());
        assert_eq!(store.kept(), (0, 0));
    }
}
