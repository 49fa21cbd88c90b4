//! How floats are stored in files: little-endian f32 or f16, and nothing that is not finite.

use half::f16;
use serde::{Deserialize, Serialize};

/// Stored type of a dataset's matrices or of a predictor's weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stored {
    /// IEEE 754 binary16. Halves the files; values beyond 65504 are refused, never stored as infinity.
    F16,
    /// IEEE 754 binary32.
    F32,
}

impl Stored {
    /// Bytes of one value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The value as it comes back from a file.
    pub fn round(self, value: f32) -> f32 {
        match self {
            Self::F16 => f16::from_f32(value).to_f32(),
            Self::F32 => value,
        }
    }

    /// Writes `values` to the end of `out`. The first value that would not come back finite is an error: its index.
    pub(crate) fn encode(self, values: &[f32], out: &mut Vec<u8>) -> Result<(), usize> {
        for (index, &value) in values.iter().enumerate() {
            if !self.round(value).is_finite() {
                return Err(index);
            }
            match self {
                Self::F16 => out.extend_from_slice(&f16::from_f32(value).to_le_bytes()),
                Self::F32 => out.extend_from_slice(&value.to_le_bytes()),
            }
        }
        Ok(())
    }

    /// Reads `out.len()` values from `bytes`, which has exactly their length. The first value that is not finite is an error.
    pub(crate) fn decode(self, bytes: &[u8], out: &mut [f32]) -> Result<(), usize> {
        match self {
            Self::F16 => {
                for (value, &pair) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = f16::from_le_bytes(pair).to_f32();
                }
            }
            Self::F32 => {
                for (value, &four) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(four);
                }
            }
        }
        match out.iter().position(|value| !value.is_finite()) {
            Some(index) => Err(index),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Stored;

    #[test]
    fn values_come_back_and_infinities_do_not() {
        let values = [0.0f32, -1.5, 65504.0, 6e-8, -0.0, 1.0 / 3.0];
        for stored in [Stored::F16, Stored::F32] {
            let mut bytes = Vec::new();
            stored.encode(&values, &mut bytes).unwrap();
            assert_eq!(bytes.len(), values.len() * stored.bytes());
            let mut back = [1.0f32; 6];
            stored.decode(&bytes, &mut back).unwrap();
            for (value, back) in values.iter().zip(back) {
                assert_eq!(stored.round(*value).to_bits(), back.to_bits());
            }
        }
        assert_eq!(Stored::F16.encode(&[1.0, 70000.0], &mut Vec::new()), Err(1));
        assert_eq!(Stored::F32.encode(&[f32::NAN], &mut Vec::new()), Err(0));
        let mut out = [0.0f32; 2];
        assert_eq!(
            Stored::F16.decode(&[0, 0, 0, 0x7c], &mut out),
            Err(1),
            "an f16 infinity in a file"
        );
        assert_eq!(
            Stored::F32.decode(&[0, 0, 0xc0, 0x7f, 0, 0, 0, 0], &mut out),
            Err(0)
        );
    }
}
