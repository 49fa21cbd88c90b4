//! A model's weights and activations on a GPU.

use super::upload::{GpuMatrix, Uploader};
use super::{linear, need, sparse};
use crate::sparsity::Sparsity;
use crate::{EngineError, Gpu};
use assay_model::{LayerRole, ModelConfig, Role};

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
    pub o: GpuMatrix,
    pub mlp_norm: GpuNorm,
    /// `None` in an MLP without a gate.
    pub gate: Option<GpuMatrix>,
    pub up: GpuMatrix,
    pub down: GpuMatrix,
    pub k_cache: wgpu::Buffer,
    pub v_cache: wgpu::Buffer,
}

impl GpuLayer {
    /// Uploads layer `l`, with room for `capacity` positions; under a rule with the MLP's matrices as sparse products want them.
    pub async fn load(
        up: &mut Uploader<'_>,
        l: usize,
        capacity: usize,
        rule: Option<&Sparsity>,
    ) -> Result<Self, EngineError> {
        use LayerRole as R;
        let config = up.model.config();
        let cache_bytes = (capacity * config.kv_dim() * 4) as u64;
        let has_gate = config.family.mlp().has_gate();
        let layer = |role| Role::Layer(l, role);
        Ok(Self {
            attn_norm: GpuNorm::load(up, layer(R::AttnNorm), layer(R::AttnNormBias)).await?,
            q: matrix(up, l, R::Q).await?,
            k: matrix(up, l, R::K).await?,
            v: matrix(up, l, R::V).await?,
            o: matrix(up, l, R::O).await?,
            mlp_norm: GpuNorm::load(up, layer(R::MlpNorm), layer(R::MlpNormBias)).await?,
            gate: match has_gate {
                true => Some(of_mlp(up, l, R::Gate, rule).await?),
                false => None,
            },
            up: of_mlp(up, l, R::Up, rule).await?,
            down: of_mlp(up, l, R::Down, rule).await?,
            k_cache: up.gpu.storage("key cache", cache_bytes).await?,
            v_cache: up.gpu.storage("value cache", cache_bytes).await?,
        })
    }
}

async fn matrix(
    up: &mut Uploader<'_>,
    l: usize,
    role: LayerRole,
) -> Result<GpuMatrix, EngineError> {
    let (weight, bias) = linear(up.model, l, role)?;
    up.matrix(weight, bias).await
}

async fn of_mlp(
    up: &mut Uploader<'_>,
    l: usize,
    role: LayerRole,
    rule: Option<&Sparsity>,
) -> Result<GpuMatrix, EngineError> {
    let Some(rule) = rule else {
        return matrix(up, l, role).await;
    };
    let (weight, bias) = linear(up.model, l, role)?;
    let turned = sparse::is_transposed(rule, role);
    let mlp = up.model.config().family.mlp();
    let as_texels = sparse::lies_in_texels(up.gpu, rule, role, weight, mlp)?;
    let matrix = match (turned, as_texels) {
        (true, _) => up.transposed(weight, bias, as_texels).await?,
        (false, true) => up.texels(weight, bias).await?,
        (false, false) => up.matrix(weight, bias).await?,
    };
    matrix.in_one_binding(up.gpu, &weight.name)
}

/// How positions enter the model.
pub(super) enum GpuPositions {
    /// The rotation table, (cos, sin) [capacity, head_dim / 2].
    Rotary(wgpu::Buffer),
    /// The table of learned positions.
    Learned(Box<GpuMatrix>),
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
    pub attended: wgpu::Buffer,
    pub gate: wgpu::Buffer,
    pub up: wgpu::Buffer,
    /// What the down projection takes.
    pub gated: wgpu::Buffer,
    pub logits: wgpu::Buffer,
}

impl Activations {
    /// Buffers for `chunk` rows, and for `logit_rows` rows of logits.
    pub async fn new(
        gpu: &Gpu,
        config: &ModelConfig,
        chunk: usize,
        logit_rows: usize,
    ) -> Result<Self, EngineError> {
        let rows =
            async |what: &str, width: usize| gpu.storage(what, (chunk * width * 4) as u64).await;
        let gate = match config.family.mlp().has_gate() {
            true => config.intermediate,
            false => 1,
        };
        Ok(Self {
            ids: rows("token ids", 1).await?,
            h: rows("hidden state", config.hidden).await?,
            mid: rows("hidden state after attention", config.hidden).await?,
            x: rows("normed hidden state", config.hidden).await?,
            q: rows("queries", config.q_dim()).await?,
            k: rows("keys", config.kv_dim()).await?,
            v: rows("values", config.kv_dim()).await?,
            attended: rows("attention output", config.q_dim()).await?,
            gate: rows("gate", gate).await?,
            up: rows("up", config.intermediate).await?,
            gated: rows("gated", config.intermediate).await?,
            logits: gpu
                .storage("logits", (logit_rows * config.vocab * 4) as u64)
                .await?,
        })
    }
}
