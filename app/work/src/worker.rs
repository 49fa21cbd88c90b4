//! Who does the jobs: one at a time, each ending in exactly one [`News::Done`].

mod ask;
mod room;
mod trials;

use std::rc::Rc;
use std::sync::Arc;

use assay_engine::sparsity::SparseModel;
use assay_engine::{ActivationType, Device, Engine, Gpu, GpuOptions, Numerics, selftest};
use assay_experiment::store::Memory;
use assay_model::{ByteSource, Model};
use assay_prove::{Request, prove};
use assay_sheet::{Sheet, SheetError};
use assay_trace::{Digest, Trace, TraceError, merkle};
use assay_verify::audit::audit;
use assay_verify::suspects::Cheaper;
use assay_verify::{Options, Profiles, Suspect, Verified, verify_in_detail};

use crate::message::{
    Arithmetic, Claims, DeviceChoice, Event, Expect, Failure, Hashes, Job, JobId, KeptId,
    ModelSource, News, Outcome, ProveRequest, Proved, Source, Stage,
};
use crate::monitor::JobMonitor;
use crate::opened::{Against, Opened};
use crate::platform::Platform;
use crate::sort::{self, Kind};
use crate::{key, read};

/// Proven traces that are kept; the oldest goes first.
const MOST_KEPT: usize = 8;
/// A file larger than this whose head is no trace's is refused without reading the rest of it.
const READ_ANYWAY: u64 = 64 << 20;

/// The worker's state between jobs: what is worth keeping open.
pub struct Worker<P> {
    platform: P,
    kept: Vec<(KeptId, Arc<Vec<u8>>)>,
    next_kept: KeptId,
    trace: Option<(Source, Arc<Vec<u8>>)>,
    opened: Option<Opened>,
    device: Option<(DeviceChoice, Device)>,
    /// Of experiments, where the platform has no better place.
    trials: Memory,
}

impl<P: Platform> Worker<P> {
    /// A worker that has done nothing yet.
    pub fn new(platform: P) -> Self {
        Self {
            platform,
            kept: Vec::new(),
            next_kept: 1,
            trace: None,
            opened: None,
            device: None,
            trials: Memory::default(),
        }
    }

    /// The platform.
    pub fn platform(&self) -> &P {
        &self.platform
    }

    /// Does a job and tells of its end.
    pub async fn run(&mut self, id: JobId, job: Job) {
        let done = match self.platform.is_cancelled(id) {
            true => Err(Failure::cancelled()),
            false => self.attempt(id, job).await.map(Box::new),
        };
        if done.as_ref().is_err_and(|failure| failure.code == "device") {
            // Whatever is wrong with it, the next job opens it anew.
            self.device = None;
        }
        let news = News::Done(done);
        self.platform.say(Event { id, news });
    }

    async fn attempt(&mut self, id: JobId, job: Job) -> Result<Outcome, Failure> {
        match job {
            Job::Adapters { device } => self.adapters(device).await,
            Job::Sort { files } => self.sort(id, files).await,
            Job::Inspect { trace } => self.inspect(id, trace).await.map(Outcome::Inspected),
            Job::OpenModel { model } => {
                let opened = self.open(id, &model).await?;
                Ok(Outcome::Model(opened.facts()))
            }
            Job::Verify {
                trace,
                model,
                expect,
                device,
            } => self.verify(id, trace, model, expect, device).await,
            Job::Prove {
                model,
                request,
                device,
            } => self.prove(id, model, request, device).await,
            Job::Ask {
                prover,
                model,
                request,
                device,
            } => self.ask(id, prover, model, request, device).await,
            Job::Experiment {
                model,
                request,
                device,
            } => {
                let sheet = self.experiment(id, &model, &request, &device).await?;
                Ok(Outcome::Sheet(sheet))
            }
            Job::Sheet { sheet } => self.sheet(id, &sheet).await.map(Outcome::Sheet),
            Job::Hashes { trace, position } => {
                let bytes = self.trace_bytes(id, &trace).await?;
                hashes(&bytes, position).map(Outcome::Hashes)
            }
            Job::Bytes { kept } => Ok(Outcome::Bytes(self.kept(kept)?.to_vec())),
            Job::Cache => self.platform.cache().await.map(Outcome::Cache),
            Job::ClearCache { key } => {
                // A model that is read from the cache must not be read on. A key is in memory alone.
                self.opened
                    .take_if(|open| matches!(open.against, Against::Model(_)));
                self.platform.clear_cache(key.as_deref()).await?;
                self.platform.cache().await.map(Outcome::Cache)
            }
        }
    }

    async fn adapters(&mut self, choice: DeviceChoice) -> Result<Outcome, Failure> {
        let found = Gpu::list(&self.platform.gpu_options().await).await;
        let (chosen, fault) = match self.device(&choice).await {
            Ok(device) => (Some(device.info()), None),
            Err(failure) => (None, Some(failure)),
        };
        Ok(Outcome::Adapters {
            found,
            chosen,
            fault,
        })
    }

    async fn device(&mut self, choice: &DeviceChoice) -> Result<Device, Failure> {
        if let Some((open, device)) = &self.device
            && open == choice
        {
            // A device that was lost meanwhile is opened again.
            match device {
                Device::Gpu(gpu) if gpu.check().is_err() => {}
                device => return Ok(device.clone()),
            }
        }
        self.device = None;
        let device = match choice {
            DeviceChoice::Cpu => Device::Cpu,
            DeviceChoice::Best | DeviceChoice::Named(_) => {
                let adapter = match choice {
                    DeviceChoice::Named(name) => Some(name.clone()),
                    _ => None,
                };
                let options = GpuOptions {
                    adapter,
                    ..self.platform.gpu_options().await
                };
                Device::Gpu(Arc::new(Gpu::open(&options).await?))
            }
        };
        self.device = Some((choice.clone(), device.clone()));
        Ok(device)
    }

    async fn sort(&self, id: JobId, files: Vec<(String, Source)>) -> Result<Outcome, Failure> {
        let monitor = JobMonitor::new(&self.platform, id);
        let mut told = Vec::with_capacity(files.len());
        for (path, source) in files {
            monitor.check()?;
            if self.platform.is_folder(&source) {
                let Source::Path(folder) = source else {
                    continue;
                };
                // The slash says that it is a folder.
                let folder = format!("{}/", folder.trim_end_matches('/'));
                told.push((path, Source::Path(folder), Kind::Model));
                continue;
            }
            let opened = self.platform.open(&source, &mut |_, _| Ok(())).await?;
            let kind = sort::kind(&path, &*opened);
            told.push((path, source, kind));
        }
        let sort::Sorted {
            traces,
            model,
            sheets,
            ignored,
        } = sort::sorted(told);
        Ok(Outcome::Sorted {
            traces,
            model,
            sheets,
            ignored,
        })
    }

    async fn sheet(&self, id: JobId, source: &Source) -> Result<String, Failure> {
        let mut monitor = JobMonitor::new(&self.platform, id);
        let opened = {
            let mut fetched = |done, total| monitor.tell(Stage::Fetch, done, total);
            self.platform.open(source, &mut fetched).await?
        };
        let refused = |err: SheetError| {
            let name = source.name();
            Failure::new(
                "not-a-sheet",
                format!("`{name}` is no sheet of a study: {err}"),
            )
            .with_next("choose the sheet.json that a study of this program's version wrote")
        };
        let bytes = opened.len();
        if bytes > assay_sheet::MAX_BYTES {
            return Err(refused(SheetError::TooLarge { bytes }));
        }
        let read = read::whole(&self.platform, &mut monitor, &*opened).await?;
        let bytes = read.ok_or_else(|| refused(SheetError::TooLarge { bytes }))?;
        Sheet::parse(&bytes)
            .and_then(|sheet| sheet.to_json())
            .map_err(refused)
    }

    fn kept(&self, id: KeptId) -> Result<Arc<Vec<u8>>, Failure> {
        let found = self.kept.iter().find(|(kept, _)| *kept == id);
        found
            .map(|(_, bytes)| Arc::clone(bytes))
            .ok_or_else(|| Failure::new("not-found", "this trace is no longer kept"))
    }

    fn keep(&mut self, bytes: Vec<u8>) -> KeptId {
        let id = self.next_kept;
        self.next_kept += 1;
        if self.kept.len() == MOST_KEPT {
            self.kept.remove(0);
        }
        self.kept.push((id, Arc::new(bytes)));
        id
    }

    /// All bytes of a trace. The last one stays, so that looking at it and verifying it read it once.
    async fn trace_bytes(&mut self, id: JobId, source: &Source) -> Result<Arc<Vec<u8>>, Failure> {
        if let Source::Kept(kept) = source {
            return self.kept(*kept);
        }
        if let Some((open, bytes)) = &self.trace
            && open == source
        {
            return Ok(Arc::clone(bytes));
        }
        self.trace = None;
        let bytes = Arc::new(self.read_trace(id, source).await?);
        self.trace = Some((source.clone(), Arc::clone(&bytes)));
        Ok(bytes)
    }

    async fn read_trace(&self, id: JobId, source: &Source) -> Result<Vec<u8>, Failure> {
        let mut monitor = JobMonitor::new(&self.platform, id);
        let opened = {
            let mut fetched = |done, total| monitor.tell(Stage::Fetch, done, total);
            self.platform.open(source, &mut fetched).await?
        };
        let (total, most) = (opened.len(), self.platform.max_trace_bytes());
        refuse_by_head(&*opened, source, most)?;
        read::whole(&self.platform, &mut monitor, &*opened)
            .await?
            .ok_or_else(|| too_large(source, total, most))
    }

    async fn inspect(&mut self, id: JobId, source: Source) -> Result<Claims, Failure> {
        // Whoever asks anew wants the file as it is now.
        self.trace = None;
        let bytes = self.trace_bytes(id, &source).await?;
        claims(&bytes, &source)
    }

    /// What `source` names, opened unless it is open already.
    async fn open(&mut self, id: JobId, source: &ModelSource) -> Result<&mut Opened, Failure> {
        if self.opened.as_ref().is_none_or(|open| !open.is(source)) {
            self.opened = None;
            let against = match source {
                ModelSource::Key { source, passphrase } => {
                    let key = key::open(&self.platform, id, source, passphrase.as_ref()).await?;
                    Against::Key(Rc::new(key))
                }
                model => {
                    let mut monitor = JobMonitor::new(&self.platform, id);
                    let mut fetched = |done, total| monitor.tell(Stage::Fetch, done, total);
                    let model = self.platform.open_model(model, &mut fetched).await?;
                    Against::Model(Arc::new(model))
                }
            };
            self.opened = Some(Opened::new(source, against));
        }
        self.opened
            .as_mut()
            .ok_or_else(|| Failure::new("internal", "no model is open"))
    }

    async fn verify(
        &mut self,
        id: JobId,
        trace: Source,
        model: ModelSource,
        expect: Expect,
        device: DeviceChoice,
    ) -> Result<Outcome, Failure> {
        let bytes = self.trace_bytes(id, &trace).await?;
        let against = self.open(id, &model).await?.against.clone();
        let mut options = options(&expect, &against)?;
        if expect.skips {
            options.sparse = skipped(&bytes)?;
        }
        let verified = self.judge(id, &bytes, &against, &options, &device).await?;
        Ok(Outcome::Verified {
            report: report(&verified)?,
            details: Box::new(verified.details),
        })
    }

    /// Holds a trace's bytes against what is open.
    async fn judge(
        &mut self,
        id: JobId,
        bytes: &[u8],
        against: &Against,
        options: &Options,
        device: &DeviceChoice,
    ) -> Result<Verified, Failure> {
        // A file that is no trace is rejected on any machine, also on one without an adapter.
        let device = match Trace::parse(bytes) {
            Ok(_) => self.device(device).await?,
            Err(_) => Device::Cpu,
        };
        let mut monitor = JobMonitor::new(&self.platform, id).on(&device);
        let verified = match against {
            Against::Model(model) => {
                let profiles = Profiles::embedded();
                verify_in_detail(&profiles, bytes, model, &device, options, &mut monitor).await?
            }
            Against::Key(open) => audit(bytes, &open.key, &device, options, &mut monitor).await?,
        };
        let root = verified.report.model.root.as_deref();
        if let (Some(open), Some(root)) = (&mut self.opened, root) {
            open.root = root.parse().ok();
        }
        Ok(verified)
    }

    async fn prove(
        &mut self,
        id: JobId,
        source: ModelSource,
        request: ProveRequest,
        device: DeviceChoice,
    ) -> Result<Outcome, Failure> {
        if source.is_key() {
            return Err(needs_weights());
        }
        let model = match &self.open(id, &source).await?.against {
            Against::Model(model) => Arc::clone(model),
            Against::Key(_) => return Err(needs_weights()),
        };
        let Some(tokenizer) = model.tokenizer() else {
            return Err(Failure::new(
                "request",
                "this checkpoint has no tokenizer, so a prompt cannot be turned into tokens",
            )
            .with_next("choose its tokenizer's file together with it"));
        };
        let numerics = match request.strict {
            true => Numerics::Strict,
            false => Numerics::Fast,
        };
        let request = Request {
            prompt: tokenizer.encode(&request.prompt)?,
            max_tokens: request.max_tokens as usize,
            sampler: request.sampler,
            ignore_eos: request.ignore_eos,
            nonce: request.nonce.as_deref().map(nonce).transpose()?,
            opened: None,
            audit: None,
        };
        request.check(model.config())?;
        let device = self.device(&device).await?;
        let root = self.root(id, &model).await?;
        let mut monitor = JobMonitor::new(&self.platform, id)
            .with_tokenizer(model.tokenizer())
            .on(&device);
        let capacity = request.capacity(model.config());
        selftest::before_promise(&device, numerics, &model, ActivationType::Float, None).await?;
        let mut engine = Engine::load(&device, &model, capacity, numerics, &mut monitor).await?;
        let proved = prove(&mut engine, &model, root, &request, &mut monitor).await?;
        let bytes = proved.trace.to_bytes();
        let stop = serde_json::to_value(proved.trace.manifest().output.stop)
            .ok()
            .and_then(|stop| stop.as_str().map(str::to_owned))
            .unwrap_or_default();
        Ok(Outcome::Proved(Proved {
            bytes: bytes.len() as u64,
            kept: self.keep(bytes),
            text: tokenizer.decode(&proved.output),
            prompt_tokens: request.prompt.len() as u32,
            tokens: proved.output.len() as u32,
            tokens_per_s: proved.timings.tokens_per_s,
            total_s: proved.timings.total_s,
            root: proved.trace.root().to_string(),
            stop,
            adapter: device.info().name,
        }))
    }

    /// The open model's root: hashed once for proving, where a wrong one only harms the prover. A verifier hashes anew.
    async fn root(&mut self, id: JobId, model: &Model) -> Result<Digest, Failure> {
        if let Some(root) = self.opened.as_ref().and_then(|open| open.root) {
            return Ok(root);
        }
        let root = self.hash(id, model).await?;
        if let Some(open) = &mut self.opened {
            open.root = Some(root);
        }
        Ok(root)
    }

    /// A model's root.
    async fn hash(&self, id: JobId, model: &Model) -> Result<Digest, Failure> {
        let mut monitor = JobMonitor::new(&self.platform, id);
        let mut hasher = model.root_hasher();
        while !hasher.step()? {
            monitor.tell(Stage::Hash, hasher.done(), hasher.total())?;
            self.platform.breathe().await;
        }
        Ok(hasher.finish()?)
    }
}

fn needs_weights() -> Failure {
    Failure::new(
        "needs-weights",
        "a verifier key has no weights, so nothing can be generated with it",
    )
    .with_next("open the model itself")
}

fn too_large(source: &Source, bytes: u64, most: u64) -> Failure {
    Failure::new(
        "too-large",
        format!(
            "`{}` has {bytes} bytes, and the largest trace that can be read here has {most}",
            source.name()
        ),
    )
    .with_next("use the desktop program on a machine with more memory, or a trace that opens fewer hidden states")
}

/// Refuses what need not be read: a file too large to hold, and a large one that begins as no trace does. Small ones go on, so that
/// they get a verdict with their digest.
fn refuse_by_head(file: &dyn ByteSource, source: &Source, most: u64) -> Result<(), Failure> {
    let total = file.len();
    if total <= READ_ANYWAY.min(most) {
        return Ok(());
    }
    let not_a_trace = |err: TraceError| {
        Failure::new(
            "not-a-trace",
            format!("`{}` is no trace: {err}", source.name()),
        )
        .with_next(
            "choose the trace.bin that the prover gave you; weights go where the model is chosen",
        )
    };
    let mut first = [0; 8];
    first.copy_from_slice(&file.read(0, 8)?);
    let head = Trace::head_bytes(first, total).map_err(not_a_trace)?;
    Trace::check_head(&file.read(0, head)?, total).map_err(not_a_trace)?;
    match total > most {
        true => Err(too_large(source, total, most)),
        false => Ok(()),
    }
}

fn nonce(text: &str) -> Result<[u8; 32], Failure> {
    text.trim()
        .parse::<Digest>()
        .map(|digest| digest.0)
        .map_err(|_err| Failure::new("request", "a nonce has 64 hexadecimal digits"))
}

/// What products must have rounded their inputs to. Whoever has a key bought what it was made for.
fn activations(asked: Arithmetic, against: &Against) -> ActivationType {
    asked.activations.unwrap_or_else(|| match against {
        Against::Key(open) => ActivationType::of(open.key.activations()),
        Against::Model(_) => ActivationType::Float,
    })
}

/// Bytes of rounded weights that a browser's 32-bit memory has room for, beside the rest.
const MOST_ROUNDED: u64 = 1 << 30;

/// What the model may have been made into.
fn suspects(asked: &[Cheaper], against: &Against) -> Result<Vec<Suspect>, Failure> {
    let Against::Model(model) = against else {
        return match asked {
            [] => Ok(Vec::new()),
            _ => Err(Failure::new(
                "needs-weights",
                "a key cannot tell what the model may have been made into",
            )
            .with_next("suspect nothing, or verify with the model")),
        };
    };
    let is_rounded = asked.iter().any(|c| matches!(c, Cheaper::Weights(_)));
    let room = MOST_ROUNDED / size_of::<f32>() as u64 / asked.len().max(1) as u64;
    if cfg!(target_arch = "wasm32") && is_rounded && model.parameters() > room {
        return Err(Failure::new(
            "too-large",
            "rounded copies of these weights do not fit into a browser’s memory",
        )
        .with_next(
            "suspect fewer formats, or use `assay --verify --suspect` of the desktop program",
        ));
    }
    asked.iter().map(|cheaper| Ok(cheaper.of(model)?)).collect()
}

fn options(expect: &Expect, against: &Against) -> Result<Options, Failure> {
    let prompt = match (&expect.prompt, against.tokenizer()) {
        (None, _) => None,
        (Some(text), Some(tokenizer)) => Some(tokenizer.encode(text)?),
        (Some(_), None) if matches!(against, Against::Key(_)) => {
            return Err(Failure::new(
                "request",
                "the prompt cannot be compared: a key has no tokenizer",
            )
            .with_next("leave the prompt empty, or verify with the model"));
        }
        (Some(_), None) => {
            return Err(Failure::new(
                "request",
                "the prompt cannot be compared: this checkpoint has no tokenizer",
            )
            .with_next("choose its tokenizer's file together with it, or leave the prompt empty"));
        }
    };
    Ok(Options {
        nonce: expect.nonce.as_deref().map(nonce).transpose()?,
        expect_prompt: prompt,
        expect_sampler: expect.sampler,
        expect_compute: expect.arithmetic.compute,
        activations: activations(expect.arithmetic, against),
        suspects: suspects(&expect.suspects, against)?,
        ..Options::default()
    })
}

/// The rule that a trace names, where all of it is in the trace.
fn skipped(bytes: &[u8]) -> Result<Option<Arc<SparseModel>>, Failure> {
    // What is no trace has its verdict without a rule.
    let Ok(trace) = Trace::parse(bytes) else {
        return Ok(None);
    };
    let Some(claim) = &trace.manifest().sparse else {
        return Ok(None);
    };
    match SparseModel::of_rule(&claim.rule) {
        Some(model) => Ok(Some(Arc::new(model))),
        None => Err(Failure::new(
            "unsupported",
            format!(
                "the rule `{}` needs a file that is not in the trace",
                claim.rule.kind()
            ),
        )
        .with_next("use `assay --verify --sparse` of the desktop program, which takes that file")),
    }
}

fn report(verified: &Verified) -> Result<String, Failure> {
    let json = verified.report.to_json();
    json.map_err(|err| Failure::new("internal", err.to_string()))
}

/// What a trace's bytes claim.
fn claims(bytes: &[u8], source: &Source) -> Result<Claims, Failure> {
    let parsed = Trace::parse(bytes);
    let fault = match &parsed {
        Ok(trace) => trace
            .check_commitment()
            .err()
            .map(|err| (err.code().to_owned(), err.to_string())),
        Err(err) => Some((err.code().to_owned(), err.to_string())),
    };
    let manifest = match parsed {
        Ok(trace) => Some(
            serde_json::to_string(trace.manifest())
                .map_err(|err| Failure::new("internal", err.to_string()))?,
        ),
        Err(_) => None,
    };
    Ok(Claims {
        name: source.name(),
        bytes: bytes.len() as u64,
        sha256: Digest::of(bytes).to_string(),
        manifest,
        fault,
    })
}

fn hashes(bytes: &[u8], position: u32) -> Result<Hashes, Failure> {
    let trace = Trace::parse(bytes).map_err(|err| Failure::new("not-a-trace", err.to_string()))?;
    let at = position as usize;
    if at >= trace.positions() {
        return Err(Failure::new(
            "request",
            format!("position {position} is outside the trace"),
        ));
    }
    let leaves = trace.leaves();
    let proof = merkle::inclusion_proof(&leaves, at).unwrap_or_default();
    let hex = |digest: &Digest| digest.to_string();
    Ok(Hashes {
        position,
        leaf: leaves.get(at).map(hex).unwrap_or_default(),
        states: (0..=trace.manifest().model.layers)
            .map(|layer| trace.state_digest(layer, at).to_string())
            .collect(),
        logits: trace.logits_digest(at).map(|digest| digest.to_string()),
        proof: proof.iter().map(hex).collect(),
    })
}
