//! What cheats would have leaned towards, had the verifier named it: `--suspect`, measured on honest runs and on cheats.
//!
//! Of provers in half precision only: among f32 provers distances find all of these within a token.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_engine::{Device, Engine, Monitor, Numerics};
use assay_model::Model;
use assay_trace::Trace;
use assay_verify::suspects::{Lean, Ran, SuspectRun};
use serde::{Deserialize, Serialize};

use super::cheat::Cheat;
use crate::ExperimentError;

/// How a run leans towards one suspect.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaned {
    /// What the suspect would have done.
    pub suspect: Cheat,
    /// The run as a whole, as a report has it.
    pub lean: Lean,
    /// Numerator and denominator at each emitted token.
    pub tokens: Vec<[f64; 2]>,
}

impl Cheat {
    /// Whether a verifier can name it: another model, or a cheaper cache.
    fn can_be_suspected(self) -> bool {
        use crate::alter::Weights as W;
        matches!(
            self,
            Self::Weights(W::Int8 | W::Int4 | W::Fp8 | W::FineTune) | Self::Kv(_)
        )
    }

    /// The suspects that a run of this cheat is held against, of a model with so many layers: all of them for honest runs, its own for a cheat
    /// that has one.
    pub(super) fn suspects(self, layers: usize) -> Vec<Self> {
        let all = Self::all(layers)
            .into_iter()
            .filter(|c| c.can_be_suspected());
        all.filter(|suspect| [Self::Honest, *suspect].contains(&self))
            .collect()
    }
}

/// Engines of suspects, loaded when the first run is held against them.
pub(super) struct Suspected {
    devices: Vec<Device>,
    capacity: usize,
    /// By suspect: what was run, and an engine a device.
    loaded: BTreeMap<String, (Ran, Vec<Engine>)>,
}

impl Suspected {
    pub(super) fn new(devices: &[Device], capacity: usize) -> Self {
        Self {
            devices: devices.to_vec(),
            capacity,
            loaded: BTreeMap::new(),
        }
    }

    /// Runs of `suspects` over the trace's tokens on device number `device`.
    ///
    /// # Errors
    /// A tensor that cannot be read; a device that fails.
    pub(super) async fn run(
        &mut self,
        suspects: &[Cheat],
        device: usize,
        claimed: &Model,
        trace: &Trace<'_>,
        monitor: &mut dyn Monitor,
    ) -> Result<Vec<SuspectRun>, ExperimentError> {
        let mut runs = Vec::with_capacity(suspects.len());
        for suspect in suspects {
            let name = suspect.name();
            if !self.loaded.contains_key(&name) {
                let loaded = self.load(*suspect, claimed, monitor).await?;
                self.loaded.insert(name.clone(), loaded);
            }
            let Some((ran, engines)) = self.loaded.get_mut(&name) else {
                continue;
            };
            if let Some(engine) = engines.get_mut(device) {
                engine.reset();
                let n = suspects.len();
                runs.push(SuspectRun::run((&name, ran), n, trace, engine, monitor).await?);
            }
        }
        Ok(runs)
    }

    async fn load(
        &self,
        suspect: Cheat,
        claimed: &Model,
        monitor: &mut dyn Monitor,
    ) -> Result<(Ran, Vec<Engine>), ExperimentError> {
        let ran = match suspect {
            Cheat::Weights(weights) => Ran::Model(Arc::new(weights.of(claimed)?)),
            Cheat::Kv(format) => Ran::Cache(format),
            other => {
                let what = format!("{} is no suspect", other.name());
                return Err(ExperimentError::Config(what));
            }
        };
        let mut engines = Vec::with_capacity(self.devices.len());
        for device in &self.devices {
            let model = match &ran {
                Ran::Model(model) => model,
                Ran::Cache(_) => claimed,
            };
            let numerics = Numerics::Fast;
            let mut engine = Engine::load(device, model, self.capacity, numerics, monitor).await?;
            if let Ran::Cache(format) = ran {
                engine.round_cache(format).await?;
            }
            engines.push(engine);
        }
        Ok((ran, engines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn honest_runs_are_held_against_everyone_and_cheats_against_themselves() {
        let all = Cheat::Honest.suspects(8);
        assert_eq!(all.len(), 7);
        for suspect in all {
            assert_eq!(suspect.suspects(8), [suspect]);
        }
        assert_eq!(Cheat::Seed.suspects(8), []);
    }
}
