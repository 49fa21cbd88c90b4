//! Experiments: what is common to `assay experiment`, `assay calibrate`, `assay noise` and the window.

pub mod calibrate;
pub mod detect;
pub mod found;
pub mod noise;
pub mod setup;
pub mod stop;
pub mod store;
pub mod teller;
