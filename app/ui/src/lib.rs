//! The app: egui views over one state. It knows no platform; [`Shell`] is what a platform does for it.

mod shell;

pub use shell::{Input, Pick, Platform, Shell};
