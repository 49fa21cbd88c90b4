//! The device: creation, checked allocation, uploads, read-back, and errors that are never swallowed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::adapter::{self, AdapterInfo};
use super::pace::Pace;
use super::pipelines::Pipelines;
use super::tuned::Tuning;
use crate::EngineError;

/// Bytes uploaded between flushes: bounds what wgpu keeps in staging memory.
const FLUSH_BYTES: u64 = 16 << 20;

/// How to pick an adapter.
#[derive(Debug, Clone, Default)]
pub struct GpuOptions {
    /// Part of the adapter's name, any case; the best adapter if `None`.
    pub adapter: Option<String>,
    /// Pretend that a storage binding holds no more than this, bytes: tests of sharding.
    pub max_binding: Option<u64>,
    /// How long one submit may take: some 20 ms where the same device draws an interface. [`HEADLESS_SUBMIT`] if `None`.
    pub submit: Option<Duration>,
    /// What `assay tune` found on adapters of this machine; the one that is opened takes its own.
    pub tunings: Vec<Tuning>,
    /// Let kernels be timed by the device's own clock, where it has one.
    pub timestamps: bool,
    /// What to call an adapter that gives no name: browsers keep it from wgpu, but tell vendor and architecture.
    pub fallback_name: Option<String>,
}

/// How long one submit may take where nobody draws: far below the watchdogs' two seconds.
pub const HEADLESS_SUBMIT: Duration = Duration::from_millis(400);

/// A device with its queue, its pipelines, and the errors it has reported.
pub struct Gpu {
    /// wgpu's device.
    pub device: wgpu::Device,
    /// wgpu's queue.
    pub queue: wgpu::Queue,
    /// The adapter's facts.
    pub info: AdapterInfo,
    pub(crate) pipelines: Pipelines,
    faults: Arc<Faults>,
    /// What was asked for and not yet confirmed; see [`Gpu::confirm`].
    unconfirmed: Mutex<Vec<Unconfirmed>>,
    pace: Mutex<Pace>,
}

/// What the device will say of a buffer (of so many bytes) or a pipeline.
pub(super) struct Unconfirmed {
    what: String,
    bytes: u64,
    invalid: Answer,
    memory: Option<Answer>,
}

impl Unconfirmed {
    async fn answer(self) -> Result<(), EngineError> {
        let Self {
            what,
            bytes,
            invalid,
            memory,
        } = self;
        let invalid = invalid.await;
        if let Some(memory) = memory
            && memory.await.is_some()
        {
            return Err(EngineError::OutOfMemory { what, bytes });
        }
        match invalid {
            Some(err) => Err(EngineError::Device(format!("{what}: {err}"))),
            None => Ok(()),
        }
    }
}

/// A browser's futures stay on their thread; elsewhere they may cross threads with the device.
#[cfg(target_arch = "wasm32")]
type Answer = std::pin::Pin<Box<dyn Future<Output = Option<wgpu::Error>>>>;
#[cfg(not(target_arch = "wasm32"))]
type Answer = std::pin::Pin<Box<dyn Future<Output = Option<wgpu::Error>> + Send>>;

#[derive(Default)]
struct Faults {
    error: Mutex<Option<String>>,
    lost: Mutex<Option<String>>,
}

fn set_first(slot: &Mutex<Option<String>>, message: String) {
    if let Ok(mut slot) = slot.lock() {
        slot.get_or_insert(message);
    }
}

impl Gpu {
    /// Every adapter that there is, best first, by the names that `options` give them.
    pub async fn list(options: &GpuOptions) -> Vec<AdapterInfo> {
        adapter::list(options.fallback_name.as_deref()).await
    }

    /// Opens the adapter that `options` names, or the best one.
    pub async fn open(options: &GpuOptions) -> Result<Self, EngineError> {
        let wanted = options.adapter.as_deref().unwrap_or("");
        let needle = wanted.to_lowercase();
        // OpenGL only where nothing better answers: asking for it starts EGL, which talks on stderr.
        let mut names: Vec<String> = Vec::new();
        let mut chosen = None;
        for backends in [wgpu::Backends::PRIMARY, wgpu::Backends::GL] {
            let all = adapter::found(backends, options.fallback_name.as_deref()).await;
            names.extend(
                all.iter()
                    .map(|(_, i)| format!("{} ({})", i.name, i.backend)),
            );
            let is_it = |i: &AdapterInfo| {
                format!("{} {}", i.name, i.backend)
                    .to_lowercase()
                    .contains(&needle)
            };
            chosen = all.into_iter().find(|(_, info)| is_it(info));
            if chosen.is_some() {
                break;
            }
        }
        let (adapter, mut info) = chosen.ok_or_else(|| EngineError::NoAdapter {
            wanted: if wanted.is_empty() {
                "default".to_owned()
            } else {
                wanted.to_owned()
            },
            found: if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            },
        })?;
        if let Some(limit) = options.max_binding {
            info.max_binding = info.max_binding.min(limit);
        }
        info.take_tuning(&options.tunings);
        let submit = options.submit.unwrap_or(HEADLESS_SUBMIT);
        let mut features = adapter.features() & wgpu::Features::TIMESTAMP_QUERY;
        features.set(
            wgpu::Features::TIMESTAMP_QUERY,
            options.timestamps && !features.is_empty(),
        );
        features.set(wgpu::Features::SHADER_F16, info.has_f16());
        Self::from_adapter(adapter, info, submit, features).await
    }

    async fn from_adapter(
        adapter: wgpu::Adapter,
        info: AdapterInfo,
        submit: Duration,
        wanted: wgpu::Features,
    ) -> Result<Self, EngineError> {
        require(
            "storage buffers in a stage",
            8,
            u64::from(info.max_storage_buffers),
        )?;
        require(
            "invocations in a workgroup",
            64,
            u64::from(info.max_invocations),
        )?;
        require(
            "bytes of workgroup memory",
            8192,
            u64::from(info.max_workgroup_memory),
        )?;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("assay"),
            required_features: match info.subgroup {
                0 => wanted,
                _ => wanted | wgpu::Features::SUBGROUP,
            },
            required_limits: adapter.limits(),
            memory_hints: wgpu::MemoryHints::MemoryUsage,
            ..Default::default()
        };
        let (device, queue) =
            adapter
                .request_device(&descriptor)
                .await
                .map_err(|err| EngineError::NoDevice {
                    adapter: info.name.clone(),
                    reason: err.to_string(),
                })?;
        let pace = Pace::new(submit, info.variants.first_rate);
        let faults = Arc::new(Faults::default());
        let sink = Arc::clone(&faults);
        device.on_uncaptured_error(Arc::new(move |err: wgpu::Error| {
            set_first(&sink.error, err.to_string());
        }));
        let sink = Arc::clone(&faults);
        device.set_device_lost_callback(move |reason, message| {
            set_first(&sink.lost, format!("{reason:?} {message}"));
        });
        Ok(Self {
            device,
            queue,
            info,
            pipelines: Pipelines::default(),
            faults,
            unconfirmed: Mutex::default(),
            pace: Mutex::new(pace),
        })
    }

    /// Multiply-adds that the next submit may hold.
    pub(crate) fn submit_budget(&self) -> u64 {
        self.pace
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .budget()
    }

    /// A submit of `work` multiply-adds took `elapsed`.
    pub(crate) fn learn_pace(&self, work: u64, elapsed: Duration) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.learn(work, elapsed);
    }

    /// The first fault that the device has reported, if any. Asked before any result is used.
    pub fn check(&self) -> Result<(), EngineError> {
        let take = |slot: &Mutex<Option<String>>| slot.lock().ok().and_then(|s| s.clone());
        if let Some(lost) = take(&self.faults.lost) {
            return Err(EngineError::DeviceLost(lost));
        }
        match take(&self.faults.error) {
            Some(error) => Err(EngineError::Device(error)),
            None => Ok(()),
        }
    }

    /// A buffer of `bytes` (rounded up to 16), or an error that names it. Zeroed by wgpu.
    pub async fn buffer(
        &self,
        what: &str,
        bytes: u64,
        usage: wgpu::BufferUsages,
    ) -> Result<wgpu::Buffer, EngineError> {
        let size = bytes.max(16).next_multiple_of(16);
        let have = if usage.contains(wgpu::BufferUsages::STORAGE) {
            self.info.max_binding
        } else {
            self.info.max_buffer
        };
        if size > have {
            return Err(EngineError::LimitTooSmall {
                what: format!("{what} (bytes in one buffer)"),
                need: size,
                have,
            });
        }
        let descriptor = wgpu::BufferDescriptor {
            label: Some(what),
            size,
            usage,
            mapped_at_creation: false,
        };
        let make = || self.device.create_buffer(&descriptor);
        self.allocated(what, size, make).await
    }

    /// What `make` makes, or an error where the device has no memory for its `bytes`.
    pub(super) async fn allocated<T>(
        &self,
        what: &str,
        bytes: u64,
        make: impl FnOnce() -> T,
    ) -> Result<T, EngineError> {
        let (made, invalid, memory) = {
            // Error scopes are a thread's own, so others may compile meanwhile.
            let memory = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
            let valid = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
            let made = make();
            let invalid = valid.pop();
            (made, invalid, memory.pop())
        };
        self.confirm(Unconfirmed {
            what: what.to_owned(),
            bytes,
            invalid: Box::pin(invalid),
            memory: Some(Box::pin(memory)),
        })
        .await?;
        self.check()?;
        Ok(made)
    }

    fn unconfirmed(&self) -> std::sync::MutexGuard<'_, Vec<Unconfirmed>> {
        self.unconfirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Awaits what the device says. In a browser each answer takes a round trip through a process that also draws the page: there
    /// answers are gathered and awaited together, by [`settle`](Self::settle) and [`read`](Self::read), before any result is used.
    pub(super) async fn confirm(&self, asked: Unconfirmed) -> Result<(), EngineError> {
        if cfg!(target_arch = "wasm32") {
            self.unconfirmed().push(asked);
            return Ok(());
        }
        asked.answer().await
    }

    async fn confirm_all(&self) -> Result<(), EngineError> {
        let asked = std::mem::take(&mut *self.unconfirmed());
        for asked in asked {
            asked.answer().await?;
        }
        Ok(())
    }

    /// A storage buffer that kernels read and write and copies start from and end at.
    pub async fn storage(&self, what: &str, bytes: u64) -> Result<wgpu::Buffer, EngineError> {
        use wgpu::BufferUsages as U;
        self.buffer(what, bytes, U::STORAGE | U::COPY_DST | U::COPY_SRC)
            .await
    }

    /// A storage buffer with `data` in it.
    pub async fn storage_with(&self, what: &str, data: &[u8]) -> Result<wgpu::Buffer, EngineError> {
        let buffer = self.storage(what, data.len() as u64).await?;
        self.write(&buffer, 0, data);
        Ok(buffer)
    }

    /// Runs `make`; whether it was valid is to be [confirmed](Self::confirm).
    pub(super) fn validated<T>(&self, what: &str, make: impl FnOnce() -> T) -> (T, Unconfirmed) {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::Validation);
        let made = make();
        let asked = Unconfirmed {
            what: what.to_owned(),
            bytes: 0,
            invalid: Box::pin(scope.pop()),
            memory: None,
        };
        (made, asked)
    }

    /// Queues `data` for `buffer`; a tail that is no multiple of four bytes is padded with zeros.
    pub fn write(&self, buffer: &wgpu::Buffer, offset: u64, data: &[u8]) {
        let whole = data.len() & !3;
        if whole > 0 {
            self.queue.write_buffer(buffer, offset, &data[..whole]);
        }
        if whole < data.len() {
            let mut tail = [0u8; 4];
            tail[..data.len() - whole].copy_from_slice(&data[whole..]);
            self.queue
                .write_buffer(buffer, offset + whole as u64, &tail);
        }
    }

    /// Sends queued uploads off and waits, once more than a bound of bytes is `pending`. Many writes
    /// without a submit grow (and on some drivers corrupt) the staging memory.
    pub async fn flush_uploads(&self, pending: &mut u64, force: bool) -> Result<(), EngineError> {
        if *pending >= FLUSH_BYTES || force {
            self.queue.submit([]);
            self.settle().await?;
            *pending = 0;
        }
        Ok(())
    }

    /// Waits until all submitted work is done, then reports any fault.
    pub async fn settle(&self) -> Result<(), EngineError> {
        let (send, receive) = flume::bounded(1);
        self.queue.on_submitted_work_done(move || {
            let _sent = send.send(());
        });
        self.wait(receive).await?;
        self.confirm_all().await?;
        self.check()
    }

    /// Reads the first `bytes` of `staging`, a MAP_READ buffer.
    pub async fn read(&self, staging: &wgpu::Buffer, bytes: u64) -> Result<Vec<u8>, EngineError> {
        if bytes == 0 {
            self.settle().await?;
            return Ok(Vec::new());
        }
        let slice = staging.slice(..bytes);
        let (send, receive) = flume::bounded(1);
        slice.map_async(wgpu::MapMode::Read, move |result| {
            let _sent = send.send(result);
        });
        let mapped = self.wait(receive).await?;
        self.confirm_all().await?;
        self.check()?;
        mapped.map_err(|err| EngineError::Device(err.to_string()))?;
        let data = slice
            .get_mapped_range()
            .map_err(|err| EngineError::Device(err.to_string()))?
            .to_vec();
        staging.unmap();
        Ok(data)
    }

    /// Awaits a callback. Natively the device must be polled for it to come; in a browser it comes.
    async fn wait<T>(&self, receive: flume::Receiver<T>) -> Result<T, EngineError> {
        #[cfg(not(target_arch = "wasm32"))]
        {
            if let Err(err) = self.device.poll(wgpu::PollType::wait_indefinitely()) {
                self.check()?;
                return Err(EngineError::Device(err.to_string()));
            }
        }
        receive
            .recv_async()
            .await
            .map_err(|_closed| EngineError::DeviceLost("the callback never came".to_owned()))
    }

    /// Loses the device on purpose, for tests of what follows.
    pub fn destroy(&self) {
        self.device.destroy();
    }
}

fn require(what: &str, need: u64, have: u64) -> Result<(), EngineError> {
    if have < need {
        Err(EngineError::LimitTooSmall {
            what: what.to_owned(),
            need,
            have,
        })
    } else {
        Ok(())
    }
}
