//! Strict traces: every committed digest by equality, and a name for the first that differs.
//!
//! Strict numerics give the same bits on every device, so here nothing is a matter of distance. The verifier makes each position's leaf
//! anew from its own run; where it is not the trace's, the leaf is taken apart, and the first digest inside that differs is the place.
//! Everything before it is equal, so one layer, run again at one position, tells what was done otherwise, as far as the trace shows it.

use assay_engine::forward::{LayerRun, LayerTwin, logits_by_twin};
use assay_engine::sampler::{SamplerSpec, sample};
use assay_engine::{Engine, EngineError, Monitor, Outputs, Want};
use assay_model::Model;
use assay_trace::{
    Compute, Digest, Leaf, Linear, Manifest, NumericsClass, StateDtype, Trace, merkle,
};

use crate::report::{Check, Where};
use crate::verify::VerifyError;

const ID: &str = "strict";

/// Whether a trace promises bits that this verifier can have, too.
pub(crate) fn is_claimed(manifest: &Manifest) -> bool {
    let claimed = match manifest.numerics.class {
        NumericsClass::Strict => true,
        // Only of products of integers does the word mean anything.
        NumericsClass::Exact => manifest.has_sums(),
        NumericsClass::Fast => false,
    };
    claimed && manifest.numerics.compute == Compute::F32
}

/// The check of a trace that promises no bits.
pub(crate) fn not_claimed() -> Check {
    Check::skipped(ID, "not needed: the trace does not claim strict numerics")
}

/// The check where this device cannot keep the promise, since `what` has other bits here than by the CPU twins.
pub(crate) fn not_here(what: &str) -> Check {
    Check::skipped(
        ID,
        format!("not possible: {what} is not bit-exact on this device"),
    )
}

/// How far a device may be from the CPU twins (relative L2, of a row) and still only be inexact. Fused sums make 1e-7 to 1e-6; what is
/// beyond this is no arithmetic of its own, but a fault.
const INEXACT: f64 = 1e-4;

/// What came of a look at the bits.
pub(crate) enum Found {
    /// The check.
    Judged(Check),
    /// The device, not the trace, is what differs: this is where.
    NotHere(String),
}

/// The first digest that differs, in the order of a forward pass within the first position that does.
#[derive(Debug, Clone, PartialEq)]
struct Difference {
    position: usize,
    what: What,
    /// The verifier's own values there: of a hidden state (with linear outputs: that after them), or logits.
    own: Vec<f32>,
    /// The verifier's own last hidden state there.
    last: Vec<f32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Hidden state `state`.
    State {
        state: u32,
    },
    /// The linear outputs of layer `layer`.
    Linears {
        layer: u32,
    },
    Logits,
    /// The token after the position.
    Token {
        got: u32,
        own: u32,
    },
}

/// Holds a strict trace against the verifier's own run, chunk by chunk.
#[derive(Debug)]
pub(crate) struct StrictCheck<'t> {
    trace: &'t Trace<'t>,
    spec: SamplerSpec,
    dtype: StateDtype,
    /// Bytes of an integer sum, where linear outputs are such.
    sum_bytes: usize,
    /// The trace's leaves, and the verifier's own so far.
    leaves: Vec<Digest>,
    own: Vec<Digest>,
    digests: usize,
    first: Option<Difference>,
}

impl<'t> StrictCheck<'t> {
    /// Starts.
    pub fn new(trace: &'t Trace<'t>) -> Self {
        Self {
            trace,
            spec: crate::claims::sampler_spec(&trace.manifest().sampler),
            dtype: trace.manifest().state_dtype,
            sum_bytes: trace.manifest().linear_bytes(),
            leaves: trace.leaves(),
            own: Vec::new(),
            digests: 0,
            first: None,
        }
    }

    /// Adds the verifier's own outputs of some positions: all hidden states, logits from the prompt's last position on, and linear
    /// outputs of all layers where the trace commits to them.
    pub fn add(&mut self, outputs: &Outputs, hidden: usize, vocab: usize) {
        for row in 0..outputs.rows {
            let position = outputs.pos0 + row;
            let states = outputs.states.iter().map(|s| self.digest(s, row, hidden));
            let states: Vec<Digest> = states.collect();
            let values = (outputs.linears.iter())
                .map(|layer| self.digest_of_linears(layer, row, outputs.rows));
            let sums = (outputs.sums.iter())
                .map(|layer| digest_of_sums(layer, row, outputs.rows, self.sum_bytes));
            let linears: Vec<Digest> = values.chain(sums).collect();
            let logits = position
                .checked_sub(outputs.logits_pos0)
                .and_then(|i| outputs.logits.get(i * vocab..(i + 1) * vocab));
            let Some(what) = self.add_position(position, &states, &linears, logits) else {
                continue;
            };
            let of = |state: usize| {
                let values = outputs.states.get(state).map(Vec::as_slice);
                let row = values.and_then(|v| v.get(row * hidden..(row + 1) * hidden));
                row.unwrap_or_default().to_vec()
            };
            let own = match what {
                What::State { state } => of(state as usize),
                What::Linears { layer } => of(layer as usize + 1),
                What::Logits | What::Token { .. } => logits.unwrap_or_default().to_vec(),
            };
            self.first = Some(Difference {
                position,
                what,
                own,
                last: of(outputs.states.len().saturating_sub(1)),
            });
        }
    }

    fn digest(&self, values: &[f32], row: usize, width: usize) -> Digest {
        let row = values.get(row * width..(row + 1) * width);
        Digest::of(&self.dtype.encode(row.unwrap_or_default()))
    }

    fn digest_of_linears(&self, layer: &[Vec<f32>; 7], row: usize, rows: usize) -> Digest {
        let mut bytes = Vec::new();
        for values in layer {
            let width = values.len() / rows.max(1);
            let row = values.get(row * width..(row + 1) * width);
            bytes.extend(self.dtype.encode(row.unwrap_or_default()));
        }
        Digest::of(&bytes)
    }

    /// Gives what differs first, if this is the first position where anything does.
    fn add_position(
        &mut self,
        position: usize,
        states: &[Digest],
        linears: &[Digest],
        logits: Option<&[f32]>,
    ) -> Option<What> {
        let trace = self.trace;
        let next = trace.tokens().get(position + 1).copied();
        let logits = logits.map(|logits| {
            // Positions are below 2^20.
            let own = sample(&self.spec, logits, position as u32);
            let bytes: Vec<u8> = logits.iter().flat_map(|x| x.to_le_bytes()).collect();
            (own, Digest::of(&bytes))
        });
        // Without own linear outputs the trace's keep the leaf whole; the report says that they were not compared.
        let committed = || {
            let layers = 0..trace.manifest().model.layers;
            let digests = layers.map(|layer| trace.linear_digest(layer, position));
            bytes_of(&digests.collect::<Vec<_>>())
        };
        let linear_bytes = trace.linears().map(|_| match linears.is_empty() {
            true => committed(),
            false => bytes_of(linears),
        });
        let leaf = Leaf {
            position: position as u32,
            token: trace.tokens().get(position).copied().unwrap_or_default(),
            next: logits.map(|(own, _)| own),
            logits: logits.map(|(_, digest)| digest),
            states: &bytes_of(states),
            linears: linear_bytes.as_deref(),
            // The verifier ran with these masks; each bit is judged on its own.
            masks: trace.position_masks(position).map(Digest::of),
        };
        let own = merkle::leaf_hash(&leaf.preimage());
        self.digests += states.len() + linears.len() + usize::from(logits.is_some());
        self.own.push(own);
        if self.first.is_some() || self.leaves.get(position) == Some(&own) {
            return None;
        }
        self.first_inside(position, states, linears, logits, next)
    }

    /// The first part of a leaf that is not the verifier's own.
    fn first_inside(
        &self,
        position: usize,
        states: &[Digest],
        linears: &[Digest],
        logits: Option<(u32, Digest)>,
        next: Option<u32>,
    ) -> Option<What> {
        for (state, own) in (0u32..).zip(states.iter().copied()) {
            let before = state.checked_sub(1);
            let linear = before.and_then(|layer| Some((layer, linears.get(layer as usize)?)));
            if let Some((layer, linear)) = linear
                && self.trace.linear_digest(layer, position) != *linear
            {
                return Some(What::Linears { layer });
            }
            if self.trace.state_digest(state, position) != own {
                return Some(What::State { state });
            }
        }
        let (own, digest) = logits?;
        if self.trace.logits_digest(position) != Some(digest) {
            return Some(What::Logits);
        }
        let got = next?;
        (got != own).then_some(What::Token { got, own })
    }

    /// Whether something differs already.
    pub fn is_rejected(&self) -> bool {
        self.first.is_some()
    }

    /// The verdict on the bits. `engine` is the one that ran, over the same tokens.
    ///
    /// # Errors
    /// Of the device; also when it is far from the CPU twins at the place in question: then nothing it says counts.
    pub async fn finish(
        self,
        model: &Model,
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<Found, VerifyError> {
        let positions = self.trace.positions();
        let judged = |check| Ok(Found::Judged(check));
        // A difference counts as soon as it is seen; its absence needs every position.
        let is_whole = self.own.len() == positions;
        if positions == 0 || !is_whole && self.first.is_none() {
            return judged(Check::fail(ID, "nothing-checked", "no position was run"));
        }
        let differing = self.own.iter().zip(&self.leaves);
        let differing = differing.filter(|(own, leaf)| own != leaf).count();
        let Some(first) = &self.first else {
            let root = merkle::root(&self.own);
            if differing > 0 || root != Some(self.trace.manifest().root) {
                let detail = "the verifier's own Merkle root is another one";
                return judged(
                    Check::fail(ID, "merkle-root", detail).numbers(differing as f64, 0.0),
                );
            }
            let detail = format!(
                "all {} committed digests and the root are the verifier's own, bit for bit: nothing is left to a tolerance",
                self.digests
            );
            return judged(Check::pass(ID, detail).numbers(0.0, 0.0));
        };
        let Difference { position, what, .. } = *first;
        let named = self.explain(first, model, engine, monitor).await?;
        let Some(Named { code, step, detail }) = named else {
            return Ok(Found::NotHere(match what {
                What::State { state } => format!("layer {}", state.saturating_sub(1)),
                What::Linears { layer } => format!("layer {layer}"),
                What::Logits | What::Token { .. } => "the head".to_owned(),
            }));
        };
        let layer = match what {
            What::State { state, .. } => Some(state),
            What::Linears { layer, .. } => Some(layer + 1),
            What::Logits | What::Token { .. } => None,
        };
        let token = match what {
            What::Token { got, .. } => Some(got),
            _ => None,
        };
        let at = layer.map_or_else(String::new, |layer| format!(" layer {layer}"));
        let detail = format!(
            "{differing} of {} leaves are not the verifier's own; the first difference is at position {position}{at} step {step}: {detail}",
            self.own.len()
        );
        let place = Where {
            layer,
            position: Some(position),
            token,
            step: Some(step),
            ..Where::default()
        };
        judged(
            Check::fail(ID, code, detail)
                .numbers(differing as f64, 0.0)
                .at(place),
        )
    }

    /// A name for the difference; `None` if it is this device that differs from the CPU twins.
    async fn explain(
        &self,
        first: &Difference,
        model: &Model,
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<Option<Named>, VerifyError> {
        let Difference { position, what, .. } = *first;
        let state = match what {
            // A copy, which every device makes.
            What::State { state: 0 } => {
                let detail = "the row is not the token's embedding";
                return Ok(Some(Named::state("embedding", detail)));
            }
            What::State { state } => state,
            What::Linears { layer } => layer + 1,
            What::Logits => {
                let twin = logits_by_twin(model, engine.activations(), &first.last)?;
                let is_exact = is_exact_here(&first.own, &twin, "the head")?;
                return Ok(is_exact.then(|| Named {
                    code: "strict-logits",
                    step: "logits",
                    detail: "every hidden state is the verifier's own, the logits are not: the final norm or the last product was another".to_owned(),
                }));
            }
            What::Token { got, own } => {
                return Ok(Some(Named {
                    code: "strict-token",
                    step: "token",
                    detail: format!(
                        "all numbers are the verifier's own, and from them the sampler draws token {own}, not {got}"
                    ),
                }));
            }
        };
        if engine.sparse().is_some() {
            let detail = "everything before it is equal";
            return Ok(Some(Named::state("layer", detail)));
        }
        let before = self.before(state - 1, position, engine, monitor).await?;
        let mut twin = LayerTwin::load(
            model,
            state as usize - 1,
            position + 1,
            engine.activations(),
        )?;
        let run = twin.run_last(&before)?;
        let name = format!("layer {}", state - 1);
        let is_exact = is_exact_here(&first.own, &run.after, &name)?;
        Ok(is_exact.then(|| self.compare(position, state, what, &before, &run)))
    }

    /// The residual stream before a layer at all positions up to `position`: the trace's, where it is open and exact (its digests are
    /// the verifier's own up to there), else the verifier's, run again.
    async fn before(
        &self,
        state: u32,
        position: usize,
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<f32>, VerifyError> {
        let width = engine.config().hidden;
        if self.dtype == StateDtype::F32
            && let Some(mut rows) = self.trace.states(state)
            && rows.len() >= (position + 1) * width
        {
            rows.truncate((position + 1) * width);
            return Ok(rows);
        }
        engine.reset();
        let want = Want {
            states: vec![state as usize],
            ..Want::default()
        };
        let fed = self.trace.tokens().get(..=position).unwrap_or_default();
        let mut rows = Vec::new();
        let sink = |outputs: Outputs| -> Result<(), VerifyError> {
            rows.extend(outputs.states.into_iter().flatten());
            Ok(())
        };
        engine.prefill(fed, &want, monitor, sink).await?;
        Ok(rows)
    }

    fn encoded(&self, row: &[f32]) -> Digest {
        Digest::of(&self.dtype.encode(row))
    }

    /// What the layer that was run again says of the one that the trace holds.
    fn compare(
        &self,
        position: usize,
        state: u32,
        what: What,
        before: &[f32],
        run: &LayerRun,
    ) -> Named {
        let layer = state - 1;
        let values = run.linears.iter().flatten();
        let values = values.map(|row| self.dtype.encode(row));
        let sums = run.sums.iter().flatten();
        let sums = sums.map(|row| encoded_sums(row, self.sum_bytes));
        let rows: Vec<Vec<u8>> = match self.trace.linears() {
            Some(_) => values.chain(sums).collect(),
            None => Vec::new(),
        };
        let open = rows.iter().zip(Linear::ALL);
        let mut is_open = false;
        for (own, linear) in open {
            let Some(got) = self.trace.raw_linear_row(layer, linear, position) else {
                continue;
            };
            is_open = true;
            if got != own {
                return Named {
                    code: "strict-linear",
                    step: linear.name(),
                    detail: format!(
                        "everything before it is equal, so it is {}",
                        between(linear)
                    ),
                };
            }
        }
        let are_products_equal =
            is_open || (!rows.is_empty() && matches!(what, What::State { .. }));
        let got = self.trace.state_digest(state, position);
        let last = &before[before.len() - run.after.len()..];
        let (step, detail) = if are_products_equal {
            (
                "residual",
                "all products of the layer are equal, the sum of the residual stream with them is not",
            )
        } else if got == self.encoded(last) {
            ("layer", "the layer was left out")
        } else if got == self.encoded(&run.mid) {
            ("mlp", "the MLP was left out")
        } else if got == self.encoded(&run.without_attention) {
            ("attention", "attention was left out")
        } else if matches!(what, What::Linears { .. }) {
            return Named {
                code: "strict-linear",
                step: "layer",
                detail: "what its products put out differs, though what goes in is equal; none of that is open".to_owned(),
            };
        } else {
            ("layer", "what goes in is equal")
        };
        let mut detail = detail.to_owned();
        if let Some(row) = self.trace.state_row(state, position) {
            let own = self.dtype.decode(&self.dtype.encode(&run.after));
            let off = row.iter().zip(&own).map(|(a, b)| (a - b).abs());
            let largest = off.clone().fold(0.0_f32, f32::max);
            let scale = own.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
            let n = off.filter(|d| *d > 0.0).count();
            detail += &format!(
                "; {n} of {} numbers differ, by at most {:.1e} of the largest",
                row.len(),
                largest / scale
            );
        }
        Named::state(step, &detail)
    }
}

/// Whether the device's own row is the twins', bit for bit.
///
/// # Errors
/// If it is not even near.
fn is_exact_here(own: &[f32], twin: &[f32], what: &str) -> Result<bool, EngineError> {
    let bits = |v: &f32| v.to_bits();
    if own.iter().map(bits).eq(twin.iter().map(bits)) {
        return Ok(true);
    }
    let square = |v: f64| v * v;
    let off = own.iter().zip(twin);
    let off: f64 = off
        .map(|(a, b)| square(f64::from(*a) - f64::from(*b)))
        .sum();
    let norm: f64 = twin.iter().map(|v| square(f64::from(*v))).sum();
    if own.len() == twin.len() && (off / norm.max(f64::MIN_POSITIVE)).sqrt() <= INEXACT {
        return Ok(false);
    }
    Err(EngineError::Device(format!(
        "{what} comes out otherwise on this device than by the CPU twins"
    )))
}

/// What the first difference is called.
struct Named {
    code: &'static str,
    step: &'static str,
    detail: String,
}

impl Named {
    fn state(step: &'static str, detail: &str) -> Self {
        Self {
            code: "strict-state",
            step,
            detail: detail.to_owned(),
        }
    }
}

/// What lies between a product's output and whatever was compared before it.
fn between(linear: Linear) -> &'static str {
    match linear {
        Linear::Q => "the norm before attention, or this product",
        Linear::K | Linear::V | Linear::Up => "this product",
        Linear::O => "a bias, the rotation, attention, or this product",
        Linear::Gate => {
            "the sum with the residual stream, the norm before the MLP, or this product"
        }
        Linear::Down => "a bias, the activation, or this product",
    }
}

fn digest_of_sums(layer: &[Vec<i64>; 7], row: usize, rows: usize, bytes: usize) -> Digest {
    let of_row = |sums: &Vec<i64>| {
        let width = sums.len() / rows.max(1);
        let row = sums.get(row * width..(row + 1) * width);
        encoded_sums(row.unwrap_or_default(), bytes)
    };
    Digest::of(&layer.iter().flat_map(of_row).collect::<Vec<u8>>())
}

/// Sums as a trace stores and hashes them, in so many bytes each.
fn encoded_sums(sums: &[i64], bytes: usize) -> Vec<u8> {
    let encoded = sums.iter().map(|z| z.to_le_bytes());
    encoded
        .flat_map(|all| all.into_iter().take(bytes))
        .collect()
}

fn bytes_of(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| digest.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_exact_or_near_or_at_fault() {
        let twin = [1.0f32, -2.0, 3.0];
        let near = [1.0f32, -2.0, 3.0 + 3e-7];
        assert!(is_exact_here(&twin, &twin, "it").unwrap());
        assert!(!is_exact_here(&near, &twin, "it").unwrap());
        // A zero of the other sign is another number in bits.
        assert!(!is_exact_here(&[0.0, 1.0], &[-0.0, 1.0], "it").unwrap());
        for fault in [&[1.0, -2.0, 3.1][..], &[1.0, -2.0], &[f32::NAN, -2.0, 3.0]] {
            assert!(is_exact_here(fault, &twin, "it").is_err());
        }
    }
}
