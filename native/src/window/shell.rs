//! This desktop, as the app sees it: the worker's thread, dialogs, files.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use assay_ui::{Input, Pick, Platform, Shell, Source};
use assay_work::Worker;
use assay_work::message::{Event, Job, JobId, ToWorker};
use eframe::egui;
use flume::{Receiver, Sender};

use super::platform::{Cancelled, NativePlatform};
use crate::atomic_file::AtomicFile;

/// How long closing waits for a running job to hear of it. It hears at once, unless a driver compiles for it, and a driver must not be
/// compiling when a program ends: on a busy machine that takes its time.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody closes a dialog this soon after asking for it.
const AT_ONCE: Duration = Duration::from_millis(500);

/// What to do where a desktop has no file dialog.
const NO_DIALOG: &str = "this desktop has no file dialog; install xdg-desktop-portal or zenity, drop files on the window, \
                         or name them: `assay TRACE --model FOLDER`";

/// The running worker's thread, shared with whoever closes the window.
type Running = Arc<Mutex<Option<JoinHandle<()>>>>;

/// What comes from outside the app: its sender wakes the app.
#[derive(Clone)]
struct Inbox {
    inputs: Sender<Input>,
    ctx: egui::Context,
}

impl Inbox {
    fn push(&self, input: Input) {
        // The app takes inputs for as long as there is a window.
        drop(self.inputs.send(input));
        self.ctx.request_repaint();
    }
}

/// The shell.
pub struct NativeShell {
    inbox: Inbox,
    inputs: Receiver<Input>,
    jobs: Option<Sender<(JobId, Job)>>,
    cancelled: Arc<Cancelled>,
    running: Running,
    platform: Platform,
}

/// The other end: what the window's frame tells.
pub struct Outside {
    inbox: Inbox,
    cancelled: Arc<Cancelled>,
    running: Running,
}

impl NativeShell {
    /// A shell, and its other end.
    pub fn new(ctx: egui::Context) -> (Self, Outside) {
        let (send, inputs) = flume::unbounded();
        let inbox = Inbox { inputs: send, ctx };
        let (cancelled, running) = (Arc::<Cancelled>::default(), Running::default());
        let outside = Outside {
            inbox: inbox.clone(),
            cancelled: Arc::clone(&cancelled),
            running: Arc::clone(&running),
        };
        let shell = Self {
            inbox,
            inputs,
            jobs: None,
            cancelled,
            running,
            platform: Platform {
                is_browser: false,
                build: env!("CARGO_PKG_VERSION").to_owned(),
                theme: None,
            },
        };
        (shell, outside)
    }

    /// The channel to the worker, which is started if it is not there.
    fn jobs(&mut self) -> Result<&Sender<(JobId, Job)>, std::io::Error> {
        if self.jobs.as_ref().is_none_or(Sender::is_disconnected) {
            let (send, receive) = flume::unbounded();
            let (inbox, cancelled) = (self.inbox.clone(), Arc::clone(&self.cancelled));
            let thread = std::thread::Builder::new()
                .name("assay-worker".to_owned())
                .spawn(move || work(&receive, &inbox, &cancelled))?;
            *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
            self.jobs = Some(send);
        }
        self.jobs
            .as_ref()
            .ok_or_else(|| std::io::Error::other("no channel"))
    }
}

/// Does jobs until the shell is gone.
fn work(jobs: &Receiver<(JobId, Job)>, inbox: &Inbox, cancelled: &Arc<Cancelled>) {
    let run = || {
        let say = inbox.clone();
        let mut worker = Worker::new(NativePlatform {
            cancelled: Arc::clone(cancelled),
            say: Box::new(move |event: Event| say.push(Input::Event(event))),
        });
        while let Ok((id, job)) = jobs.recv() {
            pollster::block_on(worker.run(id, job));
            cancelled.end(id);
        }
    };
    let ended = catch_unwind(AssertUnwindSafe(run));
    cancelled.end_all();
    if let Err(panic) = ended {
        let words = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| {
                panic
                    .downcast_ref::<&str>()
                    .map(|words| (*words).to_owned())
            })
            .unwrap_or_else(|| "it panicked without a word".to_owned());
        inbox.push(Input::WorkerDied(words));
    }
}

impl Shell for NativeShell {
    fn send(&mut self, message: ToWorker) {
        let sent = match message {
            ToWorker::Cancel { id } => {
                self.cancelled.add(id);
                Ok(())
            }
            ToWorker::Start { id, job } => match self.jobs() {
                Ok(jobs) => {
                    let jobs = jobs.clone();
                    self.cancelled.begin();
                    let sent = jobs.send((id, job));
                    sent.map_err(|err| {
                        self.cancelled.end(id);
                        err.to_string()
                    })
                }
                Err(err) => Err(err.to_string()),
            },
        };
        if let Err(words) = sent {
            self.inbox.push(Input::WorkerDied(words));
        }
    }

    fn receive(&mut self) -> Vec<Input> {
        self.inputs.try_iter().collect()
    }

    fn pick(&mut self, what: Pick) {
        let dialog = rfd::AsyncFileDialog::new();
        let (inbox, since) = (self.inbox.clone(), Instant::now());
        match what {
            Pick::Files => {
                let asked = dialog
                    .set_title("Open a trace, a model or a verifier key")
                    .pick_files();
                answer(async move {
                    let files = asked.await;
                    tell_if_missing(&inbox, files.is_none(), since);
                    let files = files.unwrap_or_default();
                    let paths = files.iter().map(|file| file.path().to_owned());
                    choose(&inbox, paths.collect());
                });
            }
            Pick::Folder => {
                let asked = dialog.set_title("Open a model's folder").pick_folder();
                answer(async move {
                    let folder = asked.await.map(|folder| folder.path().to_owned());
                    tell_if_missing(&inbox, folder.is_none(), since);
                    choose(&inbox, folder.into_iter().collect());
                });
            }
        }
    }

    fn save(&mut self, name: &str, _mime: &str, bytes: Vec<u8>) {
        let inbox = self.inbox.clone();
        let since = Instant::now();
        let asked = rfd::AsyncFileDialog::new()
            .set_title("Save")
            .set_file_name(name)
            .save_file();
        answer(async move {
            let Some(file) = asked.await else {
                // Closing the dialog is an answer, too: nothing is saved and nothing is said.
                if is_missing(since) {
                    let why = "this desktop has no file dialog; install xdg-desktop-portal or zenity, \
                               or use --report, --csv and --statement of `assay --verify`";
                    inbox.push(Input::Saved(Err(why.to_owned())));
                }
                return;
            };
            let path = file.path().to_owned();
            let written = AtomicFile::create(&path)
                .and_then(|file| file.finish(|out| std::io::Write::write_all(out, &bytes)));
            inbox.push(Input::Saved(match written {
                Ok(()) => Ok(path.display().to_string()),
                Err(err) => Err(format!("{err:#}")),
            }));
        });
    }

    fn announce(&mut self, _text: &str, _assertive: bool) {
        // AccessKit has the widgets themselves.
    }

    fn set_link(&mut self, _fragment: &str) {
        // A window has no address.
    }

    fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        // Where the system gives none, the app sees zeros and refuses them.
        getrandom::fill(&mut bytes).ok();
        bytes
    }

    fn platform(&self) -> &Platform {
        &self.platform
    }
}

/// Waits for a dialog on a thread of its own.
fn answer(dialog: impl Future<Output = ()> + Send + 'static) {
    drop(std::thread::spawn(move || pollster::block_on(dialog)));
}

/// Whether a dialog that was asked for at `since`, and has no answer, never was: nobody closes one so soon.
fn is_missing(since: Instant) -> bool {
    since.elapsed() < AT_ONCE && !has_own_dialog()
}

/// Nothing was chosen: says why, where there was nothing to choose with.
fn tell_if_missing(inbox: &Inbox, is_empty: bool, since: Instant) {
    if is_empty && is_missing(since) {
        inbox.push(Input::Notice(NO_DIALOG.to_owned()));
    }
}

/// Whether there is a dialog also where no portal answers. Without either, the answer comes at once, and is the same as when
/// a user closes the dialog.
fn has_own_dialog() -> bool {
    let has_zenity = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join("zenity").is_file())
    };
    !cfg!(all(unix, not(target_os = "macos"))) || has_zenity()
}

fn choose(inbox: &Inbox, paths: Vec<PathBuf>) {
    let chosen = paths.into_iter().map(|path| {
        let path = path.to_string_lossy().into_owned();
        (path.clone(), Source::Path(path))
    });
    let chosen: Vec<_> = chosen.collect();
    if !chosen.is_empty() {
        inbox.push(Input::Chosen(chosen));
    }
}

impl Outside {
    /// So many files hover over the window.
    pub fn dragging(&self, count: usize) {
        self.inbox.push(Input::Dragging(count));
    }

    /// These files were dropped.
    pub fn chosen(&self, paths: Vec<PathBuf>) {
        choose(&self.inbox, paths);
    }

    /// Ends what runs, and waits a while for it.
    pub fn stop(&self) {
        self.cancelled.add_all();
        let thread = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let until = Instant::now() + PATIENCE;
        // An idle worker waits for a job that never comes; only one that is busy holds a device.
        if let Some(thread) = thread {
            while !thread.is_finished() && self.cancelled.is_busy() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without a portal and without zenity nothing opens; the user hears of it, and not only whoever saves.
    #[test]
    fn a_missing_dialog_is_told() {
        if has_own_dialog() || std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some() {
            println!("skipped: this desktop may have a dialog");
            return;
        }
        let (mut shell, _outside) = NativeShell::new(egui::Context::default());
        for what in [Pick::Files, Pick::Folder] {
            shell.pick(what);
            let until = Instant::now() + Duration::from_secs(20);
            let mut inputs = shell.receive();
            while inputs.is_empty() && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(10));
                inputs = shell.receive();
            }
            assert_eq!(inputs, [Input::Notice(NO_DIALOG.to_owned())], "{what:?}");
        }
    }

    /// A dialog that was closed is an answer.
    #[test]
    fn a_closed_dialog_is_not() {
        let long_ago = Instant::now()
            .checked_sub(2 * AT_ONCE)
            .unwrap_or_else(Instant::now);
        let (mut shell, outside) = NativeShell::new(egui::Context::default());
        tell_if_missing(&outside.inbox, true, long_ago);
        tell_if_missing(&outside.inbox, false, Instant::now());
        assert_eq!(shell.receive(), []);
    }
}
