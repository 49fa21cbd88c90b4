//! What the whole-system tests share: adapters, shared reference data, seeded requests.

pub mod adapters;
pub mod data;
