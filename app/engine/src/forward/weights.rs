//! A model's weights and activations on a GPU.

use super::upload::{GpuMatrix, Uploader};
use super::{linear, need, sparse};
use crate::gpu::Texels;
use crate::kernels::{matmul, round8};
use crate::kv_cache::{KvCache, KvCaches};
use crate::sparsity::Sparsity;
use crate::{ActivationType, EngineError, Gpu};
use assay_model::{FIXED_COLUMNS, LayerRole, Mlp, ModelConfig, Role, TensorRef};

/// A norm's weight and, where the norm removes the mean, its bias.
pub(super) struct GpuNorm {
    pub weight: wgpu::Buffer,
    pub bias: Option<wgpu::Buffer>,
}

impl GpuNorm {
    /// Uploads the norm of these roles.
    pub async fn load(
        up: &mut Uploader<'_>,
        weight: Role,
        bias: Role,
    ) -> Result<Self, EngineError> {
        let model = up.model;
        Ok(Self {
            weight: up.vector(need(model, weight)?).await?,
            bias: match model.tensor(bias) {
                Some(bias) => Some(up.vector(bias).await?),
                None => None,
            },
        })
    }
}

pub(super) struct GpuLayer {
    pub attn_norm: GpuNorm,
    pub q: GpuMatrix,
    pub k: GpuMatrix,
    pub v: GpuMatrix,
    /// q, k and v as one matrix, where they lie together.
    pub qkv: Option<GpuMatrix>,
    pub o: GpuMatrix,
    pub mlp_norm: GpuNorm,
    /// `None` in an MLP without a gate.
    pub gate: Option<GpuMatrix>,
    pub up: GpuMatrix,
    /// Gate and up as one matrix, where they lie together.
    pub gate_up: Option<GpuMatrix>,
    pub down: GpuMatrix,
    pub kv: KvCache,
}

impl GpuLayer {
    /// Uploads layer `l`, with a cache like `caches`; under a rule with the MLP's matrices as sparse products want them.
    pub async fn load(
        up: &mut Uploader<'_>,
        l: usize,
        caches: &KvCaches,
        rule: Option<&Sparsity>,
        activations: ActivationType,
    ) -> Result<Self, EngineError> {
        use LayerRole as R;
        let config = up.model.config();
        let has_gate = config.family.mlp().has_gate();
        let layer = |role| Role::Layer(l, role);
        let model = up.model;
        let of = |role| linear(model, l, role);
        // What rounds the input of a product rounds it for each on its own.
        let is_plain = activations == ActivationType::Float;
        let (qkv, [q, k, v]) = match is_plain {
            true => up.together([of(R::Q)?, of(R::K)?, of(R::V)?]).await?,
            false => {
                let q = matrix(up, l, R::Q, activations).await?;
                let k = matrix(up, l, R::K, activations).await?;
                (None, [q, k, matrix(up, l, R::V, activations).await?])
            }
        };
        let (gate_up, gate, upward) = match (has_gate, rule) {
            (true, None) if is_plain => {
                let (both, [gate, up]) = up.together([of(R::Gate)?, of(R::Up)?]).await?;
                (both, Some(gate), up)
            }
            (true, _) => {
                let gate = of_mlp(up, l, R::Gate, rule, activations).await?;
                let upward = of_mlp(up, l, R::Up, rule, activations).await?;
                (None, Some(gate), upward)
            }
            (false, _) => {
                let upward = of_mlp(up, l, R::Up, rule, activations).await?;
                (None, None, upward)
            }
        };
        Ok(Self {
            attn_norm: GpuNorm::load(up, layer(R::AttnNorm), layer(R::AttnNormBias)).await?,
            q,
            k,
            v,
            qkv,
            o: matrix(up, l, R::O, activations).await?,
            mlp_norm: GpuNorm::load(up, layer(R::MlpNorm), layer(R::MlpNormBias)).await?,
            gate,
            up: upward,
            gate_up,
            down: of_mlp(up, l, R::Down, rule, activations).await?,
            kv: caches.layer(up.gpu, config).await?,
        })
    }
}

async fn matrix(
    up: &mut Uploader<'_>,
    l: usize,
    role: LayerRole,
    activations: ActivationType,
) -> Result<GpuMatrix, EngineError> {
    let (weight, bias) = linear(up.model, l, role)?;
    match activations {
        ActivationType::Int8 => up.integers(weight, bias).await,
        ActivationType::Blocks => up.fixed(weight, bias).await,
        ActivationType::Float | ActivationType::Ggml => up.matrix(weight, bias).await,
    }
}

async fn of_mlp(
    up: &mut Uploader<'_>,
    l: usize,
    role: LayerRole,
    rule: Option<&Sparsity>,
    activations: ActivationType,
) -> Result<GpuMatrix, EngineError> {
    let Some(rule) = rule else {
        return matrix(up, l, role, activations).await;
    };
    let (weight, bias) = linear(up.model, l, role)?;
    let turned = sparse::is_transposed(rule, role);
    let mlp = up.model.config().family.mlp();
    let in_texels = sparse::lies_in_texels(up.gpu, rule, role, weight, mlp)?;
    let matrix = match turned {
        true => up.transposed(weight, bias, in_texels).await?,
        false => up.laid(weight, bias, in_texels).await?,
    };
    matrix.in_one_binding(up.gpu, &weight.name)
}

/// Whether `weight`, which has `role` in a layer, lies in textures here.
pub(crate) fn lies_in_texels(
    gpu: &Gpu,
    mlp: Mlp,
    role: LayerRole,
    weight: &TensorRef,
    rule: Option<&Sparsity>,
    activations: ActivationType,
) -> Result<bool, EngineError> {
    let is_mlp = matches!(role, LayerRole::Gate | LayerRole::Up | LayerRole::Down);
    match (rule, activations) {
        (Some(rule), _) if is_mlp => sparse::lies_in_texels(gpu, rule, role, weight, mlp),
        // Their products are of integers, from buffers.
        (_, ActivationType::Int8 | ActivationType::Blocks) => Ok(false),
        _ => Ok(matmul::takes_texels(gpu, weight.dtype, weight.cols())),
    }
}

/// How positions enter the model.
pub(super) enum GpuPositions {
    /// The rotation table, (cos, sin) [capacity, head_dim / 2].
    Rotary(wgpu::Buffer),
    /// The table of learned positions.
    Learned(Box<GpuMatrix>),
}

/// What is between the rows that a product takes and those that it gives, where it rounds what it takes.
pub(super) enum Rounded {
    Integers {
        /// i8 [chunk, widest input], four to a word.
        rows: wgpu::Buffer,
        /// f32 [chunk], or u32 [chunk, blocks of the widest input]
        scales: wgpu::Buffer,
        /// i32 or i64 [chunk, widest output]
        sums: wgpu::Buffer,
    },
    /// f32 [chunk, widest input]
    Blocks(wgpu::Buffer),
}

impl Rounded {
    /// Room for `chunk` rows of any layer's products; `None` where products take what they are given.
    pub async fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        chunk: usize,
        activations: ActivationType,
    ) -> Result<Option<Self>, EngineError> {
        let widest = config.hidden.max(config.q_dim()).max(config.intermediate);
        let rows =
            async |what: &str, width: usize| gpu.storage(what, (chunk * width * 4) as u64).await;
        Ok(match activations {
            ActivationType::Float => None,
            ActivationType::Int8 => Some(Self::Integers {
                rows: rows("rows of integers", round8::words(widest)).await?,
                scales: rows("scales of rows", 1).await?,
                sums: rows("integer sums", widest).await?,
            }),
            ActivationType::Blocks => Some(Self::Integers {
                rows: rows("rows of integers", round8::words(widest)).await?,
                scales: rows("scales of blocks", widest.div_ceil(FIXED_COLUMNS)).await?,
                sums: rows("sums in fixed point", 2 * widest).await?,
            }),
            ActivationType::Ggml => Some(Self::Blocks(rows("rounded rows", widest).await?)),
        })
    }
}

/// Activations, all f32 [chunk, width].
pub(super) struct Activations {
    pub ids: wgpu::Buffer,
    /// The residual stream between layers.
    pub h: wgpu::Buffer,
    /// The residual stream between attention and MLP.
    pub mid: wgpu::Buffer,
    pub x: wgpu::Buffer,
    pub q: wgpu::Buffer,
    pub k: wgpu::Buffer,
    pub v: wgpu::Buffer,
    /// Queries, keys and values of one product, side by side; where positions are rotary.
    pub qkv: wgpu::Buffer,
    pub attended: wgpu::Buffer,
    pub gate: wgpu::Buffer,
    pub up: wgpu::Buffer,
    /// What the down projection takes.
    pub gated: wgpu::Buffer,
    pub logits: wgpu::Buffer,
    /// What products take, where they take it from a texture.
    pub texels: Option<Texels>,
    pub rounded: Option<Rounded>,
}

impl Activations {
    /// Buffers for `chunk` rows, and for `logit_rows` rows of logits.
    pub async fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        chunk: usize,
        logit_rows: usize,
        activations: ActivationType,
    ) -> Result<Self, EngineError> {
        let rows =
            async |what: &str, width: usize| gpu.storage(what, (chunk * width * 4) as u64).await;
        let gate = match config.family.mlp().has_gate() {
            true => config.intermediate,
            false => 1,
        };
        let qkv = match config.rope {
            Some(_) => config.q_dim() + 2 * config.kv_dim(),
            None => 1,
        };
        let widest = config.hidden.max(config.q_dim()).max(config.intermediate);
        Ok(Self {
            ids: rows("token ids", 1).await?,
            h: rows("hidden state", config.hidden).await?,
            mid: rows("hidden state after attention", config.hidden).await?,
            x: rows("normed hidden state", config.hidden).await?,
            q: rows("queries", config.q_dim()).await?,
            k: rows("keys", config.kv_dim()).await?,
            v: rows("values", config.kv_dim()).await?,
            qkv: rows("queries, keys and values", qkv).await?,
            attended: rows("attention output", config.q_dim()).await?,
            gate: rows("gate", gate).await?,
            up: rows("up", config.intermediate).await?,
            gated: rows("gated", config.intermediate).await?,
            logits: gpu
                .storage("logits", (logit_rows * config.vocab * 4) as u64)
                .await?,
            texels: matmul::rows_in_texels(gpu, chunk, widest).await?,
            rounded: Rounded::new(gpu, config, chunk, activations).await?,
        })
    }
}
