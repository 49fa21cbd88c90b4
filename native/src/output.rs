//! Everything that is printed goes through here: results to stdout, notes to stderr, colour only where it is wanted.

use std::fmt;
use std::io::{self, IsTerminal, Write};

/// Widest line of human output.
pub const WIDTH: usize = 80;

/// A meaning, not a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Accepted, passed.
    Good,
    /// Rejected, failed.
    Bad,
    /// Inconclusive, or to be careful with.
    Warn,
    /// Of less weight.
    Dim,
    /// Of more.
    Strong,
}

/// Stdout could not be written.
#[derive(Debug)]
pub struct StdoutError(io::Error);

impl StdoutError {
    /// Whether the reader simply went away, as `head` does.
    pub fn is_closed(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

impl fmt::Display for StdoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to stdout: {}", self.0)
    }
}

impl std::error::Error for StdoutError {}

/// The two streams.
pub struct Output {
    stdout_colour: bool,
    stderr_colour: bool,
}

impl Output {
    /// Decides about colour once: `--no-color`, NO_COLOR, a dumb terminal and anything that is no terminal turn it off.
    pub fn new(no_color: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let wanted = !no_color && !set("NO_COLOR") && !dumb;
        Self {
            stdout_colour: wanted && io::stdout().is_terminal(),
            stderr_colour: wanted && io::stderr().is_terminal(),
        }
    }

    /// `text` for stdout.
    pub fn paint(&self, style: Style, text: impl fmt::Display) -> String {
        painted(self.stdout_colour, style, text)
    }

    /// `text` for stderr.
    pub fn paint_note(&self, style: Style, text: impl fmt::Display) -> String {
        painted(self.stderr_colour, style, text)
    }

    /// Writes `text` and a line break to stdout.
    pub fn line(&self, text: impl fmt::Display) -> Result<(), StdoutError> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}")
            .and_then(|()| stdout.flush())
            .map_err(StdoutError)
    }

    /// Writes `value` as JSON to stdout.
    pub fn json(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        Ok(self.line(serde_json::to_string_pretty(value)?)?)
    }

    /// Writes `text` and a line break to stderr. Nobody can be told if that fails.
    pub fn note(&self, text: impl fmt::Display) {
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    /// Writes `  label   value` to stderr, aligned.
    pub fn note_field(&self, label: &str, value: impl fmt::Display) {
        self.note(format_args!(
            "  {}  {value}",
            self.paint_note(Style::Dim, format_args!("{label:<10}"))
        ));
    }

    /// What is being looked at, on a line of stderr that the next one replaces; only on a terminal.
    pub fn note_progress(&self, what: &str) {
        if io::stderr().is_terminal() {
            drop(write!(
                io::stderr().lock(),
                "\r\x1b[2K  looking at {what} …"
            ));
        }
    }

    /// Takes that line away.
    pub fn clear_progress(&self) {
        if io::stderr().is_terminal() {
            drop(write!(io::stderr().lock(), "\r\x1b[2K"));
        }
    }

    /// `  label   value` for stdout, aligned.
    pub fn field(&self, label: &str, value: impl fmt::Display) -> String {
        format!(
            "  {}  {value}",
            self.paint(Style::Dim, format_args!("{label:<10}"))
        )
    }
}

fn painted(colour: bool, style: Style, text: impl fmt::Display) -> String {
    if !colour {
        return text.to_string();
    }
    let code = match style {
        Style::Good => "1;32",
        Style::Bad => "1;31",
        Style::Warn => "33",
        Style::Dim => "2",
        Style::Strong => "1",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}
