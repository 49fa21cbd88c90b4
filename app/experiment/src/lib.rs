//! Experiments: how often honest runs pass and dishonest ones are caught, measured rather than claimed.
//!
//! | module | subject |
//! |---|---|
//! | `config` | models, thresholds and prompts, from TOML |
//! | `plan` | VeriLLM's five experiments and the sixth of its configuration |
//! | `trial`, `summary` | one trial, and all of an experiment |
//! | `observe` | a trace on a verifier: figures by row and token, and Assay's own verdict |
//! | `pooled` | distributions, VeriLLM's threshold formulas |
//! | `alter`, `plain` | dishonest weights; a forward pass that can be meddled with |
//! | `detection` | what each statistic catches, on held-out prompts |
//! | `stopping` | error rates of the sequential test |
//! | `losses`, `noise` | verified_llm's noise test and perplexity |
//! | `chart`, `page` | plots as SVG, and a page that holds them |
//! | `sheet` | the same for the window and the page |
//!
//! Everything here measures; nothing here decides a verdict of `assay --verify`. Files are the caller's.

pub mod alter;
pub mod chart;
pub mod config;
pub mod detection;
mod error;
pub mod losses;
pub mod noise;
pub mod observe;
pub mod page;
pub mod plain;
pub mod plan;
pub mod pooled;
pub mod sheet;
pub mod stopping;
pub mod summary;
pub mod trial;

pub use config::Config;
pub use error::ExperimentError;
pub use plan::{Experiment, Precision};
