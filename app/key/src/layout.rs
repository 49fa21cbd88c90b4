//! Which tensors a key has, and where each lies. The one place that knows names, types, shapes and order.

use std::collections::BTreeMap;
use std::ops::Range;

use assay_model::LayerRole;
use assay_trace::ActivationsClaim;

use crate::facts::{Facts, Stored};
use crate::part::{MATRICES, has_bias, word};
use crate::{KeyError, Part};

/// What a tensor holds. Numbers are indices of covered matrices or covered layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// V = R·W, `[K, k]`.
    Projected(usize),
    /// s, `[k]`.
    Bound(usize),
    /// Rows of W, `[min(q, n), k]`.
    Rows(usize),
    /// Wᵀ r of a matrix of integers, over its field: `[k]`, or `[k, 2]` where residues have two words.
    Exact(usize),
    /// Scales of a matrix of integers with one a row, `[n]`.
    Scales(usize),
    /// Bias of a matrix, `[n]`.
    Bias(usize),
    /// `[hidden]`.
    AttnNorm(usize),
    /// `[hidden]`.
    MlpNorm(usize),
    /// `[hidden]`.
    FinalNorm,
    /// E·Gᵀ, `[vocab, s]`.
    Sketch,
    /// ‖W‖ of each matrix, `[matrices]`.
    Frobenius,
    /// 1 for each matrix whose V was computed outside of this crate, `[matrices]`.
    Elsewhere,
    /// `[32]`.
    Seed,
    /// SHA-256 of all bytes of the file before it, `[32]`.
    Checksum,
}

/// One tensor of the file, placed.
pub(crate) struct Tensor {
    pub name: String,
    pub kind: Kind,
    pub dtype: ElementType,
    pub shape: Vec<usize>,
    /// First byte and end, counted from the end of the header.
    pub offsets: Range<u64>,
}

/// Element types, in the order in which the safetensors crate sorts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ElementType {
    U64,
    F64,
    F32,
    Bf16,
    F16,
    U8,
}

impl ElementType {
    /// safetensors' word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::U64 => "U64",
            Self::F64 => "F64",
            Self::F32 => "F32",
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::U8 => "U8",
        }
    }

    fn bytes(self) -> u64 {
        match self {
            Self::U64 | Self::F64 => 8,
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
            Self::U8 => 1,
        }
    }
}

impl From<Stored> for ElementType {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::F32 | Stored::Decoded | Stored::Int8 | Stored::Fixed => Self::F32,
            Stored::F16 => Self::F16,
            Stored::Bf16 => Self::Bf16,
        }
    }
}

/// Every tensor of a key, in file order.
pub(crate) struct Layout {
    pub tensors: Vec<Tensor>,
    /// Bytes of all tensors.
    pub data_bytes: u64,
}

impl Layout {
    /// The layout that checked facts call for. No product overflows: a tensor has at most 2^26 elements, a file at most 2^15 tensors.
    pub fn new(facts: &Facts) -> Self {
        let mut tensors = list(facts);
        tensors.sort_unstable_by(|a, b| (a.dtype, &a.name).cmp(&(b.dtype, &b.name)));
        let mut end = 0;
        for tensor in &mut tensors {
            let elements: u64 = tensor.shape.iter().map(|dim| *dim as u64).product();
            let start = end;
            end += elements * tensor.dtype.bytes();
            tensor.offsets = start..end;
        }
        Self {
            tensors,
            data_bytes: end,
        }
    }

    /// How many tensors that would be, before any is named.
    pub fn count(facts: &Facts) -> usize {
        let biases = MATRICES
            .iter()
            .filter(|role| has_bias(&facts.config, **role))
            .count();
        let of_matrix = match facts.activations {
            None | Some(ActivationsClaim::Ggml) => 3,
            Some(ActivationsClaim::Int8) => 2,
            Some(ActivationsClaim::Blocks) => 1,
        };
        facts.layers.len() * (of_matrix * MATRICES.len() + 2 + biases) + 3 + 6
    }

    /// Where each tensor lies in a file whose data begins at `data_start` and fits an address space.
    pub fn places(&self, data_start: usize) -> Places {
        let range = |offsets: &Range<u64>| {
            data_start + offsets.start as usize..data_start + offsets.end as usize
        };
        let places = self
            .tensors
            .iter()
            .map(|tensor| (tensor.kind, range(&tensor.offsets)));
        Places(places.collect())
    }
}

/// The range of each tensor in the bytes of a file.
pub(crate) struct Places(BTreeMap<Kind, Range<usize>>);

impl Places {
    /// A tensor's bytes; none for a tensor that the file does not have.
    pub fn get<'a>(&self, bytes: &'a [u8], kind: Kind) -> &'a [u8] {
        let range = self.0.get(&kind).cloned();
        range.and_then(|range| bytes.get(range)).unwrap_or_default()
    }

    /// Where to write a tensor.
    pub fn get_mut<'a>(&self, bytes: &'a mut [u8], kind: Kind) -> Result<&'a mut [u8], KeyError> {
        let range = self.0.get(&kind).cloned();
        range
            .and_then(|range| bytes.get_mut(range))
            .ok_or(KeyError::Internal {
                what: "a tensor has no place",
            })
    }
}

/// The tensors, unplaced, in no order.
fn list(facts: &Facts) -> Vec<Tensor> {
    use ElementType::{F32, F64, U8, U64};
    let config = &facts.config;
    let (hidden, matrices) = (config.hidden, facts.matrices());
    let mut tensors = Vec::with_capacity(Layout::count(facts));
    let mut add = |name: String, kind, dtype, shape| {
        tensors.push(Tensor {
            name,
            kind,
            dtype,
            shape,
            offsets: 0..0,
        });
    };
    for index in 0..matrices {
        let (Some(part), Some((n, k, stored))) = (facts.part(index), facts.matrix(index)) else {
            continue; // checked facts have every matrix below that number
        };
        let prefix = prefix(part);
        if let Part::Layer(_, role) = part
            && has_bias(config, role)
        {
            add(format!("{prefix}.bias"), Kind::Bias(index), F32, vec![n]);
        }
        if stored == Stored::Fixed {
            let residues = vec![k, 2];
            add(format!("{prefix}.exact"), Kind::Exact(index), U64, residues);
            continue;
        }
        if stored == Stored::Int8 {
            add(format!("{prefix}.exact"), Kind::Exact(index), U64, vec![k]);
            add(
                format!("{prefix}.scales"),
                Kind::Scales(index),
                F32,
                vec![n],
            );
            continue;
        }
        let projected = vec![facts.projections, k];
        add(
            format!("{prefix}.projected"),
            Kind::Projected(index),
            F32,
            projected,
        );
        add(format!("{prefix}.bound"), Kind::Bound(index), F32, vec![k]);
        let rows = vec![facts.rows.min(n), k];
        add(
            format!("{prefix}.rows"),
            Kind::Rows(index),
            stored.into(),
            rows,
        );
    }
    for (index, layer) in facts.layers.iter().enumerate() {
        let name = |role| format!("layers.{layer:05}.{}", word(role));
        add(
            name(LayerRole::AttnNorm),
            Kind::AttnNorm(index),
            F32,
            vec![hidden],
        );
        add(
            name(LayerRole::MlpNorm),
            Kind::MlpNorm(index),
            F32,
            vec![hidden],
        );
    }
    let sketch = vec![config.vocab, facts.sketch];
    add("embedding.sketch".to_owned(), Kind::Sketch, F32, sketch);
    add("final_norm".to_owned(), Kind::FinalNorm, F32, vec![hidden]);
    add("frobenius".to_owned(), Kind::Frobenius, F64, vec![matrices]);
    add("elsewhere".to_owned(), Kind::Elsewhere, U8, vec![matrices]);
    add("seed".to_owned(), Kind::Seed, U8, vec![32]);
    // Sorts last, so that it can cover all the rest.
    add("sha256".to_owned(), Kind::Checksum, U8, vec![32]);
    tensors
}

fn prefix(part: Part) -> String {
    match part {
        Part::Layer(layer, role) => format!("layers.{layer:05}.{}", word(role)),
        Part::Head => "head".to_owned(),
    }
}

/// The checkpoint's roles of the small tensors that are copied whole, as f32.
pub(crate) fn copied(facts: &Facts, kind: Kind) -> Option<assay_model::Role> {
    use assay_model::Role;
    let layer = |index: usize| facts.layers.get(index).map(|layer| *layer as usize);
    match kind {
        Kind::AttnNorm(index) => Some(Role::Layer(layer(index)?, LayerRole::AttnNorm)),
        Kind::MlpNorm(index) => Some(Role::Layer(layer(index)?, LayerRole::MlpNorm)),
        Kind::FinalNorm => Some(Role::FinalNorm),
        Kind::Bias(index) => match facts.part(index)? {
            Part::Layer(layer, role) => Some(Role::Layer(layer as usize, role.bias()?)),
            Part::Head => None,
        },
        _ => None,
    }
}
