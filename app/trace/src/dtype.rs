//! How a hidden state (or a linear output) is stored and hashed: 32-bit or rounded to 16, little endian, nearest even.

use half::{bf16, f16};
use serde::{Deserialize, Serialize};

/// Element type of hidden states and linear outputs, both in the file and in the bytes that their digests cover.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StateDtype {
    /// bfloat16: f32's upper half.
    Bf16,
    /// IEEE 754 binary16. Overflows above 65504, which some models' residual streams reach.
    F16,
    /// IEEE 754 binary32: nothing is lost.
    F32,
}

impl StateDtype {
    /// Bytes an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }

    /// The name in a safetensors header.
    pub(crate) fn tensor_dtype(self) -> &'static str {
        match self {
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::F32 => "F32",
        }
    }

    /// `row` rounded to this type (to nearest, ties to even), as the little-endian bytes that are stored and hashed.
    pub fn encode(self, row: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.encode_onto(row, &mut bytes);
        bytes
    }

    /// As [`encode`](Self::encode), appended to `bytes`.
    pub(crate) fn encode_onto(self, row: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::Bf16 => bytes.extend(row.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes())),
            Self::F16 => bytes.extend(row.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes())),
            Self::F32 => bytes.extend(row.iter().flat_map(|&x| x.to_le_bytes())),
        }
    }

    /// The values of stored bytes; exact. A trailing part of an element is ignored.
    pub fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Bf16 => halves(bytes)
                .map(|bits| bf16::from_bits(bits).to_f32())
                .collect(),
            Self::F16 => halves(bytes)
                .map(|bits| f16::from_bits(bits).to_f32())
                .collect(),
            Self::F32 => words(bytes).map(f32::from_bits).collect(),
        }
    }

    /// Index of the first element that is an infinity or a NaN: all exponent bits set.
    pub(crate) fn first_non_finite(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Bf16 => halves(bytes).position(|bits| bits & 0x7f80 == 0x7f80),
            Self::F16 => halves(bytes).position(|bits| bits & 0x7c00 == 0x7c00),
            Self::F32 => words(bytes).position(|bits| bits & 0x7f80_0000 == 0x7f80_0000),
        }
    }
}

/// Element type of linear outputs: that of hidden states, or integers where the products are integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinearDtype {
    Values(StateDtype),
    Sums(SumDtype),
}

/// Element type of integer sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SumDtype {
    I32,
    /// In units of 2^-48. The least of them, [`NO_SUM`], stands for none, as a NaN does for no number.
    I64,
}

/// What stands where a sum does not fit 64 bits. No trace has it.
pub const NO_SUM: i64 = i64::MIN;

impl LinearDtype {
    /// Bytes an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::Values(dtype) => dtype.bytes(),
            Self::Sums(SumDtype::I32) => 4,
            Self::Sums(SumDtype::I64) => 8,
        }
    }

    /// The name in a safetensors header.
    pub fn tensor_dtype(self) -> &'static str {
        match self {
            Self::Values(dtype) => dtype.tensor_dtype(),
            Self::Sums(SumDtype::I32) => "I32",
            Self::Sums(SumDtype::I64) => "I64",
        }
    }

    /// Index of the first element that is no number. Every integer of 32 bits is one.
    pub fn first_non_finite(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Values(dtype) => dtype.first_non_finite(bytes),
            Self::Sums(SumDtype::I32) => None,
            Self::Sums(SumDtype::I64) => doubles(bytes).position(|z| z == NO_SUM),
        }
    }
}

impl SumDtype {
    /// Appends integer sums as the little-endian bytes that are stored and hashed; of 32 bits the lower half, whose caller knows that
    /// the sums [fit](Self::first_too_large).
    pub fn encode_onto(self, row: &[i64], bytes: &mut Vec<u8>) {
        match self {
            Self::I32 => bytes.extend(row.iter().flat_map(|z| (*z as i32).to_le_bytes())),
            Self::I64 => bytes.extend(row.iter().flat_map(|z| z.to_le_bytes())),
        }
    }

    /// Integer sums of stored bytes.
    pub fn decode(self, bytes: &[u8]) -> Vec<i64> {
        match self {
            Self::I32 => words(bytes).map(|z| z.cast_signed().into()).collect(),
            Self::I64 => doubles(bytes).collect(),
        }
    }

    /// Index of the first sum that this type does not hold.
    pub fn first_too_large(self, row: &[i64]) -> Option<usize> {
        match self {
            Self::I32 => row.iter().position(|z| i32::try_from(*z).is_err()),
            Self::I64 => None,
        }
    }
}

fn doubles(bytes: &[u8]) -> impl Iterator<Item = i64> {
    let (chunks, _) = bytes.as_chunks();
    chunks.iter().map(|chunk| i64::from_le_bytes(*chunk))
}

fn halves(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|chunk| u16::from_le_bytes(*chunk))
}

/// The little-endian 32-bit words of `bytes`.
pub(crate) fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|chunk| u32::from_le_bytes(*chunk))
}
