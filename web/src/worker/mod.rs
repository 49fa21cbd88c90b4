//! The worker: takes messages, does jobs one after another, and hears of cancels between their pieces.

mod cache;
mod handles;
mod model;
mod net;
mod platform;
mod prover;

use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

use assay_work::Worker;
use assay_work::message::{Event, Failure, JobId, News, ToWorker};
use eframe::wasm_bindgen;
use eframe::wasm_bindgen::prelude::*;
use js_sys::{Array, Uint8Array};
use wasm_bindgen_futures::spawn_local;
use web_sys::{DedicatedWorkerGlobalScope, File, MessageEvent};

use platform::WebPlatform;

/// Jobs that were cancelled, running or waiting.
type Cancelled = Rc<RefCell<HashSet<JobId>>>;

/// This worker's global scope.
fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Starts listening. Called once, by worker.js.
#[wasm_bindgen]
pub fn worker_main() {
    let (queue, jobs) = flume::unbounded();
    let cancelled = Cancelled::default();
    let heard = Rc::clone(&cancelled);
    let on_message = Closure::<dyn FnMut(MessageEvent)>::new(move |event: MessageEvent| {
        let data = event.data();
        if let Some(files) = data.dyn_ref::<Array>() {
            keep_files(files);
            return;
        }
        match ToWorker::from_bytes(&Uint8Array::new(&data).to_vec()) {
            Ok(ToWorker::Start { id, job }) => drop(queue.send((id, job))),
            Ok(ToWorker::Cancel { id }) => drop(heard.borrow_mut().insert(id)),
            Err(failure) => say(&Event {
                id: 0,
                news: News::Done(Err(failure)),
            }),
        }
    });
    scope().set_onmessage(Some(on_message.as_ref().unchecked_ref()));
    // It listens for as long as the worker lives.
    on_message.forget();
    spawn_local(async move {
        let mut worker = Worker::new(WebPlatform::new(Rc::clone(&cancelled)));
        while let Ok((id, job)) = jobs.recv_async().await {
            worker.run(id, job).await;
            cancelled.borrow_mut().remove(&id);
        }
    });
}

/// `[number, File, number, File, ..]` from the page.
fn keep_files(files: &Array) {
    let entries: Vec<JsValue> = files.iter().collect();
    for pair in entries.chunks_exact(2) {
        let [handle, file] = pair else { continue };
        if let (Some(handle), Some(file)) = (handle.as_f64(), file.dyn_ref::<File>()) {
            handles::keep_picked(handle as u32, file.clone());
        }
    }
}

/// Sends an event to the page.
fn say(event: &Event) {
    let bytes = event.to_bytes().unwrap_or_else(|failure| {
        let news = News::Done(Err(Failure::new("internal", failure.message)));
        Event { id: event.id, news }.to_bytes().unwrap_or_default()
    });
    let array = Uint8Array::from(bytes.as_slice());
    let transfer = Array::of1(&array.buffer());
    if let Err(err) = scope().post_message_with_transfer(&array, &transfer) {
        log::error!("the page did not hear: {err:?}");
    }
}
