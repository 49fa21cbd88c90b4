//! What a worker needs of the platform it runs on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use assay_engine::GpuOptions;
use assay_experiment::Store;
use assay_experiment::teller::Ears;
use assay_live::{Address, Transport};
use assay_model::{ByteSource, Model};
use assay_trace::Digest;

use crate::message::{CacheEntry, Event, Failure, JobId, ModelSource, ProverAt, Source};

/// A future that stays on its thread: a browser's handles cannot leave theirs.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Told how many bytes of how many have come (0 of all where that is not known); an error ends the work.
pub type Fetched<'a> = dyn FnMut(u64, u64) -> Result<(), Failure> + 'a;

/// A way to one live prover. It hears of a cancel while it waits.
pub trait Prover: Transport {
    /// What to do about its last fault, where the platform knows better than what can be said of any.
    fn advice(&self) -> Option<String> {
        None
    }
}

/// Where bytes lie, how to let others run, whom to tell.
pub trait Platform {
    /// A way to a live prover.
    type Prover: Prover;

    /// Opens a trace's bytes; never [`Source::Kept`], which the worker has itself.
    fn open<'a>(
        &'a self,
        source: &'a Source,
        fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Arc<dyn ByteSource>, Failure>>;

    /// Opens a verifier key's bytes. A key is a secret: nothing of it may be left on a disk where it did not lie before.
    fn open_key<'a>(
        &'a self,
        source: &'a Source,
        fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Arc<dyn ByteSource>, Failure>> {
        self.open(source, fetched)
    }

    /// Opens a checkpoint, never a [`ModelSource::Key`]: headers and small files now, weights when they are read.
    fn open_model<'a>(
        &'a self,
        model: &'a ModelSource,
        fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Model, Failure>>;

    /// Whether this is a folder. Only paths can be.
    fn is_folder(&self, source: &Source) -> bool {
        let _ = source;
        false
    }

    /// How to open the adapter; [`GpuOptions::adapter`] is the worker's to set.
    fn gpu_options(&self) -> LocalFuture<'_, GpuOptions>;

    /// Gets ready to ask the prover at `address`, which is that of `at`. Nothing is sent yet.
    ///
    /// # Errors
    /// Where the platform will not let it be asked at all.
    fn prover(&self, id: JobId, address: &Address, at: &ProverAt) -> Result<Self::Prover, Failure>;

    /// Fills `bytes` from the system's own source of randomness, or says why not.
    fn random(&self, bytes: &mut [u8; 32]) -> Result<(), String>;

    /// Where trials of experiments on the model of this root are kept; `None` for the worker's memory, for as long as it lives.
    ///
    /// # Errors
    /// Where there should be such a place, and is none.
    fn trials(&self, root: &Digest) -> Result<Option<Box<dyn Store>>, Failure> {
        let _ = root;
        Ok(None)
    }

    /// What hears of this job's cancel on any thread; `None` where all work is done on one.
    fn ears(&self, id: JobId) -> Option<Ears> {
        let _ = id;
        None
    }

    /// Bytes of weights that memory has room for at once, where the system does not see to that.
    fn max_weight_bytes(&self) -> Option<u64> {
        None
    }

    /// Tells the face.
    fn say(&self, event: Event);

    /// Whether the face has asked to stop this job.
    fn is_cancelled(&self, id: JobId) -> bool;

    /// Lets everything else on this thread run once, so that a cancel can be heard.
    fn breathe(&self) -> LocalFuture<'_, ()>;

    /// The largest trace or key that fits the memory here, bytes.
    fn max_trace_bytes(&self) -> u64;

    /// What is kept on disk.
    fn cache(&self) -> LocalFuture<'_, Result<Vec<CacheEntry>, Failure>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }

    /// Deletes one entry, or all.
    fn clear_cache<'a>(&'a self, key: Option<&'a str>) -> LocalFuture<'a, Result<(), Failure>> {
        let _ = key;
        Box::pin(std::future::ready(Ok(())))
    }
}
