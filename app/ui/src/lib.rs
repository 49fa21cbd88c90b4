//! The app: egui views over one state. It knows no platform; [`Shell`] is what a platform does for it.
//!
//! | file | subject |
//! |---|---|
//! | `app` | what happens when: jobs started, news taken in, commands run |
//! | `state` | all that is known; what views may ask for |
//! | `jobs`, `steps` | what the worker has not finished yet |
//! | `asking` | a request to a live prover, and what it has said |
//! | `judged`, `grid` | a report, and what views make of its figures |
//! | `command` | everything a user can do, by name |
//! | `theme`, `widgets`, `views` | how it looks |

mod app;
mod asking;
mod command;
mod export;
mod grid;
mod jobs;
mod judged;
mod link;
mod meter;
mod settings;
mod shell;
mod state;
mod steps;
mod text;
mod theme;
mod trials;
mod views;
mod widgets;

pub use app::{App, Start};
pub use assay_work::message::{ModelSource, Source};
pub use settings::{SamplerForm, Settings, ThemeChoice};
pub use shell::{Input, Pick, Platform, Shell};
