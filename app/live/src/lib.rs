//! A verifier and a prover that is there to be asked: commit, challenge, open.
//!
//! A file can be made at leisure; a live prover has to commit to its run before it knows what will be looked at. This
//! crate has the messages of that exchange (`docs/prover-api.md`) and the verifier's side of it:
//!
//! 1. [`Commit`] sends prompt, sampler and a fresh nonce, takes tokens as they come, and judges the receipt;
//! 2. [`Committed`] draws what to open, from randomness that did not exist before the receipt was there;
//! 3. [`Challenged`] takes the opening and holds it against the receipt.
//!
//! [`exchange()`] drives the three over a [`Transport`]. What comes of it is an [`Answer`]: a trace that answers this very request and
//! this very challenge. Whether any number in it came out of the model is *not* judged here: give it to the verifier.
//!
//! Everything that a prover sends is an attacker's: each field has a cap, and an [`ExchangeError`] says whether a fault is
//! the prover's conduct (a rejection) or mere trouble (an error, never a verdict).
//!
//! This crate opens no connection, has no clock and draws no random number: the caller brings them. It runs in a browser.

mod address;
mod ask;
mod commit;
mod error;
mod exchange;
mod fault;
mod id;
mod info;
mod json;
mod line;
mod lines;
mod open;
mod opening;
mod request;
pub mod routes;
mod size;
mod transport;

pub use address::{Address, AddressError};
pub use ask::{Amount, AmountError, Ask};
pub use commit::{Commit, Committed, Step, Wanted};
pub use error::{ExchangeError, Failed};
pub use exchange::{News, exchange};
pub use fault::{Fault, FaultCode};
pub use id::{RunId, RunIdError};
pub use info::{Info, Limits};
pub use line::{Line, ReceiptLine};
pub use lines::{LineTooLong, Lines};
pub use open::{Answer, Challenged};
pub use opening::OpeningRequest;
pub use request::{RequestError, RunRequest};
pub use transport::{Body, Call, Method, Response, Transport, TransportError};

/// Version of the exchange; the `v1` of its routes.
pub const PROTOCOL: u32 = 1;

/// The specification of the exchange.
#[doc = include_str!("../../../docs/prover-api.md")]
pub mod api {}
