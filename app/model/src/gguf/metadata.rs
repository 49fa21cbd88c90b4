//! The metadata of a GGUF file, read by type.
use crate::ModelError;
use std::collections::BTreeMap;
use std::fmt;

/// A value, as far as it is kept.
#[derive(Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Flag(bool),
    Text(String),
    Texts(Texts),
    Floats(Vec<f32>),
    Integers(Vec<i32>),
    /// In words: it was skipped.
    Other(&'static str),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Unsigned(n) => n.fmt(f),
            Self::Signed(n) => n.fmt(f),
            Self::Float(n) => n.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::Text(text) => f.write_str(&shown(text)),
            Self::Texts(_) => f.write_str("a list of texts"),
            Self::Floats(_) | Self::Integers(_) => f.write_str("a list of numbers"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// A text from a file as an error or a note shows it: escaped, and never longer than a line.
pub(super) fn shown(text: &str) -> String {
    const MOST_CHARS: usize = 80;
    let short: String = text.chars().take(MOST_CHARS).collect();
    let rest = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{rest}")
}

/// Many short texts in one piece of memory.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Texts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Texts {
    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend(text);
        self.ends.push(self.bytes.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut begin = 0;
        self.ends
            .iter()
            .map(move |end| &self.bytes[std::mem::replace(&mut begin, *end)..*end])
    }
}

/// All entries by key.
#[derive(Debug, Default)]
pub(super) struct Metadata {
    entries: BTreeMap<String, Value>,
}

impl Metadata {
    pub fn insert(&mut self, key: String, value: Value) -> Result<(), ModelError> {
        match self.entries.insert(key.clone(), value) {
            Some(_) => Err(ModelError::GgufKeyTwice { key }),
            None => Ok(()),
        }
    }

    /// All keys that begin so, with what follows.
    pub fn under<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.entries
            .iter()
            .filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value)))
    }

    fn typed<'a, T>(
        &'a self,
        key: &str,
        want: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.entries.get(key) else {
            return Ok(None);
        };
        let bad = || ModelError::GgufValue {
            key: key.to_owned(),
            got: value.to_string(),
            want,
        };
        read(value).map(Some).ok_or_else(bad)
    }

    pub fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.typed(key, "a whole number", |value| match value {
            Value::Unsigned(n) => usize::try_from(*n).ok(),
            Value::Signed(n) => usize::try_from(*n).ok(),
            _ => None,
        })
    }

    pub fn required_size(&self, key: &str) -> Result<usize, ModelError> {
        self.size(key)?.ok_or_else(|| missing(key))
    }

    pub fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.typed(key, "a number", |value| match value {
            Value::Float(n) => Some(*n),
            Value::Unsigned(n) => Some(*n as f64),
            Value::Signed(n) => Some(*n as f64),
            _ => None,
        })
    }

    pub fn required_number(&self, key: &str) -> Result<f64, ModelError> {
        self.number(key)?.ok_or_else(|| missing(key))
    }

    pub fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.typed(key, "true or false", |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.typed(key, "a text", |value| match value {
            Value::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    pub fn texts(&self, key: &str) -> Result<Option<&Texts>, ModelError> {
        self.typed(key, "a list of texts", |value| match value {
            Value::Texts(texts) => Some(texts),
            _ => None,
        })
    }

    pub fn floats(&self, key: &str) -> Result<Option<&[f32]>, ModelError> {
        self.typed(key, "a list of floats", |value| match value {
            Value::Floats(floats) => Some(floats.as_slice()),
            _ => None,
        })
    }

    pub fn integers(&self, key: &str) -> Result<Option<&[i32]>, ModelError> {
        self.typed(key, "a list of integers", |value| match value {
            Value::Integers(integers) => Some(integers.as_slice()),
            _ => None,
        })
    }
}

fn missing(key: &str) -> ModelError {
    ModelError::GgufMissing {
        key: key.to_owned(),
    }
}
