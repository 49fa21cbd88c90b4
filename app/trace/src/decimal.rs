//! Temperatures and top-p as exact decimals: a float has many spellings, and a commitment may have only one.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Decimal places kept.
const PLACES: usize = 9;
const NANOS_PER_UNIT: u64 = 1_000_000_000;
/// Six digits before the point.
const MAX_UNITS: u64 = 999_999;

/// A decimal in 0..=999999.999999999 with at most nine places, kept exactly as a count of 10⁻⁹.
///
/// Text form: `[0-9]{1,6}(\.[0-9]{1,9})?`, no leading zero except a single one before the point, no trailing
/// zero after it. So every value has one spelling: `1`, `0.8`, `0.000000001`; never `1.0`, `.8`, `0.80` or `00`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal {
    nanos: u64,
}

/// Why a text or a float is no [`Decimal`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not the canonical spelling.
    #[error(
        "decimal is not canonical: want up to 6 digits, then optionally `.` and up to 9 digits, no superfluous zero"
    )]
    Spelling,
    /// Negative, not finite, or above 999999.999999999.
    #[error("decimal is outside 0..=999999.999999999")]
    Range,
}

impl Decimal {
    /// Zero, which neither a temperature nor a top-p may be.
    pub const ZERO: Self = Self { nanos: 0 };
    /// One.
    pub const ONE: Self = Self {
        nanos: NANOS_PER_UNIT,
    };

    /// The decimal nearest to `value` at nine places.
    ///
    /// Give it an f64 parsed from the user's text: `0.8f32 as f64` is 0.800000012.
    ///
    /// # Errors
    /// [`DecimalError::Range`] if `value` is negative, not finite or too large.
    pub fn from_f64(value: f64) -> Result<Self, DecimalError> {
        if !(0.0..=MAX_UNITS as f64 + 1.0).contains(&value) {
            return Err(DecimalError::Range);
        }
        // Formatting rounds the exact binary value correctly; multiplying by 1e9 would round twice.
        let text = format!("{:.PLACES$}", value.abs());
        let digits: String = text.chars().filter(char::is_ascii_digit).collect();
        let nanos = digits.parse().map_err(|_| DecimalError::Range)?;
        if nanos >= (MAX_UNITS + 1) * NANOS_PER_UNIT {
            return Err(DecimalError::Range);
        }
        Ok(Self { nanos })
    }

    /// The f64 nearest to the decimal, the same that any correct parser makes of its text:
    /// both operands are exact and the division rounds once.
    pub fn to_f64(self) -> f64 {
        self.nanos as f64 / NANOS_PER_UNIT as f64
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (units, fraction) = (self.nanos / NANOS_PER_UNIT, self.nanos % NANOS_PER_UNIT);
        if fraction == 0 {
            return write!(f, "{units}");
        }
        let places = format!("{fraction:0PLACES$}");
        write!(f, "{units}.{}", places.trim_end_matches('0'))
    }
}

impl fmt::Debug for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Decimal({self})")
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        let (units, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str, max_len: usize| {
            let fits = !part.is_empty()
                && part.len() <= max_len
                && part.bytes().all(|byte| byte.is_ascii_digit());
            fits.then(|| part.parse::<u64>().ok()).flatten()
        };
        let (Some(whole), Some(_)) = (digits(units, 6), digits(fraction, PLACES)) else {
            return Err(DecimalError::Spelling);
        };
        let nanos =
            digits(&format!("{fraction:0<PLACES$}"), PLACES).ok_or(DecimalError::Spelling)?;
        let decimal = Self {
            nanos: whole * NANOS_PER_UNIT + nanos,
        };
        // Rendering again is what rejects every superfluous zero.
        (decimal.to_string() == text)
            .then_some(decimal)
            .ok_or(DecimalError::Spelling)
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Decimal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a canonical decimal in a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}
