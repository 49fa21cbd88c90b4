//! One layer's opened integer sums, each held against its derived input over a prime field: the exact tier.
//!
//! What is rejected here is wrong, whatever the device: no tolerance, no calibration. What is accepted is right but for a chance of 1/p
//! a row, and a hidden state must be the very bits that follow from the one before.

use assay_engine::Monitor;
use assay_engine::audit::{Inputs, IntegerAuditor, IntegerLayer, IntegerProbe, IntegerRows};
use assay_key::exact::Fault;
use assay_key::{IntegerCheck, IntegerKey, Part, VerifierKey};
use assay_model::{FIXED_COLUMNS, LayerRole, f16_units};
use assay_trace::{Linear, Trace};

use super::layer::{NAMES, Stop, in_range};
use crate::report::{Check, Where};

/// Rows that are derived and checked at a time: a cancel is heard of between them.
const CHUNK: usize = 128;

/// What the exact tier came to over all audited layers.
#[derive(Debug, Clone, Default)]
pub(super) struct Integers {
    /// Rows of sums checked, of all products.
    pub rows: [usize; 7],
    /// p of the field that they were checked over, about; 0 before there were any.
    order: f64,
    /// The first that is wrong: nothing after it was looked at.
    pub fault: Option<Wrong>,
    /// The first hidden state that does not follow: layer before it, and position.
    pub transition: Option<(u32, usize)>,
}

/// Sums that are not those of the derived input.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wrong {
    pub layer: u32,
    pub product: usize,
    pub position: usize,
    /// `exact-range` or `exact-product`.
    pub code: &'static str,
}

/// Why a layer ends early.
enum End {
    Wrong(Wrong),
    Stop(Stop),
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl Integers {
    /// Chance that something wrong passed, in whichever of the rows: 1/p for each, at most.
    pub fn false_accept(&self) -> f64 {
        match self.rows.iter().sum::<usize>() {
            0 => 0.0,
            rows => rows as f64 / self.order,
        }
    }

    /// Audits `layers`, which trace and key both have; stops at the first fault.
    pub async fn of_layers(
        trace: &Trace<'_>,
        key: &VerifierKey,
        layers: &[u32],
        monitor: &mut dyn Monitor,
    ) -> Result<Self, Stop> {
        let mut found = Self::default();
        for layer in layers {
            match found.layer(trace, key, *layer, monitor).await {
                Ok(()) => {}
                Err(End::Wrong(wrong)) => {
                    found.fault = Some(wrong);
                    break;
                }
                Err(End::Stop(stop)) => return Err(stop),
            }
        }
        Ok(found)
    }

    async fn layer(
        &mut self,
        trace: &Trace<'_>,
        key: &VerifierKey,
        layer: u32,
        monitor: &mut dyn Monitor,
    ) -> Result<(), End> {
        let config = key.config();
        let held: Vec<IntegerKey> = LayerRole::LINEARS
            .iter()
            .filter_map(|role| key.integers(Part::Layer(layer, *role)))
            .collect();
        let held: [IntegerKey; 7] = held.try_into().map_err(|_| Stop::Missing("a matrix"))?;
        let biases = LayerRole::LINEARS.map(|role| key.bias(layer, role));
        let (Some(attn_norm), Some(mlp_norm)) = (key.attn_norm(layer), key.mlp_norm(layer)) else {
            return Err(Stop::Missing("a norm").into());
        };
        let probe = IntegerLayer {
            attn_norm: &attn_norm,
            mlp_norm: &mlp_norm,
            products: std::array::from_fn(|i| IntegerProbe {
                n: held[i].check.n(),
                k: held[i].check.k(),
                scales: held[i].scales.as_deref(),
                bias: biases[i].as_deref(),
            }),
        };
        let positions = trace.positions();
        let mut auditor = IntegerAuditor::new(config, positions).map_err(Stop::from)?;
        for from in (0..positions).step_by(CHUNK) {
            monitor.alive().map_err(Stop::from)?;
            monitor.breathe().await;
            let rows = rows_of(trace, layer, from, positions.min(from + CHUNK))?;
            let mut judge = |i: usize, x: &Inputs, z: &[i64]| -> Result<(), End> {
                let check = &held[i].check;
                // Sums that passed lead to numbers; beyond what f32 holds no model goes, and no twin fails.
                if let Some(row) = first_without_number(x, check.k()) {
                    let position = from + row;
                    return Err(Stop::Range { position }.into());
                }
                check_rows(check, x, z).map_err(|fault| {
                    End::Wrong(Wrong {
                        layer,
                        product: i,
                        position: from + fault.row.unwrap_or_default(),
                        code: fault.code,
                    })
                })?;
                self.rows[i] += z.len() / check.n().max(1);
                self.order = check.order();
                Ok(())
            };
            let after = auditor.layer(&probe, from, &rows, &mut judge)?;
            for (row, derived) in after.chunks_exact(config.hidden).enumerate() {
                let position = from + row;
                let committed = trace
                    .state_row(layer + 1, position)
                    .ok_or(Stop::Missing("an opened row"))?;
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                if bits(&committed) != bits(derived) && self.transition.is_none() {
                    self.transition = Some((layer, position));
                }
            }
        }
        Ok(())
    }

    /// The check of linear layers, as far as it is about integers.
    pub fn linear_check(&self) -> Check {
        const ID: &str = "linear-layers";
        if let Some(Wrong {
            layer,
            product,
            position,
            code,
        }) = self.fault
        {
            let name = NAMES[product];
            let what = match code {
                "exact-range" => "a sum is larger than the integers can make it",
                _ => "the integer sums are not the product of the derived input (exact)",
            };
            let place = Where {
                layer: Some(layer),
                position: Some(position),
                ..Where::default()
            };
            let detail = format!("{name} of layer {layer} at position {position}: {what}");
            return Check::fail(ID, code, detail).at(place);
        }
        let rows: usize = self.rows.iter().sum();
        if rows == 0 {
            return Check::fail(ID, "nothing-checked", "no row was checked");
        }
        let detail = format!(
            "{rows} rows of integer sums are the products of derived inputs, exactly; something wrong passes with a chance of {:.1e} at most",
            self.false_accept()
        );
        Check::pass(ID, detail).numbers(0.0, 0.0)
    }

    /// The check that each layer leads from one state to the next.
    pub fn transition_check(&self) -> Check {
        const ID: &str = "layer-transition";
        if let Some((layer, position)) = self.transition {
            let place = Where {
                layer: Some(layer + 1),
                position: Some(position),
                ..Where::default()
            };
            let detail = format!(
                "hidden state {} at position {position} is not, bit for bit, what follows from the one before and the layer's sums",
                layer + 1
            );
            return Check::fail(ID, "layer-transition", detail).at(place);
        }
        if self.fault.is_some() {
            return Check::skipped(ID, "not run: sums of a layer are wrong");
        }
        Check::pass(
            ID,
            "each audited layer leads from one committed state to the next, bit for bit",
        )
        .numbers(0.0, 0.0)
    }
}

/// The first row of an input that has a number which is none.
fn first_without_number(x: &Inputs, k: usize) -> Option<usize> {
    match x {
        Inputs::Rows(x) => x.scales.iter().position(|scale| !scale.is_finite()),
        Inputs::Blocks(x) => {
            let block = x
                .scales
                .iter()
                .position(|bits| f16_units(*bits).is_none())?;
            Some(block / (k / FIXED_COLUMNS).max(1))
        }
    }
}

fn check_rows(check: &IntegerCheck, x: &Inputs, z: &[i64]) -> Result<(), Fault> {
    match (check, x) {
        (IntegerCheck::Scaled(key), Inputs::Rows(x)) => key.check_rows(&x.values, z),
        (IntegerCheck::Fixed(key), Inputs::Blocks(x)) => {
            key.check_rows(&x.units().unwrap_or_default(), z)
        }
        // Which kind inputs are follows from the key itself.
        _ => Err(Fault {
            code: "exact-product",
            row: None,
        }),
    }
}

fn rows_of(trace: &Trace<'_>, layer: u32, from: usize, to: usize) -> Result<IntegerRows, Stop> {
    let mut rows = IntegerRows::default();
    for position in from..to {
        let state = trace
            .state_row(layer, position)
            .ok_or(Stop::Missing("an opened row"))?;
        in_range(&state, position)?;
        rows.before.extend(state);
        for (to, linear) in rows.sums.iter_mut().zip(Linear::ALL) {
            let sums = trace
                .linear_sums(layer, linear, position)
                .ok_or(Stop::Missing("an opened row"))?;
            to.extend(sums);
        }
    }
    Ok(rows)
}
