//! Hidden state 0 against the tokens, without the embedding: a key holds a secret sketch of every row.
//!
//! For a row e and secret standard normals G, the sketch is e G. A hidden state h that is e, rounded to the stored type, has
//! |h G - e G| <= u |h| |G|, and no other h is known to have: whoever does not know G hits the sketch by chance only.

use assay_engine::Rounding;
use assay_key::VerifierKey;
use assay_trace::{StateDtype, Trace};

use super::stream::Worst;

/// The worst position; `None` if hidden state 0 is not open.
pub(super) fn worst(trace: &Trace<'_>, key: &VerifierKey) -> Option<Worst> {
    let states = trace.states(0)?;
    let hidden = key.config().hidden;
    let projection = key.embedding_projection();
    let rounding = match trace.manifest().state_dtype {
        StateDtype::F32 => Rounding::Keep,
        StateDtype::F16 => Rounding::F16,
        StateDtype::Bf16 => Rounding::Bf16,
    };
    // The stored type, the sketch's own f32, and what subnormals of f16 lose.
    let (unit, tiny) = (rounding.unit(), 0.5f64.powi(25));
    let mut worst = Worst::default();
    for (position, (state, token)) in states.chunks_exact(hidden).zip(trace.tokens()).enumerate() {
        let Some(sketch) = key.embedding_row_sketch(*token) else {
            worst.merge(Worst {
                over: f64::INFINITY,
                position,
            });
            continue;
        };
        for (want, g) in sketch.iter().zip(projection.chunks_exact(hidden)) {
            let (mut got, mut magnitude, mut weight) = (0.0f64, 0.0f64, 0.0f64);
            for (h, g) in state.iter().zip(g) {
                let term = f64::from(*h) * f64::from(*g);
                got += term;
                magnitude += term.abs();
                weight += f64::from(g.abs());
            }
            let want = f64::from(*want);
            let limit = 1.01 * (unit * magnitude + Rounding::Keep.unit() * want.abs())
                + 1e-12 * magnitude
                + tiny * weight;
            worst.merge(Worst {
                over: (got - want).abs() / limit.max(f64::MIN_POSITIVE),
                position,
            });
        }
    }
    Some(worst)
}
