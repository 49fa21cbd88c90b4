//! The views, driven as a user drives them, with a worker that does real jobs on the CPU.

mod asks;
mod audits;
mod flows;
mod keys;
#[path = "../../../work/tests/worker/prover.rs"]
mod prover;
mod raster;
mod rig;
mod screens;
mod shots;
mod studies;
