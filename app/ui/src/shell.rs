//! What a platform does for the app: the worker's channel, dialogs, downloads, the address bar, the live region.

use assay_work::message::{Event, Source, ToWorker};

/// The platform, as views see it.
pub trait Shell {
    /// Hands a message to the worker. It arrives, or [`Input::WorkerDied`] follows.
    fn send(&mut self, message: ToWorker);

    /// Everything that happened since the last call.
    fn receive(&mut self) -> Vec<Input>;

    /// Opens a dialog; its answer comes as [`Input::Chosen`], or never. Where there is none, [`Input::Notice`] says so.
    fn pick(&mut self, what: Pick);

    /// Saves a file: a download, or a dialog that asks where. Its answer comes as [`Input::Saved`].
    fn save(&mut self, name: &str, mime: &str, bytes: Vec<u8>);

    /// Says it to a screen reader, at once if `assertive`. Natively AccessKit has the widgets themselves.
    fn announce(&mut self, text: &str, assertive: bool);

    /// Puts `layer=..&token=..` (without `#`) into the address, where there is one.
    fn set_link(&mut self, fragment: &str);

    /// Thirty-two bytes from the operating system.
    fn random(&mut self) -> [u8; 32];

    /// Facts that the about box shows.
    fn platform(&self) -> &Platform;
}

/// Which kind of platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Platform {
    /// Whether it is a browser: there, files are picked and addresses fetched; natively, paths are named.
    pub is_browser: bool,
    /// Version, and commit where known.
    pub build: String,
    /// The system's theme, where that is known before anything is drawn.
    pub theme: Option<egui::Theme>,
}

/// What a dialog asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pick {
    /// Files: a trace, a `.gguf` or `.bin` checkpoint, or several at once.
    Files,
    /// A checkpoint's folder.
    Folder,
}

/// What happened outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The worker spoke.
    Event(Event),
    /// The user chose or dropped files, each with its path inside what was chosen.
    Chosen(Vec<(String, Source)>),
    /// So many files hover over the app; 0 when they left.
    Dragging(usize),
    /// A command by its stable name, from outside.
    Command(String),
    /// The address changed to this fragment.
    Link(String),
    /// A file was saved (where, or its name), or not (why).
    Saved(Result<String, String>),
    /// The platform could not do what was asked of it, and says why: a sentence for people.
    Notice(String),
    /// The worker is gone, with its last words. A new one takes the next message.
    WorkerDied(String),
}
