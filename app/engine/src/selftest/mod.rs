//! Known answers: every kernel on this adapter against its CPU twin, before the adapter's word counts.
//!
//! A driver that computes wrongly would otherwise give wrong verdicts about honest provers. The cases are
//! seeded, small, and of shapes that are no multiples of a tile.

mod audit_cases;
mod bits;
mod cases;
mod integer_cases;
mod opt_cases;
mod sparse_cases;
mod warm;

pub use audit_cases::{add, add_rmsnorm, magnitudes, project, residual, row_energy};
pub use bits::{EXPECTED as EXPECTED_BITS, StrictBits, strict_bits};
#[cfg(test)]
pub(crate) use cases::Seeded;
pub use cases::{
    Case, attention, embed, embed_texels, gated, matmul, matmul_behind, matmul_keeping, rmsnorm,
    rope, rope_stacked, rows_to_texels, silu_mul,
};
pub use integer_cases::{
    fixed_sums, matmul_fixed, matmul_i8, quantize_blocks, quantize_rows, round_blocks, round_heads,
    scale_sums,
};
pub use opt_cases::{add_position, kv_write, kv_write_texels, layernorm, relu};
pub use sparse_cases::{sparse_index, sparse_rows, sparse_sum, sparse_threshold, sparse_topk};
pub use warm::Warming;

use crate::engine::{Device, linear_widths};
use crate::forward::lies_in_texels;
use crate::gpu::Gpu;
use crate::gpu::MatmulKernel;
use crate::kernels::add::Addend;
use crate::kernels::matmul::Epilogue;
use crate::kernels::round8::Blocks;
use crate::kernels::sparse::{Path, rows, threshold, topk};
use crate::sparsity::Sparsity;
use crate::{ActivationType, CacheFormat, EngineError, Numerics, Rounding, kernels};
use assay_model::{
    Dtype, FIXED_COLUMNS, LayerRole, Mlp, Model, ModelConfig, Norm, Role, Rope, RopeLayout,
    TensorRef,
};

/// Relative L2 distance from the twin that a kernel may have under fast numerics. The twins and the
/// kernels differ only by fused products and sums: about 1e-7 a step. A wrong index, a missing row or an
/// f16 sum is above 1e-4.
pub const FAST_LIMIT: f64 = 2e-6;

/// One kernel's result.
#[derive(Debug, Clone, serde::Serialize)]
pub struct KernelResult {
    /// Kernel file name.
    pub kernel: &'static str,
    /// Relative L2 distance from the twin; the worst over its cases.
    pub error: f64,
    /// The limit; 0 under strict numerics, where every bit must agree.
    pub limit: f64,
}

/// What a self-test found.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct SelfTest {
    /// One row a kernel.
    pub kernels: Vec<KernelResult>,
}

impl SelfTest {
    /// The largest error of any kernel.
    pub fn worst(&self) -> f64 {
        self.kernels.iter().map(|k| k.error).fold(0.0, f64::max)
    }
}

/// Runs the cases of every kernel that this adapter's variants use. Any failure is an error: a device
/// that cannot add does not get to say anything about a prover.
pub async fn run(device: &Device, numerics: Numerics) -> Result<SelfTest, EngineError> {
    match device {
        Device::Gpu(gpu) => run_cases(gpu, numerics, standard(gpu, numerics)).await,
        Device::Cpu => Ok(SelfTest::default()),
    }
}

/// The same for the very pipelines that `model` will use here: its stored types, its heads, its biases, and what skips neurons if
/// a rule says so. They are compiled for the model anyway, so this costs little more than the dispatches.
pub async fn run_for(
    device: &Device,
    numerics: Numerics,
    model: &Model,
    activations: ActivationType,
    rule: Option<&Sparsity>,
) -> Result<SelfTest, EngineError> {
    match device {
        Device::Gpu(gpu) => {
            run_cases(
                gpu,
                numerics,
                all_of(gpu, numerics, model, activations, rule),
            )
            .await
        }
        Device::Cpu => Ok(SelfTest::default()),
    }
}

fn all_of(
    gpu: &Gpu,
    numerics: Numerics,
    model: &Model,
    activations: ActivationType,
    rule: Option<&Sparsity>,
) -> Vec<Case> {
    let loaders = Loaders {
        gpu,
        model,
        activations,
        rule,
    };
    let mut cases = of_model(numerics, &loaders);
    cases.extend(of_activations(gpu, numerics, model, activations));
    if let Some(rule) = rule {
        cases.extend(of_rule(gpu, numerics, model, rule));
    }
    cases
}

/// Before a prover promises bits: under strict numerics the tests of [`run_for`], which must agree in every bit. Under fast ones
/// nothing is promised, and nothing is run.
pub async fn before_promise(
    device: &Device,
    numerics: Numerics,
    model: &Model,
    activations: ActivationType,
    rule: Option<&Sparsity>,
) -> Result<(), EngineError> {
    match numerics {
        Numerics::Fast => Ok(()),
        Numerics::Strict => run_for(device, numerics, model, activations, rule)
            .await
            .map(drop),
    }
}

/// The same for the pipelines of an audit of a model of this shape, whose prover rounds so. Audits are always strict.
pub async fn run_for_audit(
    device: &Device,
    config: &ModelConfig,
    rounding: Rounding,
) -> Result<SelfTest, EngineError> {
    match device {
        Device::Gpu(gpu) => {
            let cases = of_audit(gpu, config, rounding);
            run_cases(gpu, Numerics::Strict, cases).await
        }
        Device::Cpu => Ok(SelfTest::default()),
    }
}

/// The same for the pipelines of [`Engine::keep`](crate::Engine::keep), which are strict too.
pub async fn run_for_emulation(
    device: &Device,
    model: &Model,
    rounding: Rounding,
) -> Result<SelfTest, EngineError> {
    match device {
        Device::Gpu(gpu) => {
            let cases = of_emulation(gpu, model, rounding);
            run_cases(gpu, Numerics::Strict, cases).await
        }
        Device::Cpu => Ok(SelfTest::default()),
    }
}

/// The same for the pipelines of [`Engine::round_cache`](crate::Engine::round_cache).
pub async fn run_for_cache(
    device: &Device,
    numerics: Numerics,
    model: &Model,
    format: CacheFormat,
) -> Result<SelfTest, EngineError> {
    match device {
        Device::Gpu(gpu) => {
            let d = model.config().head_dim;
            let cases = round_heads(numerics, format, 3, 2, d, 5);
            run_cases(gpu, numerics, cases.into_iter().collect()).await
        }
        Device::Cpu => Ok(SelfTest::default()),
    }
}

/// Pipelines that are compiled between two looks at whether anybody still wants them: several, since all processors compile.
#[cfg(all(feature = "parallel", not(target_arch = "wasm32")))]
const AT_ONCE: usize = 8;

/// Compiles what `cases` need and is not compiled yet, on all processors where there are threads; elsewhere each case compiles its own.
async fn compile(
    gpu: &Gpu,
    cases: &[Case],
    alive: &impl Fn() -> Result<(), EngineError>,
) -> Result<(), EngineError> {
    #[cfg(all(feature = "parallel", not(target_arch = "wasm32")))]
    for cases in cases.chunks(AT_ONCE) {
        alive()?;
        let keys: Vec<_> = cases.iter().map(|case| &case.key).collect();
        gpu.compile_all(&keys).await?;
    }
    #[cfg(not(all(feature = "parallel", not(target_arch = "wasm32"))))]
    let _unused = (gpu, cases, alive);
    Ok(())
}

async fn run_cases(
    gpu: &Gpu,
    numerics: Numerics,
    cases: Vec<Case>,
) -> Result<SelfTest, EngineError> {
    run_cases_while(gpu, numerics, cases, || Ok(())).await
}

/// The same; an error of `alive`, which is asked before each, ends it.
async fn run_cases_while(
    gpu: &Gpu,
    numerics: Numerics,
    cases: Vec<Case>,
    alive: impl Fn() -> Result<(), EngineError>,
) -> Result<SelfTest, EngineError> {
    let limit = if numerics == Numerics::Strict {
        0.0
    } else {
        FAST_LIMIT
    };
    compile(gpu, &cases, &alive).await?;
    let mut result = SelfTest::default();
    for case in cases {
        alive()?;
        let error = case.error(gpu).await?;
        if error.is_nan() || error > limit {
            return Err(EngineError::SelfTest {
                kernel: case.key.kernel,
                error,
                limit,
            });
        }
        match result
            .kernels
            .iter_mut()
            .find(|k| k.kernel == case.key.kernel)
        {
            Some(known) => known.error = known.error.max(error),
            None => result.kernels.push(KernelResult {
                kernel: case.key.kernel,
                error,
                limit,
            }),
        }
    }
    Ok(result)
}

/// Positions of the long attention case: enough to meet a driver that stops long loops, which is what
/// llvmpipe does after 65535 iterations.
const LONG: usize = 1500;

/// Columns of a case with weights of this type: over 256, and where they are stored in blocks an odd number of those.
fn columns(dtype: Dtype, loader: Loader) -> usize {
    match dtype.block() {
        1 if loader == Loader::Texels => 304,
        1 if loader == Loader::Four => 300,
        1 => 301,
        block => block * (300_usize.div_ceil(block) | 1),
    }
}

/// How a matrix's weights are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loader {
    /// One by one.
    One,
    /// Four at a time.
    Four,
    /// From textures.
    Texels,
}

impl Loader {
    fn of(weight: &TensorRef, in_texels: bool) -> Self {
        match weight.cols().is_multiple_of(4) {
            _ if in_texels => Self::Texels,
            true => Self::Four,
            false => Self::One,
        }
    }

    /// `path`, as it reads such weights.
    fn by(self, path: MatmulKernel) -> MatmulKernel {
        path.reading(self == Self::Texels)
    }
}

/// How a model's matrices are loaded here.
struct Loaders<'a> {
    gpu: &'a Gpu,
    model: &'a Model,
    activations: ActivationType,
    rule: Option<&'a Sparsity>,
}

impl Loaders<'_> {
    /// Of a layer's matrix.
    fn of_layer(&self, role: LayerRole, weight: &TensorRef) -> Loader {
        let mlp = self.model.config().family.mlp();
        let is_texels = lies_in_texels(self.gpu, mlp, role, weight, self.rule, self.activations);
        Loader::of(weight, matches!(is_texels, Ok(true)))
    }

    /// Of a matrix outside of layers.
    fn of_outside(&self, weight: &TensorRef) -> Loader {
        let is_texels = kernels::matmul::takes_texels(self.gpu, weight.dtype, weight.cols());
        Loader::of(weight, is_texels)
    }

    /// Columns of what is put in textures for products: as many as take the kernels that this model's take.
    fn taken(&self) -> impl Iterator<Item = usize> {
        let model = self.model;
        let mut all: Vec<usize> = Vec::new();
        let mut add = |weight: &TensorRef, loader: Loader| {
            // A copy puts these there, which no driver compiles.
            if kernels::rows_to_texels::is_copy(weight.cols()) {
                return;
            }
            let k = if weight.cols().is_multiple_of(4) {
                300
            } else {
                301
            };
            if loader == Loader::Texels && !all.contains(&k) {
                all.push(k);
            }
        };
        for l in 0..model.config().layers {
            for role in LayerRole::LINEARS {
                if let Some(weight) = model.layer(l, role) {
                    add(weight, self.of_layer(role, weight));
                }
            }
        }
        if let Some(head) = model.tensor(Role::LmHead) {
            add(head, self.of_outside(head));
        }
        all.into_iter()
    }

    /// Whether residuals are added by norms, and not by the layers' products.
    fn sums_in_norm(&self) -> bool {
        let is_float = matches!(
            self.activations,
            ActivationType::Float | ActivationType::Ggml
        );
        let is_rms = self.model.config().family.norm() == Norm::Rms;
        self.gpu.info.variants.sums_in_norm && is_rms && is_float
    }

    /// Residuals as this model adds them outside of products, and their norms.
    fn sums(&self, numerics: Numerics, rounding: Rounding) -> Vec<Case> {
        match self.sums_in_norm() {
            true => vec![
                add_rmsnorm(true, numerics, rounding, 3, 200),
                add(numerics, rounding, Addend::Rows, 3, 77),
            ],
            false => Vec::new(),
        }
    }

    /// Types, loaders and epilogues of the products.
    fn products(&self) -> Vec<(Dtype, Loader, Epilogue)> {
        use LayerRole as R;
        let model = self.model;
        let mut products: Vec<(Dtype, Loader, Epilogue)> = Vec::new();
        let mut add = |dtype: Dtype, loader: Loader, bias: bool, residual: bool| {
            let product = (dtype, loader, Epilogue { bias, residual });
            if !products.contains(&product) {
                products.push(product);
            }
        };
        for l in 0..model.config().layers {
            for role in R::LINEARS {
                let bias = role.bias().and_then(|bias| model.layer(l, bias)).is_some();
                if let Some(weight) = model.layer(l, role) {
                    let residual = matches!(role, R::O | R::Down) && !self.sums_in_norm();
                    add(weight.dtype, self.of_layer(role, weight), bias, residual);
                }
            }
        }
        if let Some(head) = model.tensor(Role::LmHead) {
            add(head.dtype, self.of_outside(head), false, false);
        }
        products
    }
}

fn of_model(numerics: Numerics, loaders: &Loaders<'_>) -> Vec<Case> {
    let (gpu, model) = (loaders.gpu, loaders.model);
    let config = model.config();
    let variants = gpu.info.variants;
    let mut cases = Vec::new();
    for (dtype, loader, epilogue) in loaders.products() {
        // Whatever loads them, they cross a segment of 256.
        let k = columns(dtype, loader);
        let [many, one] = [variants.matmul, variants.single].map(|path| loader.by(path));
        cases.push(matmul(numerics, many, dtype, 9, 70, k, epilogue));
        cases.push(matmul(numerics, one, dtype, 1, 21, k, epilogue));
    }
    cases.extend(loaders.taken().map(|k| rows_to_texels(3, k)));
    cases.extend(loaders.sums(numerics, Rounding::Keep));
    cases.extend(of_fused(numerics, loaders));
    let table = model.tensor(Role::Embedding);
    cases.push(match table.map(|t| (t.dtype, loaders.of_outside(t))) {
        Some((dtype, loader @ Loader::Texels)) => {
            embed_texels(dtype, 5, columns(dtype, loader), 23)
        }
        Some((dtype, loader)) => embed(dtype, 5, columns(dtype, loader), 23),
        None => embed(Dtype::F32, 5, columns(Dtype::F32, Loader::Four), 23),
    });
    let d = config.head_dim;
    let kernel = kernels::attention::choose(gpu.info.variants.attention, d);
    cases.extend([
        attention(numerics, Rounding::Keep, kernel, 9, 4, 2, d, 130),
        attention(numerics, Rounding::Keep, kernel, 1, 2, 1, d, LONG),
        match config.family.norm() {
            Norm::Rms => rmsnorm(numerics, Rounding::Keep, 3, 200),
            Norm::Layer => layernorm(numerics, 3, 200),
        },
        match config.family.mlp() {
            Mlp::Gated => silu_mul(numerics, Rounding::Keep, 3, 77),
            Mlp::Relu => relu(3, 77),
        },
    ]);
    match (&config.rope, model.tensor(Role::Positions)) {
        (Some(Rope { layout, .. }), _) => {
            cases.push(rope(numerics, Rounding::Keep, *layout, 3, 4, 2, d / 2, 7));
        }
        (None, table) => {
            cases.push(kv_write(3, 70, 7));
            // Of a table its type, and how many columns take the loader that its rows take.
            let (dtype, loader) = match table {
                Some(table) => (table.dtype, Loader::of(table, false)),
                None => (Dtype::F32, Loader::Four),
            };
            cases.push(add_position(numerics, dtype, 5, columns(dtype, loader), 9));
        }
    }
    if kernel.is_texels() {
        cases.push(kv_write_texels(3, 72, 7));
    }
    cases
}

/// What rounds the inputs of the model's products, and the products of integers.
fn of_activations(
    gpu: &Gpu,
    numerics: Numerics,
    model: &Model,
    activations: ActivationType,
) -> Vec<Case> {
    let layers = 0..model.config().layers;
    let has_bias = layers.clone().any(|l| {
        let mut biases = LayerRole::LINEARS.iter().filter_map(|role| role.bias());
        biases.any(|bias| model.layer(l, bias).is_some())
    });
    let biases = || [false, true].into_iter().take(1 + usize::from(has_bias));
    let ends = |bias: bool| [false, true].map(|residual| Epilogue { bias, residual });
    let one_row = gpu.info.variants.single.is_for_one_row();
    match activations {
        ActivationType::Float => Vec::new(),
        ActivationType::Int8 => {
            let mut cases = vec![
                quantize_rows(numerics, 5, 301),
                quantize_rows(numerics, 2, 1100),
                matmul_i8(true, false, 1, 9, 33, 302),
                matmul_i8(true, one_row, 1, 1, 70, 1100),
            ];
            for bias in biases() {
                cases.extend(ends(bias).map(|end| scale_sums(numerics, end, 5, 77)));
            }
            cases
        }
        ActivationType::Blocks => {
            let mut cases = vec![quantize_blocks(numerics, 3, 5)];
            let mut seen = Vec::new();
            for weight in layers.flat_map(|l| LayerRole::LINEARS.map(|role| model.layer(l, role))) {
                let Some(dtype) = weight.map(|weight| weight.dtype) else {
                    continue;
                };
                let block = dtype.block().max(FIXED_COLUMNS);
                let k = block * (300_usize.div_ceil(block) | 1);
                if !seen.contains(&dtype) && dtype.is_fixed_point(k) {
                    seen.push(dtype);
                    cases.push(matmul_fixed(dtype, true, false, 9, 33, k));
                    cases.push(matmul_fixed(dtype, true, one_row, 1, 70, k));
                }
            }
            for bias in biases() {
                cases.extend(ends(bias).map(|end| fixed_sums(numerics, end, 5, 77)));
            }
            cases
        }
        ActivationType::Ggml => [Blocks::Q8_0, Blocks::Q8K]
            .map(|blocks| round_blocks(numerics, blocks, 3, 3 * blocks.columns()))
            .into(),
    }
}

/// What shares a dispatch here.
fn of_fused(numerics: Numerics, loaders: &Loaders<'_>) -> Vec<Case> {
    use LayerRole as R;
    let (config, model, variants) = (
        loaders.model.config(),
        loaders.model,
        loaders.gpu.info.variants,
    );
    let mut seen: Vec<(Dtype, Loader, bool)> = Vec::new();
    for gate in (0..config.layers).filter_map(|l| model.layer(l, R::Gate)) {
        let loader = loaders.of_layer(R::Gate, gate);
        let of_type = (gate.dtype, loader, model.layer(0, R::GateBias).is_some());
        if !seen.contains(&of_type) {
            seen.push(of_type);
        }
    }
    let mut cases = Vec::new();
    for (dtype, loader, bias) in seen {
        let k = columns(dtype, loader);
        let mut add = |path: MatmulKernel, m| {
            let path = loader.by(path);
            cases.push(gated(numerics, path, dtype, m, 37, k, bias));
        };
        if variants.fused.gated {
            add(variants.matmul, 9);
        }
        if variants.fused_single.gated {
            add(variants.single, 1);
        }
    }
    if let (Some(Rope { layout, .. }), true) = (
        &config.rope,
        variants.fused.qkv || variants.fused_single.qkv,
    ) {
        let half = config.head_dim / 2;
        cases.push(rope_stacked(numerics, *layout, 3, 4, 2, half, 7));
    }
    cases
}

fn of_rule(gpu: &Gpu, numerics: Numerics, model: &Model, rule: &Sparsity) -> Vec<Case> {
    use LayerRole as R;
    let config = model.config();
    let mlp = config.family.mlp();
    let has_gate = mlp.has_gate();
    // How a model's own matrices are read.
    let path = |role| {
        let weight = model.layer(0, role);
        let plain = ActivationType::Float;
        let is_texels = weight.map(|w| lies_in_texels(gpu, mlp, role, w, Some(rule), plain));
        match is_texels {
            Some(Ok(true)) => Path::Texels,
            _ => Path::of(&gpu.info.variants),
        }
    };
    let stored = |role| model.layer(0, role).map_or(Dtype::F32, |t| t.dtype);
    let bias = config.mlp_bias;
    let down = Epilogue {
        bias,
        residual: true,
    };
    // A multiple of four takes a wide loader, one of eight the widest.
    let like = |width: usize| match width {
        _ if width.is_multiple_of(8) => 304,
        _ if width.is_multiple_of(4) => 300,
        _ => 301,
    };
    let sum = |role, epilogue, width| {
        sparse_sum(numerics, path(role), stored(role), epilogue, like(width))
    };
    let mut cases = vec![sparse_index(), sum(R::Down, down, config.hidden)];
    let selected = |mode| {
        let k = like(config.hidden);
        sparse_rows(numerics, path(R::Up), mode, stored(R::Up), bias, k)
    };
    let inside = match has_gate {
        true => rows::Mode::Gated,
        false => rows::Mode::Relu,
    };
    match rule {
        Sparsity::Given { .. } => cases.push(selected(inside)),
        Sparsity::TopK { .. } => cases.push(sparse_topk(topk::Measure::Magnitude)),
        Sparsity::Cats { .. } if has_gate => {
            cases.push(sparse_threshold(numerics, threshold::Measure::Silu));
            cases.push(selected(rows::Mode::WithGate));
        }
        Sparsity::Cats { .. } => {
            cases.push(sparse_threshold(numerics, threshold::Measure::Relu));
        }
        Sparsity::Teal { .. } => {
            let inputs = Epilogue {
                bias,
                residual: false,
            };
            cases.push(sparse_threshold(numerics, threshold::Measure::Magnitude));
            cases.push(sum(R::Up, inputs, config.intermediate));
        }
        Sparsity::Predicted { .. } => {
            cases.push(sparse_topk(topk::Measure::Signed));
            cases.push(selected(inside));
        }
    }
    cases
}

fn of_audit(gpu: &Gpu, config: &ModelConfig, rounding: Rounding) -> Vec<Case> {
    let n = Numerics::Strict;
    let d = config.head_dim;
    let kernel = kernels::attention::choose(gpu.info.variants.attention, d);
    let mut cases = vec![
        rmsnorm(n, rounding, 3, 200),
        attention(n, rounding, kernel, 9, 4, 2, d, 130),
        attention(n, rounding, kernel, 1, 2, 1, d, LONG),
        silu_mul(n, rounding, 3, 77),
        add(n, rounding, Addend::Rows, 3, 77),
        add(n, rounding, Addend::Bias, 3, 77),
        add_rmsnorm(false, n, rounding, 3, 200),
        row_energy(n, 3, 200),
        residual(n, 9, 16, 5),
    ];
    if let Some(Rope { layout, .. }) = config.rope {
        cases.push(rope(n, rounding, layout, 3, 4, 2, d / 2, 7));
    }
    let mut widths = linear_widths(config).to_vec();
    widths.push(config.vocab);
    let is_copied = |width: &usize| kernels::rows_to_texels::is_copy(*width);
    if gpu.info.variants.reads_texels() && !widths.iter().all(is_copied) {
        cases.push(rows_to_texels(3, 300));
    }
    if kernel.is_texels() {
        cases.push(kv_write_texels(3, 72, 7));
    }
    // What probes are as wide as, and how such rows are loaded.
    let mut seen = Vec::new();
    for width in widths {
        let loader = match kernels::matmul::takes_texels(gpu, Dtype::F32, width) {
            true => Loader::Texels,
            false if width.is_multiple_of(4) => Loader::Four,
            false => Loader::One,
        };
        for wide in [70, 20, 16, 8] {
            let path = loader.by(gpu.info.variants.matmul).for_columns(wide);
            if seen.contains(&(loader, path)) {
                continue;
            }
            seen.push((loader, path));
            let k = columns(Dtype::F32, loader);
            cases.push(matmul(n, path, Dtype::F32, 9, 70, k, Epilogue::default()));
            cases.push(magnitudes(n, path, 9, 7, k));
        }
    }
    cases
}

/// Kernels that round; what does not is that of [`of_model`].
fn of_emulation(gpu: &Gpu, model: &Model, rounding: Rounding) -> Vec<Case> {
    let (n, variants) = (Numerics::Strict, gpu.info.variants);
    let config = model.config();
    let d = config.head_dim;
    let kernel = kernels::attention::choose(variants.attention, d);
    let mut cases = vec![
        rmsnorm(n, rounding, 3, 200),
        attention(n, rounding, kernel, 9, 4, 2, d, 130),
        attention(n, rounding, kernel, 1, 2, 1, d, 130),
        silu_mul(n, rounding, 3, 77),
    ];
    if let Some(Rope { layout, .. }) = config.rope {
        cases.push(rope(n, rounding, layout, 3, 4, 2, d / 2, 7));
    }
    let loaders = Loaders {
        gpu,
        model,
        activations: ActivationType::Float,
        rule: None,
    };
    cases.extend(loaders.sums(n, rounding));
    for (dtype, loader, epilogue) in loaders.products() {
        let k = columns(dtype, loader);
        for (path, m) in [(variants.matmul, 9), (variants.single, 1)] {
            let (path, shape) = (loader.by(path), (m, 21, k));
            cases.push(matmul_keeping(path, dtype, shape, epilogue, rounding));
        }
    }
    cases
}

fn standard(gpu: &Gpu, numerics: Numerics) -> Vec<Case> {
    let variants = gpu.info.variants;
    let many = variants.matmul.reading(false);
    let both = Epilogue {
        bias: true,
        residual: true,
    };
    let mut cases = vec![
        embed(Dtype::BF16, 5, 40, 23),
        rmsnorm(numerics, Rounding::Keep, 3, 200),
        add_rmsnorm(false, numerics, Rounding::Keep, 3, 200),
        add_rmsnorm(true, numerics, Rounding::Keep, 3, 200),
        matmul(numerics, many, Dtype::BF16, 9, 70, 300, both),
        matmul(numerics, many, Dtype::F16, 3, 11, 54, Epilogue::default()),
        matmul(numerics, many, Dtype::Q8_0, 3, 11, 352, Epilogue::default()),
        matmul(
            numerics,
            MatmulKernel::Vector,
            Dtype::BF16,
            1,
            21,
            1100,
            both,
        ),
        rope(
            numerics,
            Rounding::Keep,
            RopeLayout::RotateHalf,
            3,
            4,
            2,
            10,
            7,
        ),
        rope(
            numerics,
            Rounding::Keep,
            RopeLayout::Interleaved,
            2,
            2,
            1,
            8,
            0,
        ),
        attention(
            numerics,
            Rounding::Keep,
            variants.attention,
            9,
            4,
            2,
            24,
            130,
        ),
        attention(
            numerics,
            Rounding::Keep,
            variants.attention,
            1,
            2,
            1,
            64,
            LONG,
        ),
        silu_mul(numerics, Rounding::Keep, 3, 77),
        add_position(numerics, Dtype::BF16, 5, 71, 9),
        kv_write(3, 70, 7),
        layernorm(numerics, 3, 200),
        relu(3, 77),
    ];
    if variants.reads_texels() {
        let (one, end) = (variants.single, Epilogue::default());
        cases.extend([
            matmul(numerics, variants.matmul, Dtype::BF16, 9, 70, 304, both),
            matmul(numerics, one, Dtype::F32, 1, 21, 1100, end),
            embed_texels(Dtype::BF16, 5, 40, 23),
            rows_to_texels(3, 300),
        ]);
    }
    if variants.attention.is_texels() {
        cases.push(kv_write_texels(3, 72, 7));
    }
    cases
}
