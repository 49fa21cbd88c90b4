//! The browser, as the app sees it: the worker's channel, downloads, the address, the live region.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use assay_ui::{Input, Pick, Platform, Shell, Source};
use assay_work::message::{Event, ToWorker};
use eframe::wasm_bindgen;
use eframe::wasm_bindgen::prelude::*;
use js_sys::{Array, Uint8Array};
use web_sys::{File, MessageEvent, Worker};

#[wasm_bindgen]
extern "C" {
    /// Makes the worker; boot.js knows its address.
    #[wasm_bindgen(js_name = assayWorker, catch)]
    fn make_worker() -> Result<Worker, JsValue>;
    #[wasm_bindgen(js_name = assayPick, catch)]
    fn pick(what: &str) -> Result<(), JsValue>;
    #[wasm_bindgen(js_name = assaySave, catch)]
    fn save(name: &str, mime: &str, bytes: Uint8Array) -> Result<(), JsValue>;
    #[wasm_bindgen(js_name = assayAnnounce, catch)]
    fn announce(text: &str, assertive: bool) -> Result<(), JsValue>;
}

/// What has come in and was not taken yet, and how to wake the app for it.
#[derive(Default)]
pub struct Inbox {
    inputs: VecDeque<Input>,
    wake: Option<egui::Context>,
    /// Files that the worker has not been handed yet.
    files: Vec<(u32, File)>,
    next_handle: u32,
}

impl Inbox {
    /// Adds an input and wakes the app.
    pub fn push(&mut self, input: Input) {
        self.inputs.push_back(input);
        if let Some(ctx) = &self.wake {
            ctx.request_repaint();
        }
    }

    /// Numbers files, keeps their handles for the worker, and tells the app.
    pub fn offer(&mut self, chosen: Vec<(File, String)>) {
        let numbered = chosen.into_iter().map(|(file, path)| {
            self.next_handle += 1;
            let handle = self.next_handle;
            let source = Source::Picked {
                handle,
                name: file.name(),
                bytes: file.size() as u64,
            };
            self.files.push((handle, file));
            (path, source)
        });
        let chosen: Vec<_> = numbered.collect();
        if !chosen.is_empty() {
            self.push(Input::Chosen(chosen));
        }
    }
}

/// The shell.
pub struct WebShell {
    inbox: Rc<RefCell<Inbox>>,
    worker: Option<Worker>,
    /// Every file handed out so far: a new worker must get them all.
    files: Vec<(u32, File)>,
    platform: Platform,
    on_message: Closure<dyn FnMut(MessageEvent)>,
    on_error: Closure<dyn FnMut(JsValue)>,
}

impl WebShell {
    /// Starts the worker.
    pub fn new(inbox: Rc<RefCell<Inbox>>, ctx: egui::Context) -> Result<Self, String> {
        inbox.borrow_mut().wake = Some(ctx);
        let received = Rc::clone(&inbox);
        let on_message = Closure::new(move |event: MessageEvent| {
            let bytes = Uint8Array::new(&event.data()).to_vec();
            let input = match Event::from_bytes(&bytes) {
                Ok(event) => Input::Event(event),
                Err(failure) => Input::WorkerDied(failure.message),
            };
            received.borrow_mut().push(input);
        });
        let died = Rc::clone(&inbox);
        let on_error = Closure::new(move |error: JsValue| {
            let words = js_sys::Reflect::get(&error, &"message".into());
            let words = words.ok().and_then(|words| words.as_string());
            let words = words.unwrap_or_else(|| "the worker ended without a word".to_owned());
            died.borrow_mut().push(Input::WorkerDied(words));
        });
        let commit = option_env!("ASSAY_COMMIT").map(|commit| format!(" ({commit})"));
        Ok(Self {
            inbox,
            worker: None,
            files: Vec::new(),
            platform: Platform {
                is_browser: true,
                build: format!(
                    "{}{}",
                    env!("CARGO_PKG_VERSION"),
                    commit.unwrap_or_default()
                ),
                theme: eframe::web::system_theme(),
            },
            on_message,
            on_error,
        })
    }

    fn worker(&mut self) -> Result<&Worker, JsValue> {
        if self.worker.is_none() {
            let worker = make_worker()?;
            worker.set_onmessage(Some(self.on_message.as_ref().unchecked_ref()));
            worker.set_onerror(Some(self.on_error.as_ref().unchecked_ref()));
            post_files(&worker, &self.files)?;
            self.worker = Some(worker);
        }
        self.worker.as_ref().ok_or(JsValue::UNDEFINED)
    }

    fn try_send(&mut self, message: &ToWorker) -> Result<(), String> {
        let bytes = message.to_bytes().map_err(|failure| failure.message)?;
        let fresh = std::mem::take(&mut self.inbox.borrow_mut().files);
        let words = |err: JsValue| format!("{err:?}");
        let worker = self.worker().map_err(words)?;
        post_files(worker, &fresh).map_err(words)?;
        let array = Uint8Array::from(bytes.as_slice());
        worker.post_message(&array).map_err(words)?;
        self.files.extend(fresh);
        Ok(())
    }
}

/// `[number, File, number, File, ..]`.
fn post_files(worker: &Worker, files: &[(u32, File)]) -> Result<(), JsValue> {
    if files.is_empty() {
        return Ok(());
    }
    let list = Array::new();
    for (handle, file) in files {
        list.push(&JsValue::from(*handle));
        list.push(file);
    }
    worker.post_message(&list)
}

impl Shell for WebShell {
    fn send(&mut self, message: ToWorker) {
        if let Err(words) = self.try_send(&message) {
            self.inbox.borrow_mut().push(Input::WorkerDied(words));
        }
    }

    fn receive(&mut self) -> Vec<Input> {
        let inputs: Vec<Input> = self.inbox.borrow_mut().inputs.drain(..).collect();
        let died = inputs
            .iter()
            .any(|input| matches!(input, Input::WorkerDied(_)));
        if let Some(worker) = self.worker.take_if(|_| died) {
            worker.terminate();
        }
        inputs
    }

    fn pick(&mut self, what: Pick) {
        let what = match what {
            Pick::Files => "files",
            Pick::Folder => "folder",
        };
        if let Err(err) = pick(what) {
            log::warn!("no dialog: {err:?}");
        }
    }

    fn save(&mut self, name: &str, mime: &str, bytes: Vec<u8>) {
        let saved = save(name, mime, Uint8Array::from(bytes.as_slice()));
        let answer = match saved {
            Ok(()) => Ok(name.to_owned()),
            Err(err) => Err(format!("{err:?}")),
        };
        self.inbox.borrow_mut().push(Input::Saved(answer));
    }

    fn announce(&mut self, text: &str, assertive: bool) {
        if let Err(err) = announce(text, assertive) {
            log::warn!("not announced: {err:?}");
        }
    }

    fn set_link(&mut self, fragment: &str) {
        // Not a step in the history: going back should leave the page, not undo clicks.
        let history = web_sys::window().and_then(|window| window.history().ok());
        if let Some(history) = history {
            let address = match fragment.is_empty() {
                true => ".".to_owned(),
                false => format!("#{fragment}"),
            };
            drop(history.replace_state_with_url(&JsValue::NULL, "", Some(&address)));
        }
    }

    fn random(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let crypto = web_sys::window().and_then(|window| window.crypto().ok());
        if let Some(crypto) = crypto {
            drop(crypto.get_random_values_with_u8_array(&mut bytes));
        }
        bytes
    }

    fn platform(&self) -> &Platform {
        &self.platform
    }
}
