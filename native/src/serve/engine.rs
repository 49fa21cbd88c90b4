//! The engine's thread: one run after another, each from an empty cache.

use std::sync::Arc;

use assay_engine::sparsity::SparseModel;
use assay_engine::{
    ActivationType, AdapterInfo, Engine, EngineError, Monitor, Numerics, linear_widths, selftest,
};
use assay_live::{Fault, FaultCode, Limits, Line, ReceiptLine, RunId, RunRequest};
use assay_model::{Model, ModelConfig};
use assay_prove::{Open, ProveError, Request, Sealed, seal};
use assay_trace::{Digest, ModelClaim, SparseClaim};

use super::access_log;
use super::args::Args;
use super::monitor::{Cut, RunMonitor};
use super::queue::Job;
use super::server::Server;
use crate::device_arg::DeviceArgs;

/// A model on a device.
pub struct Machine<'a> {
    device: &'a DeviceArgs,
    model: Model,
    root: Digest,
    capacity: usize,
    numerics: Numerics,
    activations: ActivationType,
    /// The rule for active neurons of every run; all are computed if `None`.
    sparse: Option<Arc<SparseModel>>,
    /// `None` until it is loaded, and again after it failed.
    engine: Option<Engine>,
}

/// How a run ended, in a word for log and metrics.
type Ending = Result<&'static str, (FaultCode, String)>;

impl<'a> Machine<'a> {
    /// With room for as many positions as `args` say, and the model's context. Reads the files of a rule for active neurons.
    pub fn new(
        device: &'a DeviceArgs,
        model: Model,
        root: Digest,
        args: &Args,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            device,
            root,
            capacity: args.capacity().min(model.config().context),
            numerics: args.numerics.class(),
            activations: args.activations.activations,
            sparse: args.sparse.load(&model, || Ok(root))?,
            model,
            engine: None,
        })
    }

    /// Opens the device and loads the model. Says what the device is.
    pub async fn load(&mut self, monitor: &mut dyn Monitor) -> anyhow::Result<AdapterInfo> {
        self.engine = None; // before there is another: both may not fit
        let device = self.device.open().await?;
        let (numerics, activations) = (self.numerics, self.activations);
        activations.check(&self.model)?;
        let rule = self.sparse.as_deref().map(SparseModel::sparsity);
        selftest::before_promise(&device, numerics, &self.model, activations, rule).await?;
        let engine = Engine::load_rounding(
            &device,
            &self.model,
            self.capacity,
            numerics,
            activations,
            self.sparse.clone(),
            monitor,
        )
        .await?;
        let info = engine.info().clone();
        self.engine = Some(engine);
        Ok(info)
    }

    /// The model as receipts will name it.
    pub fn claim(&self) -> ModelClaim {
        let config = self.model.config();
        ModelClaim {
            dtype: self.model.dtype().to_owned(),
            family: config.family.as_str().to_owned(),
            hidden: config.hidden as u32,
            layers: config.layers as u32,
            parameters: self.model.parameters(),
            root: self.root,
            vocab: config.vocab as u32,
        }
    }

    /// What receipts will say of skipped neurons.
    pub fn sparse(&self) -> Option<SparseClaim> {
        let sparse = self.sparse.as_ref()?;
        Some(sparse.claim(self.model.config()))
    }

    /// The model's sizes.
    pub fn config(&self) -> &ModelConfig {
        self.model.config()
    }

    /// What fits both the flags and the model's context.
    pub fn limits(&self, args: &Args) -> Limits {
        let context = self.model.config().context as u32;
        Limits {
            max_prompt: args.max_prompt.min(context.saturating_sub(1)).max(1),
            max_tokens: args.max_tokens.min(context),
            retention_s: args.retain_seconds,
        }
    }

    /// Runs what is asked for, until the queue is closed.
    pub fn work(&mut self, server: &Server) {
        while let Some(job) = server.queue.pop() {
            self.run(server, job);
        }
    }

    fn run(&mut self, server: &Server, job: Job) {
        let Job {
            request,
            lines,
            room,
            peer,
            asked,
        } = job;
        let mut monitor = RunMonitor::new(server, &lines);
        let sealed = pollster::block_on(self.seal(&request, &mut monitor));
        let (tokens, cut) = (monitor.tokens, monitor.cut);
        let ending: Ending = match sealed {
            Ok(sealed) => receipt(&request, &sealed, server).map(|line| {
                let id = line.id;
                room.keep(id, sealed.trace);
                if lines.send(Line::Receipt(Box::new(line))).is_ok() {
                    return "finished";
                }
                server.retention.remove(id);
                "gone"
            }),
            Err(err) => self.failed(cut, &err),
        };
        let word = match ending {
            Ok(word) => word,
            Err((code, message)) => {
                drop(lines.send(Line::Error(Fault::new(code, message))));
                code.as_str()
            }
        };
        server.metrics.run(word, tokens, asked.elapsed());
        access_log::run(peer, word, tokens, asked.elapsed());
    }

    async fn seal(
        &mut self,
        request: &RunRequest,
        monitor: &mut RunMonitor<'_>,
    ) -> anyhow::Result<Sealed> {
        monitor.alive()?; // it may have waited for long
        if self.engine.is_none() {
            self.load(monitor).await?;
        }
        let Some(engine) = &mut self.engine else {
            return Err(EngineError::Cancelled.into()); // not so: it was loaded
        };
        let request = asked_for(request, engine);
        Ok(seal(engine, &self.model, self.root, &request, monitor).await?)
    }

    fn failed(&mut self, cut: Option<Cut>, err: &anyhow::Error) -> Ending {
        match cut {
            Some(Cut::Gone) => return Ok("gone"),
            Some(Cut::Stopping) => {
                return Err((
                    FaultCode::Stopping,
                    "the prover is being stopped".to_owned(),
                ));
            }
            Some(Cut::Timeout) => {
                return Err((FaultCode::Timeout, "the run took too long".to_owned()));
            }
            None => {}
        }
        // The operator is told all of it, the asker what it is about.
        access_log::fault(&format!("{err:#}"));
        if let Some(ProveError::Build(_)) = err.downcast_ref() {
            return Err((
                FaultCode::Internal,
                "the run could not be committed to".to_owned(),
            ));
        }
        self.engine = None; // the next run opens the device anew
        Err((FaultCode::Device, "the prover's device failed".to_owned()))
    }
}

/// The request in the prover's terms. Everything is kept, since nobody knows yet what will be asked for: linear outputs, logits and
/// hidden states, or of sparse MLPs, whose linear outputs are not recorded, hidden states alone.
fn asked_for(request: &RunRequest, engine: &Engine) -> Request {
    let is_dense = engine.sparse().is_none();
    let states = 0..=engine.config().layers as u32;
    Request {
        prompt: request.prompt.clone(),
        max_tokens: request.max_tokens as usize,
        sampler: assay_verify::sampler_spec(&request.sampler),
        ignore_eos: request.ignore_eos,
        nonce: Some(request.nonce.0),
        opened: Some(if is_dense {
            Vec::new()
        } else {
            states.collect()
        }),
        audit: is_dense.then_some(Open::Later),
    }
}

fn receipt(
    request: &RunRequest,
    sealed: &Sealed,
    server: &Server,
) -> Result<ReceiptLine, (FaultCode, String)> {
    let internal = |what: &str| (FaultCode::Internal, what.to_owned());
    let manifest = sealed
        .trace
        .receipt()
        .ok_or_else(|| internal("the run has no receipt"))?;
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(|_| internal("the system gave no random bytes"))?;
    Ok(ReceiptLine {
        id: RunId::from_random(id),
        manifest: manifest.canonical_json(),
        tokens: [&request.prompt[..], &sealed.output].concat(),
        expires_s: server.info.limits.retention_s,
    })
}

/// Most bytes that a run leaves behind.
pub fn retained_bytes(
    config: &ModelConfig,
    sparse: Option<&SparseClaim>,
    request: &RunRequest,
) -> u64 {
    const F32: u64 = 4;
    const DIGEST: u64 = Digest::LEN as u64;
    let asked = request.prompt.len() + request.max_tokens as usize;
    let total = asked.min(config.context) as u64;
    let outputs = u64::from(request.max_tokens).min(total);
    let layers = config.layers as u64;
    let states = config.hidden as u64 * (layers + 1) * F32 + (layers + 1) * DIGEST + F32;
    // What asked_for() has kept besides hidden states.
    let (more, output) = match sparse {
        Some(claim) => (layers * claim.layer_bytes() as u64, 0),
        None => {
            let widths: usize = linear_widths(config).iter().sum();
            let linears = layers * (widths as u64 * F32 + DIGEST);
            (linears, config.vocab as u64 * F32)
        }
    };
    total * (states + more) + outputs * (output + DIGEST)
}
