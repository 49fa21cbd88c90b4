//! Bytes behind the browser's handles, read synchronously, as a worker may. Handles belong to this thread; a source holds a number.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use assay_model::{ByteSource, ModelError};
use eframe::wasm_bindgen::JsValue;
use js_sys::Uint8Array;
use web_sys::{File, FileReaderSync, FileSystemReadWriteOptions, FileSystemSyncAccessHandle};

/// What a source reads from.
enum Handle {
    /// A file on the user's disk.
    File(File),
    /// A file in the browser's private storage, locked while it is open.
    Stored(FileSystemSyncAccessHandle),
    /// An address, by ranges.
    Remote(String),
}

#[derive(Default)]
struct Table {
    next: u32,
    open: HashMap<u32, Handle>,
    picked: HashMap<u32, File>,
}

thread_local! {
    static TABLE: RefCell<Table> = RefCell::default();
}

/// Keeps a file that the user picked.
pub fn keep_picked(number: u32, file: File) {
    TABLE.with_borrow_mut(|table| table.picked.insert(number, file));
}

/// A source of open bytes; closes its handle when it goes.
pub struct HandleSource {
    number: u32,
    bytes: u64,
    name: String,
}

impl HandleSource {
    fn new(handle: Handle, bytes: u64, name: &str) -> Self {
        let number = TABLE.with_borrow_mut(|table| {
            table.next += 1;
            table.open.insert(table.next, handle);
            table.next
        });
        Self {
            number,
            bytes,
            name: name.to_owned(),
        }
    }

    /// The file that the user picked under this number.
    pub fn picked(number: u32) -> Option<Self> {
        let file = TABLE.with_borrow(|table| table.picked.get(&number).cloned())?;
        let (bytes, name) = (file.size() as u64, file.name());
        Some(Self::new(Handle::File(file), bytes, &name))
    }

    /// A stored file.
    pub fn stored(handle: FileSystemSyncAccessHandle, bytes: u64, name: &str) -> Self {
        Self::new(Handle::Stored(handle), bytes, name)
    }

    /// An address whose server answers ranges.
    pub fn remote(url: &str, bytes: u64) -> Self {
        Self::new(Handle::Remote(url.to_owned()), bytes, url)
    }

    fn fault(&self, words: impl std::fmt::Display) -> ModelError {
        ModelError::Io {
            what: "read",
            source: std::io::Error::other(words.to_string()),
            path: self.name.clone().into(),
        }
    }
}

impl ByteSource for HandleSource {
    fn len(&self) -> u64 {
        self.bytes
    }

    fn read(&self, offset: u64, len: usize) -> Result<Cow<'_, [u8]>, ModelError> {
        let end = offset.saturating_add(len as u64);
        if end > self.bytes {
            return Err(ModelError::ReadOutside {
                begin: offset,
                end,
                most: self.bytes,
            });
        }
        if len == 0 {
            return Ok(Cow::Borrowed(&[]));
        }
        let read = TABLE.with_borrow(|table| match table.open.get(&self.number) {
            Some(Handle::File(file)) => read_file(file, offset, end),
            Some(Handle::Stored(handle)) => read_stored(handle, offset, len),
            Some(Handle::Remote(url)) => super::net::read_range(url, offset, len),
            None => Err("its handle belongs to another thread".to_owned()),
        });
        let bytes = read.map_err(|words| self.fault(words))?;
        match bytes.len() == len {
            true => Ok(Cow::Owned(bytes)),
            false => Err(self.fault(format!(
                "got {} bytes, want {len}: it changed or was cut while it was read",
                bytes.len()
            ))),
        }
    }
}

impl Drop for HandleSource {
    fn drop(&mut self) {
        let handle = TABLE.with_borrow_mut(|table| table.open.remove(&self.number));
        if let Some(Handle::Stored(handle)) = handle {
            handle.close();
        }
    }
}

fn read_file(file: &File, begin: u64, end: u64) -> Result<Vec<u8>, String> {
    // Exact: file lengths are far below 2^53.
    let piece = file
        .slice_with_f64_and_f64(begin as f64, end as f64)
        .map_err(words)?;
    let reader = FileReaderSync::new().map_err(words)?;
    let buffer = reader.read_as_array_buffer(&piece).map_err(words)?;
    Ok(Uint8Array::new(&buffer).to_vec())
}

fn read_stored(
    handle: &FileSystemSyncAccessHandle,
    offset: u64,
    len: usize,
) -> Result<Vec<u8>, String> {
    let mut bytes = vec![0; len];
    let at = FileSystemReadWriteOptions::new();
    at.set_at(offset as f64);
    let got = handle
        .read_with_u8_array_and_options(&mut bytes, &at)
        .map_err(words)?;
    bytes.truncate(got as usize);
    Ok(bytes)
}

/// An exception's own words.
pub fn words(err: JsValue) -> String {
    let message = js_sys::Reflect::get(&err, &"message".into());
    message
        .ok()
        .and_then(|message| message.as_string())
        .unwrap_or_else(|| format!("{err:?}"))
}
