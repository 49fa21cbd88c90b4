//! Tests of verifier keys, through the public interface alone. One binary, one subject a module.

mod hostile;
mod integers;
mod making;
mod oracle;
mod properties;
mod randomness;
mod sample;
mod sealed;
mod size;
