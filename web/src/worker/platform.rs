//! The browser, as the worker's jobs see it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use assay_engine::GpuOptions;
use assay_live::Address;
use assay_model::{ByteSource, Model};
use assay_work::message::{CacheEntry, Event, Failure, JobId, ModelSource, ProverAt, Source};
use assay_work::{Fetched, LocalFuture, Platform};
use eframe::wasm_bindgen::{JsCast as _, JsValue};
use js_sys::{Function, Promise, Reflect};

use super::cache::Cache;
use super::handles::{HandleSource, words};
use super::net::{self, Keep, wait};
use super::prover::WebProver;
use super::{Cancelled, model, say, scope};

/// The page's canvas is drawn by the same GPU: a frame waits for what was submitted before it.
const SUBMIT: Duration = Duration::from_millis(20);
/// A module has 4 GiB of memory for everything; traces and keys are held whole.
const MAX_TRACE_BYTES: u64 = 1 << 30;
/// Half of that memory: the rest is for traces, reading, and what allocating leaves in pieces.
const MAX_WEIGHT_BYTES: u64 = 2 << 30;

/// The browser.
pub struct WebPlatform {
    cancelled: Cancelled,
}

impl WebPlatform {
    /// Hears of cancels through `cancelled`.
    pub fn new(cancelled: Cancelled) -> Self {
        Self { cancelled }
    }
}

impl Platform for WebPlatform {
    type Prover = WebProver;

    fn prover(&self, id: JobId, address: &Address, at: &ProverAt) -> Result<WebProver, Failure> {
        let cancelled = Rc::clone(&self.cancelled);
        let stop = Rc::new(move || cancelled.borrow().contains(&id));
        WebProver::new(address.clone(), at, stop)
    }

    fn random(&self, bytes: &mut [u8; 32]) -> Result<(), String> {
        let crypto = scope().crypto().map_err(words)?;
        crypto
            .get_random_values_with_u8_array(bytes)
            .map(drop)
            .map_err(words)
    }

    fn open<'a>(
        &'a self,
        source: &'a Source,
        fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Arc<dyn ByteSource>, Failure>> {
        Box::pin(open(source, Keep::AsUsual, fetched))
    }

    fn open_key<'a>(
        &'a self,
        source: &'a Source,
        fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Arc<dyn ByteSource>, Failure>> {
        // Picked files are read where they lie, and what is fetched stays out of the browser's own cache, too.
        Box::pin(open(source, Keep::Never, fetched))
    }

    fn open_model<'a>(
        &'a self,
        source: &'a ModelSource,
        fetched: &'a mut Fetched<'_>,
    ) -> LocalFuture<'a, Result<Model, Failure>> {
        Box::pin(model::open(source, fetched))
    }

    fn gpu_options(&self) -> LocalFuture<'_, GpuOptions> {
        Box::pin(async {
            GpuOptions {
                submit: Some(SUBMIT),
                fallback_name: adapter_name().await,
                ..GpuOptions::default()
            }
        })
    }

    fn say(&self, event: Event) {
        say(&event);
    }

    fn is_cancelled(&self, id: JobId) -> bool {
        self.cancelled.borrow().contains(&id)
    }

    fn breathe(&self) -> LocalFuture<'_, ()> {
        Box::pin(async {
            let pause = Promise::new(&mut |resolve: Function, _reject: Function| {
                drop(scope().set_timeout_with_callback(&resolve));
            });
            drop(wait(pause).await);
        })
    }

    fn max_trace_bytes(&self) -> u64 {
        MAX_TRACE_BYTES
    }

    fn max_weight_bytes(&self) -> Option<u64> {
        Some(MAX_WEIGHT_BYTES)
    }

    fn cache(&self) -> LocalFuture<'_, Result<Vec<CacheEntry>, Failure>> {
        Box::pin(async {
            Ok(match Cache::open().await {
                Some(cache) => cache.entries().await,
                None => Vec::new(),
            })
        })
    }

    fn clear_cache<'a>(&'a self, key: Option<&'a str>) -> LocalFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            match Cache::open().await {
                Some(cache) => cache.clear(key).await,
                None => Ok(()),
            }
        })
    }
}

/// A file that fits into memory, or that lies on the user's disk.
async fn open(
    source: &Source,
    keep: Keep,
    fetched: &mut Fetched<'_>,
) -> Result<Arc<dyn ByteSource>, Failure> {
    let url = match source {
        Source::Sample(sample) => format!("samples/{}", sample.name()),
        Source::Url(url) => url.clone(),
        Source::Picked { handle, name, .. } => {
            let file = HandleSource::picked(*handle).ok_or_else(|| model::gone(name))?;
            return Ok(Arc::new(file));
        }
        Source::Path(_) | Source::Kept(_) => {
            return Err(Failure::new("unsupported", "a browser cannot open a path")
                .with_next("choose or drop the file"));
        }
    };
    let bytes = net::whole_file(&url, MAX_TRACE_BYTES, keep, fetched).await?;
    let bytes = bytes.ok_or_else(|| net::missing(&url))?;
    Ok(Arc::new(bytes))
}

/// The adapter's vendor and architecture (`nvidia lovelace`), which are all that browsers tell of it.
async fn adapter_name() -> Option<String> {
    let get = |object: &JsValue, key: &str| Reflect::get(object, &key.into()).ok();
    let gpu = get(&scope().navigator(), "gpu").filter(|gpu| !gpu.is_undefined())?;
    let ask: Function = get(&gpu, "requestAdapter")?.dyn_into().ok()?;
    let wish = js_sys::Object::new();
    Reflect::set(&wish, &"powerPreference".into(), &"high-performance".into()).ok()?;
    let asked = ask.call1(&gpu, &wish).ok()?;
    let adapter = wait(asked.unchecked_into()).await.ok()?;
    let info = get(&adapter, "info").filter(|info| !info.is_undefined())?;
    let words = ["vendor", "architecture", "device", "description"];
    let words = words.iter().filter_map(|key| get(&info, key)?.as_string());
    let name: Vec<String> = words.filter(|word| !word.is_empty()).collect();
    Some(name.join(" ")).filter(|name| !name.is_empty())
}
