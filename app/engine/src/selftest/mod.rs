//! Known answers: every kernel on this adapter against its CPU twin, before the adapter's word counts.
//!
//! A driver that computes wrongly would otherwise give wrong verdicts about honest provers. The cases are
//! seeded, small, and of shapes that are no multiples of a tile.

mod cases;

pub use cases::{Case, attention, embed, matmul, rmsnorm, rope, silu_mul};

use crate::engine::Device;
use crate::gpu::Gpu;
use crate::kernels::matmul::{Epilogue, Path};
use crate::{EngineError, Numerics};
use assay_model::{Dtype, RopeLayout};

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
    let Device::Gpu(gpu) = device else {
        return Ok(SelfTest::default());
    };
    let limit = if numerics == Numerics::Strict {
        0.0
    } else {
        FAST_LIMIT
    };
    let mut result = SelfTest::default();
    for case in standard(gpu, numerics) {
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

fn standard(gpu: &Gpu, numerics: Numerics) -> Vec<Case> {
    let variants = gpu.info.variants;
    let many = Path::Many(variants.matmul);
    let both = Epilogue {
        bias: true,
        residual: true,
    };
    vec![
        embed(Dtype::BF16, 5, 40, 23),
        rmsnorm(numerics, 3, 200),
        matmul(numerics, many, Dtype::BF16, 9, 70, 300, both),
        matmul(numerics, many, Dtype::F16, 3, 11, 54, Epilogue::default()),
        matmul(numerics, Path::One, Dtype::BF16, 1, 21, 1100, both),
        rope(numerics, RopeLayout::RotateHalf, 3, 4, 2, 10, 7),
        rope(numerics, RopeLayout::Interleaved, 2, 2, 1, 8, 0),
        attention(numerics, variants.attention, 3, 4, 2, 24, 130),
        // Long enough to meet a driver that stops long loops: what llvmpipe does after 65535 iterations.
        attention(numerics, variants.attention, 1, 2, 1, 64, 1500),
        silu_mul(numerics, 3, 77),
    ]
}
