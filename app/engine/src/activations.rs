//! How linear products round their inputs: a statement that a prover makes, a verifier asks for, and both follow.
//!
//! A rounding changes the function that a model is, so it is never chosen by itself: who wants the model as it is gets
//! [`ActivationType::Float`].

use assay_model::{Dtype, LayerRole, Model, Role, TensorRef};
use assay_trace::ActivationsClaim;

use crate::EngineError;
use crate::kernels::round8::Blocks;

/// Columns of an integer product: as many products of two bytes fit a 32-bit sum, and as many in fixed point one of 128.
const MOST_COLUMNS: usize = (1 << 17) - 1;

/// What the inputs of linear products are rounded to.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum ActivationType {
    /// Not at all.
    #[default]
    Float,
    /// Rows to 8-bit integers (a / 127 a step, a being a row's largest magnitude), so that the products of layers with 8-bit weights are
    /// integers. The output projection takes floats.
    Int8,
    /// Blocks of 32 to 8-bit integers with an f16 scale, as llama.cpp's Q8_0, so that the products of layers whose weights are blocks of
    /// integers with f16 scales (Q8_0, Q4_0, Q5_0, Q4_K, Q6_K, int4 in groups) are integers in units of 2^-48. The output projection
    /// takes floats.
    Blocks,
    /// As llama.cpp's CPU code: blocks of 32 before matrices of Q8_0, Q4_0 and Q5_0, of 256 before Q4_K and Q6_K, the output projection
    /// included. The products go on in f32. Matrices of floats take floats.
    Ggml,
}

impl ActivationType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Float, Self::Int8, Self::Blocks, Self::Ggml];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self.claim() {
            None => "float",
            Some(claim) => claim.name(),
        }
    }

    /// What a trace states of it.
    pub fn claim(self) -> Option<ActivationsClaim> {
        match self {
            Self::Float => None,
            Self::Int8 => Some(ActivationsClaim::Int8),
            Self::Blocks => Some(ActivationsClaim::Blocks),
            Self::Ggml => Some(ActivationsClaim::Ggml),
        }
    }

    /// What a trace states.
    pub fn of(claim: Option<ActivationsClaim>) -> Self {
        match claim {
            None => Self::Float,
            Some(ActivationsClaim::Int8) => Self::Int8,
            Some(ActivationsClaim::Blocks) => Self::Blocks,
            Some(ActivationsClaim::Ggml) => Self::Ggml,
        }
    }

    /// Whether the products of layers are of integers, whose sums a trace has.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Int8 | Self::Blocks)
    }

    /// Refuses a model whose products cannot take such inputs, or none of whose would.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`], with the tensor's name.
    pub fn check(self, model: &Model) -> Result<(), EngineError> {
        match self {
            Self::Float => Ok(()),
            Self::Int8 => layers(model).try_for_each(|tensor| {
                let stored = tensor.dtype;
                if stored != (Dtype::Int8 { group: 0 }) {
                    return Err(EngineError::Unsupported(format!(
                        "int8 activations with `{}` stored as {}: want int8 with one scale a row (`assay quantize --to int8`)",
                        tensor.name,
                        stored.as_str()
                    )));
                }
                few_columns(tensor)
            }),
            Self::Blocks => layers(model).try_for_each(|tensor| {
                let (stored, k) = (tensor.dtype, tensor.cols());
                if !stored.is_fixed_point(k) {
                    return Err(EngineError::Unsupported(format!(
                        "activations in blocks with `{}` stored as {} in rows of {k}: want whole blocks of 32 of q8_0, q4_0, q5_0, q4_k, q6_k, or int4 \
                         whose groups are a multiple of 32 and in order",
                        tensor.name,
                        stored.as_str()
                    )));
                }
                few_columns(tensor)
            }),
            Self::Ggml => {
                let mut products = layers(model).chain(model.tensor(Role::LmHead));
                match products.any(|tensor| self.blocks(tensor.dtype).is_some()) {
                    true => Ok(()),
                    false => Err(EngineError::Unsupported(format!(
                        "llama.cpp's rounding with weights stored as {}: it rounds before Q8_0, Q4_0, Q5_0, Q4_K and Q6_K",
                        model.dtype()
                    ))),
                }
            }
        }
    }

    /// Blocks that a product with weights of this type rounds its inputs in.
    pub(crate) fn blocks(self, stored: Dtype) -> Option<Blocks> {
        match (self, stored) {
            (Self::Ggml, Dtype::Q8_0 | Dtype::Q4_0 | Dtype::Q5_0) => Some(Blocks::Q8_0),
            (Self::Ggml, Dtype::Q4K | Dtype::Q6K) => Some(Blocks::Q8K),
            _ => None,
        }
    }

    /// What the output projection takes.
    pub(crate) fn of_head(self) -> Self {
        match self {
            Self::Int8 | Self::Blocks => Self::Float,
            Self::Float | Self::Ggml => self,
        }
    }
}

/// Refuses rows whose sums might not fit.
fn few_columns(tensor: &TensorRef) -> Result<(), EngineError> {
    match tensor.cols() {
        0..=MOST_COLUMNS => Ok(()),
        k => Err(EngineError::LimitTooSmall {
            what: format!("a row of `{}`, whose sum is an integer", tensor.name),
            need: k as u64,
            have: MOST_COLUMNS as u64,
        }),
    }
}

/// The matrices of all layers.
fn layers(model: &Model) -> impl Iterator<Item = &TensorRef> {
    (0..model.config().layers).flat_map(move |layer| {
        let matrices = LayerRole::LINEARS.into_iter();
        matrices.filter_map(move |role| model.layer(layer, role))
    })
}
