//! Rounding rows to nearest.
use half::f16;

fn largest(values: &[f32]) -> f32 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}

/// ggml's `quantize_row_q8_0_ref`: d = max |x| / 127, q = round(x / d), halves away from zero; d is stored as f16.
pub fn q8_0(row: &[f32], out: &mut Vec<u8>) {
    for block in row.chunks_exact(32) {
        let d = largest(block) / 127.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        out.extend(f16::from_f32(d).to_le_bytes());
        out.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
    }
}

/// ggml's `quantize_row_q4_0_ref`: d = the value of largest magnitude / -8, q = min(15, trunc(x / d + 8.5)).
pub fn q4_0(row: &[f32], out: &mut Vec<u8>) {
    for block in row.chunks_exact(32) {
        let mut extreme = 0.0_f32;
        for x in block {
            if x.abs() > extreme.abs() {
                extreme = *x;
            }
        }
        let d = extreme / -8.0;
        let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
        out.extend(f16::from_f32(d).to_le_bytes());
        let quant = |x: f32| ((x * inverse + 8.5) as i8).min(15) as u8;
        let (low, high) = block.split_at(16);
        out.extend(
            low.iter()
                .zip(high)
                .map(|(l, h)| quant(*l) | (quant(*h) << 4)),
        );
    }
}

/// A row of signed bytes, and its scale, max |x| / 127.
pub fn int8(row: &[f32], out: &mut Vec<u8>) -> f32 {
    let mut scale = largest(row) / 127.0;
    if scale == 0.0 {
        scale = 1.0;
    }
    let quant = |x: &f32| (x / scale).round_ties_even().clamp(-127.0, 127.0) as i8 as u8;
    out.extend(row.iter().map(quant));
    scale
}

/// The zero of [`int4`].
pub const ZERO: u32 = 8;

/// Quants of 0 to 15 around [`ZERO`], and their scale, 2 max |x| / 15, as AutoGPTQ's symmetric quantiser has it.
pub fn int4<'a>(group: &'a [f32]) -> (f16, impl Iterator<Item = u32> + 'a) {
    let mut scale = f16::from_f32(largest(group) * 2.0 / 15.0);
    if scale == f16::ZERO {
        scale = f16::ONE;
    }
    let d = scale.to_f32();
    let quant = move |x: &f32| (x / d).round_ties_even() as i32 + ZERO as i32;
    let quants = group.iter().map(move |x| quant(x).clamp(0, 15) as u32);
    (scale, quants)
}
