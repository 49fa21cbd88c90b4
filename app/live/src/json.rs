//! Reading JSON.

use serde::de::{DeserializeOwned, Error as _};

/// Reads a value, as a manifest's text is read: from one kind of input there is one copy of the code for a page to download.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    match str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => Err(serde_json::Error::custom("not UTF-8")),
    }
}
