//! Keys or values as a cheaper cache would hold them. Kernel: `shaders/kernels/round_heads.wgsl`.

use super::round8::Top;
use super::{Grid, ParamBytes, for_each, strict};
use crate::gpu::PipelineKey;
use crate::numerics::{CacheFormat, Numerics};
use bytemuck::{Pod, Zeroable};

/// The uniform.
#[repr(C)]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub struct Params {
    /// Always 0.
    pub zero: u32,
    /// Tokens.
    pub rows: u32,
    /// Key and value heads.
    pub heads: u32,
    /// Components of a head.
    pub d: u32,
    /// Position of the first token.
    pub pos0: u32,
    /// Zeros.
    pub unused: [u32; 3],
}

/// The pipeline; `None` for a cache that rounds nothing.
pub fn key(format: CacheFormat, numerics: Numerics) -> Option<PipelineKey> {
    let defines = strict(numerics);
    let defines = match (format, levels(format)) {
        (CacheFormat::Exact, _) => return None,
        (_, Some(levels)) => defines.with("LEVELS", levels as i64),
        (_, None) => defines.flag("FP8", true),
    };
    Some(PipelineKey {
        kernel: "round_heads",
        defines,
    })
}

/// The largest integer of a format with a scale a head.
fn levels(format: CacheFormat) -> Option<f32> {
    match format {
        CacheFormat::Int8 => Some(127.0),
        CacheFormat::Int4 => Some(7.0),
        CacheFormat::Exact | CacheFormat::Fp8 => None,
    }
}

/// Parameters and workgroups for `rows` tokens, the first at position `pos0`.
pub fn dispatch(rows: u32, heads: u32, d: u32, pos0: u32) -> (ParamBytes, Grid) {
    let params = Params {
        zero: 0,
        rows,
        heads,
        d,
        pos0,
        unused: [0; 3],
    };
    (bytemuck::cast(params), [heads, rows, 1])
}

/// The twin: `x` is [rows, heads * d].
pub fn cpu(format: CacheFormat, x: &mut [f32], d: usize) {
    if format == CacheFormat::Exact {
        return;
    }
    let heads: Vec<&mut [f32]> = x.chunks_exact_mut(d).collect();
    for_each(heads, |_, head| match levels(format) {
        None => head.iter_mut().for_each(|x| *x = fp8(*x)),
        Some(levels) => {
            let top = Top::of(head);
            if top.is_no_number() {
                return;
            }
            let inverse = levels / top.divisor();
            let scale = top.kept(top.divisor() / levels);
            for x in head {
                let level = (*x * inverse).round_ties_even().clamp(-levels, levels);
                *x = if top.is_some() { level * scale } else { 0.0 };
            }
        }
    });
}

/// The nearest number of e4m3.
fn fp8(x: f32) -> f32 {
    let a = x.abs();
    let rounded = match a {
        // Below 2^-6 in steps of 2^-9.
        a if a < 1.0 / 64.0 => (a * 512.0).round_ties_even() / 512.0,
        a if !a.is_finite() => a,
        a => {
            let bits = a.to_bits();
            let kept = (bits + 0x7FFFF + ((bits >> 20) & 1)) & 0xFFF0_0000;
            f32::from_bits(kept).min(448.0)
        }
    };
    rounded.copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_hold_what_their_formats_hold() {
        let mut x = [1.0, -0.5, 0.1, 0.0];
        cpu(CacheFormat::Int8, &mut x, 4);
        assert_eq!((x[0], x[3]), (1.0, 0.0));
        assert!((x[1] + 64.0 / 127.0).abs() < 1e-6, "{x:?}");
        let mut x = [7.0, -3.2, 0.4, 0.6];
        cpu(CacheFormat::Int4, &mut x, 4);
        assert_eq!(x, [7.0, -3.0, 0.0, 1.0]);
        for (x, y) in [
            (1.06, 1.0),
            (17.0, 16.0),
            (500.0, 448.0),
            (0.001, 0.001_953_125),
        ] {
            let mut one = [x];
            cpu(CacheFormat::Fp8, &mut one, 1);
            assert_eq!(one, [y], "{x}");
        }
        let before = [3.0, f32::NAN];
        for format in CacheFormat::ALL {
            let mut x = before;
            cpu(format, &mut x, 2);
            assert!(x[1].is_nan(), "{format:?}");
            let mut zeros = [0.0, 0.0];
            cpu(format, &mut zeros, 2);
            assert_eq!(zeros, [0.0, 0.0]);
        }
    }
}
