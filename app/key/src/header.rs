//! The safetensors header: finding the metadata in any spelling, writing the only legal one.
//!
//! Reading never relies on the JSON parser being strict: what it understood is written again and compared byte by byte.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};

use crate::KeyError;
use crate::error::shown;
use crate::facts::Facts;
use crate::layout::Layout;

/// Header bytes: the largest legal header (1024 layers with biases, 31 thousand tensors) stays below 4 MiB.
pub(crate) const MAX_HEADER_BYTES: u64 = 4 << 20;
/// File bytes: 4 GiB. A key of Llama 3.1 405B with all its layers and 16 projections is 1.5 GB.
pub(crate) const MAX_FILE_BYTES: u64 = 4 << 30;
/// How every plain key goes on after the eight bytes of its header's length.
pub(crate) const BEGINNING: &str = r#"{"__metadata__":{"assay-key":""#;

/// What a header says, in whatever spelling.
pub(crate) struct RawHeader {
    /// The facts' text.
    pub facts: String,
    /// Tensors, whatever they are.
    pub tensors: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetadata {
    #[serde(rename = "assay-key")]
    facts: String,
}

impl RawHeader {
    /// Decodes header text. Memory stays within a small multiple of the text's length.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        serde_json::from_str(text).map_err(|err| KeyError::HeaderJson {
            reason: shown(&err.to_string()),
        })
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = RawHeader;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
                let (mut facts, mut tensors) = (None, 0);
                while let Some(key) = map.next_key::<String>()? {
                    if key == "__metadata__" {
                        facts = Some(map.next_value::<RawMetadata>()?.facts);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                        tensors += 1;
                    }
                }
                let facts = facts.ok_or_else(|| A::Error::custom("`__metadata__` is missing"))?;
                Ok(RawHeader { facts, tensors })
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// The header's bytes, length field not included: what the safetensors crate writes for these tensors and the one metadata key.
pub(crate) fn canonical(facts: &Facts, layout: &Layout) -> Vec<u8> {
    // Cannot fail: a string always serializes.
    let facts = serde_json::to_string(&facts.canonical_json()).unwrap_or_default();
    let mut text = format!(r#"{{"__metadata__":{{"assay-key":{facts}}}"#);
    for tensor in &layout.tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        text += &format!(
            r#","{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#,
            name = tensor.name,
            dtype = tensor.dtype.as_str(),
            shape = shape.join(","),
            start = tensor.offsets.start,
            end = tensor.offsets.end,
        );
    }
    text.push('}');
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}

/// Bytes of the whole file.
pub(crate) fn file_bytes(facts: &Facts, layout: &Layout) -> Result<u64, KeyError> {
    let got = 8 + canonical(facts, layout).len() as u64 + layout.data_bytes;
    check_file_bytes(got)?;
    Ok(got)
}

/// Refuses a length above the cap.
pub(crate) fn check_file_bytes(got: u64) -> Result<(), KeyError> {
    if got > MAX_FILE_BYTES {
        let most = MAX_FILE_BYTES;
        return Err(KeyError::FileTooLarge { got, most });
    }
    Ok(())
}
