//! The safetensors header: reading any spelling under caps, writing the only legal one.
//!
//! Reading never relies on this parser being strict: whatever it understood is written again canonically and
//! compared byte by byte. Its own checks exist for better messages.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::TraceError;
use crate::error::shown;
use crate::layout::Tensor;
use crate::limits::MAX_TENSORS;

/// A header as some file spells it.
pub(crate) struct RawHeader {
    pub manifest: String,
    pub tensors: Vec<(String, RawTensor)>,
}

/// A tensor's entry as some file spells it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetadata {
    assay: String,
}

impl RawHeader {
    /// Decodes header text. Memory stays within a small multiple of the text's length.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        serde_json::from_str(text).map_err(|err| TraceError::HeaderJson {
            reason: shown(&err.to_string()),
        })
    }

    /// Compares the tensors with those called for, naming the first difference.
    pub fn expect_tensors(&self, want: &[Tensor]) -> Result<(), TraceError> {
        // By name: comparing each with each would take a hostile file of thousands of tensors most of a second.
        let mut found: BTreeMap<&str, (&RawTensor, bool)> = BTreeMap::new();
        for (name, raw) in &self.tensors {
            let entry = found.entry(name);
            entry
                .and_modify(|(_, again)| *again = true)
                .or_insert((raw, false));
        }
        for tensor in want {
            let name = || tensor.name.clone();
            let Some((raw, again)) = found.remove(tensor.name.as_str()) else {
                return Err(TraceError::MissingTensor { name: name() });
            };
            if again {
                return Err(TraceError::DuplicateTensor { name: name() });
            }
            raw.expect(tensor)?;
        }
        match found.first_key_value() {
            Some((name, _)) => Err(TraceError::ExtraTensor { name: shown(name) }),
            None => Ok(()),
        }
    }
}

impl RawTensor {
    fn expect(&self, want: &Tensor) -> Result<(), TraceError> {
        let name = || want.name.clone();
        if self.dtype != want.dtype {
            return Err(TraceError::TensorDtype {
                name: name(),
                got: shown(&self.dtype),
                want: want.dtype,
            });
        }
        if self.shape != want.shape {
            let got_rank = self.shape.len();
            return Err(TraceError::TensorShape {
                name: name(),
                got_rank,
                want: want.shape.clone(),
            });
        }
        if self.data_offsets != want.offsets {
            return Err(TraceError::TensorOffsets {
                name: name(),
                got: self.data_offsets,
                want: want.offsets,
            });
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Keeps entries in a list: a map would hide duplicate keys.
struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let (mut manifest, mut tensors) = (None, Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            if key != "__metadata__" {
                if tensors.len() == MAX_TENSORS {
                    return Err(A::Error::custom(format_args!(
                        "more than {MAX_TENSORS} tensors"
                    )));
                }
                tensors.push((key, map.next_value()?));
            } else if manifest
                .replace(map.next_value::<RawMetadata>()?.assay)
                .is_some()
            {
                return Err(A::Error::custom("`__metadata__` appears twice"));
            }
        }
        let manifest = manifest.ok_or_else(|| A::Error::custom("`__metadata__` is missing"))?;
        Ok(RawHeader { manifest, tensors })
    }
}

/// The header's bytes, length field not included: what the safetensors crate writes for these tensors and the one
/// metadata key `assay`.
pub(crate) fn canonical(manifest_json: &str, tensors: &[Tensor]) -> Vec<u8> {
    // Cannot fail: a string always serializes.
    let manifest = serde_json::to_string(manifest_json).unwrap_or_default();
    let mut text = format!(r#"{{"__metadata__":{{"assay":{manifest}}}"#);
    for Tensor {
        name,
        dtype,
        shape,
        offsets: [start, end],
        ..
    } in tensors
    {
        let shape: Vec<String> = shape.iter().map(u64::to_string).collect();
        let shape = shape.join(",");
        text += &format!(
            r#","{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{start},{end}]}}"#
        );
    }
    text.push('}');
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(8), b' ');
    bytes
}
