//! A model's self-test, begun before its weights are read: drivers compile while they are hashed and loaded.
//!
//! Only a dispatch makes sure that a pipeline is compiled (Mesa's llvmpipe compiles at the first one), and the self-test dispatches every
//! pipeline that a model uses. Where there are no threads nothing is begun, and the test runs where its outcome is asked for; a browser
//! compiles in a process of its own anyway.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::SelfTest;
use crate::engine::Device;
use crate::sparsity::Sparsity;
use crate::{ActivationType, EngineError, Numerics};
use assay_model::Model;

/// A self-test that runs beside other work. Who drops it stops it, and waits until the driver is let go: a program that ends while a driver
/// compiles is killed by it.
#[derive(Debug, Default)]
pub struct Warming(Option<Begun>);

#[derive(Debug)]
struct Begun {
    outcome: flume::Receiver<Result<SelfTest, EngineError>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It sends its outcome, a fault of its own included, or nobody wants that any more.
            drop(thread.join());
        }
    }
}

impl Warming {
    /// Begins [`run_for`](super::run_for) on a thread of its own.
    #[cfg(all(feature = "parallel", not(target_arch = "wasm32")))]
    pub fn begin(
        device: &Device,
        numerics: Numerics,
        model: &Model,
        activations: ActivationType,
        rule: Option<&Sparsity>,
    ) -> Self {
        let Device::Gpu(gpu) = device else {
            return Self(None);
        };
        let cases = super::all_of(gpu, numerics, model, activations, rule);
        let gpu = Arc::clone(gpu);
        let (send, outcome) = flume::bounded(1);
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let work = async move {
            let alive = || match stopped.load(Ordering::Relaxed) {
                true => Err(EngineError::Cancelled),
                false => Ok(()),
            };
            super::run_cases_while(&gpu, numerics, cases, alive).await
        };
        let thread = std::thread::Builder::new().name("warming".to_owned());
        let begun = thread.spawn(move || drop(send.send(pollster::block_on(work))));
        Self(begun.ok().map(|thread| Begun {
            outcome,
            stop,
            thread: Some(thread),
        }))
    }

    /// Nothing: there are no threads.
    #[cfg(not(all(feature = "parallel", not(target_arch = "wasm32"))))]
    pub fn begin(
        _device: &Device,
        _numerics: Numerics,
        _model: &Model,
        _activations: ActivationType,
        _rule: Option<&Sparsity>,
    ) -> Self {
        Self(None)
    }

    /// Waits for its end, and gives what [`run_for`](super::run_for) would; nothing if none was begun.
    pub async fn finish(self) -> Option<Result<SelfTest, EngineError>> {
        self.0?.outcome.recv_async().await.ok()
    }
}
