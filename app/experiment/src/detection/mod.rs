//! What each statistic detects, at stated false-positive rates, on prompts that its threshold has not seen.
//!
//! - `cheat`: what provers do;
//! - `lab`: runs of honest and dishonest provers, verified;
//! - `score`: from figures of tokens to one number a window, by statistic;
//! - `table`: thresholds from one half of the prompts, rates from the other;
//! - `draw`: ROC curves and the table as text.

pub mod cheat;
pub mod draw;
pub mod lab;
pub mod score;
pub mod table;

pub use cheat::Cheat;
pub use lab::{Lab, Measured};
pub use score::Statistic;
pub use table::{Detection, detect};
