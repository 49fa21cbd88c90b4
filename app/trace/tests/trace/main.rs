//! Tests of the trace file, through the public interface alone. One binary, one subject a module.

mod builder;
mod document;
mod forge;
mod hostile;
mod manifest;
mod merkle;
mod python;
mod round_trip;
mod sample;
mod tamper;
