//! Assay in a browser: the page's canvas, and the worker that owns the GPU.
//!
//! One module serves both: the page makes a [`page::Page`], the worker calls [`worker::worker_main`]. Between them go the messages
//! of `assay_work` as bytes, and the files that the user chose as the browser's own handles: no file is ever read on the page's thread.
#![cfg(target_arch = "wasm32")]

mod page;
mod shell;
mod worker;

pub use page::Page;
pub use worker::worker_main;
