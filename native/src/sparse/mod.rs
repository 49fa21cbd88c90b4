//! Sparse MLPs on the command line: the rule that `--sparse` names, the files that rules come in, and the verbs of `assay sparse`.

pub mod bench;
pub mod collect;
mod corpus;
pub mod files;
pub mod report;
pub mod rule;
mod table;
pub mod thresholds;
pub mod train;
