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

/// Element type of linear outputs: that of hidden states, or 32-bit integers where the products are integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinearDtype {
    Values(StateDtype),
    Sums,
}

impl LinearDtype {
    /// Bytes an element.
    pub fn bytes(self) -> usize {
        match self {
            Self::Values(dtype) => dtype.bytes(),
            Self::Sums => 4,
        }
    }

    /// The name in a safetensors header.
    pub fn tensor_dtype(self) -> &'static str {
        match self {
            Self::Values(dtype) => dtype.tensor_dtype(),
            Self::Sums => "I32",
        }
    }

    /// Index of the first element that is no number. Every integer is one.
    pub fn first_non_finite(self, bytes: &[u8]) -> Option<usize> {
        match self {
            Self::Values(dtype) => dtype.first_non_finite(bytes),
            Self::Sums => None,
        }
    }
}

/// Integer sums as the little-endian bytes that are stored and hashed.
pub(crate) fn encode_sums(row: &[i32], bytes: &mut Vec<u8>) {
    bytes.extend(row.iter().flat_map(|z| z.to_le_bytes()));
}

/// Integer sums of stored bytes.
pub(crate) fn decode_sums(bytes: &[u8]) -> Vec<i32> {
    words(bytes).map(u32::cast_signed).collect()
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
