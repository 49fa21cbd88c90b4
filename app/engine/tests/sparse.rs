//! Sparse MLPs: every kernel against its CPU twin on every adapter, the whole against the dense twins on masked activations, and the
//! cache of weights against a fresh one.

#[path = "sparse/cache.rs"]
mod cache;
#[path = "sparse/kernels.rs"]
mod kernels;
#[path = "sparse/property.rs"]
mod property;
#[path = "sparse/selection.rs"]
mod selection;
#[path = "sparse/support.rs"]
mod support;
