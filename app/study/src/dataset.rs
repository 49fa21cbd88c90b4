//! A dataset: hidden states, activations and head norms of one model over one text, in a folder.
//!
//! The form is docs/sparse-data.md. `dataset.json` says what the numbers are and never changes; `progress.json` says how many rows
//! are complete and is replaced only after their bytes are on the disk, so a killed run goes on at its last complete chunk.
//! [`Writer`] appends, [`Dataset`] reads through mapped files; both refuse a folder of another model, text or shape.

mod facts;
mod progress;
mod reader;
mod split;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

pub use facts::{Activation, DatasetFacts, MAX_ROWS, TextFacts};
pub use reader::{Dataset, Matrix};
pub use split::{Part, Split};
pub use stream::Stream;
pub use writer::{MAX_CHUNK_ROWS, Rows, Writer};

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowId {
    /// The token that went in.
    pub token: u32,
    /// Its position in the sequence that the model ran.
    pub position: u32,
    /// Its document or segment, from 0. Rows of one document are never on both sides of a split.
    pub document: u32,
}

impl RowId {
    /// Bytes in the file `rows`: token, position, document, each `u32le`.
    pub const BYTES: usize = 12;

    fn encode(self, out: &mut Vec<u8>) {
        for word in [self.token, self.position, self.document] {
            out.extend_from_slice(&word.to_le_bytes());
        }
    }

    /// `None` unless there are exactly [`RowId::BYTES`] bytes.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[token, position, document], []) = bytes.as_chunks::<4>() else {
            return None;
        };
        Some(Self {
            token: u32::from_le_bytes(token),
            position: u32::from_le_bytes(position),
            document: u32::from_le_bytes(document),
        })
    }
}

/// File names inside the folder.
const DATASET: &str = "dataset.json";
const PROGRESS: &str = "progress.json";
const ROWS: &str = "rows";
const LOCK: &str = "lock";
