//! Verifier keys: what a verifier keeps instead of a model's weights, to audit traces by Freivalds' method.
//!
//! For a matrix W `[n, k]` and a claimed y = W·x the verifier compares R·y with (R·W)·x, where the rows of R are secret and random.
//! R·W is as wide as W but only a few rows high, so a key has megabytes where the weights have gigabytes; whoever knows R beforehand
//! can forge a y that passes, hence **a key is a secret**, and its file says so in its first hundred bytes.
//!
//! A [`KeyMaker`] reads a model's weights once and makes a [`VerifierKey`], stepwise; [`VerifierKey::encrypt`] seals it under a
//! passphrase. Reading takes hostile bytes: a file has one legal form ([`format`](mod@format), the same text as `docs/key-format.md`), and nothing in
//! it sizes an allocation before it was checked. A key that parses is whole. Whether it was made from the model whose root it
//! names, only its maker can say, so a key from somebody else is worth what they are.
//!
//! | file | subject |
//! |---|---|
//! | `part` | the matrices of a model, their order, shapes and words |
//! | `seed` | the secret, and the stream of words that follows from it |
//! | `normals` | normals and chosen rows from that stream |
//! | `options` | how large a key should be |
//! | `facts` | the file's metadata |
//! | `layout` | which tensors a file has, and where |
//! | `header` | the one legal spelling of its header |
//! | `field` | the two prime fields, in integers of 64 and 128 bits |
//! | `exact` | integer products over a prime field: the check, and what a key keeps for it |
//! | `sums` | the sums over a matrix, whose order depends on nothing |
//! | `sketch` | the sums over the embedding |
//! | `probe` | whether a projection that was computed elsewhere is right |
//! | `integers` | the sums over a matrix of integers, in its field |
//! | `maker` | a key on its way |
//! | `read` | bytes to key |
//! | `key` | what a key knows |
//! | `sealed` | encryption at rest |

mod error;
pub mod exact;
mod facts;
pub mod field;
mod header;
mod integers;
mod key;
mod layout;
mod maker;
mod normals;
mod options;
mod parallel;
mod part;
mod probe;
mod read;
mod sealed;
mod seed;
mod sketch;
mod sums;

#[doc = include_str!("../../../docs/key-format.md")]
pub mod format {}

pub use error::KeyError;
pub use key::{IntegerCheck, IntegerKey, ProductKey, VerifierKey};
pub use maker::KeyMaker;
pub use options::KeyOptions;
pub use part::Part;
pub use read::{Form, HEAD_BYTES};
pub use seed::Seed;
