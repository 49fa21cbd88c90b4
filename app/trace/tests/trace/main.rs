//! Tests of the trace file, through the public interface alone. One binary, one subject a module.

mod builder;
mod challenge;
mod document;
mod forge;
mod hostile;
mod linears;
mod manifest;
mod masks;
mod masks_forge;
mod masks_hostile;
mod masks_manifest;
mod merkle;
mod opening;
mod python;
mod round_trip;
mod sample;
mod sums;
mod tamper;
