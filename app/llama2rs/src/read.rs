//! The file, read as an attacker's bytes.
//!
//! It has no magic and no version, and two revisions are about: B has a text in each entry, A has none. A file is read as B, then as A;
//! of the readings that use up every byte, the one whose hashes hold together wins, else the first.

use assay_trace::Digest;

use crate::error::ReadError;
use crate::hash::leaf_hash;
use crate::limits::{MAX_FILE_BYTES, MAX_PATH_BYTES, MAX_PROMPT_BYTES, MAX_STEPS, MAX_TEXT_BYTES};
use crate::tree;

/// Which form a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Revision {
    /// Commit 977305a: entries without text.
    A,
    /// Commit 5b6eb95: entries with text.
    B,
}

/// What a trace says about itself. Nothing binds it: anyone may change it without touching the root.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Metadata {
    /// The path that the program was given.
    pub model_path: String,
    /// The prompt's text.
    pub prompt: String,
    /// Steps asked for.
    pub steps: u64,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Position of the token that went in.
    pub position: i32,
    /// The token that went in; what came out is the next entry's.
    pub token: i32,
    /// Text of the token that came out (so of the *next* entry's), which no hash covers. Revision A has none.
    pub text: Option<String>,
    /// SHA-256 of all logits.
    pub logits: Digest,
}

impl Entry {
    /// The leaf that binds position, token and logits.
    pub fn leaf(&self) -> Digest {
        leaf_hash(self.position, self.token, &self.logits)
    }
}

/// A trace. Reading it proves nothing: leaves and root stand here as the file has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The form it was read in.
    pub revision: Revision,
    /// What it says about itself.
    pub metadata: Metadata,
    /// Steps.
    pub entries: Vec<Entry>,
    /// Leaves as stored, as many as entries.
    pub leaves: Vec<Digest>,
    /// Root as stored; `None` only without entries.
    pub root: Option<Digest>,
}

/// Whether a file that begins so may be such a trace: a length below 2^32 and then that much of a path. Assay's own traces begin with a
/// length too, but go on with `{`.
pub fn looks_like(bytes: &[u8]) -> bool {
    let mut reader = Reader { bytes, at: 0 };
    let text = |reader: &mut Reader<'_>, what, most| reader.text(what, most).is_ok();
    bytes.get(8) != Some(&b'{')
        && text(&mut reader, "model path", MAX_PATH_BYTES)
        && text(&mut reader, "prompt", MAX_PROMPT_BYTES)
        && reader.u64("steps").is_ok()
        && reader.u64("number of entries").is_ok()
}

impl Trace {
    /// Reads either revision. Every byte must be used: the program itself takes trailing bytes.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReadError> {
        let (got, most) = (bytes.len() as u64, MAX_FILE_BYTES);
        if got > most {
            return Err(ReadError::FileTooLarge { got, most });
        }
        let [newer, older] = [Revision::B, Revision::A].map(|revision| parse_as(bytes, revision));
        match (newer, older) {
            (Ok(newer), Ok(older)) if !newer.holds_together() && older.holds_together() => {
                Ok(older)
            }
            (Ok(newer), _) => Ok(newer),
            (Err(_), Ok(older)) => Ok(older),
            // Of two readings that both failed, the one that got further says more.
            (Err(newer), Err(older)) => Err(if older.at() > newer.at() {
                older
            } else {
                newer
            }),
        }
    }

    /// The root over the entries, whatever the file says.
    pub fn computed_root(&self) -> Option<Digest> {
        let leaves: Vec<Digest> = self.entries.iter().map(Entry::leaf).collect();
        tree::root(&leaves)
    }

    /// Whether leaves and root are those of the entries.
    pub fn holds_together(&self) -> bool {
        let same = |(entry, leaf): (&Entry, &Digest)| entry.leaf() == *leaf;
        self.entries.iter().zip(&self.leaves).all(same) && self.computed_root() == self.root
    }
}

fn parse_as(bytes: &[u8], revision: Revision) -> Result<Trace, ReadError> {
    let mut reader = Reader { bytes, at: 0 };
    let metadata = Metadata {
        model_path: reader.text("model path", MAX_PATH_BYTES)?,
        prompt: reader.text("prompt", MAX_PROMPT_BYTES)?,
        steps: reader.u64("steps")?,
    };
    let least = match revision {
        Revision::A => 40,
        Revision::B => 48,
    };
    let n = reader.count("number of entries", least)?;
    let mut entries = Vec::with_capacity(n);
    for _ in 0..n {
        entries.push(Entry {
            position: reader.i32("position")?,
            token: reader.i32("token")?,
            text: match revision {
                Revision::A => None,
                Revision::B => Some(reader.text("text", MAX_TEXT_BYTES)?),
            },
            logits: reader.digest("logits hash")?,
        });
    }
    let n = reader.count("number of leaves", Digest::LEN)?;
    let mut leaves = Vec::with_capacity(n);
    for _ in 0..n {
        leaves.push(reader.digest("leaf")?);
    }
    let root = match reader.array::<1>("root's tag")? {
        [0] => None,
        [1] => Some(reader.digest("root")?),
        [got] => {
            return Err(ReadError::Tag {
                at: reader.at - 1,
                got,
            });
        }
    };
    if reader.at < bytes.len() {
        return Err(ReadError::Trailing {
            at: reader.at,
            got: bytes.len() - reader.at,
        });
    }
    if entries.len() != leaves.len() {
        return Err(ReadError::Counts {
            entries: entries.len(),
            leaves: leaves.len(),
        });
    }
    if root.is_some() == entries.is_empty() {
        return Err(ReadError::RootPresence);
    }
    Ok(Trace {
        revision,
        metadata,
        entries,
        leaves,
        root,
    })
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], ReadError> {
        let Some(array) = self.rest().first_chunk::<N>() else {
            return Err(ReadError::Truncated { what, at: self.at });
        };
        self.at += N;
        Ok(*array)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, ReadError> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn i32(&mut self, what: &'static str) -> Result<i32, ReadError> {
        self.array(what).map(i32::from_le_bytes)
    }

    fn digest(&mut self, what: &'static str) -> Result<Digest, ReadError> {
        self.array(what).map(Digest)
    }

    /// A count of things of at least `least` bytes each: no more than the ceiling, and no more than the rest of the file can hold.
    fn count(&mut self, what: &'static str, least: usize) -> Result<usize, ReadError> {
        let at = self.at;
        let got = self.u64(what)?;
        let room = self.rest().len() / least;
        let most = room.min(MAX_STEPS) as u64;
        if got > most {
            return Err(ReadError::TooMany {
                what,
                at,
                got,
                most,
            });
        }
        Ok(got as usize) // at most `room`
    }

    fn text(&mut self, what: &'static str, most: usize) -> Result<String, ReadError> {
        let at = self.at;
        let got = self.u64(what)?;
        if got > most as u64 {
            let most = most as u64;
            return Err(ReadError::TooMany {
                what,
                at,
                got,
                most,
            });
        }
        let begin = self.at;
        let Some(text) = self.rest().get(..got as usize) else {
            return Err(ReadError::Truncated { what, at: begin });
        };
        self.at += text.len();
        match std::str::from_utf8(text) {
            Ok(text) => Ok(text.to_owned()),
            Err(err) => Err(ReadError::Utf8 {
                what,
                at: begin + err.valid_up_to(),
            }),
        }
    }
}

impl ReadError {
    /// How far the reader got.
    fn at(&self) -> usize {
        match self {
            Self::Truncated { at, .. }
            | Self::TooMany { at, .. }
            | Self::Utf8 { at, .. }
            | Self::Tag { at, .. }
            | Self::Trailing { at, .. } => *at,
            Self::Counts { .. } | Self::RootPresence => usize::MAX,
            Self::FileTooLarge { .. } => 0,
        }
    }
}

#[cfg(test)]
#[path = "read_tests.rs"]
mod tests;
