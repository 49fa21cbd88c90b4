//! Tensors in their stored type, and what each is for.
use crate::packed::{Int4Layout, ScaleType};

/// Types that weights are stored in. [`packed`](crate::Rows) says how rows of each lie in memory and what their values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dtype {
    /// IEEE single.
    F32,
    /// IEEE half.
    F16,
    /// The upper half of an IEEE single.
    BF16,
    /// ggml's blocks of 32: an f16 scale, signed bytes.
    Q8_0,
    /// ggml's blocks of 32: an f16 scale, 4 bits less 8.
    Q4_0,
    /// ggml's blocks of 32: an f16 scale, 5 bits less 16.
    Q5_0,
    /// ggml's blocks of 256: eight sub-blocks with 6-bit scales and minima, 4 bits.
    Q4K,
    /// ggml's blocks of 256: sixteen sub-blocks with 8-bit scales, 6 bits less 32.
    Q6K,
    /// Signed bytes with an f32 scale for each `group` columns, or for the row where `group` is 0.
    Int8 {
        /// Columns of a group: a multiple of 4 that divides the row, or 0.
        group: u32,
    },
    /// 4 bits with an f16 scale and a zero for each `group` columns.
    Int4 {
        /// Columns of a group, a multiple of 8; the last group may be shorter.
        group: u32,
    },
    /// The same where a table says which group a column is of (act-order).
    Int4Ordered {
        /// Groups of a row.
        groups: u32,
    },
}

impl Dtype {
    /// The name in reports: `f32`, `f16`, `bf16`, `q8_0`, `q4_0`, `q5_0`, `q4_k`, `q6_k`, `int8` or `int4`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q5_0 => "q5_0",
            Self::Q4K => "q4_k",
            Self::Q6K => "q6_k",
            Self::Int8 { .. } => "int8",
            Self::Int4 { .. } | Self::Int4Ordered { .. } => "int4",
        }
    }

    /// The name in a safetensors header, of a float.
    #[cfg_attr(not(feature = "native"), allow(dead_code))]
    pub(crate) fn safetensors_name(self) -> &'static str {
        match self {
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            _ => "F32",
        }
    }

    /// A float by that name.
    pub(crate) fn from_safetensors_name(name: &str) -> Option<Self> {
        [Self::F32, Self::F16, Self::BF16]
            .into_iter()
            .find(|dtype| dtype.safetensors_name() == name)
    }
}

/// The type of a tensor in a file, as the model root binds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    F32,
    F16,
    BF16,
    I8,
    I32,
    Q4_0,
    Q5_0,
    Q8_0,
    Q4K,
    Q6K,
}

impl Element {
    /// The code that the model root binds; of ggml's blocks 64 and ggml's own number.
    pub fn code(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::BF16 => 2,
            Self::I8 => 3,
            Self::I32 => 4,
            Self::Q4_0 => 64 + 2,
            Self::Q5_0 => 64 + 6,
            Self::Q8_0 => 64 + 8,
            Self::Q4K => 64 + 12,
            Self::Q6K => 64 + 14,
        }
    }

    /// The name in a safetensors header; none has ggml's blocks.
    pub fn safetensors_name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::BF16 => "BF16",
            Self::I8 => "I8",
            Self::I32 => "I32",
            _ => "",
        }
    }

    /// How a type lies in a file where a matrix is one tensor; the quants' type where it is several.
    pub fn of(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
            Dtype::BF16 => Self::BF16,
            Dtype::Q8_0 => Self::Q8_0,
            Dtype::Q4_0 => Self::Q4_0,
            Dtype::Q5_0 => Self::Q5_0,
            Dtype::Q4K => Self::Q4K,
            Dtype::Q6K => Self::Q6K,
            Dtype::Int8 { .. } => Self::I8,
            Dtype::Int4 { .. } | Dtype::Int4Ordered { .. } => Self::I32,
        }
    }
}

/// One tensor of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub name: String,
    pub element: Element,
    pub shape: Vec<usize>,
    pub source: usize,
    pub offset: u64,
    pub bytes: u64,
}

/// How the parts of a tensor make its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One part, row after row.
    Rows,
    /// Quants row after row, and a scale for each `group` of them, counted through the whole matrix.
    Int8 { scales: ScaleType, group: usize },
    /// Words of quants, words of zeros, scales `[groups, rows]`, and perhaps which group each column is of.
    Int4 {
        layout: Int4Layout,
        groups: usize,
        group: usize,
        order: Option<Vec<u16>>,
    },
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

/// A tensor of an open model: what it is and where its bytes lie. Read it through the model that lent it. It may be several tensors of
/// a file, if the weights are quantised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorRef {
    /// Name under which it is stored (for llama2.c, the name that Hugging Face would use; for several tensors, that of the matrix).
    pub name: String,
    /// Stored type.
    pub dtype: Dtype,
    /// `[rows, cols]`, row-major, or `[n]`.
    pub shape: Vec<usize>,
    pub(crate) parts: Vec<Part>,
    pub(crate) form: Form,
    /// Bytes as stored, of all its parts.
    pub bytes: u64,
}

impl TensorRef {
    /// A tensor that is one of a file's.
    pub(crate) fn single(
        name: String,
        dtype: Dtype,
        shape: Vec<usize>,
        (source, offset, bytes): (usize, u64, u64),
    ) -> Self {
        let part = Part {
            name: name.clone(),
            element: Element::of(dtype),
            shape: shape.clone(),
            source,
            offset,
            bytes,
        };
        Self {
            name,
            dtype,
            shape,
            parts: vec![part],
            form: Form::Rows,
            bytes,
        }
    }

    /// A matrix that is several.
    pub(crate) fn several(
        name: String,
        dtype: Dtype,
        shape: Vec<usize>,
        parts: Vec<Part>,
        form: Form,
    ) -> Self {
        let bytes = parts.iter().map(|part| part.bytes).sum();
        Self {
            name,
            dtype,
            shape,
            parts,
            form,
            bytes,
        }
    }

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
        self.rows() as u64 * self.cols() as u64
    }

    /// Bytes of one row in row form.
    pub fn row_bytes(&self) -> u64 {
        self.dtype.row_bytes(self.cols()) as u64
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
                (
                    dtype.as_str(),
                    dtype.row_bytes(1),
                    Element::of(dtype).code()
                ),
                (name.to_lowercase().as_str(), bytes, code)
            );
        }
        assert_eq!(Dtype::from_safetensors_name("I8"), None);
    }
}
