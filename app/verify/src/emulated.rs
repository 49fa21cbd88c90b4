//! How far honest rounding leads, measured on the spot: the yardstick for provers in half precision.
//!
//! A prover that keeps bf16 between operations is not near the verifier's f32 run, and how far it is depends on the model, its depth and
//! the text. No table of distances holds for models that were never measured. So the verifier runs the trace's tokens twice: once
//! rounding as such a prover does ([`Engine::keep`]), and once in f32. What lies between its own two runs, at one layer and one position,
//! is the unit in which the prover's distance is counted there. An honest prover is about one unit away, whatever the model;
//! weights of 4 bits, a skipped layer or another model are many.
//!
//! Nothing of the prover's enters either run.

use assay_engine::{Engine, EngineError, Monitor, Outputs, Rounding, Want};
use assay_trace::{StateDtype, Trace};
use half::{bf16, f16};

use crate::profile::Profile;
use crate::statistics;

/// A unit is at least this fraction of a row, in units of roundoff: a row that two roundings left alike says nothing of the next.
const LEAST_UNITS: f64 = 0.25;

/// The verifier's own run in the claimed precision, as far as it is compared.
#[derive(Debug)]
pub struct Emulated {
    rounding: Rounding,
    hidden: usize,
    /// Hidden states that are kept, ascending, and their rows: [positions, hidden], in the two bytes that they round to.
    layers: Vec<(u32, Vec<u16>)>,
}

/// What a trace's prover keeps between operations.
pub fn rounding(trace: &Trace<'_>) -> Rounding {
    Rounding::from(trace.manifest().numerics.compute)
}

impl Emulated {
    /// [`run`](Self::run) where a profile is to be judged by, and that profile if its unit can be measured.
    ///
    /// # Errors
    /// The device's.
    pub async fn for_profile<'p>(
        profile: Option<&'p Profile>,
        trace: &Trace<'_>,
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<(Option<&'p Profile>, Option<Self>), EngineError> {
        let is_needed = rounding(trace) != Rounding::Keep;
        let yardstick = match profile.filter(|_| is_needed) {
            Some(_) => Self::run(trace, engine, monitor).await?,
            None => None,
        };
        // Limits in units that cannot be measured limit nothing.
        let profile = profile.filter(|_| is_needed == yardstick.is_some());
        Ok((profile, yardstick))
    }

    /// Runs the trace's tokens on `engine` as its prover claims to have run them, and leaves the engine as it was, at position 0.
    /// `None` for a claim of f32, which needs no yardstick, and for a model whose roundings cannot be emulated.
    ///
    /// # Errors
    /// The device's.
    pub async fn run(
        trace: &Trace<'_>,
        engine: &mut Engine,
        monitor: &mut dyn Monitor,
    ) -> Result<Option<Self>, EngineError> {
        let rounding = rounding(trace);
        if rounding == Rounding::Keep {
            return Ok(None);
        }
        match engine.keep(rounding).await {
            Ok(()) => {}
            Err(EngineError::Unsupported(_)) => return Ok(None),
            Err(err) => return Err(err),
        }
        let config = engine.config().clone();
        let last = config.layers as u32;
        let opened = trace.opened().iter().copied();
        let mut kept: Vec<u32> = opened.filter(|layer| (1..last).contains(layer)).collect();
        // The last one is the unit of logits.
        kept.push(last);
        let mut emulated = Self {
            rounding,
            hidden: config.hidden,
            layers: kept.into_iter().map(|layer| (layer, Vec::new())).collect(),
        };
        let want = Want {
            states: emulated.layers.iter().map(|(l, _)| *l as usize).collect(),
            ..Want::default()
        };
        let fed = trace.tokens().get(..trace.positions()).unwrap_or_default();
        let keep = |outputs: Outputs| -> Result<(), EngineError> {
            for ((_, rows), states) in emulated.layers.iter_mut().zip(&outputs.states) {
                rows.extend(states.iter().map(|x| stored(rounding, *x)));
            }
            Ok(())
        };
        engine.prefill(fed, &want, monitor, keep).await?;
        engine.keep(Rounding::Keep).await?;
        Ok(Some(emulated))
    }

    /// What the verifier's two runs differ by at hidden state `layer` and `position`, relative to its f32 row `v`; `None` where the
    /// emulated one was not kept.
    pub fn unit(&self, layer: u32, position: usize, v: &[f32]) -> Option<f64> {
        Some(self.unit_of(&self.row(layer, position)?, v))
    }

    /// The same for a `row` that [`row`](Self::row) gave.
    pub(crate) fn unit_of(&self, row: &[f32], v: &[f32]) -> f64 {
        let between = statistics::rel_l2(row, v, StateDtype::F32);
        between.max(LEAST_UNITS * self.rounding.unit())
    }

    /// The emulated hidden state `layer` at `position`, if it was kept.
    pub(crate) fn row(&self, layer: u32, position: usize) -> Option<Vec<f32>> {
        let index = self.layers.binary_search_by_key(&layer, |(l, _)| *l).ok()?;
        let (_, rows) = self.layers.get(index)?;
        let row = rows.get(position * self.hidden..(position + 1) * self.hidden)?;
        Some(row.iter().map(|x| restored(self.rounding, *x)).collect())
    }

    /// The unit of logits at `position`: that of the last hidden state, which is among the f32 run's `outputs`.
    pub fn unit_of_logits(&self, outputs: &Outputs, position: usize) -> Option<f64> {
        let (layer, _) = self.layers.last()?;
        let row = position.checked_sub(outputs.pos0)? * self.hidden;
        let v = outputs.states.last()?.get(row..row + self.hidden)?;
        self.unit(*layer, position, v)
    }
}

fn stored(rounding: Rounding, x: f32) -> u16 {
    match rounding {
        Rounding::F16 => f16::from_f32(x).to_bits(),
        _ => bf16::from_f32(x).to_bits(),
    }
}

fn restored(rounding: Rounding, bits: u16) -> f32 {
    match rounding {
        Rounding::F16 => f16::from_bits(bits).to_f32(),
        _ => bf16::from_bits(bits).to_f32(),
    }
}
