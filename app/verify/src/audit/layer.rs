//! One layer's opened outputs: handed to the auditor chunk by chunk, and judged.

use assay_engine::audit::{Auditor, HeadProbe, LayerProbe, LayerSeen, OwnedRows, Probe};
use assay_engine::{EngineError, Monitor, Rounding};
use assay_key::{Part, ProductKey, VerifierKey};
use assay_model::{LayerRole, ModelConfig};
use assay_trace::{Linear, Trace};

use super::attention::AttentionError;
use super::bounds::{self, Bound};
use super::energy::Energy;
use super::stream::{Honest, Product, StreamJudge, Tally, Worst};

/// Names of the seven products' streams, as verified_llm has them.
pub(super) const NAMES: [&str; 7] = ["Q", "K", "V", "O", "gate", "up", "down"];

/// Largest magnitude that an opened value may have. Trained models stay below 2^17 in their residual stream; far beyond that, sums of
/// squares overflow f32, and a device's infinities must never be a prover's doing.
pub(super) const LARGEST: f32 = (1u32 << 20) as f32;

/// What an audit of one layer came to.
pub(super) struct LayerTally {
    pub products: [Tally; 7],
    /// The committed hidden state after the layer against the derived one.
    pub transition: Worst,
}

/// Why a layer was not judged to its end.
#[derive(Debug)]
pub(super) enum Stop {
    /// The verifier's own trouble.
    Engine(EngineError),
    /// An opened value that no model has.
    Range { position: usize },
    /// The key or the trace does not have what the other names; refused earlier.
    Missing(&'static str),
}

impl From<EngineError> for Stop {
    fn from(err: EngineError) -> Self {
        Self::Engine(err)
    }
}

/// Tests of a run, and what honest looks like.
pub(super) struct Tests<'a> {
    pub rounding: Rounding,
    pub row: &'a Energy,
    pub pooled: &'a Energy,
    pub honest: &'a dyn Fn(&str, usize) -> Option<Honest>,
}

/// A product as the key has it, decoded, with what follows from it.
pub(super) struct Held {
    pub key: ProductKey,
    /// R, [projections, n].
    on_y: Vec<f32>,
    /// The projections of the weights, then the sampled rows, [projections + sampled, k].
    on_x: Vec<f32>,
    /// The bound, then the sampled rows' magnitudes, [1 + sampled, k].
    on_magnitude: Vec<f32>,
    /// max_j |R\[j, o\]|, [n].
    largest: Vec<f32>,
    pub bias: Option<Vec<f32>>,
}

impl Held {
    pub fn of(key: &VerifierKey, part: Part, bias: Option<Vec<f32>>) -> Option<Self> {
        let product = key.product(part)?;
        let on_y = key.projection(part)?;
        let mut largest = vec![0.0f32; product.n];
        for row in on_y.chunks_exact(product.n) {
            for (most, r) in largest.iter_mut().zip(row) {
                *most = most.max(r.abs());
            }
        }
        let on_x = [&product.projected[..], &product.rows[..]].concat();
        let magnitudes = product.rows.iter().map(|w| w.abs());
        let on_magnitude = product.bound.iter().copied().chain(magnitudes).collect();
        Some(Self {
            on_y,
            on_x,
            on_magnitude,
            largest,
            bias,
            key: product,
        })
    }

    pub fn probe(&self) -> Probe<'_> {
        Probe {
            n: self.key.n,
            k: self.key.k,
            on_y: &self.on_y,
            on_x: &self.on_x,
            on_magnitude: &self.on_magnitude,
            bias: self.bias.as_deref(),
        }
    }

    pub fn judge<'a>(&'a self, name: &str, input: f64, tests: &Tests<'a>) -> StreamJudge<'a> {
        let product = Product {
            n: self.key.n,
            k: self.key.k,
            row_ids: &self.key.row_ids,
            frobenius: self.key.frobenius,
            largest: &self.largest,
            bound: Bound::new(self.key.k, self.key.n, tests.rounding, input),
        };
        let honest = (tests.honest)(name, self.key.k);
        StreamJudge::new(product, honest, tests.row, tests.pooled)
    }
}

/// Audits `layer`, which trace and key both have.
pub(super) async fn audit(
    auditor: &mut Auditor,
    trace: &Trace<'_>,
    key: &VerifierKey,
    layer: u32,
    tests: &Tests<'_>,
    monitor: &mut dyn Monitor,
) -> Result<LayerTally, Stop> {
    let config = key.config();
    let held: Vec<Held> = LayerRole::LINEARS
        .iter()
        .filter_map(|role| Held::of(key, Part::Layer(layer, *role), key.bias(layer, *role)))
        .collect();
    let held: [Held; 7] = held.try_into().map_err(|_| Stop::Missing("a matrix"))?;
    let (Some(attn_norm), Some(mlp_norm)) = (key.attn_norm(layer), key.mlp_norm(layer)) else {
        return Err(Stop::Missing("a norm"));
    };
    let probe = LayerProbe {
        attn_norm: &attn_norm,
        mlp_norm: &mlp_norm,
        products: std::array::from_fn(|i| held[i].probe()),
    };
    let rounding = tests.rounding;
    let inputs = input_errors(config, rounding);
    let mut judges: [StreamJudge<'_>; 7] =
        std::array::from_fn(|i| held[i].judge(NAMES[i], inputs[i], tests));
    let mut attention = attention_error(config, rounding, &held[3]);
    let mut transition = Worst::default();
    let chunk = std::cell::RefCell::new(OwnedRows::default());
    let give = |from: usize, to: usize| -> Result<OwnedRows, Stop> {
        let rows = rows_of(trace, layer, from, to)?;
        chunk.replace(rows.clone());
        Ok(rows)
    };
    let sink = |from: usize, seen: LayerSeen| -> Result<(), Stop> {
        let rows = chunk.borrow();
        let [q, k, v] = [0, 1, 2].map(|i| with_bias(&rows.outputs[i], held[i].bias.as_deref()));
        let input = attention.add(from, &q, &k, &v);
        for (i, judge) in judges.iter_mut().enumerate() {
            let input = (i == 3).then_some(&input);
            judge.add(from, &seen.products[i], &rows.outputs[i], input);
        }
        let biases = [held[3].bias.as_deref(), held[6].bias.as_deref()];
        transition.merge(follows(
            trace,
            layer,
            from,
            config,
            &rows,
            &seen.after,
            biases,
            rounding,
        )?);
        Ok(())
    };
    auditor
        .layer(&probe, trace.positions(), monitor, give, sink)
        .await?;
    let mut judges = judges.into_iter();
    Ok(LayerTally {
        products: std::array::from_fn(|_| {
            judges.next().map(StreamJudge::finish).unwrap_or_default()
        }),
        transition,
    })
}

/// What an uncertain input of the output projection comes to.
pub(super) fn attention_error(
    config: &ModelConfig,
    rounding: Rounding,
    o: &Held,
) -> AttentionError {
    let mut rows = vec![&o.key.bound[..]];
    rows.extend(o.key.rows.chunks_exact(o.key.k));
    AttentionError::new(config, rounding, &rows)
}

/// How far each product's input may be off, as a part of its elements. Attention's error is no part of its output, and comes by row.
pub(super) fn input_errors(config: &ModelConfig, rounding: Rounding) -> [f64; 7] {
    let normed = bounds::of_norm(config.hidden, rounding);
    let gated = bounds::of_gated(rounding);
    [normed, normed, normed, 0.0, normed, normed, gated]
}

/// Audits the output projection at every position whose logits are open; `None` if none are.
pub(super) async fn head(
    auditor: &mut Auditor,
    trace: &Trace<'_>,
    key: &VerifierKey,
    tests: &Tests<'_>,
    monitor: &mut dyn Monitor,
) -> Result<Option<Tally>, Stop> {
    let open = trace.linears().map_or(&[][..], |claim| &claim.logits);
    if open.is_empty() {
        return Ok(None);
    }
    let held = Held::of(key, Part::Head, None).ok_or(Stop::Missing("the output projection"))?;
    let norm = key.final_norm();
    let probe = HeadProbe {
        norm: &norm,
        product: held.probe(),
    };
    let config = key.config();
    let normed = bounds::of_norm(config.hidden, tests.rounding);
    let mut judge = held.judge("logits", normed, tests);
    let last = config.layers as u32;
    let first = trace.prompt().len() - 1;
    for (at, indices) in (0..)
        .step_by(auditor.chunk())
        .zip(open.chunks(auditor.chunk()))
    {
        let (mut hidden, mut logits) = (Vec::new(), Vec::new());
        for (i, output) in indices.iter().enumerate() {
            let position = first + *output as usize;
            let state = trace.state_row(last, position);
            let row = trace.logits_row(at + i);
            let (Some(state), Some(row)) = (state, row) else {
                return Err(Stop::Missing("an opened row"));
            };
            in_range(&state, position)?;
            in_range(&row, position)?;
            hidden.extend(state);
            logits.extend(row);
        }
        let seen = auditor.head(&probe, &hidden, &logits, monitor).await?;
        judge.add(at, &seen, &logits, None);
    }
    Ok(Some(judge.finish()))
}

fn rows_of(trace: &Trace<'_>, layer: u32, from: usize, to: usize) -> Result<OwnedRows, Stop> {
    let mut rows = OwnedRows::default();
    for position in from..to {
        let state = trace
            .state_row(layer, position)
            .ok_or(Stop::Missing("an opened row"))?;
        in_range(&state, position)?;
        rows.before.extend(state);
        for (to, linear) in rows.outputs.iter_mut().zip(Linear::ALL) {
            let row = trace
                .linear_row(layer, linear, position)
                .ok_or(Stop::Missing("an opened row"))?;
            in_range(&row, position)?;
            to.extend(row);
        }
    }
    Ok(rows)
}

pub(super) fn in_range(values: &[f32], position: usize) -> Result<(), Stop> {
    if values.iter().all(|v| v.abs() <= LARGEST) {
        Ok(())
    } else {
        Err(Stop::Range { position })
    }
}

pub(super) fn with_bias(y: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    match bias {
        None => y.to_vec(),
        Some(bias) => y
            .chunks_exact(bias.len())
            .flat_map(|row| row.iter().zip(bias).map(|(y, b)| y + b))
            .collect(),
    }
}

/// The committed hidden state after the layer against the derived one, element by element.
fn follows(
    trace: &Trace<'_>,
    layer: u32,
    from: usize,
    config: &ModelConfig,
    rows: &OwnedRows,
    after: &[f32],
    biases: [Option<&[f32]>; 2],
    rounding: Rounding,
) -> Result<Worst, Stop> {
    let hidden = config.hidden;
    let mut worst = Worst::default();
    for (row, derived) in after.chunks_exact(hidden).enumerate() {
        let position = from + row;
        let committed = trace
            .state_row(layer + 1, position)
            .ok_or(Stop::Missing("an opened row"))?;
        let at = row * hidden;
        for (c, (got, want)) in committed.iter().zip(derived).enumerate() {
            let biased = |y: f32, bias: Option<&[f32]>| {
                let b = bias.map_or(0.0, |bias| f64::from(bias[c]));
                let sum = f64::from(y) + b;
                // Without a bias there is no sum that could be rounded.
                (sum, if bias.is_some() { sum.abs() } else { 0.0 })
            };
            let (o, o_sum) = biased(rows.outputs[3][at + c], biases[0]);
            let (_, down_sum) = biased(rows.outputs[6][at + c], biases[1]);
            let mid = f64::from(rows.before[at + c]) + o;
            let sums = mid.abs() + f64::from(want.abs()) + o_sum + down_sum;
            let limit = bounds::of_sums(sums, rounding);
            let off = (f64::from(*got) - f64::from(*want)).abs();
            worst.merge(Worst {
                over: off / limit,
                position,
            });
        }
    }
    Ok(worst)
}
