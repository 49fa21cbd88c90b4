//! Experiments: how often honest runs pass and dishonest ones are caught, measured rather than claimed.
//!
//! | module | subject |
//! |---|---|
//! | `config` | models, thresholds and prompts, from TOML |
//! | `plan` | VeriLLM's five experiments and the sixth of its configuration |
//! | `setup`, `devices` | what trials need: models, prompts, devices by name |
//! | `run`, `turns` | trials one after another, verifiers side by side |
//! | `store`, `teller` | where trials are kept, and who hears of them |
//! | `trial`, `summary` | one trial, and all of an experiment |
//! | `observe` | a trace on a verifier: figures by row and token, and Assay's own verdict |
//! | `pooled` | distributions, VeriLLM's threshold formulas |
//! | `alter`, `plain` | dishonest weights; a forward pass that can be meddled with |
//! | `detection` | what each statistic catches, on held-out prompts |
//! | `stopping` | error rates of the sequential test |
//! | `losses`, `noise` | verified_llm's noise test and perplexity |
//! | `chart`, `page` | plots as SVG, and a page that holds them |
//! | `sheet`, `found` | the same for the window and the page |
//!
//! Everything here measures; nothing here decides a verdict of `assay --verify`. Files are the caller's. The six experiments run
//! anywhere; the rest needs the feature `native`.

#[cfg(feature = "native")]
pub mod alter;
#[cfg(feature = "native")]
pub mod chart;
mod comparison;
pub mod config;
#[cfg(feature = "native")]
pub mod detection;
pub mod devices;
mod error;
pub mod found;
#[cfg(feature = "native")]
pub mod losses;
#[cfg(feature = "native")]
pub mod noise;
pub mod observe;
#[cfg(feature = "native")]
pub mod page;
#[cfg(feature = "native")]
pub mod plain;
pub mod plan;
#[cfg(feature = "native")]
pub mod pooled;
pub mod run;
pub mod setup;
pub mod sheet;
#[cfg(feature = "native")]
pub mod stopping;
pub mod store;
pub mod summary;
pub mod teller;
pub mod trial;
mod turns;

pub use config::Config;
pub use devices::Devices;
pub use error::ExperimentError;
pub use plan::{Experiment, Precision};
pub use setup::{Named, Setup};
pub use store::Store;
pub use teller::Teller;
