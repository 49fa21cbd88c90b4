//! The scalar functions of `shaders/include/numerics.wgsl` in Rust: the same constants, the same order.
//!
//! Rust neither fuses nor reassociates `f32`, so these give the bits that the kernels give under strict
//! numerics on any adapter that rounds to nearest.
#![allow(
    clippy::excessive_precision,
    clippy::approx_constant,
    reason = "the constants are spelt as in the WGSL text, which has no names for them"
)]

use assay_trace::Compute;

/// Which promise the kernels make about their bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Numerics {
    /// Canonical order, but the compiler may fuse a product with a sum.
    #[default]
    Fast,
    /// Canonical order behind opaque barriers: the same bits on every adapter.
    Strict,
}

impl Numerics {
    /// The word used in traces and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Strict => "strict",
        }
    }
}

/// What a prover of another precision keeps of a value: the twin of `shaders/include/rounding.wgsl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rounding {
    /// All of it: f32.
    #[default]
    Keep,
    /// bfloat16, to nearest, ties to even.
    Bf16,
    /// binary16, to nearest, ties to even; its largest number beyond its range.
    F16,
}

impl Rounding {
    /// Rounds a finite value.
    #[inline]
    pub fn of(self, x: f32) -> f32 {
        match self {
            Self::Keep => x,
            Self::Bf16 => to_bf16(x),
            Self::F16 => half::f16::from_f32(x.clamp(-65504.0, 65504.0)).to_f32(),
        }
    }

    /// Rounds each of `values`: a kind of rounding a loop, so that loops become vector instructions.
    pub fn all(self, values: &mut [f32]) {
        match self {
            Self::Keep => {}
            Self::Bf16 => values.iter_mut().for_each(|x| *x = to_bf16(*x)),
            Self::F16 => values.iter_mut().for_each(|x| *x = self.of(*x)),
        }
    }

    /// Unit roundoff: what rounding a value to nearest changes at most, relative to it. 2^-24 of f32, 2^-11 of f16, 2^-8 of bf16.
    pub fn unit(self) -> f64 {
        match self {
            Self::Keep => 0.5f64.powi(24),
            Self::Bf16 => 0.5f64.powi(8),
            Self::F16 => 0.5f64.powi(11),
        }
    }
}

/// What a trace says of it.
impl From<Rounding> for Compute {
    fn from(rounding: Rounding) -> Self {
        match rounding {
            Rounding::Keep => Self::F32,
            Rounding::Bf16 => Self::Bf16,
            Rounding::F16 => Self::F16,
        }
    }
}

/// What a prover that says so keeps between operations.
impl From<Compute> for Rounding {
    fn from(compute: Compute) -> Self {
        match compute {
            Compute::F32 => Self::Keep,
            Compute::Bf16 => Self::Bf16,
            Compute::F16 => Self::F16,
        }
    }
}

/// What a cheaper cache keeps of keys and values between tokens; they are decoded before they are used.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
pub enum CacheFormat {
    /// Everything.
    #[default]
    Exact,
    /// Symmetric 8 bits, one scale a head and position.
    Int8,
    /// e4m3 with the scale 1, as vLLM does without calibration.
    Fp8,
    /// Symmetric 4 bits, one scale a head and position.
    Int4,
}

impl CacheFormat {
    /// Those that round, the finest first.
    pub const ALL: [Self; 3] = [Self::Int8, Self::Fp8, Self::Int4];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
            Self::Int4 => "int4",
        }
    }
}

#[inline]
fn to_bf16(x: f32) -> f32 {
    let u = x.to_bits();
    let near = f32::from_bits((u.wrapping_add(0x7FFF + ((u >> 16) & 1))) & 0xFFFF_0000);
    if x.is_nan() { x } else { near }
}

#[inline]
fn madd(acc: f32, a: f32, b: f32) -> f32 {
    acc + a * b
}

/// The integer n nearest to x / ln 2, and 2^n; x in [-87, 88].
///
/// The shaders take `floor` and a cast of it. Those are calls and branches where a processor has no instruction for them, and keep a loop from
/// becoming vectors; sums give the same: a number from 2^23 on has no fraction, and its integer in its low bits.
#[inline]
fn whole_power(x: f32) -> (f32, f32) {
    let t = madd(0.5, x, 1.442_695_04);
    let near = (t + 12_582_912.0) - 12_582_912.0;
    let n = near - if near > t { 1.0 } else { 0.0 };
    (
        n,
        f32::from_bits((n + (8_388_608.0 + 127.0)).to_bits() << 23),
    )
}

/// e^x for x in [-87, 88]; 0 below, e^88 above; about 1 ulp.
#[inline]
pub fn exp(x0: f32) -> f32 {
    let x = x0.clamp(-87.0, 88.0);
    let (n, scale) = whole_power(x);
    let mut r = madd(x, n, -0.693_359_375);
    r = madd(r, n, 2.121_944_40e-4);
    let mut p = 1.987_569_150_0e-4;
    p = madd(1.398_199_950_7e-3, p, r);
    p = madd(8.333_451_907_3e-3, p, r);
    p = madd(4.166_579_589_4e-2, p, r);
    p = madd(1.666_666_545_9e-1, p, r);
    p = madd(5.000_000_120_1e-1, p, r);
    let y = 1.0 + madd(r, p, r * r);
    if x0 < -87.0 { 0.0 } else { y * scale }
}

/// 1 / y for y in [2^-100, 2^100]; about 1 ulp.
#[inline]
pub fn recip(y: f32) -> f32 {
    let mut r = f32::from_bits(0x7EF3_11C7_u32.wrapping_sub(y.to_bits()));
    for _ in 0..4 {
        r *= 2.0 - y * r;
    }
    r
}

/// 1 / sqrt(x) for x in [2^-100, 2^100]; about 2 ulp.
#[inline]
pub fn rsqrt(x: f32) -> f32 {
    let h = 0.5 * x;
    let mut y = f32::from_bits(0x5F37_5A86_u32.wrapping_sub(x.to_bits() >> 1));
    for _ in 0..4 {
        y *= 1.5 - h * (y * y);
    }
    y
}

/// x * sigmoid(x).
#[inline]
pub fn silu(x: f32) -> f32 {
    let t = exp(-x.abs());
    let r = recip(1.0 + t);
    x * if x >= 0.0 { r } else { t * r }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Largest error in units of the last place against f64, over a dense sweep.
    fn worst_ulp(
        f: impl Fn(f32) -> f32,
        exact: impl Fn(f64) -> f64,
        range: std::ops::Range<f32>,
    ) -> f64 {
        let mut worst = 0.0_f64;
        let n = 200_000;
        for i in 0..n {
            let x = range.start + (range.end - range.start) * (i as f32 / n as f32);
            let want = exact(f64::from(x));
            let ulp = f64::from(f32::from_bits((want as f32).abs().to_bits() + 1))
                - f64::from((want as f32).abs());
            worst = worst.max((f64::from(f(x)) - want).abs() / ulp);
        }
        worst
    }

    #[test]
    fn scalar_functions_are_within_a_few_ulp() {
        // The bounds are the measured worst cases, rounded up: a wrong constant moves them by thousands.
        assert!(worst_ulp(exp, f64::exp, -86.9..87.9) < 1.5);
        assert!(worst_ulp(recip, |y| 1.0 / y, 0.001..1000.0) < 2.0);
        assert!(worst_ulp(rsqrt, |x| 1.0 / x.sqrt(), 0.001..1000.0) < 2.5);
        assert!(worst_ulp(silu, |x| x / (1.0 + (-x).exp()), 0.01..60.0) < 4.0);
    }

    /// Powers of two by `floor` and a cast, as the shaders make them.
    #[test]
    fn exponents_are_those_of_floor() {
        let of = |x: f32| {
            let n = (0.5 + x * 1.442_695_04_f32).floor();
            (n, f32::from_bits(((n as i32 + 127) as u32) << 23))
        };
        let near_halves = (-127..=127).flat_map(|n| {
            let x = (n as f32 - 0.5) / 1.442_695_04;
            (-8..=8).map(move |step| f32::from_bits(x.to_bits().wrapping_add_signed(step)))
        });
        let sweep = (0..400_000).map(|i| -87.0 + 175.0 * i as f32 / 4e5);
        for x in near_halves
            .chain(sweep)
            .filter(|x| (-87.0..=88.0).contains(x))
        {
            let (n, scale) = of(x);
            let (got, power) = whole_power(x);
            assert_eq!((got, power), (n, scale), "{x:e}");
        }
    }

    #[test]
    fn bf16_is_that_of_half() {
        let odd = [
            0.0,
            -0.0,
            1e-40,
            f32::MAX,
            f32::MIN,
            f32::INFINITY,
            1.003_906_3,
            1.011_718_8,
        ];
        let sweep = (0..1_000_000_u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761)));
        let all: Vec<f32> = sweep.filter(|x| !x.is_nan()).chain(odd).collect();
        let mut rounded = all.clone();
        Rounding::Bf16.all(&mut rounded);
        for (x, y) in all.iter().zip(rounded) {
            let want = half::bf16::from_f32(*x).to_f32().to_bits();
            assert_eq!(
                [y.to_bits(), Rounding::Bf16.of(*x).to_bits()],
                [want; 2],
                "{x:e}"
            );
        }
        assert!(Rounding::Bf16.of(f32::from_bits(u32::MAX)).is_nan());
    }

    #[test]
    fn edges_do_not_overflow() {
        assert_eq!(exp(-1000.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(1000.0).is_finite());
        assert_eq!(silu(-1000.0), 0.0);
        assert!((silu(1000.0) - 1000.0).abs() < 1e-3);
        assert_eq!(silu(0.0), 0.0);
    }
}
