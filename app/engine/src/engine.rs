//! What callers hold: a model on a device, run chunk by chunk.

use std::future::{Future, ready};
use std::num::NonZeroUsize;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use assay_model::{Model, ModelConfig};

use crate::forward::{CpuForward, GpuForward};
use crate::gpu::{AdapterInfo, Gpu};
use crate::profile::{Clock, Span};
use crate::sparsity::{Bits, Inside, LayerMasks, LayerScores, SparseModel};
use crate::{ActivationType, CacheFormat, EngineError, Numerics, Rounding};

/// Where a model runs.
#[derive(Clone)]
pub enum Device {
    /// An adapter, through wgpu.
    Gpu(Arc<Gpu>),
    /// The CPU twins: the device of last resort.
    Cpu,
}

impl Device {
    /// The adapter's facts.
    pub fn info(&self) -> AdapterInfo {
        match self {
            Self::Gpu(gpu) => gpu.info.clone(),
            Self::Cpu => AdapterInfo::cpu(),
        }
    }
}

/// What is going on, for whoever shows progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Hashing the checkpoint; bytes.
    Hash,
    /// Uploading weights; bytes.
    Load,
    /// Running the prompt, or a whole trace; tokens.
    Prefill,
    /// Generating; tokens.
    Decode,
    /// Comparing; checks.
    Checks,
}

/// Told of progress, and asked whether to go on.
pub trait Monitor {
    /// `done` of `total` units of `phase`. An error ([`EngineError::Cancelled`]) ends the work.
    fn progress(&mut self, phase: Phase, done: u64, total: u64) -> Result<(), EngineError>;

    /// Asked between the pieces of one chunk, where there is nothing to report but work can stop.
    fn alive(&mut self) -> Result<(), EngineError> {
        Ok(())
    }

    /// Awaited in long work that never waits for a device (hashing, say): where one thread does everything, as in a browser's
    /// worker, this is when it hears of anything else. At once where threads are.
    fn breathe(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(ready(()))
    }

    /// A prover chose a token.
    fn token(&mut self, id: u32) {
        let _ = id;
    }
}

/// A monitor that says nothing and never cancels.
#[derive(Debug, Default)]
pub struct Quiet;

impl Monitor for Quiet {
    fn progress(&mut self, _phase: Phase, _done: u64, _total: u64) -> Result<(), EngineError> {
        Ok(())
    }
}

/// What a run should hand back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Want {
    /// Hidden states, by layer, ascending: 0 is the embedding, l the residual stream after layer l, the
    /// last one before the final norm.
    pub states: Vec<usize>,
    /// First absolute position whose logits are wanted; `None` for no logits.
    pub logits_from: Option<usize>,
    /// Layers (0 ..) whose linear outputs are wanted, ascending.
    pub linears: Vec<usize>,
    /// Layers (0 ..) whose inside is wanted, ascending.
    pub inside: Vec<usize>,
    /// Whether the masks that were used are wanted, of every layer.
    pub masks: bool,
    /// Whether what the rule for masks decides by is wanted, of every layer.
    pub scores: bool,
    /// Most rows of a prefill's first chunk, for who may stop after it; each later chunk may be twice as long. `None`: as the pace
    /// allows. Chunks change no bit.
    pub first_rows: Option<NonZeroUsize>,
}

impl Want {
    /// Every layer's hidden states.
    pub fn all_states(config: &ModelConfig) -> Self {
        Self {
            states: (0..=config.layers).collect(),
            ..Self::default()
        }
    }
}

/// A chunk of tokens and the position of its first one.
#[derive(Debug, Clone, Copy)]
pub struct Chunk<'a> {
    /// Token ids.
    pub tokens: &'a [u32],
    /// Position of the first.
    pub pos0: usize,
    /// Masks for these tokens, one entry a layer; `None` leaves them to the rule.
    pub masks: Option<&'a [LayerMasks]>,
}

/// What a run handed back, in the order of [`Want`].
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// Position of the first row.
    pub pos0: usize,
    /// Rows: tokens of the chunk.
    pub rows: usize,
    /// One [rows, hidden] matrix for each wanted layer.
    pub states: Vec<Vec<f32>>,
    /// [positions, vocab], from `logits_pos0` on.
    pub logits: Vec<f32>,
    /// Position of the first row of `logits`.
    pub logits_pos0: usize,
    /// One for each layer whose inside is wanted.
    pub inside: Vec<Inside>,
    /// One a layer, if wanted of a sparse engine.
    pub masks: Vec<LayerMasks>,
    /// One a layer, if wanted of a sparse engine.
    pub scores: Vec<LayerScores>,
    /// For each wanted layer what its products put out, before biases, rotation and residuals: [rows, width] each, in the order of
    /// [`LayerRole::LINEARS`](assay_model::LayerRole::LINEARS).
    pub linears: Vec<[Vec<f32>; 7]>,
    /// The same of products of integers, in place of `linears`: their sums, before scales.
    pub sums: Vec<[Vec<i64>; 7]>,
}

/// Widths of the outputs of [`LayerRole::LINEARS`](assay_model::LayerRole::LINEARS).
pub fn linear_widths(config: &ModelConfig) -> [usize; 7] {
    let (q, kv, wide) = (config.q_dim(), config.kv_dim(), config.intermediate);
    [q, kv, kv, config.hidden, wide, wide, config.hidden]
}

/// Most values, besides logits, that one run reads back: 128 MiB, which every device has a buffer for.
const READ_BACK_VALUES: usize = 32 << 20;

/// Masks of some tokens, one entry a layer.
pub type MasksOf<'a> = dyn Fn(Range<usize>) -> Vec<LayerMasks> + 'a;

/// A model on a device, with room for `capacity` positions in its KV cache.
pub struct Engine {
    backend: Backend,
    config: ModelConfig,
    info: AdapterInfo,
    numerics: Numerics,
    sparse: Option<Arc<SparseModel>>,
    activations: ActivationType,
    rounding: Rounding,
    capacity: usize,
    position: usize,
}

enum Backend {
    Gpu(Box<GpuForward>),
    Cpu(Box<CpuForward>),
}

impl Engine {
    /// Uploads `model` to `device` and makes room for `capacity` positions.
    pub async fn load(
        device: &Device,
        model: &Model,
        capacity: usize,
        numerics: Numerics,
        monitor: &mut dyn Monitor,
    ) -> Result<Self, EngineError> {
        Self::load_with(device, model, capacity, numerics, None, monitor).await
    }

    /// The same; with a rule, MLPs compute active neurons only.
    pub async fn load_with(
        device: &Device,
        model: &Model,
        capacity: usize,
        numerics: Numerics,
        sparse: Option<Arc<SparseModel>>,
        monitor: &mut dyn Monitor,
    ) -> Result<Self, EngineError> {
        let float = ActivationType::Float;
        Self::load_rounding(device, model, capacity, numerics, float, sparse, monitor).await
    }

    /// The same; products round what they take as `activations` say.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for a model whose products cannot, or together with sparse MLPs, besides those of loading.
    pub async fn load_rounding(
        device: &Device,
        model: &Model,
        capacity: usize,
        numerics: Numerics,
        activations: ActivationType,
        sparse: Option<Arc<SparseModel>>,
        monitor: &mut dyn Monitor,
    ) -> Result<Self, EngineError> {
        let config = model.config().clone();
        activations.check(model)?;
        if let Some(sparse) = &sparse {
            sparse.sparsity().check(&config)?;
            if activations != ActivationType::Float {
                return Err(EngineError::Unsupported(format!(
                    "sparse MLPs whose inputs are rounded ({})",
                    activations.as_str()
                )));
            }
        }
        if capacity == 0 || capacity > config.context {
            return Err(EngineError::TooLong {
                what: "the model's context",
                got: capacity,
                limit: config.context,
            });
        }
        let backend = match device {
            Device::Gpu(gpu) => Backend::Gpu(Box::new(
                GpuForward::load(
                    Arc::clone(gpu),
                    model,
                    capacity,
                    numerics,
                    sparse.clone(),
                    activations,
                    monitor,
                )
                .await?,
            )),
            Device::Cpu => Backend::Cpu(Box::new(CpuForward::load(
                model,
                capacity,
                sparse.clone(),
                activations,
                monitor,
            )?)),
        };
        Ok(Self {
            backend,
            config,
            info: device.info(),
            numerics,
            sparse,
            activations,
            rounding: Rounding::Keep,
            capacity,
            position: 0,
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The adapter's facts.
    pub fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// The rule for active neurons, if MLPs are sparse.
    pub fn sparse(&self) -> Option<&SparseModel> {
        self.sparse.as_deref()
    }

    /// What products round their inputs to.
    pub fn activations(&self) -> ActivationType {
        self.activations
    }

    /// What is kept of values between operations.
    pub fn rounding(&self) -> Rounding {
        self.rounding
    }

    /// Which promise the kernels make. The CPU twins are always strict.
    pub fn numerics(&self) -> Numerics {
        match self.backend {
            Backend::Gpu(_) => self.numerics,
            Backend::Cpu(_) => Numerics::Strict,
        }
    }

    /// Positions that the KV cache has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Positions run so far: where the next chunk starts.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Most tokens that one [`run`](Self::run) takes.
    pub fn chunk(&self) -> usize {
        match &self.backend {
            Backend::Gpu(gpu) => gpu.chunk(),
            Backend::Cpu(_) => self.info.variants.chunk,
        }
    }

    /// Tokens that the next [`run`](Self::run) should take: as [`chunk`](Self::chunk), or fewer where a device is slow and a submit
    /// must be short, or where so much is `want`ed of each token that it must be read back in smaller pieces.
    pub fn paced_chunk(&self, want: &Want) -> usize {
        let paced = match &self.backend {
            Backend::Gpu(gpu) => gpu.paced_chunk(self.position),
            Backend::Cpu(_) => self.chunk(),
        };
        paced.min((READ_BACK_VALUES / self.values_per_token(want).max(1)).max(1))
    }

    /// Values besides logits that are read back for each token.
    fn values_per_token(&self, want: &Want) -> usize {
        let config = &self.config;
        let linears: usize = linear_widths(config).iter().sum();
        let inside = config.q_dim() + config.hidden + config.intermediate;
        let a_layer = (config.hidden + config.intermediate) * usize::from(want.scores)
            + (config.hidden + config.intermediate).div_ceil(32) * usize::from(want.masks);
        want.states.len() * config.hidden
            + want.linears.len() * linears
            + want.inside.len() * inside
            + config.layers * a_layer
    }

    /// Times every dispatch from here on, and says by which clock. Device's clock only where it was opened with
    /// [`timestamps`](crate::GpuOptions::timestamps).
    ///
    /// # Errors
    /// The CPU twins have no dispatches.
    pub async fn profile(&mut self) -> Result<Clock, EngineError> {
        match &mut self.backend {
            Backend::Gpu(gpu) => gpu.profile().await,
            Backend::Cpu(_) => Err(EngineError::Unsupported(
                "a profile of the CPU twins, which dispatch nothing".to_owned(),
            )),
        }
    }

    /// What was timed since the last call, in the order of the dispatches.
    pub fn take_spans(&mut self) -> Vec<Span> {
        match &mut self.backend {
            Backend::Gpu(gpu) => gpu.take_spans(),
            Backend::Cpu(_) => Vec::new(),
        }
    }

    /// Keeps so much of values between operations from here on, as a prover of that precision does: products, norms, rotations, attention,
    /// activations and residual sums are rounded, sums inside of them are not. Arithmetic is strict meanwhile. Forgets the KV cache.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where the kernels round otherwise or not at all: families that audits do not know, sparse MLPs,
    /// rounded inputs.
    pub async fn keep(&mut self, rounding: Rounding) -> Result<(), EngineError> {
        let is_plain = self.sparse.is_none() && self.activations == ActivationType::Float;
        if rounding != Rounding::Keep && !(is_plain && self.config.can_be_audited()) {
            return Err(EngineError::Unsupported(format!(
                "emulated half precision of {}",
                match is_plain {
                    true => self.config.family.as_str(),
                    false => "sparse MLPs or rounded inputs",
                }
            )));
        }
        match &mut self.backend {
            Backend::Gpu(gpu) => gpu.keep(rounding).await?,
            Backend::Cpu(cpu) => cpu.keep(rounding),
        }
        self.rounding = rounding;
        self.reset();
        Ok(())
    }

    /// Keeps keys and values like that from here on, as a prover with a cheaper cache does. Forgets the KV cache.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] for a sparse MLP, whose plans are made as masks come.
    pub async fn round_cache(&mut self, format: CacheFormat) -> Result<(), EngineError> {
        if self.sparse.is_some() {
            let what = "a rounded KV cache with a sparse MLP";
            return Err(EngineError::Unsupported(what.to_owned()));
        }
        match &mut self.backend {
            Backend::Gpu(gpu) => gpu.round_cache(format).await?,
            Backend::Cpu(cpu) => cpu.round_cache(format),
        }
        self.reset();
        Ok(())
    }

    /// Forgets the KV cache.
    pub fn reset(&mut self) {
        self.position = 0;
    }

    /// Runs at most [`chunk`](Self::chunk) tokens after those already run.
    pub async fn run(
        &mut self,
        tokens: &[u32],
        want: &Want,
        monitor: &mut dyn Monitor,
    ) -> Result<Outputs, EngineError> {
        self.run_masked(tokens, None, want, monitor).await
    }

    /// The same; with `masks`, one entry a layer with a row a token, these neurons are active, whatever the rule says.
    pub async fn run_masked(
        &mut self,
        tokens: &[u32],
        masks: Option<&[LayerMasks]>,
        want: &Want,
        monitor: &mut dyn Monitor,
    ) -> Result<Outputs, EngineError> {
        self.check_masks(tokens.len(), masks)?;
        if !want.linears.is_empty() && self.rounding != Rounding::Keep {
            return Err(EngineError::Unsupported(
                "linear outputs in emulated half precision".to_owned(),
            ));
        }
        let end = self.position + tokens.len();
        if end > self.capacity {
            return Err(EngineError::TooLong {
                what: "the KV cache",
                got: end,
                limit: self.capacity,
            });
        }
        if tokens.is_empty() || tokens.len() > self.chunk() {
            return Err(EngineError::TooLong {
                what: "one chunk",
                got: tokens.len(),
                limit: self.chunk(),
            });
        }
        if let Some(id) = tokens.iter().find(|id| **id as usize >= self.config.vocab) {
            return Err(EngineError::TokenId {
                id: *id,
                vocab: self.config.vocab,
            });
        }
        let chunk = Chunk {
            tokens,
            pos0: self.position,
            masks,
        };
        let outputs = match &mut self.backend {
            Backend::Gpu(gpu) => gpu.run(chunk, want, monitor).await?,
            Backend::Cpu(cpu) => cpu.run(chunk, want, monitor).await?,
        };
        // A row with one bad number would compare as "different", which is a verdict; a device that
        // computes NaN from finite weights has failed, which is not.
        let width = self.config.hidden;
        for states in &outputs.states {
            if let Some(bad) = states.iter().position(|v| !v.is_finite()) {
                return Err(EngineError::NonFinite {
                    position: outputs.pos0 + bad / width,
                });
            }
        }
        for (values, width) in outputs
            .linears
            .iter()
            .flat_map(|layer| layer.iter().zip(linear_widths(&self.config)))
        {
            if let Some(bad) = values.iter().position(|v| !v.is_finite()) {
                return Err(EngineError::NonFinite {
                    position: outputs.pos0 + bad / width,
                });
            }
        }
        for (values, width) in outputs.scores.iter().flat_map(|layer| {
            let (hidden, wide) = (self.config.hidden, self.config.intermediate);
            [(&layer.input, hidden), (&layer.neurons, wide)]
        }) {
            if let Some(bad) = values.iter().position(|v| !v.is_finite()) {
                return Err(EngineError::NonFinite {
                    position: outputs.pos0 + bad / width,
                });
            }
        }
        if let Some(bad) = outputs.logits.iter().position(|v| !v.is_finite()) {
            return Err(EngineError::NonFinite {
                position: outputs.logits_pos0 + bad / self.config.vocab,
            });
        }
        self.position = end;
        Ok(outputs)
    }

    fn check_masks(&self, rows: usize, masks: Option<&[LayerMasks]>) -> Result<(), EngineError> {
        let wrong = |what: &str| Err(EngineError::Sparsity(what.to_owned()));
        let config = &self.config;
        let Some(masks) = masks else {
            return Ok(());
        };
        let Some(sparse) = &self.sparse else {
            return wrong("masks for an engine that is dense");
        };
        let fits = |bits: &Bits, width| bits.width() == width && bits.rows() == rows;
        let layer_fits = |layer: &LayerMasks| {
            fits(&layer.neurons, config.intermediate)
                && layer.input.is_some() == sparse.sparsity().masks_input()
                && layer.input.iter().all(|bits| fits(bits, config.hidden))
        };
        match masks.len() == config.layers && masks.iter().all(layer_fits) {
            true => Ok(()),
            false => wrong("the masks do not fit the chunk"),
        }
    }

    /// Runs any number of tokens in chunks and hands each chunk's outputs to `sink`.
    pub async fn prefill<E: From<EngineError>>(
        &mut self,
        tokens: &[u32],
        want: &Want,
        monitor: &mut dyn Monitor,
        sink: impl FnMut(Outputs) -> Result<(), E>,
    ) -> Result<(), E> {
        self.prefill_masked(tokens, None, want, monitor, sink).await
    }

    /// The same with given masks: `masks` makes those of some of the tokens, counted from the first.
    pub async fn prefill_masked<E: From<EngineError>>(
        &mut self,
        tokens: &[u32],
        masks: Option<&MasksOf<'_>>,
        want: &Want,
        monitor: &mut dyn Monitor,
        mut sink: impl FnMut(Outputs) -> Result<(), E>,
    ) -> Result<(), E> {
        let total = tokens.len() as u64;
        let mut done = 0u64;
        monitor.progress(Phase::Prefill, done, total)?;
        let mut rest = tokens;
        let mut most = want.first_rows.map_or(usize::MAX, NonZeroUsize::get);
        while !rest.is_empty() {
            let rows = self.paced_chunk(want).min(most).min(rest.len());
            most = most.saturating_mul(2);
            let (chunk, after) = rest.split_at(rows);
            let at = done as usize;
            let masks = masks.map(|masks| masks(at..at + chunk.len()));
            let outputs = self
                .run_masked(chunk, masks.as_deref(), want, monitor)
                .await?;
            sink(outputs)?;
            rest = after;
            done += chunk.len() as u64;
            monitor.progress(Phase::Prefill, done, total)?;
        }
        Ok(())
    }
}
