//! The types that a tensor of a GGUF file may be stored in, and how many bytes a block of each takes.
use crate::Dtype;

/// A stored type. Types whose block is more than one element are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kind {
    /// As llama.cpp writes it.
    pub name: &'static str,
    /// Elements of a row that are stored together.
    pub block: u64,
    /// Bytes of such a block.
    pub bytes: u64,
}

impl Kind {
    /// The type of this number; `None` for one that is unknown, withdrawn (4, 5, 31 to 33, 36 to 38), or that llama.cpp uses while it
    /// computes but never stores (9, 15).
    pub fn of(number: u32) -> Option<Self> {
        let (name, block, bytes) = match number {
            0 => ("F32", 1, 4),
            1 => ("F16", 1, 2),
            2 => ("Q4_0", 32, 18),
            3 => ("Q4_1", 32, 20),
            6 => ("Q5_0", 32, 22),
            7 => ("Q5_1", 32, 24),
            8 => ("Q8_0", 32, 34),
            10 => ("Q2_K", 256, 84),
            11 => ("Q3_K", 256, 110),
            12 => ("Q4_K", 256, 144),
            13 => ("Q5_K", 256, 176),
            14 => ("Q6_K", 256, 210),
            16 => ("IQ2_XXS", 256, 66),
            17 => ("IQ2_XS", 256, 74),
            18 => ("IQ3_XXS", 256, 98),
            19 => ("IQ1_S", 256, 50),
            20 => ("IQ4_NL", 32, 18),
            21 => ("IQ3_S", 256, 110),
            22 => ("IQ2_S", 256, 82),
            23 => ("IQ4_XS", 256, 136),
            24 => ("I8", 1, 1),
            25 => ("I16", 1, 2),
            26 => ("I32", 1, 4),
            27 => ("I64", 1, 8),
            28 => ("F64", 1, 8),
            29 => ("IQ1_M", 256, 56),
            30 => ("BF16", 1, 2),
            34 => ("TQ1_0", 256, 54),
            35 => ("TQ2_0", 256, 66),
            39 => ("MXFP4", 32, 17),
            40 => ("NVFP4", 64, 36),
            41 => ("Q1_0", 128, 18),
            42 => ("Q2_0", 64, 18),
            _ => return None,
        };
        Some(Self { name, block, bytes })
    }

    /// The type that the engine computes with, if it does.
    pub fn dtype(self) -> Option<Dtype> {
        match self.name {
            "F32" => Some(Dtype::F32),
            "F16" => Some(Dtype::F16),
            "BF16" => Some(Dtype::BF16),
            "Q8_0" => Some(Dtype::Q8_0),
            "Q4_0" => Some(Dtype::Q4_0),
            "Q5_0" => Some(Dtype::Q5_0),
            "Q4_K" => Some(Dtype::Q4K),
            "Q6_K" => Some(Dtype::Q6K),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_their_fields() {
        // Scales, minima and quants of a block, in bytes.
        let fields = |name| match name {
            "Q4_0" => 2 + 16,
            "Q4_1" => 2 + 2 + 16,
            "Q5_0" => 2 + 4 + 16,
            "Q5_1" => 2 + 2 + 4 + 16,
            "Q8_0" => 2 + 32,
            "Q2_K" => 16 + 64 + 2 + 2,
            "Q3_K" => 32 + 64 + 12 + 2,
            "Q4_K" => 2 + 2 + 12 + 128,
            "Q5_K" => 2 + 2 + 12 + 32 + 128,
            "Q6_K" => 128 + 64 + 16 + 2,
            "IQ4_NL" => 2 + 16,
            "IQ4_XS" => 2 + 2 + 4 + 128,
            "TQ1_0" => 48 + 4 + 2,
            "TQ2_0" => 64 + 2,
            "MXFP4" => 1 + 16,
            "NVFP4" => 4 + 32,
            _ => 0,
        };
        let kinds: Vec<Kind> = (0..100).filter_map(Kind::of).collect();
        let checked = kinds.iter().filter(|kind| fields(kind.name) > 0);
        assert!(checked.clone().count() == 16);
        assert!(checked.clone().all(|kind| kind.bytes == fields(kind.name)));
        let names: std::collections::BTreeSet<_> = kinds.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), kinds.len());
        for kind in kinds {
            let plain = matches!(kind.name, "F32" | "F16" | "BF16");
            let blocks = matches!(kind.name, "Q8_0" | "Q4_0" | "Q5_0" | "Q4_K" | "Q6_K");
            assert_eq!(kind.dtype().is_some(), plain || blocks);
            if let Some(dtype) = kind.dtype() {
                let bytes = dtype
                    .element_bytes()
                    .or(crate::packed::stored_block_bytes(dtype));
                assert_eq!(kind.block, dtype.block() as u64);
                assert_eq!(Some(kind.bytes as usize), bytes);
                assert_eq!(kind.name.to_lowercase(), dtype.as_str());
            }
        }
        assert_eq!(Kind::of(u32::MAX), None);
    }
}
