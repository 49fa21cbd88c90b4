//! The parts of `assay eval`: runs that are checked as they go, and their timelines.

pub mod run;
pub mod timeline;
