//! ggml's blocks: from a file's bytes to row form, and from there to f32 in the order of operations of `dequantize_row_*`
//! (ggml/src/ggml-quants.c).
use super::{WORD, halves, word};
use crate::Dtype;

/// Bytes of a block in a file; `None` for what ggml does not store so.
pub(crate) fn stored_block_bytes(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::Q8_0 => Some(34),
        Dtype::Q4_0 => Some(18),
        Dtype::Q5_0 => Some(22),
        Dtype::Q4K => Some(144),
        Dtype::Q6K => Some(210),
        _ => None,
    }
}

/// Appends the row form of a row of `stored` blocks to `out`. False if a scale is not finite.
pub(super) fn pack(dtype: Dtype, stored: &[u8], out: &mut Vec<u8>) -> bool {
    match dtype {
        Dtype::Q8_0 => pack_pairs(stored, 34, out),
        Dtype::Q4_0 => pack_pairs(stored, 18, out),
        Dtype::Q5_0 => pack_pairs(stored, 22, out),
        Dtype::Q4K => {
            out.extend(stored);
            stored
                .chunks_exact(144)
                .all(|block| are_finite(&block[..4]))
        }
        Dtype::Q6K => stored.chunks_exact(210).fold(true, |fine, block| {
            out.extend(block);
            out.extend([0; 2]);
            fine && are_finite(&block[208..])
        }),
        _ => false,
    }
}

fn are_finite(scales: &[u8]) -> bool {
    halves(scales).all(f32::is_finite)
}

/// Blocks whose scale comes first: two scales, then what each block has beside.
fn pack_pairs(stored: &[u8], block: usize, out: &mut Vec<u8>) -> bool {
    let mut fine = true;
    for pair in stored.chunks(2 * block) {
        let mut scales = [0; WORD];
        for (slot, block) in scales
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(pair.chunks(block))
        {
            slot.copy_from_slice(&block[..2]);
        }
        fine &= are_finite(&scales);
        out.extend(scales);
        pair.chunks(block).for_each(|block| out.extend(&block[2..]));
    }
    fine
}

/// Decodes pairs of blocks with `quants` bytes each beside their scale.
pub(super) fn decode_pairs(
    row: &[u8],
    quants: usize,
    out: &mut Vec<f32>,
    decode: impl Fn(f32, &[u8], &mut Vec<f32>),
) {
    for pair in row.chunks(WORD + 2 * quants) {
        let (scales, blocks) = pair.split_at(WORD);
        for (d, block) in halves(scales).zip(blocks.chunks_exact(quants)) {
            decode(d, block, out);
        }
    }
}

pub(super) fn q8_0(d: f32, block: &[u8], out: &mut Vec<f32>) {
    out.extend(block.iter().map(|q| d * f32::from(*q as i8)));
}

/// Low nibbles are the first half of a block, high ones the second.
fn halves_of_nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let low = bytes.iter().map(|byte| byte & 15);
    low.chain(bytes.iter().map(|byte| byte >> 4))
}

pub(super) fn q4_0(d: f32, block: &[u8], out: &mut Vec<f32>) {
    out.extend(halves_of_nibbles(block).map(|q| d * (f32::from(q) - 8.0)));
}

pub(super) fn q5_0(d: f32, block: &[u8], out: &mut Vec<f32>) {
    let high = word(block, 0);
    let quants = halves_of_nibbles(&block[WORD..]).enumerate();
    out.extend(quants.map(|(i, q)| {
        let fifth = ((high >> i) & 1) as u8;
        d * (f32::from(q | (fifth << 4)) - 16.0)
    }));
}

/// Scale and minimum, 6 bits each, of sub-block `j` (ggml's `get_scale_min_k4`).
pub(super) fn scale_and_min(scales: &[u8], j: usize) -> (u8, u8) {
    match j {
        0..4 => (scales[j] & 63, scales[j + 4] & 63),
        _ => (
            (scales[j + 4] & 15) | ((scales[j - 4] >> 6) << 4),
            (scales[j + 4] >> 4) | ((scales[j] >> 6) << 4),
        ),
    }
}

pub(super) fn q4_k(block: &[u8], out: &mut Vec<f32>) {
    let mut of_block = halves(&block[..WORD]);
    let (d, dmin) = (
        of_block.next().unwrap_or(0.0),
        of_block.next().unwrap_or(0.0),
    );
    let scales = &block[WORD..16];
    for (pair, bytes) in block[16..].chunks_exact(32).enumerate() {
        for (side, quants) in [0, 1].into_iter().zip([0, 4]) {
            let (scale, min) = scale_and_min(scales, 2 * pair + side);
            let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
            out.extend(
                bytes
                    .iter()
                    .map(|byte| scale * f32::from((byte >> quants) & 15) - min),
            );
        }
    }
}

pub(super) fn q6_k(block: &[u8], out: &mut Vec<f32>) {
    let d = halves(&block[208..210]).next().unwrap_or(0.0);
    let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
    for i in 0..256 {
        let (half, quarter, l) = (i >> 7, (i >> 5) & 3, i & 31);
        let nibble = (low[half * 64 + (quarter & 1) * 32 + l] >> (4 * (quarter >> 1))) & 15;
        let two = (high[half * 32 + l] >> (2 * quarter)) & 3;
        let scale = scales[half * 8 + (l >> 4) + 2 * quarter] as i8;
        let q = f32::from(nibble | (two << 4)) - 32.0;
        out.push((d * f32::from(scale)) * q);
    }
}
