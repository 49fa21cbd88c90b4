//! The views, driven as a user drives them, with a worker that does real jobs on the CPU.

mod audits;
mod flows;
mod keys;
mod raster;
mod rig;
mod screens;
mod shots;
