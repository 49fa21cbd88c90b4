//! Downloaded weights in the browser's private storage (OPFS): found again at the next visit, resumed where a download broke, and
//! deleted by the user's word.
//!
//! One folder holds a file for each address and one index. The index is a hint: what the weights are is told by the model root, which
//! every verification hashes anew.

use assay_trace::Digest;
use assay_work::message::{CacheEntry, Failure};
use eframe::wasm_bindgen::{JsCast as _, JsValue};
use serde::{Deserialize, Serialize};
use web_sys::{
    FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemReadWriteOptions, FileSystemSyncAccessHandle,
};

use super::handles::{HandleSource, words};
use super::net::{self, wait};
use super::scope;

const FOLDER: &str = "assay-models";
const INDEX: &str = "index.json";
/// Times that a broken download is taken up again before the user hears of it.
const RETRIES: usize = 3;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Entry {
    key: String,
    origin: String,
    bytes: u64,
    version: String,
    complete: bool,
}

/// The folder.
pub struct Cache {
    folder: FileSystemDirectoryHandle,
}

impl Cache {
    /// Opens it; `None` where the browser has no such storage (in some private windows).
    pub async fn open() -> Option<Self> {
        let storage = scope().navigator().storage();
        let root = wait(storage.get_directory().unchecked_into()).await.ok()?;
        let root: FileSystemDirectoryHandle = root.unchecked_into();
        let create = FileSystemGetDirectoryOptions::new();
        create.set_create(true);
        let folder = root.get_directory_handle_with_options(FOLDER, &create);
        let folder = wait(folder.unchecked_into()).await.ok()?;
        Some(Self {
            folder: folder.unchecked_into(),
        })
    }

    /// What is there.
    pub async fn entries(&self) -> Vec<CacheEntry> {
        let entry = |entry: Entry| CacheEntry {
            key: entry.key,
            origin: entry.origin,
            bytes: entry.bytes,
            complete: entry.complete,
        };
        self.index().await.into_iter().map(entry).collect()
    }

    /// Deletes one entry, or all.
    pub async fn clear(&self, key: Option<&str>) -> Result<(), Failure> {
        let mut index = self.index().await;
        let is_meant = |entry: &Entry| key.is_none_or(|key| key == entry.key);
        for entry in index.iter().filter(|entry| is_meant(entry)) {
            let removed = self.folder.remove_entry(&entry.key);
            if let Err(err) = wait(removed.unchecked_into()).await {
                log::warn!("{} is not deleted: {}", entry.origin, words(err));
            }
        }
        index.retain(|entry| !is_meant(entry));
        self.set_index(&index).await.map_err(storage_failure)
    }

    /// The file at `url`, downloaded if it is not here yet, or continued if part of it is. `None` if the server has no such file.
    pub async fn fetch(
        &self,
        url: &str,
        fetched: &mut dyn FnMut(u64, u64) -> Result<(), Failure>,
    ) -> Result<Option<HandleSource>, Failure> {
        let key = Digest::of(url.as_bytes()).to_string();
        let handle = self.handle(&key).await.map_err(storage_failure)?;
        let result = self.fill(&key, url, &handle, fetched).await;
        match result {
            Ok(Some(bytes)) => Ok(Some(HandleSource::stored(handle, bytes, url))),
            Ok(None) => {
                handle.close();
                self.clear(Some(&key)).await?;
                Ok(None)
            }
            Err(failure) => {
                handle.close();
                Err(failure)
            }
        }
    }

    /// Brings a stored file to its full length, which it returns.
    async fn fill(
        &self,
        key: &str,
        url: &str,
        handle: &FileSystemSyncAccessHandle,
        fetched: &mut dyn FnMut(u64, u64) -> Result<(), Failure>,
    ) -> Result<Option<u64>, Failure> {
        let known = self
            .index()
            .await
            .into_iter()
            .find(|entry| entry.key == key);
        let stored = handle.get_size().map_err(words).map_err(storage)? as u64;
        if let Some(entry) = known
            .as_ref()
            .filter(|entry| entry.complete && entry.bytes == stored)
        {
            fetched(entry.bytes, entry.bytes)?;
            return Ok(Some(entry.bytes));
        }
        let mut entry = known.unwrap_or_default();
        let mut tries = 0;
        loop {
            let have = handle.get_size().map_err(words).map_err(storage)? as u64;
            let have = if entry.version.is_empty() { 0 } else { have };
            let Some(answer) = net::ask(url, have).await? else {
                return Ok(None);
            };
            // A file that changed on its server, or one that cannot be taken up in the middle, starts over.
            let is_same = have > 0 && answer.from == have && answer.version == entry.version;
            if have > 0 && answer.from > 0 && !is_same {
                entry.version.clear();
                continue;
            }
            let mut at = answer.from;
            handle
                .truncate_with_f64(at as f64)
                .map_err(words)
                .map_err(storage)?;
            entry = Entry {
                key: key.to_owned(),
                origin: url.to_owned(),
                bytes: answer.bytes.unwrap_or(0),
                version: answer.version.clone(),
                complete: false,
            };
            self.set_entry(&entry).await.map_err(storage_failure)?;
            let total = entry.bytes;
            let place = FileSystemReadWriteOptions::new();
            let mut take = |piece: &[u8]| {
                place.set_at(at as f64);
                let wrote = handle
                    .write_with_u8_array_and_options(piece, &place)
                    .map_err(words)
                    .map_err(storage)?;
                if wrote as usize != piece.len() {
                    return Err(storage("there is no room left".to_owned()));
                }
                at += piece.len() as u64;
                fetched(at, total)
            };
            match answer.read(url, &mut take).await {
                Ok(()) => {
                    drop(handle.flush());
                    entry.bytes = at;
                    entry.complete = true;
                    self.set_entry(&entry).await.map_err(storage_failure)?;
                    return Ok(Some(at));
                }
                Err(failure) if failure.code == net::INTERRUPTED && tries < RETRIES => tries += 1,
                Err(failure) => {
                    drop(handle.flush());
                    return Err(failure);
                }
            }
        }
    }

    async fn handle(&self, name: &str) -> Result<FileSystemSyncAccessHandle, JsValue> {
        let create = FileSystemGetFileOptions::new();
        create.set_create(true);
        let file = self.folder.get_file_handle_with_options(name, &create);
        let file: FileSystemFileHandle = wait(file.unchecked_into()).await?.unchecked_into();
        let handle = wait(file.create_sync_access_handle().unchecked_into()).await?;
        Ok(handle.unchecked_into())
    }

    async fn index(&self) -> Vec<Entry> {
        let read = async {
            let handle = self.handle(INDEX).await?;
            let size = handle.get_size()? as usize;
            let mut bytes = vec![0; size.min(1 << 20)];
            let got = handle.read_with_u8_array(&mut bytes);
            handle.close();
            bytes.truncate(got? as usize);
            Ok::<_, JsValue>(bytes)
        };
        let bytes = read.await.unwrap_or_default();
        serde_json::from_slice(&bytes).unwrap_or_default()
    }

    async fn set_index(&self, index: &[Entry]) -> Result<(), JsValue> {
        let text = serde_json::to_vec(index).unwrap_or_default();
        let handle = self.handle(INDEX).await?;
        let written = handle
            .truncate_with_u32(0)
            .and_then(|()| handle.write_with_u8_array(&text));
        drop(handle.flush());
        handle.close();
        written.map(drop)
    }

    async fn set_entry(&self, entry: &Entry) -> Result<(), JsValue> {
        let mut index = self.index().await;
        index.retain(|known| known.key != entry.key);
        index.push(entry.clone());
        self.set_index(&index).await
    }
}

fn storage(words: String) -> Failure {
    Failure::new("storage", format!("the browser's storage failed: {words}")).with_next(
        "free some space (Storage shows what Assay keeps), or open the model from your disk",
    )
}

fn storage_failure(err: JsValue) -> Failure {
    storage(words(err))
}
