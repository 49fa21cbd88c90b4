//! A digest of what the strict kernels give for defined inputs: one line by which adapters, drivers and shader compilers are compared.
//!
//! Inputs are integers in disguise and constants; the list is the same on every adapter, whichever variants it would choose. What the CPU
//! twins give is the expected digest, and [`EXPECTED`] keeps it in the repository, so that a changed order of addition is noticed.

use super::cases::Case;
use super::{
    LONG, add, add_position, add_rmsnorm, attention, embed, gated, kv_write, layernorm, magnitudes,
    matmul, matmul_i8, project, relu, residual, rmsnorm, rope, rope_stacked, row_energy, silu_mul,
    sparse_index, sparse_rows, sparse_sum, sparse_threshold, sparse_topk,
};
use crate::engine::Device;
use crate::gpu::{AttentionKernel, MatmulKernel};
use crate::kernels::add::Addend;
use crate::kernels::matmul::Epilogue;
use crate::kernels::sparse::{Path, rows, threshold, topk};
use crate::{EngineError, Numerics, Rounding};
use assay_model::{Dtype, RopeLayout};
use assay_trace::Digest;

/// What every device must give: [`StrictBits::digest`] of the CPU twins. It changes with the list of cases and with nothing else.
pub const EXPECTED: &str = "616cef58f07033c3caa90574d39443f3dc3544e15ab2ab74212655910175c6da";

/// Stored types whose products are part of it.
const STORED: [Dtype; 3] = [Dtype::F32, Dtype::F16, Dtype::BF16];

/// What a device gave.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StrictBits {
    /// SHA-256 over all outputs, 64 hexadecimal digits.
    pub digest: String,
    /// What it must be.
    pub expected: &'static str,
    /// Dispatches that were made.
    pub cases: usize,
    /// Cases whose bits are not those of the CPU twins, as `kernel[variant]`.
    pub differing: Vec<String>,
}

impl StrictBits {
    /// Whether strict numerics hold here, as far as these inputs show.
    pub fn holds(&self) -> bool {
        self.digest == self.expected && self.differing.is_empty()
    }
}

/// Runs every strict kernel on `device` and digests what comes.
///
/// # Errors
/// Of the device. Other bits are no error: they are what this is for.
pub async fn strict_bits(device: &Device) -> Result<StrictBits, EngineError> {
    let cases = cases();
    // What this adapter would run besides is compared, but not digested: the digest's list is the same everywhere.
    let mut own = Vec::new();
    if let Device::Gpu(gpu) = device {
        let variants = gpu.info.variants;
        for (path, m) in [(variants.matmul, 9), (variants.single, 1)] {
            own.extend(products(path.reading(false), m, 301));
            if path.is_texels() {
                own.extend(products(path, m, 304));
            }
        }
        own.extend([24, 64].map(|d| {
            let kernel = variants.attention;
            attention(Numerics::Strict, Rounding::Keep, kernel, 9, 4, 2, d, 130)
        }));
        let layout = RopeLayout::RotateHalf;
        own.push(rope_stacked(Numerics::Strict, layout, 3, 4, 2, 10, 7));
        for rounding in [Rounding::Keep, Rounding::Bf16, Rounding::F16] {
            own.extend(
                [false, true]
                    .map(|in_place| add_rmsnorm(in_place, Numerics::Strict, rounding, 3, 200)),
            );
        }
    }
    let mut bytes = Vec::new();
    let mut differing = Vec::new();
    for (i, case) in cases.iter().chain(&own).enumerate() {
        let wanted: Vec<&[f32]> = (0..case.expected.len()).map(|i| case.answer(i)).collect();
        let got = match device {
            Device::Gpu(gpu) => case.run(gpu).await?,
            Device::Cpu => wanted.iter().map(|values| values.to_vec()).collect(),
        };
        let name = format!("{}[{}]", case.key.kernel, case.key.defines.label());
        let is_equal = got.iter().zip(&wanted).all(|(a, b)| {
            let bits = |v: &f32| v.to_bits();
            a.iter().map(bits).eq(b.iter().map(bits))
        });
        if !is_equal {
            differing.push(name);
        }
        if i >= cases.len() {
            continue;
        }
        // Kernels' names are part of it, so that a case cannot take another's place; how a variant is spelt is not.
        bytes.extend_from_slice(case.key.kernel.as_bytes());
        bytes.push(0);
        for values in &got {
            bytes.extend(values.iter().flat_map(|v| v.to_bits().to_le_bytes()));
        }
    }
    Ok(StrictBits {
        digest: Digest::of(&bytes).to_string(),
        expected: EXPECTED,
        cases: cases.len() + own.len(),
        differing,
    })
}

/// One of each stored type, and one with its activation.
fn products(path: MatmulKernel, m: usize, k: usize) -> impl Iterator<Item = Case> {
    let (n, none) = (Numerics::Strict, Epilogue::default());
    let plain = STORED.map(|dtype| matmul(n, path, dtype, m, 70, k, none));
    let gated = STORED.map(|dtype| gated(n, path, dtype, m, 37, k, true));
    plain.into_iter().chain(gated)
}

fn cases() -> Vec<Case> {
    let n = Numerics::Strict;
    let keep = Rounding::Keep;
    let none = Epilogue::default();
    let both = Epilogue {
        bias: true,
        residual: true,
    };
    let tile = MatmulKernel::Tile { m: 8, n: 8 };
    let row = MatmulKernel::Tile { m: 1, n: 8 };
    let mut cases = Vec::new();
    for (i, dtype) in (0..).zip(STORED) {
        cases.extend([
            embed(dtype, 5, 40, 23),
            matmul(n, tile, dtype, 9, 70, 300, both),
            matmul(n, row, dtype, 1, 21, 1100 + i, none),
            matmul(n, MatmulKernel::Shared, dtype, 65, 70, 258 + i, none),
            matmul(n, MatmulKernel::Vector, dtype, 1, 21, 2304, both),
            project(n, dtype, 5, 70, 40),
        ]);
    }
    for rounding in [keep, Rounding::Bf16, Rounding::F16] {
        cases.extend([
            rmsnorm(n, rounding, 3, 200),
            rope(n, rounding, RopeLayout::RotateHalf, 3, 4, 2, 10, 7),
            silu_mul(n, rounding, 3, 129),
            add(n, rounding, Addend::Rows, 3, 77),
            add(n, rounding, Addend::Bias, 3, 77),
        ]);
    }
    for kernel in [AttentionKernel::Row, AttentionKernel::Group] {
        cases.extend([
            attention(n, keep, kernel, 3, 4, 2, 24, 130),
            attention(n, keep, kernel, 1, 2, 1, 64, LONG),
        ]);
    }
    cases.extend([
        rope(n, keep, RopeLayout::Interleaved, 2, 2, 1, 8, 0),
        layernorm(n, 3, 200),
        add_position(n, Dtype::BF16, 5, 71, 9),
        kv_write(3, 70, 7),
        relu(3, 77),
        row_energy(n, 3, 200),
        residual(n, 9, 16, 5),
        magnitudes(n, tile, 9, 7, 301),
        matmul_i8(false, false, 0, 5, 9, 68),
        sparse_index(),
        sparse_topk(topk::Measure::Magnitude),
        sparse_topk(topk::Measure::Signed),
        sparse_threshold(n, threshold::Measure::Silu),
        sparse_threshold(n, threshold::Measure::Relu),
        sparse_threshold(n, threshold::Measure::Magnitude),
    ]);
    for path in [Path::Registers, Path::Lanes] {
        for mode in [rows::Mode::Gated, rows::Mode::WithGate, rows::Mode::Relu] {
            cases.push(sparse_rows(n, path, mode, Dtype::BF16, false, 300));
        }
        cases.push(sparse_sum(n, path, Dtype::BF16, both, 301));
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kernels that make no numbers of their own: their outputs are sizes of dispatches.
    const NO_NUMBERS: [&str; 1] = ["sparse_grid"];
    /// Kernels that not every adapter can run: compared where they are chosen.
    const NOT_EVERYWHERE: [&str; 5] = [
        "matmul_subgroup",
        "rows_to_texels",
        "attention_subgroup",
        "sparse_rows_texels",
        "sparse_sum_texels",
    ];
    /// Kernels that came after the digest was published: with them every digest that somebody noted would be another one. Their own tests
    /// hold them to the twins' bits.
    const LATER: [&str; 6] = [
        "add_rmsnorm",
        "quantize_rows",
        "round_blocks",
        "scale_sums",
        "matmul_fixed",
        "fixed_sums",
    ];

    #[test]
    fn the_twins_give_the_expected_digest() {
        let bits = pollster::block_on(strict_bits(&Device::Cpu)).unwrap();
        assert_eq!(
            bits.digest, EXPECTED,
            "what strict numerics give has changed: if the list of cases did, too, this is the new digest"
        );
        assert!(bits.holds());
    }

    #[test]
    fn every_kernel_is_part_of_it() {
        let cases = cases();
        for kernel in assay_shaders::KERNELS {
            let has = cases.iter().any(|case| case.key.kernel == *kernel);
            let without = NO_NUMBERS.iter().chain(&NOT_EVERYWHERE).chain(&LATER);
            assert!(has || without.into_iter().any(|k| k == kernel), "{kernel}");
        }
    }
}
