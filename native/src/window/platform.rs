//! This machine, as the worker's jobs see it.

use std::collections::HashSet;
use std::future::ready;
use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use assay_engine::{EngineError, GpuOptions};
use assay_experiment::Store;
use assay_experiment::teller::Ears;
use assay_live::Address;
use assay_model::{ByteSource, MappedFile, Model};
use assay_trace::Digest;
use assay_trace::limits::MAX_FILE_BYTES;
use assay_work::message::{Event, Failure, JobId, ModelSource, ProverAt, Sample, Source};
use assay_work::{Fetched, LocalFuture, Platform, Prover};

use crate::live::client::Client;

/// The window is drawn by the same GPU: a frame waits for what was submitted before it.
const SUBMIT: Duration = Duration::from_millis(20);

/// The worker's jobs as closing and cancelling see them, from another thread.
#[derive(Default)]
pub struct Cancelled {
    jobs: Mutex<Jobs>,
}

#[derive(Default)]
struct Jobs {
    /// Those that were cancelled, running or waiting.
    cancelled: HashSet<JobId>,
    /// Whether all are, because the window closes.
    all: bool,
    /// Those that were sent and have not ended.
    left: usize,
}

impl Cancelled {
    /// Cancels a job.
    pub fn add(&self, id: JobId) {
        self.jobs().cancelled.insert(id);
    }

    /// Cancels whatever runs or comes.
    pub fn add_all(&self) {
        self.jobs().all = true;
    }

    /// A job is about to be sent: from here on it counts, also while nobody has taken it yet.
    pub fn begin(&self) {
        self.jobs().left += 1;
    }

    /// A job has ended, or was not sent after all.
    pub fn end(&self, id: JobId) {
        let mut jobs = self.jobs();
        jobs.cancelled.remove(&id);
        jobs.left = jobs.left.saturating_sub(1);
    }

    /// No job will be taken any more.
    pub fn end_all(&self) {
        self.jobs().left = 0;
    }

    /// Whether a job runs or waits.
    pub fn is_busy(&self) -> bool {
        self.jobs().left > 0
    }

    /// Whether a job was told to stop.
    pub fn has(&self, id: JobId) -> bool {
        let jobs = self.jobs();
        jobs.all || jobs.cancelled.contains(&id)
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This machine.
pub struct NativePlatform {
    /// Hears of cancels.
    pub cancelled: Arc<Cancelled>,
    /// Takes events to the window.
    pub say: Box<dyn Fn(Event)>,
}

/// The samples, which a browser fetches from beside the page.
fn sample(sample: Sample) -> &'static [u8] {
    match sample {
        Sample::Honest => include_bytes!("../../../web/samples/honest.bin"),
        Sample::SwappedToken => include_bytes!("../../../web/samples/swapped-token.bin"),
        Sample::FlippedByte => include_bytes!("../../../web/samples/flipped-byte.bin"),
    }
}

fn only_in_a_browser(what: &str) -> Failure {
    Failure::new("unsupported", format!("{what} opens in a browser only"))
        .with_next("download it and open the file")
}

impl Prover for Client {}

impl Platform for NativePlatform {
    type Prover = Client;

    fn open<'a>(
        &'a self,
        source: &'a Source,
        _fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Arc<dyn ByteSource>, Failure>> {
        let open = || -> Result<Arc<dyn ByteSource>, Failure> {
            Ok(match source {
                Source::Sample(which) => Arc::new(sample(*which)),
                Source::Path(path) => Arc::new(MappedFile::open(Path::new(path))?),
                Source::Url(url) => return Err(only_in_a_browser(url)),
                Source::Picked { name, .. } => return Err(only_in_a_browser(name)),
                Source::Kept(_) => {
                    return Err(Failure::new(
                        "internal",
                        "the worker has kept traces itself",
                    ));
                }
            })
        };
        Box::pin(ready(open()))
    }

    fn open_model<'a>(
        &'a self,
        model: &'a ModelSource,
        _fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Model, Failure>> {
        let open = || match model {
            ModelSource::Demo => Ok(Model::demo()?),
            ModelSource::Path(path) => Ok(Model::open(Path::new(path))?),
            ModelSource::Url(url) => Err(only_in_a_browser(url)),
            ModelSource::Files(_) => Err(only_in_a_browser(&model.name())),
            ModelSource::Key { .. } => Err(Failure::new("internal", "a key is no checkpoint")),
        };
        Box::pin(ready(open()))
    }

    fn is_folder(&self, source: &Source) -> bool {
        matches!(source, Source::Path(path) if Path::new(path).is_dir())
    }

    fn gpu_options(&self) -> LocalFuture<'_, GpuOptions> {
        Box::pin(ready(GpuOptions {
            submit: Some(SUBMIT),
            tunings: crate::tune_file::tunings(),
            ..GpuOptions::default()
        }))
    }

    fn prover(&self, id: JobId, address: &Address, at: &ProverAt) -> Result<Client, Failure> {
        let token = at.token.as_ref().map(|token| token.expose());
        let total = Duration::from_secs(u64::from(at.seconds));
        let cancelled = Arc::clone(&self.cancelled);
        let stop = Rc::new(move || cancelled.has(id));
        Ok(Client::new(address.clone(), token, total, stop))
    }

    fn random(&self, bytes: &mut [u8; 32]) -> Result<(), String> {
        getrandom::fill(bytes).map_err(|err| err.to_string())
    }

    fn trials(&self, root: &Digest) -> Result<Option<Box<dyn Store>>, Failure> {
        super::experiment::trials(root).map(Some)
    }

    fn ears(&self, id: JobId) -> Option<Ears> {
        let cancelled = Arc::clone(&self.cancelled);
        Some(Ears::new(move || match cancelled.has(id) {
            true => Err(EngineError::Cancelled),
            false => Ok(()),
        }))
    }

    fn say(&self, event: Event) {
        (self.say)(event);
    }

    fn is_cancelled(&self, id: JobId) -> bool {
        self.cancelled.has(id)
    }

    fn breathe(&self) -> LocalFuture<'_, ()> {
        // Cancels come from another thread.
        Box::pin(ready(()))
    }

    fn max_trace_bytes(&self) -> u64 {
        MAX_FILE_BYTES
    }
}
