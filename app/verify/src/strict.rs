//! Strict traces: every committed digest by equality, and a name for the first that differs.
//!
//! Strict numerics give the same bits on every device, so here nothing is a matter of distance. The verifier makes each position's leaf
//! anew from its own run; where it is not the trace's, the leaf is taken apart, and the first digest inside that differs is the place.
//! Everything before it is equal, so one layer, run again at one position, tells what was done otherwise, as far as the trace shows it.

use assay_engine::forward::{LayerRun, LayerTwin};
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
    manifest.numerics.class == NumericsClass::Strict && manifest.numerics.compute == Compute::F32
}

/// The check of a trace that promises no bits.
pub(crate) fn not_claimed() -> Check {
    Check::skipped(ID, "not needed: the trace does not claim strict numerics")
}

/// The check where this device cannot keep the promise, since `kernel` has other bits than its twin here.
pub(crate) fn not_here(kernel: &str) -> Check {
    Check::skipped(
        ID,
        format!("not possible: kernel `{kernel}` is not bit-exact on this device"),
    )
}

/// The first digest that differs, in the order of a forward pass within the first position that does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Difference {
    position: usize,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// Hidden state `state`, with the verifier's own digest.
    State {
        state: u32,
        own: Digest,
    },
    /// The linear outputs of layer `layer`, with the verifier's own digest of the hidden state after it.
    Linears {
        layer: u32,
        own: Digest,
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
            let linears: Vec<Digest> = outputs
                .linears
                .iter()
                .map(|layer| self.digest_of_linears(layer, row, outputs.rows))
                .collect();
            let logits = position
                .checked_sub(outputs.logits_pos0)
                .and_then(|i| outputs.logits.get(i * vocab..(i + 1) * vocab));
            self.add_position(position, &states, &linears, logits);
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

    fn add_position(
        &mut self,
        position: usize,
        states: &[Digest],
        linears: &[Digest],
        logits: Option<&[f32]>,
    ) {
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
        if self.first.is_none() && self.leaves.get(position) != Some(&own) {
            let what = self.first_inside(position, states, linears, logits, next);
            self.first = what.map(|what| Difference { position, what });
        }
        self.own.push(own);
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
                return Some(What::Linears { layer, own });
            }
            if self.trace.state_digest(state, position) != own {
                return Some(What::State { state, own });
            }
        }
        let (own, digest) = logits?;
        if self.trace.logits_digest(position) != Some(digest) {
            return Some(What::Logits);
        }
        let got = next?;
        (got != own).then_some(What::Token { got, own })
    }

    /// The verdict on the bits. `engine` is the one that ran, over the same tokens.
    ///
    /// # Errors
    /// Of the device; also when it disagrees with the CPU twins about the layer in question: then nothing it says counts.
    pub async fn finish(
        self,
        model: &Model,
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<Check, VerifyError> {
        let positions = self.trace.positions();
        if self.own.len() != positions || positions == 0 {
            return Ok(Check::fail(ID, "nothing-checked", "no position was run"));
        }
        let differing = self.own.iter().zip(&self.leaves);
        let differing = differing.filter(|(own, leaf)| own != leaf).count();
        let Some(first) = self.first else {
            let root = merkle::root(&self.own);
            if differing > 0 || root != Some(self.trace.manifest().root) {
                let detail = "the verifier's own Merkle root is another one";
                return Ok(Check::fail(ID, "merkle-root", detail).numbers(differing as f64, 0.0));
            }
            let detail = format!(
                "all {} committed digests and the root are the verifier's own, bit for bit: nothing is left to a tolerance",
                self.digests
            );
            return Ok(Check::pass(ID, detail).numbers(0.0, 0.0));
        };
        let Found { code, step, detail } = self.explain(first, model, engine, monitor).await?;
        let Difference { position, what } = first;
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
            "{differing} of {positions} leaves are not the verifier's own; the first difference is at position {position}{at} step {step}: {detail}"
        );
        let place = Where {
            layer,
            position: Some(position),
            token,
            step: Some(step),
            ..Where::default()
        };
        Ok(Check::fail(ID, code, detail)
            .numbers(differing as f64, 0.0)
            .at(place))
    }

    async fn explain(
        &self,
        first: Difference,
        model: &Model,
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<Found, VerifyError> {
        let Difference { position, what } = first;
        let (state, own) = match what {
            What::State { state: 0, .. } => {
                let detail = "the row is not the token's embedding";
                return Ok(Found::state("embedding", detail));
            }
            What::State { state, own } => (state, own),
            What::Linears { layer, own } => (layer + 1, own),
            What::Logits => {
                return Ok(Found {
                    code: "strict-logits",
                    step: "logits",
                    detail: "every hidden state is the verifier's own, the logits are not: the final norm or the last product was another".to_owned(),
                });
            }
            What::Token { got, own } => {
                return Ok(Found {
                    code: "strict-token",
                    step: "token",
                    detail: format!(
                        "all numbers are the verifier's own, and from them the sampler draws token {own}, not {got}"
                    ),
                });
            }
        };
        if engine.sparse().is_some() {
            return Ok(Found::state("layer", "everything before it is equal"));
        }
        let before = self.before(state - 1, position, engine, monitor).await?;
        let mut twin = LayerTwin::load(model, state as usize - 1, position + 1)?;
        let run = twin.run_last(&before)?;
        if self.encoded(&run.after) != own {
            return Err(EngineError::Device(format!(
                "layer {} has other bits at position {position} on this device than by the CPU twins: its strict numerics are broken",
                state - 1
            ))
            .into());
        }
        Ok(self.compare(position, state, what, &before, &run))
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
    ) -> Found {
        let layer = state - 1;
        let rows = run
            .linears
            .as_ref()
            .filter(|_| self.trace.linears().is_some());
        let open = rows.into_iter().flatten().zip(Linear::ALL);
        let mut is_open = false;
        for (own, linear) in open {
            let Some(got) = self.trace.raw_linear_row(layer, linear, position) else {
                continue;
            };
            is_open = true;
            if got != self.dtype.encode(own) {
                return Found {
                    code: "strict-linear",
                    step: linear.name(),
                    detail: format!(
                        "everything before it is equal, so it is {}",
                        between(linear)
                    ),
                };
            }
        }
        let are_products_equal = is_open || (rows.is_some() && matches!(what, What::State { .. }));
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
            return Found {
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
        Found::state(step, &detail)
    }
}

/// What the first difference is called.
struct Found {
    code: &'static str,
    step: &'static str,
    detail: String,
}

impl Found {
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

fn bytes_of(digests: &[Digest]) -> Vec<u8> {
    digests.iter().flat_map(|digest| digest.0).collect()
}
