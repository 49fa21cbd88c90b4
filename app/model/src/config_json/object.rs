//! JSON objects whose keys are read by type, and the errors that name a key.
use super::MAX_CONFIG_BYTES;
use crate::ModelError;
use serde_json::{Map, Value};

/// A JSON object whose keys are read by type; `null` counts as absent, as it does in Python's `config.key or default`.
pub(super) struct Object {
    map: Map<String, Value>,
}

impl Object {
    pub fn parse(file: &'static str, bytes: &[u8]) -> Result<Self, ModelError> {
        if bytes.len() > MAX_CONFIG_BYTES {
            let path = file.trim_matches('`').into();
            return Err(ModelError::FileTooLarge {
                got: bytes.len() as u64,
                most: MAX_CONFIG_BYTES as u64,
                path,
            });
        }
        let map =
            serde_json::from_slice(bytes).map_err(|source| ModelError::Json { file, source })?;
        Ok(Self { map })
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.map.keys().map(String::as_str)
    }

    pub fn contains(&self, key: &str) -> bool {
        self.map.contains_key(key)
    }

    pub fn raw(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        want: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.raw(key) else {
            return Ok(None);
        };
        read(value)
            .map(Some)
            .ok_or_else(|| ModelError::ConfigValue {
                key: key.to_owned(),
                got: shortened(value),
                want: want.to_owned(),
            })
    }

    pub fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.typed(key, "a whole number", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })
    }

    pub fn required_size(&self, key: &str) -> Result<usize, ModelError> {
        self.size(key)?.ok_or_else(|| ModelError::ConfigMissing {
            key: key.to_owned(),
        })
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.typed(key, "a number", Value::as_f64)
    }

    pub fn required_number(&self, key: &str) -> Result<f64, ModelError> {
        self.number(key)?.ok_or_else(|| ModelError::ConfigMissing {
            key: key.to_owned(),
        })
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.typed(key, "true or false", Value::as_bool)
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.typed(key, "a string", Value::as_str)
    }

    pub fn object(&self, key: &str) -> Result<Option<Self>, ModelError> {
        let map = self.typed(key, "an object", Value::as_object)?;
        Ok(map.map(|map| Self { map: map.clone() }))
    }

    /// One id or a list of them. An id that the model cannot emit is left out with a note; `default` stands for an absent key
    /// (not for `null`), if the model can emit it.
    pub fn ids(
        &self,
        key: &str,
        default: Option<u32>,
        vocab: usize,
        notes: &mut Vec<String>,
    ) -> Result<Vec<u32>, ModelError> {
        if !self.contains(key) {
            return Ok(default
                .into_iter()
                .filter(|id| (*id as usize) < vocab)
                .collect());
        }
        let list = |value: &Value| match value {
            Value::Array(items) => items
                .iter()
                .map(Value::as_i64)
                .collect::<Option<Vec<i64>>>(),
            one => one.as_i64().map(|id| vec![id]),
        };
        let mut ids = Vec::new();
        for id in self
            .typed(key, "an id or a list of ids", list)?
            .unwrap_or_default()
        {
            match u32::try_from(id) {
                Ok(id) if (id as usize) < vocab => ids.push(id),
                _ => notes.push(format!(
                    "`{key}` {id} is outside the vocabulary of {vocab} and was left out"
                )),
            }
        }
        Ok(ids)
    }
}

/// A value as an error shows it: never longer than a line.
fn shortened(value: &Value) -> String {
    const MOST_CHARS: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MOST_CHARS) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

pub(super) fn unsupported(key: &str, got: impl Into<Value>, supported: &str) -> ModelError {
    ModelError::Unsupported {
        key: key.to_owned(),
        got: shortened(&got.into()),
        supported: supported.to_owned(),
    }
}

pub(super) fn conflict(
    first: &str,
    first_value: impl ToString,
    second: &str,
    second_value: impl ToString,
) -> ModelError {
    ModelError::ConfigConflict {
        first: first.to_owned(),
        first_value: first_value.to_string(),
        second: second.to_owned(),
        second_value: second_value.to_string(),
    }
}
