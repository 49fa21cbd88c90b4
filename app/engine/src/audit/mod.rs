//! What an audit of one layer computes, without the layer's weights.
//!
//! From the hidden state before the layer and the opened outputs of its seven products, each product's *input* is derived (norm,
//! rotation, attention over all positions, gated product) and both sides are seen through secret projections: y R must equal
//! x (WᵀR). Nothing here decides; `assay-verify` judges what is seen. Audits are always strict, so every device sees the same bits.
//!
//! The prover's rounding is emulated where it keeps values between operations ([`Rounding`]): that is what makes the derived input
//! its own input, and tolerances narrow.

mod attention;
mod cpu;
mod gpu;
mod integers;
mod project;

pub use cpu::CpuAuditor;
pub use integers::{Inputs, IntegerAuditor, IntegerLayer, IntegerProbe, IntegerRows, Judge};
pub use project::project;

use crate::engine::{Device, Monitor};
use crate::forward::{check_shapes, rope_table};
use crate::{EngineError, Rounding};
use assay_model::{ModelConfig, RopeLayout};

/// What stands in for one weight matrix [n, k].
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// Rows of the matrix: width of y.
    pub n: usize,
    /// Columns of the matrix: width of x.
    pub k: usize,
    /// Secret projections of y, [projections, n].
    pub on_y: &'a [f32],
    /// Applied to x, [projections + others, k]: the same projections of the weights, then whatever else is wanted of x.
    pub on_x: &'a [f32],
    /// Applied to |x|, [any, k]: what bounds rounding.
    pub on_magnitude: &'a [f32],
    /// Added to y before it is used, [n].
    pub bias: Option<&'a [f32]>,
}

impl Probe<'_> {
    /// Projections.
    pub fn projections(&self) -> usize {
        self.on_y.len() / self.n
    }

    /// Rows of `on_x` behind the projections.
    pub fn others(&self) -> usize {
        self.on_x.len() / self.k - self.projections()
    }

    /// Rows of `on_magnitude`.
    pub fn magnitudes(&self) -> usize {
        self.on_magnitude.len() / self.k
    }
}

/// What stands in for a layer.
#[derive(Debug, Clone, Copy)]
pub struct LayerProbe<'a> {
    /// The norm before attention, [hidden].
    pub attn_norm: &'a [f32],
    /// The norm before the MLP, [hidden].
    pub mlp_norm: &'a [f32],
    /// In the order of [`LayerRole::LINEARS`](assay_model::LayerRole::LINEARS).
    pub products: [Probe<'a>; 7],
}

/// What stands in for the output projection.
#[derive(Debug, Clone, Copy)]
pub struct HeadProbe<'a> {
    /// The final norm, [hidden].
    pub norm: &'a [f32],
    /// The projection.
    pub product: Probe<'a>,
}

/// Rows of a layer as a trace opens them.
#[derive(Debug, Clone, Copy)]
pub struct LayerRows<'a> {
    /// The hidden state before the layer, [rows, hidden].
    pub before: &'a [f32],
    /// What each product put out, [rows, n], in the order of [`LayerRole::LINEARS`](assay_model::LayerRole::LINEARS).
    pub outputs: [&'a [f32]; 7],
}

/// One product, seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// By row: sum over projections of the squared residual y R - x (WᵀR).
    pub residual_energy: Vec<f32>,
    /// By row: the largest residual's magnitude.
    pub residual_top: Vec<f32>,
    /// By projection: sum over rows of the squared residual.
    pub projection_energy: Vec<f32>,
    /// By row: sum of squares of x.
    pub x_energy: Vec<f32>,
    /// [rows, others]: products of x with the rows of `on_x` behind the projections.
    pub others: Vec<f32>,
    /// [rows, magnitudes]: products of |x| with `on_magnitude`.
    pub magnitudes: Vec<f32>,
}

impl Seen {
    /// Adds later rows.
    pub fn append(&mut self, rows: Self) {
        self.residual_energy.extend(rows.residual_energy);
        self.residual_top.extend(rows.residual_top);
        self.x_energy.extend(rows.x_energy);
        self.others.extend(rows.others);
        self.magnitudes.extend(rows.magnitudes);
        self.projection_energy
            .resize(rows.projection_energy.len(), 0.0);
        for (sum, more) in self
            .projection_energy
            .iter_mut()
            .zip(rows.projection_energy)
        {
            *sum += more;
        }
    }
}

/// A layer, seen over some rows.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerSeen {
    /// In the order of [`LayerRole::LINEARS`](assay_model::LayerRole::LINEARS).
    pub products: [Seen; 7],
    /// The hidden state after the layer as derived from the one before and the outputs, [rows, hidden].
    pub after: Vec<f32>,
}

/// Products that share an input, by their place in [`LayerRole::LINEARS`](assay_model::LayerRole::LINEARS).
const GROUPS: [&[usize]; 4] = [&[0, 1, 2], &[3], &[4, 5], &[6]];

/// Derives and sees, layer by layer.
pub struct Auditor {
    config: ModelConfig,
    backend: Backend,
    chunk: usize,
    capacity: usize,
}

enum Backend {
    Gpu(Box<gpu::GpuAuditor>),
    Cpu(Box<CpuAuditor>),
}

impl Auditor {
    /// Makes room for `capacity` positions of a model of this shape, whose prover rounds so.
    pub async fn new(
        device: &Device,
        config: &ModelConfig,
        rounding: Rounding,
        capacity: usize,
    ) -> Result<Self, EngineError> {
        check_shapes(config)?;
        if capacity == 0 || capacity > config.context {
            return Err(EngineError::TooLong {
                what: "the model's context",
                got: capacity,
                limit: config.context,
            });
        }
        let rotation = Rotation::new(config, rounding, capacity)?;
        let (backend, chunk) = match device {
            Device::Gpu(gpu) => {
                let chunk = gpu.info.variants.chunk.min(capacity);
                let auditor =
                    gpu::GpuAuditor::new(gpu, config, rounding, rotation, capacity, chunk).await?;
                (Backend::Gpu(Box::new(auditor)), chunk)
            }
            Device::Cpu => {
                let auditor = CpuAuditor::new(config, rounding, rotation, capacity);
                (Backend::Cpu(Box::new(auditor)), 128.min(capacity))
            }
        };
        Ok(Self {
            config: config.clone(),
            backend,
            chunk,
            capacity,
        })
    }

    /// Rows to hand over at a time.
    pub fn chunk(&self) -> usize {
        self.chunk
    }

    /// Sees a whole layer: `rows` gives the trace's rows of positions `from .. to` (at most [`chunk`](Self::chunk) of them), `sink`
    /// takes what was seen of them, with `from`.
    pub async fn layer<E: From<EngineError>>(
        &mut self,
        probe: &LayerProbe<'_>,
        positions: usize,
        monitor: &mut dyn Monitor,
        mut rows: impl FnMut(usize, usize) -> Result<OwnedRows, E>,
        mut sink: impl FnMut(usize, LayerSeen) -> Result<(), E>,
    ) -> Result<(), E> {
        if positions > self.capacity {
            return Err(E::from(EngineError::TooLong {
                what: "the audit's room",
                got: positions,
                limit: self.capacity,
            }));
        }
        if let Backend::Gpu(gpu) = &mut self.backend {
            gpu.begin(probe).await?;
        }
        for from in (0..positions).step_by(self.chunk) {
            let to = positions.min(from + self.chunk);
            let owned = rows(from, to)?;
            let given = owned.view();
            let seen = match &mut self.backend {
                Backend::Gpu(gpu) => gpu.layer(probe, from, given, monitor).await?,
                Backend::Cpu(cpu) => {
                    monitor.alive()?;
                    cpu.layer(probe, from, given)
                }
            };
            finite(from, self.config.hidden, &seen.after)?;
            for product in &seen.products {
                finite(from, 1, &product.residual_energy)?;
                finite(from, 1, &product.x_energy)?;
            }
            sink(from, seen)?;
        }
        Ok(())
    }

    /// Sees the output projection over some rows: hidden states after the last layer and their logits.
    pub async fn head(
        &mut self,
        probe: &HeadProbe<'_>,
        hidden: &[f32],
        logits: &[f32],
        monitor: &mut dyn Monitor,
    ) -> Result<Seen, EngineError> {
        let seen = match &mut self.backend {
            Backend::Gpu(gpu) => gpu.head(probe, hidden, logits, monitor).await?,
            Backend::Cpu(cpu) => cpu.head(probe, hidden, logits),
        };
        finite(0, 1, &seen.residual_energy)?;
        finite(0, 1, &seen.x_energy)?;
        Ok(seen)
    }
}

/// The rotation as a prover of this precision has it.
struct Rotation {
    layout: RopeLayout,
    /// (cos, sin), [capacity, head_dim / 2].
    table: Vec<[f32; 2]>,
}

impl Rotation {
    fn new(config: &ModelConfig, rounding: Rounding, capacity: usize) -> Result<Self, EngineError> {
        let Some(rope) = config.rope.as_ref().filter(|_| config.can_be_audited()) else {
            let family = config.family.as_str();
            return Err(EngineError::Unsupported(format!("an audit of {family}")));
        };
        let table = rope_table(rope, config.head_dim, capacity);
        let rounded = |pair: [f32; 2]| pair.map(|x| rounding.of(x));
        Ok(Self {
            layout: rope.layout,
            table: table.into_iter().map(rounded).collect(),
        })
    }
}

/// Rows of a layer, owned.
#[derive(Debug, Clone, Default)]
pub struct OwnedRows {
    /// As [`LayerRows::before`].
    pub before: Vec<f32>,
    /// As [`LayerRows::outputs`].
    pub outputs: [Vec<f32>; 7],
}

impl OwnedRows {
    /// The same, borrowed.
    pub fn view(&self) -> LayerRows<'_> {
        LayerRows {
            before: &self.before,
            outputs: std::array::from_fn(|i| self.outputs[i].as_slice()),
        }
    }
}

/// A device that makes NaN of finite values has failed, which is no verdict. (A trace's values are finite and of a stored type, but
/// products of huge ones may overflow: see `assay-verify`, which refuses such rows before they come here.)
fn finite(pos0: usize, width: usize, values: &[f32]) -> Result<(), EngineError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(bad) => Err(EngineError::NonFinite {
            position: pos0 + bad / width,
        }),
        None => Ok(()),
    }
}
