//! A key's metadata: which model, which options. One canonical JSON text, the value of `assay-key` in the file's header.
//!
//! Fields stand in the order in which their keys sort, because that order *is* the canonical form (the config's keys stand in the
//! order of its own type). Everything else in the file, every name, type, shape and offset, follows from these.

use assay_model::{Dtype, FIXED_COLUMNS, ModelConfig};
use assay_trace::{ActivationsClaim, Digest};
use serde::{Deserialize, Serialize};

use crate::error::shown;
use crate::options::{PROJECTIONS, ROWS, SKETCH};
use crate::part::MATRICES;
use crate::{KeyError, KeyOptions, Part};

/// The only value of `format`: whoever opens the file in an editor shall see what it is.
pub(crate) const FORMAT: &str = "assay-verifier-key-SECRET";
/// The only value of `version`.
pub(crate) const VERSION: u32 = 1;
/// The largest integer that every JSON reader keeps exactly.
const MAX_PARAMETERS: u64 = (1 << 53) - 1;
/// Bytes of `producer`: one line on a terminal, or two.
const MAX_PRODUCER_BYTES: usize = 256;

/// Element type of one matrix in its checkpoint, and of its rows in the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stored {
    F32,
    F16,
    Bf16,
    /// Quantised, for products of floats: its rows in the key are f32, decoded.
    Decoded,
    /// 8-bit integers with one scale a row, for products of integers: the key has no rows of it.
    Int8,
    /// Blocks of integers with f16 scales, for products in fixed point: the key has no rows of it.
    Fixed,
}

impl Stored {
    /// How a key for such products keeps a matrix of this type and of rows this long. `is_head`: of the output projection, which takes
    /// floats always.
    pub fn of(
        dtype: Dtype,
        cols: usize,
        activations: Option<ActivationsClaim>,
        is_head: bool,
    ) -> Result<Self, KeyError> {
        match (dtype, activations) {
            (Dtype::F32, None) => Ok(Self::F32),
            (Dtype::F16, None) => Ok(Self::F16),
            (Dtype::BF16, None) => Ok(Self::Bf16),
            (_, None) => Ok(Self::Decoded),
            (_, Some(ActivationsClaim::Int8 | ActivationsClaim::Blocks)) if is_head => {
                Self::of(dtype, cols, None, true)
            }
            (Dtype::Int8 { group: 0 }, Some(ActivationsClaim::Int8)) => Ok(Self::Int8),
            (dtype, Some(ActivationsClaim::Blocks)) if dtype.is_fixed_point(cols) => {
                Ok(Self::Fixed)
            }
            (other, Some(ActivationsClaim::Int8)) => Err(KeyError::Integers {
                got: other.as_str(),
                want: "int8 with one scale a row",
            }),
            (other, Some(ActivationsClaim::Blocks)) => Err(KeyError::Integers {
                got: other.as_str(),
                want: "q8_0, q4_0, q5_0, q4_k, q6_k or int4 in groups of 32 or a multiple of that",
            }),
            (_, Some(claim)) => Err(KeyError::Activations { got: claim.name() }),
        }
    }

    /// Whether products with it are of integers.
    pub fn is_integer(self) -> bool {
        matches!(self, Self::Int8 | Self::Fixed)
    }

    /// Type of the rows that a key has.
    pub fn rows(self) -> Dtype {
        match self {
            Self::F32 | Self::Decoded | Self::Int8 | Self::Fixed => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }
}

/// All that a key says about itself, as typed fields.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Facts {
    /// What products round their inputs to; absent where that is nothing. Of the words of a trace, `ggml` has no keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<ActivationsClaim>,
    /// The model's shape and arithmetic.
    pub config: ModelConfig,
    /// Stored type of all weights as the model has it, `mixed`, or that of those that are quantised.
    pub dtype: String,
    /// Always [`FORMAT`].
    pub format: String,
    /// Covered layers, ascending, at least one.
    pub layers: Vec<u32>,
    /// Number of weights.
    pub parameters: u64,
    /// The program that made the key: printable ASCII.
    pub producer: String,
    /// K.
    pub projections: usize,
    /// Model root.
    pub root: Digest,
    /// q; a matrix with fewer rows has all of them in the key.
    pub rows: usize,
    /// s.
    pub sketch: usize,
    /// Stored type of each covered matrix, in order.
    pub stored: Vec<Stored>,
    /// Digest of the tokenizer's file, if the model came with one.
    pub tokenizer: Option<Digest>,
    /// Always [`VERSION`].
    pub version: u32,
}

/// What every version has.
#[derive(Deserialize)]
struct Identity {
    format: String,
    version: u64,
}

impl Facts {
    /// With zero root and no tokenizer, for the caller to fill in.
    pub fn new(
        options: &KeyOptions,
        config: ModelConfig,
        dtype: &str,
        layers: Vec<u32>,
        stored: Vec<Stored>,
    ) -> Self {
        Self {
            activations: options.activations,
            config,
            dtype: dtype.to_owned(),
            format: FORMAT.to_owned(),
            layers,
            parameters: 1,
            producer: concat!("assay ", env!("CARGO_PKG_VERSION")).to_owned(),
            projections: options.projections,
            root: Digest::ZERO,
            rows: options.rows,
            sketch: options.sketch,
            stored,
            tokenizer: None,
            version: VERSION,
        }
    }

    /// The text that stands in the header.
    pub fn canonical_json(&self) -> String {
        // Cannot fail: all keys are strings, and no value has a fallible serializer.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a text and checks every rule. That it is canonical is found by writing the header again.
    pub fn parse(json: &str) -> Result<Self, KeyError> {
        let malformed = |err: serde_json::Error| KeyError::Facts {
            reason: shown(&err.to_string()),
        };
        let identity: Identity = serde_json::from_str(json).map_err(malformed)?;
        if identity.format != FORMAT {
            return Err(KeyError::Format {
                got: shown(&identity.format),
            });
        }
        if identity.version != u64::from(VERSION) {
            return Err(KeyError::Version {
                got: identity.version,
                want: VERSION,
            });
        }
        let facts: Self = serde_json::from_str(json).map_err(malformed)?;
        facts.check()?;
        Ok(facts)
    }

    /// Everything that types do not say. After it, every size is small enough for every product of layout to fit a u64.
    pub fn check(&self) -> Result<(), KeyError> {
        let wrong = |reason: String| Err(KeyError::Facts { reason });
        self.config.check().map_err(KeyError::config)?;
        crate::part::check_family(&self.config)?;
        for (what, got, (least, most)) in [
            ("projections", self.projections, PROJECTIONS),
            ("rows", self.rows, ROWS),
            ("sketch", self.sketch, SKETCH),
        ] {
            if !(least..=most).contains(&got) {
                return wrong(format!("`{what}` is {got}, want {least} to {most}"));
            }
        }
        if !(1..=MAX_PARAMETERS).contains(&self.parameters) {
            let got = self.parameters;
            return wrong(format!("`parameters` is {got}, want 1 to {MAX_PARAMETERS}"));
        }
        let ascending = |list: &[u32]| list.windows(2).all(|pair| pair[0] < pair[1]);
        let within = |last: &u32| (*last as usize) < self.config.layers;
        if !ascending(&self.layers) || !self.layers.last().is_some_and(within) {
            let layers = self.config.layers;
            return wrong(format!(
                "`layers` is not an ascending list of at least one number below {layers}"
            ));
        }
        if !ascending(&self.config.eos) {
            return wrong("`eos` does not ascend".to_owned());
        }
        let (got, want) = (self.stored.len(), self.matrices());
        if got != want {
            return wrong(format!("`stored` has {got} entries, want {want}"));
        }
        let is_whole = |index: usize| match self.matrix(index) {
            Some((_, k, Stored::Fixed)) => k.is_multiple_of(FIXED_COLUMNS),
            _ => true,
        };
        if let Some(index) = (0..want).find(|index| !is_whole(*index)) {
            return wrong(format!(
                "`stored` has `fixed` for matrix {index}, whose rows are no whole blocks"
            ));
        }
        if !self.stored_fits() {
            let dtype = shown(&self.dtype);
            return wrong(format!("`dtype` is `{dtype}`, which `stored` contradicts"));
        }
        if let Some(ActivationsClaim::Ggml) = self.activations {
            let name = ActivationsClaim::Ggml.name();
            return wrong(format!(
                "`activations` is `{name}`, for which there are no keys"
            ));
        }
        let printable = |byte| matches!(byte, b' '..=b'~');
        if self.producer.len() > MAX_PRODUCER_BYTES || !self.producer.bytes().all(printable) {
            return wrong(format!(
                "`producer` is not at most {MAX_PRODUCER_BYTES} printable ASCII characters"
            ));
        }
        Ok(())
    }

    /// Whether stored types fit the word for all, and products of integers are those of all layers or of none.
    fn stored_fits(&self) -> bool {
        let is_float = |word: &str| matches!(word, "f32" | "f16" | "bf16");
        let quantised = [
            "q8_0",
            "q4_0",
            "q5_0",
            "q4_k",
            "q6_k",
            "int8",
            "int4",
            "quantised",
        ];
        let known = self.dtype == "mixed" || is_float(&self.dtype);
        if !known && !quantised.contains(&self.dtype.as_str()) {
            return false;
        }
        let Some((head, layers)) = self.stored.split_last() else {
            return false;
        };
        let want = match self.activations {
            Some(ActivationsClaim::Int8) => Some(Stored::Int8),
            Some(ActivationsClaim::Blocks) => Some(Stored::Fixed),
            Some(ActivationsClaim::Ggml) | None => None,
        };
        let of_layers = |stored: &Stored| match want {
            Some(want) => *stored == want,
            None => !stored.is_integer(),
        };
        if head.is_integer() || !layers.iter().all(of_layers) {
            return false;
        }
        let same = |stored: &Stored| match stored {
            Stored::Int8 | Stored::Fixed | Stored::Decoded => false,
            float => float.rows().as_str() == self.dtype,
        };
        !is_float(&self.dtype) || self.stored.iter().all(same)
    }

    /// Covered matrices, the head included.
    pub fn matrices(&self) -> usize {
        self.layers.len() * MATRICES.len() + 1
    }

    /// The matrix with this index.
    pub fn part(&self, index: usize) -> Option<Part> {
        match self.layers.get(index / MATRICES.len()) {
            Some(layer) => Some(Part::Layer(*layer, MATRICES[index % MATRICES.len()])),
            None => (index + 1 == self.matrices()).then_some(Part::Head),
        }
    }

    /// The index of a covered matrix.
    pub fn index(&self, part: Part) -> Option<usize> {
        let (layer, role) = part.numbers()?;
        match part {
            Part::Layer(..) => Some(self.layer_index(layer)? * MATRICES.len() + role as usize),
            Part::Head => Some(self.matrices() - 1),
        }
    }

    /// The index of a covered layer.
    pub fn layer_index(&self, layer: u32) -> Option<usize> {
        self.layers.binary_search(&layer).ok()
    }

    /// Shape `(n, k)` and stored type of the matrix with this index.
    pub fn matrix(&self, index: usize) -> Option<(usize, usize, Stored)> {
        let (n, k) = self.part(index)?.shape(&self.config)?;
        Some((n, k, *self.stored.get(index)?))
    }
}
