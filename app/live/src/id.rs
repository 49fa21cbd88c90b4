//! The number of a run: 128 random bits, so that nobody finds another's.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names a run that a prover keeps. Whoever has it can have the run opened, so it is said to the asker alone.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId([u8; 16]);

/// The text is not 32 lowercase hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a run's id is 32 lowercase hex digits")]
pub struct RunIdError;

impl RunId {
    /// An id from 16 bytes, which must be random.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunId(..)") // logs are read by others
    }
}

impl FromStr for RunId {
    type Err = RunIdError;

    fn from_str(text: &str) -> Result<Self, RunIdError> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        let text: &[u8; 32] = text.as_bytes().try_into().map_err(|_| RunIdError)?;
        let mut id = [0; 16];
        for (byte, pair) in id.iter_mut().zip(text.as_chunks::<2>().0) {
            let [high, low] = pair.map(digit);
            *byte = high.ok_or(RunIdError)? << 4 | low.ok_or(RunIdError)?;
        }
        Ok(Self(id))
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Hex;
        impl Visitor<'_> for Hex {
            type Value = RunId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 lowercase hex digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RunId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Hex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling() {
        let id = RunId::from_random([0xa5; 16]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in [
            "",
            "A5",
            &"a5".repeat(17),
            &"A5".repeat(16),
            "../../v1/info",
        ] {
            assert_eq!(bad.parse::<RunId>(), Err(RunIdError), "{bad}");
        }
        assert!(!format!("{id:?}").contains("a5"));
    }
}
