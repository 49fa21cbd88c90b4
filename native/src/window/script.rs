//! For tests and reports of bugs: commands run from the command line, and a file that tells what is going on.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use assay_ui::App;
use eframe::egui;

use crate::atomic_file::AtomicFile;

/// The file is written so often at most, and a command that makes no sense yet is tried again as often.
const PERIOD: Duration = Duration::from_millis(100);

/// Commands still to be run, and the file.
pub struct Script {
    commands: VecDeque<String>,
    file: Option<StateFile>,
}

struct StateFile {
    path: PathBuf,
    partial: PathBuf,
    written: String,
    at: Option<Instant>,
}

impl Script {
    /// Finds out whether the file can be written.
    pub fn new(commands: &[String], state: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = state {
            drop(AtomicFile::create(path)?);
        }
        let file = state.map(|path| StateFile {
            path: path.to_owned(),
            partial: {
                let mut partial = path.as_os_str().to_owned();
                partial.push(".part");
                partial.into()
            },
            written: String::new(),
            at: None,
        });
        Ok(Self {
            commands: commands.iter().cloned().collect(),
            file,
        })
    }

    /// Runs the next command if it makes sense now. One a frame: what it leads to comes before the next.
    pub fn command(&mut self, ctx: &egui::Context, app: &mut App) {
        let Some(command) = self.commands.front() else {
            return;
        };
        if app.command(command) {
            self.commands.pop_front();
        }
        if !self.commands.is_empty() {
            ctx.request_repaint_after(PERIOD);
        }
    }

    /// Tells what is going on, if it has changed.
    pub fn tell(&mut self, ctx: &egui::Context, app: &App) {
        let Some(file) = &mut self.file else { return };
        let state = app.state_json();
        if state == file.written {
            return;
        }
        let rest = file
            .at
            .map_or(Duration::ZERO, |at| PERIOD.saturating_sub(at.elapsed()));
        if !rest.is_zero() {
            ctx.request_repaint_after(rest);
            return;
        }
        file.at = Some(Instant::now());
        // Readers see one state or the next; one that could not be written is as good as one that nobody saw.
        let written = fs::write(&file.partial, &state);
        if written.is_ok() && fs::rename(&file.partial, &file.path).is_ok() {
            file.written = state;
        }
    }
}
