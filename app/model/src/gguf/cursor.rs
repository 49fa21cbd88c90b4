//! Reading a header front to back, a piece of the file at a time: how long it is stands nowhere.
use crate::{ByteSource, ModelError};
use std::borrow::Cow;

/// The largest header that is read. That of a model with 128 thousand tokens has 8 MB.
pub(super) const MAX_HEADER_BYTES: u64 = 64 << 20;
/// Bytes asked for at a time.
const CHUNK_BYTES: u64 = 1 << 20;

pub(super) struct Cursor<'a> {
    source: &'a dyn ByteSource,
    file: &'a str,
    at: u64,
    chunk: Cow<'a, [u8]>,
    chunk_at: u64,
}

impl<'a> Cursor<'a> {
    pub fn new(source: &'a dyn ByteSource, file: &'a str) -> Self {
        Self {
            source,
            file,
            at: 0,
            chunk: Cow::Borrowed(&[]),
            chunk_at: 0,
        }
    }

    /// Bytes read so far.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The file's name.
    pub fn file(&self) -> &'a str {
        self.file
    }

    /// Refuses what does not fit into the file or a header, and says where `len` bytes from here end.
    pub fn expect(&self, len: u64) -> Result<u64, ModelError> {
        let end = self.at.saturating_add(len);
        if end > self.source.len() {
            return Err(ModelError::Truncated {
                got: self.source.len(),
                want: end,
                file: self.file.to_owned(),
            });
        }
        if end > MAX_HEADER_BYTES {
            return Err(ModelError::HeaderTooLarge {
                got: end,
                most: MAX_HEADER_BYTES,
                file: self.file.to_owned(),
            });
        }
        Ok(end)
    }

    pub fn skip(&mut self, len: u64) -> Result<(), ModelError> {
        self.at = self.expect(len)?;
        Ok(())
    }

    pub fn bytes(&mut self, len: u64) -> Result<&[u8], ModelError> {
        let end = self.expect(len)?;
        let chunk_end = self.chunk_at + self.chunk.len() as u64;
        if self.at < self.chunk_at || end > chunk_end {
            let rest = self.source.len().min(MAX_HEADER_BYTES) - self.at;
            // Both fit: the header's ceiling does.
            let ask = len.max(CHUNK_BYTES).min(rest) as usize;
            self.chunk = self.source.read(self.at, ask)?;
            self.chunk_at = self.at;
        }
        let begin = (self.at - self.chunk_at) as usize;
        self.at = end;
        let bytes = self.chunk.get(begin..begin + len as usize);
        bytes.ok_or(ModelError::ReadOutside {
            begin: end - len,
            end,
            most: self.source.len(),
        })
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let mut array = [0; N];
        array.copy_from_slice(self.bytes(N as u64)?);
        Ok(array)
    }

    pub fn u32(&mut self) -> Result<u32, ModelError> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, ModelError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of things, at most `most`.
    pub fn count(&mut self, what: &'static str, most: u64) -> Result<u64, ModelError> {
        let got = self.u64()?;
        match got > most {
            true => Err(ModelError::GgufCount { what, got, most }),
            false => Ok(got),
        }
    }

    /// A text of at most `most` bytes.
    pub fn text(&mut self, what: &'static str, most: u64) -> Result<String, ModelError> {
        let at = self.at;
        let got = self.u64()?;
        if got > most {
            return Err(ModelError::GgufLength {
                what,
                got,
                most,
                at,
            });
        }
        String::from_utf8(self.bytes(got)?.to_vec()).map_err(|_| ModelError::GgufText { what, at })
    }
}
