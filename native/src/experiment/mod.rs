//! Experiments: what is common to `assay experiment`, `assay calibrate` and `assay noise`.

pub mod calibrate;
pub mod detect;
pub mod devices;
pub mod noise;
pub mod run;
pub mod setup;
pub mod stop;
pub mod store;

use assay_engine::{EngineError, Monitor, Phase};

use crate::interrupt;

/// A monitor that only hears Ctrl-C: for work side by side, where one bar would tell of nobody.
pub struct Ears;

impl Monitor for Ears {
    fn progress(&mut self, _phase: Phase, _done: u64, _total: u64) -> Result<(), EngineError> {
        interrupt::check()
    }

    fn alive(&mut self) -> Result<(), EngineError> {
        interrupt::check()
    }
}
