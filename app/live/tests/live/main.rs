//! The verifier's side of the exchange against provers in memory, honest and not; and the written specification against the types.
#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod draw;
mod exchange;
mod hostile;
mod openapi;
mod prover;
