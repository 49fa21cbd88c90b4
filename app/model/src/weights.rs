//! Tensors in their stored type, what each is for, and how its bytes become f32.
use half::{bf16, f16};

/// Element types that weights are stored in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of an IEEE single.
    BF16,
}

impl Dtype {
    /// Bytes of one element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
        }
    }

    /// The name in reports: `f32`, `f16` or `bf16`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
        }
    }

    /// The name in a safetensors header.
    pub(crate) fn safetensors_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
        }
    }

    pub(crate) fn from_safetensors_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::BF16]
            .into_iter()
            .find(|dtype| dtype.safetensors_name() == name)
    }

    /// The code that the model root binds.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 2,
        }
    }

    /// Appends the elements in `bytes` (little-endian, as stored) to `out`; a rest shorter than an element is left out.
    pub fn decode(self, bytes: &[u8], out: &mut Vec<f32>) {
        match self {
            Self::F32 => out.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|element| f32::from_le_bytes(*element)),
            ),
            Self::F16 => out.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|element| f16::from_le_bytes(*element).to_f32()),
            ),
            Self::BF16 => out.extend(
                bytes
                    .as_chunks()
                    .0
                    .iter()
                    .map(|element| bf16::from_le_bytes(*element).to_f32()),
            ),
        }
    }
}

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// `[vocab, hidden]`.
    Embedding,
    /// Learned positions, `[context + 2, hidden]`: position t reads row t + [`POSITION_OFFSET`](crate::ModelConfig::POSITION_OFFSET).
    /// Only models without rotary positions have it.
    Positions,
    /// `[vocab, hidden]`; the embedding itself in a tied model.
    LmHead,
    /// `[hidden]`.
    FinalNorm,
    /// `[hidden]`, where the norm is a LayerNorm.
    FinalNormBias,
    /// One of a layer's tensors.
    Layer(usize, LayerRole),
}

/// The tensors of a decoder layer, in the order of the forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerRole {
    /// `[hidden]`, before attention.
    AttnNorm,
    /// `[hidden]`, where the norm is a LayerNorm.
    AttnNormBias,
    /// `[q_dim, hidden]`.
    Q,
    /// `[kv_dim, hidden]`.
    K,
    /// `[kv_dim, hidden]`.
    V,
    /// `[hidden, q_dim]`.
    O,
    /// `[q_dim]`.
    QBias,
    /// `[kv_dim]`.
    KBias,
    /// `[kv_dim]`.
    VBias,
    /// `[hidden]`.
    OBias,
    /// `[hidden]`, before the MLP.
    MlpNorm,
    /// `[hidden]`, where the norm is a LayerNorm.
    MlpNormBias,
    /// `[intermediate, hidden]`; an MLP without a gate has none.
    Gate,
    /// `[intermediate, hidden]`; OPT's fc1.
    Up,
    /// `[hidden, intermediate]`; OPT's fc2.
    Down,
    /// `[intermediate]`.
    GateBias,
    /// `[intermediate]`.
    UpBias,
    /// `[hidden]`.
    DownBias,
}

impl LayerRole {
    /// A layer's matrices in the order of the forward pass. A model whose MLP has no gate has all but [`LayerRole::Gate`].
    pub const LINEARS: [Self; 7] = [
        Self::Q,
        Self::K,
        Self::V,
        Self::O,
        Self::Gate,
        Self::Up,
        Self::Down,
    ];

    /// The bias that is added after this matrix or norm, in models that have it; `None` for a role that is a bias itself.
    pub fn bias(self) -> Option<Self> {
        match self {
            Self::AttnNorm => Some(Self::AttnNormBias),
            Self::Q => Some(Self::QBias),
            Self::K => Some(Self::KBias),
            Self::V => Some(Self::VBias),
            Self::O => Some(Self::OBias),
            Self::MlpNorm => Some(Self::MlpNormBias),
            Self::Gate => Some(Self::GateBias),
            Self::Up => Some(Self::UpBias),
            Self::Down => Some(Self::DownBias),
            Self::AttnNormBias
            | Self::QBias
            | Self::KBias
            | Self::VBias
            | Self::OBias
            | Self::MlpNormBias
            | Self::GateBias
            | Self::UpBias
            | Self::DownBias => None,
        }
    }
}

/// A tensor of an open model: what it is and where its bytes lie. Read it through the model that lent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRef {
    /// Name under which it is stored (for llama2.c, the name that Hugging Face would use).
    pub name: String,
    /// Stored type.
    pub dtype: Dtype,
    /// `[rows, cols]`, row-major, or `[n]`.
    pub shape: Vec<usize>,
    pub(crate) source: usize,
    pub(crate) offset: u64,
    /// Bytes as stored; always the product of shape and element size.
    pub bytes: u64,
}

impl TensorRef {
    /// First dimension; 1 for a vector, so that `rows * cols` is always the number of elements.
    pub fn rows(&self) -> usize {
        match self.shape.as_slice() {
            [rows, _] => *rows,
            _ => 1,
        }
    }

    /// Last dimension.
    pub fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(0)
    }

    /// Number of elements.
    pub fn elements(&self) -> u64 {
        self.bytes / self.dtype.bytes() as u64
    }

    /// Bytes of one row.
    pub fn row_bytes(&self) -> u64 {
        self.cols() as u64 * self.dtype.bytes() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_is_exact_and_ignores_a_partial_element() {
        let mut out = Vec::new();
        Dtype::F32.decode(&[0, 0, 0x80, 0x3f, 9], &mut out);
        Dtype::F16.decode(&[0x00, 0x3c, 0x01, 0x00, 9], &mut out);
        Dtype::BF16.decode(&[0x80, 0x3f, 0x80, 0xff], &mut out);
        assert_eq!(out, [1.0, 1.0, 2f32.powi(-24), 1.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn matrices_and_norms_have_one_bias_each() {
        let norms = [LayerRole::AttnNorm, LayerRole::MlpNorm];
        let weights = LayerRole::LINEARS.into_iter().chain(norms);
        let biases: Vec<_> = weights.filter_map(LayerRole::bias).collect();
        let distinct: std::collections::BTreeSet<_> = biases.iter().collect();
        assert_eq!((biases.len(), distinct.len()), (9, 9));
        assert!(biases.iter().all(|bias| bias.bias().is_none()));
        assert!(LayerRole::LINEARS.is_sorted());
    }

    #[test]
    fn names_and_codes_are_distinct() {
        for (dtype, name, bytes, code) in [
            (Dtype::F32, "F32", 4, 0),
            (Dtype::F16, "F16", 2, 1),
            (Dtype::BF16, "BF16", 2, 2),
        ] {
            assert_eq!(Dtype::from_safetensors_name(name), Some(dtype));
            assert_eq!(
                (dtype.as_str(), dtype.bytes(), dtype.code()),
                (name.to_lowercase().as_str(), bytes, code)
            );
        }
        assert_eq!(Dtype::from_safetensors_name("I8"), None);
    }
}
