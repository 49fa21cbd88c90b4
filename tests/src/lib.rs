//! What the whole-system tests share: adapters, shared reference data, seeded requests.

pub mod adapters;
pub mod bits;
pub mod cheats;
pub mod data;
pub mod dishonest;
pub mod exact;
pub mod fuzz;
pub mod logits;
pub mod null;
pub mod peaks;
pub mod plain;
pub mod profiles;
pub mod prover;
pub mod random;
pub mod timing;
pub mod twisted;
