//! A sparse MLP's steps on a GPU: values to masks, masks to lists, and products with what is listed.
//!
//! What a rule needs to decide is computed densely, the rest over active neurons. `down` lies transposed, a neuron a row; under TEAL
//! `gate` and `up` do too, an input a row. Masks of each layer have a buffer of their own, so a run can bring them or take them.

use std::sync::Arc;

use super::matrix_shape;
use super::planner::{Planner, Products, Program};
use super::upload::GpuMatrix;
use super::weights::{Activations, GpuLayer};
use crate::gpu::{Bound, MatmulKernel, Memory};
use crate::kernels::matmul::{self, Epilogue};
use crate::kernels::sparse::{Mask, Path, Tile, grid, index, rows, sum, threshold, topk};
use crate::plan::{Draft, Work};
use crate::sparsity::{SparseModel, Sparsity};
use crate::{EngineError, Gpu};
use assay_model::{Dtype, LayerRole, Mlp, Model, TensorRef};

/// Rows that share a list in a run of many. One: tokens seldom share neurons, and a union of lists grows with each.
const TILE: Tile = Tile::One;

/// Who makes the masks, and so what must be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Masks {
    /// The rule, on the device.
    Made,
    /// Whoever runs the model; they are in the buffers already. What the rule would have decided by is computed all the same, for
    /// somebody who holds the masks against it.
    Judged,
    /// Whoever runs the model, and nobody asks what the rule would have said: only what is active is computed.
    Known,
}

/// Masks of one layer.
pub(super) struct LayerBits {
    /// Of the normed input, u32 [chunk, words]; only where a rule masks it.
    pub input: Option<wgpu::Buffer>,
    /// u32 [chunk, words]
    pub neurons: wgpu::Buffer,
}

/// A predictor's two matrices, f32.
struct Predictor {
    down: GpuMatrix,
    up: GpuMatrix,
}

/// Buffers of a sparse MLP.
pub(super) struct GpuSparse {
    model: Arc<SparseModel>,
    path: Path,
    pub bits: Vec<LayerBits>,
    list: wgpu::Buffer,
    starts: wgpu::Buffer,
    grid: wgpu::Buffer,
    /// Biases of gate and up one after another, [2, intermediate], by layer.
    biases: Vec<Option<wgpu::Buffer>>,
    predictors: Vec<Predictor>,
    /// Between a predictor's matrices, [chunk, rank].
    low: Option<wgpu::Buffer>,
    /// A predictor's scores, [chunk, intermediate].
    scores: Option<wgpu::Buffer>,
}

/// Whether `role` lies transposed under `rule`, so that what is skipped is a row.
pub(super) fn is_transposed(rule: &Sparsity, role: LayerRole) -> bool {
    match role {
        LayerRole::Down => true,
        LayerRole::Gate | LayerRole::Up => rule.masks_input(),
        _ => false,
    }
}

/// Whether `weight`, which has `role` in an MLP, lies in a texture under `rule`: where kernels of listed neurons like that best here, and
/// every other that reads it can.
pub(super) fn lies_in_texels(
    gpu: &Gpu,
    rule: &Sparsity,
    role: LayerRole,
    weight: &TensorRef,
    mlp: Mlp,
) -> Result<bool, EngineError> {
    let is_read_sparsely = match (rule, role) {
        (_, LayerRole::Down) => true,
        (Sparsity::Given { .. } | Sparsity::Predicted { .. } | Sparsity::Teal { .. }, _) => true,
        (Sparsity::Cats { .. }, LayerRole::Up) => mlp.has_gate(),
        (Sparsity::Cats { .. } | Sparsity::TopK { .. }, _) => false,
    };
    let turned = is_transposed(rule, role);
    let shape = matrix_shape(weight)?;
    let can_be = is_read_sparsely || matmul::takes_texels(gpu, weight.dtype, shape.1);
    Ok(can_be && Path::takes_texels(gpu, weight.dtype, shape, turned))
}

impl GpuSparse {
    /// Makes room for `chunk` rows, and uploads what the rule needs.
    pub async fn new(
        gpu: &Gpu,
        model: &Model,
        sparse: Arc<SparseModel>,
        chunk: usize,
    ) -> Result<Self, EngineError> {
        let config = model.config();
        let path = Path::of(&gpu.info.variants);
        let mask = |n: usize| mask(chunk, n);
        let neurons = mask(config.intermediate);
        let inputs = sparse.sparsity().masks_input().then(|| mask(config.hidden));
        let mut bits = Vec::with_capacity(config.layers);
        for _ in 0..config.layers {
            bits.push(LayerBits {
                input: match inputs {
                    Some(inputs) => Some(gpu.storage("mask of inputs", inputs.bits_bytes()).await?),
                    None => None,
                },
                neurons: gpu.storage("mask of neurons", neurons.bits_bytes()).await?,
            });
        }
        let larger = |of: fn(Mask) -> u64| of(neurons).max(inputs.map_or(0, of));
        let indirect = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::INDIRECT;
        let mut predictors = Vec::new();
        let mut rank = 0;
        if let Sparsity::Predicted {
            predictors: own, ..
        } = sparse.sparsity()
        {
            for p in own {
                rank = rank.max(p.rank);
                predictors.push(Predictor {
                    down: dense(gpu, &p.down, p.rank, config.hidden).await?,
                    up: dense(gpu, &p.up, config.intermediate, p.rank).await?,
                });
            }
        }
        let rows = async |what: &str, width: usize| -> Result<Option<wgpu::Buffer>, EngineError> {
            match predictors.is_empty() {
                true => Ok(None),
                false => Ok(Some(gpu.storage(what, (chunk * width * 4) as u64).await?)),
            }
        };
        Ok(Self {
            path,
            bits,
            list: gpu
                .storage("active neurons", larger(Mask::list_bytes))
                .await?,
            starts: gpu
                .storage("segments of active neurons", larger(Mask::starts_bytes))
                .await?,
            grid: gpu
                .buffer("indirect dispatch", grid::BYTES, indirect)
                .await?,
            biases: biases(gpu, model).await?,
            low: rows("predictor, inside", rank).await?,
            scores: rows("predicted scores", config.intermediate).await?,
            predictors,
            model: sparse,
        })
    }

    /// Plans everything, masks coming from `masks`.
    pub async fn program<'a>(
        &'a self,
        planner: &Planner<'a>,
        products: Products,
        masks: Masks,
    ) -> Result<Program, EngineError> {
        planner
            .program(products, |steps, l, layer| {
                Steps {
                    sparse: self,
                    planner,
                    products,
                    path: products.kernel,
                    l,
                    layer,
                    masks,
                }
                .add(steps);
            })
            .await
    }

    /// The rule.
    pub fn rule(&self) -> &Sparsity {
        self.model.sparsity()
    }

    /// Where what the rule decides by stands after a layer: of inputs, of neurons.
    pub fn scores<'a>(
        &'a self,
        acts: &'a Activations,
        mlp: Mlp,
    ) -> (Option<&'a wgpu::Buffer>, Option<&'a wgpu::Buffer>) {
        match self.rule() {
            Sparsity::Given { .. } => (None, None),
            Sparsity::TopK { .. } => (None, Some(&acts.gated)),
            Sparsity::Cats { .. } => match mlp {
                Mlp::Gated => (None, Some(&acts.gate)),
                Mlp::Relu => (None, Some(&acts.up)),
            },
            Sparsity::Teal { .. } => (Some(&acts.x), Some(&acts.gated)),
            Sparsity::Predicted { .. } => (None, self.scores.as_ref()),
        }
    }
}

fn mask(rows: usize, n: usize) -> Mask {
    Mask {
        rows: rows as u32,
        n: n as u32,
        tile: TILE,
    }
}

async fn dense(gpu: &Gpu, values: &[f32], n: usize, k: usize) -> Result<GpuMatrix, EngineError> {
    let buffer = gpu
        .storage_with("predictor", bytemuck::cast_slice(values))
        .await?;
    Ok(GpuMatrix::whole(Dtype::F32, n, k, Memory::Buffer(buffer)))
}

async fn biases(gpu: &Gpu, model: &Model) -> Result<Vec<Option<wgpu::Buffer>>, EngineError> {
    let mut all = Vec::new();
    for l in 0..model.config().layers {
        let bias = |role| model.layer(l, role).map(|t| model.read_f32(t)).transpose();
        let both = (bias(LayerRole::GateBias)?, bias(LayerRole::UpBias)?);
        all.push(match both {
            (Some(gate), Some(up)) => {
                let both = [gate, up].concat();
                let bytes = bytemuck::cast_slice(&both);
                Some(gpu.storage_with("biases of gate and up", bytes).await?)
            }
            _ => None,
        });
    }
    Ok(all)
}

/// The steps of one layer's MLP.
struct Steps<'p, 'a> {
    sparse: &'a GpuSparse,
    planner: &'p Planner<'a>,
    products: Products,
    path: MatmulKernel,
    l: usize,
    layer: &'a GpuLayer,
    masks: Masks,
}

impl<'a> Steps<'_, 'a> {
    /// Adds them: from the normed hidden state in `x` to the residual stream after the layer.
    fn add(&self, steps: &mut Vec<Draft<'a>>) {
        let (a, config) = (self.planner.acts, self.planner.config);
        let has_gate = self.layer.gate.is_some();
        match self.sparse.rule() {
            rule if self.masks == Masks::Known && self.can_select(rule) => {
                self.list_neurons(steps);
                self.selected(steps, self.inside(has_gate));
            }
            Sparsity::Given { .. } => {
                self.list_neurons(steps);
                self.selected(steps, self.inside(has_gate));
            }
            Sparsity::TopK { keep } => {
                self.planner.activations(steps, self.layer, self.products);
                self.top_k(steps, topk::Measure::Magnitude, &a.gated, *keep);
                self.list_neurons(steps);
            }
            Sparsity::Cats { thresholds } => {
                let t = thresholds[self.l];
                if let Some(gate) = &self.layer.gate {
                    self.planner
                        .product(steps, self.path, gate, &a.x, None, &a.gate);
                    self.threshold_neurons(steps, threshold::Measure::Silu, &a.gate, t);
                    self.list_neurons(steps);
                    self.selected(steps, rows::Mode::WithGate);
                } else {
                    self.planner.activations(steps, self.layer, self.products);
                    self.threshold_neurons(steps, threshold::Measure::Relu, &a.up, t);
                    self.list_neurons(steps);
                }
            }
            Sparsity::Teal { input, neurons } => {
                let bits = self.sparse.bits[self.l].input.as_ref();
                let (hidden, wide) = (config.hidden, config.intermediate);
                if let Some(bits) = bits {
                    let measure = threshold::Measure::Magnitude;
                    self.threshold(steps, measure, &a.x, bits, hidden, input[self.l]);
                    self.list(steps, bits, hidden);
                    if let Some(gate) = &self.layer.gate {
                        self.sum(steps, &a.x, (bits, hidden), gate, None, &a.gate, wide);
                    }
                    let up = &self.layer.up;
                    self.sum(steps, &a.x, (bits, hidden), up, None, &a.up, wide);
                }
                steps.push(self.planner.activation(&a.gate, &a.up, has_gate));
                let measure = threshold::Measure::Magnitude;
                self.threshold_neurons(steps, measure, &a.gated, neurons[self.l]);
                self.list_neurons(steps);
            }
            Sparsity::Predicted { keep, .. } => {
                let predictor = &self.sparse.predictors[self.l];
                if let (Some(low), Some(scores)) = (&self.sparse.low, &self.sparse.scores) {
                    let planner = self.planner;
                    planner.product(steps, self.path, &predictor.down, &a.mid, None, low);
                    planner.product(steps, self.path, &predictor.up, low, None, scores);
                    self.top_k(steps, topk::Measure::Signed, scores, *keep);
                }
                self.list_neurons(steps);
                self.selected(steps, self.inside(has_gate));
            }
        }
        let neurons = (&self.sparse.bits[self.l].neurons, config.intermediate);
        let down = &self.layer.down;
        self.sum(
            steps,
            &a.gated,
            neurons,
            down,
            Some(&a.mid),
            &a.h,
            config.hidden,
        );
    }

    /// Whether gate and up of listed neurons can be had alone. What an input's mask leaves is summed for all neurons, because their
    /// weights lie by inputs; and a kernel takes gate and up from textures, or neither.
    fn can_select(&self, rule: &Sparsity) -> bool {
        let alike = |gate: &GpuMatrix| gate.is_texels() == self.layer.up.is_texels();
        !rule.masks_input() && self.layer.gate.as_ref().is_none_or(alike)
    }

    /// How the products with `w` are laid out.
    fn path_of(&self, w: &GpuMatrix) -> Path {
        match w.is_texels() {
            true => Path::Texels,
            false => self.sparse.path,
        }
    }

    fn inside(&self, has_gate: bool) -> rows::Mode {
        match has_gate {
            true => rows::Mode::Gated,
            false => rows::Mode::Relu,
        }
    }

    fn top_k(
        &self,
        steps: &mut Vec<Draft<'a>>,
        measure: topk::Measure,
        values: &'a wgpu::Buffer,
        keep: usize,
    ) {
        if self.masks != Masks::Made {
            return;
        }
        let work = Work::TopK {
            n: self.planner.config.intermediate as u32,
            keep: keep as u32,
        };
        let buffers = vec![(1, values), (2, &self.sparse.bits[self.l].neurons)];
        steps.push(Draft::new(topk::key(measure), buffers, work));
    }

    fn threshold_neurons(
        &self,
        steps: &mut Vec<Draft<'a>>,
        measure: threshold::Measure,
        values: &'a wgpu::Buffer,
        t: f32,
    ) {
        let bits = &self.sparse.bits[self.l].neurons;
        let n = self.planner.config.intermediate;
        self.threshold(steps, measure, values, bits, n, t);
    }

    fn threshold(
        &self,
        steps: &mut Vec<Draft<'a>>,
        measure: threshold::Measure,
        values: &'a wgpu::Buffer,
        bits: &'a wgpu::Buffer,
        n: usize,
        t: f32,
    ) {
        if self.masks != Masks::Made {
            return;
        }
        let key = threshold::key(measure, self.planner.numerics);
        let work = Work::Threshold { n: n as u32, t };
        steps.push(Draft::new(key, vec![(1, values), (2, bits)], work));
    }

    fn list_neurons(&self, steps: &mut Vec<Draft<'a>>) {
        let bits = &self.sparse.bits[self.l].neurons;
        self.list(steps, bits, self.planner.config.intermediate);
    }

    fn list(&self, steps: &mut Vec<Draft<'a>>, bits: &'a wgpu::Buffer, n: usize) {
        let buffers = vec![(1, bits), (2, &self.sparse.list), (3, &self.sparse.starts)];
        let work = Work::SparseIndex {
            n: n as u32,
            tile: TILE,
        };
        steps.push(Draft::new(index::key(TILE), buffers, work));
    }

    /// The activations of what is listed, from the normed hidden state.
    fn selected(&self, steps: &mut Vec<Draft<'a>>, mode: rows::Mode) {
        let (a, config, layer) = (self.planner.acts, self.planner.config, self.layer);
        let bias = match mode {
            rows::Mode::Gated => self.sparse.biases[self.l].as_ref(),
            rows::Mode::WithGate | rows::Mode::Relu => layer.up.bias.as_ref(),
        };
        let variant = rows::Variant {
            path: self.path_of(&layer.up),
            tile: TILE,
            mode,
            dtype: layer.up.dtype,
            bias: bias.is_some(),
            slots: false,
        };
        let n = config.intermediate as u32;
        steps.push(Draft::new(
            grid::key(),
            vec![(1, &self.sparse.starts), (2, &self.sparse.grid)],
            Work::SparseGrid {
                n,
                tile: TILE,
                per_group: rows::per_group(variant),
            },
        ));
        let mut buffers: Vec<(u32, Bound<'a>)> = vec![
            (1, (&a.x).into()),
            (2, layer.up.only()),
            (6, (&self.sparse.list).into()),
            (7, (&self.sparse.starts).into()),
            (8, (&a.gated).into()),
        ];
        if let (rows::Mode::Gated, Some(gate)) = (mode, &layer.gate) {
            buffers.push((3, gate.only()));
        }
        if mode == rows::Mode::WithGate {
            buffers.push((4, (&a.gate).into()));
        }
        buffers.extend(bias.map(|bias| (5, bias.into())));
        let key = rows::key(variant, config.hidden, self.planner.numerics);
        let k = config.hidden as u32;
        let work = Work::SparseRows { variant, n, k };
        steps.push(Draft::new(key, buffers, work).indirect(&self.sparse.grid));
    }

    /// The sum of the listed rows of `w`, times factors; `n` of them, of which `bits` are set, make `d` columns.
    fn sum(
        &self,
        steps: &mut Vec<Draft<'a>>,
        factors: &'a wgpu::Buffer,
        (bits, n): (&'a wgpu::Buffer, usize),
        w: &'a GpuMatrix,
        residual: Option<&'a wgpu::Buffer>,
        y: &'a wgpu::Buffer,
        d: usize,
    ) {
        let variant = sum::Variant {
            path: self.path_of(w),
            tile: TILE,
            dtype: w.dtype,
            epilogue: Epilogue {
                bias: w.bias.is_some(),
                residual: residual.is_some(),
            },
            slots: false,
        };
        let mut buffers: Vec<(u32, Bound<'a>)> = vec![
            (1, factors.into()),
            (2, w.only()),
            (6, (&self.sparse.list).into()),
            (7, (&self.sparse.starts).into()),
            (8, y.into()),
        ];
        if TILE != Tile::One {
            buffers.push((3, bits.into()));
        }
        buffers.extend(w.bias.as_ref().map(|bias| (4, bias.into())));
        buffers.extend(residual.map(|residual| (5, residual.into())));
        let work = Work::SparseSum {
            variant,
            n: n as u32,
            d: d as u32,
        };
        let key = sum::key(variant, d, self.planner.numerics);
        steps.push(Draft::new(key, buffers, work));
    }
}
