//! The header of a GGUF file, versions 2 and 3: metadata and the table of tensors. Everything is little-endian.
//!
//! ```text
//! "GGUF", u32 version, u64 tensors, u64 entries
//! entry:  text key, u32 type, value            text: u64 length, bytes
//! tensor: text name, u32 rank, u64 dimensions (the one that varies fastest first), u32 type, u64 offset within the data
//! zeros up to a multiple of `general.alignment`, then the data
//! ```
//!
//! Nothing in a header sizes an allocation before it was compared with the file's length or a ceiling.
use super::cursor::Cursor;
use super::kinds::Kind;
use super::metadata::{Metadata, Texts, Value};
use crate::config::most;
use crate::{ByteSource, ModelError};
use assay_trace::Digest;
use std::collections::BTreeMap;

pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// More than any file has: a few dozen entries, and 16 tensors a layer.
const MAX_ENTRIES: u64 = 1 << 16;
const MAX_TENSORS: u64 = 1 << 16;
const MAX_KEY_BYTES: u64 = 1 << 10;
const MAX_NAME_BYTES: u64 = 1 << 8;
/// Longer texts (chat templates, licences) are skipped.
const MAX_TEXT_BYTES: u64 = 1 << 12;
const MAX_MERGES: u64 = 1 << 22;
const MAX_ALIGNMENT: u64 = 1 << 20;
const MAX_RANK: u32 = 4;

/// Entries that say how text becomes ids.
pub(super) const TOKENIZER: &str = "tokenizer.ggml.";

/// What a header says, checked as far as it can be without knowing the model.
pub(super) struct Header {
    pub metadata: Metadata,
    pub tensors: BTreeMap<String, Entry>,
    /// SHA-256 over the SHA-256 of each entry that describes the tokenizer, in the file's order.
    pub tokenizer_digest: Digest,
}

/// A tensor as the table describes it; `offset` counts from the start of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub kind: Kind,
    /// The dimension that varies fastest last, as everywhere else in this crate.
    pub shape: Vec<u64>,
    pub offset: u64,
    pub bytes: u64,
}

/// Reads and checks the header of `source`; `file` names it in errors.
pub(super) fn read(source: &dyn ByteSource, file: &str) -> Result<Header, ModelError> {
    let mut cursor = Cursor::new(source, file);
    let magic = cursor.bytes(4)?;
    if magic != MAGIC {
        return Err(ModelError::GgufMagic {
            file: file.to_owned(),
        });
    }
    let version = cursor.u32()?;
    if !matches!(version, 2 | 3) {
        return Err(ModelError::GgufVersion {
            got: version,
            file: file.to_owned(),
        });
    }
    let n_tensors = cursor.count("tensors", MAX_TENSORS)?;
    let n_entries = cursor.count("metadata entries", MAX_ENTRIES)?;

    let mut metadata = Metadata::default();
    let mut digests = Vec::new();
    for _ in 0..n_entries {
        let begin = cursor.at();
        let key = cursor.text("a key", MAX_KEY_BYTES)?;
        let value = read_value(&mut cursor, &key)?;
        if key.starts_with(TOKENIZER) {
            let bytes = source.read(begin, (cursor.at() - begin) as usize)?;
            digests.extend(Digest::of(&bytes).0);
        }
        metadata.insert(key, value)?;
    }
    let alignment = metadata.size("general.alignment")?.unwrap_or(32) as u64;
    if !alignment.is_power_of_two() || !(8..=MAX_ALIGNMENT).contains(&alignment) {
        return Err(ModelError::GgufAlignment {
            got: alignment,
            most: MAX_ALIGNMENT,
        });
    }

    let mut table = Vec::new();
    for _ in 0..n_tensors {
        table.push(RawEntry::read(&mut cursor, alignment)?);
    }
    let data_start = cursor.at().next_multiple_of(alignment).min(source.len());
    let mut tensors = BTreeMap::new();
    for raw in table {
        let (name, entry) = raw.check(data_start, source.len(), file)?;
        if tensors.insert(name.clone(), entry).is_some() {
            let file = file.to_owned();
            return Err(ModelError::DuplicateName { name, file });
        }
    }
    check_cover(&tensors, data_start, source.len(), alignment, file)?;
    Ok(Header {
        metadata,
        tensors,
        tokenizer_digest: Digest::of(&digests),
    })
}

/// Bytes of a value of this type, if they are always as many.
fn fixed_bytes(kind: u32) -> Option<u64> {
    Some(match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        _ => return None,
    })
}

const TEXT: u32 = 8;
const LIST: u32 = 9;

fn read_value(cursor: &mut Cursor, key: &str) -> Result<Value, ModelError> {
    let kind = cursor.u32()?;
    Ok(match kind {
        0 => Value::Unsigned(cursor.array::<1>()?[0].into()),
        1 => Value::Signed(i8::from_le_bytes(cursor.array()?).into()),
        2 => Value::Unsigned(u16::from_le_bytes(cursor.array()?).into()),
        3 => Value::Signed(i16::from_le_bytes(cursor.array()?).into()),
        4 => Value::Unsigned(cursor.u32()?.into()),
        5 => Value::Signed(i32::from_le_bytes(cursor.array()?).into()),
        6 => Value::Float(f32::from_le_bytes(cursor.array()?).into()),
        7 => Value::Flag(cursor.array::<1>()?[0] != 0),
        TEXT => {
            let len = cursor.u64()?;
            if len > MAX_TEXT_BYTES {
                cursor.skip(len)?;
                return Ok(Value::Other("a long text"));
            }
            match String::from_utf8(cursor.bytes(len)?.to_vec()) {
                Ok(text) => Value::Text(text),
                Err(_) => Value::Other("a text that is not UTF-8"),
            }
        }
        LIST => read_list(cursor, key)?,
        10 => Value::Unsigned(cursor.u64()?),
        11 => Value::Signed(i64::from_le_bytes(cursor.array()?)),
        12 => Value::Float(f64::from_le_bytes(cursor.array()?)),
        _ => return Err(unknown_type(key, kind)),
    })
}

/// A list: kept if the tokenizer is made of it, or else skipped.
fn read_list(cursor: &mut Cursor, key: &str) -> Result<Value, ModelError> {
    let kind = cursor.u32()?;
    let count = cursor.u64()?;
    // A text has at least its length.
    let least_bytes = match kind {
        TEXT => 8,
        _ => fixed_bytes(kind).ok_or_else(|| unknown_type(key, kind))?,
    };
    cursor.expect(count.saturating_mul(least_bytes))?;
    let ceiling = |what, most| match count > most {
        true => Err(ModelError::GgufCount {
            what,
            got: count,
            most,
        }),
        false => Ok(()),
    };
    let name = key.strip_prefix(TOKENIZER).unwrap_or_default();
    match (name, kind) {
        ("tokens", TEXT) => ceiling("tokens", most::VOCAB as u64)?,
        ("merges", TEXT) => ceiling("merges", MAX_MERGES)?,
        ("scores", 6) => {
            ceiling("scores", most::VOCAB as u64)?;
            let words = cursor.bytes(4 * count)?.as_chunks().0;
            let floats = words.iter().map(|word| f32::from_le_bytes(*word));
            return Ok(Value::Floats(floats.collect()));
        }
        ("token_type", 4 | 5) => {
            ceiling("token types", most::VOCAB as u64)?;
            let words = cursor.bytes(4 * count)?.as_chunks().0;
            let integers = words.iter().map(|word| i32::from_le_bytes(*word));
            return Ok(Value::Integers(integers.collect()));
        }
        (_, TEXT) => {
            for _ in 0..count {
                let len = cursor.u64()?;
                cursor.skip(len)?;
            }
            return Ok(Value::Other("a list of texts"));
        }
        _ => {
            cursor.skip(count * least_bytes)?;
            return Ok(Value::Other("a list of numbers"));
        }
    }
    let mut texts = Texts::default();
    for _ in 0..count {
        let len = cursor.u64()?;
        texts.push(cursor.bytes(len)?);
    }
    Ok(Value::Texts(texts))
}

fn unknown_type(key: &str, kind: u32) -> ModelError {
    ModelError::GgufValueType {
        key: key.to_owned(),
        got: kind,
    }
}

/// A row of the table, before it is known where the data starts.
struct RawEntry {
    name: String,
    kind: Kind,
    shape: Vec<u64>,
    /// From the start of the data.
    offset: u64,
}

impl RawEntry {
    fn read(cursor: &mut Cursor, alignment: u64) -> Result<Self, ModelError> {
        let name = cursor.text("a tensor's name", MAX_NAME_BYTES)?;
        let rank = cursor.u32()?;
        if rank > MAX_RANK {
            return Err(ModelError::Rank {
                name,
                got: rank as usize,
                most: MAX_RANK as usize,
                file: cursor.file().to_owned(),
            });
        }
        let mut shape = Vec::new();
        for _ in 0..rank {
            shape.push(cursor.u64()?);
        }
        shape.reverse();
        let number = cursor.u32()?;
        let offset = cursor.u64()?;
        let Some(kind) = Kind::of(number) else {
            return Err(ModelError::TensorDtype {
                name,
                got: format!("type {number}"),
                file: cursor.file().to_owned(),
            });
        };
        if !offset.is_multiple_of(alignment) {
            return Err(ModelError::GgufOffset {
                name,
                got: offset,
                alignment,
                file: cursor.file().to_owned(),
            });
        }
        Ok(Self {
            name,
            kind,
            shape,
            offset,
        })
    }

    fn check(
        self,
        data_start: u64,
        file_bytes: u64,
        file: &str,
    ) -> Result<(String, Entry), ModelError> {
        let Self {
            name,
            kind,
            shape,
            offset,
        } = self;
        let file = || file.to_owned();
        let cols = shape.last().copied().unwrap_or(1);
        if !cols.is_multiple_of(kind.block) {
            return Err(ModelError::GgufBlock {
                name,
                kind: kind.name,
                got: cols,
                block: kind.block,
                file: file(),
            });
        }
        let elements = shape
            .iter()
            .try_fold(1u64, |elements, dim| elements.checked_mul(*dim));
        let Some(bytes) = elements.and_then(|n| (n / kind.block).checked_mul(kind.bytes)) else {
            return Err(ModelError::ShapeOverflow {
                name,
                shape,
                file: file(),
            });
        };
        let data_bytes = file_bytes - data_start;
        let end = offset.saturating_add(bytes);
        if end > data_bytes {
            return Err(ModelError::OffsetsOutside {
                name,
                begin: offset,
                end,
                data_bytes,
                file: file(),
            });
        }
        let entry = Entry {
            kind,
            shape,
            offset: data_start + offset,
            bytes,
        };
        Ok((name, entry))
    }
}

/// Tensors follow one another with no more than padding between them, and fill the data.
fn check_cover(
    tensors: &BTreeMap<String, Entry>,
    start: u64,
    end: u64,
    alignment: u64,
    file: &str,
) -> Result<(), ModelError> {
    let mut by_offset: Vec<_> = tensors.iter().collect();
    by_offset.sort_unstable_by(|(a, of), (b, than)| {
        (of.offset, of.bytes, a).cmp(&(than.offset, than.bytes, b))
    });
    let (mut at, mut last) = (start, "");
    let padding_only = |begin: u64, end: u64| match end - begin >= alignment {
        true => Err(ModelError::Hole {
            begin: begin - start,
            end: end - start,
            file: file.to_owned(),
        }),
        false => Ok(()),
    };
    for (name, entry) in by_offset {
        if entry.offset < at {
            return Err(ModelError::Overlap {
                first: last.to_owned(),
                second: name.clone(),
                file: file.to_owned(),
            });
        }
        padding_only(at, entry.offset)?;
        // No overflow: `RawEntry::check` put both ends inside the file.
        at = entry.offset + entry.bytes;
        last = name;
    }
    padding_only(at, end)
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
