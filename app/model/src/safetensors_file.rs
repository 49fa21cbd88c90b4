//! The header of one safetensors file: `u64` length, JSON, then the tensors' bytes without holes, overlaps or a rest.
//!
//! Nothing in a header sizes an allocation before it was compared with the file's length or a ceiling.
use crate::{ByteSource, ModelError};
use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use std::collections::BTreeMap;

/// The largest header that is read. The format allows 100 MB; the header of a dense model with a thousand tensors has 150 kB.
pub(crate) const MAX_HEADER_BYTES: u64 = 16 << 20;
/// The most dimensions of a tensor, used or not.
pub(crate) const MAX_RANK: usize = 8;

/// A tensor as its header describes it; `offset` counts from the start of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub dtype: String,
    pub shape: Vec<u64>,
    pub offset: u64,
    pub bytes: u64,
}

/// Reads and checks the header of `source`; `file` names it in errors.
pub(crate) fn read_header(
    source: &dyn ByteSource,
    file: &str,
) -> Result<BTreeMap<String, Entry>, ModelError> {
    let truncated = |want| ModelError::Truncated {
        got: source.len(),
        want,
        file: file.to_owned(),
    };
    if source.len() < 8 {
        return Err(truncated(8));
    }
    let mut length = [0; 8];
    length.copy_from_slice(&source.read(0, 8)?);
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER_BYTES {
        return Err(ModelError::HeaderTooLarge {
            got: header_bytes,
            most: MAX_HEADER_BYTES,
            file: file.to_owned(),
        });
    }
    let data_start = 8 + header_bytes;
    let Some(data_bytes) = source.len().checked_sub(data_start) else {
        return Err(truncated(data_start));
    };
    let header = source.read(8, header_bytes as usize)?;
    let malformed = |cause: String| ModelError::Header {
        cause,
        file: file.to_owned(),
    };
    if header.first() != Some(&b'{') {
        return Err(malformed("it does not begin with `{`".to_owned()));
    }
    let Header { tensors, duplicate } =
        serde_json::from_slice(&header).map_err(|err| malformed(err.to_string()))?;
    if let Some(name) = duplicate {
        return Err(ModelError::DuplicateName {
            name,
            file: file.to_owned(),
        });
    }

    let mut entries = BTreeMap::new();
    for (name, raw) in tensors {
        let entry = raw.check(&name, data_start, data_bytes, file)?;
        entries.insert(name, entry);
    }
    check_cover(&entries, data_start, source.len(), file)?;
    Ok(entries)
}

/// Tensors follow one another and fill the data, as the format asks.
fn check_cover(
    entries: &BTreeMap<String, Entry>,
    start: u64,
    end: u64,
    file: &str,
) -> Result<(), ModelError> {
    let mut by_offset: Vec<_> = entries.iter().collect();
    by_offset.sort_unstable_by(|(a, of), (b, than)| {
        (of.offset, of.bytes, a).cmp(&(than.offset, than.bytes, b))
    });
    let (mut at, mut last) = (start, "");
    let hole = |begin, end| ModelError::Hole {
        begin: begin - start,
        end: end - start,
        file: file.to_owned(),
    };
    for (name, entry) in by_offset {
        if entry.offset < at {
            return Err(ModelError::Overlap {
                first: last.to_owned(),
                second: name.clone(),
                file: file.to_owned(),
            });
        }
        if entry.offset > at {
            return Err(hole(at, entry.offset));
        }
        // No overflow: `RawEntry::check` put both ends inside the file.
        at = entry.offset + entry.bytes;
        last = name;
    }
    if at == end {
        Ok(())
    } else {
        Err(hole(at, end))
    }
}

/// Bits of an element, for the types that the format knows.
fn element_bits(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "F4" => 4,
        "F6_E2M3" | "F6_E3M2" => 6,
        "BOOL" | "U8" | "I8" | "F8_E4M3" | "F8_E5M2" | "F8_E8M0" | "F8_E4M3FNUZ"
        | "F8_E5M2FNUZ" => 8,
        "I16" | "U16" | "F16" | "BF16" => 16,
        "I32" | "U32" | "F32" => 32,
        "I64" | "U64" | "F64" | "C64" => 64,
        _ => return None,
    })
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl RawEntry {
    fn check(
        self,
        name: &str,
        data_start: u64,
        data_bytes: u64,
        file: &str,
    ) -> Result<Entry, ModelError> {
        let Self {
            dtype,
            shape,
            data_offsets: [begin, end],
        } = self;
        let (name, file) = (name.to_owned(), file.to_owned());
        if shape.len() > MAX_RANK {
            return Err(ModelError::Rank {
                name,
                got: shape.len(),
                most: MAX_RANK,
                file,
            });
        }
        if begin > end || end > data_bytes {
            return Err(ModelError::OffsetsOutside {
                name,
                begin,
                end,
                data_bytes,
                file,
            });
        }
        let got = end - begin;
        // A type from the future is kept as it is: it can be skipped, and using it is refused by name.
        if let Some(element_bits) = element_bits(&dtype) {
            let bits = shape
                .iter()
                .try_fold(element_bits, |bits, dim| bits.checked_mul(*dim));
            let Some(bits) = bits else {
                return Err(ModelError::ShapeOverflow { name, shape, file });
            };
            let want = bits.div_ceil(8);
            if got != want {
                return Err(ModelError::TensorBytes {
                    name,
                    got,
                    want,
                    file,
                });
            }
        }
        Ok(Entry {
            dtype,
            shape,
            offset: data_start + begin,
            bytes: got,
        })
    }
}

/// A header, with the first name that occurs twice in it: a map would silently keep the last.
struct Header {
    tensors: BTreeMap<String, RawEntry>,
    duplicate: Option<String>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
                let mut header = Header {
                    tensors: BTreeMap::new(),
                    duplicate: None,
                };
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let entry = map
                        .next_value()
                        .map_err(|err| A::Error::custom(format!("tensor `{name}`: {err}")))?;
                    if header.tensors.insert(name.clone(), entry).is_some() {
                        header.duplicate.get_or_insert(name);
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

#[cfg(test)]
#[path = "safetensors_file_tests.rs"]
mod tests;
