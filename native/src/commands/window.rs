//! `assay` alone, or `assay window`: the app.

use std::path::PathBuf;

use anyhow::bail;

use crate::exit::Exit;
use crate::window::{self, Script};

/// Flags of `assay window`.
#[derive(Debug, Default, clap::Args)]
pub struct Args {
    /// Open this trace
    #[arg(value_name = "TRACE")]
    pub trace: Option<PathBuf>,

    /// Open this model: a Hugging Face folder, a .gguf file, or a llama2.c `.bin`
    #[arg(long, value_name = "PATH")]
    pub model: Option<PathBuf>,

    /// Open this verifier key in place of a model
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    pub key: Option<PathBuf>,

    /// Keep what is going on in this file, as JSON: for tests and reports of bugs
    #[arg(long, value_name = "FILE", hide = true)]
    pub state: Option<PathBuf>,

    /// Run this command of the app, by its stable name, as soon as it makes sense; several run in turn
    #[arg(long = "command", value_name = "NAME", hide = true)]
    pub commands: Vec<String>,
}

/// Runs until the window is closed.
pub fn run(args: &Args) -> anyhow::Result<Exit> {
    if !has_display() {
        bail!(
            "there is no display to open a window on\n{}",
            window::INSTEAD
        );
    }
    let script = Script::new(&args.commands, args.state.as_deref())?;
    let (trace, model) = (args.trace.as_deref(), args.model.as_deref());
    window::run(trace, model, args.key.as_deref(), script)?;
    Ok(Exit::Ok)
}

/// Whether there is anything to open a window on: X11 and Wayland say so in the environment, other systems always have one.
pub fn has_display() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !cfg!(all(unix, not(target_os = "macos"))) || set("DISPLAY") || set("WAYLAND_DISPLAY")
}
