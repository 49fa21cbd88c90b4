//! From words to numbers: independent standard normals, and rows chosen without bias.
//!
//! All arithmetic is f64 by `libm`, the same code on every platform, and rounded to f32 once: a key that was made natively has the
//! same projections in a browser.

use std::f64::consts::TAU;

use crate::parallel;
use crate::seed::Stream;

/// Normals of one block: two pairs of Box-Muller.
const PER_BLOCK: u64 = 4;
/// Normals that one thread makes at a time.
const CHUNK: usize = 1 << 14;

/// The standard normals `start..start + len` of a stream. Number i depends on the stream and on i alone.
///
/// Words w0, w1 of a pair give u0 = (⌊w0 / 2^11⌋ + 1) / 2^53 in (0, 1] and u1 = ⌊w1 / 2^11⌋ / 2^53 in [0, 1), and these
/// √(-2 ln u0)·cos(2π u1) and √(-2 ln u0)·sin(2π u1). Nothing is beyond 8.6 deviations.
pub(crate) fn normals(stream: &Stream, start: u64, len: usize) -> Vec<f32> {
    let mut out = vec![0.0; len];
    parallel::for_each_chunk(&mut out, CHUNK, |index, chunk| {
        fill(stream, start + (index * CHUNK) as u64, chunk);
    });
    out
}

fn fill(stream: &Stream, start: u64, out: &mut [f32]) {
    let mut at = start;
    let mut rest = out;
    while !rest.is_empty() {
        // The largest matrix under the caps, 64 projections of 2^21 rows, has 2^25 blocks.
        let block = four(stream.block((at / PER_BLOCK) as u32));
        let skip = (at % PER_BLOCK) as usize;
        let take = rest.len().min(block.len() - skip);
        let (now, later) = rest.split_at_mut(take);
        now.copy_from_slice(&block[skip..skip + take]);
        at += take as u64;
        rest = later;
    }
}

fn four([a, b, c, d]: [u64; 4]) -> [f32; 4] {
    let ([a, b], [c, d]) = (pair(a, b), pair(c, d));
    [a, b, c, d]
}

fn pair(first: u64, second: u64) -> [f32; 2] {
    const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
    let radius = libm::sqrt(-2.0 * libm::log(((first >> 11) + 1) as f64 * UNIT));
    let angle = TAU * ((second >> 11) as f64 * UNIT);
    [
        (radius * libm::cos(angle)) as f32,
        (radius * libm::sin(angle)) as f32,
    ]
}

/// `count` distinct numbers below `n`, ascending; all of them if there are no more.
///
/// Words in order, each modulo n; those beyond the last multiple of n below 2^64 are passed over, so every number is as likely, and
/// so are those that were drawn before.
pub(crate) fn choose(stream: &Stream, n: usize, count: usize) -> Vec<u32> {
    if count >= n {
        return (0..n as u32).collect();
    }
    let n = n as u64;
    let usable = u64::MAX - (u64::MAX % n + 1) % n;
    let mut chosen: Vec<u32> = Vec::with_capacity(count);
    let words = (0..u32::MAX).flat_map(|block| stream.block(block));
    for word in words.filter(|word| *word <= usable) {
        let row = (word % n) as u32;
        if let Err(at) = chosen.binary_search(&row) {
            chosen.insert(at, row);
        }
        if chosen.len() == count {
            break;
        }
    }
    chosen
}

#[cfg(test)]
#[path = "normals_tests.rs"]
mod tests;
