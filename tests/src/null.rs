//! Openings that hold nothing of the model: what any test of linear outputs must refuse, whatever its tolerance.

use assay_trace::{EditableTrace, Trace};

/// The kinds of [`forged`].
pub const KINDS: [&str; 4] = ["zero", "random", "shuffled", "other_model"];

/// `honest` with every linear output (or integer sum) replaced: by zeros, by noise of the same size, by the row of the position before, or by those of
/// `other`, a trace of another model with the same shape and length.
pub fn forged(honest: &[u8], other: &[u8], kind: &str) -> Vec<u8> {
    let open = |bytes: &[u8]| EditableTrace::from_trace(&Trace::parse(bytes).expect("it parses"));
    let (mut trace, other) = (open(honest), open(other));
    let mut seed = 7u64;
    let mut noise = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let rows = trace.tokens.len() - 1;
    for (at, y) in &mut trace.linears {
        match kind {
            "zero" => y.fill(0.0),
            "random" => {
                let size = (y.iter().map(|x| x * x).sum::<f32>() / y.len() as f32).sqrt();
                // Uniform noise of deviation 1 / sqrt(3).
                y.iter_mut().for_each(|x| *x = noise() * size * 1.732);
            }
            "shuffled" => {
                let width = y.len() / rows;
                y.rotate_right(width);
            }
            _ => y.clone_from(&other.linears[at]),
        }
    }
    for (at, z) in &mut trace.sums {
        match kind {
            "zero" => z.fill(0),
            "random" => {
                let most = z.iter().map(|z| z.unsigned_abs()).max().unwrap_or(0) as f32;
                z.iter_mut().for_each(|z| *z = (noise() * most) as i64);
            }
            "shuffled" => {
                let width = z.len() / rows;
                z.rotate_right(width);
            }
            _ => z.clone_from(&other.sums[at]),
        }
    }
    trace.seal().expect("it seals")
}
