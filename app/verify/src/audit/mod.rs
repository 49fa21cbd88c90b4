//! Verification with a key instead of the weights: the opened layers of a trace, each from its committed hidden state on.
//!
//! | file | subject |
//! |---|---|
//! | `run` | the order of the checks |
//! | `layer` | one layer's opened outputs, seen and judged |
//! | `integers` | the same of integer sums, which are checked exactly |
//! | `stream` | one product over all positions |
//! | `energy` | the chi-squared test |
//! | `bounds` | certified bounds |
//! | `attention` | how far attention's output may be off |
//! | `embedding` | hidden state 0 against the tokens |
//! | `emitted` | tokens against opened logits |
//! | `soundness` | what the layers that are not open may hide |
//! | `staged` | the same beside a run, step by step |
//! | `profile` | what honest outputs look like |
//! | `report` | the audit's part of a report |

mod attention;
mod bounds;
mod embedding;
mod emitted;
pub mod energy;
mod integers;
mod layer;
pub mod profile;
pub mod report;
mod run;
pub mod soundness;
pub mod staged;
pub mod stream;

pub use profile::AuditProfiles;
pub use report::AuditReport;
pub use run::{ALPHA, audit, audit_with, measure};
