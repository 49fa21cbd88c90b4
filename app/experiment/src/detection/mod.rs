//! What each statistic detects, at stated false-positive rates, on prompts that its threshold has not seen.
//!
//! - `cheat`: what provers do;
//! - `lab`: runs of honest and dishonest provers, verified;
//! - `suspected`: suspects of the half-precision class;
//! - `score`: from figures of tokens to one number a window, by statistic;
//! - `table`: thresholds from one half of the prompts, rates from the other;
//! - `leans`: the same for what suspects find;
//! - `window`: means over windows of tokens;
//! - `draw`: ROC curves and the table as text.

pub mod cheat;
pub mod draw;
pub mod lab;
mod leans;
pub mod score;
mod suspected;
pub mod table;
mod window;

pub use cheat::Cheat;
pub use lab::{Lab, Measured};
pub use leans::Suspicion;
pub use score::Statistic;
pub use suspected::Leaned;
pub use table::{Detection, detect};
