//! Stable words (ids and codes of checks) when a report is read back: each lives once, for good.
//!
//! Reports are read back from our own worker only, which says a few dozen different words. The bounds are there so that even a
//! mistaken caller cannot make this grow.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Deserializer, de::Error as _};

/// A word that outlives every report. (An alias, because serde would borrow a plain `&'static str` from its input.)
pub type Word = &'static str;

const MAX_WORDS: usize = 512;
const MAX_BYTES: usize = 128;

static WORDS: Mutex<BTreeSet<Word>> = Mutex::new(BTreeSet::new());

/// `word` for good; `None` if it is too long or there are too many.
fn keep(word: &str) -> Option<Word> {
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.get(word) {
        return Some(known);
    }
    if word.len() > MAX_BYTES || words.len() >= MAX_WORDS {
        return None;
    }
    let kept: Word = Box::leak(word.into());
    words.insert(kept);
    Some(kept)
}

/// For `#[serde(deserialize_with)]`.
pub(crate) fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
    let word = Cow::<str>::deserialize(deserializer)?;
    keep(&word).ok_or_else(|| D::Error::custom("not a word of a report"))
}

/// The same for a word that may be missing.
pub(crate) fn read_if_any<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Word>, D::Error> {
    let word = Option::<Cow<'_, str>>::deserialize(deserializer)?;
    let kept =
        word.map(|word| keep(&word).ok_or_else(|| D::Error::custom("not a word of a report")));
    kept.transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_lives_once() {
        let (a, b) = (keep("ok").unwrap(), keep(&"OK".to_lowercase()).unwrap());
        assert!(std::ptr::eq(a, b));
        assert_eq!(keep(&"x".repeat(MAX_BYTES + 1)), None);
    }
}
