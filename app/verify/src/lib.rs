//! The verifier: re-runs a claimed inference on its own device and says accept, reject or inconclusive, with reasons.
//!
//! [`verify()`] takes a trace's bytes, the verifier's own copy of the model and a device, and gives a [`Report`]. The trace is
//! data from an attacker: no fault in it is an error, every fault is a verdict with a code of `docs/checks.md`. Only the verifier's
//! own trouble (a device that fails, a model that cannot be read) is a [`VerifyError`], and that is never a verdict.
//!
//! The prover's hidden states are compared, never fed forward, so a lie in them cannot steer the verifier's run.
//!
//! | file | subject |
//! |---|---|
//! | `verify` | the order of the checks with the weights at hand |
//! | `audit` | the same with a key instead |
//! | `draft`, `facts` | a report as it grows; what is known of the model |
//! | `claims` | what the manifest says, without inference |
//! | `hidden` | hidden states as they stream |
//! | `emulated` | the yardstick of provers in half precision |
//! | `suspects` | models that may have been run instead |
//! | `diagnose` | a name for those that fail |
//! | `tokens` | emitted tokens against own logits |
//! | `strict` | digests of a strict trace, all of them, and the first that differs |
//! | `exact` | integer products over a prime field |
//! | `statistics`, `verillm`, `fingerprint` | numbers of a pair of rows |
//! | `early` | when the evidence suffices before the end |
//! | `sequential`, `binomial` | tests with a stated error |
//! | `profile`, `calibrate` | where limits come from |
//! | `report`, `statement` | the JSON contract, and it as an in-toto statement |
//! | `shown` | numbers for people |
//! | `details` | figures by position, for a close look |

pub mod audit;
pub mod binomial;
pub mod calibrate;
mod claims;
pub mod details;
pub mod diagnose;
mod draft;
mod early;
pub mod emulated;
mod facts;
pub mod fingerprint;
pub mod hidden;
pub mod masks;
mod part;
pub mod profile;
pub mod report;
pub mod sequential;
pub mod shown;
pub mod statement;
pub mod statistics;
mod strict;
pub mod suspects;
#[cfg(test)]
mod testing;
pub mod tokens;
pub mod verify;
pub mod verillm;
mod word;

pub use assay_key::exact;
pub use claims::sampler_spec;
pub use details::Details;
pub use emulated::Emulated;
pub use profile::{Profile, Profiles};
pub use report::{Check, Method, Outcome, Report, Verdict};
pub use suspects::Suspect;
pub use verify::{Options, Verified, VerifyError, verify, verify_in_detail, verify_with};
