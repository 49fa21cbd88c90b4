//! The jobs of a verifier with a face, and who does them.
//!
//! A face (a window, a page) speaks [`message`]s; a [`Worker`] does what they say, on a [`Platform`] that knows where bytes lie
//! and how to let an event loop run. Neither knows the other: a channel lies between them, natively to a thread, in a browser
//! to a Web Worker with a device of its own.

mod explain;
mod key;
pub mod live;
pub mod message;
mod monitor;
mod opened;
mod platform;
mod read;
mod sort;
mod worker;

pub use monitor::frame_gap;
pub use platform::{Fetched, LocalFuture, Platform, Prover};
pub use worker::Worker;
