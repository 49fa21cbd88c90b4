//! One module a kernel: its parameters, its pipeline key, its dispatch size, and its CPU twin.
//!
//! A twin takes the same buffers as plain slices and adds in the order that the WGSL head states, so
//! under strict numerics the two agree bit for bit.

pub mod add;
pub mod add_position;
pub mod add_rmsnorm;
pub mod attention;
pub mod elementwise;
pub mod embed;
pub mod fixed_sums;
pub mod kv_write;
mod lanes;
pub mod layernorm;
pub mod matmul;
pub mod matmul_fixed;
pub mod matmul_i8;
pub mod project;
pub mod relu;
pub mod residual;
pub mod rmsnorm;
pub mod rope_kv;
pub mod round8;
pub mod round_heads;
pub mod row_energy;
pub mod rows_to_texels;
pub mod scale_sums;
pub mod silu_mul;
pub mod sparse;

use crate::numerics::{Numerics, Rounding};
use assay_model::Dtype;
use assay_shaders::Defines;

/// Bytes that every kernel's uniform binding has, whatever its struct needs of them.
pub const PARAM_BYTES: u64 = 32;

/// Parameters as they lie in the uniform buffer.
pub type ParamBytes = [u8; PARAM_BYTES as usize];

/// A dispatch's workgroup counts.
pub type Grid = [u32; 3];

pub(crate) fn strict(numerics: Numerics) -> Defines {
    Defines::new().flag("STRICT", numerics == Numerics::Strict)
}

pub(crate) fn rounded(defines: Defines, rounding: Rounding) -> Defines {
    match rounding {
        Rounding::Keep => defines,
        Rounding::Bf16 => defines.flag("ROUND_BF16", true),
        Rounding::F16 => defines.flag("ROUND_F16", true),
    }
}

/// Which loader of `include/weights.wgsl` decodes rows of `cols` columns; `w` is bound as words where a type is packed.
pub(crate) fn stored(defines: Defines, dtype: Dtype, cols: usize) -> Defines {
    let groups = |name: &str, group: u32, columns_a_word: u32| {
        let words = i64::from(group / columns_a_word) + 1;
        defines
            .clone()
            .flag(name, true)
            .with("GROUP", group.into())
            .with("GROUP_WORDS", words)
    };
    let defines = match dtype {
        Dtype::F32 => return defines.flag("W_F32", true),
        Dtype::F16 => return defines.flag("W_F16", true),
        Dtype::BF16 => return defines.flag("W_BF16", true),
        Dtype::Q8_0 => defines.flag("W_Q8_0", true),
        Dtype::Q4_0 => defines.flag("W_Q4_0", true),
        Dtype::Q5_0 => defines.flag("W_Q5_0", true),
        Dtype::Q4K => defines.flag("W_Q4_K", true),
        Dtype::Q6K => defines.flag("W_Q6_K", true),
        Dtype::Int8 { group: 0 } => defines.flag("W_INT8", true),
        Dtype::Int8 { group } => groups("W_INT8", group, 4),
        Dtype::Int4 { group } => groups("W_INT4", group, 8),
        Dtype::Int4Ordered { groups } => defines
            .flag("W_INT4_ORDERED", true)
            .with("GROUPS", groups.into())
            .with("PREFIX", (dtype.prefix_bytes(cols) / 4) as i64),
    };
    defines.flag("W_PACKED", true)
}

/// The same of weights in textures: quantised ones lie there in texel form.
pub(crate) fn in_texels(defines: Defines, dtype: Dtype) -> Defines {
    let form = dtype.texel_form();
    defines
        .flag("TEXELS", true)
        .flag("BYTES", form.is_some_and(|form| form.bytes))
        .flag("PAIRS", form.is_some_and(|form| form.pairs))
}

/// Sum of a row's squares in the order of the kernels that give a row a workgroup of 64: strided lanes, then a tree.
pub(crate) fn lane_energy(row: &[f32]) -> f32 {
    lane_tree(row, |v| v * v)
}

/// Sum of a row in that order.
pub(crate) fn lane_sum(row: &[f32]) -> f32 {
    lane_tree(row, |v| v)
}

fn lane_tree(row: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; 64];
    for chunk in row.chunks(64) {
        for (lane, v) in lanes.iter_mut().zip(chunk) {
            *lane += term(*v);
        }
    }
    let mut stride = 32;
    while stride > 0 {
        for i in 0..stride {
            lanes[i] += lanes[i + stride];
        }
        stride /= 2;
    }
    lanes[0]
}

/// Runs `body(i, item)` over `items`, on rayon's threads where the `parallel` feature is on.
pub(crate) fn for_each<T: Send>(items: impl IntoItems<T>, body: impl Fn(usize, T) + Sync + Send) {
    items.run(body);
}

/// A list of independent items: what [`for_each`] takes.
pub(crate) trait IntoItems<T: Send> {
    fn run(self, body: impl Fn(usize, T) + Sync + Send);
}

impl<T: Send> IntoItems<T> for Vec<T> {
    fn run(self, body: impl Fn(usize, T) + Sync + Send) {
        // One item is not worth waking a thread for.
        #[cfg(feature = "parallel")]
        if self.len() > 1 {
            use rayon::prelude::*;
            let items = self.into_par_iter().enumerate();
            return items.for_each(|(i, item)| body(i, item));
        }
        for (i, item) in self.into_iter().enumerate() {
            body(i, item);
        }
    }
}
