//! TOPLOC proofs (arXiv:2501.16007; the Python package toploc 0.1.6), byte for byte.
//!
//! A proof commits to the 128 largest activations of a chunk of rows: a polynomial over a prime field through (index, bf16 bits), 258
//! bytes. A verifier computes the same rows, evaluates the polynomial at its *own* largest indices and compares exponents and mantissas.
//! docs/toploc.md has the format, what the package leaves open and what is done about it here.
//!
//! | file | subject |
//! |---|---|
//! | `field` | GF(65497): interpolation and evaluation |
//! | `proof` | a proof, its bytes, its points |
//! | `chunks` | which rows make a chunk |
//! | `top` | the largest activations, and ties among them |
//! | `compare` | a proof against activations |
//! | `file` | a list of proofs in JSON |
//!
//! Nothing here runs a model: whoever does hands over rows of bf16 bits.

mod chunks;
mod compare;
mod error;
mod field;
mod file;
mod proof;
mod top;

pub use chunks::{Activations, BATCH};
pub use compare::{Compared, Thresholds, compare};
pub use error::ToplocError;
pub use field::PRIME;
pub use file::{MAX_FILE_BYTES, ProofFile};
pub use proof::{LEAST_MODULUS, Proof};
pub use top::{TOP, top_indices};
