// Rounding to 8 bits with one scale for many numbers: what quantised products keep of their inputs. All of it is the same on every
// device: maxima of bits, division by integers, one product and one `round`. Needs include/numerics.wgsl.
// Twin: engine/src/kernels/round8.rs.

// The bits of 2^-100: what is below stands for zeros, so that no quotient here is subnormal.
const LEAST: u32 = 0x0D800000u;
// The bits of infinity; those of a NaN are above.
const INFINITE: u32 = 0x7F800000u;

fn magnitude_bits(x: f32) -> u32 { return bitcast<u32>(x) & 0x7FFFFFFFu; }

// a / b for positive normal numbers whose quotient is normal, rounded to nearest, ties to even: long division, since WGSL's own is
// within 2.5 ulp only.
fn div_(a: f32, b: f32) -> f32 {
    let ua = bitcast<u32>(a);
    let ub = bitcast<u32>(b);
    var rest = (ua & 0x7FFFFFu) | 0x800000u;
    let by = (ub & 0x7FFFFFu) | 0x800000u;
    var exponent = i32(ua >> 23u) - i32(ub >> 23u) + 127;
    if (rest < by) {
        rest = rest << 1u;
        exponent = exponent - 1;
    }
    // 24 bits and one to round by, the first of them set; what is left decides ties.
    var quotient = 0u;
    for (var i = 0u; i < 25u; i = i + 1u) {
        let fits = rest >= by;
        rest = select(rest, rest - by, fits) << 1u;
        quotient = (quotient << 1u) | select(0u, 1u, fits);
    }
    let kept = quotient >> 1u;
    let up = (quotient & 1u) & (select(0u, 1u, rest != 0u) | (kept & 1u));
    // The first bit of `kept` adds one to the exponent.
    return bitcast<f32>((u32(exponent - 1) << 23u) + kept + up);
}

// Whether a largest magnitude leaves anything to round: not where all are about zero, nor where one is no number.
fn is_some(top: u32) -> bool { return top >= LEAST && top < INFINITE; }
// A largest magnitude to divide by; 1 where there is none.
fn divisor(top: u32) -> f32 { return bitcast<f32>(select(0x3F800000u, top, is_some(top))); }
// A scale as it is kept: 0 where all are about zero, NaN where one is no number, so that a device's failure is not rounded away.
fn scale_of(scale: f32, top: u32) -> f32 {
    let some = select(0u, bitcast<u32>(scale), top >= LEAST);
    return bitcast<f32>(select(some, 0x7FC00000u ^ params.zero, top >= INFINITE));
}
// x in units of the scale, an integer from -127 to 127.
fn quant(x: f32, inverse: f32) -> f32 { return clamp(round(opq(x * inverse)), -127.0, 127.0); }
